//! One watcher.

use crate::events::EventKind;

/// What an event touches of a watcher, and nothing else.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watcher {
    pub(super) id: i64,
    /// Events below are not for it: where it starts, or how far it has read.
    pub(super) next: i64,
    /// Progress below is not for it: the start it asked for, or the revision of
    /// the store when it came.
    pub(super) since: i64,
    pub(super) stream: u32,
    pub(super) place: u32,
    /// Position in the scratch list plus one, while a batch is sorted out.
    pub(super) hits: u32,
    pub(super) is_behind: bool,
    /// Takes part in the history being read.
    pub(super) is_reading: bool,
    /// Nothing was sent since the last tick of its stream.
    pub(super) is_idle: bool,
    pub(super) progress_notify: bool,
    pub(super) prev_kv: bool,
    pub(super) fragment: bool,
    pub(super) no_put: bool,
    pub(super) no_delete: bool,
}

impl Watcher {
    #[inline]
    pub(super) fn wants(&self, kind: EventKind) -> bool {
        match kind {
            EventKind::Put => !self.no_put,
            EventKind::Delete => !self.no_delete,
        }
    }

    /// Progress at `revision` would be true and useful to it.
    pub(super) fn may_hear_progress(&self, revision: i64) -> bool {
        !self.is_behind && self.since <= revision
    }
}
