//! What runs next to the writes: watch streams with progress, lists in pages at
//! one revision, and the compaction loop.

use std::time::{Duration, Instant};

use crate::grpc::{Method, Status};
use crate::histogram::Histogram;
use crate::http2::Connection;
use crate::keys::prefix_end;
use crate::wire::{self, Compare, Write};

/// gRPC's code of a revision that has been compacted.
const OUT_OF_RANGE: u32 = 11;

/// What a watch that answers for its whole stream calls itself.
const WHOLE_STREAM: i64 = -1;

/// One watch on a stream of its own.
#[derive(Debug, Clone, Default)]
pub(super) struct Stream {
    pub(super) call: u32,
    pub(super) created: bool,
    pub(super) events: u64,
    last_revision: i64,
    /// Highest revision that a progress answer promised.
    progress: i64,
    asked: Option<Instant>,
    pub(super) next_progress: Option<Instant>,
}

impl Stream {
    /// Whether to ask for progress now; one request is outstanding at most.
    pub(super) fn progress_due(&mut self, now: Instant, every: Duration) -> bool {
        let due = self.next_progress.is_none_or(|next| now >= next);
        if due {
            self.next_progress = Some(now + every);
        }
        let ask = due && self.asked.is_none();
        if ask {
            self.asked = Some(now);
        }
        ask
    }

    /// Reads a message and checks what Kubernetes relies on: the order of
    /// revisions, previous values, and that nothing follows a progress answer
    /// which that answer had promised to be past.
    pub(super) fn read(
        &mut self,
        body: &[u8],
        now: Instant,
        progress: &mut Histogram,
        mut value: impl FnMut(&[u8]),
    ) -> Result<(), String> {
        let mut wrong = None;
        let answer = wire::watched(body, |event| {
            let revision = event.kv.mod_revision;
            let create = !event.delete && event.kv.create_revision == revision;
            if revision <= self.last_revision {
                wrong = Some(format!(
                    "an event of revision {revision} after one of {}",
                    self.last_revision
                ));
            } else if revision <= self.progress {
                wrong = Some(format!(
                    "an event of revision {revision} after progress to {}",
                    self.progress
                ));
            } else if !create && !event.prev_kv {
                wrong = Some(format!(
                    "the event of revision {revision} lacks the previous value"
                ));
            }
            self.last_revision = revision.max(self.last_revision);
            self.events += 1;
            value(event.kv.value);
        })
        .map_err(|e| e.to_string())?;
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        if answer.canceled {
            let reason = String::from_utf8_lossy(answer.cancel_reason).into_owned();
            return Err(format!(
                "a watch was cancelled: {reason:?}, compact revision {}",
                answer.compact_revision
            ));
        }
        self.created |= answer.created;
        if answer.events == 0 && !answer.created {
            self.progress = self.progress.max(answer.revision);
            if answer.watch_id == WHOLE_STREAM
                && let Some(asked) = self.asked.take()
            {
                progress.record(now.saturating_duration_since(asked));
            }
        }
        Ok(())
    }
}

/// Lists one resource after the other.
#[derive(Debug)]
pub(super) struct Lister {
    pub(super) resource: usize,
    pub(super) next: Instant,
    pub(super) lists: u64,
    /// Lists that a compaction ended; Kubernetes begins them anew.
    pub(super) cut: u64,
    started: Instant,
    busy: bool,
    key: Vec<u8>,
    revision: i64,
    /// Keys that are left, as the first page said.
    left: Option<i64>,
}

