//! Bugs to be found: each breaks one rule of a member on purpose. They live in
//! the driver, never in the parts it drives.

/// A rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plant {
    /// A term or a vote is told to others before it is durable.
    VoteNotSynced,
    /// Entries count as durable before the sync.
    EntriesNotSynced,
    /// Messages that wait for the disk are sent at once.
    MessagesBeforePersist,
    /// A leader takes for committed what its own disk has.
    CommitBeforeQuorum,
    /// A caller is told before the entry is committed.
    AckBeforeCommit,
    /// A leader answers reads from its own state, asking nobody.
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
    /// A received database is not synced.
    ReceivedDbNotSynced,
    /// A received snapshot brings keys but no membership.
    InstallWithoutMembers,
    /// A rejected change of the configuration is still told to raft.
    RejectedChangeToRaft,
    /// A promotion does not reach the buckets of the database (etcd#19557).
    PromotionNotProjected,
    /// A restart takes the members of the database for those of the snapshot.
    MembersFromDatabase,
    /// A lease is renewed by whoever believes to lead.
    RenewUnchecked,
    /// The keys of a revoked lease go in an order of the member's own.
    LeaseKeysUnordered,
}

impl Plant {
    /// All of them.
    pub const ALL: [Plant; 21] = [
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
        Plant::ReceivedDbNotSynced,
        Plant::InstallWithoutMembers,
        Plant::RejectedChangeToRaft,
        Plant::PromotionNotProjected,
        Plant::MembersFromDatabase,
        Plant::RenewUnchecked,
        Plant::LeaseKeysUnordered,
    ];

    /// The one of that name, as it is written above.
    pub fn named(name: &str) -> Option<Plant> {
        Plant::ALL
            .into_iter()
            .find(|plant| format!("{plant:?}") == name)
    }
}
