//! One member: the product's own parts, whose turns the world decides. Each method is one turn of
//! one of the server's threads. What is of the server's and not of the product's [`member`] is
//! kept here in its plainest form: the read gate, keepalives, the transport of snapshots, purges.

mod host;
pub mod start;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use lease::LeaseId;
use member::{
    Command, Effects, Fatal, Machine, State, Waiter, apply::Change, forwarded, log::LogWriter,
    open::Dirs,
};
use membership::{Cluster, disagreement, v3store};
use prost::Message as _;
use proto::{
    etcdserverpb::{
        InternalRaftRequest, LeaseRevokeRequest, RangeRequest, internal_raft_request::Op,
    },
    membershippb::{Attributes, ClusterMemberAttrSetRequest},
    raftpb::{self as pb, ConfChange, ConfState},
};
use wal::{
    disk::{Disk as _, Mode},
    purge::purge_on,
    sim::SimulatedDisk,
    snap::Snapshotter,
};

use host::{Core, SimulatedHost, request_of};

use crate::{
    model::{Kv, Reply},
    plant::Plant,
    shared::{Shared, Wire},
};

/// A member ends: its disk failed or died under it.
#[derive(Debug)]
pub struct Down(
    /// What the disk said.
    pub String,
);

/// What follows from a turn.
#[derive(Default)]
pub struct Out {
    /// To send.
    pub messages: Vec<Wire>,
    /// To answer, by request.
    pub answers: Vec<(u64, Reply)>,
}

/// What a client asks a member for.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Something that goes through the log.
    Write(Op),
    /// A read; serializable ones ask nobody.
    Read(RangeRequest),
    /// A keepalive.
    Renew(i64),
    /// A change of the configuration, in etcd's serialization.
    Change(ConfChange),
}

/// What an answered read index is for.
enum Waiting {
    Read(RangeRequest),
    Renew(i64),
}

/// A running member.
pub struct Member {
    disk: SimulatedDisk,
    dirs: Dirs,
    snapshotter: Snapshotter,
    machine: Machine,
    state: Arc<State>,
    writer: LogWriter,
    core: Core,
    effects: Effects,
    cluster_id: u64,
    /// The members, as of the last entry applied.
    pub cluster: Arc<Cluster>,
    /// The last entry applied.
    pub applied: u64,
    waiting: BTreeMap<u64, Waiting>,
    ticks: u64,
    answers: Vec<(u64, Reply)>,
}

type Turn = Result<(), Down>;

fn disk(error: impl std::fmt::Display) -> Down {
    Down(error.to_string())
}

/// What ends the product: the disk, or something that must never come about.
fn stop(shared: &mut Shared, disk: &SimulatedDisk, fatal: &Fatal) -> Down {
    let text = fatal.to_string();
    let by_disk = disk.has_died() || DISK_ERRORS.iter().any(|known| text.contains(known));
    if !by_disk {
        shared.oracle.fail("entries are understood", text.clone());
    }
    Down(text)
}

/// What the simulated disk says, and the database after it has heard it.
const DISK_ERRORS: [&str; 3] = ["the machine is dead", "sync failed", "Input/output error"];

impl Member {
    /// Member id.
    pub fn id(&self) -> u64 {
        self.core.id
    }

    /// Takes what the turns so far brought.
    pub fn take_out(&mut self) -> Out {
        Out {
            messages: std::mem::take(&mut self.core.messages),
            answers: std::mem::take(&mut self.answers),
        }
    }

    /// True if the log writer should not wait for company.
    pub fn wants_log(&self) -> bool {
        self.core.log_is_loud
    }

    /// True if the apply thread has something to do.
    pub fn wants_apply(&self) -> bool {
        !self.core.apply.is_empty() || !self.core.snapshots.is_empty()
    }

    /// True if the snapshot thread has something to do.
    pub fn wants_snapshot(&self) -> bool {
        self.core.snapshot.is_some()
    }

    /// True if changes wait for a commit.
    pub fn wants_commit(&self) -> bool {
        self.state.store.load().backend().pending() > 0
    }

    /// Where the core stands.
    pub fn status(&self) -> consensus::Status {
        self.core.node.status()
    }

