//! One member: the real parts, and between them the order of steps that the
//! server's threads keep. Each method is one turn of one of those threads; the
//! world decides when it comes. What is here mirrors `server::node` and
//! `server::apply` and must change with them:
//!
//! 1. work of the core: reads and committed entries go to the apply
//!    queue, everything else to the log queue, both in order (`hand_on`)
//! 2. log turn: all that is queued is appended, then synced once, then told to
//!    the core, before the messages that waited are sent; a received snapshot goes
//!    to the apply queue once the log says that it is committed (`log_turn`)
//! 3. apply turn: a run of entries under one writer, with consistent_index in
//!    the same batch (`apply_turn`)
//! 4. snapshot: database committed, `.snap` durable, record in the log (`snapshot_turn`)

mod apply;
mod boot;
mod install;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use consensus::{Node, Role};
use lease::{LeaseId, Lessor};
use membership::{Cluster, Payload, disagreement, v2store::Tree, v3store};
use mvcc::{Store, backend::Backend};
use prost::Message as _;
use proto::{
    etcdserverpb::{
        InternalRaftRequest, LeaseRevokeRequest, RangeRequest, internal_raft_request::Op,
    },
    membershippb::{Attributes, ClusterMemberAttrSetRequest},
    raftpb::{self as pb, ConfChange, ConfState},
    walpb,
};
use wal::{Wal, purge::purge_on, sim::SimulatedDisk, snap::Snapshotter};

pub use boot::Birth;

use crate::{
    model::{Kv, Reply},
    oracle::Oracle,
    plant::Plant,
};

/// Shortest TTL in seconds.
pub const MIN_TTL: i64 = 1;
/// Ticks of an election; a tick is 100 ms.
pub const ELECTION_TICKS: usize = 10;
/// Length of a tick in us.
pub const TICK_US: u64 = 100_000;

/// A member ends: its disk failed or died under it.
#[derive(Debug)]
pub struct Down(
    /// What the disk said.
    pub String,
);

/// What all members of a run share.
pub struct Shared {
    /// The judge.
    pub oracle: Oracle,
    /// The broken rule, if one is.
    pub plant: Option<Plant>,
    /// Virtual time in us.
    pub now_us: u64,
    /// Entries between two snapshots.
    pub snapshot_count: u64,
    /// Members ask before they disturb a leader.
    pub pre_vote: bool,
    /// Entries kept in memory behind a snapshot.
    pub catch_up: u64,
    /// Next id of a request that a member makes by itself.
    pub next_request: u64,
}

impl Shared {
    pub(crate) fn broken(&self, plant: Plant) -> bool {
        self.plant == Some(plant)
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.now_us / 1000
    }
}

/// A message under way, with the database if it is a snapshot.
#[derive(Clone, Debug)]
pub struct Wire {
    /// As raft has it.
    pub message: pb::Message,
    /// The database that goes with a snapshot.
    pub db: Option<Arc<Vec<u8>>>,
}

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

enum LogCommand {
    Append { work: Box<consensus::Work> },
    Snapshot { snapshot: pb::Snapshot },
}

enum Command {
    Committed(Vec<pb::Entry>),
    Reads(Vec<(u64, Bytes)>),
    Role { leads: bool },
    Install(pb::Snapshot),
    Send(Box<pb::Message>),
    SnapshotSaved(pb::Snapshot),
}

/// What the snapshot thread does next.
enum SnapshotStep {
    Idle,
    Commit(pb::Snapshot),
    Save(pb::Snapshot),
    /// The log writer has it.
    Recorded,
}

/// What an answered read index is for.
enum Waiting {
    Read(RangeRequest),
    Renew(i64),
}

/// Where a member keeps its files.
struct Dirs {
    wal: PathBuf,
    snap: PathBuf,
    db: PathBuf,
}

