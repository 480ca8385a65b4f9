//! Reading history for watchers that are behind.
//!
//! A round takes watchers stream by stream, so that one stream with thousands of
//! them does not hold up the others, and reads one piece of history for all it
//! took. Watchers of a full stream wait until its output is taken.

use std::hash::Hash;

use bytes::Bytes;

use super::{HistoryError, Source, WatcherGroup, deliver::previous};
use crate::events::Event;

/// Watchers in one round, as in etcd.
const ROUND_WATCHERS: usize = 512;

/// Times the bytes read that a round puts out before the rest waits.
const ROUND_WRITES: usize = 4;
/// Rounds of one call that may read nothing: a store that is behind its own
/// revision must not be asked for ever.
const STALLS: usize = 8;

impl<S: Copy + Eq + Hash> WatcherGroup<S> {
    /// True if a watcher is behind; it may have to wait for its stream.
    pub fn has_lagging(&self) -> bool {
        let mut lagging = self.lagging.iter();
        lagging.any(|at| !self.stream(*at).behind.is_empty())
    }

    /// Reads, or puts out, about `max_bytes` of history for watchers that are
    /// behind. True if more could be read at once; false if no one is behind, or
    /// all who are wait for their streams' output to be taken.
    ///
    /// # Errors
    /// The store's, if it cannot read. No one has lost anything by it.
    pub fn catch_up(
        &mut self,
        source: &impl Source,
        max_bytes: usize,
    ) -> Result<bool, HistoryError> {
        let piece = max_bytes.div_ceil(4).max(1);
        let (mut read, mut stalls) = (0, 0);
        while read < max_bytes && stalls < STALLS {
            let slots = self.choose();
            if slots.is_empty() {
                break;
            }
            let slots = self.end_compacted(slots, source.compact_revision());
            if slots.is_empty() {
                continue;
            }
            let outcome = match self.choose_whole(&slots) {
                Some(_) => self.read_whole(source, piece),
                None => self.read(&slots, source, piece),
            };
            match outcome {
                Ok(0) => stalls += 1,
                Ok(bytes) => read += bytes,
                // Compaction came between: the next round ends who was hit.
                Err(HistoryError::Compacted) => stalls += 1,
                Err(error) => {
                    self.answer_progress();
                    return Err(error);
                }
            }
        }
        self.answer_progress();
        let mut lagging = self.lagging.iter();
        Ok(lagging.any(|at| !self.stream(*at).behind.is_empty() && self.has_room(*at)))
    }

    fn has_room(&self, at: u32) -> bool {
        self.stream(at).out.len() < self.options.stream_bytes
    }

    /// Watchers for a round; their streams go to the end of the line.
    fn choose(&mut self) -> Vec<u32> {
        let mut slots = Vec::new();
        for _ in 0..self.lagging.len() {
            let Some(at) = self.lagging.pop_front() else {
                break;
            };
            if self.stream(at).behind.is_empty() {
                self.stream_mut(at).is_lagging = false;
                continue;
            }
            self.lagging.push_back(at);
            if self.has_room(at) && slots.len() < ROUND_WATCHERS {
                let behind = &mut self.stream_mut(at).behind;
                let count = behind.len().min(ROUND_WATCHERS - slots.len());
                slots.extend_from_slice(&behind[..count]);
                behind.rotate_left(count);
            }
        }
        slots
    }

    /// Ends the watchers whose next revision is no longer there.
    fn end_compacted(&mut self, mut slots: Vec<u32>, compact_revision: i64) -> Vec<u32> {
        slots.retain(|slot| {
            let watcher = self.watchers[*slot as usize];
            let alive = watcher.next >= compact_revision;
            if !alive {
                self.stream_mut(watcher.stream).watches.remove(&watcher.id);
                self.unseat(*slot);
                self.tell_compacted(watcher.stream, watcher.id, compact_revision);
            }
            alive
        });
        slots
    }

