//! One of the server's single-threaded runtimes: the calls in flight on its
//! connections, the outbox of proposals that its tasks fill and one flush
//! empties, the shared read gate, and its watchers. Everything here belongs to
//! one thread; other threads reach it through its [`Inbox`], with one wake-up
//! per batch of deliveries.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use member::{Outcome, Waiter};
use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::Notify;

use crate::{
    api::watch::WatchHub,
    core::Core,
    node::Proposal,
    status::{Status, errors},
};

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

impl Inbox {
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

struct Slot {
    generation: u32,
    state: SlotState,
    deadline: Instant,
}

enum SlotState {
    Waiting(Option<Waker>),
    Done(Result<Outcome, Status>),
}

/// A signal between tasks of one thread; set wakes the one waiter.
#[derive(Default)]
pub struct LocalSignal {
    set: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl LocalSignal {
    /// Raises the signal.
    pub fn set(&self) {
        if !self.set.replace(true)
            && let Some(waker) = self.waker.borrow_mut().take()
        {
            waker.wake();
        }
    }

    /// Waits for the signal and lowers it.
    pub async fn wait(&self) {
        std::future::poll_fn(|cx| self.poll(cx)).await;
    }

    /// The poll form of [`LocalSignal::wait`].
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.set.replace(false) {
            return Poll::Ready(());
        }
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Linearizable reads that wait: those of the request under way, and those
/// that came after it was sent and therefore need the next one.
#[derive(Default)]
struct ReadGate {
    seq: u64,
    in_flight: Option<u64>,
    sent: Option<Instant>,
    /// Reads done up to this request, and its result if it failed.
    waiting: VecDeque<(u64, Rc<ReadSlot>)>,
}

#[derive(Default)]
struct ReadSlot {
    result: RefCell<Option<Result<(), Status>>>,
    waker: RefCell<Option<Waker>>,
}

/// A runtime and what its tasks share.
pub struct Runtime {
    /// What all runtimes share.
    pub core: Arc<Core>,
    /// This runtime's index.
    pub id: u32,
    slots: RefCell<Slab<Slot>>,
    /// Bytes that the calls in flight propose.
    call_bytes: Cell<usize>,
    generation: Cell<u32>,
    outbox: RefCell<Vec<Proposal>>,
    outbox_filled: LocalSignal,
    gate: RefCell<ReadGate>,
    gate_opened: LocalSignal,
    /// Watchers, streams and watchers behind, as last counted into the gauges.
    pub watch_reported: Cell<[i64; 3]>,
    /// The watchers of this runtime's streams.
    pub watch: WatchHub,
    /// Connections to other members that are asked often.
    pub links: peer::ask::Links,
}

/// An unanswered read index request is repeated after this long.
const READ_RETRY: Duration = Duration::from_millis(500);
/// Calls in flight on one runtime that go through the log, and bytes that they
/// propose. Far above what a member that gets anything done has at a time.
const CALLS_MAX: usize = 100_000;
const CALL_BYTES_MAX: usize = 256 << 20;
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
    pub fn start(core: Arc<Core>, id: u32) -> Rc<Runtime> {
        let rt = Rc::new(Runtime {
            watch: WatchHub::new(&core, id),
            links: peer::ask::Links::default(),
            core,
            id,
            slots: RefCell::new(Slab::with_capacity(256)),
            call_bytes: Cell::new(0),
            generation: Cell::new(0),
            outbox: RefCell::new(Vec::with_capacity(64)),
            outbox_filled: LocalSignal::default(),
            gate: RefCell::default(),
            gate_opened: LocalSignal::default(),
            watch_reported: Cell::default(),
        });
        tokio::task::spawn_local(flush_outbox(rt.clone()));
        tokio::task::spawn_local(flush_reads(rt.clone()));
        tokio::task::spawn_local(read_inbox(rt.clone()));
        tokio::task::spawn_local(sweep(rt.clone()));
        tokio::task::spawn_local(crate::api::watch::catch_up_loop(rt.clone()));
        tokio::task::spawn_local(crate::api::watch::progress_loop(rt.clone()));
        rt
    }

    /// This runtime's mailbox.
    pub fn inbox(&self) -> &Arc<Inbox> {
        &self.core.inboxes[self.id as usize]
    }

    /// Proposes serialized request `id` and waits for its result.
    pub fn propose(self: &Rc<Self>, id: u64, data: Bytes, timeout: Duration) -> Pending {
        let pending = self.seat(timeout, data.len());
        let waiter = pending.waiter;
        self.outbox.borrow_mut().push(Proposal { id, data, waiter });
        self.outbox_filled.set();
        pending
    }

    /// True if another call that proposes `bytes` may begin. One always may.
    pub fn has_room(&self, bytes: usize) -> bool {
        let calls = self.slots.borrow().len();
        let all = self.call_bytes.get().saturating_add(bytes);
        calls == 0 || calls < CALLS_MAX && all <= CALL_BYTES_MAX
    }

    /// Proposes serialized requests that the leader of `term` alone may make. They do not wait
    /// for another leader, as [`Runtime::propose`] does: it would know better.
    ///
    /// # Errors
    /// They were not taken.
    pub fn propose_as_leader(
        self: &Rc<Self>,
        term: u64,
        requests: Vec<(u64, Bytes)>,
        timeout: Duration,
    ) -> Result<Vec<Pending>, consensus::ProposeError> {
        let (pending, run): (Vec<Pending>, Vec<Proposal>) = requests
            .into_iter()
            .map(|(id, data)| {
                let pending = self.seat(timeout, data.len());
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
    pub async fn leads(self: &Rc<Self>, term: u64) -> bool {
        let status = &self.core.raft.status;
        let holds = || {
            status.is_leader.load(Ordering::Acquire) && status.term.load(Ordering::Acquire) == term
        };
        holds() && self.linearizable().await.is_ok() && holds()
    }

    /// Proposes a change of the configuration and waits for its result.
    pub fn propose_conf_change(
        self: &Rc<Self>,
        id: u64,
        data: Bytes,
        timeout: Duration,
    ) -> Pending {
        let pending = self.seat(timeout, data.len());
        let waiter = pending.waiter;
        let change = Proposal { id, data, waiter };
        let rt = self.clone();
        tokio::task::spawn_local(async move {
            let mut change = change;
            while let Err((refused, _)) = rt.core.raft.propose_conf_change(change) {
                tokio::time::sleep(PROPOSE_PAUSE).await;
                if !rt.is_awaited(refused.waiter) {
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
        run.retain(|proposal| self.is_awaited(proposal.waiter));
        let mut outbox = self.outbox.borrow_mut();
        run.append(&mut outbox);
        *outbox = run;
    }

    fn is_awaited(&self, waiter: Waiter) -> bool {
        let slots = self.slots.borrow();
        slots.get(waiter.slot as usize).is_some_and(|slot| {
            slot.generation == waiter.generation && matches!(slot.state, SlotState::Waiting(_))
        })
    }

    /// A place where a result is awaited.
    fn seat(self: &Rc<Self>, timeout: Duration, bytes: usize) -> Pending {
        let generation = self.generation.get().wrapping_add(1);
        self.generation.set(generation);
        let now = Instant::now();
        let deadline = now + timeout;
        let slot = self.slots.borrow_mut().insert(Slot {
            generation,
            state: SlotState::Waiting(None),
            deadline,
        }) as u32;
        self.call_bytes.set(self.call_bytes.get() + bytes);
        Pending {
            rt: self.clone(),
            waiter: Waiter {
                runtime: self.id,
                slot,
                generation,
                deadline_ms: self.core.ms_at(deadline),
            },
            bytes,
        }
    }

    /// Waits until this member has applied everything that was committed when
    /// the call was made (a linearizable read may then use local state).
    pub async fn linearizable(self: &Rc<Self>) -> Result<(), Status> {
        if self.core.reads_are_local() {
            return Ok(());
        }
        let slot = Rc::new(ReadSlot::default());
        {
            let mut gate = self.gate.borrow_mut();
            let seq = gate.seq + 1;
            gate.waiting.push_back((seq, slot.clone()));
        }
        self.gate_opened.set();
        let wait = std::future::poll_fn(|cx| {
            if let Some(result) = slot.result.borrow_mut().take() {
                return Poll::Ready(result);
            }
            *slot.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        });
        let waited = tokio::time::timeout(self.core.config.request_timeout(), wait).await;
        if !matches!(waited, Ok(Ok(()))) {
            self.core.metrics.read_indexes_failed.inc();
        }
        match waited {
            Ok(result) => result,
            Err(_) if self.core.raft.status.leader.load(Ordering::Acquire) == 0 => {
                Err(errors::NO_LEADER)
            }
            Err(_) => Err(errors::TIMEOUT),
        }
    }

    fn complete(&self, waiter: Waiter, result: Result<Outcome, Status>) {
        let mut slots = self.slots.borrow_mut();
        // A call that was given up has freed its slot, and a later call may sit in it.
        if let Some(slot) = slots.get_mut(waiter.slot as usize)
            && slot.generation == waiter.generation
            && let SlotState::Waiting(waker) = &mut slot.state
        {
            let waker = waker.take();
            slot.state = SlotState::Done(result);
            drop(slots);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    fn read_done(&self, seq: u64, result: &Result<(), Status>) {
        let mut done = Vec::new();
        {
            let mut gate = self.gate.borrow_mut();
            if gate.in_flight != Some(seq) {
                return;
            }
            gate.in_flight = None;
            gate.sent = None;
            while gate.waiting.front().is_some_and(|(s, _)| *s <= seq) {
                if let Some((_, slot)) = gate.waiting.pop_front() {
                    done.push(slot);
                }
            }
        }
        for slot in done {
            *slot.result.borrow_mut() = Some(result.clone());
            if let Some(waker) = slot.waker.borrow_mut().take() {
                waker.wake();
            }
        }
        self.gate_opened.set();
    }
}

/// A proposal whose result is awaited. Dropping it gives the place up; the
/// request itself may still be applied.
pub struct Pending {
    rt: Rc<Runtime>,
    waiter: Waiter,
    bytes: usize,
}

impl Future for Pending {
    type Output = Result<Outcome, Status>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slots = self.rt.slots.borrow_mut();
        let Some(slot) = slots.get_mut(self.waiter.slot as usize) else {
            return Poll::Ready(Err(errors::STOPPED));
        };
        match &mut slot.state {
            SlotState::Waiting(waker) => {
                match waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => *waker = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
            SlotState::Done(result) => Poll::Ready(std::mem::replace(result, Err(errors::STOPPED))),
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let bytes = &self.rt.call_bytes;
        bytes.set(bytes.get() - self.bytes);
        self.rt
            .slots
            .borrow_mut()
            .try_remove(self.waiter.slot as usize);
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
        rt.gate_opened.wait().await;
        let seq = {
            let mut gate = rt.gate.borrow_mut();
            if gate.in_flight.is_some() || gate.waiting.is_empty() {
                continue;
            }
            gate.seq += 1;
            gate.in_flight = Some(gate.seq);
            gate.sent = Some(Instant::now());
            gate.seq
        };
        rt.request_read_index(seq);
    }
}

impl Runtime {
    /// Repeats the read request under way, which the leader before took with it,
    /// until the new one answers: it cannot before its first entry is committed.
    fn ask_new_leader(self: &Rc<Self>) {
        let Some(seq) = self.gate.borrow().in_flight else {
            return;
        };
        let rt = self.clone();
        tokio::task::spawn_local(async move {
            for _ in 0..NEW_LEADER_TRIES {
                if rt.gate.borrow().in_flight != Some(seq) {
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
    let inbox = rt.inbox().clone();
    let mut batch = Vec::new();
    loop {
        inbox.notify.notified().await;
        std::mem::swap(&mut *inbox.queue.lock(), &mut batch);
        for delivery in batch.drain(..) {
            match delivery {
                Delivery::Applied(waiter, result) => rt.complete(waiter, result),
                Delivery::Read { seq, result } => rt.read_done(seq, &result),
                Delivery::Events(events) => rt.watch.notify(&rt.core, &events),
                Delivery::NewLeader => rt.ask_new_leader(),
                Delivery::Restored { revision } => rt.watch.restored(&rt.core, revision),
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
        let late: Vec<Waiter> = rt
            .slots
            .borrow()
            .iter()
            .filter(|(_, slot)| slot.deadline < now && matches!(slot.state, SlotState::Waiting(_)))
            .map(|(key, slot)| Waiter {
                runtime: rt.id,
                slot: key as u32,
                generation: slot.generation,
                deadline_ms: rt.core.ms_at(slot.deadline),
            })
            .collect();
        for waiter in late {
            rt.complete(waiter, Err(errors::TIMEOUT));
        }
        let again = {
            let mut gate = rt.gate.borrow_mut();
            match (gate.in_flight, gate.sent) {
                (Some(seq), Some(sent)) if now - sent >= READ_RETRY => {
                    gate.sent = Some(now);
                    Some(seq)
                }
                _ => None,
            }
        };
        if let Some(seq) = again {
            rt.core.metrics.slow_read_indexes.inc();
            tracing::warn!("waiting for ReadIndex response took too long, retrying");
            rt.request_read_index(seq);
        }
    }
}
