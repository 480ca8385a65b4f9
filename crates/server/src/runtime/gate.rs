//! Linearizable reads that wait. All of a runtime share a read index: those that came before a
//! request was sent wait for its answer, and those that came after it need the next one.

use std::{
    cell::RefCell,
    collections::VecDeque,
    rc::Rc,
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use super::signal::LocalSignal;
use crate::status::Status;

/// An unanswered read index request is repeated after this long.
pub(super) const READ_RETRY: Duration = Duration::from_millis(500);

#[derive(Default)]
pub(super) struct ReadGate {
    reads: RefCell<Reads>,
    /// Reads wait, and no request is under way.
    opened: LocalSignal,
}

#[derive(Default)]
struct Reads {
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

impl ReadGate {
    /// Waits for the answer to a request that is sent from now on.
    pub(super) async fn pass(&self) -> Result<(), Status> {
        let slot = Rc::new(ReadSlot::default());
        {
            let mut reads = self.reads.borrow_mut();
            let seq = reads.seq + 1;
            reads.waiting.push_back((seq, slot.clone()));
        }
        self.opened.set();
        std::future::poll_fn(|cx| {
            if let Some(result) = slot.result.borrow_mut().take() {
                return Poll::Ready(result);
            }
            *slot.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// The number of the next request, as soon as one is needed and none is under way.
    pub(super) async fn next(&self) -> u64 {
        loop {
            self.opened.wait().await;
            let mut reads = self.reads.borrow_mut();
            if reads.in_flight.is_some() || reads.waiting.is_empty() {
                continue;
            }
            reads.seq += 1;
            reads.in_flight = Some(reads.seq);
            reads.sent = Some(Instant::now());
            return reads.seq;
        }
    }

    /// The request under way.
    pub(super) fn in_flight(&self) -> Option<u64> {
        self.reads.borrow().in_flight
    }

    /// The request under way, if it is time to repeat it.
    pub(super) fn overdue(&self, now: Instant) -> Option<u64> {
        let mut reads = self.reads.borrow_mut();
        match (reads.in_flight, reads.sent) {
            (Some(seq), Some(sent)) if now - sent >= READ_RETRY => {
                reads.sent = Some(now);
                Some(seq)
            }
            _ => None,
        }
    }

    /// Brings the reads that wait for request `seq` its answer.
    pub(super) fn done(&self, seq: u64, result: &Result<(), Status>) {
        let mut done = Vec::new();
        {
            let mut reads = self.reads.borrow_mut();
            if reads.in_flight != Some(seq) {
                return;
            }
            reads.in_flight = None;
            reads.sent = None;
            while reads.waiting.front().is_some_and(|(s, _)| *s <= seq) {
                if let Some((_, slot)) = reads.waiting.pop_front() {
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
        self.opened.set();
    }
}
