//! The keys: an index in memory, records in the database file, and between
//! them the open batch. One thread writes, through a [`Writer`]; any thread
//! reads. A reader holds the lock while it walks the index, never while it
//! fetches values or the disk is busy.

mod answer;
mod compaction;
mod file_hash;
mod hash;
mod hashes;
mod history;
mod inner;
mod observer;
mod range;
mod restore;
mod shown;
mod stream;
#[cfg(test)]
mod tests;
mod txn;
mod values;
mod writer;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use line::Line;
use parking_lot::{Mutex, RwLock};
use proto::etcdserverpb::{RangeRequest, TxnRequest, TxnResponse};

pub use answer::{Place, RangeAnswer};
pub use compaction::CompactionTicket;
pub use file_hash::{FileHashError, hash_kv_of_file};
pub use hashes::HashKv;
pub use history::EventRef;
pub use inner::StoreOptions;
pub use observer::{CompactionObserver, CompactionStep};
pub use stream::RangeStream;
pub use writer::{Leases, Writer};

use crate::{Error, OpenError, backend::Backend};
use inner::{Inner, State};

/// All keys with their history since the last compaction.
pub struct Store {
    inner: Arc<Inner>,
    worker: compaction::Worker,
}

impl Store {
    /// Builds the index from the database and continues a compaction that a
    /// crash left unfinished. `lease` is called with each key whose newest
    /// record names a lease.
    ///
    /// # Errors
    /// The file cannot be read or contradicts itself.
    pub fn open(
        backend: Arc<Backend>,
        options: StoreOptions,
        lease: &mut dyn FnMut(Bytes, i64),
    ) -> Result<Arc<Store>, OpenError> {
        Store::open_with(backend, options, lease, |inner| {
            Ok(compaction::Worker::start(inner)?)
        })
    }

    /// The same without a thread that compacts: [`Store::compact_waiting`] does
    /// it in the caller.
    ///
    /// # Errors
    /// Those of [`Store::open`].
    #[cfg(feature = "sim")]
    pub fn open_threadless(
        backend: Arc<Backend>,
        options: StoreOptions,
        lease: &mut dyn FnMut(Bytes, i64),
    ) -> Result<Arc<Store>, OpenError> {
        Store::open_with(backend, options, lease, |_| {
            Ok(compaction::Worker::threadless())
        })
    }

    /// Does one compaction that was asked for or left unfinished; false if there
    /// is none, or the store has its own thread for it.
    #[cfg(feature = "sim")]
    pub fn compact_waiting(&self) -> bool {
        self.worker.work(&self.inner)
    }

    fn open_with(
        backend: Arc<Backend>,
        options: StoreOptions,
        lease: &mut dyn FnMut(Bytes, i64),
        start: impl FnOnce(Arc<Inner>) -> Result<compaction::Worker, OpenError>,
    ) -> Result<Arc<Store>, OpenError> {
        let restored = restore::restore(&backend.snapshot()?, backend.path(), lease)?;
        let inner = Arc::new(Inner {
            backend,
            options,
            current: AtomicI64::new(restored.current),
            compacted: AtomicI64::new(restored.compacted),
            state: RwLock::new(State {
                index: restored.index,
                current: restored.current,
                compacted: restored.compacted,
                settled: restored.unfinished.is_none(),
            }),
            past: Mutex::new(()),
            doomed: Mutex::default(),
            hashes: Mutex::default(),
            removed: AtomicU64::new(0),
        });
        let worker = start(inner.clone())?;
        if let Some(revision) = restored.unfinished {
            worker.resume(&inner, revision);
        }
        Ok(Arc::new(Store { inner, worker }))
    }

    /// The last published revision. 1 for an empty store.
    #[inline]
    pub fn revision(&self) -> i64 {
        self.inner.current.load(Ordering::Acquire)
    }

    /// The last revision that compaction was asked for, -1 before the first.
    #[inline]
    pub fn compact_revision(&self) -> i64 {
        self.inner.compacted.load(Ordering::Acquire)
    }

    /// Keys that exist now.
    pub fn key_count(&self) -> usize {
        self.inner.state.read().index.live_len()
    }

