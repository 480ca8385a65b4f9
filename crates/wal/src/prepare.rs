//! The thread that writes zeros before the log gets there.
//!
//! A synced write into blocks that were written before costs one trip to the
//! disk; into blocks that are only reserved it costs the journal as well, about
//! twice the time. So the next segment is made as `N.tmp`, all zeros and
//! synced, while the current one fills; and the first segment of a process,
//! whose start must not wait, gets zeros some way ahead of the writer. Must
//! never write over the log: see [`Frontier`]. Must never take an error away
//! from the writer: see [`Failure`].

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{
    disk::{Disk, DiskFile, Mode},
    error::Error,
};

/// Zeros are written and synced in pieces of this size, so that a sync of the
/// log never queues behind more than this.
const CHUNK_BYTES: u64 = 256 << 10;

/// How far ahead of the writer the current segment is kept zeroed.
pub const AHEAD_BYTES: u64 = 8 << 20;

/// The next segment is prepared when the current one is filled to this part: a
/// member at rest does not write zeros it may never need.
const NEXT_AFTER_PART: u64 = 4;

/// The next segment is prepared only where that many of them would fit.
const FREE_SEGMENTS: u64 = 3;

/// After a piece the thread rests as long as the piece took, within bounds, so
/// that zeros take at most half of the disk.
const REST_MAX: Duration = Duration::from_millis(50);

/// Blocks are claimed in units of a page.
const PAGE_BYTES: u64 = 4096;

static ZEROS: [u8; CHUNK_BYTES as usize] = [0; CHUNK_BYTES as usize];

/// The first error of a write or a sync by the thread. It is sticky, and the
/// writer looks at it after each sync of its own: nothing is acknowledged after
/// it.
#[derive(Debug, Default)]
pub(crate) struct Failure(OnceLock<Error>);

impl Failure {
    pub(crate) fn get(&self) -> Option<&Error> {
        self.0.get()
    }

    fn record(&self, error: Error) {
        // A later error says no more than the first.
        let _ = self.0.set(error);
    }
}

/// Whether what a failed write left behind says anything about the disk. A full
/// disk refuses a write whole, before a byte of it counts as written.
fn is_lasting(error: &Error) -> bool {
    !error.is_disk_full()
}

/// The border in a segment between bytes that belong to the writer and bytes
/// that may still be zeroed. It only moves up. Zeros are written from the
/// border on while its lock is held; the writer moves the border beyond the
/// end of a write before it writes. So no zero ever falls on the log.
#[derive(Debug)]
pub(crate) struct Frontier {
    path: PathBuf,
    border: Mutex<u64>,
    /// A copy of the border for a look without the lock; never above it.
    seen: AtomicU64,
    /// Where the writer is.
    position: AtomicU64,
    limit: u64,
}

impl Frontier {
    pub(crate) fn new(path: PathBuf, border: u64, limit: u64) -> Self {
        Self {
            path,
            border: Mutex::new(border.next_multiple_of(PAGE_BYTES)),
            seen: AtomicU64::new(border),
            position: AtomicU64::new(0),
            limit,
        }
    }

    /// Claims everything below `end` for the writer. Free while zeros are
    /// ahead; else it may wait for one piece of zeros.
    pub(crate) fn claim(&self, end: u64) {
        if end > self.seen.load(Ordering::Acquire) {
            let mut border = lock(&self.border);
            *border = (*border).max(end.next_multiple_of(PAGE_BYTES));
            self.seen.store(*border, Ordering::Release);
        }
        self.position.store(end, Ordering::Release);
    }

    /// Claims the whole segment: from here on no zero is written to it.
    pub(crate) fn close(&self) {
        let mut border = lock(&self.border);
        *border = (*border).max(self.limit);
    }

    /// Writes one piece of zeros below `to`; `false` if there is none to write.
    fn advance(&self, file: &dyn DiskFile, to: u64) -> Result<bool, Error> {
        {
            let mut border = lock(&self.border);
            let to = to.min(self.limit).min(*border + CHUNK_BYTES);
            if *border >= to {
                return Ok(false);
            }
            let piece = (to - *border) as usize;
            file.write_at(&ZEROS[..piece], *border)
                .map_err(|e| Error::io("write zeros to", &self.path, e))?;
            *border = to;
        }
        file.sync().map_err(|e| Error::io("sync", &self.path, e))?;
        // Only now is a write below the border one into blocks that are there.
        self.seen.fetch_max(*lock(&self.border), Ordering::AcqRel);
        Ok(true)
    }
}

