//! A wake-up between tasks of one thread.

use std::{
    cell::{Cell, RefCell},
    task::{Context, Poll, Waker},
};

/// A signal between tasks of one thread; set wakes the one waiter.
#[derive(Default)]
pub(super) struct LocalSignal {
    set: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl LocalSignal {
    /// Raises the signal.
    pub(super) fn set(&self) {
        if !self.set.replace(true)
            && let Some(waker) = self.waker.borrow_mut().take()
        {
            waker.wake();
        }
    }

    /// Waits for the signal and lowers it.
    pub(super) async fn wait(&self) {
        std::future::poll_fn(|cx| self.poll(cx)).await;
    }

    /// The poll form of [`LocalSignal::wait`].
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.set.replace(false) {
            return Poll::Ready(());
        }
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}
