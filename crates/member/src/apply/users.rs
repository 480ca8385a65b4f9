//! Users and roles during a run of entries. The first change takes them away from readers until
//! the run is published: whoever sees a new permission sees the keys that came before it, and no
//! one sees later keys by an old one.

use auth::Store;
use parking_lot::{RwLock, RwLockWriteGuard};

pub(super) struct Users<'a> {
    lock: &'a RwLock<Store>,
    /// Taken since the first change.
    changed: Option<RwLockWriteGuard<'a, Store>>,
}

impl<'a> Users<'a> {
    pub(super) fn new(lock: &'a RwLock<Store>) -> Users<'a> {
        Users {
            lock,
            changed: None,
        }
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&Store) -> T) -> T {
        match &self.changed {
            Some(store) => read(store),
            None => read(&self.lock.read()),
        }
    }

    pub(super) fn change(&mut self) -> &mut Store {
        self.changed.get_or_insert_with(|| self.lock.write())
    }
}