impl Lister {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            resource: 0,
            next: now,
            lists: 0,
            cut: 0,
            started: now,
            busy: false,
            key: Vec::new(),
            revision: 0,
            left: None,
        }
    }

    pub(super) fn idle(&self) -> bool {
        !self.busy
    }

    /// The resource whose list is to begin now.
    pub(super) fn due(&mut self, now: Instant, every: Duration, resources: usize) -> Option<usize> {
        if now < self.next {
            return None;
        }
        self.next = now + every;
        if self.busy {
            return None;
        }
        self.resource = (self.resource + 1) % resources;
        self.started = now;
        self.revision = 0;
        self.left = None;
        self.key.clear();
        Some(self.resource)
    }

    /// Asks for the next page.
    pub(super) fn ask(&mut self, prefix: &[u8], limit: i64, tag: u64, connection: &mut Connection) {
        self.busy = true;
        let end = prefix_end(prefix);
        let key = if self.key.is_empty() {
            prefix
        } else {
            &self.key
        };
        let ask = wire::Range {
            key,
            end: &end,
            limit,
            revision: self.revision,
            ..wire::Range::default()
        };
        connection.call(Method::Range, tag, true, |out| wire::range(ask, out));
    }

    /// Takes in a page; true when another must be asked for.
    pub(super) fn page(
        &mut self,
        body: &[u8],
        limit: i64,
        now: Instant,
        times: &mut Histogram,
    ) -> Result<bool, String> {
        self.busy = false;
        times.record(now.saturating_duration_since(self.started));
        self.started = now;
        let page = wire::ranged(body).map_err(|e| e.to_string())?;
        let left = self.left.unwrap_or(page.count);
        let (kvs, count, more) = (page.kvs, page.count, page.more);
        if count != left || kvs != left.min(limit) || more != (kvs < count) {
            return Err(format!(
                "a page of {kvs} keys, count {count}, more {more}; {left} were left"
            ));
        }
        self.revision = if self.revision == 0 {
            page.revision
        } else {
            self.revision
        };
        self.left = Some(left - kvs);
        match page.last {
            Some(last) if more => {
                self.key.clear();
                self.key.extend_from_slice(last.key);
                self.key.push(0);
                Ok(true)
            }
            _ => {
                self.lists += 1;
                Ok(false)
            }
        }
    }

    /// Whether the end of a list is no error: success, or a compaction.
    pub(super) fn compacted(&mut self, status: &Status) -> bool {
        if status.ok() {
            return true;
        }
        self.busy = false;
        let cut = status.code == OUT_OF_RANGE;
        self.cut += u64::from(cut);
        cut
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Nothing,
    Clock,
    Compaction,
}

/// The loop of every apiserver: a key whose version is a clock decides who
/// compacts, to the revision that was seen one round before.
#[derive(Debug)]
pub(super) struct Compactor {
    key: Vec<u8>,
    pub(super) next: Instant,
    pub(super) compactions: u64,
    asked: Asked,
    version: i64,
    /// Revision seen in the last round; 0 in the first.
    seen: i64,
    due: Option<i64>,
}

impl Compactor {
    pub(super) fn new(now: Instant, prefix: &str) -> Self {
        let key = format!("{prefix}compact_rev_key").into_bytes();
        Self {
            key,
            next: now,
            compactions: 0,
            asked: Asked::Nothing,
            version: 0,
            seen: 0,
            due: None,
        }
    }

    pub(super) fn idle(&self) -> bool {
        self.asked == Asked::Nothing
    }

    /// Asks what is due.
    pub(super) fn step(
        &mut self,
        now: Instant,
        every: Duration,
        tag: u64,
        connection: &mut Connection,
    ) {
        if self.asked != Asked::Nothing {
            return;
        }
        if let Some(revision) = self.due.take() {
            self.asked = Asked::Compaction;
            let request = proto::etcdserverpb::CompactionRequest {
                revision,
                physical: false,
            };
            let body = prost::Message::encode_to_vec(&request);
            connection.call(Method::Compact, tag, true, |out| {
                out.extend_from_slice(&body)
            });
        } else if now >= self.next {
            self.next = now + every;
            self.asked = Asked::Clock;
            let value = self.seen.to_string();
            let write = Write::Put(value.as_bytes(), 0);
            connection.call(Method::Txn, tag, true, |out| {
                wire::txn(&self.key, Compare::Version(self.version), write, true, out);
            });
        }
    }

    pub(super) fn answer(&mut self, body: &[u8]) -> Result<(), String> {
        if self.asked == Asked::Compaction {
            self.compactions += 1;
            return Ok(());
        }
        let answer = wire::transacted(body).map_err(|e| e.to_string())?;
        if answer.succeeded {
            self.version += 1;
            self.due = (self.seen > 0).then_some(self.seen);
        } else {
            self.version = answer.found.map_or(0, |kv| kv.version);
        }
        self.seen = answer.revision;
        Ok(())
    }

    /// Whether the end of a call is no error: success, or someone else had
    /// compacted further already.
    pub(super) fn closed(&mut self, status: &Status) -> bool {
        let compaction = self.asked == Asked::Compaction;
        self.asked = Asked::Nothing;
        status.ok() || (compaction && status.code == OUT_OF_RANGE)
    }
}
