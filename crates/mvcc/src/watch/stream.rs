//! One stream: its watch ids, its output, and what it waits for.

use std::collections::{BTreeSet, HashMap};

use bytes::BytesMut;

/// Ids of ended watches kept per stream; more are forgotten, smallest first.
const ENDED_MAX: usize = 4096;

/// Invariants: `watches` holds exactly the slots of the group whose watcher
/// names this stream; `behind` exactly those of them that are behind.
#[derive(Debug)]
pub(super) struct Stream<S> {
    pub(super) key: S,
    /// Frames not yet taken.
    pub(super) out: BytesMut,
    /// Events in `out`.
    pub(super) events: u64,
    /// Already in the group's list of streams with output.
    pub(super) is_ready: bool,
    /// Watch id to slot.
    pub(super) watches: HashMap<i64, u32>,
    /// Slots of watchers to be caught up, those waiting longest first.
    pub(super) behind: Vec<u32>,
    /// Already in the group's list of streams to be caught up.
    pub(super) is_lagging: bool,
    /// Watches that compaction ended and the client has not cancelled: their ids
    /// stay taken, and a cancellation of theirs is still answered.
    pub(super) ended: BTreeSet<i64>,
    /// Where the search for a free id begins.
    next_id: i64,
    /// The highest store revision that a response has named: headers of later
    /// responses must not go below it.
    pub(super) named: i64,
    /// Progress was asked for when the store was at this revision.
    pub(super) asked: Option<i64>,
    /// When periodic progress is due; set by the first tick.
    pub(super) due_ms: Option<u64>,
}

impl<S> Stream<S> {
    pub(super) fn new(key: S) -> Stream<S> {
        Stream {
            key,
            out: BytesMut::new(),
            events: 0,
            is_ready: false,
            watches: HashMap::new(),
            behind: Vec::new(),
            is_lagging: false,
            ended: BTreeSet::new(),
            next_id: 0,
            named: 0,
            asked: None,
            due_ms: None,
        }
    }

    /// The id for a new watch: the wanted one, or for 0 the next free one from
    /// the last pick on. `None` if the wanted one is taken.
    pub(super) fn pick_id(&mut self, wanted: i64) -> Option<i64> {
        if wanted != 0 {
            return (!self.is_taken(wanted)).then_some(wanted);
        }
        while self.is_taken(self.next_id) {
            self.next_id += 1;
        }
        let id = self.next_id;
        self.next_id += 1;
        Some(id)
    }

    fn is_taken(&self, id: i64) -> bool {
        self.watches.contains_key(&id) || self.ended.contains(&id)
    }

    /// Keeps the id of a watch that compaction ended.
    pub(super) fn keep_ended(&mut self, id: i64) {
        if self.ended.len() == ENDED_MAX {
            self.ended.pop_first();
        }
        self.ended.insert(id);
    }

    /// The revision that a response about the stream as a whole names.
    pub(super) fn name(&mut self, revision: i64) -> i64 {
        self.named = self.named.max(revision);
        self.named
    }
}
