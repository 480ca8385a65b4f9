//! The machine itself.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
    thread::JoinHandle,
    time::Instant,
};

use bolt::Batch;
use lease::LeaseId;
use membership::{Payload, Refusal};
use mvcc::{Leases, Writer};
use parking_lot::{Mutex, RwLockWriteGuard};
use proto::{
    etcdserverpb::{
        AlarmRequest, AlarmResponse, AlarmType, CompactionResponse, InternalRaftRequest,
        LeaseGrantRequest, LeaseGrantResponse, LeaseRevokeResponse, RequestOp, ResponseHeader,
        TxnRequest, TxnResponse, alarm_request::AlarmAction, internal_raft_request::Op, request_op,
    },
    raftpb::{ConfState, Entry, EntryType, Snapshot, SnapshotMetadata},
    wire::Nested,
};

use super::{Command, Outcome, snapshot::SnapshotState, waiters::Waiters};
use crate::{
    alarms::Restriction,
    core::Core,
    metrics::{Applies, Kind},
    node::Queue,
    quota,
    runtime::{Delivery, split_read_context},
    status::{Status, errors},
};

/// What the machine starts from.
pub struct Seed {
    /// Index and term of the last entry that the log will not deliver again.
    pub applied: (u64, u64),
    /// The database already holds the effects of entries up to here.
    pub consistent_index: u64,
    /// Membership as of `applied`.
    pub cluster: membership::Cluster,
    /// The v2 tree as of `applied`.
    pub tree: membership::v2store::Tree,
    /// Voters and learners as of `applied`.
    pub conf_state: ConfState,
    /// Voters and learners as of `consistent_index`, which shows how changes were judged.
    pub judged: Option<ConfState>,
    /// Index of the newest `.snap`.
    pub snapshot_index: u64,
    /// That `.snap` would stop a newer release.
    pub is_in_the_way: bool,
}

/// The state of the apply thread.
pub struct Machine {
    pub(super) core: Arc<Core>,
    pub(super) cluster: membership::Cluster,
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
    /// The newest `.snap`, or the log behind it, would stop a newer release.
    pub(super) is_in_the_way: bool,
    leads: bool,
    /// An entry of the own term was applied since this member leads.
    leads_since_entry: bool,
    waiters: Waiters,
    pub(super) deliveries: Vec<Vec<Delivery>>,
    applies: Applies,
    /// Empty between turns; kept for its memory.
    commands: VecDeque<Command>,
    /// Reads whose index is not applied yet.
    reads: Vec<(u64, bytes::Bytes)>,
}

/// The machine as its thread and the log writer share it.
pub type SharedMachine = Arc<Mutex<Machine>>;

/// The running thread.
pub struct ApplyThread {
    machine: SharedMachine,
    thread: JoinHandle<()>,
    queue: Arc<Queue<Command>>,
}

impl ApplyThread {
    /// Starts the thread.
    pub fn start(core: Arc<Core>, seed: Seed) -> std::io::Result<ApplyThread> {
        let queue = core.raft.apply.clone();
        let runtimes = core.inboxes.len();
        let machine = Arc::new(Mutex::new(Machine {
            applies: core.metrics.applies(),
            core,
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
            is_in_the_way: seed.is_in_the_way,
            leads: false,
            leads_since_entry: false,
            waiters: Waiters::default(),
            deliveries: (0..runtimes).map(|_| Vec::new()).collect(),
            commands: VecDeque::new(),
            reads: Vec::new(),
        }));
        let (own, inner) = (machine.clone(), queue.clone());
        let thread = std::thread::Builder::new()
            .name("apply".into())
            .spawn(move || {
                while inner.wait() {
                    own.lock().turn();
                }
            })?;
        Ok(ApplyThread {
            machine,
            thread,
            queue,
        })
    }

    /// For the log writer, which applies small runs itself.
    pub fn machine(&self) -> SharedMachine {
        self.machine.clone()
    }

