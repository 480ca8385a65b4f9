//! What a member needs from the process around it: the consensus core, a clock, files, and
//! someone who writes a snapshot while entries go on being applied. The server's is made of
//! threads, the simulator's of events in virtual time.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use membership::{Disagreement, conf_change::Rules};
use mvcc::backend::Backend;
use proto::{
    etcdserverpb::{
        DeleteRangeRequest, PutRequest, TxnRequest, TxnResponse, internal_raft_request::Op,
    },
    raftpb::Entry,
};
use wal::disk::Disk;

use crate::{apply::Outcome, error::Error, snapshot::Job, status::Status};

/// The process around an apply machine.
pub trait Host {
    /// Milliseconds on the clock that leases run by.
    fn now_ms(&self) -> u64;

    /// Brings an event to the consensus core. What follows from it goes to the queues before
    /// this returns.
    fn consensus<R>(&mut self, event: impl FnOnce(&mut consensus::Node) -> R) -> R;

    /// By whose rules the other members judge a change of the configuration.
    fn rules(&self) -> Rules<'static>;

    /// True while a snapshot of this member is on its way to another one, which will need the
    /// entries after it.
    fn is_sending_snapshot(&self) -> bool;

    /// Has a snapshot written while entries go on being applied. False if that could not begin:
    /// the machine tries again.
    fn start_snapshot(&mut self, job: Job) -> bool;

    /// Waits until the snapshot that was started is written and known to the log writer's queue.
    fn await_snapshot(&mut self);

