//! The history of one watcher in one response, as etcd sends it, read in pieces between which the
//! other work of the thread has its turn. One watcher at a time gathers, so a group holds one such
//! history; where many watchers are behind, or much output waits to be taken, each gets what a
//! piece has for it instead.

use std::hash::Hash;

use bytes::Bytes;

use super::{
    gathered::{REVISIONS, Whole},
    group::WatcherGroup,
    source::{HistoryError, Source},
};
use crate::events::Event;

/// Watchers behind, up to which each is read for alone.
const WATCHERS: usize = 8;
/// Times a whole history that may wait in the outputs of a group.
const HELD: usize = 2;

impl<S: Copy + Eq + Hash> WatcherGroup<S> {
    /// The watcher of a round that is to have its history in one response: the one that is being
    /// read for, or one of few.
    pub(super) fn choose_whole(&mut self, slots: &[u32]) -> Option<u32> {
        if slots.len() > WATCHERS {
            // Many must not wait for one: it takes part in what is read for all.
            self.whole.take_if(|whole| slots.contains(&whole.slot));
            return None;
        }
        if let Some(whole) = &self.whole {
            return slots.contains(&whole.slot).then_some(whole.slot);
        }
        let first = *slots.first()?;
        let held: usize = self.streams.iter().flatten().map(|s| s.out.len()).sum();
        if held >= HELD * self.options.whole_bytes {
            return None;
        }
        self.whole = Some(Whole {
            slot: first,
            events: Vec::new(),
            bytes: 0,
            revisions: 0,
            next: self.watchers[first as usize].next,
        });
        Some(first)
    }

    /// Reads the next piece for the watcher that gathers, and puts the response out when it is
    /// complete. The number of bytes read.
    pub(super) fn read_whole(
        &mut self,
        source: &impl Source,
        max_bytes: usize,
    ) -> Result<usize, HistoryError> {
        let Some(mut whole) = self.whole.take() else {
            return Ok(0);
        };
        let to = self.revision;
        let watcher = self.watchers[whole.slot as usize];
        let index = &self.index;
        let mut read = 0;
        let after = source.history(whole.next, to, max_bytes, &mut |past| {
            read += past.key.len() + past.kv.len();
            if !watcher.wants(past.kind()) || watcher.next > past.revision {
                return;
            }
            let mut wanted = false;
            index.visit(past.key, |slots| wanted |= slots.contains(&whole.slot));
            if !wanted {
                return;
            }
            if whole
                .events
                .last()
                .is_none_or(|(last, _)| *last < past.revision)
            {
                whole.revisions += 1;
            }
            whole.bytes += past.key.len() + past.kv.len();
            let key = Bytes::copy_from_slice(past.key);
            let event = match past.is_delete {
                true => Event::delete(key, past.revision),
                false => Event::put(key, Bytes::copy_from_slice(past.kv)),
            };
            whole.events.push((past.revision, event));
        })?;
        whole.next = after.min(to + 1);
        let is_complete = whole.next > to
            || whole.bytes >= self.options.whole_bytes
            || whole.revisions >= REVISIONS;
        if is_complete {
            self.put_out(whole, source)?;
        } else {
            self.whole = Some(whole);
        }
        Ok(read)
    }

    fn put_out(&mut self, mut whole: Whole, source: &impl Source) -> Result<(), HistoryError> {
        let mut next = whole.next;
        if whole.revisions > REVISIONS {
            next = whole.cut();
        }
        let numbers: Vec<u32> = (0..whole.events.len() as u32).collect();
        let stop = self.give(whole.slot, &numbers, &whole.events, source, usize::MAX);
        let failed = match stop {
            Ok(_) => None,
            Err(stop) => {
                next = stop.at;
                stop.error
            }
        };
        let watcher = &mut self.watchers[whole.slot as usize];
        watcher.next = watcher.next.max(next);
        self.settle(&[whole.slot]);
        failed.map_or(Ok(()), Err)
    }
}
