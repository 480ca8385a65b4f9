//! Delivery of a batch to the watchers that are up to date.

use std::hash::Hash;

use super::{
    frame::{self, Header},
    group::WatcherGroup,
    source::{HistoryError, Source},
};
use crate::events::{Event, EventBatch};

impl<S: Copy + Eq + Hash> WatcherGroup<S> {
    /// Gives a batch to the synced watchers of its keys. Batches come in order;
    /// one that the group knows already is passed over, and if some are missing
    /// the watchers read them from history: so the queue that brings batches may
    /// be bounded and drop what it cannot hold.
    pub fn notify(&mut self, batch: &EventBatch, source: &impl Source) {
        if batch.revision <= self.revision {
            return;
        }
        self.advance(batch.revision - 1);
        self.revision = batch.revision;
        let header = self.header(batch.revision);
        if let [event] = &batch.events[..] {
            self.notify_one(batch.revision, event, &header, source);
        } else {
            self.notify_all(batch, &header, source);
        }
        self.answer_progress();
    }

    /// Says that the store is at `revision` and the batches up to there will not
    /// come: dropped from a full queue, or replaced by a snapshot. The watchers
    /// they would have gone to read history.
    pub fn advance(&mut self, revision: i64) {
        if revision <= self.revision {
            return;
        }
        let first_missed = self.revision + 1;
        self.revision = revision;
        for slot in 0..self.watchers.len() {
            let watcher = &self.watchers[slot];
            let next = watcher.next.max(first_missed);
            if self.ranges[slot].is_some() && !watcher.is_behind && next <= revision {
                self.fall_behind(slot as u32, next);
            }
        }
    }

    /// The usual case: a batch of one event. A watcher that cannot receive it now, because the
    /// stream is full or the version before cannot be read, falls behind.
    fn notify_one(&mut self, revision: i64, event: &Event, header: &Header, source: &impl Source) {
        let mut put_off = Vec::new();
        let (watchers, streams) = (&mut self.watchers, &mut self.streams);
        let (ready, limit) = (&mut self.ready, self.options.stream_bytes);
        let pending = &mut self.events_pending;
        let plain = event.encoded();
        let mut with_prev = None;
        self.index.visit(&event.key, |slots| {
            for &slot in slots {
                let watcher = &mut watchers[slot as usize];
                if watcher.is_behind || watcher.next > revision || !watcher.wants(event.kind) {
                    continue;
                }
                let stream = streams[watcher.stream as usize].as_mut().expect("open");
                let bytes = match watcher.prev_kv {
                    false => Some(&plain[..]),
                    true => {
                        *with_prev.get_or_insert_with(|| previous(event, revision, source).ok())
                    }
                };
                let room = stream.out.len() < limit;
                let Some(bytes) = bytes.filter(|_| room) else {
                    put_off.push(slot);
                    continue;
                };
                watcher.is_idle = false;
                stream.events += 1;
                *pending += 1;
                if !stream.is_ready {
                    stream.is_ready = true;
                    ready.push(watcher.stream);
                }
                if stream.named > revision {
                    let header = header.at(stream.named);
                    frame::event(&mut stream.out, &header, watcher.id, bytes);
                } else {
                    stream.named = revision;
                    frame::event(&mut stream.out, header, watcher.id, bytes);
                }
            }
        });
        for slot in put_off {
            self.fall_behind(slot, revision);
        }
    }

    /// A batch of several events: sorted by watcher first, so that each gets its
    /// events in one response.
    fn notify_all(&mut self, batch: &EventBatch, header: &Header, source: &impl Source) {
        for (number, event) in batch.events.iter().enumerate() {
            let (watchers, scratch) = (&mut self.watchers, &mut self.scratch);
            self.index.visit(&event.key, |slots| {
                for &slot in slots {
                    let watcher = &mut watchers[slot as usize];
                    let live = !watcher.is_behind && watcher.next <= batch.revision;
                    if live && watcher.wants(event.kind) {
                        scratch.add(slot, watcher, number);
                    }
                }
            });
        }
        let (hits, used) = self.scratch.take();
        for (slot, numbers) in &hits[..used] {
            let watcher = &mut self.watchers[*slot as usize];
            watcher.hits = 0;
            let (at, prev_kv) = (watcher.stream, watcher.prev_kv);
            if self.stream(at).out.len() >= self.options.stream_bytes {
                self.fall_behind(*slot, batch.revision);
                continue;
            }
            let encoded = numbers.iter().map(|number| {
                let event = &batch.events[*number as usize];
                match prev_kv {
                    false => Ok(&event.encoded()[..]),
                    true => previous(event, batch.revision, source),
                }
            });
            // A watcher that cannot receive all of it now reads it as history.
            match encoded.collect::<Result<Vec<_>, _>>() {
                Ok(bytes) => self.send(*slot, header, batch.revision, &bytes),
                Err(_) => self.fall_behind(*slot, batch.revision),
            }
        }
        self.scratch.put_back(hits);
    }

    /// Puts one response, or its fragments, into the output of a watcher's stream.
    pub(super) fn send(&mut self, slot: u32, header: &Header, revision: i64, events: &[&[u8]]) {
        let limit = self.options.fragment_bytes;
        let watcher = &mut self.watchers[slot as usize];
        watcher.is_idle = false;
        let (at, id, fragment) = (watcher.stream, watcher.id, watcher.fragment);
        let stream = self.streams[at as usize].as_mut().expect("open");
        let header = match stream.named > revision {
            true => header.at(stream.named),
            false => *header,
        };
        stream.name(revision);
        stream.events += events.len() as u64;
        self.events_pending += events.len() as u64;
        if fragment {
            frame::fragments(&mut stream.out, &header, id, events, limit);
        } else {
            frame::events(&mut stream.out, &header, id, events.iter().copied());
        }
        self.mark_ready(at);
    }
}

/// The event with the version before it.
pub(super) fn previous<'a>(
    event: &'a Event,
    revision: i64,
    source: &impl Source,
) -> Result<&'a [u8], HistoryError> {
    let bytes = event.encoded_with_prev(|| source.kv_at(&event.key, revision - 1))?;
    Ok(bytes)
}
