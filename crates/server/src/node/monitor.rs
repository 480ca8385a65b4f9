//! The monitor around the consensus core.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};
use std::time::Instant;

use bytes::Bytes;
use consensus::SoftState;
use failpoint::failpoint;
use member::{
    Command, Waiter,
    log::LogCommand,
    propose::{self, HandOff},
};
use parking_lot::{Mutex, MutexGuard};
use proto::raftpb::{HardState, Message};
use tokio::sync::Notify;

use super::{Queue, Ticks};

/// A request on its way into the log, with the place its answer goes to.
pub struct Proposal {
    /// `header.ID` of the request.
    pub id: u64,
    /// The serialized InternalRaftRequest.
    pub data: Bytes,
    /// Where the result is awaited.
    pub waiter: Waiter,
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
    /// Whether the core ticks steadily.
    pub ticks: Ticks,
}

impl RaftStatus {
    /// What a log says that was just opened.
    pub fn publish(&self, state: &HardState) {
        self.term.store(state.term, Ordering::Release);
        self.commit.store(state.commit, Ordering::Release);
    }

    fn follow(&self, soft: SoftState) {
        let before = self.leader.swap(soft.leader, Ordering::AcqRel);
        if before != soft.leader && soft.leader != 0 {
            self.leader_changes.fetch_add(1, Ordering::Relaxed);
            *self.elected.lock() = Some(Instant::now());
        }
        let leads = soft.role == consensus::Role::Leader;
        self.is_leader.store(leads, Ordering::Release);
    }
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
    /// Wakes those who wait until less of them waits.
    caught_up: Notify,
    peers: OnceLock<peer::Transport>,
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
            caught_up: Notify::new(),
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
            failpoint!(RaftBeforeLeaderSend if self.status.is_leader.load(Ordering::Acquire));
            failpoint!(RaftBeforeFollowerSend if !self.status.is_leader.load(Ordering::Acquire));
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
    /// this order, and before anyone else enters: an answer to one of them must
    /// find a core that knows. What was committed is in the apply queue, whose
    /// thread is not woken: returns the number of entries, for the caller to decide
    /// who applies them.
    pub fn persisted(&self, number: u64, messages: Vec<Message>) -> usize {
        let mut node = self.node.lock();
        node.persisted(number);
        self.send(messages);
        self.hand_on(&mut node, Wake::Nobody)
    }

    /// Entries of `bytes` were written.
    pub(super) fn written(&self, bytes: usize) {
        let before = self.unwritten.fetch_sub(bytes, Ordering::AcqRel);
        if propose::is_congested(before) && !self.is_congested() {
            self.caught_up.notify_waiters();
        }
    }

    /// Waits until the log writer has caught up with what it was given, so far that it may be given
    /// more.
    pub async fn log_has_room(&self) {
        loop {
            // Before the look: what happens in between is not missed.
            let caught_up = self.caught_up.notified();
            if !self.is_congested() {
                return;
            }
            caught_up.await;
        }
    }

    /// True while more waits for the log writer than may: nothing that would add
    /// to it is taken in.
    pub fn is_congested(&self) -> bool {
        propose::is_congested(self.unwritten.load(Ordering::Relaxed))
    }

    /// True for a message that is not taken in for now.
    pub fn refuses(&self, message: &Message) -> bool {
        propose::adds_entries(message) && self.is_congested()
    }

    /// Brings a run of proposals in with one step. On failure the whole run is
    /// refused and returned, so that the caller can answer each of them.
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
    /// No one to propose to, or refused for now; the change is returned.
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

    /// Hands on all work, to the queues and to the other members; returns the number of entries
    /// that were committed.
    fn hand_on(&self, node: &mut MutexGuard<'_, consensus::Node>, wake: Wake) -> usize {
        let mut committed = 0;
        while let Some(work) = HandOff::next(node) {
            if let Some(soft) = work.soft {
                self.status.follow(soft);
            }
            if let Some(role) = work.role {
                self.apply.push(role);
            }
            self.send(work.send);
            if let Some(state) = &work.hard_state {
                self.status.publish(state);
            }
            if let Some(index) = work.last_index {
                self.status.last_index.store(index, Ordering::Release);
            }
            if let Some(reads) = work.reads {
                self.apply.push(reads);
            }
            committed += work.committed_len;
            match (work.committed, wake) {
                (Some(entries), Wake::Apply) => self.apply.push(entries),
                (Some(entries), Wake::Nobody) => self.apply.push_quiet(entries),
                (None, _) => {}
            }
            self.unwritten
                .fetch_add(work.append_bytes, Ordering::AcqRel);
            if work.is_urgent {
                self.log.push(work.append);
            } else {
                self.log.push_quiet(work.append);
            }
        }
        committed
    }

    /// The node's own view, for status pages.
    pub fn inspect<R>(&self, look: impl FnOnce(&consensus::Node) -> R) -> R {
        look(&self.node.lock())
    }
}
