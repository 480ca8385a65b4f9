//! The node: every method is one event, [`Node::work`] gives what follows.

use bytes::Bytes;
use prost::Message as _;
use proto::{EntryId, raftpb as pb, wire::Read as _};
use raft::{
    RawNode, SnapshotStatus, StateRole,
    eraftpb::{self as rs, ConfChangeSingle, ConfChangeType, ConfChangeV2},
};

use crate::{
    backlog::Backlog,
    drain,
    error::{Error, ProposeError},
    guard::{self, Position},
    store::Store,
    wire,
};

/// How a node behaves. Times are counted in ticks.
#[derive(Clone, Debug)]
pub struct Config {
    /// Member id, never 0.
    pub id: u64,
    /// Ticks without a leader before an election; the real timeout is drawn from `[n, 2n-1]`.
    pub election_ticks: usize,
    /// Ticks between heartbeats.
    pub heartbeat_ticks: usize,
    /// Ask before disturbing a leader.
    pub pre_vote: bool,
    /// A leader that hears from no quorum steps down.
    pub check_quorum: bool,
    /// Bytes of entries in one append message.
    pub max_size_per_msg: u64,
    /// Append messages on their way to one member.
    pub max_inflight: usize,
    /// Where the election timeouts are drawn from, together with `id`: the same
    /// seed and events give the same elections.
    pub seed: u64,
}

impl Default for Config {
    /// etcd's settings.
    fn default() -> Config {
        Config {
            id: 0,
            election_ticks: 10,
            heartbeat_ticks: 1,
            pre_vote: true,
            check_quorum: true,
            max_size_per_msg: 1 << 20,
            max_inflight: 512,
            seed: 0,
        }
    }
}

/// What a node starts from: the newest snapshot and the log after it.
#[derive(Clone, Debug, Default)]
pub struct Initial {
    /// Last durable hard state.
    pub hard_state: pb::HardState,
    /// Configuration as of the snapshot; empty for a log that starts with its members' entries.
    pub conf_state: pb::ConfState,
    /// The last entry in the snapshot, zero for none. Its content is not needed
    /// to start; [`Node::create_snapshot`] brings it for those who are behind.
    pub snapshot: EntryId,
    /// Entries after the snapshot, without gaps.
    pub entries: Vec<pb::Entry>,
    /// Entries up to here are not delivered again; at least the snapshot's index.
    pub applied: u64,
}

/// What a node is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Follows, or waits for a leader.
    Follower,
    /// Asks whether it would win.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}

/// Who leads, as far as this node knows. Not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftState {
    /// Member id, 0 for unknown.
    pub leader: u64,
    /// This node's part.
    pub role: Role,
}

/// What must be done now, in this order: append and sync, report, send, apply.
#[derive(Debug, Default)]
pub struct Work {
    /// To be returned to [`Node::persisted`]; grows by one with each work.
    pub number: u64,
    /// Set when leader or role changed.
    pub soft: Option<SoftState>,
    /// Set when it changed; goes into the log with the entries.
    pub hard_state: Option<pb::HardState>,
    /// True when entries, term or vote must be durable before `persisted`.
    pub must_sync: bool,
    /// To append, replacing what the log holds from the first one's index on.
    pub entries: Vec<pb::Entry>,
    /// A snapshot that was received and takes the place of the whole log.
    pub snapshot: Option<pb::Snapshot>,
    /// May be sent at once.
    pub messages: Vec<pb::Message>,
    /// May be sent once this work is durable.
    pub messages_after_persist: Vec<pb::Message>,
    /// To apply, in order.
    pub committed: Vec<pb::Entry>,
    /// Reads that may be served once the index is applied: index and the context given.
    pub read_states: Vec<(u64, Bytes)>,
}

