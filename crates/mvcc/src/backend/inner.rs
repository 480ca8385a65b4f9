//! What the backend, its committer and a defragmentation share.

use std::{
    path::PathBuf,
    sync::atomic::AtomicU64,
    time::{Duration, Instant},
};

use bolt::Db;
use parking_lot::{Condvar, Mutex, RwLock};

use super::{
    meta::{consistent_index, create_buckets},
    overlay::{Overlay, Run, Size},
};
use crate::OpenError;

/// What the committer waits for.
#[derive(Default)]
pub(super) struct Signal {
    /// The open batch is committed at this time.
    pub(super) deadline: Option<Instant>,
    /// Requests so far, and those that a finished commit covers.
    pub(super) requested: u64,
    pub(super) finished: u64,
    pub(super) stop: bool,
    pub(super) failed: Option<bolt::Error>,
}

/// How a [`Backend`] commits.
pub struct BackendOptions {
    /// A batch is committed this long after its first change.
    pub batch_interval: Duration,
    /// A batch of this many changes is committed at once.
    pub batch_limit: usize,
    /// A batch of this many bytes is committed at once. While twice as many
    /// wait for the disk, [`crate::Store::write`] waits too.
    pub batch_bytes: usize,
    /// Called once, on the committer thread, with the error after which
    /// nothing is committed any more.
    pub on_error: Box<dyn Fn(&bolt::Error) + Send + Sync>,
    /// Called after each commit with the time it took.
    pub on_commit: Box<dyn Fn(Duration) + Send + Sync>,
}

impl Default for BackendOptions {
    /// etcd's interval and limit; 32 MiB.
    fn default() -> BackendOptions {
        BackendOptions {
            batch_interval: Duration::from_millis(100),
            batch_limit: 10_000,
            batch_bytes: 32 << 20,
            on_error: Box::new(|_| {}),
            on_commit: Box::new(|_| {}),
        }
    }
}

pub(crate) struct Inner {
    pub(super) options: BackendOptions,
    /// The name of the file. After a defragmentation the open database still
    /// knows itself by the name it was made under.
    pub(super) path: PathBuf,
    pub(super) overlay: RwLock<Overlay>,
    pub(super) signal: Mutex<Signal>,
    /// The committer has something to do.
    pub(super) wake: Condvar,
    /// A commit ended.
    pub(super) done: Condvar,
    /// Held by whoever writes the file: the committer, or a defragmentation.
    pub(super) file: Mutex<()>,
    pub(super) db: RwLock<Db>,
    pub(super) committed_index: AtomicU64,
    /// There is no committer: whoever asks for a commit makes it.
    #[cfg(feature = "sim")]
    pub(super) threadless: bool,
}

impl Inner {
    pub(super) fn new(db: Db, options: BackendOptions) -> Result<Inner, OpenError> {
        create_buckets(&db)?;
        let tx = db.begin_read();
        let index = consistent_index(&tx)?.index;
        Ok(Inner {
            options,
            path: db.path().to_owned(),
            overlay: RwLock::new(Overlay::new(tx)),
            signal: Mutex::new(Signal::default()),
            wake: Condvar::new(),
            done: Condvar::new(),
            file: Mutex::new(()),
            db: RwLock::new(db),
            committed_index: AtomicU64::new(index),
            #[cfg(feature = "sim")]
            threadless: false,
        })
    }

    /// The open batch and the state under it, for moments only.
    #[inline]
    pub(crate) fn overlay(&self) -> parking_lot::RwLockReadGuard<'_, Overlay> {
        self.overlay.read()
    }

    /// Adds the changes of a run, all or none of which a commit takes.
    pub(crate) fn append(&self, run: Run) {
        let (before, after) = self.overlay.write().append(run);
        if after.ops == 0 {
            return;
        }
        let full = |size: Size| {
            size.ops >= self.options.batch_limit || size.bytes >= self.options.batch_bytes
        };
        if before.ops == 0 || full(after) && !full(before) {
            self.schedule(full(after));
        }
    }
}
