//! The apply machine: committed entries into state, in log order. It alone changes keys, leases,
//! alarms and membership. A run of entries is applied under one write lock and published at once;
//! what follows for clients, watchers and the transport comes out as [`Effects`].
//!
//! | module | what it applies |
//! |---|---|
//! | `entry` | one entry: what it is, whether it is new to the database, who gets the result |
//! | `kv` | puts, deletions, transactions, compactions |
//! | `lease` | grants, revocations, checkpoints |
//! | `alarm` | alarms |
//! | `auth` | authentication, which this release does not have: what is let pass, and what stops |
//! | `membership` | changes of the configuration, attributes, versions, downgrades |
//!
//! An entry whose index the database already holds (consistent_index) must not
//! touch the v3 state again; membership and the v2 tree still follow it, since
//! those are rebuilt from the last `.snap`.
//!
//! Architecture invariant: an entry is never skipped. What must not be applied ends the turn with
//! [`Fatal`], and whoever drives the machine ends the process.

mod alarm;
mod auth;
mod command;
mod entry;
mod kv;
mod lease;
mod membership;
mod waiters;

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use mvcc::Writer;
use parking_lot::RwLockWriteGuard;
use proto::raftpb::{ConfState, Entry, SnapshotMetadata};
use wal::snap::Snapshotter;

pub use command::{Change, Command, Effects, Outcome, PeerChange, Waiter};

use crate::{
    Fatal, Files, Host, State,
    host::Step,
    open::MembershipCheck,
    snapshot::{SnapshotState, placeholder},
    state::Identity,
};
use waiters::Waiters;

/// What a machine starts from.
pub struct Seed {
    /// Index and term of the last entry that the log will not deliver again.
    pub applied: (u64, u64),
    /// The database already holds the effects of entries up to here.
    pub consistent_index: u64,
    /// Membership as of `applied`.
    pub cluster: ::membership::Cluster,
    /// The v2 tree as of `applied`.
    pub tree: ::membership::v2store::Tree,
    /// Voters and learners as of `applied`.
    pub conf_state: ConfState,
    /// Voters and learners as of `consistent_index`, which shows how changes were judged.
    pub judged: Option<ConfState>,
    /// Index of the newest `.snap`.
    pub snapshot_index: u64,
    /// That `.snap` would stop a newer release.
    pub blocks_newer_release: bool,
}

/// How a machine behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Entries between two snapshots.
    pub snapshot_count: u64,
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
    pub lease: ::lease::Options,
    /// Where snapshots and the database are.
    pub snap_dir: PathBuf,
}

/// The state of whoever applies.
pub struct Machine {
    pub(crate) identity: Identity,
    pub(crate) options: Options,
    pub(crate) files: Arc<dyn Files>,
    pub(crate) snapshotter: Snapshotter,
    /// What readers see.
    pub(crate) state: Arc<State>,
    pub(crate) cluster: ::membership::Cluster,
    pub(crate) tree: ::membership::v2store::Tree,
    pub(crate) conf_state: ConfState,
    judged: Option<ConfState>,
    pub(crate) applied: u64,
    pub(crate) term: u64,
    pub(crate) consistent_index: u64,
    pub(crate) snapshot_index: u64,
    /// The log in memory begins after this entry.
    pub(crate) compacted: u64,
    /// Counts the changes of what a `.snap` holds.
    pub(crate) generation: u64,
    pub(crate) snapshot: SnapshotState,
    /// The newest `.snap`, or the log after it, would stop a newer release.
    pub(crate) blocks_newer_release: bool,
    leads: bool,
    /// An entry of the own term was applied since this member leads.
    leads_since_entry: bool,
    waiters: Waiters,
    /// Reads whose index is not applied yet.
    reads: Vec<(u64, Bytes)>,
}

