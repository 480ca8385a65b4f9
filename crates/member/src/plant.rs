//! Planted bugs: each breaks one rule of a member on purpose, where the rule is kept, so that the
//! simulator can show that it would find it. Only a build with the feature `plants` has them; in
//! any other, [`broken`] is false at compile time and the branches are gone.

/// A rule that can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plant {
    /// A term or a vote is told to others before it is durable.
    VoteNotSynced,
    /// Entries count as durable before the sync.
    EntriesNotSynced,
    /// Messages that wait for the disk are sent at once.
    MessagesBeforePersist,
    /// A leader takes for committed what it has appended itself.
    CommitBeforeQuorum,
    /// A caller is told before the entry is committed.
    AckBeforeCommit,
    /// A leader answers reads from its own state, asking no one.
    StaleReadIndex,
    /// A read does not wait until its index is applied.
    ReadBeforeApply,
    /// A former sole voter goes on reading without asking.
    SoleLeaderKept,
    /// After a restart entries are applied to a database that has them.
    DoubleApply,
    /// consistent_index is committed ahead of the data.
    IndexAheadOfData,
    /// consistent_index is committed behind the data.
    IndexBehindData,
    /// A `.snap` is written before the database is committed.
    SnapshotBeforeCommit,
    /// The commit index of a received snapshot is in the log before the snapshot.
    CommitBeforeSnapshot,
    /// A received snapshot is put in place before the log says that it is committed.
    InstallBeforeState,
    /// A received snapshot brings keys but no membership.
    InstallWithoutMembers,
    /// A rejected change of the configuration still goes to raft.
    RejectedChangeToRaft,
    /// A promotion does not reach the buckets of the database (etcd#19557).
    PromotionNotProjected,
    /// A restart takes the members of the database for those of the snapshot.
    MembersFromDatabase,
    /// The keys of a revoked lease go in an order of the member's own.
    LeaseKeysUnordered,
}

#[cfg(feature = "plants")]
mod planted {
    use std::cell::Cell;

    use super::Plant;

    thread_local! {
        static PLANTED: Cell<Option<Plant>> = const { Cell::new(None) };
    }

    /// Breaks a rule for all members on this thread, or none.
    pub fn plant(plant: Option<Plant>) {
        PLANTED.set(plant);
    }

    pub(crate) fn broken(plant: Plant) -> bool {
        PLANTED.get() == Some(plant)
    }

    impl Plant {
        /// All of them.
        pub const ALL: [Plant; 19] = [
            Plant::VoteNotSynced,
            Plant::EntriesNotSynced,
            Plant::MessagesBeforePersist,
            Plant::CommitBeforeQuorum,
            Plant::AckBeforeCommit,
            Plant::StaleReadIndex,
            Plant::ReadBeforeApply,
            Plant::SoleLeaderKept,
            Plant::DoubleApply,
            Plant::IndexAheadOfData,
            Plant::IndexBehindData,
            Plant::SnapshotBeforeCommit,
            Plant::CommitBeforeSnapshot,
            Plant::InstallBeforeState,
            Plant::InstallWithoutMembers,
            Plant::RejectedChangeToRaft,
            Plant::PromotionNotProjected,
            Plant::MembersFromDatabase,
            Plant::LeaseKeysUnordered,
        ];
    }
}

#[cfg(feature = "plants")]
pub(crate) use planted::broken;
#[cfg(feature = "plants")]
pub use planted::plant;

/// Whether a rule is broken: never, in a build without the feature.
#[cfg(not(feature = "plants"))]
#[inline(always)]
pub(crate) const fn broken(_: Plant) -> bool {
    false
}
