//! One of the server's single-threaded runtimes: the calls in flight on its
//! connections, the outbox of proposals that its tasks fill and one flush
//! empties, the shared read gate, and its watchers. Everything here belongs to
//! one thread; other threads reach it through its [`Inbox`], with one wake-up
//! per batch of deliveries.

mod calls;
mod gate;
mod room;
mod signal;
mod watch;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use member::{Command, Outcome, Waiter, propose};
use parking_lot::Mutex;
use tokio::sync::{Notify, SemaphorePermit};

use self::{
    calls::Calls,
    gate::{READ_RETRY, ReadGate},
    signal::LocalSignal,
};
pub use self::{
    calls::Pending,
    watch::{StreamId, WatchHub},
};
use crate::{
    core::Core,
    node::Proposal,
    status::{Code, Status, errors},
};

/// Runs work that waits on a thread for that, and waits for its result.
///
/// # Errors
/// The work panicked, or the runtime ends.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Status> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Status::new(Code::Internal, error.to_string()))
}

/// Something to do on a runtime.
pub type Task = Box<dyn FnOnce(&Rc<Runtime>) + Send>;

/// What other threads hand to a runtime.
pub enum Delivery {
    /// The result of a proposal.
    Applied(Waiter, Result<Outcome, Status>),
    /// Everything up to the index that read request `seq` asked for is applied.
    Read {
        /// Which read request of this runtime.
        seq: u64,
        /// Failure, if the read index could not be had.
        result: Result<(), Status>,
    },
    /// Changes made by one run of entries, in revision order.
    Events(Vec<Arc<mvcc::EventBatch>>),
    /// There is a leader, and it is not the one before.
    NewLeader,
    /// A received snapshot took the place of the store, which is at this revision.
    Restored {
        /// Current revision of the new store.
        revision: i64,
    },
    /// A task to run on this runtime (a connection the acceptor hands over).
    Spawn(Task),
}

/// The mailbox of a runtime.
#[derive(Default)]
pub struct Inbox {
    queue: Mutex<Vec<Delivery>>,
    notify: Notify,
    /// True while the runtime has watchers, so that others send it events.
    pub watching: AtomicBool,
    /// Watch events that connections of the runtime have taken, for `/metrics`.
    pub events_taken: AtomicU64,
    /// Watch events that wait for their connections, for `/metrics`.
    pub events_pending: AtomicU64,
}

/// The mailboxes of all runtimes, by their index; the last one's serves the other members.
pub type Inboxes = Arc<[Arc<Inbox>]>;

impl Inbox {
    /// The mailboxes of `serving` runtimes, and of the one that serves the other members.
    pub fn for_runtimes(serving: usize) -> Inboxes {
        (0..=serving).map(|_| Arc::new(Inbox::default())).collect()
    }

    /// Delivers a batch with one wake-up.
    pub fn deliver(&self, batch: impl IntoIterator<Item = Delivery>) {
        let wake = {
            let mut queue = self.queue.lock();
            let was_empty = queue.is_empty();
            queue.extend(batch);
            was_empty && !queue.is_empty()
        };
        if wake {
            self.notify.notify_one();
        }
    }
}

/// A runtime and what its tasks share.
pub struct Runtime {
    /// What all runtimes share.
    pub core: Arc<Core>,
    /// The mailboxes of all runtimes.
    pub inboxes: Inboxes,
    /// This runtime's index.
    pub id: u32,
    calls: Rc<Calls>,
    outbox: RefCell<Vec<Proposal>>,
    outbox_filled: LocalSignal,
    gate: ReadGate,
    /// Watchers, streams and watchers behind, as last counted into the gauges.
    pub watch_reported: Cell<[i64; 3]>,
    /// The watchers of this runtime's streams.
    pub watch: WatchHub,
    /// Connections to other members that are asked often.
    pub links: peer::ask::Links,
}

