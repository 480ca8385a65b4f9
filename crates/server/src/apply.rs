//! The apply thread: drives the machine of [`member`] with what is queued, and takes what follows
//! to the runtimes, the transport and the metrics. The log writer drives it too, with small runs.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
    thread::JoinHandle,
    time::Instant,
};

use bytes::Bytes;
use member::{
    Command, Effects, Machine,
    apply::{Change, PeerChange},
    host::{Applied, Step},
    snapshot::Job,
};
use membership::{Member, conf_change::Rules};
use parking_lot::Mutex;

use crate::{
    core::Core,
    disputes,
    metrics::Applies,
    node::{Applier, Queue},
    runtime::{Delivery, Inbox, Inboxes, split_read_context},
    slow, spans,
};

/// The machine, and what is around it.
struct Driver {
    machine: Machine,
    host: Host,
    inboxes: Inboxes,
    /// Empty between turns; kept for its memory, like those below.
    commands: VecDeque<Command>,
    effects: Effects,
    /// By runtime.
    deliveries: Vec<Vec<Delivery>>,
}

/// The machine as its thread, the log writer and the transport share it.
#[derive(Clone)]
pub struct SharedMachine(Arc<Mutex<Driver>>);

/// The running thread.
pub struct ApplyThread {
    machine: SharedMachine,
    thread: JoinHandle<()>,
    queue: Arc<Queue<Command>>,
}

impl SharedMachine {
    /// A look at the machine between two turns.
    pub fn inspect<R>(&self, look: impl FnOnce(&Machine) -> R) -> R {
        look(&self.0.lock().machine)
    }
}

impl Applier for SharedMachine {
    fn try_apply(&self) -> bool {
        let driver = self.0.try_lock();
        driver.map(|mut driver| driver.turn()).is_some()
    }
}

