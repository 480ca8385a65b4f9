//! The parts of an open database: the current committed state, which readers hold which state, and the writer's
//! resources.
//! Its locks are held for moments, never across a disk operation.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::disk::Disk;
use crate::error::Error;
use crate::freespace::FreeSpace;
use crate::id::PageRun;
use crate::meta::Meta;
use crate::page::Pages;

/// A database. Clones share it; the file is closed and its lock released when the last clone, read transaction and
/// write transaction is gone.
#[derive(Clone)]
pub struct Db {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) path: PathBuf,
    pub(crate) disk: Box<dyn Disk>,
    pub(crate) page_size: u32,
    pub(crate) read_only: bool,
    pub(crate) no_sync: AtomicBool,
    pub(crate) growth_step: u64,
    pub(crate) shared: Mutex<Shared>,
    /// The writer's resources; taken out while a write transaction is open.
    pub(crate) writer: Mutex<Option<Box<Writer>>>,
    pub(crate) writer_back: Condvar,
    /// Free pages of a database opened for reading, counted when first asked for.
    pub(crate) free_read_only: OnceLock<u64>,
}

/// What readers take their snapshot from. Locked for moments only, never across a disk operation.
pub(crate) struct Shared {
    pub(crate) meta: Meta,
    pub(crate) pages: Arc<Pages>,
    /// Open snapshots by transaction id.
    pub(crate) readers: BTreeMap<u64, usize>,
    pub(crate) free_pages: u64,
    pub(crate) failed: Option<Arc<Error>>,
}

/// What the one writer works with.
pub(crate) struct Writer {
    pub(crate) space: FreeSpace,
    /// Pages of the stored freelist of the state that was opened; released by the first commit.
    pub(crate) stored_freelist: Option<PageRun>,
    /// The current meta is on the page that the next one goes to (as in a streamed image); it is copied to its own page
    /// before the first commit.
    pub(crate) misplaced_meta: bool,
    pub(crate) file_len: u64,
    pub(crate) buf: Vec<u8>,
    /// The runs whose pages are in `buf`, in that order.
    pub(crate) runs: Vec<PageRun>,
}

impl Inner {
    pub(crate) fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the writer's resources are returned. After a commit that a panic interrupted they never are.
    pub(crate) fn wait_for_writer(&self) -> Result<MutexGuard<'_, Option<Box<Writer>>>, Error> {
        let mut slot = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        while slot.is_none() {
            if let Some(failed) = &self.shared().failed {
                return Err(Error::Failed(failed.clone()));
            }
            slot = self
                .writer_back
                .wait(slot)
                .unwrap_or_else(PoisonError::into_inner);
        }
        Ok(slot)
    }

    /// Prevents all later transactions from beginning.
    pub(crate) fn fail(&self, e: Error) {
        self.shared().failed = Some(Arc::new(e));
        // Locked so that no thread is between its check of the failure and its wait.
        drop(self.writer.lock().unwrap_or_else(PoisonError::into_inner));
        self.writer_back.notify_all();
    }

    pub(crate) fn writer_back(&self, writer: Box<Writer>) {
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        self.writer_back.notify_one();
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db")
            .field("path", &self.inner.path)
            .finish_non_exhaustive()
    }
}

pub(crate) fn io_error(path: &Path, op: &str, source: io::Error) -> Error {
    Error::Io {
        path: path.to_owned(),
        op: op.to_owned(),
        source: Arc::new(source),
    }
}