    /// Hears what was applied, to count it.
    fn observe(&mut self, step: Step<'_>);
}

/// What a machine did, for whoever counts.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// A run of entries begins.
    RunBegins,
    /// That many entries were applied and are visible.
    RunEnds(usize),
    /// An entry was applied.
    Entry(Applied<'a>),
    /// A put.
    Put(&'a PutRequest),
    /// A deletion.
    Delete(&'a DeleteRangeRequest),
    /// A transaction.
    Txn(&'a TxnRequest, &'a TxnResponse),
    /// A compaction.
    Compaction,
    /// A lease was granted, for so many seconds.
    LeaseGranted(i64),
    /// A lease was revoked, with so many keys.
    LeaseRevoked(usize),
    /// What the copies of the membership in a received snapshot disagree about, and what
    /// becomes of it.
    Disagreements(&'a [Disagreement], &'static str),
}

/// An entry that was applied, and what came of it.
#[derive(Clone, Copy, Debug)]
pub struct Applied<'a> {
    /// The entry.
    pub entry: &'a Entry,
    /// What it asked for; `None` for a leader's first one and for a change of the configuration,
    /// which etcd does not count.
    pub kind: Option<Kind>,
    /// What its caller is told, if it has one anywhere.
    pub result: Option<&'a Result<Outcome, Status>>,
    /// The database did not hold it yet.
    pub fresh: bool,
    /// A client of this member waits for the result.
    pub asked: bool,
    /// Revision of the store after it.
    pub revision: i64,
}

/// What an entry asked for, as etcd's metrics name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request of the v2 store.
    V2,
    /// Put.
    Put,
    /// DeleteRange.
    DeleteRange,
    /// Txn.
    Txn,
    /// Compaction.
    Compaction,
    /// LeaseGrant.
    LeaseGrant,
    /// LeaseRevoke.
    LeaseRevoke,
    /// LeaseCheckpoint.
    LeaseCheckpoint,
    /// Alarm.
    Alarm,
    /// ClusterVersionSet.
    ClusterVersionSet,
    /// ClusterMemberAttrSet.
    ClusterMemberAttrSet,
    /// Authenticate.
    Authenticate,
    /// AuthEnable.
    AuthEnable,
    /// AuthDisable.
    AuthDisable,
    /// AuthUserAdd.
    AuthUserAdd,
    /// AuthUserDelete.
    AuthUserDelete,
    /// AuthUserChangePassword.
    AuthUserChangePassword,
    /// AuthUserGrantRole.
    AuthUserGrantRole,
    /// AuthUserGet.
    AuthUserGet,
    /// AuthUserRevokeRole.
    AuthUserRevokeRole,
    /// AuthUserList.
    AuthUserList,
    /// AuthRoleAdd.
    AuthRoleAdd,
    /// AuthRoleGrantPermission.
    AuthRoleGrantPermission,
    /// AuthRoleGet.
    AuthRoleGet,
    /// AuthRoleRevokePermission.
    AuthRoleRevokePermission,
    /// AuthRoleDelete.
    AuthRoleDelete,
    /// AuthRoleList.
    AuthRoleList,
    /// One that etcd has no name for.
    Unknown,
}

impl Kind {
    /// The kind of an operation.
    pub fn of(op: Option<&Op>) -> Kind {
        match op {
            Some(Op::Put(_)) => Kind::Put,
            Some(Op::DeleteRange(_)) => Kind::DeleteRange,
            Some(Op::Txn(_)) => Kind::Txn,
            Some(Op::Compaction(_)) => Kind::Compaction,
            Some(Op::LeaseGrant(_)) => Kind::LeaseGrant,
            Some(Op::LeaseRevoke(_)) => Kind::LeaseRevoke,
            Some(Op::LeaseCheckpoint(_)) => Kind::LeaseCheckpoint,
            Some(Op::Alarm(_)) => Kind::Alarm,
            Some(Op::ClusterVersionSet(_)) => Kind::ClusterVersionSet,
            Some(Op::ClusterMemberAttrSet(_)) => Kind::ClusterMemberAttrSet,
            Some(Op::Authenticate(_)) => Kind::Authenticate,
            Some(Op::AuthEnable(_)) => Kind::AuthEnable,
            Some(Op::AuthDisable(_)) => Kind::AuthDisable,
            Some(Op::AuthUserAdd(_)) => Kind::AuthUserAdd,
            Some(Op::AuthUserDelete(_)) => Kind::AuthUserDelete,
            Some(Op::AuthUserChangePassword(_)) => Kind::AuthUserChangePassword,
            Some(Op::AuthUserGrantRole(_)) => Kind::AuthUserGrantRole,
            Some(Op::AuthUserGet(_)) => Kind::AuthUserGet,
            Some(Op::AuthUserRevokeRole(_)) => Kind::AuthUserRevokeRole,
            Some(Op::AuthUserList(_)) => Kind::AuthUserList,
            Some(Op::AuthRoleAdd(_)) => Kind::AuthRoleAdd,
            Some(Op::AuthRoleGrantPermission(_)) => Kind::AuthRoleGrantPermission,
            Some(Op::AuthRoleGet(_)) => Kind::AuthRoleGet,
            Some(Op::AuthRoleRevokePermission(_)) => Kind::AuthRoleRevokePermission,
            Some(Op::AuthRoleDelete(_)) => Kind::AuthRoleDelete,
            Some(Op::AuthRoleList(_)) => Kind::AuthRoleList,
            _ => Kind::Unknown,
        }
    }
}

/// Files, and the databases among them.
pub trait Files: Send + Sync {
    /// Directories and files by path.
    fn disk(&self) -> &Arc<dyn Disk>;

    /// True if there is no database at `path`, or one whose creation was cut off.
    ///
    /// # Errors
    /// The file cannot be read.
    fn is_unwritten(&self, path: &Path) -> Result<bool, bolt::Error>;

    /// Opens a database that no one has open, without writing to it.
    ///
    /// # Errors
    /// It cannot be read, or is no database.
    fn read_database(&self, path: &Path) -> Result<bolt::Db, bolt::Error>;

    /// Opens the database at `path`, or makes one, and what commits to it.
    ///
    /// # Errors
    /// It cannot be read or written; the text names it.
    fn open_backend(&self, path: &Path) -> Result<Arc<Backend>, Error>;

    /// Restores the keys of a database; `leased` hears of each that a lease is attached to.
    ///
    /// # Errors
    /// The database contradicts itself.
    fn open_store(
        &self,
        backend: Arc<Backend>,
        leased: &mut dyn FnMut(Bytes, i64),
    ) -> Result<Arc<mvcc::Store>, mvcc::OpenError>;
}