impl Dirs {
    fn new() -> Dirs {
        let member = Path::new("/data/member");
        Dirs {
            wal: member.join("wal"),
            snap: member.join("snap"),
            db: member.join("snap/db"),
        }
    }
}

/// A running member.
pub struct Member {
    id: u64,
    disk: SimulatedDisk,
    dirs: Dirs,
    snapshotter: Snapshotter,
    node: Node,
    wal: Wal,
    backend: Arc<Backend>,
    store: Arc<Store>,
    lessor: Lessor,
    /// The truth about the members.
    pub cluster: Cluster,
    tree: Tree,
    conf_state: ConfState,
    /// The last entry applied.
    pub applied: u64,
    term: u64,
    /// The database held entries up to here when it was opened.
    consistent_index: u64,
    snapshot_index: u64,
    snapshot: SnapshotStep,
    leads: bool,
    sole_leader: bool,
    log: VecDeque<LogCommand>,
    apply: VecDeque<Command>,
    /// Something in the log queue should not wait.
    pub log_loud: bool,
    /// Requests whose results are awaited here.
    waiters: BTreeSet<u64>,
    waiting: BTreeMap<u64, Waiting>,
    /// Reads whose index is not applied yet.
    reads: Vec<(u64, u64)>,
    ticks: u64,
    /// It has told the cluster its name and URLs since it started.
    pub published: bool,
    out: Out,
}

type Turn = Result<(), Down>;

fn disk(error: impl std::fmt::Display) -> Down {
    Down(error.to_string())
}

impl Member {
    /// Member id.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Takes what the turns so far brought.
    pub fn take_out(&mut self) -> Out {
        std::mem::take(&mut self.out)
    }

    /// True if the apply thread has something to do.
    pub fn wants_apply(&self) -> bool {
        !self.apply.is_empty()
    }

    /// True if the snapshot thread has something to do.
    pub fn wants_snapshot(&self) -> bool {
        matches!(
            self.snapshot,
            SnapshotStep::Commit(_) | SnapshotStep::Save(_)
        )
    }

    /// True if changes wait for a commit.
    pub fn wants_commit(&self) -> bool {
        self.backend.pending() > 0
    }

    /// Where the core stands.
    pub fn status(&self) -> consensus::Status {
        self.node.status()
    }

    /// Who has a vote, as raft counts.
    pub fn conf_state(&self) -> &ConfState {
        &self.conf_state
    }