/// The current segment as the thread writes zeros to it: through a file
/// description of its own. Linux reports a failed writeback once to each
/// description; through the writer's, a sync here would take the report away
/// from the writer, whose next sync would then succeed over lost bytes.
#[derive(Debug)]
pub(crate) struct Ahead {
    tail: Arc<Frontier>,
    file: Box<dyn DiskFile>,
}

impl Ahead {
    /// `None` without a description to spare: the segment then goes without
    /// zeros ahead, which costs time and nothing else.
    fn open(disk: &dyn Disk, tail: &Arc<Frontier>) -> Option<Self> {
        let file = disk.open(&tail.path, Mode::Write).ok()?;
        let tail = Arc::clone(tail);
        Some(Self { tail, file })
    }
}

/// A segment ready to be taken into use.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Up to here it is zeroed and synced.
    pub(crate) zeroed: u64,
}

/// Creates `path` as an empty, locked segment with its space reserved.
pub(crate) fn create_segment(disk: &dyn Disk, path: &Path, bytes: u64) -> Result<Prepared, Error> {
    let file = disk
        .open(path, Mode::Create(0o600))
        .map_err(|e| Error::io("create", path, e))?;
    if !file.try_lock().map_err(|e| Error::io("lock", path, e))? {
        return Err(Error::Locked { path: path.into() });
    }
    file.allocate(bytes)
        .map_err(|e| Error::io("reserve space for", path, e))?;
    Ok(Prepared {
        path: path.into(),
        file: Arc::from(file),
        zeroed: 0,
    })
}

/// The name under which the segment after the one numbered `seq` is prepared.
pub(crate) fn tmp_name(seq: u64) -> String {
    format!("{}.tmp", seq % 2)
}

#[derive(Debug, Default)]
struct Job {
    tail: Option<Arc<Frontier>>,
    next_path: PathBuf,
    next: Option<Prepared>,
    /// The next segment is in the hands of the thread.
    busy: bool,
    /// Why the next segment could not be prepared; tried again at the cut.
    error: Option<Error>,
    stop: bool,
}

#[derive(Debug)]
struct Shared {
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    failure: Failure,
    job: Mutex<Job>,
    changed: Condvar,
}

/// The thread, and what it has ready.
#[derive(Debug)]
pub(crate) struct Preparer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Preparer {
    /// Starts the thread; `None` if the system has no thread to give, in which
    /// case segments are made when they are needed.
    pub(crate) fn start(disk: Arc<dyn Disk>, segment_bytes: u64) -> Option<Self> {
        let mut preparer = Self::threadless(disk, segment_bytes);
        let shared = Arc::clone(&preparer.shared);
        let thread = std::thread::Builder::new()
            .name("wal-prepare".into())
            .spawn(move || shared.run())
            .ok()?;
        preparer.thread = Some(thread);
        Some(preparer)
    }

    fn threadless(disk: Arc<dyn Disk>, segment_bytes: u64) -> Self {
        let shared = Arc::new(Shared {
            disk,
            segment_bytes,
            failure: Failure::default(),
            job: Mutex::default(),
            changed: Condvar::new(),
        });
        Self {
            shared,
            thread: None,
        }
    }

    /// Says which segment is written now, and where the next is to be made.
    pub(crate) fn follow(&self, tail: Arc<Frontier>, next_path: PathBuf) {
        let mut job = lock(&self.shared.job);
        job.tail = Some(tail);
        job.next_path = next_path;
        job.error = None;
        self.shared.changed.notify_one();
    }

    /// Says that the writer has moved on by more than a little.
    pub(crate) fn nudge(&self) {
        self.shared.changed.notify_one();
    }

    /// Takes the next segment, as far as it has been prepared.
    pub(crate) fn take(&self) -> Option<Prepared> {
        let mut job = lock(&self.shared.job);
        job.tail = None;
        while job.busy {
            job = self
                .shared
                .changed
                .wait(job)
                .unwrap_or_else(PoisonError::into_inner);
        }
        job.next.take()
    }

    /// Why the next segment could not be prepared.
    pub(crate) fn error(&self) -> Option<Error> {
        lock(&self.shared.job).error.clone()
    }

    /// The error that ends the log.
    pub(crate) fn failure(&self) -> Option<&Error> {
        self.shared.failure.get()
    }
}

