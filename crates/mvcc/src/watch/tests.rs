//! A store that is a list, and responses read back from the frames.

mod index;
mod random;
mod transcripts;

use std::{cell::Cell, sync::Arc};

use bytes::{Buf, Bytes, BytesMut};
use prost::Message as _;
use proto::{etcdserverpb::WatchResponse, mvccpb};

use super::{HistoryError, Past, Source, WatcherGroup};
use crate::events::{Event, EventBatch};

/// One change: the key as it is afterwards, `version` 0 if deleted.
#[derive(Clone, Debug, PartialEq)]
struct Change {
    revision: i64,
    kv: mvccpb::KeyValue,
}

impl Change {
    fn is_delete(&self) -> bool {
        self.kv.version == 0
    }

    /// As a watcher must see it.
    fn event(&self, prev: Option<mvccpb::KeyValue>) -> mvccpb::Event {
        mvccpb::Event {
            r#type: self.is_delete().into(),
            kv: Some(self.kv.clone()),
            prev_kv: prev,
        }
    }
}

/// Every change there ever was. Compaction forgets nothing here, it only says so.
#[derive(Debug, Default)]
struct Log {
    changes: Vec<Change>,
    revision: i64,
    compact_revision: i64,
    /// How often history was read.
    reads: Cell<usize>,
    /// Values cannot be looked up.
    is_broken: Cell<bool>,
    /// History is not shown, whatever there is.
    is_stalled: Cell<bool>,
}

impl Log {
    fn new() -> Log {
        Log {
            revision: 1,
            ..Log::default()
        }
    }

    fn at(&self, key: &[u8], revision: i64) -> Option<mvccpb::KeyValue> {
        let mut past = self.changes.iter().rev();
        let last = past.find(|change| change.kv.key == key && change.revision <= revision)?;
        (!last.is_delete()).then(|| last.kv.clone())
    }

    /// One revision. Deleting what is not there changes nothing; `None` if
    /// nothing changed at all.
    fn write(&mut self, writes: &[(&str, Option<&str>)]) -> Option<Arc<EventBatch>> {
        let revision = self.revision + 1;
        let mut events = Vec::new();
        for (key, value) in writes {
            let key = Bytes::copy_from_slice(key.as_bytes());
            let old = self.at(&key, self.revision);
            let kv = match (value, old) {
                (None, None) => continue,
                (None, Some(_)) => mvccpb::KeyValue {
                    key: key.clone(),
                    mod_revision: revision,
                    ..Default::default()
                },
                (Some(value), old) => mvccpb::KeyValue {
                    key: key.clone(),
                    create_revision: old.as_ref().map_or(revision, |old| old.create_revision),
                    mod_revision: revision,
                    version: old.map_or(0, |old| old.version) + 1,
                    value: Bytes::copy_from_slice(value.as_bytes()),
                    lease: 0,
                },
            };
            events.push(match value {
                Some(_) => Event::put(key, kv.encode_to_vec().into()),
                None => Event::delete(key, revision),
            });
            self.changes.push(Change { revision, kv });
        }
        if events.is_empty() {
            return None;
        }
        self.revision = revision;
        Some(Arc::new(EventBatch { revision, events }))
    }
}

impl Source for Log {
    fn compact_revision(&self) -> i64 {
        self.compact_revision
    }

    fn kv_at(&self, key: &[u8], revision: i64) -> Result<Option<Bytes>, HistoryError> {
        if self.is_broken.get() {
            return Err(HistoryError::Read("broken".into()));
        }
        let kv = self
            .at(key, revision)
            .filter(|_| revision >= self.compact_revision);
        Ok(kv.map(|kv| kv.encode_to_vec().into()))
    }

    fn history(
        &self,
        from: i64,
        to: i64,
        max_bytes: usize,
        visit: &mut dyn FnMut(Past<'_>),
    ) -> Result<i64, HistoryError> {
        self.reads.set(self.reads.get() + 1);
        if self.is_stalled.get() {
            return Ok(from);
        }
        if from < self.compact_revision {
            return Err(HistoryError::Compacted);
        }
        let (mut shown, mut last) = (0, from);
        let asked = |change: &&Change| (from..=to).contains(&change.revision);
        for change in self.changes.iter().filter(asked) {
            if change.revision != last && shown >= max_bytes {
                return Ok(change.revision);
            }
            last = change.revision;
            let kv = change.kv.encode_to_vec();
            shown += change.kv.key.len() + kv.len();
            visit(Past {
                revision: change.revision,
                key: &change.kv.key,
                kv: &kv,
                is_delete: change.is_delete(),
            });
        }
        Ok(to + 1)
    }
}

/// Takes a stream's output and reads it as a client would.
fn drain(group: &mut WatcherGroup<u32>, stream: u32) -> Vec<WatchResponse> {
    let mut out = BytesMut::new();
    while group.next_output(stream, &mut out) > 0 {}
    let mut responses = Vec::new();
    while !out.is_empty() {
        assert_eq!(out.get_u8(), 0, "not compressed");
        let len = out.get_u32() as usize;
        let message = out.split_to(len);
        let response = WatchResponse::decode(&message[..]).expect("a response");
        assert_eq!(response.encoded_len(), len, "in the shortest form");
        responses.push(response);
    }
    responses
}
