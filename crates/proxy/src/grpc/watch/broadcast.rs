//! Who gets the events of one watch in the cluster.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use proto::etcdserverpb::{ResponseHeader, WatchResponse};
use tokio::task::AbortHandle;

use super::super::{operation::Keys, upstream::Who};

/// One watch in the cluster, and its watchers.
pub(super) struct Broadcast<Watcher> {
    pub(super) keys: Keys,
    /// In whose name it is made.
    pub(super) who: Who,
    /// All events before this revision have passed; 0 until the present is known.
    pub(super) next: Cell<i64>,
    /// A member has said that it is there.
    is_started: Cell<bool>,
    /// Of the last response.
    pub(super) header: Cell<Option<ResponseHeader>>,
    watchers: RefCell<Vec<Rc<Watcher>>>,
    pub(super) task: Cell<Option<AbortHandle>>,
}

impl<Watcher> Broadcast<Watcher> {
    /// One without watchers, from this revision on.
    pub(super) fn new(keys: Keys, who: Who, next: i64) -> Rc<Self> {
        Rc::new(Broadcast {
            keys,
            who,
            next: Cell::new(next),
            is_started: Cell::default(),
            header: Cell::default(),
            watchers: RefCell::default(),
            task: Cell::default(),
        })
    }

    /// Whether a watcher from a revision misses nothing here. The present is only known to a watch
    /// that is made for it.
    pub(super) fn fits(&self, next: i64) -> bool {
        self.is_started.get() && next != 0 && self.next.get() <= next
    }

    /// Takes a watcher; returns how many there are.
    pub(super) fn add(&self, watcher: Rc<Watcher>) -> usize {
        let mut watchers = self.watchers.borrow_mut();
        watchers.push(watcher);
        watchers.len()
    }

    /// Lets a watcher go; returns how many are left.
    pub(super) fn remove(&self, watcher: &Rc<Watcher>) -> usize {
        let mut watchers = self.watchers.borrow_mut();
        watchers.retain(|one| !Rc::ptr_eq(one, watcher));
        watchers.len()
    }

    pub(super) fn all(&self) -> Vec<Rc<Watcher>> {
        self.watchers.borrow().clone()
    }

    pub(super) fn take_all(&self) -> Vec<Rc<Watcher>> {
        self.watchers.take()
    }

    /// Notes how far a response goes.
    pub(super) fn passed(&self, response: &WatchResponse) {
        let revision = response.header.map_or(0, |header| header.revision);
        let last = response.events.last().and_then(|event| event.kv.as_ref());
        match last {
            Some(kv) => self.next.set(kv.mod_revision + 1),
            // From a revision that was asked for, nothing has passed yet.
            None if response.created && self.next.get() != 0 => {}
            None => self.next.set(self.next.get().max(revision + 1)),
        }
        self.is_started.set(true);
        self.header.set(response.header);
    }
}
