//! Memory that deliveries use again.

use super::watcher::Watcher;

/// Which watchers get which events of several: kept for its memory.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) hits: Vec<(u32, Vec<u32>)>,
    used: usize,
}

impl Scratch {
    pub(super) fn add(&mut self, slot: u32, watcher: &mut Watcher, event: usize) {
        if watcher.hits == 0 {
            if self.used == self.hits.len() {
                self.hits.push((slot, Vec::new()));
            }
            let (owner, events) = &mut self.hits[self.used];
            *owner = slot;
            events.clear();
            self.used += 1;
            watcher.hits = self.used as u32;
        }
        self.hits[watcher.hits as usize - 1].1.push(event as u32);
    }

    /// Gives what was gathered; [`Scratch::put_back`] returns the memory.
    pub(super) fn take(&mut self) -> (Vec<(u32, Vec<u32>)>, usize) {
        (
            std::mem::take(&mut self.hits),
            std::mem::take(&mut self.used),
        )
    }

    pub(super) fn put_back(&mut self, mut hits: Vec<(u32, Vec<u32>)>) {
        // One huge history must not keep its memory for good.
        hits.retain(|(_, events)| events.capacity() <= 4096);
        self.hits = hits;
    }
}
