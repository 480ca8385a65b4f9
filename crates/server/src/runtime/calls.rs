//! The calls of one runtime that wait for the result of a proposal.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use member::{Outcome, Waiter};
use slab::Slab;
use tokio::sync::SemaphorePermit;

use super::room::Room;
use crate::status::{Status, errors};

/// Calls in flight on one runtime that go through the log, and bytes that they
/// propose. Far above what a member that gets anything done has at a time.
const CALLS_MAX: usize = 100_000;
const CALL_BYTES_MAX: usize = 256 << 20;
/// What calls hold that wait until others are through.
const WAITING_BYTES_MAX: usize = 448 << 20;

struct Slot {
    generation: u32,
    state: SlotState,
    deadline: Instant,
}

enum SlotState {
    Waiting(Option<Waker>),
    Done(Result<Outcome, Status>),
}

/// The calls in flight, each in a slot of its own.
pub(super) struct Calls {
    /// The runtime's index.
    runtime: u32,
    slots: RefCell<Slab<Slot>>,
    /// Bytes that they propose.
    bytes: Cell<usize>,
    /// For those of them that clients ask for.
    room: Room,
    generation: Cell<u32>,
}

impl Calls {
    /// Those of runtime `runtime`, which propose no more than `room` bytes at once.
    pub(super) fn new(runtime: u32, room: usize) -> Calls {
        Calls {
            runtime,
            slots: RefCell::new(Slab::with_capacity(256)),
            bytes: Cell::new(0),
            room: Room::new(room, WAITING_BYTES_MAX),
            generation: Cell::new(0),
        }
    }

    /// The room of calls.
    pub(super) fn room(&self) -> &Room {
        &self.room
    }

    /// True if another call may begin.
    pub(super) fn has_seat(&self) -> bool {
        self.slots.borrow().len() < CALLS_MAX
    }

    /// True if another call that proposes `bytes` may begin. One always may.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let calls = self.slots.borrow().len();
        let all = self.bytes.get().saturating_add(bytes);
        calls == 0 || calls < CALLS_MAX && all <= CALL_BYTES_MAX
    }

    /// True while the caller waits for this result.
    pub(super) fn is_awaited(&self, waiter: Waiter) -> bool {
        let slots = self.slots.borrow();
        slots.get(waiter.slot as usize).is_some_and(|slot| {
            slot.generation == waiter.generation && matches!(slot.state, SlotState::Waiting(_))
        })
    }

    /// A place where a result is awaited.
    pub(super) fn seat(
        self: &Rc<Self>,
        deadline: Instant,
        deadline_ms: u64,
        bytes: usize,
    ) -> Pending {
        let generation = self.generation.get().wrapping_add(1);
        self.generation.set(generation);
        let slot = self.slots.borrow_mut().insert(Slot {
            generation,
            state: SlotState::Waiting(None),
            deadline,
        }) as u32;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.bytes.set(self.bytes.get() + bytes as usize);
        Pending {
            calls: self.clone(),
            waiter: Waiter {
                runtime: self.runtime,
                slot,
                generation,
                deadline_ms,
            },
            bytes,
            room: 0,
        }
    }

    /// Brings a call its result.
    pub(super) fn complete(&self, waiter: Waiter, result: Result<Outcome, Status>) {
        self.finish(waiter.slot as usize, waiter.generation, result);
    }

    fn finish(&self, key: usize, generation: u32, result: Result<Outcome, Status>) {
        let mut slots = self.slots.borrow_mut();
        // A call that was given up has freed its slot, and a later call may sit in it.
        if let Some(slot) = slots.get_mut(key)
            && slot.generation == generation
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

    /// Ends the calls whose time is over at `now`.
    pub(super) fn end_late(&self, now: Instant) {
        let late: Vec<(usize, u32)> = self
            .slots
            .borrow()
            .iter()
            .filter(|(_, slot)| slot.deadline < now && matches!(slot.state, SlotState::Waiting(_)))
            .map(|(key, slot)| (key, slot.generation))
            .collect();
        for (key, generation) in late {
            self.finish(key, generation, Err(errors::TIMEOUT));
        }
    }
}

/// A proposal whose result is awaited. Dropping it gives the place up; the
/// request itself may still be applied.
pub struct Pending {
    calls: Rc<Calls>,
    pub(super) waiter: Waiter,
    bytes: u32,
    /// What it holds of the room of calls.
    room: u32,
}

impl Pending {
    /// The same, which gives `room` back in the end.
    pub fn within(mut self, room: SemaphorePermit<'_>) -> Pending {
        self.room = room.num_permits() as u32;
        room.forget();
        self
    }
}

impl Future for Pending {
    type Output = Result<Outcome, Status>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slots = self.calls.slots.borrow_mut();
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
        let bytes = &self.calls.bytes;
        bytes.set(bytes.get() - self.bytes as usize);
        self.calls.room.give_back(self.room);
        self.calls
            .slots
            .borrow_mut()
            .try_remove(self.waiter.slot as usize);
    }
}