/// Where a node stands.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    /// Current term.
    pub term: u64,
    /// Member id of the leader, 0 for unknown.
    pub leader: u64,
    /// Commit index.
    pub commit: u64,
    /// Entries told to be applied.
    pub applied: u64,
    /// This node's part.
    pub role: Role,
    /// Last index of the log, durable or not.
    pub last_index: u64,
}

/// A consensus node.
pub struct Node {
    raw: RawNode<Store>,
    /// The last hard state given out: raft-rs tells a commit index that moves
    /// with a light ready nowhere else.
    told: pb::HardState,
    /// What the server says is applied.
    applied: u64,
    /// Ticks without a leader until the next candidacy. Counted here rather than
    /// by raft-rs, whose draws cannot be repeated.
    patience: usize,
    /// Term and role for which `patience` was drawn.
    drawn_for: (u64, StateRole),
    election_ticks: usize,
    random: u64,
    /// Proposals of other members that came while no one took any, which raft-rs
    /// and etcd would lose, and the ticks they have left.
    held: Vec<(rs::Message, usize)>,
    /// Bytes of these proposals.
    held_bytes: usize,
    /// Work that waits for the disk.
    backlog: Backlog,
    /// The work with the present term and vote, until it is durable. A sole voter leads before
    /// that: what it told learners in this term would be told otherwise after a crash, by the
    /// same leader in the same term.
    term_owed: Option<u64>,
}

/// Messages with proposals that are held at most, and bytes in them.
const HELD_MAX: usize = 1024;
const HELD_BYTES_MAX: usize = 64 << 20;

/// Bytes that the entries of a message hold.
fn entry_bytes(message: &rs::Message) -> usize {
    message.entries.iter().map(|entry| entry.data.len()).sum()
}

/// Ticks that never pass: raft-rs must not call elections by itself.
const NEVER: usize = 1 << 30;

/// What a log on disk must be for a node to continue from it.
fn check(initial: &Initial) -> Result<(), String> {
    let snapshot = initial.snapshot.index;
    let mut last = snapshot;
    for entry in &initial.entries {
        last += 1;
        if entry.index != last {
            return Err(format!(
                "the log has entry {} where entry {last} belongs",
                entry.index
            ));
        }
        if !(0..=2).contains(&entry.r#type) {
            return Err(format!(
                "entry {last} is of type {}, which is unknown",
                entry.r#type
            ));
        }
    }
    let commit = initial.hard_state.commit;
    if commit < snapshot || commit > last {
        return Err(format!(
            "commit index {commit} lies outside the log, which holds entries {} to {last}",
            snapshot + 1
        ));
    }
    if initial.applied < snapshot || initial.applied > commit {
        return Err(format!(
            "applied index {} lies outside {snapshot} to {commit}, which is what is committed",
            initial.applied
        ));
    }
    guard::conf_state(&initial.conf_state).map_err(|why| format!("the configuration: {why}"))
}

fn role(role: StateRole) -> Role {
    match role {
        StateRole::Follower => Role::Follower,
        StateRole::PreCandidate => Role::PreCandidate,
        StateRole::Candidate => Role::Candidate,
        StateRole::Leader => Role::Leader,
    }
}

impl Node {
    /// A node that continues from `initial`. Committed entries after
    /// `initial.applied` are delivered with the first work.
    pub fn new(config: Config, initial: Initial) -> Result<Node, Error> {
        check(&initial).map_err(Error::Start)?;
        if config.election_ticks < 2 {
            return Err(Error::Start(
                "an election timeout needs at least two ticks".into(),
            ));
        }
        let settings = raft::Config {
            id: config.id,
            election_tick: config.election_ticks,
            heartbeat_tick: config.heartbeat_ticks,
            min_election_tick: NEVER,
            max_election_tick: NEVER + 1,
            applied: initial.applied,
            max_size_per_msg: config.max_size_per_msg,
            max_inflight_msgs: config.max_inflight,
            check_quorum: config.check_quorum,
            pre_vote: config.pre_vote,
            ..raft::Config::default()
        };
        let store = Store::new(
            initial.snapshot,
            initial.entries.into_iter().map(wire::entry_in).collect(),
            wire::hard_state_in(&initial.hard_state),
            wire::conf_state_in(&initial.conf_state),
        );
        let raw = RawNode::new(&settings, store, &drain::logger())
            .map_err(|error| Error::Start(error.to_string()))?;
        let mut node = Node {
            drawn_for: (raw.raft.term, raw.raft.state),
            raw,
            told: initial.hard_state,
            applied: initial.applied,
            patience: 0,
            election_ticks: config.election_ticks,
            // Members with the same seed must not draw the same timeouts.
            random: config.seed ^ config.id,
            held: Vec::new(),
            held_bytes: 0,
            backlog: Backlog::default(),
            term_owed: None,
        };
        node.draw();
        Ok(node)
    }

