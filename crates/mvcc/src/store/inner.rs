//! What the store, its writer and its background work share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};

use super::{hashes::Cache, observer::CompactionObserver};
use crate::{
    backend::Backend,
    index::{Index, Step},
};

/// How a [`Store`] works in the background.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Records that a compaction removes at a time.
    pub compaction_batch_limit: usize,
    /// Pause between two such steps.
    pub compaction_sleep: Duration,
    /// Hears how compactions get on.
    pub on_compaction: CompactionObserver,
}

impl Default for StoreOptions {
    /// etcd's numbers.
    fn default() -> StoreOptions {
        StoreOptions {
            compaction_batch_limit: 1000,
            compaction_sleep: Duration::from_millis(10),
            on_compaction: CompactionObserver::default(),
        }
    }
}

pub(crate) struct Inner {
    pub(super) backend: Arc<Backend>,
    pub(super) options: StoreOptions,
    pub(super) state: RwLock<State>,
    /// The published `state.current` and `state.compacted`.
    pub(super) current: AtomicI64,
    pub(super) compacted: AtomicI64,
    /// Held while history in the index is removed, or must stay.
    pub(super) past: Mutex<()>,
    /// Records that the index has forgotten and the file perhaps not, ascending.
    pub(super) doomed: Mutex<Arc<Vec<Step>>>,
    pub(super) hashes: Mutex<Cache>,
    /// Records removed by compaction since the store was opened.
    pub(super) removed: AtomicU64,
}

/// What the lock protects.
pub(super) struct State {
    pub(super) index: Index,
    /// The last revision that was made.
    pub(super) current: i64,
    /// The last revision that compaction was asked for; -1 before the first.
    pub(super) compacted: i64,
    /// No compaction is under way.
    pub(super) settled: bool,
}
