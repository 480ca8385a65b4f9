//! Opening a database: the file, its lock and its meta pages. Opening for writing rebuilds the free pages by
//! walking all that is reachable and trusts no stored list; it never changes the file unless the file is empty.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::disk::{Disk, FileDisk};
use crate::error::Error;
use crate::freespace::FreeSpace;
use crate::id::{PageId, PageRun};
use crate::meta::{self, META_END, Meta};
use crate::page::{FLAG_FREELIST, FLAG_LEAF, Pages};
use crate::read::ReadTx;
pub use crate::state::Db;
use crate::state::{Inner, Shared, Writer, io_error};
use crate::walk;
use crate::write::WriteTx;

/// A message for the operator about something that takes long or was repaired.
pub type Warn = Arc<dyn Fn(&str) + Send + Sync>;

/// How to open a database.
#[derive(Clone)]
pub struct Options {
    /// Take a shared lock and refuse every write.
    pub read_only: bool,
    /// Do not wait for the disk; a crash may then lose or destroy the database. For files that are made anew.
    pub no_sync: bool,
    /// Page size in bytes of a database that is created; the system's page size where not given.
    pub page_size: Option<u32>,
    /// How long to try for the file lock; `None` waits for ever, as etcd does.
    pub lock_timeout: Option<Duration>,
    /// Bytes of address space to reserve for reading; more are mapped when the file outgrows it.
    pub initial_mmap_size: u64,
    /// Bytes that the file is extended by beyond what is needed, when it must grow.
    pub growth_step: u64,
    /// Called once when the lock has been waited for [`LOCK_WARN_AFTER`].
    pub warn: Option<Warn>,
}

/// How long to wait for a lock before a warning. etcd's own figure.
pub const LOCK_WARN_AFTER: Duration = Duration::from_secs(10);
/// Pause between two tries for the lock. bbolt's own figure.
const LOCK_RETRY: Duration = Duration::from_millis(50);
/// bbolt's growth step since 1.3.7.
const GROWTH_STEP: u64 = 16 << 20;
/// The least address space that a writable database reserves.
const MIN_MAP: u64 = 64 << 20;

impl Default for Options {
    fn default() -> Options {
        Options {
            read_only: false,
            no_sync: false,
            page_size: None,
            lock_timeout: None,
            initial_mmap_size: 0,
            growth_step: GROWTH_STEP,
            warn: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("read_only", &self.read_only)
            .field("no_sync", &self.no_sync)
            .field("page_size", &self.page_size)
            .field("lock_timeout", &self.lock_timeout)
            .field("initial_mmap_size", &self.initial_mmap_size)
            .field("growth_step", &self.growth_step)
            .finish_non_exhaustive()
    }
}

impl Db {
    /// Opens the database at `path`. A missing or empty file becomes an empty database unless `read_only`.
    ///
    /// Waits for the file lock as [`Options::lock_timeout`] says. Fails on a file that is no bbolt database, is shorter
    /// than its meta page says, or (when opened for writing) refers to a page twice.
    pub fn open(path: &Path, opts: Options) -> Result<Db, Error> {
        let io = |op: &str, e: io::Error| io_error(path, op, e);
        let file = OpenOptions::new()
            .read(true)
            .write(!opts.read_only)
            .create(!opts.read_only)
            .mode(0o600)
            .open(path)
            .map_err(|e| io("opening", e))?;
        lock(path, &file, &opts)?;
        let fresh = file
            .metadata()
            .map_err(|e| io("reading the length", e))?
            .len()
            == 0;
        let db = Db::open_on(path, FileDisk(file), opts)?;
        if fresh {
            // The new name must survive a crash as well.
            ::disk::sync_parent(path).map_err(|e| io("syncing the directory", e))?;
        }
        Ok(db)
    }

    /// True if there is no file at `path`, or one that holds nothing because a crash or a full disk interrupted its creation.
    /// [`Db::open`] makes an empty database of such a file, but not where it is `read_only`. Takes no lock.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn is_unwritten(path: &Path) -> Result<bool, Error> {
        let io = |op: &str, e: io::Error| io_error(path, op, e);
        let disk = match File::open(path) {
            Ok(file) => FileDisk(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(io("opening", error)),
        };
        Db::is_unwritten_on(path, &disk, &Options::default())
    }