    /// A new timeout in `[n, 2n-1]`, by SplitMix64.
    fn draw(&mut self) {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        self.patience = self.election_ticks + (z % self.election_ticks as u64) as usize;
    }

    /// After every event: a new term or role starts with a new timeout, and what
    /// waited for a leader goes to it.
    fn settle(&mut self) {
        let now = (self.raw.raft.term, self.raw.raft.state);
        if now != self.drawn_for {
            self.drawn_for = now;
            self.draw();
        }
        if !self.held.is_empty() && self.takes_proposals() {
            self.held_bytes = 0;
            for (message, _) in std::mem::take(&mut self.held) {
                // What is refused now is lost, as it would have been at once.
                let _ = self.step_proposal(message);
            }
        }
    }

    /// True unless an election or a transfer of leadership is under way.
    fn takes_proposals(&self) -> bool {
        let raft = &self.raw.raft;
        raft.leader_id != raft::INVALID_ID && raft.lead_transferee.is_none()
    }

    /// Time passes.
    pub fn tick(&mut self) {
        self.raw.tick();
        let raft = &self.raw.raft;
        if raft.state != StateRole::Leader
            && raft.promotable()
            && raft.election_elapsed >= self.patience
            && self.hindrance().is_none()
        {
            self.raw.raft.election_elapsed = 0;
            // It fails only for a leader, or while a configuration change waits to be applied.
            let _ = self.raw.campaign();
            self.draw();
        }
        self.backlog.tick();
        self.step_aside();
        self.settle();
        // Whoever sent them has given them up by then.
        self.held.retain_mut(|(message, ticks)| {
            *ticks -= 1;
            if *ticks == 0 {
                self.held_bytes -= entry_bytes(message);
            }
            *ticks > 0
        });
    }

    /// Gives up leading while the own disk hangs. Such a leader gets nothing done
    /// that it has to apply, and its heartbeats keep the others from electing one
    /// that would. First it asks the member that is furthest to take over, which
    /// needs no disk of this one; if no one has within another election timeout,
    /// it falls silent, and the others elect as if it were gone.
    fn step_aside(&mut self) {
        let stalled = self.backlog.stalled();
        let leads = self.raw.raft.state == StateRole::Leader;
        if !leads || stalled < self.election_ticks || self.is_sole_voter() {
            return;
        }
        if stalled >= 2 * self.election_ticks {
            tracing::warn!("the disk does not answer; stepping down");
            let term = self.raw.raft.term;
            self.raw.raft.become_follower(term, raft::INVALID_ID);
        } else if self.raw.raft.lead_transferee.is_none()
            && let Some(heir) = self.heir()
        {
            let to = format!("{heir:x}");
            tracing::warn!(to, "the disk does not answer; handing leadership over");
            self.raw.transfer_leader(heir);
        }
    }