impl Drop for Preparer {
    fn drop(&mut self) {
        lock(&self.shared.job).stop = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was already reported by the panic hook.
            let _ = thread.join();
        }
        if let Some(next) = lock(&self.shared.job).next.take() {
            // It holds nothing; what stays is removed when the log is opened.
            let _ = self.shared.disk.remove(&next.path);
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut ahead = None;
        let mut job = lock(&self.job);
        while !job.stop {
            let began = Instant::now();
            let worked;
            (job, worked) = self.turn(job, &mut ahead);
            if job.stop || self.failure.get().is_some() {
                return;
            }
            job = if worked {
                let rest = began.elapsed().min(REST_MAX);
                self.changed
                    .wait_timeout(job, rest)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            } else {
                self.changed
                    .wait(job)
                    .unwrap_or_else(PoisonError::into_inner)
            };
        }
    }

    /// Writes one piece of zeros to the current segment and one to the next, as
    /// far as they need any; `false` if neither did.
    fn turn<'a>(
        &'a self,
        mut job: MutexGuard<'a, Job>,
        ahead: &mut Option<Ahead>,
    ) -> (MutexGuard<'a, Job>, bool) {
        let Some(tail) = job.tail.clone() else {
            *ahead = None;
            return (job, false);
        };
        let position = tail.position.load(Ordering::Acquire);
        let wants_next = job.error.is_none()
            && position >= self.segment_bytes / NEXT_AFTER_PART
            && job
                .next
                .as_ref()
                .is_none_or(|next| next.zeroed < self.segment_bytes);
        let next = wants_next.then(|| (job.next.take(), job.next_path.clone()));
        job.busy = next.is_some();
        drop(job);

        let advanced = self.advance(&tail, position, ahead);
        let made = next.map(|(next, path)| self.prepare(next, &path));
        let worked = advanced || made.is_some();

        job = lock(&self.job);
        job.busy = false;
        match made {
            Some(Ok(next)) => job.next = Some(next),
            Some(Err(error)) => job.error = Some(error),
            None => {}
        }
        self.changed.notify_all();
        (job, worked)
    }

    /// Keeps zeros ahead of the writer at `position`.
    fn advance(&self, tail: &Arc<Frontier>, position: u64, ahead: &mut Option<Ahead>) -> bool {
        if !ahead.as_ref().is_some_and(|a| Arc::ptr_eq(&a.tail, tail)) {
            *ahead = Ahead::open(&*self.disk, tail);
        }
        let Some(Ahead { tail, file }) = ahead else {
            return false;
        };
        match tail.advance(&**file, position + AHEAD_BYTES) {
            Ok(advanced) => advanced,
            Err(error) => {
                if is_lasting(&error) {
                    self.failure.record(error);
                }
                false
            }
        }
    }

    /// Creates the next segment, or zeroes one more piece of it. On a disk
    /// that is nearly full the room is left to the database: a segment that may
    /// be needed later is not worth a commit that fails now.
    fn prepare(&self, next: Option<Prepared>, path: &Path) -> Result<Prepared, Error> {
        let Some(mut next) = next else {
            let dir = path.parent().unwrap_or(path);
            let free = self
                .disk
                .free_bytes(dir)
                .map_err(|e| Error::io("look for free space in", dir, e))?;
            if free / FREE_SEGMENTS < self.segment_bytes {
                let full = std::io::ErrorKind::StorageFull.into();
                return Err(Error::io("prepare", path, full));
            }
            return create_segment(&*self.disk, path, self.segment_bytes);
        };
        let piece = CHUNK_BYTES.min(self.segment_bytes - next.zeroed);
        next.file
            .write_at(&ZEROS[..piece as usize], next.zeroed)
            .and_then(|()| next.file.sync())
            .map_err(|e| Error::io("write zeros to", &next.path, e))
            .inspect_err(|error| {
                if is_lasting(error) {
                    self.failure.record(error.clone());
                }
            })?;
        next.zeroed += piece;
        Ok(next)
    }
}

#[cfg(test)]
impl Preparer {
    /// One without a thread: a test says when it does something.
    pub(crate) fn at_rest(disk: Arc<dyn Disk>, segment_bytes: u64) -> Self {
        Self::threadless(disk, segment_bytes)
    }

    /// What the thread does in one turn, in the caller.
    pub(crate) fn turn(&self, ahead: &mut Option<Ahead>) {
        drop(self.shared.turn(lock(&self.shared.job), ahead));
    }
}

/// No panic happens under these locks; if one did, the state is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