    /// Reads one piece of history and gives each of `slots` its part. Gives the
    /// number of bytes read or put out, whichever is more.
    fn read(
        &mut self,
        slots: &[u32],
        source: &impl Source,
        max_bytes: usize,
    ) -> Result<usize, HistoryError> {
        let next_of = |slot: &u32| self.watchers[*slot as usize].next;
        let from = slots.iter().map(next_of).min().unwrap_or(self.revision);
        let to = self.revision;
        for slot in slots {
            self.watchers[*slot as usize].is_reading = true;
        }
        let mut read = 0;
        let mut events: Vec<(i64, Event)> = Vec::new();
        let (watchers, scratch, index) = (&mut self.watchers, &mut self.scratch, &self.index);
        let result = source.history(from, to, max_bytes, &mut |past| {
            read += past.key.len() + past.kv.len();
            let number = events.len();
            let mut wanted = false;
            index.visit(past.key, |slots| {
                for &slot in slots {
                    let watcher = &mut watchers[slot as usize];
                    let due = watcher.is_reading && watcher.next <= past.revision;
                    if due && watcher.wants(past.kind()) {
                        scratch.add(slot, watcher, number);
                        wanted = true;
                    }
                }
            });
            if wanted {
                let key = Bytes::copy_from_slice(past.key);
                let event = match past.is_delete {
                    true => Event::delete(key, past.revision),
                    false => Event::put(key, Bytes::copy_from_slice(past.kv)),
                };
                events.push((past.revision, event));
            }
        });
        for slot in slots {
            self.watchers[*slot as usize].is_reading = false;
        }
        let (hits, used) = self.scratch.take();
        for (slot, _) in &hits[..used] {
            self.watchers[*slot as usize].hits = 0;
        }
        let after = match result {
            Ok(after) => after.min(to + 1),
            Err(error) => {
                self.scratch.put_back(hits);
                return Err(error);
            }
        };
        let (mut stopped, mut failed, mut written) = (Vec::new(), None, 0);
        for (slot, numbers) in &hits[..used] {
            // Each of hundreds may get all that was read: the rest waits its turn.
            if written >= ROUND_WRITES * max_bytes {
                stopped.push((*slot, events[numbers[0] as usize].0));
                continue;
            }
            match self.give(*slot, numbers, &events, source, self.options.response_bytes) {
                Ok(bytes) => written += bytes,
                Err(stop) => {
                    stopped.push((*slot, stop.at));
                    failed = failed.or(stop.error);
                }
            }
        }
        self.scratch.put_back(hits);
        for slot in slots {
            let watcher = &mut self.watchers[*slot as usize];
            watcher.next = watcher.next.max(after);
        }
        for (slot, at) in stopped {
            self.watchers[slot as usize].next = at;
        }
        self.settle(slots);
        failed.map_or(Ok(read.max(written)), Err)
    }

    /// Makes those of `slots` synced that have read everything.
    pub(super) fn settle(&mut self, slots: &[u32]) {
        let mut streams = Vec::new();
        for slot in slots {
            let watcher = &mut self.watchers[*slot as usize];
            if watcher.next > self.revision {
                watcher.is_behind = false;
                streams.push(watcher.stream);
            }
        }
        streams.dedup(); // a round takes the watchers of a stream together
        for at in streams {
            let watchers = &self.watchers;
            let stream = self.streams[at as usize].as_mut().expect("open");
            stream
                .behind
                .retain(|slot| watchers[*slot as usize].is_behind);
        }
    }

    /// Puts out the events that a watcher hit, several revisions to a response of
    /// about `response_bytes`, as far as its stream has room and the versions
    /// before can be read. Gives the number of bytes.
    pub(super) fn give(
        &mut self,
        slot: u32,
        numbers: &[u32],
        events: &[(i64, Event)],
        source: &impl Source,
        response_bytes: usize,
    ) -> Result<usize, Stop> {
        let header = self.header(self.revision);
        let watcher = self.watchers[slot as usize];
        let mut response: Vec<&[u8]> = Vec::new();
        let (mut size, mut total, mut first, mut last) = (0, 0, 0, 0);
        for number in numbers {
            let (revision, event) = &events[*number as usize];
            if *revision != last {
                if size >= response_bytes {
                    self.send(slot, &header, self.revision, &response);
                    response.clear();
                    size = 0;
                }
                if response.is_empty() {
                    first = *revision;
                    if !self.has_room(watcher.stream) {
                        return Err(Stop {
                            at: first,
                            error: None,
                        });
                    }
                }
                last = *revision;
            }
            let bytes = match watcher.prev_kv {
                false => event.encoded(),
                true => previous(event, *revision, source).map_err(|error| Stop {
                    at: first,
                    error: Some(error),
                })?,
            };
            size += bytes.len();
            total += bytes.len();
            response.push(bytes);
        }
        if !response.is_empty() {
            self.send(slot, &header, self.revision, &response);
        }
        Ok(total)
    }
}

/// Where a watcher had to stop.
pub(super) struct Stop {
    /// The first revision that was not put out.
    pub(super) at: i64,
    /// Why, if not for want of room.
    pub(super) error: Option<HistoryError>,
}
