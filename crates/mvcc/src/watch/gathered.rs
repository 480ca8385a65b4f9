//! What has been read for the one watcher that gathers its history.

use crate::events::Event;

/// Revisions in one response, as in etcd.
pub(super) const REVISIONS: usize = 1000;

/// What has been read for a watcher, and is still to be put out.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) slot: u32,
    pub(super) events: Vec<(i64, Event)>,
    pub(super) bytes: usize,
    /// How many revisions `events` has.
    pub(super) revisions: usize,
    /// Read on from here.
    pub(super) next: i64,
}

impl Whole {
    /// True if this watcher gathers.
    pub(super) fn is_of(&self, slot: u32) -> bool {
        self.slot == slot
    }

    /// Drops what is beyond the last revision of a response; the first revision that was dropped.
    pub(super) fn cut(&mut self) -> i64 {
        let (mut seen, mut last) = (0, 0);
        let beyond = self.events.iter().position(|(revision, _)| {
            if *revision != last {
                (seen, last) = (seen + 1, *revision);
            }
            seen > REVISIONS
        });
        match beyond {
            Some(at) => {
                let first = self.events[at].0;
                self.events.truncate(at);
                first
            }
            None => self.next,
        }
    }
}
