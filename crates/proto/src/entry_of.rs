//! Which entry a message is about.

use crate::{EntryId, raftpb, walpb};

impl From<&raftpb::Entry> for EntryId {
    fn from(entry: &raftpb::Entry) -> EntryId {
        EntryId {
            index: entry.index,
            term: entry.term,
        }
    }
}

/// The last entry in the snapshot.
impl From<&raftpb::SnapshotMetadata> for EntryId {
    fn from(metadata: &raftpb::SnapshotMetadata) -> EntryId {
        EntryId {
            index: metadata.index,
            term: metadata.term,
        }
    }
}

/// The last entry in the snapshot that the record is of.
impl From<&walpb::Snapshot> for EntryId {
    fn from(record: &walpb::Snapshot) -> EntryId {
        EntryId {
            index: record.index,
            term: record.term,
        }
    }
}