    /// Waits for a snapshot under way, takes a last one if what lies on disk would
    /// stop another release, and lets no other begin. The log writer must still run.
    pub fn finish_snapshots(&self) {
        let join = |state| {
            if let SnapshotState::Running(thread) = state {
                // A panic of the thread was already reported by the panic hook.
                let _ = thread.join();
            }
        };
        let state = std::mem::replace(&mut self.machine.lock().snapshot, SnapshotState::Idle);
        join(state);
        let mut machine = self.machine.lock();
        machine.turn();
        machine.snapshot_for_others();
        let state = std::mem::replace(&mut machine.snapshot, SnapshotState::Over);
        drop(machine);
        join(state);
    }

    /// Applies what is queued and ends.
    pub fn stop(self) {
        self.queue.close();
        // A panic of the thread was already reported by the panic hook.
        let _ = self.thread.join();
    }
}

/// A snapshot for raft to offer. Its content is put in when it is sent, so that
/// it is never older than the database that goes with it.
pub fn placeholder(metadata: SnapshotMetadata) -> Snapshot {
    Snapshot {
        data: Some(bytes::Bytes::from_static(b"{}")),
        metadata,
    }
}

impl Machine {
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

    /// Does what is queued: whoever holds the machine, in the order of the queue.
    pub fn turn(&mut self) {
        let mut commands = std::mem::take(&mut self.commands);
        self.core.raft.apply.take(&mut commands);
        for command in commands.drain(..) {
            match command {
                Command::Register(run) => self.waiters.register(run),
                Command::Committed(entries) => self.apply_run(entries),
                Command::Reads(reads) => self.reads.extend(reads),
                Command::Role { leads, leader } => self.change_role(leads, leader),
                Command::Install(snapshot) => self.install(&snapshot),
                Command::SnapshotSaved { index } => self.snapshot_saved(index),
                Command::ClearTheWay => self.snapshot_for_others(),
            }
        }
        self.commands = commands;
        self.answer_reads();
        self.flush();
        self.forget_applied();
        self.maybe_snapshot();
    }

    /// A sole voter has nobody to catch up: its log in memory need not reach
    /// back to the last snapshot.
    fn forget_applied(&mut self) {
        let keep = self.core.config.snapshot_catchup_entries;
        if self.applied < self.compacted + 2 * keep.max(1)
            || self.conf_state.voters != [self.core.member_id]
        {
            return;
        }
        self.forget_log(self.applied - keep);
    }

    /// Lets raft forget entries up to `index`. Who still needs them is sent the
    /// state as of now; what it holds is filled in when it is sent.
    pub(super) fn forget_log(&mut self, index: u64) {
        self.compacted = index;
        let metadata = SnapshotMetadata {
            conf_state: self.conf_state.clone(),
            index: self.applied,
            term: self.term,
        };
        self.core.raft.drive(|node| {
            node.create_snapshot(placeholder(metadata));
            node.compact_log(index);
        });
    }

    fn change_role(&mut self, leads: bool, leader: u64) {
        if leader != 0 {
            // What reads asked of the one before is lost.
            for out in &mut self.deliveries {
                out.push(Delivery::NewLeader);
            }
        }
        if self.leads == leads {
            return;
        }
        self.leads = leads;
        if !leads {
            self.leads_since_entry = false;
            self.core.sole_leader.store(false, Ordering::Release);
            self.core.lessor.write().demote();
            self.core.leases_changed.notify_waiters();
        }
    }

    fn answer_reads(&mut self) {
        let (applied, nonce) = (self.applied, self.core.nonce);
        let deliveries = &mut self.deliveries;
        self.reads.retain(|(index, context)| {
            if *index > applied {
                return true;
            }
            if let Some((runtime, seq)) = split_read_context(context, nonce)
                && let Some(out) = deliveries.get_mut(runtime as usize)
            {
                out.push(Delivery::Read {
                    seq,
                    result: Ok(()),
                });
            }
            false
        });
    }

    fn flush(&mut self) {
        for (inbox, out) in self.core.inboxes.iter().zip(&mut self.deliveries) {
            if !out.is_empty() {
                inbox.deliver(out.drain(..));
            }
        }
    }

