//! The database file of the store. Changes collect in an open batch that
//! readers of the store see at once; a committer thread writes them in one
//! transaction together with consistent_index and term, so that the file never
//! claims an entry without holding its effects (docs/design/store.md).
//!
//! The log has made every change durable before, so no one waits for a commit
//! who does not ask for it. No lock that a reader takes is held across a disk
//! operation.

mod committer;
mod defrag;
mod inner;
mod meta;
mod overlay;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    path::Path,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
};

use bolt::{Batch, Db, ReadTx};
use bytes::Bytes;
use parking_lot::Mutex;
use proto::EntryId;

pub use inner::BackendOptions;
pub(crate) use inner::Inner;
pub use meta::{BUCKETS, consistent_index};
pub(crate) use meta::{KEY, META};
pub(crate) use overlay::{Overlay, Pending, Run, find_record};

use crate::OpenError;

/// The open batch, the committer, the file. Dropping it commits what is open,
/// errors unseen; [`Backend::close`] shows them.
pub struct Backend {
    inner: Arc<Inner>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Backend {
    /// Takes over an open database, makes the buckets that are missing and
    /// starts the committer.
    ///
    /// # Errors
    /// The file cannot be read or written, or the thread not started.
    pub fn open(db: Db, options: BackendOptions) -> Result<Arc<Backend>, OpenError> {
        let inner = Arc::new(Inner::new(db, options)?);
        let thread = {
            let inner = inner.clone();
            std::thread::Builder::new()
                .name("committer".into())
                .spawn(move || inner.commit_loop())?
        };
        Ok(Arc::new(Backend {
            inner,
            thread: Mutex::new(Some(thread)),
        }))
    }

    /// The same without a committer, so that a simulation can be repeated:
    /// nothing is committed but by [`Backend::commit_now`] and
    /// [`Backend::snapshot`], in the caller. Dropping it commits nothing.
    ///
    /// # Errors
    /// The file cannot be read or written.
    #[cfg(feature = "sim")]
    pub fn open_threadless(db: Db, options: BackendOptions) -> Result<Arc<Backend>, OpenError> {
        let mut inner = Inner::new(db, options)?;
        inner.threadless = true;
        Ok(Arc::new(Backend {
            inner: Arc::new(inner),
            thread: Mutex::new(None),
        }))
    }

    /// Adds changes to the open batch. Not for the bucket `key`, which belongs
    /// to the store.
    pub fn write(&self, batch: Batch) {
        debug_assert!(batch.iter().all(|(bucket, _, _)| bucket != KEY));
        if !batch.is_empty() {
            self.inner.append(Run {
                batch,
                ..Run::default()
            });
        }
    }

    /// Says that everything written so far includes the effects of all entries
    /// up to `entry`. Its index and term are written with the next commit, which this alone
    /// does not bring about.
    pub fn set_consistent_index(&self, entry: EntryId) {
        self.inner.append(Run {
            consistent: Some(entry),
            ..Run::default()
        });
    }

    /// The last entry whose effects are written, committed or not. Zero where
    /// there is none.
    pub fn consistent_index(&self) -> EntryId {
        self.inner.overlay.read().consistent()
    }

    /// Index of the last entry whose effects are committed.
    pub fn committed_index(&self) -> u64 {
        self.inner.committed_index.load(Ordering::Acquire)
    }

    /// The latest value of `key` in `bucket`, committed or not. Meant for small
    /// buckets: it looks through the whole open batch.
    ///
    /// # Errors
    /// The file cannot be read, or has no such bucket.
    pub fn read(&self, bucket: &str, key: &[u8]) -> Result<Option<Bytes>, bolt::Error> {
        let (found, tx) = self.inner.overlay.read().find(bucket, key);
        match found {
            Some(change) => Ok(change),
            None => {
                let bucket_name = bucket;
                let bucket = tx
                    .bucket(bucket.as_bytes())?
                    .ok_or_else(|| bolt::Error::BucketNotFound(bucket_name.to_owned()))?;
                Ok(bucket.get(key)?.map(Bytes::copy_from_slice))
            }
        }
    }

    /// Commits everything written so far and waits for it.
    ///
    /// # Errors
    /// This or an earlier commit failed.
    pub fn commit_now(&self) -> Result<(), bolt::Error> {
        self.inner.commit_and_wait()
    }

    /// Has everything written so far committed soon, without waiting.
    pub fn commit_soon(&self) {
        self.inner.request();
    }

    /// A snapshot of everything written so far, committed first.
    ///
    /// # Errors
    /// Those of [`Backend::commit_now`].
    pub fn snapshot(&self) -> Result<ReadTx, bolt::Error> {
        self.commit_now()?;
        Ok(self.inner.overlay.read().tx().clone())
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The open database. A defragmentation puts another one in its place.
    pub fn db(&self) -> Db {
        self.inner.db.read().clone()
    }

    /// Size of the file in bytes, as etcd reports it.
    pub fn size(&self) -> u64 {
        self.inner.db.read().size()
    }

    /// Bytes of the file that hold data.
    pub fn size_in_use(&self) -> u64 {
        self.inner.db.read().size_in_use()
    }

    /// Changes that wait for a commit.
    pub fn pending(&self) -> usize {
        self.inner.overlay.read().pending()
    }

    /// Copies the database into a new file without its free pages and puts that
    /// in place. Readers continue with the old file until they end; writes gather
    /// in the open batch meanwhile.
    ///
    /// # Errors
    /// The copy could not be made; the old file stays in use.
    pub fn defrag(&self) -> Result<(), bolt::Error> {
        self.inner.defrag()
    }

    /// Commits what is open and ends the committer. Later writes are lost.
    ///
    /// # Errors
    /// This or an earlier commit failed.
    pub fn close(&self) -> Result<(), bolt::Error> {
        let Some(thread) = self.thread.lock().take() else {
            return Ok(());
        };
        self.inner.stop();
        if thread.join().is_err() {
            return Err(self.inner.abandon("the committer thread panicked"));
        }
        self.inner.failure()?;
        self.inner.settle()
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // A caller that wants the error calls close; the callback has reported it.
        let _ = self.close();
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend")
            .field("path", &self.inner.path)
            .finish_non_exhaustive()
    }
}
