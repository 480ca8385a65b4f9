//! The apply machine: one thread that turns committed entries into state, in
//! log order. It alone changes keys, leases, alarms and membership. A run of
//! entries is applied under one write lock and published at once; then every
//! waiting call gets its result, with one wake-up per runtime.
//!
//! An entry whose index the database already holds (consistent_index) must not
//! touch the v3 state again; membership and the v2 tree still follow it, since
//! those are rebuilt from the last `.snap`.

mod cluster;
mod install;
mod machine;
mod snapshot;
mod waiters;

pub use machine::{ApplyThread, Machine, Seed, SharedMachine, placeholder};

use proto::{
    etcdserverpb as pb,
    raftpb::{Entry, Snapshot},
    wire::Nested,
};

use crate::runtime::Waiter;

/// What the apply thread is asked to do.
pub enum Command {
    /// The results of these request ids are awaited there.
    Register(Vec<(u64, Waiter)>),
    /// Committed entries, in index order, each exactly once.
    Committed(Vec<Entry>),
    /// Read requests that may be answered once their index is applied.
    Reads(Vec<(u64, bytes::Bytes)>),
    /// Another member leads, or this one began or ceased to.
    Role {
        /// True if this member leads now.
        leads: bool,
        /// Who leads, 0 if that is not known.
        leader: u64,
    },
    /// A snapshot of another member is in the log, and the log says that it is
    /// committed; its database takes the place of this member's.
    Install(Snapshot),
    /// A snapshot taken earlier is on disk and recorded in the log.
    SnapshotSaved {
        /// Its index.
        index: u64,
    },
    /// Time to take a snapshot if what lies on disk would stop a newer release.
    ClearTheWay,
}

/// The result of an applied operation. A revision in it is the store's as of this entry: by the
/// time the answer is built, later entries may have moved it on.
#[derive(Debug)]
pub enum Outcome {
    /// Put, header holding only the revision.
    Put(pb::PutResponse),
    /// DeleteRange, likewise.
    DeleteRange(pb::DeleteRangeResponse),
    /// Txn, likewise.
    Txn(Nested<pb::TxnResponse>),
    /// Compaction, likewise; a ticket when there is something to wait for.
    Compaction(pb::CompactionResponse, Option<mvcc::CompactionTicket>),
    /// LeaseGrant, likewise.
    LeaseGrant(pb::LeaseGrantResponse),
    /// LeaseRevoke, likewise.
    LeaseRevoke(pb::LeaseRevokeResponse),
    /// Alarm, likewise.
    Alarm(pb::AlarmResponse),
    /// A change of the configuration: the members after it.
    Members(Vec<membership::Member>),
    /// Applied; there is nothing to tell.
    Done,
}