    /// Who has a vote, as raft counts.
    pub fn conf_state(&self) -> &ConfState {
        self.machine.conf_state()
    }

    /// It has told the cluster its name and URLs since it started.
    pub fn is_published(&self) -> bool {
        self.core.published
    }

    /// The log writer's turn: what is queued becomes one write and one sync. Small runs of what
    /// that commits it applies itself, if the apply thread is not at it.
    pub fn log_turn(&mut self, shared: &mut Shared) -> Turn {
        self.core.log_is_loud = false;
        let mut batch = std::mem::take(&mut self.core.log);
        let Member {
            machine,
            writer,
            core,
            effects,
            ..
        } = self;
        let mut stopped = None;
        let written = writer.write(&mut batch, &mut |command| {
            // The apply thread may be at it before the next write, or long after.
            let at_once = matches!(&command, Command::Install(snapshot)
                if (snapshot.metadata.index ^ core.id).is_multiple_of(2));
            core.apply.push_back(command);
            if at_once {
                stopped = machine_turn(machine, core, effects, shared).err();
            }
        });
        let mut written = written.map_err(disk)?;
        if let Some(fatal) = stopped {
            return Err(stop(shared, &self.disk, &fatal));
        }
        if written.installs || written.record_bytes > 0 {
            self.purge()?;
        }
        self.follow(shared)?;
        if let Some(number) = written.number {
            self.core.node.persisted(number);
            let messages = std::mem::take(&mut written.messages);
            self.core.send(shared, messages);
            let committed = self.core.hand_on(shared);
            let inline = written.applies_inline(committed, self.core.log_is_loud);
            if inline && number.is_multiple_of(2) {
                return self.apply_turn(shared);
            }
        }
        Ok(())
    }

    /// Files that a recorded snapshot makes superfluous go.
    fn purge(&self) -> Turn {
        for (dir, suffix) in [(&self.dirs.wal, ".wal"), (&self.dirs.snap, ".snap")] {
            purge_on(&self.disk, dir, suffix, 2).map_err(disk)?;
        }
        Ok(())
    }

    /// The apply thread's turn: what is queued, in order.
    pub fn apply_turn(&mut self, shared: &mut Shared) -> Turn {
        let Member {
            machine,
            core,
            effects,
            ..
        } = self;
        let done = machine_turn(machine, core, effects, shared);
        if let Err(fatal) = done {
            return Err(stop(shared, &self.disk, &fatal));
        }
        self.follow(shared)?;
        let mut host = SimulatedHost {
            core: &mut self.core,
            shared,
        };
        self.machine.upkeep(&mut host);
        self.send_snapshots(shared)
    }

    /// Takes the effects of a turn where they belong.
    fn follow(&mut self, shared: &mut Shared) -> Turn {
        if let Some(fatal) = self.core.failed.take() {
            return Err(stop(shared, &self.disk, &fatal));
        }
        self.applied = self.machine.applied();
        self.cluster = self.state.cluster.load_full();
        let mut effects = std::mem::take(&mut self.effects);
        for change in effects.changes.drain(..) {
            if let Change::Restored { .. } = change {
                self.restored(shared);
            }
        }
        for (waiter, result) in effects.answers.drain(..) {
            let reply = Reply::of(&result);
            self.answers.push((waiter.slot.into(), reply));
        }
        for context in effects.reads.drain(..) {
            let request = request_of(&context);
            match request.and_then(|request| Some((request, self.waiting.remove(&request)?))) {
                Some((request, Waiting::Read(range))) => {
                    let reply = self.read(&range);
                    self.answers.push((request, reply));
                }
                Some((request, Waiting::Renew(lease))) => self.renew(shared, request, lease),
                None => {}
            }
        }
        Ok(())
    }

    /// A received snapshot is in place.
    fn restored(&mut self, shared: &mut Shared) {
        shared.oracle.reached.installs += 1;
        let index = self.state.store.load().backend().consistent_index().index;
        if index < self.applied {
            let text = format!(
                "{:x} received a database up to {index} for {}",
                self.core.id, self.applied
            );
            shared
                .oracle
                .fail("consistent_index is that of the data", text);
        }
        self.inspect(shared);
    }

