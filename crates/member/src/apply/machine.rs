//! The state of the apply machine, and what each kind of entry may use of it.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use line::{Line, SnapshotData};
use mvcc::Writer;
use parking_lot::RwLockWriteGuard;
use proto::{
    EntryId,
    etcdserverpb::ResponseHeader,
    raftpb::{ConfState, SnapshotMetadata},
};
use semver::Version;
use wal::snap::Snapshotter;

use super::{
    command::{Effects, Outcome},
    schema::Storage,
    users::Users,
    waiters::Waiters,
};
use crate::{
    host::{Files, Host},
    open::MembershipCheck,
    plant::{Plant, broken},
    quota,
    snapshot::{SnapshotState, placeholder},
    state::{Identity, State},
    status::Status,
};

/// What a machine starts from.
pub struct Seed {
    /// The last entry that the log will not deliver again.
    pub applied: EntryId,
    /// The database already holds the effects of entries up to here.
    pub consistent_index: u64,
    /// Membership as of `applied`.
    pub cluster: membership::Cluster,
    /// Membership as of `consistent_index`, where the database is the authority on it.
    pub adopted: Option<membership::Cluster>,
    /// The version that the database's schema says it has.
    pub storage_version: Option<Version>,
    /// The v2 tree as of `applied`.
    pub tree: membership::v2store::Tree,
    /// Voters and learners as of `applied`.
    pub conf_state: ConfState,
    /// Voters and learners as of `consistent_index`, which shows how changes were judged.
    pub judged: Option<ConfState>,
    /// Index of the newest `.snap`.
    pub snapshot_index: u64,
    /// That `.snap` would stop a newer release.
    pub blocks_newer_release: bool,
    /// The highest line to which the member can follow its cluster while it runs.
    pub highest: Line,
}

/// How a machine behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Entries between two snapshots; `None` for as many as the line has.
    pub snapshot_count: Option<u64>,
    /// Entries kept in memory before a snapshot, for members that are a little behind.
    pub snapshot_catchup_entries: u64,
    /// Requests of the v2 API that are not about membership are not kept.
    pub drop_v2_keys: bool,
    /// Learners that a cluster may have.
    pub max_learners: usize,
    /// What becomes of copies of the membership that disagree.
    pub membership_check: MembershipCheck,
    /// Size of the database at which writes are refused; `None` for no limit.
    pub quota_backend_bytes: Option<u64>,
    /// Leases last this much longer, milliseconds, when their lessor becomes primary: an election
    /// timeout, within which no one renewed them.
    pub lease_extension_ms: u64,
    /// How leases behave.
    pub lease: lease::Options,
    /// How authentication behaves.
    pub auth: auth::Options,
    /// Where snapshots and the database are.
    pub snap_dir: PathBuf,
}

/// The state of whoever applies.
pub struct Machine {
    pub(super) identity: Identity,
    pub(super) options: Options,
    pub(super) files: Arc<dyn Files>,
    pub(super) snapshotter: Snapshotter,
    /// What readers see.
    pub(super) state: Arc<State>,
    pub(super) cluster: membership::Cluster,
    pub(super) adopted: Option<membership::Cluster>,
    pub(super) storage: Storage,
    /// The highest line to which it can follow the cluster: others may have counted on one that was
    /// spoken since the start.
    pub(super) highest: Line,
    pub(super) tree: membership::v2store::Tree,
    pub(super) conf_state: ConfState,
    pub(super) judged: Option<ConfState>,
    pub(super) applied: u64,
    pub(super) term: u64,
    pub(super) consistent_index: u64,
    pub(super) snapshot_index: u64,
    /// The log in memory begins after this entry.
    pub(super) compacted: u64,
    /// Counts the changes of what a `.snap` holds.
    pub(super) generation: u64,
    pub(super) snapshot: SnapshotState,
    /// A snapshot is due whatever has been applied since the last one.
    pub(super) forces_snapshot: bool,
    /// The newest `.snap`, or the log after it, would stop a newer release.
    pub(super) blocks_newer_release: bool,
    pub(super) leads: bool,
    /// An entry of the own term was applied since this member leads.
    pub(super) leads_since_entry: bool,
    pub(super) waiters: Waiters,
    /// Reads whose index is not applied yet.
    pub(super) reads: Vec<(u64, Bytes)>,
}

/// A run of entries under way, and what they are applied to.
pub(super) struct Run<'a, H> {
    pub(super) host: &'a mut H,
    pub(super) effects: &'a mut Effects,
    pub(super) writer: Writer<'a>,
    pub(super) lessor: RwLockWriteGuard<'a, lease::Lessor>,
    pub(super) users: Users<'a>,
}