    /// The same for what is on `disk`; messages use `name` as its path.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn is_unwritten_on(name: &Path, disk: &impl Disk, opts: &Options) -> Result<bool, Error> {
        let io = |op: &str, e: io::Error| io_error(name, op, e);
        let len = disk.len().map_err(|e| io("reading the length", e))?;
        never_written(disk, len, opts).map_err(|e| io("reading the meta pages", e))
    }

    /// Opens the database on `disk`, without a file lock; messages use `name` as its path.
    pub fn open_on(name: &Path, disk: impl Disk, opts: Options) -> Result<Db, Error> {
        let io = |op: &str, e: io::Error| io_error(name, op, e);
        let mut len = disk.len().map_err(|e| io("reading the length", e))?;
        if !opts.read_only
            && never_written(&disk, len, &opts).map_err(|e| io("reading the meta pages", e))?
        {
            create(&disk, &opts).map_err(|e| io("creating", e))?;
            len = disk.len().map_err(|e| io("reading the length", e))?;
        }
        let found = meta::find(&disk, len);
        let bad = |why: String| Error::NotADatabase {
            path: name.to_owned(),
            why,
        };
        let meta = found.current().map_err(bad)?;
        let expected = meta.hwm.get().saturating_mul(u64::from(meta.page_size));
        if expected > len {
            return Err(Error::Truncated {
                path: name.to_owned(),
                expected,
                found: len,
            });
        }
        if meta.root < PageId::FIRST_DATA || meta.root >= meta.hwm {
            return Err(bad(format!(
                "the root page {} is outside 2..{}",
                meta.root, meta.hwm
            )));
        }
        let map_len = if opts.read_only {
            len
        } else {
            opts.initial_mmap_size
                .max(MIN_MAP)
                .max(len.saturating_mul(2).next_multiple_of(4096))
        };
        let map = disk.map(map_len).map_err(|e| io("mapping", e))?;
        let pages = Arc::new(Pages {
            map: Arc::new(map),
            page_size: meta.page_size,
            hwm: meta.hwm,
        });
        let mut free_pages = 0;
        let writer = if opts.read_only {
            None
        } else {
            sync_what_was_left(name, &disk, &opts)?;
            let own_slot = &found.slots[(meta.txid % 2) as usize];
            let misplaced = !matches!(own_slot, Ok((m, _)) if m.txid == meta.txid);
            let writer = new_writer(&pages, &meta, misplaced, len)?;
            free_pages = writer.space.free_pages();
            Some(Box::new(writer))
        };
        let shared = Shared {
            meta,
            pages,
            readers: BTreeMap::new(),
            free_pages,
            failed: None,
        };
        Ok(Db {
            inner: Arc::new(Inner {
                path: name.to_owned(),
                disk: Box::new(disk),
                page_size: meta.page_size,
                read_only: opts.read_only,
                no_sync: AtomicBool::new(opts.no_sync),
                growth_step: opts.growth_step,
                shared: Mutex::new(shared),
                writer: Mutex::new(writer),
                writer_back: Condvar::new(),
                free_read_only: OnceLock::new(),
            }),
        })
    }

    /// The path it was opened at.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// A snapshot of the last committed state. Never waits for the writer; costs one short lock, clones of it cost none.
    pub fn begin_read(&self) -> ReadTx {
        let mut shared = self.inner.shared();
        let (meta, pages) = (shared.meta, shared.pages.clone());
        *shared.readers.entry(meta.txid).or_insert(0) += 1;
        drop(shared);
        ReadTx::new(self.inner.clone(), meta, pages)
    }

    /// The one write transaction; waits until an open one has ended. Fails on a read-only database and after a failed
    /// commit.
    pub fn begin_write(&self) -> Result<WriteTx, Error> {
        if self.inner.read_only {
            return Err(Error::ReadOnly);
        }
        let mut slot = self.inner.wait_for_writer()?;
        let writer = slot.take().expect("waited for");
        drop(slot);
        WriteTx::new(self.inner.clone(), writer)
    }