    /// The committer's turn.
    pub fn commit_turn(&mut self) -> Turn {
        let store = self.state.store.load_full();
        store.backend().commit_now().map_err(disk)
    }

    /// The compacting thread's turn; it fails where the committer fails.
    pub fn compact_turn(&mut self) -> Turn {
        while self.state.store.load().compact_waiting() {}
        self.commit_turn()
    }

    /// The snapshot thread's turn: one step.
    pub fn snapshot_turn(&mut self, shared: &mut Shared) -> Turn {
        match self.core.snapshot_step(shared) {
            Ok(()) => Ok(()),
            Err(fatal) => Err(stop(shared, &self.disk, &fatal)),
        }
    }

    /// Time passes: 100 ms.
    pub fn tick(&mut self, shared: &mut Shared) {
        self.core.node.tick();
        self.ticks += 1;
        if self.ticks.is_multiple_of(5) {
            self.expire(shared);
        }
        if !self.core.published && self.ticks.is_multiple_of(7) {
            self.publish(shared);
        }
        self.core.log_is_loud |= !self.core.log.is_empty();
        self.core.hand_on(shared);
    }

    /// Asks for the end of leases whose time is over, as a leader.
    fn expire(&mut self, shared: &mut Shared) {
        let mut lessor = self.state.lessor.write();
        let Some(term) = lessor.primary_term() else {
            return;
        };
        for LeaseId(id) in lessor.expired(shared.now_ms(), 16) {
            shared.next_request += 1;
            let request = shared.next_request;
            shared.oracle.expires(request, self.applied);
            let op = Op::LeaseRevoke(LeaseRevokeRequest { id });
            // Refused, it is named again later.
            let revoke = vec![encode(request, op)];
            let _ = self.core.node.propose_as_leader(term, revoke);
        }
    }

    /// Tells the cluster name and client URLs, as every start does.
    fn publish(&mut self, shared: &mut Shared) {
        shared.next_request += 1;
        let set = ClusterMemberAttrSetRequest {
            member_id: self.core.id,
            member_attributes: Some(Attributes {
                name: format!("m{:x}", self.core.id),
                client_urls: vec![format!("http://{:x}:2379", self.core.id)],
            }),
        };
        // Without a leader it is tried again.
        let op = Op::ClusterMemberAttrSet(set);
        let propose = vec![encode(shared.next_request, op)];
        let _ = self.core.node.propose(propose);
    }

    /// A message arrives.
    pub fn receive(&mut self, shared: &mut Shared, wire: Wire) -> Turn {
        let Wire { message, db } = wire;
        if let (Some(db), Some(snapshot)) = (&db, &message.snapshot) {
            self.save_received(shared, snapshot.metadata.index, db)?;
        }
        // Through etcd's encoding, as on the wire.
        let bytes = Bytes::from(message.encode_to_vec());
        let message = match pb::Message::decode(bytes) {
            Ok(message) => message,
            Err(error) => {
                let text = format!("own encoding: {error}");
                shared.oracle.fail("messages are understood", text);
                return Ok(());
            }
        };
        let is_settled = || self.core.node.is_settled();
        if let Err((index, refusal)) = forwarded::judge(&message, &self.state, is_settled) {
            let text = format!("{:x}: proposal {index}: {refusal}", self.core.id);
            shared.oracle.fail("messages are understood", text);
            return Ok(());
        }
        if let Err(error) = self.core.node.step(message) {
            let text = format!("{:x}: {error}", self.core.id);
            shared.oracle.fail("messages are understood", text);
        }
        self.core.hand_on(shared);
        Ok(())
    }

    /// Keeps the database of a snapshot as `<index>.snap.db`.
    fn save_received(&mut self, shared: &Shared, index: u64, db: &[u8]) -> Turn {
        let path = self.snapshotter.db_path(index);
        let building = self.dirs.snap.join(format!("tmp.{index:016x}"));
        let synced = !shared.broken(Plant::ReceivedDbNotSynced);
        let save = || {
            let file = self.disk.open(&building, Mode::Create(0o600))?;
            file.write_at(db, 0)?;
            if synced {
                file.sync()?;
            }
            self.disk.rename(&building, &path)?;
            if synced {
                self.disk.sync_dir(&self.dirs.snap)?;
            }
            Ok::<(), std::io::Error>(())
        };
        save().map_err(disk)
    }

