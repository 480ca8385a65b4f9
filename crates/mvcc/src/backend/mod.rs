//! The database file behind the store. Changes gather in an open batch that
//! readers of the store see at once; a committer thread writes them in one
//! transaction together with consistent_index and term, so that the file never
//! speaks of an entry without holding its effects (formats.md 6.6).
//!
//! The log has made every change durable before, so nobody waits for a commit
//! who does not ask for it. No lock that a reader takes is held across a disk
//! operation.

mod committer;
mod defrag;
mod overlay;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64, atomic::Ordering},
    thread::JoinHandle,
    time::Duration,
};

use bolt::{Batch, Db, ReadTx};
use bytes::Bytes;
use parking_lot::{Condvar, Mutex, RwLock};

pub(crate) use overlay::{Overlay, Pending, Run, find_record};

use crate::OpenError;
use committer::Signal;

/// The bucket of keys.
pub(crate) const KEY: &str = "key";
/// The bucket of single facts.
pub(crate) const META: &str = "meta";
const CONSISTENT_INDEX: &[u8] = b"consistent_index";
const TERM: &[u8] = b"term";

/// The buckets of etcd 3.5, all of which 3.6 reads without asking whether they
/// are there (formats.md 5).
pub const BUCKETS: [&str; 10] = [
    "alarm",
    "auth",
    "authRoles",
    "authUsers",
    "cluster",
    KEY,
    "lease",
    "members",
    "members_removed",
    META,
];

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

/// The open batch, the committer, the file. Dropping it commits what is open,
/// errors unseen; [`Backend::close`] shows them.
pub struct Backend {
    inner: Arc<Inner>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

pub(crate) struct Inner {
    options: BackendOptions,
    /// The name of the file. After a defragmentation the open database still
    /// knows itself by the name it was made under.
    path: PathBuf,
    overlay: RwLock<Overlay>,
    signal: Mutex<Signal>,
    /// The committer has something to do.
    wake: Condvar,
    /// A commit ended.
    done: Condvar,
    /// Held by whoever writes the file: the committer, or a defragmentation.
    file: Mutex<()>,
    db: RwLock<Db>,
    committed_index: AtomicU64,
    /// There is no committer: whoever asks for a commit makes it.
    #[cfg(feature = "sim")]
    threadless: bool,
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
    /// up to `index`. Both are written with the next commit, which this alone
    /// does not bring about.
    pub fn set_consistent_index(&self, index: u64, term: u64) {
        self.inner.append(Run {
            consistent: Some((index, term)),
            ..Run::default()
        });
    }

    /// Index and term of the last entry whose effects are written, committed
    /// or not. Zero where there is none.
    pub fn consistent_index(&self) -> (u64, u64) {
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
    /// in place. Readers go on with the old file until they end; writes gather
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
        // Whoever wants to know calls close; the callback has told already.
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

impl Inner {
    fn new(db: Db, options: BackendOptions) -> Result<Inner, OpenError> {
        create_buckets(&db)?;
        let tx = db.begin_read();
        let (index, _) = consistent_index(&tx)?;
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
        let full = |size: overlay::Size| {
            size.ops >= self.options.batch_limit || size.bytes >= self.options.batch_bytes
        };
        if before.ops == 0 || full(after) && !full(before) {
            self.schedule(full(after));
        }
    }
}

/// Index and term of the last entry whose effects `tx` holds; zero where none is
/// recorded.
///
/// # Errors
/// The file cannot be read, or the value is not what the format says.
pub fn consistent_index(tx: &ReadTx) -> Result<(u64, u64), bolt::Error> {
    let Some(meta) = tx.bucket(META.as_bytes())? else {
        return Ok((0, 0));
    };
    let number = |key: &[u8]| match meta.get(key)? {
        None => Ok(0),
        Some(value) => match value.try_into() {
            Ok(bytes) => Ok(u64::from_be_bytes(bytes)),
            Err(_) => Err(bolt::Error::IncompatibleValue(
                String::from_utf8_lossy(key).into_owned(),
                "not a number of eight bytes",
            )),
        },
    };
    Ok((number(CONSISTENT_INDEX)?, number(TERM)?))
}

fn create_buckets(db: &Db) -> Result<(), bolt::Error> {
    let tx = db.begin_read();
    let mut missing = false;
    for name in BUCKETS {
        missing |= tx.bucket(name.as_bytes())?.is_none();
    }
    drop(tx);
    if missing {
        let mut tx = db.begin_write()?;
        for name in BUCKETS {
            tx.create_bucket_if_not_exists(name.as_bytes())?;
        }
        tx.commit()?;
    }
    Ok(())
}