    /// Messages leave.
    fn send(&mut self, shared: &mut Shared, messages: Vec<pb::Message>) {
        for message in messages {
            if message.r#type == pb::MessageType::MsgSnap as i32 {
                // The database is read by the one who applies.
                self.apply.push_back(Command::Send(Box::new(message)));
                continue;
            }
            shared.oracle.sends(self.id, &message);
            self.out.messages.push(Wire { message, db: None });
        }
    }

    fn hand_on(&mut self, shared: &mut Shared) {
        while self.node.has_work() {
            let mut work = self.node.work();
            if let Some(soft) = work.soft {
                let leads = soft.role == Role::Leader;
                if leads {
                    shared.oracle.leads(self.id, self.node.status().term);
                }
                self.apply.push_back(Command::Role { leads });
            }
            if !work.read_states.is_empty() {
                let reads = std::mem::take(&mut work.read_states);
                self.apply.push_back(Command::Reads(reads));
            }
            if !work.committed.is_empty() {
                let entries = std::mem::take(&mut work.committed);
                self.apply.push_back(Command::Committed(entries));
            }
            let at_once = std::mem::take(&mut work.messages);
            self.send(shared, at_once);
            if shared.broken(Plant::MessagesBeforePersist) {
                let after = std::mem::take(&mut work.messages_after_persist);
                self.send(shared, after);
            }
            if shared.broken(Plant::VoteNotSynced) && work.entries.is_empty() {
                work.must_sync = false;
            }
            // A moved commit index rides with what comes next.
            self.log_loud |= work.must_sync
                || work.snapshot.is_some()
                || !work.messages_after_persist.is_empty();
            self.log.push_back(LogCommand::Append {
                work: Box::new(work),
            });
        }
    }

    /// The log writer's turn: what is queued becomes one write and one sync.
    pub fn log_turn(&mut self, shared: &mut Shared) -> Turn {
        self.log_loud = false;
        let (mut sync, mut newest, mut after) = (false, None, Vec::new());
        let mut own = Vec::new();
        for command in std::mem::take(&mut self.log) {
            match command {
                LogCommand::Append { mut work } => {
                    if let Some(snapshot) = &work.snapshot {
                        if shared.broken(Plant::CommitBeforeSnapshot) {
                            self.wal
                                .append(&[], work.hard_state.as_ref())
                                .map_err(disk)?;
                        }
                        self.record(snapshot)?;
                        if shared.broken(Plant::InstallBeforeState) {
                            self.install(shared, snapshot)?;
                        }
                    }
                    self.wal
                        .append(&work.entries, work.hard_state.as_ref())
                        .map_err(disk)?;
                    if let Some(snapshot) = work.snapshot.take() {
                        // Nothing of what was there before goes any earlier.
                        self.wal.sync().map_err(disk)?;
                        self.release(snapshot.metadata.index)?;
                        self.apply.push_back(Command::Install(snapshot));
                    }
                    let not_synced = shared.broken(Plant::EntriesNotSynced)
                        && work
                            .hard_state
                            .is_none_or(|s| s.vote == 0 || !work.entries.is_empty());
                    sync |= work.must_sync && !not_synced;
                    newest = Some(work.number);
                    after.extend(work.messages_after_persist);
                    own.extend(work.entries);
                }
                LogCommand::Snapshot { snapshot } => {
                    let index = snapshot.metadata.index;
                    self.wal.save_snapshot(&record(&snapshot)).map_err(disk)?;
                    self.release(index)?;
                    self.apply.push_back(Command::SnapshotSaved(snapshot));
                }
            }
        }
        if sync {
            self.wal.sync().map_err(disk)?;
        }
        if let Some(number) = newest {
            self.node.persisted(number);
            self.send(shared, after);
            if shared.broken(Plant::AckBeforeCommit) && self.leads {
                self.acknowledge(&own);
            }
            if shared.broken(Plant::CommitBeforeQuorum) && self.leads && !own.is_empty() {
                self.apply.push_back(Command::Committed(own));
            }
            self.hand_on(shared);
        }
        Ok(())
    }

    /// Tells the callers of these entries that all is well.
    fn acknowledge(&mut self, entries: &[pb::Entry]) {
        for entry in entries {
            let data = entry.data.clone().unwrap_or_default();
            if let Ok(Payload::Internal(request)) = membership::decode_entry(&data)
                && self.waiters.remove(&request.id)
            {
                self.out.answers.push((request.id, Reply::Done));
            }
        }
    }

    /// A received snapshot becomes known to the log: first its file, then its record.
    /// Only then may a hard state speak of entries that it stands for.
    fn record(&mut self, snapshot: &pb::Snapshot) -> Turn {
        self.snapshotter.save(snapshot).map_err(disk)?;
        self.wal
            .save_snapshot(&record(snapshot))
            .map(drop)
            .map_err(disk)
    }

    /// Files that a recorded snapshot makes superfluous go.
    fn release(&mut self, index: u64) -> Turn {
        self.wal.release_to(index).map_err(disk)?;
        for (dir, suffix) in [(&self.dirs.wal, ".wal"), (&self.dirs.snap, ".snap")] {
            purge_on(&self.disk, dir, suffix, 2).map_err(disk)?;
        }
        Ok(())
    }

    /// The committer's turn.
    pub fn commit_turn(&mut self) -> Turn {
        self.backend.commit_now().map_err(disk)
    }

    /// The compacting thread's turn; it fails where the committer fails.
    pub fn compact_turn(&mut self) -> Turn {
        while self.store.compact_waiting() {}
        self.commit_turn()
    }

    /// The snapshot thread's turn: one step.
    pub fn snapshot_turn(&mut self, shared: &mut Shared) -> Turn {
        match std::mem::replace(&mut self.snapshot, SnapshotStep::Idle) {
            SnapshotStep::Commit(snapshot) => {
                if !shared.broken(Plant::SnapshotBeforeCommit) {
                    self.backend.commit_now().map_err(disk)?;
                }
                self.snapshot = SnapshotStep::Save(snapshot);
            }
            SnapshotStep::Save(snapshot) => {
                self.snapshotter.save(&snapshot).map_err(disk)?;
                let index = snapshot.metadata.index;
                self.snapshotter.release_snap_dbs(index).map_err(disk)?;
                self.log.push_back(LogCommand::Snapshot { snapshot });
                self.log_loud = true;
                self.snapshot = SnapshotStep::Recorded;
                shared.oracle.reached.snapshots += 1;
            }
            other => self.snapshot = other,
        }
        Ok(())
    }

    /// Time passes: 100 ms.
    pub fn tick(&mut self, shared: &mut Shared) {
        self.node.tick();
        self.ticks += 1;
        if self.ticks.is_multiple_of(5)
            && let Some(term) = self.lessor.primary_term()
        {
            for LeaseId(id) in self.lessor.expired(shared.now_ms(), 16) {
                shared.next_request += 1;
                let request = shared.next_request;
                shared.oracle.expires(request, self.applied);
                let op = Op::LeaseRevoke(LeaseRevokeRequest { id });
                // Refused, it is named again later.
                let revoke = vec![encode(request, op)];
                let _ = self.node.propose_as_leader(term, revoke);
            }
        }
        if !self.published && self.ticks.is_multiple_of(7) {
            self.publish(shared);
        }
        self.log_loud |= !self.log.is_empty();
        self.hand_on(shared);
    }

    /// Tells the cluster name and client URLs, as every start does.
    fn publish(&mut self, shared: &mut Shared) {
        shared.next_request += 1;
        let set = ClusterMemberAttrSetRequest {
            member_id: self.id,
            member_attributes: Some(Attributes {
                name: format!("m{:x}", self.id),
                client_urls: vec![format!("http://{:x}:2379", self.id)],
            }),
        };
        // Without a leader it is tried again.
        let op = Op::ClusterMemberAttrSet(set);
        let _ = self.node.propose(vec![encode(shared.next_request, op)]);
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
        if let Err(error) = self.node.step(message) {
            let text = format!("{:x}: {error}", self.id);
            shared.oracle.fail("messages are understood", text);
        }
        self.hand_on(shared);
        Ok(())
    }

    /// What became of a snapshot that was sent.
    pub fn report_snapshot(&mut self, shared: &mut Shared, to: u64, arrived: bool) {
        self.node.report_snapshot(to, arrived);
        self.hand_on(shared);
    }

    /// Gives leadership away.
    pub fn transfer(&mut self, shared: &mut Shared, to: u64) {
        self.node.transfer_leader(to);
        self.hand_on(shared);
    }

    /// A client asks; a refusal at once is certain to have no effect.
    pub fn ask(&mut self, shared: &mut Shared, request: u64, ask: Ask) {
        let refused = |text: &str| Reply::Refused(text.to_owned());
        match ask {
            Ask::Write(op) => match self.node.propose(vec![encode(request, op)]) {
                Ok(()) => drop(self.waiters.insert(request)),
                Err(error) => self
                    .out
                    .answers
                    .push((request, refused(&error.to_string()))),
            },
            Ask::Change(change) => {
                match self.node.propose_conf_change(change.encode_to_vec().into()) {
                    Ok(()) => drop(self.waiters.insert(request)),
                    Err(error) => self
                        .out
                        .answers
                        .push((request, refused(&error.to_string()))),
                }
            }
            Ask::Read(range) => {
                let alone = shared.broken(Plant::StaleReadIndex) && self.leads;
                if range.serializable || self.sole_leader || alone {
                    let reply = self.read(&range);
                    self.out.answers.push((request, reply));
                } else {
                    self.waiting.insert(request, Waiting::Read(range));
                    self.node.read_index(context(request));
                }
            }
            Ask::Renew(_) if !self.leads => {
                self.out.answers.push((request, refused("not leader")));
            }
            Ask::Renew(lease) if shared.broken(Plant::RenewUnchecked) => {
                self.renew(shared, request, lease);
            }
            Ask::Renew(lease) => {
                self.waiting.insert(request, Waiting::Renew(lease));
                self.node.read_index(context(request));
            }
        }
        self.hand_on(shared);
    }

    fn renew(&mut self, shared: &Shared, request: u64, lease: i64) {
        let reply = match self.lessor.renew(LeaseId(lease), shared.now_ms()) {
            Ok(renewal) => Reply::Renewed(renewal.ttl_secs),
            Err(error) => Reply::Refused(error.to_string()),
        };
        self.out.answers.push((request, reply));
    }

    fn read(&self, range: &RangeRequest) -> Reply {
        match self.store.range(range) {
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
        match self.store.hash_kv(0) {
            Ok(hash) => shared.oracle.hash(self.id, &hash),
            Err(error) => shared
                .oracle
                .fail("the store can be read", error.to_string()),
        }
        let (index, _) = self.backend.consistent_index();
        let all = RangeRequest {
            key: Bytes::from_static(&[0]),
            range_end: Bytes::from_static(&[0]),
            ..RangeRequest::default()
        };
        match self.read(&all) {
            Reply::Range(_, kvs) => {
                let revision = self.store.revision();
                shared.oracle.contents(self.id, index, revision, &kvs);
            }
            other => shared
                .oracle
                .fail("the store can be read", format!("{other:?}")),
        }
    }
}