impl ApplyThread {
    /// Starts the thread.
    pub fn start(
        core: Arc<Core>,
        inboxes: Inboxes,
        machine: Machine,
    ) -> std::io::Result<ApplyThread> {
        let queue = core.raft.apply.clone();
        let machine = SharedMachine(Arc::new(Mutex::new(Driver {
            machine,
            host: Host::new(core),
            commands: VecDeque::new(),
            effects: Effects::default(),
            deliveries: inboxes.iter().map(|_| Vec::new()).collect(),
            inboxes,
        })));
        let (own, inner) = (machine.clone(), queue.clone());
        let thread = std::thread::Builder::new()
            .name("apply".into())
            .spawn(move || {
                while inner.wait() {
                    own.0.lock().turn();
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

    /// Waits for a snapshot under way, takes a last one if what is on disk would
    /// stop another release, and lets no other begin. The log writer must still run.
    pub fn finish_snapshots(&self) {
        let running = self.machine.0.lock().host.snapshot.take();
        join(running);
        let mut driver = self.machine.0.lock();
        driver.turn();
        // A snapshot that this turn began is the last one.
        join(driver.host.snapshot.take());
        let Driver { machine, host, .. } = &mut *driver;
        machine.take_last_snapshot(host);
        let running = host.snapshot.take();
        drop(driver);
        join(running);
    }

    /// Applies what is queued and ends.
    pub fn stop(self) {
        self.queue.close();
        // A panic of the thread was already reported by the panic hook.
        let _ = self.thread.join();
    }
}

fn join(thread: Option<JoinHandle<()>>) {
    if let Some(thread) = thread {
        // A panic of the thread was already reported by the panic hook.
        let _ = thread.join();
    }
}

impl Driver {
    /// Does what is queued: whoever holds the machine, in the order of the queue.
    fn turn(&mut self) {
        self.host.core.raft.apply.take(&mut self.commands);
        let done = self
            .machine
            .turn(&mut self.commands, &mut self.host, &mut self.effects);
        if let Err(fatal) = done {
            self.host.core.fatal.report(fatal.what, &fatal.error);
            return;
        }
        self.deliver();
        self.machine.upkeep(&mut self.host);
    }

    /// Takes the effects of a turn where they belong, with one wake-up per runtime.
    fn deliver(&mut self) {
        let core = &self.host.core;
        let out = &mut self.deliveries;
        if self.effects.leases_changed {
            core.leases_changed.notify_waiters();
        }
        for change in self.effects.peers.drain(..) {
            follow(core, change, out);
        }
        for change in self.effects.changes.drain(..) {
            show(&self.inboxes, change, out);
        }
        for (waiter, result) in self.effects.answers.drain(..) {
            if let Some(out) = out.get_mut(waiter.runtime as usize) {
                out.push(Delivery::Applied(waiter, result));
            }
        }
        for context in self.effects.reads.drain(..) {
            answer_read(core.nonce, &context, out);
        }
        if self.effects.new_leader {
            for out in &mut *out {
                out.push(Delivery::NewLeader);
            }
        }
        (self.effects.leases_changed, self.effects.new_leader) = (false, false);
        for (inbox, out) in self.inboxes.iter().zip(out) {
            if !out.is_empty() {
                inbox.deliver(out.drain(..));
            }
        }
    }
}

/// Takes a change to the runtimes whose watchers it may concern.
fn show(inboxes: &[Arc<Inbox>], change: Change, out: &mut [Vec<Delivery>]) {
    match change {
        Change::Events(events) => {
            // Pairs with the fence of a watch that is being created: either it sees
            // the new revision, or its flag is seen here.
            fence(Ordering::SeqCst);
            for (inbox, out) in inboxes.iter().zip(out) {
                if inbox.watching.load(Ordering::SeqCst) {
                    // Ahead of the results, so that whoever sees its own write
                    // acknowledged finds the event on its way.
                    out.push(Delivery::Events(events.clone()));
                }
            }
        }
        Change::Restored { revision } => {
            for out in out {
                out.push(Delivery::Restored { revision });
            }
        }
    }
}

fn answer_read(nonce: u64, context: &Bytes, out: &mut [Vec<Delivery>]) {
    if let Some((runtime, seq)) = split_read_context(context, nonce)
        && let Some(out) = out.get_mut(runtime as usize)
    {
        let result = Ok(());
        out.push(Delivery::Read { seq, result });
    }
}

/// Has the transport to the other members follow a change of the membership.
fn follow(core: &Core, change: PeerChange, out: &mut [Vec<Delivery>]) {
    let peers = core.raft.peers();
    match (change, peers) {
        (PeerChange::Left, _) => core.leave(),
        (
            PeerChange::Disputed {
                member,
                raft_has_learner,
            },
            _,
        ) => {
            if let Some(work) = disputes::follow(core, &member, raft_has_learner) {
                out[0].push(Delivery::Spawn(work));
            }
        }
        (_, None) => {}
        (PeerChange::Added(member), Some(peers)) => peers.add_peer(member.id.0, &member.peer_urls),
        (PeerChange::Updated(member), Some(peers)) => {
            peers.update_peer(member.id.0, &member.peer_urls);
        }
        (PeerChange::Removed(id), Some(peers)) => peers.remove_peer(id),
        (PeerChange::Replaced(members), Some(peers)) => {
            reset_peers(peers, core.member_id, &members);
        }
    }
}

/// Tells the transport who the members are, as after a snapshot. What is on its
/// way to those who stay is not lost.
fn reset_peers(peers: &peer::Transport, own: u64, members: &[Member]) {
    let known = peers.peers();
    for peer in &known {
        if !members.iter().any(|member| member.id.0 == peer.id) {
            peers.remove_peer(peer.id);
        }
    }
    for member in members {
        let id = member.id.0;
        match known.iter().find(|peer| peer.id == id) {
            Some(peer) if peer.urls == member.peer_urls => {}
            Some(_) => peers.update_peer(id, &member.peer_urls),
            None if id == own => {}
            None => peers.add_peer(id, &member.peer_urls),
        }
    }
}

/// The process around the machine.
struct Host {
    core: Arc<Core>,
    applies: Applies,
    /// When the run under way began.
    began: Instant,
    /// When the entry under way did.
    entry_began: Instant,
    /// The snapshot under way.
    snapshot: Option<JoinHandle<()>>,
}

impl Host {
    fn new(core: Arc<Core>) -> Host {
        Host {
            applies: core.metrics.applies(),
            core,
            began: Instant::now(),
            entry_began: Instant::now(),
            snapshot: None,
        }
    }

    /// A run of entries is applied.
    fn run_ends(&mut self) {
        // The last entry ended just now.
        self.applies.observe(self.entry_began - self.began);
    }

    /// An entry is applied.
    fn entry_ends(&mut self, applied: &Applied<'_>) {
        if let Some(kind) = applied.kind {
            let is_ok = applied.result.is_none_or(|result| result.is_ok());
            self.applies.count(kind, is_ok);
        }
        let now = Instant::now();
        let took = now - self.entry_began;
        self.entry_began = now;
        slow::applied(&self.core, applied, took);
        spans::event("apply", took, &[("index", applied.entry.index)]);
    }
}

impl member::Host for Host {
    fn now_ms(&self) -> u64 {
        self.core.now_ms()
    }

    fn consensus<R>(&mut self, event: impl FnOnce(&mut consensus::Node) -> R) -> R {
        self.core.raft.drive(event)
    }

    fn rules(&self) -> Rules<'static> {
        disputes::rules(&self.core)
    }

    fn is_sending_snapshot(&self) -> bool {
        self.core.snapshots_out.in_flight()
    }

    fn start_snapshot(&mut self, job: Job) -> bool {
        let core = self.core.clone();
        let started = std::thread::Builder::new()
            .name("snapshot".into())
            .spawn(move || write_snapshot(&core, &job));
        match started {
            Ok(thread) => {
                self.snapshot = Some(thread);
                true
            }
            Err(error) => {
                tracing::warn!(error = %error, "failed to start a snapshot");
                false
            }
        }
    }

    fn await_snapshot(&mut self) {
        join(self.snapshot.take());
    }

    fn observe(&mut self, step: Step<'_>) {
        let metrics = &self.core.metrics;
        match step {
            Step::RunBegins => {
                self.began = Instant::now();
                self.entry_began = self.began;
            }
            Step::RunEnds(_) => self.run_ends(),
            Step::Entry(applied) => self.entry_ends(&applied),
            Step::Put(put) => metrics.count_put(put),
            Step::Delete(delete) => metrics.count_delete(delete),
            Step::Txn(txn, response) => metrics.count_txn(txn, response),
            Step::Compaction => metrics.count_compaction(),
            Step::LeaseGranted(ttl) => {
                metrics.lease_granted.inc();
                metrics.lease_ttl.observe(ttl as f64);
            }
            Step::LeaseRevoked(keys) => {
                metrics.count_deleted_keys(keys);
                metrics.lease_revoked.inc();
            }
            Step::Disagreements(found, action) => metrics.count_disagreements(found, action),
        }
    }
}

/// Writes a snapshot and hands its record to the log writer.
fn write_snapshot(core: &Core, job: &Job) {
    let begin = Instant::now();
    match job.commit().and_then(|()| job.save()) {
        Ok(saved) => {
            core.metrics.count_snapshot(begin.elapsed(), saved);
            core.raft.log.push(job.record());
        }
        Err(fatal) => core.fatal.report(fatal.what, &fatal.error),
    }
}
