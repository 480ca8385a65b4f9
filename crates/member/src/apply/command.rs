//! What an apply machine is given, and what comes out of it.

use std::sync::Arc;

use bytes::Bytes;
use line::Line;
use membership::Member;
use proto::{
    etcdserverpb as pb,
    raftpb::{Entry, Snapshot},
    wire::Nested,
};

use super::look::Look;
use crate::status::Status;

/// Where a result is awaited, for whoever asked: runtime, slot, and the slot's generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// Index of the runtime.
    pub runtime: u32,
    /// Its slot.
    pub slot: u32,
    /// Tells the calls apart that use a slot one after the other.
    pub generation: u32,
    /// The call has an answer by then, or was given up. On the clock of [`crate::Host::now_ms`].
    pub deadline_ms: u64,
}

/// What the machine is asked to do.
pub enum Command {
    /// The results of these request ids are awaited there.
    Register(Vec<(u64, Waiter)>),
    /// Committed entries, in index order, each exactly once.
    Committed(Vec<Entry>),
    /// Read requests that may be answered once their index is applied.
    Reads(Vec<(u64, Bytes)>),
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
    /// Time to take a snapshot if what is on disk would stop a newer release.
    SnapshotIfBlocking,
    /// Time to take one if an entry after the newest asks for a reader above this line.
    SnapshotFor(Line),
    /// Whoever asks wants to know whether the member could go to another line.
    Look(Waiter),
    /// Another line is to be spoken from the next entry on, if it fits.
    Speak(Line, Waiter),
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
    /// A login. Its token is written by whoever gets this.
    Authenticated(Authenticated),
    /// A change of users, roles or authentication, header holding only the revision.
    UsersChanged(Option<pb::ResponseHeader>),
    /// AuthStatus, likewise.
    AuthStatus(pb::AuthStatusResponse),
    /// UserGet, likewise.
    User(pb::AuthUserGetResponse),
    /// UserList, likewise.
    Users(pb::AuthUserListResponse),
    /// RoleGet, likewise.
    Role(pb::AuthRoleGetResponse),
    /// RoleList, likewise.
    Roles(pb::AuthRoleListResponse),
    /// A change of the configuration: the members after it.
    Members(Vec<Member>),
    /// What decides whether this member could go to another line.
    Look(Box<Look>),
    /// Applied; there is nothing to report.
    Done,
}

/// What a login was applied as.
#[derive(Debug)]
pub struct Authenticated {
    /// Holding only the revision.
    pub header: Option<pb::ResponseHeader>,
    /// The auth revision.
    pub revision: u64,
    /// The entry before that of the login.
    pub index: u64,
}

/// What follows from a turn of the machine, outside of it. Whoever drives the machine empties
/// this after each turn, and keeps it for its memory.
#[derive(Debug, Default)]
pub struct Effects {
    /// Results, for those who await them.
    pub answers: Vec<(Waiter, Result<Outcome, Status>)>,
    /// What watchers hear, in order.
    pub changes: Vec<Change>,
    /// Contexts of read requests whose index is applied.
    pub reads: Vec<Bytes>,
    /// There is a leader, and it is not the one before: what reads asked of that one is lost.
    pub new_leader: bool,
    /// A lease ended, or the lessor became primary or ceased to be.
    pub leases_changed: bool,
    /// What the transport to the other members must follow, in order.
    pub peers: Vec<PeerChange>,
}

/// What watchers hear of.
#[derive(Debug)]
pub enum Change {
    /// What one run of entries changed, in revision order.
    Events(Vec<Arc<mvcc::EventBatch>>),
    /// A received snapshot took the place of the store, which is at this revision.
    Restored {
        /// Current revision of the new store.
        revision: i64,
    },
}

/// A change of the members as the transport to them must follow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerChange {
    /// A member came.
    Added(Member),
    /// A member has other URLs.
    Updated(Member),
    /// A member left.
    Removed(u64),
    /// This member was removed.
    Left,
    /// A snapshot was put in place: the members are these, whoever was known before.
    Replaced(Vec<Member>),
    /// The releases of etcd disagree about the vote of a member since it was updated.
    Disputed {
        /// As it is here.
        member: Member,
        /// Raft counts it as a learner.
        raft_has_learner: bool,
    },
}