    /// Records that compaction has removed since the store was opened.
    pub fn removed_records(&self) -> u64 {
        self.inner.removed.load(Ordering::Relaxed)
    }

    /// Keys in the index, deleted ones that compaction has not reached included.
    pub fn index_len(&self) -> usize {
        self.inner.state.read().index.len()
    }

    /// The file of the store.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.inner.backend
    }

    /// Answers a range (docs/design/requests.md).
    ///
    /// # Errors
    /// [`Error::Compacted`], [`Error::FutureRev`], [`Error::Database`],
    /// [`Error::Corrupt`].
    pub fn range(&self, request: &RangeRequest, line: Line) -> Result<RangeAnswer, Error> {
        self.inner.range(request, line)
    }

    /// The same in chunks of about `max_bytes` at one revision.
    ///
    /// # Errors
    /// Those of [`Store::range`].
    pub fn range_stream(
        &self,
        request: &RangeRequest,
        max_bytes: usize,
        line: Line,
    ) -> Result<RangeStream, Error> {
        RangeStream::new(self.inner.clone(), request, max_bytes, line)
    }

    /// Checks what a transaction would be refused for, were it run now.
    ///
    /// # Errors
    /// Those of [`Writer::txn`].
    pub fn check_txn(
        &self,
        request: &TxnRequest,
        lease_exists: &dyn Fn(i64) -> bool,
        line: Line,
    ) -> Result<(), Error> {
        self.inner.check_txn(request, lease_exists, line)
    }

    /// Runs a transaction that only reads, against one state of the store. The
    /// header holds the revision alone.
    ///
    /// # Errors
    /// Those of [`Store::range`].
    pub fn read_txn(&self, request: &TxnRequest, line: Line) -> Result<TxnResponse, Error> {
        self.inner.read_txn(request, line)
    }

    /// The encoded `KeyValue` of `key` as of `revision`; `None` if there was
    /// none, or compaction took it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn get_kv_at(&self, key: &[u8], revision: i64) -> Result<Option<Bytes>, Error> {
        self.inner.get_kv_at(key, revision)
    }

    /// Shows all changes from revision `from` to `to`, both included, in order,
    /// and gives the first revision not shown. Stops between two revisions once
    /// `max_bytes` of records were shown; shows at least one revision.
    ///
    /// # Errors
    /// [`Error::Compacted`] if `from` is below the compact revision. Nothing
    /// that is shown has holes, whatever compaction does meanwhile.
    pub fn history(
        &self,
        from: i64,
        to: i64,
        max_bytes: usize,
        visit: impl FnMut(EventRef<'_>),
    ) -> Result<i64, Error> {
        self.inner.history(from, to, max_bytes, visit)
    }

    /// The hash of everything up to `revision`, 0 for the current one, that
    /// members compare (docs/design/store.md).
    ///
    /// # Errors
    /// [`Error::Compacted`], [`Error::FutureRev`], [`Error::Database`].
    pub fn hash_kv(&self, revision: i64) -> Result<HashKv, Error> {
        self.inner.hash_kv(revision)
    }

    /// The hashes that compactions made in passing, the newest first, for the
    /// check of members against each other.
    pub fn compaction_hashes(&self) -> Vec<HashKv> {
        self.inner.hashes.lock().newest_first()
    }

    /// The hash of the whole database, consistent_index and term left out.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn hash(&self) -> Result<u32, Error> {
        self.inner.hash()
    }

    /// Begins a run of changes. Waits while too much waits for the disk, then
    /// keeps readers out until [`Writer::publish`].
    pub fn write(&self) -> Writer<'_> {
        self.inner.backend.inner().wait_for_room();
        Writer::new(&self.inner, &self.worker)
    }

    /// Ends background work. A compaction that is under way continues at the next
    /// start. Nothing must be written afterwards.
    pub fn stop(&self) {
        self.worker.stop();
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.worker.stop();
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("revision", &self.revision())
            .field("compact_revision", &self.compact_revision())
            .finish_non_exhaustive()
    }
}
