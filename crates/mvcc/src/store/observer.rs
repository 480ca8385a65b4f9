//! Who watches compactions: for logs and metrics, which this crate does not have.

use std::{sync::Arc, time::Duration};

/// What a compaction has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompactionStep {
    /// The index was walked, in this time.
    Index(Duration),
    /// One batch of records was removed, in this time.
    Batch(Duration),
    /// It came to its end.
    Finished {
        /// What was compacted.
        revision: i64,
        /// The hash of what is left, as members compare it.
        hash: u32,
        /// From the beginning.
        took: Duration,
    },
}

/// Who hears of it.
#[derive(Clone)]
pub struct CompactionObserver(Arc<dyn Fn(CompactionStep) + Send + Sync>);

impl CompactionObserver {
    /// Calls `observe` on the thread that compacts.
    pub fn new(observe: impl Fn(CompactionStep) + Send + Sync + 'static) -> CompactionObserver {
        CompactionObserver(Arc::new(observe))
    }

    pub(super) fn observe(&self, step: CompactionStep) {
        (self.0)(step);
    }
}

impl Default for CompactionObserver {
    fn default() -> CompactionObserver {
        CompactionObserver::new(|_| {})
    }
}

impl std::fmt::Debug for CompactionObserver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CompactionObserver")
    }
}