    /// raft wants messages sent whose snapshot says where the log begins; what is sent is the
    /// state as of now, which is newer.
    fn send_snapshots(&mut self, shared: &mut Shared) -> Turn {
        for mut message in std::mem::take(&mut self.core.snapshots) {
            let members = self.machine.members_to_send();
            let store = self.state.store.load_full();
            let view = store.backend().snapshot().map_err(disk)?;
            let Some(snapshot) = members.with(&self.machine, &view).map_err(disk)? else {
                // The database is ahead of the members after a start: it is tried again.
                self.core.node.report_snapshot(message.to, false);
                continue;
            };
            let mut db = Vec::new();
            view.write_to(&mut db).map_err(disk)?;
            message.snapshot = Some(snapshot);
            shared.oracle.sends(self.core.id, &message);
            self.core.messages.push(Wire {
                message,
                db: Some(Arc::new(db)),
            });
        }
        self.core.hand_on(shared);
        Ok(())
    }

    /// What became of a snapshot that was sent.
    pub fn report_snapshot(&mut self, shared: &mut Shared, to: u64, arrived: bool) {
        self.core.node.report_snapshot(to, arrived);
        self.core.hand_on(shared);
    }

    /// Gives leadership away.
    pub fn transfer(&mut self, shared: &mut Shared, to: u64) {
        self.core.node.transfer_leader(to);
        self.core.hand_on(shared);
    }

    /// A client asks; a refusal at once is certain to have no effect.
    pub fn ask(&mut self, shared: &mut Shared, request: u64, ask: Ask) {
        match ask {
            Ask::Write(op) => {
                let taken = self.core.node.propose(vec![encode(request, op)]);
                self.register(shared, request, taken);
            }
            Ask::Change(change) => {
                let change = change.encode_to_vec().into();
                let taken = self.core.node.propose_conf_change(change);
                self.register(shared, request, taken);
            }
            Ask::Read(range) => {
                if range.serializable || self.state.sole_leader.load(Ordering::Acquire) {
                    let reply = self.read(&range);
                    self.answers.push((request, reply));
                } else {
                    self.waiting.insert(request, Waiting::Read(range));
                    self.core.node.read_index(context(request));
                }
            }
            Ask::Renew(_) if !self.core.leads => {
                let reply = Reply::Refused("not leader".into());
                self.answers.push((request, reply));
            }
            Ask::Renew(lease) if shared.broken(Plant::RenewUnchecked) => {
                self.renew(shared, request, lease);
            }
            Ask::Renew(lease) => {
                self.waiting.insert(request, Waiting::Renew(lease));
                self.core.node.read_index(context(request));
            }
        }
        self.core.hand_on(shared);
    }

    /// Has the result of a request awaited, before its entry can reach the apply queue.
    fn register(
        &mut self,
        shared: &Shared,
        request: u64,
        taken: Result<(), consensus::ProposeError>,
    ) {
        if let Err(error) = taken {
            let reply = Reply::Refused(error.to_string());
            return self.answers.push((request, reply));
        }
        let waiter = Waiter {
            runtime: 0,
            slot: request as u32,
            generation: 0,
            deadline_ms: shared.now_ms() + 10_000,
        };
        let run = vec![(request, waiter)];
        self.core.apply.push_back(Command::Register(run));
    }

    fn renew(&mut self, shared: &Shared, request: u64, lease: i64) {
        let renewed = self
            .state
            .lessor
            .write()
            .renew(LeaseId(lease), shared.now_ms());
        let reply = match renewed {
            Ok(renewal) => Reply::Renewed(renewal.ttl_secs),
            Err(error) => Reply::Refused(error.to_string()),
        };
        self.answers.push((request, reply));
    }

    fn read(&self, range: &RangeRequest) -> Reply {
        match self.state.store.load().range(range, self.state.line()) {
            Ok(answer) => {
                let current = answer.revision;
                let response = answer.into_response();
                let revision = if range.revision > 0 {
                    range.revision
                } else {
                    current
                };
                Reply::Range(revision, response.kvs.iter().map(Kv::from).collect())
            }
            Err(error) => Reply::Refused(error.to_string()),
        }
    }

