//! What waits for a stream. Bounded; never holds its lock while it wakes anyone.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use proto::raftpb::Message;

/// Messages that wait for a stream; etcd's number.
const QUEUE: usize = 4096;

/// What waits for a stream.
pub(crate) struct Queue {
    pub(crate) state: Mutex<State>,
    /// A stream into which nothing can be written for this long is dead.
    write_timeout: Duration,
}

pub(crate) struct State {
    pub(crate) messages: VecDeque<Message>,
    /// Of the stream's connection, while it waits for messages.
    pub(crate) waker: Option<Waker>,
    pub(crate) open: bool,
    /// Since when there has been something to write and nothing was taken.
    pub(crate) waiting_since: Option<Instant>,
}

impl Queue {
    pub(crate) fn new(write_timeout: Duration) -> Arc<Queue> {
        Arc::new(Queue {
            write_timeout,
            state: Mutex::new(State {
                messages: VecDeque::new(),
                waker: None,
                open: true,
                waiting_since: None,
            }),
        })
    }

    /// Takes a message, `false` if it was dropped because too many wait. It comes
    /// back from a stream that has ended. Wakes no one.
    pub(crate) fn push(&self, message: Message) -> Result<bool, Message> {
        let mut state = self.state.lock();
        if !state.open {
            return Err(message);
        }
        if state.messages.len() >= QUEUE {
            return Ok(false);
        }
        if state.waiting_since.is_none() {
            state.waiting_since = Some(Instant::now());
        }
        state.messages.push_back(message);
        Ok(true)
    }

    /// Wakes the stream if something waits for it.
    pub(crate) fn wake(&self) {
        let waker = {
            let mut state = self.state.lock();
            if state.messages.is_empty() {
                return;
            }
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// True if the other side has taken nothing for too long.
    pub(crate) fn is_stalled(&self) -> bool {
        let since = self.state.lock().waiting_since;
        since.is_some_and(|since| since.elapsed() > self.write_timeout)
    }

    /// Ends the stream. True if messages are lost with it.
    pub(crate) fn close(&self) -> bool {
        let (waker, lost) = {
            let mut state = self.state.lock();
            state.open = false;
            let lost = state.waiting_since.take().is_some();
            state.messages = VecDeque::new();
            (state.waker.take(), lost)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        lost
    }
}