    fn apply_run(&mut self, entries: Vec<Entry>) {
        let core = self.core.clone();
        let begin = Instant::now();
        let count = entries.len();
        let mut lessor = core.lessor.write();
        let store = core.store.load_full();
        let mut writer = store.write();
        for entry in entries {
            self.apply_entry(entry, &mut writer, &mut lessor);
        }
        let events = writer.publish();
        drop(lessor);
        self.core.applied.store(self.applied, Ordering::Release);
        let applied = self.applied;
        self.core.raft.drive(|node| node.applied_to(applied));
        if !events.is_empty() {
            // Pairs with the fence of a watch that is being created: either it sees
            // the new revision, or its flag is seen here.
            fence(Ordering::SeqCst);
            for (inbox, out) in core.inboxes.iter().zip(&mut self.deliveries) {
                if inbox.watching.load(Ordering::SeqCst) {
                    // Ahead of the results, so that whoever sees its own write
                    // acknowledged finds the event on its way.
                    out.push(Delivery::Events(events.clone()));
                }
            }
        }
        let took = begin.elapsed();
        self.applies.observe(took);
        if took > core.config.warning_apply_duration {
            core.metrics.slow_apply.inc();
            tracing::warn!(
                took = ?took,
                "expected-duration" = ?core.config.warning_apply_duration,
                entries = count,
                "apply request took too long"
            );
        }
    }