/// Between two attempts to propose while nobody takes proposals.
const PROPOSE_PAUSE: Duration = Duration::from_millis(10);
/// A new leader is asked this often, and after this long again.
const NEW_LEADER_TRIES: usize = 40;
const NEW_LEADER_PAUSE: Duration = Duration::from_millis(10);
/// How often calls past their deadline are looked for.
const SWEEP: Duration = Duration::from_millis(250);

impl Runtime {
    /// Prepares runtime `id` and starts its housekeeping on the current thread,
    /// which must be inside a `LocalSet`.
    pub fn start(core: Arc<Core>, inboxes: Inboxes, id: u32) -> Rc<Runtime> {
        // Together they admit no more at once than may wait for the log: what waits while it is
        // behind does not come all in one run when it has caught up.
        let room = propose::UNWRITTEN_MAX / inboxes.len().max(1);
        let rt = Rc::new(Runtime {
            watch: WatchHub::new(&core, id),
            links: peer::ask::Links::default(),
            core,
            inboxes,
            id,
            calls: Rc::new(Calls::new(id, room)),
            outbox: RefCell::new(Vec::with_capacity(64)),
            outbox_filled: LocalSignal::default(),
            gate: ReadGate::default(),
            watch_reported: Cell::default(),
        });
        tokio::task::spawn_local(flush_outbox(rt.clone()));
        tokio::task::spawn_local(flush_reads(rt.clone()));
        tokio::task::spawn_local(read_inbox(rt.clone()));
        tokio::task::spawn_local(sweep(rt.clone()));
        rt
    }

    /// This runtime's mailbox.
    pub fn inbox(&self) -> &Inbox {
        &self.inboxes[self.id as usize]
    }

    /// Proposes serialized request `id` and waits for its result until `deadline`.
    pub fn propose(&self, id: u64, data: Bytes, deadline: Instant) -> Pending {
        let pending = self.seat(deadline, data.len());
        let waiter = pending.waiter;
        self.outbox.borrow_mut().push(Proposal { id, data, waiter });
        self.outbox_filled.set();
        pending
    }

