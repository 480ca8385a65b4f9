//! How long the log must stay as it is for databases that are sent.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Snapshots on their way to other members, and those that have just arrived:
/// what they will need of the log must stay.
#[derive(Default)]
pub struct SnapshotsOut {
    running: AtomicUsize,
    /// When the last one ended.
    ended: Mutex<Option<Instant>>,
}

/// How long the log stays as it is after a snapshot was sent.
const RELEASE_DELAY: Duration = Duration::from_secs(30);

impl SnapshotsOut {
    /// True while one is under way, and some time longer.
    pub fn in_flight(&self) -> bool {
        self.running.load(Ordering::Acquire) > 0
            || self
                .ended
                .lock()
                .is_some_and(|at| at.elapsed() < RELEASE_DELAY)
    }
    /// One begins.
    pub fn begin(&self) {
        self.running.fetch_add(1, Ordering::AcqRel);
    }

    /// One has ended.
    pub fn end(&self) {
        *self.ended.lock() = Some(Instant::now());
        self.running.fetch_sub(1, Ordering::AcqRel);
    }
}
