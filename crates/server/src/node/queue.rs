//! A many-to-one hand-over between threads: push under a short lock, take
//! everything at once. A push never blocks, since every producer is bounded
//! elsewhere (calls in flight, the apply gap). An item is loud, and wakes the
//! consumer, or quiet, and waits for company.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

/// A queue whose consumer takes all that has gathered.
pub struct Queue<T> {
    inner: Mutex<Inner<T>>,
    ready: Condvar,
}

struct Inner<T> {
    items: VecDeque<T>,
    /// Something came that should not wait.
    loud: bool,
    /// The consumer sleeps.
    asleep: bool,
    closed: bool,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue {
            inner: Mutex::new(Inner {
                items: VecDeque::new(),
                loud: false,
                asleep: false,
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
        inner.loud = true;
        if std::mem::take(&mut inner.asleep) {
            drop(inner);
            self.ready.notify_one();
        }
    }

    /// Appends an item that waits for the next loud one, or for [`Queue::wake`].
    pub fn push_quiet(&self, item: T) {
        self.inner.lock().items.push_back(item);
    }

    /// Makes quiet items loud.
    pub fn wake(&self) {
        let mut inner = self.inner.lock();
        if inner.items.is_empty() {
            return;
        }
        inner.loud = true;
        if std::mem::take(&mut inner.asleep) {
            drop(inner);
            self.ready.notify_one();
        }
    }

    /// Sleeps until something loud is there; false once the queue is closed and empty.
    pub fn wait(&self) -> bool {
        let mut inner = self.inner.lock();
        while !inner.loud {
            if inner.closed {
                return !inner.items.is_empty();
            }
            inner.asleep = true;
            self.ready.wait(&mut inner);
        }
        inner.asleep = false;
        true
    }

    /// Moves what is there now to the end of `into`, without waiting.
    pub fn take(&self, into: &mut VecDeque<T>) {
        let mut inner = self.inner.lock();
        inner.loud = false;
        if into.is_empty() {
            std::mem::swap(&mut inner.items, into);
        } else {
            into.append(&mut inner.items);
        }
    }

    /// True if something loud waits to be taken.
    pub fn is_loud(&self) -> bool {
        self.inner.lock().loud
    }

    /// Lets the consumer finish what is queued and then stop.
    pub fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        inner.asleep = false;
        drop(inner);
        self.ready.notify_all();
    }
}