    /// The voter that holds most of the log, of those that were heard from.
    fn heir(&self) -> Option<u64> {
        let raft = &self.raw.raft;
        let voters = raft.prs().conf().to_conf_state().voters;
        let others = voters.into_iter().filter(|id| *id != raft.id);
        others
            .filter_map(|id| Some((id, raft.prs().get(id)?)))
            .filter(|(_, progress)| progress.recent_active)
            .max_by_key(|(id, progress)| (progress.matched, std::cmp::Reverse(*id)))
            .map(|(id, _)| id)
    }

    /// Why this node must not stand for election now: raft-rs would panic.
    fn hindrance(&self) -> Option<&'static str> {
        let log = &self.raw.raft.raft_log;
        if log.applied + 1 < log.first_index() {
            return Some("a received snapshot is not applied yet");
        }
        // A sole voter wins without waiting for a vote to be written, so not while
        // entries of an earlier leader are still on their way to disk.
        if !self.is_log_durable() && self.is_sole_voter() {
            return Some("the log is not durable yet");
        }
        // It could not lead, nor even ask for a vote.
        if self.backlog.stalled() >= self.election_ticks {
            return Some("the disk does not answer");
        }
        None
    }

    fn is_log_durable(&self) -> bool {
        let log = &self.raw.raft.raft_log;
        log.persisted >= log.last_index()
    }

    /// Proposes a run of requests with one step.
    pub fn propose(&mut self, data: Vec<Bytes>) -> Result<(), ProposeError> {
        let entries = data
            .into_iter()
            .map(|data| rs::Entry {
                data,
                ..rs::Entry::default()
            })
            .collect::<Vec<_>>();
        self.propose_entries(entries)
    }

    /// Proposes a run of requests as the leader of `term`. They are never forwarded: once
    /// another member leads, what this one decided as leader no longer holds.
    pub fn propose_as_leader(&mut self, term: u64, data: Vec<Bytes>) -> Result<(), ProposeError> {
        let raft = &self.raw.raft;
        if raft.state != StateRole::Leader || raft.term != term {
            return Err(ProposeError::NotLeader);
        }
        self.propose(data)
    }

    /// True for entries of which one would leave no voter once it is applied. raft, and with it
    /// every etcd, ends on that. The answer of a leader is final: no change is appended while
    /// another one waits to be applied.
    fn would_take_last_vote(&self, entries: &[rs::Entry]) -> bool {
        let raft = &self.raw.raft;
        let changes = entries
            .iter()
            .filter(|entry| entry.get_entry_type() == rs::EntryType::EntryConfChange);
        let mut changes = changes.filter_map(|entry| {
            let change = wire::entry_out(entry.clone()).data.unwrap_or_default();
            pb::ConfChange::read(&change).ok()
        });
        raft.state == StateRole::Leader && changes.any(|change| self.takes_last_vote(&change))
    }

    /// True for a change that would leave no voter. raft refuses it when it is applied, and
    /// etcd ends.
    pub fn takes_last_vote(&self, change: &pb::ConfChange) -> bool {
        let takes = matches!(
            pb::ConfChangeType::try_from(change.r#type),
            Ok(pb::ConfChangeType::ConfChangeRemoveNode
                | pb::ConfChangeType::ConfChangeAddLearnerNode)
        );
        takes && self.raw.raft.prs().conf().to_conf_state().voters == [change.node_id]
    }

    /// True while this node leads and has applied every configuration change in its log.
    pub fn is_settled(&self) -> bool {
        self.raw.raft.state == StateRole::Leader && !self.raw.raft.has_pending_conf()
    }

    /// Proposes a configuration change in etcd's serialization, which stays opaque.
    pub fn propose_conf_change(&mut self, change: Bytes) -> Result<(), ProposeError> {
        if pb::ConfChange::decode(change.clone()).is_err() {
            tracing::warn!("dropped a proposed configuration change that cannot be decoded");
            return Err(ProposeError::Dropped);
        }
        let entry = pb::Entry {
            r#type: pb::EntryType::EntryConfChange as i32,
            data: Some(change),
            ..pb::Entry::default()
        };
        self.propose_entries(vec![wire::entry_in(entry)])
    }

    fn propose_entries(&mut self, entries: Vec<rs::Entry>) -> Result<(), ProposeError> {
        if entries.is_empty() {
            return Ok(());
        }
        if self.raw.raft.leader_id == raft::INVALID_ID {
            return Err(ProposeError::NoLeader);
        }
        if self.would_take_last_vote(&entries) {
            tracing::warn!("refused to propose the removal of the last vote");
            return Err(ProposeError::Dropped);
        }
        let mut message = rs::Message::default();
        message.set_msg_type(rs::MessageType::MsgPropose);
        message.from = self.raw.raft.id;
        message.entries = entries.into();
        self.raw
            .raft
            .step(message)
            .map_err(|_| ProposeError::Dropped)
    }

    /// Asks for a read index; the answer comes as a read state with this context.
    /// A leader that was removed gives none.
    pub fn read_index(&mut self, context: Bytes) {
        if self.leads_from_outside() {
            return;
        }
        self.raw.read_index(context.to_vec());
    }

    /// A message from another member. One from a member that this node cannot
    /// place is dropped, as etcd drops it; one that no correct member sends is
    /// refused. After [`Error::LogLost`] the process must end.
    pub fn step(&mut self, mut message: pb::Message) -> Result<(), Error> {
        let at = Position {
            term: self.raw.raft.term,
            last_index: self.raw.raft.raft_log.last_index(),
            leads: self.raw.raft.state == StateRole::Leader,
        };
        let kind = guard::admit(&message, &at)?;
        match kind {
            rs::MessageType::MsgTimeoutNow if self.hindrance().is_some() => return Ok(()),
            // raft-rs takes a configuration of one voter for its own, and would
            // answer without asking that one.
            rs::MessageType::MsgReadIndex if self.leads_from_outside() => return Ok(()),
            // It answers no request of this node: that one waits for the disk, as
            // entries of an earlier leader still do. raft-rs does not survive an
            // election that is won before these are durable.
            rs::MessageType::MsgRequestVoteResponse if !self.is_log_durable() => return Ok(()),
            // It would be counted.
            rs::MessageType::MsgAppendResponse
                if message.term == at.term && self.leads_from_outside() =>
            {
                return Ok(());
            }
            // Meant for a leader of another term.
            rs::MessageType::MsgTransferLeader if message.term != at.term => return Ok(()),
            // A follower hands these on, and raft-rs wants no term then.
            rs::MessageType::MsgTransferLeader
            | rs::MessageType::MsgPropose
            | rs::MessageType::MsgReadIndex => message.term = 0,
            _ => {}
        }
        let message = wire::message_in(kind, message);
        if kind == rs::MessageType::MsgPropose && !self.takes_proposals() {
            let bytes = entry_bytes(&message);
            if self.held.len() < HELD_MAX && self.held_bytes + bytes <= HELD_BYTES_MAX {
                self.held_bytes += bytes;
                self.held.push((message, 5 * self.election_ticks));
            }
            return Ok(());
        }
        let result = match kind {
            rs::MessageType::MsgPropose => self.step_proposal(message),
            _ => self.raw.step(message),
        };
        self.settle();
        match result {
            Ok(()) | Err(raft::Error::StepPeerNotFound | raft::Error::ProposalDropped) => Ok(()),
            Err(error) => Err(Error::Core(error.to_string())),
        }
    }

    /// A proposal of another member.
    fn step_proposal(&mut self, message: rs::Message) -> raft::Result<()> {
        if self.would_take_last_vote(&message.entries) {
            let from = format!("{:x}", message.from);
            tracing::warn!(
                from,
                "refused a proposal of another member: it removes the last vote"
            );
            return Err(raft::Error::ProposalDropped);
        }
        self.raw.step(message)
    }

    /// Stands for election now. A sole voter leads when this returns. An error
    /// while what the log holds is not durable, or a snapshot not applied.
    pub fn campaign(&mut self) -> Result<(), Error> {
        if let Some(why) = self.hindrance() {
            return Err(Error::Core(format!("an election must wait: {why}")));
        }
        let result = self.raw.campaign();
        self.settle();
        result.map_err(|error| Error::Core(error.to_string()))
    }

    /// True if the configuration has this node as its only voter.
    pub fn is_sole_voter(&self) -> bool {
        let conf = self.raw.raft.prs().conf().to_conf_state();
        conf.voters == [self.raw.raft.id] && conf.voters_outgoing.is_empty()
    }

    /// Hands leadership over, if this node leads.
    pub fn transfer_leader(&mut self, to: u64) {
        self.raw.transfer_leader(to);
        self.settle();
    }

    /// A message to `id` could not be delivered.
    pub fn report_unreachable(&mut self, id: u64) {
        self.raw.report_unreachable(id);
    }

    /// A snapshot sent to `id` arrived, or did not.
    pub fn report_snapshot(&mut self, id: u64, arrived: bool) {
        self.raw.report_snapshot(
            id,
            if arrived {
                SnapshotStatus::Finish
            } else {
                SnapshotStatus::Failure
            },
        );
    }

    /// True while [`Node::work`] has something to give.
    pub fn has_work(&self) -> bool {
        self.raw.has_ready()
    }

    /// What follows from the events so far. Entries count as known from here
    /// on, and as durable only after [`Node::persisted`].
    pub fn work(&mut self) -> Work {
        let mut ready = self.raw.ready();
        let mut work = Work {
            number: ready.number(),
            soft: ready.ss().map(|soft| SoftState {
                leader: soft.leader_id,
                role: role(soft.raft_state),
            }),
            must_sync: ready.must_sync(),
            ..Work::default()
        };
        if work.must_sync {
            self.backlog.owe(work.number);
        }
        if !ready.snapshot().is_empty() {
            let snapshot = ready.snapshot().clone();
            work.snapshot = Some(wire::snapshot_out(&snapshot));
            self.raw.mut_store().install(&snapshot);
        }
        let entries = ready.take_entries();
        self.raw.mut_store().append(&entries);
        work.entries = entries.into_iter().map(wire::entry_out).collect();
        work.read_states = ready
            .take_read_states()
            .into_iter()
            .map(|state| (state.index, Bytes::from(state.request_ctx)))
            .collect();
        work.messages = ready
            .take_messages()
            .into_iter()
            .map(wire::message_out)
            .collect();
        work.messages_after_persist = ready
            .take_persisted_messages()
            .into_iter()
            .map(wire::message_out)
            .collect();
        work.committed = ready
            .take_committed_entries()
            .into_iter()
            .map(wire::entry_out)
            .collect();

        let state = wire::hard_state_out(&self.raw.raft.hard_state());
        if (state.term, state.vote) != (self.told.term, self.told.vote) {
            self.term_owed = Some(work.number);
        }
        if self.term_owed.is_some() {
            work.messages.append(&mut work.messages_after_persist);
            std::mem::swap(&mut work.messages, &mut work.messages_after_persist);
        }
        if state != self.told {
            self.raw
                .mut_store()
                .set_hard_state(wire::hard_state_in(&state));
            work.hard_state = Some(state);
            self.told = state;
        }
        self.raw.advance_append_async(ready);
        work
    }

    /// Everything up to work `number` is durable. To be called before the messages
    /// that waited for it are sent: an answer to one of them may make this node
    /// the leader, which is not prepared to hear of earlier work then.
    pub fn persisted(&mut self, number: u64) {
        self.backlog.pay(number);
        self.term_owed = self.term_owed.filter(|owed| *owed > number);
        if !self.leads_from_outside() {
            self.raw.on_persist_ready(number);
        }
        self.advance();
    }

    /// True for a leader that was removed. It goes on leading until its process
    /// ends, as in etcd, so that the others hear that the removal is committed.
    /// What its own disk has counts for nothing any more, and neither raft-rs nor
    /// anybody else may ask: it has no progress, which raft-rs takes for granted
    /// wherever it counts.
    fn leads_from_outside(&self) -> bool {
        let raft = &self.raw.raft;
        raft.state == StateRole::Leader && raft.prs().get(raft.id).is_none()
    }

    /// Entries up to `index` are applied, or a received snapshot that ends there.
    pub fn applied_to(&mut self, index: u64) {
        self.applied = self.applied.max(index);
        self.advance();
    }

    /// raft-rs hears of what is applied once it is durable too, which a
    /// snapshot may not be yet.
    fn advance(&mut self) {
        let log = &self.raw.raft.raft_log;
        let index = self.applied.min(log.committed).min(log.persisted);
        if index > log.applied {
            self.raw.advance_apply_to(index);
        }
    }

    /// Applies a committed configuration change, in etcd's enum. A change with
    /// node id 0 (one that was rejected, or etcd's UpdateNode) changes nothing.
    pub fn apply_conf_change(&mut self, change: &pb::ConfChange) -> pb::ConfState {
        let kind = match pb::ConfChangeType::try_from(change.r#type) {
            Ok(pb::ConfChangeType::ConfChangeAddNode) => Some(ConfChangeType::AddNode),
            Ok(pb::ConfChangeType::ConfChangeRemoveNode) => Some(ConfChangeType::RemoveNode),
            Ok(pb::ConfChangeType::ConfChangeAddLearnerNode) => {
                Some(ConfChangeType::AddLearnerNode)
            }
            Ok(pb::ConfChangeType::ConfChangeUpdateNode) | Err(_) => None,
        };
        let mut single = ConfChangeSingle::default();
        // Any kind will do for node id 0: it is skipped.
        single.set_change_type(kind.unwrap_or(ConfChangeType::AddNode));
        single.node_id = if kind.is_some() { change.node_id } else { 0 };
        let mut v2 = ConfChangeV2::default();
        v2.set_changes(vec![single].into());
        let state = match self.raw.apply_conf_change(&v2) {
            Ok(state) => state,
            // A change that raft refuses (it would remove the last voter) leaves the configuration as it is.
            Err(error) => {
                tracing::warn!(error = %error, "raft refused a configuration change");
                self.raw.raft.prs().conf().to_conf_state()
            }
        };
        let out = wire::conf_state_out(&state);
        self.raw.mut_store().set_conf_state(state);
        self.settle();
        out
    }

    /// Forgets entries up to `index`, as far as they are applied. A member that still
    /// needs them waits until [`Node::create_snapshot`] brings one at least as new.
    pub fn compact_log(&mut self, index: u64) {
        let applied = self.raw.raft.raft_log.applied;
        self.raw.mut_store().compact(index.min(applied));
    }

    /// The snapshot that a member too far behind is sent from now on. Needed once
    /// after a start from a snapshot too: without content nothing is sent.
    pub fn create_snapshot(&mut self, snapshot: pb::Snapshot) {
        self.raw
            .mut_store()
            .set_snapshot(wire::snapshot_in(snapshot));
    }

    /// How much of the log a member is known to hold; `None` if this node does
    /// not lead, or knows no such member.
    pub fn matched(&self, id: u64) -> Option<u64> {
        let raft = &self.raw.raft;
        if raft.state != StateRole::Leader {
            return None;
        }
        raft.prs().get(id).map(|progress| progress.matched)
    }

    /// Where the node stands.
    pub fn status(&self) -> Status {
        let raft = &self.raw.raft;
        Status {
            term: raft.term,
            leader: raft.leader_id,
            commit: raft.raft_log.committed,
            applied: raft.raft_log.applied,
            role: role(raft.state),
            last_index: raft.raft_log.last_index(),
        }
    }
}