    /// The judge looks at hash and content.
    pub fn inspect(&self, shared: &mut Shared) {
        let store = self.state.store.load_full();
        match store.hash_kv(0) {
            Ok(hash) => shared.oracle.hash(self.core.id, &hash),
            Err(error) => shared
                .oracle
                .fail("the store can be read", error.to_string()),
        }
        let index = store.backend().consistent_index().index;
        let all = RangeRequest {
            key: Bytes::from_static(&[0]),
            range_end: Bytes::from_static(&[0]),
            ..RangeRequest::default()
        };
        match self.read(&all) {
            Reply::Range(_, kvs) => {
                let revision = store.revision();
                shared.oracle.contents(self.core.id, index, revision, &kvs);
            }
            other => shared
                .oracle
                .fail("the store can be read", format!("{other:?}")),
        }
    }
}

/// One turn of the machine.
fn machine_turn(
    machine: &mut Machine,
    core: &mut Core,
    effects: &mut Effects,
    shared: &mut Shared,
) -> Result<(), Fatal> {
    let mut commands = std::mem::take(&mut core.apply);
    check_installs(core.id, &commands, shared);
    let mut host = SimulatedHost { core, shared };
    machine.turn(&mut commands, &mut host, effects)
}

/// A snapshot must be of the one log.
fn check_installs(id: u64, commands: &VecDeque<Command>, shared: &mut Shared) {
    for command in commands {
        let Command::Install(snapshot) = command else {
            continue;
        };
        let at = &snapshot.metadata;
        if shared.oracle.term_at(at.index) != Some(at.term) {
            let text = format!("{id:x}: entry {} of term {}", at.index, at.term);
            shared.oracle.fail("a snapshot is of the log", text);
        }
    }
}

fn encode(request: u64, op: Op) -> Bytes {
    let request = InternalRaftRequest {
        id: request,
        header: None,
        op: Some(op),
    };
    request.encode_to_vec().into()
}

fn context(request: u64) -> Bytes {
    Bytes::copy_from_slice(&request.to_be_bytes())
}

/// The copies of the membership that members compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copies {
    members: Vec<membership::Member>,
    removed: Vec<membership::MemberId>,
    version: Option<semver::Version>,
    conf_state: ConfState,
}

impl Member {
    /// Everything is applied and nothing under way: every copy is compared with
    /// the others, and with the judge's.
    pub fn at_rest(&mut self, shared: &mut Shared) -> Result<Copies, Down> {
        self.compact_turn()?;
        self.inspect(shared);
        let id = self.core.id;
        let view = self.state.store.load().backend().db().begin_read();
        for problem in bolt::check::check(&view) {
            let text = format!("{id:x}: {problem:?}");
            shared.oracle.fail("the database is sound", text);
        }
        match v3store::read(&view) {
            Ok(v3) => {
                for found in disagreement::find(&self.cluster, self.conf_state(), &v3) {
                    let text = format!("{id:x}: {found}");
                    shared.oracle.fail("copies of the membership agree", text);
                }
            }
            Err(error) => shared
                .oracle
                .fail("the database is sound", error.to_string()),
        }
        match Cluster::recover(self.cluster_id.into(), self.machine.tree()) {
            Ok(tree) if tree.members().eq(self.cluster.members()) => {}
            other => {
                let text = format!("{id:x}: tree {other:?}, truth {:?}", self.cluster);
                shared.oracle.fail("copies of the membership agree", text);
            }
        }
        let lessor = self.state.lessor.read();
        let leases: Vec<i64> = lessor.leases().iter().map(|id| id.0).collect();
        let expected = shared.oracle.model.leases().count();
        if leases.len() != expected {
            let text = format!("{id:x} has leases {leases:?}, not {expected}");
            shared.oracle.fail("same entry, same state", text);
        }
        let mut conf_state = self.conf_state().clone();
        conf_state.voters.sort_unstable();
        conf_state.learners.sort_unstable();
        Ok(Copies {
            members: self.cluster.members().cloned().collect(),
            removed: self.cluster.removed().collect(),
            version: self.cluster.version().cloned(),
            conf_state,
        })
    }
}
