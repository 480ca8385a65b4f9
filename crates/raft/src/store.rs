//! The log as raft-rs reads it: in memory, from the last compaction on. It is
//! told of entries before they are durable; what is durable is raft-rs's to
//! track. Payloads are shared with whoever proposed them.

use std::collections::VecDeque;

use proto::EntryId;
use raft::{
    Error, GetEntriesContext, RaftState, StorageError,
    eraftpb::{ConfState, Entry, HardState, Snapshot},
    util::limit_size,
};

pub(crate) struct Store {
    /// The entry before the first one held.
    before: EntryId,
    entries: VecDeque<Entry>,
    hard_state: HardState,
    conf_state: ConfState,
    /// What a follower that is too far behind is sent.
    snapshot: Snapshot,
}

impl Store {
    pub(crate) fn new(
        before: EntryId,
        entries: Vec<Entry>,
        hard_state: HardState,
        conf_state: ConfState,
    ) -> Store {
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        metadata.index = before.index;
        metadata.term = before.term;
        metadata.set_conf_state(conf_state.clone());
        Store {
            before,
            entries: entries.into(),
            hard_state,
            conf_state,
            snapshot,
        }
    }

    fn first(&self) -> u64 {
        self.before.index + 1
    }

    fn last(&self) -> u64 {
        self.before.index + self.entries.len() as u64
    }

    /// Appends entries; those that contradict the tail replace it.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let Some(head) = entries.first() else { return };
        // Below the compaction everything is committed and cannot change.
        let skip = self.first().saturating_sub(head.index) as usize;
        let Some(new) = entries.get(skip..) else {
            return;
        };
        let Some(head) = new.first() else { return };
        // A log with a hole must never be believed.
        assert!(
            head.index <= self.last() + 1,
            "entries {}.. after {}",
            head.index,
            self.last()
        );
        let keep = head.index.saturating_sub(self.first()) as usize;
        self.entries.truncate(keep);
        self.entries.extend(new.iter().cloned());
    }

    /// Starts anew behind a received snapshot.
    pub(crate) fn install(&mut self, snapshot: &Snapshot) {
        let metadata = snapshot.get_metadata();
        self.before = EntryId {
            index: metadata.index,
            term: metadata.term,
        };
        self.entries.clear();
        self.conf_state = metadata.get_conf_state().clone();
        self.snapshot = snapshot.clone();
    }

    /// Forgets entries up to `index`, which must have been applied.
    pub(crate) fn compact(&mut self, index: u64) {
        if index < self.first() || index > self.last() {
            return;
        }
        let count = (index - self.before.index) as usize;
        if let Some(entry) = self.entries.get(count - 1) {
            self.before = EntryId {
                index: entry.index,
                term: entry.term,
            };
        }
        self.entries.drain(..count);
        if self.entries.capacity() > 4 * self.entries.len() + 1024 {
            self.entries.shrink_to_fit();
        }
    }

    pub(crate) fn set_conf_state(&mut self, state: ConfState) {
        self.conf_state = state;
    }

    pub(crate) fn set_snapshot(&mut self, snapshot: Snapshot) {
        self.snapshot = snapshot;
    }

    pub(crate) fn set_hard_state(&mut self, state: HardState) {
        self.hard_state = state;
    }
}

impl raft::Storage for Store {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(
            self.hard_state.clone(),
            self.conf_state.clone(),
        ))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low < self.first() {
            return Err(Error::Store(StorageError::Compacted));
        }
        if high > self.last() + 1 || low > high {
            return Err(Error::Store(StorageError::Unavailable));
        }
        let from = (low - self.first()) as usize;
        let to = (high - self.first()) as usize;
        let mut out: Vec<Entry> = self.entries.range(from..to).cloned().collect();
        limit_size(&mut out, max_size.into());
        Ok(out)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.before.index {
            return Ok(self.before.term);
        }
        if index < self.first() {
            return Err(Error::Store(StorageError::Compacted));
        }
        self.entries
            .get((index - self.first()) as usize)
            .map(|entry| entry.term)
            .ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, _: u64) -> raft::Result<Snapshot> {
        let index = self.snapshot.get_metadata().index;
        // One without content, or one that does not reach the entries held,
        // would leave its receiver worse off than waiting does.
        if self.snapshot.data.is_empty() || index < request_index || index < self.before.index {
            return Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        Ok(self.snapshot.clone())
    }
}