    /// Size in bytes as etcd reports it (`dbSize`): high-water mark times page size. The file itself is longer by up to
    /// [`Options::growth_step`].
    pub fn size(&self) -> u64 {
        self.inner.shared().meta.hwm.get() * u64::from(self.inner.page_size)
    }

    /// Bytes of [`Db::size`] that are not free pages. Pages that the last commit replaced still count as used until the
    /// next write transaction begins, as in etcd.
    pub fn size_in_use(&self) -> u64 {
        let shared = self.inner.shared();
        let hwm = shared.meta.hwm;
        let free = if self.inner.read_only {
            let (pages, root) = (shared.pages.clone(), shared.meta.root);
            drop(shared);
            *self.inner.free_read_only.get_or_init(|| {
                let used = walk::reachable_sparing(&pages, root);
                used.map_or(0, |used| used.gaps(hwm).iter().map(|gap| gap.len).sum())
            })
        } else {
            shared.free_pages
        };
        (hwm.get() - free) * u64::from(self.inner.page_size)
    }

    /// Length of the file in bytes.
    pub fn file_len(&self) -> Result<u64, Error> {
        self.inner
            .disk
            .len()
            .map_err(|e| io_error(&self.inner.path, "reading the length", e))
    }

    /// Page size in bytes.
    pub fn page_size(&self) -> u32 {
        self.inner.page_size
    }

    /// Snapshots that are held by read transactions; clones of one count once.
    pub fn open_readers(&self) -> usize {
        self.inner.shared().readers.values().sum()
    }

    /// Waits until everything committed is durable; needed with [`Options::no_sync`] only. An error is sticky, like one
    /// of a commit: the system may report it only once.
    pub fn sync(&self) -> Result<(), Error> {
        self.inner
            .disk
            .sync()
            .map_err(|e| io_error(&self.inner.path, "fdatasync", e))
            .inspect_err(|e| self.inner.fail(e.clone()))
    }

    pub(crate) fn set_no_sync(&self, no_sync: bool) {
        self.inner.no_sync.store(no_sync, Ordering::Relaxed);
    }

    /// Runs `look` on the writer's list of unused page runs and a snapshot of the same state.
    pub(crate) fn with_unused<T>(
        &self,
        look: impl FnOnce(&ReadTx, Vec<PageRun>) -> T,
    ) -> Option<T> {
        if self.inner.read_only {
            return None;
        }
        let slot = self.inner.wait_for_writer().ok()?;
        let writer = slot.as_ref()?;
        let mut unused = writer.space.unused();
        unused.extend(writer.stored_freelist);
        Some(look(&self.begin_read(), unused))
    }
}

/// The writer's resources for a file of `len` bytes. Every page that cannot be reached is free.
fn new_writer(pages: &Pages, meta: &Meta, misplaced_meta: bool, len: u64) -> Result<Writer, Error> {
    let mut writer = Writer {
        space: FreeSpace::default(),
        stored_freelist: None,
        misplaced_meta,
        file_len: len,
        buf: Vec::new(),
        runs: Vec::new(),
    };
    let mut used = walk::reachable(pages, meta.root)?;
    if let Some(freelist) = meta.freelist
        && let Ok((FLAG_FREELIST, _, overflow, _)) = pages.run(freelist)
    {
        let run = PageRun::new(freelist, 1 + u64::from(overflow));
        for page in run.ids() {
            if !used.insert(page) {
                return Err(pages.corrupt(page, "the page is both data and part of the freelist"));
            }
        }
        writer.stored_freelist = Some(run);
    }
    for gap in used.gaps(meta.hwm) {
        writer.space.add(gap);
    }
    Ok(writer)
}

