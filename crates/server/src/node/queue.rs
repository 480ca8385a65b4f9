//! A many-to-one hand-over between threads: push under a short lock, take
//! everything at once. Its length is metered by the owner; a push never blocks,
//! since every producer is bounded elsewhere (requests in flight, the apply gap).

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

/// A queue whose consumer takes all that has gathered.
pub struct Queue<T> {
    inner: Mutex<Inner<T>>,
    ready: Condvar,
}

struct Inner<T> {
    items: VecDeque<T>,
    waiting: bool,
    closed: bool,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue {
            inner: Mutex::new(Inner {
                items: VecDeque::new(),
                waiting: false,
                closed: false,
            }),
            ready: Condvar::new(),
        }
    }
}

impl<T> Queue<T> {
    /// Appends an item and wakes the consumer if it sleeps.
    pub fn push(&self, item: T) {
        let mut inner = self.inner.lock();
        inner.items.push_back(item);
        if inner.waiting {
            inner.waiting = false;
            drop(inner);
            self.ready.notify_one();
        }
    }

    /// Appends an item that can wait for the next loud push, or for [`Queue::wake`].
    pub fn push_quiet(&self, item: T) {
        self.inner.lock().items.push_back(item);
    }

    /// Wakes the consumer if quiet items lie there.
    pub fn wake(&self) {
        let mut inner = self.inner.lock();
        if inner.waiting && !inner.items.is_empty() {
            inner.waiting = false;
            drop(inner);
            self.ready.notify_one();
        }
    }

    /// Waits until there is something, then moves all of it into `into`.
    /// False once the queue is closed and empty.
    pub fn take_all(&self, into: &mut VecDeque<T>) -> bool {
        let mut inner = self.inner.lock();
        inner.waiting = inner.items.is_empty();
        while inner.waiting {
            if inner.closed {
                // Quiet items may have come in while this thread slept.
                if inner.items.is_empty() {
                    return false;
                }
                break;
            }
            self.ready.wait(&mut inner);
        }
        inner.waiting = false;
        std::mem::swap(&mut inner.items, into);
        true
    }

    /// Moves what is there now into `into`, without waiting.
    pub fn try_take_all(&self, into: &mut VecDeque<T>) {
        let mut inner = self.inner.lock();
        into.append(&mut inner.items);
    }

    /// Lets the consumer finish what is queued and then stop.
    pub fn close(&self) {
        self.inner.lock().closed = true;
        self.ready.notify_all();
    }

    /// Items not yet taken.
    pub fn len(&self) -> usize {
        self.inner.lock().items.len()
    }
}