impl<H> Run<'_, H> {
    /// A header that holds the revision as of the entry just applied, for the API to complete.
    pub(super) fn header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader {
            revision: self.writer.revision(),
            ..ResponseHeader::default()
        })
    }
}

impl Machine {
    /// A machine that continues from `seed`; readers see what it does in `state`.
    pub fn new(
        identity: Identity,
        options: Options,
        files: Arc<dyn Files>,
        state: Arc<State>,
        seed: Seed,
    ) -> Machine {
        let mut machine = Machine {
            snapshotter: Snapshotter::on(files.disk().clone(), &options.snap_dir),
            identity,
            options,
            files,
            highest: seed.highest,
            state,
            cluster: seed.cluster,
            adopted: seed.adopted,
            storage: Storage::new(seed.storage_version.as_ref()),
            tree: seed.tree,
            conf_state: seed.conf_state,
            judged: seed.judged,
            applied: seed.applied.index,
            term: seed.applied.term,
            consistent_index: seed.consistent_index,
            snapshot_index: seed.snapshot_index,
            compacted: seed.applied.index,
            generation: 0,
            snapshot: SnapshotState::Idle,
            forces_snapshot: false,
            blocks_newer_release: seed.blocks_newer_release,
            leads: false,
            leads_since_entry: false,
            waiters: Waiters::default(),
            reads: Vec::new(),
        };
        // Nothing to apply comes before what the database holds.
        machine.adopt_if_due();
        machine.publish_storage_version();
        machine
    }

    /// Voters and learners.
    pub fn conf_state(&self) -> &ConfState {
        &self.conf_state
    }

    /// The v2 tree.
    pub fn tree(&self) -> &membership::v2store::Tree {
        &self.tree
    }

    /// Index of the last applied entry.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Lets raft forget entries up to `index`. Who still needs them is sent the
    /// state as of now; what it holds is filled in when it is sent.
    pub(super) fn forget_log(&mut self, index: u64, host: &mut impl Host) {
        self.compacted = index;
        let metadata = SnapshotMetadata {
            conf_state: self.conf_state.clone(),
            index: self.applied,
            term: self.term,
        };
        host.consensus(|node| {
            node.create_snapshot(placeholder(metadata));
            node.compact_log(index);
        });
    }

    /// Whether local state is linearizable state hangs on who the members are.
    pub(super) fn follow_sole_leader(&self) {
        let alone = self.conf_state.voters == [self.identity.member_id]
            && self.conf_state.learners.is_empty();
        let sole = self.leads && self.leads_since_entry && (alone || broken(Plant::StaleReadIndex));
        self.state.sole_leader.store(sole, Ordering::Release);
    }

    /// From the last entry on that the database holds, its members are those there are, where it
    /// is the authority on them. True if they are others than the log's.
    pub(super) fn adopt_if_due(&mut self) -> bool {
        if self.applied < self.consistent_index {
            return false;
        }
        let Some(cluster) = self.adopted.take() else {
            return false;
        };
        let differs = !cluster.members().eq(self.cluster.members());
        self.tree = cluster.to_tree();
        self.cluster = cluster;
        self.generation += 1;
        differs
    }

    /// What a `.snap` has in place of data, as of now.
    pub(super) fn snapshot_data(&self) -> Vec<u8> {
        match self.state.line().facts().snapshot_data {
            SnapshotData::Tree => self.tree.to_json(),
            SnapshotData::Members => self.cluster.to_tree().to_json(),
        }
    }

    /// Shows readers the membership.
    pub(super) fn publish_cluster(&self) {
        // What is applied anew is older than what the database has.
        let cluster = self.adopted.as_ref().unwrap_or(&self.cluster);
        let own = cluster.member(self.identity.member_id);
        let is_learner = own.is_some_and(|member| member.is_learner);
        self.state.is_learner.store(is_learner, Ordering::Relaxed);
        self.state.cluster.store(Arc::new(cluster.clone()));
    }

    /// Has whoever awaits the result of request `id` get it.
    pub(super) fn answer<H>(
        &mut self,
        id: u64,
        result: Result<Outcome, Status>,
        run: &mut Run<'_, H>,
    ) {
        if let Some(waiter) = self.waiters.take(id) {
            run.effects.answers.push((waiter, result));
        }
    }

    /// Whether `cost` more bytes fit.
    pub(super) fn fits(&self, cost: u64) -> bool {
        let limit = self.options.quota_backend_bytes;
        quota::available(&self.state.store.load(), limit, cost)
    }
}