    /// Room for a call that proposes `bytes`; `None` if it has to wait.
    ///
    /// # Errors
    /// Too many calls are in flight.
    pub fn try_room(&self, bytes: usize) -> Result<Option<SemaphorePermit<'_>>, Status> {
        if !self.calls.has_seat() {
            return Err(errors::TOO_MANY_REQUESTS);
        }
        let waits = self.core.raft.is_congested();
        Ok((!waits)
            .then(|| self.calls.room().try_take(bytes))
            .flatten())
    }

    /// Waits until a call that began at `begin` and proposes `bytes` may go on.
    ///
    /// # Errors
    /// Too much waits already; the time of a request is over.
    pub async fn room(&self, bytes: usize, begin: Instant) -> Result<SemaphorePermit<'_>, Status> {
        let deadline = begin + self.core.config.request_timeout();
        let written = self.core.raft.log_has_room();
        self.calls.room().take(bytes, deadline, written).await
    }

    /// True if another call that proposes `bytes` may begin. One always may.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.calls.has_room(bytes)
    }

    /// Proposes serialized requests that the leader of `term` alone may make. They do not wait
    /// for another leader, as [`Runtime::propose`] does: it would know better.
    ///
    /// # Errors
    /// They were not taken.
    pub fn propose_as_leader(
        &self,
        term: u64,
        requests: Vec<(u64, Bytes)>,
        timeout: Duration,
    ) -> Result<Vec<Pending>, consensus::ProposeError> {
        let (pending, run): (Vec<Pending>, Vec<Proposal>) = requests
            .into_iter()
            .map(|(id, data)| {
                let pending = self.seat(Instant::now() + timeout, data.len());
                let waiter = pending.waiter;
                (pending, Proposal { id, data, waiter })
            })
            .unzip();
        match self.core.raft.propose_as_leader(term, run) {
            Ok(()) => Ok(pending),
            Err((_, error)) => Err(error),
        }
    }

    /// Waits until a quorum has confirmed that this member leads `term`: one that was paused
    /// does not know that others have gone on without it. All that was committed when the call
    /// was made is applied then.
    pub async fn leads(&self, term: u64) -> bool {
        let status = &self.core.raft.status;
        let holds = || {
            status.is_leader.load(Ordering::Acquire) && status.term.load(Ordering::Acquire) == term
        };
        holds() && self.linearizable().await.is_ok() && holds()
    }

    /// Asks the apply machine, which answers between two entries.
    pub fn ask_machine(
        &self,
        question: impl FnOnce(Waiter) -> Command,
        timeout: Duration,
    ) -> Pending {
        let pending = self.seat(Instant::now() + timeout, 0);
        self.core.raft.apply.push(question(pending.waiter));
        pending
    }

    /// Proposes a change of the configuration and waits for its result.
    pub fn propose_conf_change(
        self: &Rc<Self>,
        id: u64,
        data: Bytes,
        timeout: Duration,
    ) -> Pending {
        let pending = self.seat(Instant::now() + timeout, data.len());
        let waiter = pending.waiter;
        let change = Proposal { id, data, waiter };
        let rt = self.clone();
        tokio::task::spawn_local(async move {
            let mut change = change;
            while let Err((refused, _)) = rt.core.raft.propose_conf_change(change) {
                tokio::time::sleep(PROPOSE_PAUSE).await;
                if !rt.calls.is_awaited(refused.waiter) {
                    return;
                }
                change = refused;
            }
        });
        pending
    }

    /// Nobody takes proposals just now: an election, or a transfer, is under way.
    /// They wait for its end, as long as their callers do.
    fn hold(&self, mut run: Vec<Proposal>) {
        run.retain(|proposal| self.calls.is_awaited(proposal.waiter));
        let mut outbox = self.outbox.borrow_mut();
        run.append(&mut outbox);
        *outbox = run;
    }

    /// A place where a result is awaited.
    fn seat(&self, deadline: Instant, bytes: usize) -> Pending {
        self.calls.seat(deadline, self.core.ms_at(deadline), bytes)
    }

    /// Waits until this member has applied everything that was committed when
    /// the call was made (a linearizable read may then use local state).
    pub async fn linearizable(&self) -> Result<(), Status> {
        self.linearizable_by(Instant::now() + self.core.config.request_timeout())
            .await
    }

    /// As [`linearizable`](Self::linearizable), for a request whose time is over at `deadline`.
    pub async fn linearizable_by(&self, deadline: Instant) -> Result<(), Status> {
        if self.core.reads_are_local() {
            return Ok(());
        }
        let ticks = &self.core.raft.status.ticks;
        let pauses = ticks.pauses();
        let wait = self.gate.pass();
        let waited = tokio::time::timeout_at(deadline.into(), wait).await;
        if !matches!(waited, Ok(Ok(()))) {
            self.core.metrics.read_indexes_failed.inc();
        }
        match waited {
            Ok(result) => result.inspect(|()| ticks.confirm(pauses)),
            Err(_) if self.core.raft.status.leader.load(Ordering::Acquire) == 0 => {
                Err(errors::NO_LEADER)
            }
            Err(_) => Err(errors::TIMEOUT),
        }
    }

    /// Publishes the numbers of watch events for `/metrics`: plain stores, for no one else writes
    /// them.
    pub fn count_events(&self) {
        let (taken, pending) = self.watch.events();
        let inbox = self.inbox();
        inbox.events_taken.store(taken, Ordering::Relaxed);
        inbox.events_pending.store(pending, Ordering::Relaxed);
    }

    /// Repeats the read request under way, which the leader before took with it,
    /// until the new one answers: it cannot before its first entry is committed.
    fn ask_new_leader(self: &Rc<Self>) {
        let Some(seq) = self.gate.in_flight() else {
            return;
        };
        let rt = self.clone();
        tokio::task::spawn_local(async move {
            for _ in 0..NEW_LEADER_TRIES {
                if rt.gate.in_flight() != Some(seq) {
                    return;
                }
                rt.request_read_index(seq);
                tokio::time::sleep(NEW_LEADER_PAUSE).await;
            }
        });
    }

    fn request_read_index(&self, seq: u64) {
        let mut context = [0u8; CONTEXT_BYTES];
        context[..8].copy_from_slice(&self.core.nonce.to_be_bytes());
        context[8..12].copy_from_slice(&self.id.to_be_bytes());
        context[12..].copy_from_slice(&seq.to_be_bytes());
        self.core
            .raft
            .drive(|node| node.read_index(Bytes::copy_from_slice(&context)));
    }
}

