//! The monitor around the consensus core.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use proto::raftpb::{Message, MessageType};

use super::{LogCommand, Queue};
use crate::apply::Command;

/// A request on its way into the log, with the place its answer goes to.
pub struct Proposal {
    /// `header.ID` of the request.
    pub id: u64,
    /// The serialized InternalRaftRequest.
    pub data: Bytes,
    /// Where the result is awaited.
    pub waiter: crate::runtime::Waiter,
}

/// Whether the apply thread is woken for what was committed.
#[derive(Clone, Copy)]
enum Wake {
    Apply,
    Nobody,
}

/// What others may know of the node without entering the monitor.
#[derive(Default)]
pub struct RaftStatus {
    /// Current term.
    pub term: AtomicU64,
    /// Member id of the leader, 0 when unknown.
    pub leader: AtomicU64,
    /// Commit index.
    pub commit: AtomicU64,
    /// True while this member leads.
    pub is_leader: AtomicBool,
    /// When the present leader became known here.
    pub elected: Mutex<Option<Instant>>,
    /// Leader changes seen since start.
    pub leader_changes: AtomicU64,
    /// Highest index this process handed to the log writer.
    pub last_index: AtomicU64,
}

/// The consensus node, entered by any thread with an event.
pub struct Raft {
    node: Mutex<consensus::Node>,
    /// Published facts.
    pub status: RaftStatus,
    /// To the log writer.
    pub log: Arc<Queue<LogCommand>>,
    /// To the apply thread.
    pub apply: Arc<Queue<Command>>,
    /// Bytes of entries that the log writer was given and has not written.
    unwritten: AtomicUsize,
    peers: OnceLock<peer::Transport>,
}

/// Entries of so many bytes may wait for the log writer: what a disk takes in about a
/// second, after which a leader gives up anyway.
const UNWRITTEN_MAX: usize = 128 << 20;

