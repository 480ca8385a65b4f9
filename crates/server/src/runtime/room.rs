//! Room for the bytes of proposals. A call that finds none waits for its turn, as long as a request
//! may take: etcd's calls wait in raft's own queues, without a bound. What waits is bounded too,
//! since its bytes are in memory.

use std::{cell::Cell, future::Future, time::Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::status::{Status, errors};

/// Room is counted in pieces of this size: permits are numbers of 32 bits.
const PIECE: usize = 1 << 10;
/// What a call that waits holds in memory beside what it proposes: its task, buffers and timer.
const CALL_COST: usize = 8 << 10;

/// The room of one runtime.
pub(super) struct Room {
    free: Semaphore,
    pieces: usize,
    waiting: Cell<usize>,
    waiting_max: usize,
}

/// What waits for room, until this is dropped.
struct Waits<'a>(&'a Cell<usize>, usize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - self.1);
    }
}

impl Room {
    /// For proposals of so many bytes, while others of so many wait.
    pub(super) fn new(bytes: usize, waiting_max: usize) -> Room {
        let pieces = bytes / PIECE;
        Room {
            free: Semaphore::new(pieces),
            pieces,
            waiting: Cell::new(0),
            waiting_max,
        }
    }

    /// Takes room if there is some and no one waits for it.
    pub(super) fn try_take(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        self.free.try_acquire_many(self.pieces_of(bytes)).ok()
    }

    /// Gives back what a permit held that was forgotten.
    pub(super) fn give_back(&self, pieces: u32) {
        if pieces > 0 {
            self.free.add_permits(pieces as usize);
        }
    }

    /// One that needs more than there is takes all.
    fn pieces_of(&self, bytes: usize) -> u32 {
        bytes.div_ceil(PIECE).min(self.pieces) as u32
    }

    /// Takes room for a proposal, until the answer is dropped: first come, first served. Ready once
    /// `written` is too, which waits for the log.
    ///
    /// # Errors
    /// Too much waits already, or `deadline` has come.
    pub(super) async fn take(
        &self,
        bytes: usize,
        deadline: Instant,
        written: impl Future<Output = ()>,
    ) -> Result<SemaphorePermit<'_>, Status> {
        let held = bytes + CALL_COST;
        let waiting = self.waiting.get() + held;
        if self.waiting.get() > 0 && waiting > self.waiting_max {
            return Err(errors::TOO_MANY_REQUESTS);
        }
        self.waiting.set(waiting);
        let _waits = Waits(&self.waiting, held);
        let pieces = self.pieces_of(bytes);
        let entered = async {
            let permit = self.free.acquire_many(pieces).await;
            written.await;
            permit
        };
        match tokio::time::timeout_at(deadline.into(), entered).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(errors::TOO_MANY_REQUESTS),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        pin::{Pin, pin},
        task::{Context, Poll, Waker},
        time::Duration,
    };

    use super::*;

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    #[tokio::test]
    async fn who_finds_no_room_waits_for_its_turn() {
        let room = Room::new(10 * PIECE, 100 * PIECE);
        let take = |pieces: usize| room.take(pieces * PIECE, later(), ready(()));
        let first = take(8).await.expect("room");
        let mut large = pin!(take(9));
        assert!(poll(large.as_mut()).is_pending());
        // There would be room for it, but another came before.
        let mut small = pin!(take(1));
        assert!(poll(small.as_mut()).is_pending());
        assert!(room.try_take(PIECE).is_none());
        drop(first);
        assert!(poll(large.as_mut()).is_ready());
        assert!(poll(small.as_mut()).is_ready());
        // More than there is at all.
        assert!(take(30).await.is_ok());
        assert_eq!(room.waiting.get(), 0);
    }

    #[tokio::test]
    async fn what_waits_is_bounded_in_bytes_and_in_time() {
        let room = Room::new(10 * PIECE, 20 * PIECE + CALL_COST);
        let take = |pieces: usize| room.take(pieces * PIECE, later(), ready(()));
        let _first = take(10).await.expect("room");
        let mut second = pin!(take(15));
        assert!(poll(second.as_mut()).is_pending());
        let refused = take(6).await.err();
        assert_eq!(refused, Some(errors::TOO_MANY_REQUESTS));
        let late = room.take(PIECE, Instant::now(), ready(())).await.err();
        assert_eq!(late, Some(errors::TOO_MANY_REQUESTS));
    }

    #[tokio::test]
    async fn calls_that_wait_are_bounded_however_small_they_are() {
        let room = Room::new(PIECE, 10 * CALL_COST + 10);
        let _first = room.take(1, later(), ready(())).await.expect("room");
        let mut waiting: Vec<_> = (0..10)
            .map(|_| Box::pin(room.take(1, later(), ready(()))))
            .collect();
        for one in &mut waiting {
            assert!(poll(one.as_mut()).is_pending());
        }
        let refused = room.take(1, later(), ready(())).await.err();
        assert_eq!(refused, Some(errors::TOO_MANY_REQUESTS));
    }

    #[tokio::test]
    async fn a_log_that_is_behind_is_waited_for() {
        let room = Room::new(10 * PIECE, 20 * PIECE);
        let late = room.take(PIECE, Instant::now(), pending()).await.err();
        assert_eq!(late, Some(errors::TOO_MANY_REQUESTS));
        assert_eq!(room.free.available_permits(), 10);
    }
}