fn lock(path: &Path, file: &File, opts: &Options) -> Result<(), Error> {
    let operation = if opts.read_only {
        FlockOperation::NonBlockingLockShared
    } else {
        FlockOperation::NonBlockingLockExclusive
    };
    let begin = Instant::now();
    let mut warned = false;
    loop {
        match flock(file, operation) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
            Err(e) => return Err(io_error(path, "locking", e.into())),
        }
        let waited = begin.elapsed();
        if opts.lock_timeout.is_some_and(|limit| waited >= limit) {
            return Err(Error::Locked {
                path: path.to_owned(),
                waited,
            });
        }
        if waited >= LOCK_WARN_AFTER && !warned {
            warned = true;
            if let Some(warn) = &opts.warn {
                warn(&format!(
                    "still waiting for the lock of {} after {} s; another process uses the database",
                    path.display(),
                    waited.as_secs()
                ));
            }
        }
        let left = opts
            .lock_timeout
            .map_or(LOCK_RETRY, |limit| limit.saturating_sub(waited));
        std::thread::sleep(LOCK_RETRY.min(left));
    }
}

/// The page size a database is created with.
fn new_page_size(opts: &Options) -> u32 {
    opts.page_size
        .unwrap_or_else(|| rustix::param::page_size() as u32)
}

/// The newest meta page may be one that a killed process wrote but never synced. The next commit
/// reuses pages that it freed, and syncs them together with it: a power cut at that point could
/// keep the pages and lose the meta page.
fn sync_what_was_left(name: &Path, disk: &impl Disk, opts: &Options) -> Result<(), Error> {
    if opts.no_sync {
        return Ok(());
    }
    disk.sync().map_err(|e| io_error(name, "syncing", e))
}

/// True for an empty file and for what a crash during creation leaves: nothing on the meta pages, or no valid meta page
/// before the two data pages of an empty database. Such a file is no longer than an empty database, which one that ever
/// held something is: one that has lost its head is damaged, and not created anew.
fn never_written(disk: &dyn Disk, len: u64, opts: &Options) -> io::Result<bool> {
    if len == 0 {
        return Ok(true);
    }
    if len > 4 * u64::from(new_page_size(opts)) || meta::find(disk, len).current().is_ok() {
        return Ok(false);
    }
    let mut bytes = vec![0u8; len as usize];
    disk.pread(0, &mut bytes)?;
    let (metas, data) = bytes.split_at(bytes.len() / 2);
    let is_whole = len.is_multiple_of(4) && len >= 4 * 1024;
    let is_empty = is_whole && data == empty_data(metas.len() / 2);
    Ok(is_empty || metas.iter().all(|b| *b == 0))
}

/// Pages 2 and 3 of an empty database: a freelist and a leaf without elements.
fn empty_data(page_size: usize) -> Vec<u8> {
    let mut data = vec![0u8; 2 * page_size];
    for (at, id, flags) in [(0, 2u64, FLAG_FREELIST), (page_size, 3, FLAG_LEAF)] {
        data[at..at + 8].copy_from_slice(&id.to_le_bytes());
        data[at + 8..at + 10].copy_from_slice(&flags.to_le_bytes());
    }
    data
}

/// Writes the four pages of an empty database, the meta pages last.
fn create(disk: &dyn Disk, opts: &Options) -> io::Result<()> {
    let page_size = new_page_size(opts);
    if !page_size.is_power_of_two() || !(1024..=meta::MAX_PAGE_SIZE).contains(&page_size) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the page size must be a power of two from 1024",
        ));
    }
    let ps = page_size as usize;
    disk.set_len(0)?;
    disk.pwrite(2 * ps as u64, &empty_data(ps))?;
    if !opts.no_sync {
        disk.sync()?;
    }
    let mut metas = vec![0u8; 2 * ps];
    for id in 0..2u64 {
        let meta = Meta {
            page_size,
            root: PageId::new(3),
            sequence: 0,
            freelist: Some(PageId::new(2)),
            hwm: PageId::new(4),
            txid: id,
        };
        let at = id as usize * ps;
        metas[at..at + META_END].copy_from_slice(&meta.encode(PageId::new(id)));
    }
    disk.pwrite(0, &metas)?;
    if !opts.no_sync {
        disk.sync()?;
    }
    Ok(())
}