    fn apply_entry(
        &mut self,
        entry: Entry,
        writer: &mut Writer<'_>,
        lessor: &mut RwLockWriteGuard<'_, lease::Lessor>,
    ) {
        if entry.index <= self.applied {
            return;
        }
        let fresh = entry.index > self.consistent_index;
        match EntryType::try_from(entry.r#type) {
            Ok(EntryType::EntryNormal) => self.apply_normal(&entry, fresh, writer, lessor),
            Ok(EntryType::EntryConfChange) => self.apply_conf_change(&entry, fresh, writer),
            _ => self.refuse(entry.index, &Refusal::Type(entry.r#type)),
        }
        self.applied = entry.index;
        self.term = entry.term;
        if fresh {
            writer.set_consistent_index(entry.index, entry.term);
        }
    }

    fn apply_normal(
        &mut self,
        entry: &Entry,
        fresh: bool,
        writer: &mut Writer<'_>,
        lessor: &mut RwLockWriteGuard<'_, lease::Lessor>,
    ) {
        let data = entry.data.clone().unwrap_or_default();
        let payload = match membership::decode_entry(&data) {
            Ok(payload) => payload,
            Err(error) => return self.refuse(entry.index, &error.into()),
        };
        if let Some(refusal) = membership::entry::refusal(&payload, fresh) {
            return self.refuse(entry.index, &refusal);
        }
        let request = match payload {
            Payload::Empty => {
                self.first_entry_of_term(entry.term, lessor);
                return;
            }
            Payload::V2(request) => {
                self.apply_v2(entry.index, &request, fresh, writer);
                self.applies.count(Kind::V2, true);
                self.answer(request.id, Ok(Outcome::Done));
                return;
            }
            Payload::Internal(request) => request,
        };
        let id = match &request.header {
            Some(header) if request.id == 0 => header.id,
            _ => request.id,
        };
        let kind = Kind::of(request.op.as_ref());
        let at = At {
            index: entry.index,
            fresh,
            asked: self.waiters.contains(id),
        };
        let result = self.apply_request(request, at, writer, lessor);
        self.applies.count(kind, result.is_ok());
        self.answer(id, result);
    }

    /// Stops before an entry that must not be applied. It is never skipped: the
    /// members after it would not be the same.
    pub(super) fn refuse(&self, index: u64, refusal: &Refusal) {
        self.core.fatal.report(
            "cannot apply a committed entry",
            &format!("entry {index}: {refusal}; {}", refusal.advice()),
        );
    }

    /// Tells what the log decided, the same on every member, from what went wrong on
    /// this one, which must not pass over the entry.
    fn decided<T>(&self, index: u64, result: Result<T, mvcc::Error>) -> Result<T, Status> {
        match &result {
            Err(mvcc::Error::EmptyOperation) => {
                self.refuse(index, &Refusal::Invalid("operation"));
            }
            Err(error @ (mvcc::Error::Database(_) | mvcc::Error::Corrupt { .. })) => {
                self.core.fatal.report(
                    "cannot apply a committed entry",
                    &format!("entry {index}: {error}"),
                );
            }
            _ => {}
        }
        Ok(result?)
    }

    /// The leader's empty entry is in: everything of earlier terms is applied.
    fn first_entry_of_term(&mut self, term: u64, lessor: &mut RwLockWriteGuard<'_, lease::Lessor>) {
        let current = self.core.raft.status.term.load(Ordering::Acquire);
        if !self.core.raft.status.is_leader.load(Ordering::Acquire) || term != current {
            return;
        }
        let extend = self.core.config.election.as_millis() as u64;
        lessor.promote(term, self.core.now_ms(), extend);
        self.core.leases_changed.notify_waiters();
        self.leads_since_entry = true;
        self.follow_sole_leader();
    }

    /// Whether local state is linearizable state hangs on who the members are.
    pub(super) fn follow_sole_leader(&self) {
        let sole = self.leads
            && self.leads_since_entry
            && self.conf_state.voters == [self.core.member_id]
            && self.conf_state.learners.is_empty();
        self.core.sole_leader.store(sole, Ordering::Release);
    }

    pub(super) fn answer(&mut self, id: u64, result: Result<Outcome, Status>) {
        if let Some(waiter) = self.waiters.take(id)
            && let Some(out) = self.deliveries.get_mut(waiter.runtime as usize)
        {
            out.push(Delivery::Applied(waiter, result));
        }
    }

    fn apply_request(
        &mut self,
        mut request: Nested<InternalRaftRequest>,
        at: At,
        writer: &mut Writer<'_>,
        lessor: &mut RwLockWriteGuard<'_, lease::Lessor>,
    ) -> Result<Outcome, Status> {
        let At {
            index,
            fresh,
            asked,
        } = at;
        // Membership follows the log from the last `.snap` on, whatever the database holds.
        if membership::entry::is_about_members(request.op.as_ref()) {
            // etcd 3.4 ends where it finds one of these in its log.
            self.is_in_the_way = true;
        }
        match &request.op {
            Some(Op::ClusterVersionSet(set)) => {
                return self.set_cluster_version(&set.ver, fresh, writer);
            }
            Some(Op::ClusterMemberAttrSet(set)) => {
                return self.set_attributes(index, set, fresh, writer);
            }
            Some(Op::DowngradeInfoSet(set)) => return self.set_downgrade(set, fresh, writer),
            _ if !fresh => return Ok(Outcome::Done),
            _ => {}
        }
        let Some(op) = &mut request.op else {
            self.refuse(index, &Refusal::Unknown);
            return Ok(Outcome::Done);
        };
        let restriction = self.core.alarms.read().restriction();
        let (no_space, corrupt) = (
            restriction == Restriction::Growth,
            restriction == Restriction::All,
        );
        if corrupt && is_stopped_by_corruption(op) {
            return Err(errors::CORRUPT);
        }
        let now = self.core.now_ms();
        match op {
            Op::Put(put) => {
                if no_space {
                    return Err(errors::NO_SPACE);
                }
                let fits = quota::available(&self.core, quota::put_cost(put));
                let result = writer.put(put, &mut Book(lessor));
                let response = self.decided(index, result)?;
                self.core.metrics.count_put(put);
                // The write stands either way: every member must do the same.
                if fits {
                    Ok(Outcome::Put(response))
                } else {
                    Err(errors::NO_SPACE)
                }
            }
            Op::DeleteRange(delete) => {
                let result = writer.delete_range(delete, &mut Book(lessor));
                let response = self.decided(index, result)?;
                self.core.metrics.count_delete(delete);
                Ok(Outcome::DeleteRange(response))
            }
            Op::Txn(txn) => {
                let cost = quota::txn_cost(txn);
                if no_space && cost > 0 {
                    return Err(errors::NO_SPACE);
                }
                let fits = quota::available(&self.core, cost);
                let result = transact(txn, asked, writer, lessor);
                let response = self.decided(index, result)?;
                self.core.metrics.count_txn(txn, &response);
                if fits {
                    Ok(Outcome::Txn(response))
                } else {
                    Err(errors::NO_SPACE)
                }
            }
            Op::Compaction(compaction) => {
                let ticket = writer.compact(compaction.revision)?;
                self.core.metrics.count_compaction();
                let header = as_of(writer);
                Ok(Outcome::Compaction(
                    CompactionResponse { header },
                    Some(ticket),
                ))
            }
            Op::LeaseGrant(grant) => {
                if no_space {
                    return Err(errors::NO_SPACE);
                }
                let fits = quota::available(&self.core, quota::LEASE_COST);
                let response = self.grant(grant, now, writer, lessor)?;
                if fits {
                    Ok(Outcome::LeaseGrant(response))
                } else {
                    Err(errors::NO_SPACE)
                }
            }
            Op::LeaseRevoke(revoke) => {
                let mut batch = Batch::default();
                let keys = lessor.revoke(LeaseId(revoke.id), &mut batch)?;
                writer.delete_keys(&keys);
                self.core.metrics.count_deleted_keys(keys.len());
                writer.write(batch);
                self.core.metrics.lease_revoked.inc();
                self.core.leases_changed.notify_waiters();
                let header = as_of(writer);
                Ok(Outcome::LeaseRevoke(LeaseRevokeResponse { header }))
            }
            Op::LeaseCheckpoint(request) => {
                let mut batch = Batch::default();
                for checkpoint in &request.checkpoints {
                    // A lease revoked meanwhile is no longer there to be told.
                    let id = LeaseId(checkpoint.id);
                    let _ = lessor.checkpoint_apply(id, checkpoint.remaining_ttl, now, &mut batch);
                }
                writer.write(batch);
                Ok(Outcome::Done)
            }
            Op::Alarm(request) => Ok(Outcome::Alarm(self.alarm(request, writer))),
            Op::DowngradeVersionTest(_) | Op::Range(_) => Ok(Outcome::Done),
            // Proposed by an etcd: they read, or are refused while authentication is off.
            Op::AuthDisable(_)
            | Op::Authenticate(_)
            | Op::AuthStatus(_)
            | Op::AuthUserGet(_)
            | Op::AuthUserList(_)
            | Op::AuthRoleGet(_)
            | Op::AuthRoleList(_) => Ok(Outcome::Done),
            // Refused, or done, before this.
            Op::V2(_)
            | Op::ClusterVersionSet(_)
            | Op::ClusterMemberAttrSet(_)
            | Op::DowngradeInfoSet(_)
            | Op::AuthEnable(_)
            | Op::AuthUserAdd(_)
            | Op::AuthUserDelete(_)
            | Op::AuthUserChangePassword(_)
            | Op::AuthUserGrantRole(_)
            | Op::AuthUserRevokeRole(_)
            | Op::AuthRoleAdd(_)
            | Op::AuthRoleDelete(_)
            | Op::AuthRoleGrantPermission(_)
            | Op::AuthRoleRevokePermission(_) => {
                self.refuse(index, &Refusal::Unknown);
                Ok(Outcome::Done)
            }
        }
    }

    fn grant(
        &mut self,
        request: &LeaseGrantRequest,
        now: u64,
        writer: &mut Writer<'_>,
        lessor: &mut RwLockWriteGuard<'_, lease::Lessor>,
    ) -> Result<LeaseGrantResponse, Status> {
        let mut batch = Batch::default();
        let ttl = lessor.grant(LeaseId(request.id), request.ttl, now, &mut batch)?;
        writer.write(batch);
        self.core.metrics.lease_granted.inc();
        self.core.metrics.lease_ttl.observe(ttl as f64);
        Ok(LeaseGrantResponse {
            header: as_of(writer),
            id: request.id,
            ttl,
            error: String::new(),
        })
    }

    fn alarm(&mut self, request: &AlarmRequest, writer: &mut Writer<'_>) -> AlarmResponse {
        let mut alarms = self.core.alarms.write();
        let mut batch = Batch::default();
        let changed = proto::etcdserverpb::AlarmMember {
            member_id: request.member_id,
            alarm: request.alarm,
        };
        let listed = match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Get) => alarms.of_kind(request.alarm),
            Ok(AlarmAction::Activate) if request.alarm == AlarmType::None as i32 => Vec::new(),
            Ok(AlarmAction::Activate) => {
                if alarms.activate(request.member_id, request.alarm, &mut batch) {
                    tracing::warn!(
                        alarm = AlarmType::try_from(request.alarm)
                            .unwrap_or_default()
                            .as_str_name(),
                        "from-member" = format!("{:x}", request.member_id),
                        "alarm raised"
                    );
                }
                vec![changed]
            }
            Ok(AlarmAction::Deactivate) => {
                if alarms.deactivate(request.member_id, request.alarm, &mut batch) {
                    tracing::warn!(
                        alarm = AlarmType::try_from(request.alarm)
                            .unwrap_or_default()
                            .as_str_name(),
                        "from-member" = format!("{:x}", request.member_id),
                        "alarm disarmed"
                    );
                    vec![changed]
                } else {
                    Vec::new()
                }
            }
            Err(_) => Vec::new(),
        };
        writer.write(batch);
        AlarmResponse {
            header: as_of(writer),
            alarms: listed,
        }
    }
}