/// A run of entries under way, and what they are applied to.
struct Run<'a, H> {
    host: &'a mut H,
    effects: &'a mut Effects,
    writer: Writer<'a>,
    lessor: RwLockWriteGuard<'a, ::lease::Lessor>,
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
        Machine {
            snapshotter: Snapshotter::on(files.disk().clone(), &options.snap_dir),
            identity,
            options,
            files,
            state,
            cluster: seed.cluster,
            tree: seed.tree,
            conf_state: seed.conf_state,
            judged: seed.judged,
            applied: seed.applied.0,
            term: seed.applied.1,
            consistent_index: seed.consistent_index,
            snapshot_index: seed.snapshot_index,
            compacted: seed.applied.0,
            generation: 0,
            snapshot: SnapshotState::Idle,
            blocks_newer_release: seed.blocks_newer_release,
            leads: false,
            leads_since_entry: false,
            waiters: Waiters::default(),
            reads: Vec::new(),
        }
    }

    /// Counts the changes of membership and the v2 tree.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The v2 tree as a `.snap` holds it.
    pub fn tree_json(&self) -> Vec<u8> {
        self.tree.to_json()
    }

    /// Voters and learners.
    pub fn conf_state(&self) -> &ConfState {
        &self.conf_state
    }

    /// Index of the last applied entry.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Does what is queued, in order.
    ///
    /// # Errors
    /// The member must stop: an entry cannot be applied, or a snapshot not be put in place.
    pub fn turn<H: Host>(
        &mut self,
        commands: &mut VecDeque<Command>,
        host: &mut H,
        effects: &mut Effects,
    ) -> Result<(), Fatal> {
        for command in commands.drain(..) {
            match command {
                Command::Register(run) => self.waiters.register(run, || host.now_ms()),
                Command::Committed(entries) => self.apply_run(entries, host, effects)?,
                Command::Reads(reads) => self.reads.extend(reads),
                Command::Role { leads, leader } => self.change_role(leads, leader, effects),
                Command::Install(snapshot) => self.install(&snapshot, host, effects)?,
                Command::SnapshotSaved { index } => self.snapshot_saved(index, host),
                Command::SnapshotIfBlocking => self.snapshot_if_blocking(host),
            }
        }
        self.answer_reads(effects);
        Ok(())
    }

    /// Forgets what is no longer needed of the log, and begins a snapshot if one is due. After
    /// each turn, once its effects are on their way.
    pub fn upkeep(&mut self, host: &mut impl Host) {
        self.forget_applied(host);
        self.snapshot_if_due(host);
    }

    /// A sole voter has no one to catch up: its log in memory need not reach
    /// back to the last snapshot.
    fn forget_applied(&mut self, host: &mut impl Host) {
        let keep = self.options.snapshot_catchup_entries;
        if self.applied < self.compacted + 2 * keep.max(1)
            || self.conf_state.voters != [self.identity.member_id]
        {
            return;
        }
        self.forget_log(self.applied - keep, host);
    }

    /// Lets raft forget entries up to `index`. Who still needs them is sent the
    /// state as of now; what it holds is filled in when it is sent.
    pub(crate) fn forget_log(&mut self, index: u64, host: &mut impl Host) {
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

    fn change_role(&mut self, leads: bool, leader: u64, effects: &mut Effects) {
        effects.new_leader |= leader != 0;
        if self.leads == leads {
            return;
        }
        self.leads = leads;
        if !leads {
            self.leads_since_entry = false;
            self.state.sole_leader.store(false, Ordering::Release);
            self.state.lessor.write().demote();
            effects.leases_changed = true;
        }
    }

    fn answer_reads(&mut self, effects: &mut Effects) {
        let applied = self.applied;
        self.reads.retain(|(index, context)| {
            let waits = *index > applied;
            if !waits {
                effects.reads.push(context.clone());
            }
            waits
        });
    }

    fn apply_run<H: Host>(
        &mut self,
        entries: Vec<Entry>,
        host: &mut H,
        effects: &mut Effects,
    ) -> Result<(), Fatal> {
        let count = entries.len();
        host.observe(Step::RunBegins);
        let state = self.state.clone();
        let lessor = state.lessor.write();
        let store = state.store.load_full();
        let mut run = Run {
            host,
            effects,
            writer: store.write(),
            lessor,
        };
        let applied = entries
            .iter()
            .try_for_each(|entry| self.apply_entry(entry, &mut run));
        let Run {
            host,
            effects,
            writer,
            lessor,
        } = run;
        // Also where an entry cannot be applied: those before it are whole.
        let events = writer.publish();
        drop(lessor);
        applied?;
        state.applied.store(self.applied, Ordering::Release);
        let applied = self.applied;
        host.consensus(|node| node.applied_to(applied));
        if !events.is_empty() {
            effects.changes.push(Change::Events(events));
        }
        host.observe(Step::RunEnds(count));
        Ok(())
    }

    /// Whether local state is linearizable state hangs on who the members are.
    fn follow_sole_leader(&self) {
        let sole = self.leads
            && self.leads_since_entry
            && self.conf_state.voters == [self.identity.member_id]
            && self.conf_state.learners.is_empty();
        self.state.sole_leader.store(sole, Ordering::Release);
    }

    /// Shows readers the membership.
    pub(crate) fn publish_cluster(&self) {
        let own = self.cluster.member(self.identity.member_id);
        let is_learner = own.is_some_and(|member| member.is_learner);
        self.state.is_learner.store(is_learner, Ordering::Relaxed);
        self.state.cluster.store(Arc::new(self.cluster.clone()));
    }
}
