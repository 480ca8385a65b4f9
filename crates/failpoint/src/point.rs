//! The one list. A name is etcd's or bbolt's where they have a failpoint at the same place.

macro_rules! points {
    ($($(#[$doc:meta])* $point:ident = $name:literal,)*) => {
        /// A failpoint.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Point {
            $($(#[$doc])* $point,)*
        }

        impl Point {
            /// All of them.
            pub const ALL: &'static [Point] = &[$(Point::$point),*];

            /// Its name from outside.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Point::$point => $name,)*
                }
            }
        }
    };
}

points! {
    /// The log writer has entries or a hard state, and nothing of them is written.
    RaftBeforeSave = "raftBeforeSave",
    /// They are durable, and no one was told.
    RaftAfterSave = "raftAfterSave",
    /// The consensus core has not heard that they are durable.
    RaftBeforeAdvance = "raftBeforeAdvance",
    /// A leader has messages to send.
    RaftBeforeLeaderSend = "raftBeforeLeaderSend",
    /// A member that does not lead has messages to send.
    RaftBeforeFollowerSend = "raftBeforeFollowerSend",
    /// A snapshot has been received, and the log does not know of it.
    RaftBeforeSaveSnap = "raftBeforeSaveSnap",
    /// The log knows of a received snapshot, and no hard state counts on it.
    RaftAfterSaveSnap = "raftAfterSaveSnap",
    /// The file of a snapshot is there, and the log does not know of it.
    RaftBeforeWalSaveSnapshot = "raftBeforeWALSaveSnaphot",
    /// The log counts on a received snapshot that is not in place.
    RaftBeforeApplySnap = "raftBeforeApplySnap",
    /// The same, and nothing of the old log was given up.
    RaftAfterApplySnap = "raftAfterApplySnap",
    /// The segments before a received snapshot are given up; it is not in place.
    RaftAfterWalRelease = "raftAfterWALRelease",
    /// The database is not yet replaced by a received one.
    ApplyBeforeOpenSnapshot = "applyBeforeOpenSnapshot",
    /// It is replaced, and no one has seen that.
    ApplyAfterOpenSnapshot = "applyAfterOpenSnapshot",
    /// A committed entry is about to be applied.
    BeforeApplyOneEntryNormal = "beforeApplyOneEntryNormal",
    /// A committed change of the configuration is about to be applied.
    BeforeApplyOneConfChange = "beforeApplyOneConfChange",
    /// The member is about to announce its name and URLs.
    BeforePublishing = "beforePublishing",
    /// A batch of the log is written, and not synced.
    WalBeforeSync = "walBeforeSync",
    /// It is synced.
    WalAfterSync = "walAfterSync",
    /// A write transaction on the database is about to begin.
    BeforeStartDbTxn = "beforeStartDBTxn",
    /// It has begun.
    AfterStartDbTxn = "afterStartDBTxn",
    /// It has the data, but not the index of the entry that the data is as of.
    CommitBeforePreCommitHook = "commitBeforePreCommitHook",
    /// It has both.
    CommitAfterPreCommitHook = "commitAfterPreCommitHook",
    /// It is about to be committed.
    BeforeCommit = "beforeCommit",
    /// It is committed.
    AfterCommit = "afterCommit",
    /// What a run of entries wrote is about to be shown to readers.
    BeforeWritebackBuf = "beforeWritebackBuf",
    /// It is shown.
    AfterWritebackBuf = "afterWritebackBuf",
    /// The pages of a transaction are written, and not synced.
    BeforeSyncDataPages = "beforeSyncDataPages",
    /// Its meta page is written, and not synced.
    BeforeSyncMetaPage = "beforeSyncMetaPage",
    /// A defragmentation has not begun to copy. May return an error.
    DefragBeforeCopy = "defragBeforeCopy",
    /// The copy is complete, and does not have the name. May return an error.
    DefragBeforeRename = "defragBeforeRename",
    /// A compaction is asked for, and the file does not know of it.
    CompactBeforeCommitScheduledCompact = "compactBeforeCommitScheduledCompact",
    /// The file knows of it.
    CompactAfterCommitScheduledCompact = "compactAfterCommitScheduledCompact",
    /// Some of what a compaction removes is about to go into the batch.
    CompactBeforeCommitBatch = "compactBeforeCommitBatch",
    /// It is in the batch.
    CompactAfterCommitBatch = "compactAfterCommitBatch",
    /// All of it is gone but the mark that says so.
    CompactBeforeSetFinishedCompact = "compactBeforeSetFinishedCompact",
    /// The mark is set.
    CompactAfterSetFinishedCompact = "compactAfterSetFinishedCompact",
    /// A watch has something for its connection.
    BeforeSendWatchResponse = "beforeSendWatchResponse",
    /// Watchers that are behind are about to read history.
    BeforeSyncWatchers = "beforeSyncWatchers",
    /// A client has asked how far its watchers are.
    BeforeProgressIfSync = "beforeProgressIfSync",
    /// A lease is about to be looked up for a client.
    BeforeLookupWhenLeaseTimeToLive = "beforeLookupWhenLeaseTimeToLive",
    /// A lease is about to be looked up for another member.
    BeforeLookupWhenForwardLeaseTimeToLive = "beforeLookupWhenForwardLeaseTimeToLive",
}