fn record(snapshot: &pb::Snapshot) -> walpb::Snapshot {
    walpb::Snapshot {
        index: snapshot.metadata.index,
        term: snapshot.metadata.term,
        conf_state: Some(snapshot.metadata.conf_state.clone()),
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
    /// Everything is applied and nothing under way: every copy is held against
    /// the others, and against the judge's.
    pub fn at_rest(&mut self, shared: &mut Shared) -> Result<Copies, Down> {
        self.compact_turn()?;
        self.inspect(shared);
        let view = self.backend.db().begin_read();
        for problem in bolt::check::check(&view) {
            let text = format!("{:x}: {problem:?}", self.id);
            shared.oracle.fail("the database is sound", text);
        }
        match v3store::read(&view) {
            Ok(v3) => {
                for found in disagreement::find(&self.cluster, &self.conf_state, &v3) {
                    let text = format!("{:x}: {found}", self.id);
                    shared.oracle.fail("copies of the membership agree", text);
                }
            }
            Err(error) => shared
                .oracle
                .fail("the database is sound", error.to_string()),
        }
        match Cluster::recover(self.cluster.id(), &self.tree) {
            Ok(tree) if tree.members().eq(self.cluster.members()) => {}
            other => {
                let text = format!("{:x}: tree {other:?}, truth {:?}", self.id, self.cluster);
                shared.oracle.fail("copies of the membership agree", text);
            }
        }
        let leases: Vec<i64> = self.lessor.leases().iter().map(|id| id.0).collect();
        let expected = shared.oracle.model.leases().count();
        if leases.len() != expected {
            let text = format!("{:x} has leases {leases:?}, not {expected}", self.id);
            shared.oracle.fail("same entry, same state", text);
        }
        let mut conf_state = self.conf_state.clone();
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