/// A message of a follower that promises nothing which a crash could take back:
/// it need not wait for the disk. An answer to a heartbeat says that nobody was
/// elected over the leader; whoever elects somebody writes it down first.
fn promises_nothing(message: &Message) -> bool {
    matches!(
        MessageType::try_from(message.r#type),
        Ok(MessageType::MsgHeartbeatResp | MessageType::MsgReadIndex | MessageType::MsgProp)
    )
}

impl Raft {
    /// Wraps a node that has not been driven yet.
    pub fn new(
        node: consensus::Node,
        log: Arc<Queue<LogCommand>>,
        apply: Arc<Queue<Command>>,
    ) -> Raft {
        Raft {
            node: Mutex::new(node),
            status: RaftStatus::default(),
            log,
            apply,
            unwritten: AtomicUsize::new(0),
            peers: OnceLock::new(),
        }
    }

    /// Says how the other members are reached. Once, before the first event.
    pub fn connect(&self, transport: peer::Transport) {
        let _ = self.peers.set(transport);
    }

    /// The way to the other members.
    pub fn peers(&self) -> Option<&peer::Transport> {
        self.peers.get()
    }

    /// Sends messages whose time has come.
    fn send(&self, messages: Vec<Message>) {
        if let Some(transport) = self.peers.get()
            && !messages.is_empty()
        {
            transport.send(messages);
        }
    }

    /// Enters the monitor with one event and hands on all work that results.
    pub fn drive<R>(&self, event: impl FnOnce(&mut consensus::Node) -> R) -> R {
        let mut node = self.node.lock();
        let result = event(&mut node);
        self.hand_on(&mut node, Wake::Apply);
        result
    }

    /// Work `number` is durable, and the messages that waited for it may leave. In
    /// this order, and before anybody else enters: an answer to one of them must
    /// find a core that knows. What was committed is in the apply queue, whose
    /// thread is not woken: gives the number of entries, for the caller to decide
    /// who applies them.
    pub fn persisted(&self, number: u64, messages: Vec<Message>) -> usize {
        let mut node = self.node.lock();
        node.persisted(number);
        self.send(messages);
        self.hand_on(&mut node, Wake::Nobody)
    }

    /// Entries of `bytes` were written.
    pub(super) fn written(&self, bytes: usize) {
        self.unwritten.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// True while more waits for the log writer than may: nothing that would add
    /// to it is taken in.
    pub fn is_congested(&self) -> bool {
        self.unwritten.load(Ordering::Relaxed) > UNWRITTEN_MAX
    }

    /// True for a message that is not taken in for now. raft tolerates the loss: a
    /// leader sends its entries again, and a forwarded proposal that nobody took
    /// is given up by its caller.
    pub fn refuses(&self, message: &Message) -> bool {
        let kind = MessageType::try_from(message.r#type);
        let adds = matches!(kind, Ok(MessageType::MsgApp | MessageType::MsgProp));
        adds && !message.entries.is_empty() && self.is_congested()
    }

    /// Brings a run of proposals in with one step. On failure the whole run is
    /// refused and given back, so that the caller can answer each of them.
    pub fn propose(
        &self,
        run: Vec<Proposal>,
    ) -> Result<(), (Vec<Proposal>, consensus::ProposeError)> {
        self.propose_with(run, consensus::Node::propose)
    }

    /// Brings in a run of proposals that the leader of `term` alone may make.
    ///
    /// # Errors
    /// As [`Raft::propose`], and refused for good if another term has begun.
    pub fn propose_as_leader(
        &self,
        term: u64,
        run: Vec<Proposal>,
    ) -> Result<(), (Vec<Proposal>, consensus::ProposeError)> {
        self.propose_with(run, |node, data| node.propose_as_leader(term, data))
    }

    fn propose_with(
        &self,
        run: Vec<Proposal>,
        propose: impl FnOnce(&mut consensus::Node, Vec<Bytes>) -> Result<(), consensus::ProposeError>,
    ) -> Result<(), (Vec<Proposal>, consensus::ProposeError)> {
        let mut node = self.node.lock();
        let data = run.iter().map(|p| p.data.clone()).collect();
        match propose(&mut node, data) {
            Ok(()) => {
                // Registered before the entries can reach the apply queue.
                self.apply.push(Command::Register(
                    run.into_iter().map(|p| (p.id, p.waiter)).collect(),
                ));
                self.hand_on(&mut node, Wake::Apply);
                Ok(())
            }
            Err(error) => Err((run, error)),
        }
    }

    /// Brings in a change of the configuration.
    ///
    /// # Errors
    /// Nobody to propose to, or refused for now; the change is given back.
    pub fn propose_conf_change(
        &self,
        change: Proposal,
    ) -> Result<(), (Proposal, consensus::ProposeError)> {
        let mut node = self.node.lock();
        match node.propose_conf_change(change.data.clone()) {
            Ok(()) => {
                self.apply
                    .push(Command::Register(vec![(change.id, change.waiter)]));
                self.hand_on(&mut node, Wake::Apply);
                Ok(())
            }
            Err(error) => Err((change, error)),
        }
    }

    fn hand_on(&self, node: &mut MutexGuard<'_, consensus::Node>, wake: Wake) -> usize {
        let mut committed = 0;
        while node.has_work() {
            let work = node.work();
            if let Some(soft) = &work.soft {
                let before = self.status.leader.swap(soft.leader, Ordering::AcqRel);
                if before != soft.leader && soft.leader != 0 {
                    self.status.leader_changes.fetch_add(1, Ordering::Relaxed);
                    *self.status.elected.lock() = Some(Instant::now());
                }
                let leads = soft.role == consensus::Role::Leader;
                self.status.is_leader.store(leads, Ordering::Release);
                self.apply.push(Command::Role {
                    leads,
                    leader: soft.leader,
                });
            }
            self.send(work.messages);
            let (at_once, after): (Vec<_>, Vec<_>) = work
                .messages_after_persist
                .into_iter()
                .partition(promises_nothing);
            self.send(at_once);
            if let Some(snapshot) = &work.snapshot {
                self.status
                    .last_index
                    .store(snapshot.metadata.index, Ordering::Release);
            }
            if let Some(state) = &work.hard_state {
                self.status.term.store(state.term, Ordering::Release);
                self.status.commit.store(state.commit, Ordering::Release);
            }
            if let Some(last) = work.entries.last() {
                self.status.last_index.store(last.index, Ordering::Release);
            }
            if !work.read_states.is_empty() {
                self.apply.push(Command::Reads(work.read_states));
            }
            if !work.committed.is_empty() {
                committed += work.committed.len();
                let command = Command::Committed(work.committed);
                match wake {
                    Wake::Apply => self.apply.push(command),
                    Wake::Nobody => self.apply.push_quiet(command),
                }
            }
            let speaks = !after.is_empty() || work.snapshot.is_some();
            let data = work.entries.iter().filter_map(|entry| entry.data.as_ref());
            let bytes: usize = data.map(Bytes::len).sum();
            self.unwritten.fetch_add(bytes, Ordering::AcqRel);
            let append = LogCommand::Append {
                bytes,
                snapshot: work.snapshot.map(Box::new),
                entries: work.entries,
                state: work.hard_state,
                must_sync: work.must_sync,
                number: work.number,
                messages: after,
            };
            // A moved commit index need not be durable: it rides with the next
            // append, or with the next tick, without a wake-up of its own.
            if work.must_sync || speaks {
                self.log.push(append);
            } else {
                self.log.push_quiet(append);
            }
        }
        committed
    }

    /// The node's own view, for status pages.
    pub fn inspect<R>(&self, look: impl FnOnce(&consensus::Node) -> R) -> R {
        look(&self.node.lock())
    }
}