async fn flush_outbox(rt: Rc<Runtime>) {
    loop {
        rt.outbox_filled.wait().await;
        // Tasks that are ready now run first and add to the same run.
        tokio::task::yield_now().await;
        let run = std::mem::take(&mut *rt.outbox.borrow_mut());
        if run.is_empty() {
            continue;
        }
        rt.outbox.borrow_mut().reserve(run.len());
        if let Err((run, _)) = rt.core.raft.propose(run) {
            rt.hold(run);
            tokio::time::sleep(PROPOSE_PAUSE).await;
            rt.outbox_filled.set();
        }
    }
}

async fn flush_reads(rt: Rc<Runtime>) {
    loop {
        let seq = rt.gate.next().await;
        rt.request_read_index(seq);
    }
}

/// A read-index context: the process's nonce, the runtime, the number of the
/// request. Others' requests pass through the same leader, and an answer to a
/// process that is gone may still come: none of them may look like ours.
const CONTEXT_BYTES: usize = 20;

/// Splits a read-index context made by the runtimes of the process with this
/// nonce: runtime and number.
pub fn split_read_context(context: &[u8], nonce: u64) -> Option<(u32, u64)> {
    let (head, rest) = context.split_first_chunk::<8>()?;
    let (runtime, seq) = rest.split_first_chunk::<4>()?;
    let seq: &[u8; 8] = seq.try_into().ok()?;
    (u64::from_be_bytes(*head) == nonce)
        .then_some((u32::from_be_bytes(*runtime), u64::from_be_bytes(*seq)))
}

async fn read_inbox(rt: Rc<Runtime>) {
    let mut batch = Vec::new();
    loop {
        let inbox = rt.inbox();
        inbox.notify.notified().await;
        std::mem::swap(&mut *inbox.queue.lock(), &mut batch);
        for delivery in batch.drain(..) {
            match delivery {
                Delivery::Applied(waiter, result) => rt.calls.complete(waiter, result),
                Delivery::Read { seq, result } => rt.gate.done(seq, &result),
                Delivery::Events(events) => {
                    rt.watch.notify(&rt.core, &events);
                    rt.count_events();
                }
                Delivery::NewLeader => rt.ask_new_leader(),
                Delivery::Restored { revision } => {
                    rt.watch.restored(revision);
                    rt.count_events();
                }
                Delivery::Spawn(task) => task(&rt),
            }
        }
    }
}

async fn sweep(rt: Rc<Runtime>) {
    let mut tick = tokio::time::interval(SWEEP);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let now = Instant::now();
        rt.calls.end_late(now);
        if let Some(seq) = rt.gate.overdue(now) {
            rt.core.metrics.slow_read_indexes.inc();
            if rt.core.says_retry(READ_RETRY) {
                tracing::warn!(
                    "sent-request-id" = seq,
                    "retry-timeout" = ?READ_RETRY,
                    "waiting for ReadIndex response took too long, retrying"
                );
            }
            rt.request_read_index(seq);
        }
    }
}