/// A header that holds the revision as of the entry just applied, for the API to complete.
fn as_of(writer: &Writer<'_>) -> Option<ResponseHeader> {
    Some(ResponseHeader {
        revision: writer.revision(),
        ..ResponseHeader::default()
    })
}

/// What the CORRUPT alarm forbids.
fn is_stopped_by_corruption(op: &Op) -> bool {
    matches!(
        op,
        Op::Put(_)
            | Op::Range(_)
            | Op::DeleteRange(_)
            | Op::Txn(_)
            | Op::Compaction(_)
            | Op::LeaseGrant(_)
            | Op::LeaseRevoke(_)
    )
}

/// Runs a transaction. Its ranges never decide what it does: etcd's members pass
/// over those on the outermost level unless their own client asked, so what a
/// failed one leaves undone would be undone on one member alone. Whoever asked
/// hears of it all the same.
fn transact(
    txn: &mut TxnRequest,
    asked: bool,
    writer: &mut Writer<'_>,
    lessor: &mut RwLockWriteGuard<'_, lease::Lessor>,
) -> Result<Nested<TxnResponse>, mvcc::Error> {
    if !asked {
        drop_ranges(txn);
    }
    match writer.txn(txn, &mut Book(lessor)) {
        Err(error @ (mvcc::Error::FutureRev | mvcc::Error::Compacted)) if asked => {
            drop_ranges(txn);
            drop(Nested::new(writer.txn(txn, &mut Book(lessor))?));
            Err(error)
        }
        result => result.map(Nested::new),
    }
}

fn drop_ranges(txn: &mut TxnRequest) {
    let is_range =
        |op: &RequestOp| matches!(op.request, Some(request_op::Request::RequestRange(_)));
    txn.success.retain(|op| !is_range(op));
    txn.failure.retain(|op| !is_range(op));
}

/// Where a request is in the log, and who waits for it.
#[derive(Clone, Copy)]
struct At {
    index: u64,
    /// The database does not hold it yet.
    fresh: bool,
    /// A client of this member waits for the result.
    asked: bool,
}

/// The lessor as the store sees it.
struct Book<'a, 'b>(&'a mut RwLockWriteGuard<'b, lease::Lessor>);

impl Leases for Book<'_, '_> {
    fn exists(&self, id: i64) -> bool {
        self.0.exists(LeaseId(id))
    }
    fn attach(&mut self, id: i64, key: &bytes::Bytes) {
        // The store asked for the lease before it wrote the key.
        let _ = self.0.attach(LeaseId(id), key);
    }
    fn detach(&mut self, _: i64, key: &[u8]) {
        self.0.detach(key);
    }
}
