//! What only some lines have. A name here is a question that code asks; the lines are the answer.

use crate::lines::Line;

/// Something that clients, members or operators can tell the lines by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// `KV.RangeStream`.
    RangeStream,
    /// `storageVersion`, `dbSizeQuota` and `downgradeInfo` in the answer of `Maintenance.Status`.
    StatusOfStorage,
    /// `version` in the messages of `Maintenance.Snapshot`.
    SnapshotVersion,
    /// `hash_revision` in the answers of `Maintenance.HashKV` and `/members/hashkv`.
    HashRevision,
    /// `storage` on the page `/version`.
    StorageOnVersionPage,
    /// An unknown sort order or target is refused.
    SortValidation,
    /// A `client-api-version` that is not text is refused.
    ClientApiVersionCheck,
    /// What a cluster is not yet capable of, and what a learner does not serve, is a failed
    /// precondition; otherwise it is unavailable.
    FailedPreconditions,
    /// Who may not defragment, hash or take a snapshot is answered with the code of that error.
    AdminErrorCodes,
    /// A request that its caller gave up is answered as cancelled.
    CancelledCode,
    /// The CORRUPT alarm names the members whose data is wrong, as far as the others can tell.
    CorruptMembersNamed,
    /// The answer of `Maintenance.Downgrade` names the cluster version without its patch.
    ShortDowngradeVersion,
    /// A downgrade that cannot be given up is answered like one that was.
    QuietCancel,
    /// The peer port serves gRPC, too.
    GrpcOnPeerPort,
    /// Keys without values are answered from the index, without their leases.
    KeysOnlyFromIndex,
    /// A lease is renewed without waiting for what is not applied yet.
    FastLeaseKeepAlive,
    /// Revoking a lease has room of its own among the entries that wait to be applied.
    PriorityRequest,
    /// The remaining time of a lease is kept in the database once the cluster version has it,
    /// whether or not a flag asks for that.
    CheckpointsKept,
    /// Nested transactions count against the quota.
    NestedTxnsCounted,
    /// An entry that asks for nothing, and counts as the version in it.
    DowngradeVersionTest,
    /// Requests of the v2 API that are not about members.
    V2Requests,
    /// Requests of the v2 API in which members speak of themselves: others can be in the cluster
    /// that write and read them.
    V2OwnEntries,
    /// An alarm that is raised while a member runs ends all checks of users on it until the alarm
    /// is cleared, or the member restarts.
    AlarmsLiftChecks,
    /// What alarms forbid follows from those that are raised; otherwise from the first and the last
    /// of a kind as they come and go.
    RestrictionOfAlarmSet,
    /// An alarm is raised whatever its kind; otherwise the first of a kind that no one knows ends
    /// members.
    AlarmsOfAnyKind,
    /// raft counts by the members in the database when a directory is opened, whatever the log says.
    VotesFromMembers,
    /// The operations of a transaction are checked in their order; otherwise all puts come before
    /// all ranges.
    ChecksInOrder,
    /// A put is checked for its lease before it is for the key that it leaves as it is.
    LeaseCheckedFirst,
    /// Members that do not wait for the result of a transaction check its ranges, too.
    RangesCheckedEverywhere,
    /// A request of which one operation is root's is refused as a whole to others, even where what is
    /// performed is about members.
    RootBeforeMembers,
    /// Names of users and roles that are not text are refused at the port, and end members in the
    /// log.
    NamesAreText,
}

impl Feature {
    /// The lines that have it.
    pub fn lines(self) -> &'static [Line] {
        use Line::{V3_5, V3_6, V3_7};
        match self {
            Feature::GrpcOnPeerPort | Feature::V2Requests | Feature::AlarmsLiftChecks => &[V3_5],
            Feature::V2OwnEntries => &[V3_5, V3_6],
            Feature::RootBeforeMembers => &[V3_5, V3_7],
            Feature::StatusOfStorage
            | Feature::SnapshotVersion
            | Feature::HashRevision
            | Feature::StorageOnVersionPage
            | Feature::SortValidation
            | Feature::ClientApiVersionCheck
            | Feature::FailedPreconditions
            | Feature::AdminErrorCodes
            | Feature::CorruptMembersNamed
            | Feature::ShortDowngradeVersion
            | Feature::QuietCancel
            | Feature::ChecksInOrder
            | Feature::CheckpointsKept
            | Feature::NestedTxnsCounted
            | Feature::RestrictionOfAlarmSet
            | Feature::AlarmsOfAnyKind
            | Feature::DowngradeVersionTest => &[V3_6, V3_7],
            Feature::RangeStream
            | Feature::CancelledCode
            | Feature::KeysOnlyFromIndex
            | Feature::FastLeaseKeepAlive
            | Feature::PriorityRequest
            | Feature::VotesFromMembers
            | Feature::LeaseCheckedFirst
            | Feature::RangesCheckedEverywhere
            | Feature::NamesAreText => &[V3_7],
        }
    }
}

impl Line {
    /// Whether members of this line have a feature.
    pub fn has(self, feature: Feature) -> bool {
        feature.lines().contains(&self)
    }
}
