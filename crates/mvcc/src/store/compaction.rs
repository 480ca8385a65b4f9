//! Compaction at a revision: forgets what no reader at that revision or later
//! can see (docs/design/store.md). Asking for it is part of applying the log; the
//! work is done by one thread, a little at a time, in the order asked for:
//! first the index, whose walk yields exactly the records to remove, then the
//! hash that members compare, then the records. Only committed records are
//! removed, and the finished revision is written with the last of them, so a
//! crash at any point is made good by doing it again.

use std::{
    io,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bolt::Batch;
use failpoint::failpoint;
use parking_lot::{Condvar, Mutex};

use super::{
    hash::{Hasher, Rules, hash_records},
    hashes::HashKv,
    inner::Inner,
    observer::CompactionStep,
};
use crate::{
    Error, Revision,
    backend::{META, Run},
    index::Step,
};

pub(super) const SCHEDULED: &[u8] = b"scheduledCompactRev";
pub(super) const FINISHED: &[u8] = b"finishedCompactRev";

/// Entries of the index that are visited under one hold of the lock: some
/// tens of microseconds.
const ENTRIES_AT_A_TIME: usize = 256;
/// Holds of the lock between two pauses.
const HOLDS_PER_PAUSE: usize = 16;
/// How long the thread rests while it walks the index.
const INDEX_PAUSE: Duration = Duration::from_micros(200);

/// A compaction that was asked for.
pub(super) struct Job {
    pub(super) revision: i64,
    /// What was compacted before.
    pub(super) previous: i64,
    /// The compaction before this one had come to its end.
    pub(super) previous_finished: bool,
    pub(super) ticket: CompactionTicket,
}

enum Message {
    Compact(Job),
    Stop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Running,
    Finished,
    /// Left for the next start.
    Stopped,
}

/// Tells when a compaction has removed everything it has to.
#[derive(Clone)]
pub struct CompactionTicket {
    shared: Arc<(Mutex<Progress>, Condvar)>,
}

impl CompactionTicket {
    pub(super) fn new() -> CompactionTicket {
        CompactionTicket {
            shared: Arc::new((Mutex::new(Progress::Running), Condvar::new())),
        }
    }

    fn set(&self, progress: Progress) {
        let (mutex, changed) = &*self.shared;
        *mutex.lock() = progress;
        changed.notify_all();
    }

    /// Waits until the records are removed and that is committed.
    ///
    /// # Errors
    /// [`Error::Stopped`] if the store is stopped before, or cannot write.
    pub fn wait(&self) -> Result<(), Error> {
        let (mutex, changed) = &*self.shared;
        let mut progress = mutex.lock();
        while *progress == Progress::Running {
            changed.wait(&mut progress);
        }
        match *progress {
            Progress::Finished => Ok(()),
            _ => Err(Error::Stopped),
        }
    }
}

impl std::fmt::Debug for CompactionTicket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("CompactionTicket")
            .field(&*self.shared.0.lock())
            .finish()
    }
}

/// The thread that compacts.
pub(super) struct Worker {
    sender: Sender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Set where there is no thread: the work waits here to be asked for.
    #[cfg(feature = "sim")]
    threadless: Mutex<Option<Pace>>,
}

impl Worker {
    pub(super) fn start(inner: Arc<Inner>) -> io::Result<Worker> {
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("compaction".into())
            .spawn(move || {
                let mut pace = Pace::new(receiver);
                while let Some(job) = pace.next_job() {
                    inner.work(&job, &mut pace);
                }
                for job in pace.waiting {
                    job.ticket.set(Progress::Stopped);
                }
            })?;
        Ok(Worker {
            sender,
            thread: Mutex::new(Some(thread)),
            #[cfg(feature = "sim")]
            threadless: Mutex::new(None),
        })
    }

    #[cfg(feature = "sim")]
    pub(super) fn threadless() -> Worker {
        let (sender, receiver) = mpsc::channel();
        let pace = Pace {
            threadless: true,
            ..Pace::new(receiver)
        };
        Worker {
            sender,
            thread: Mutex::new(None),
            threadless: Mutex::new(Some(pace)),
        }
    }

    /// Does one compaction that waits, if one does.
    #[cfg(feature = "sim")]
    pub(super) fn work(&self, inner: &Inner) -> bool {
        let mut pace = self.threadless.lock();
        let Some(pace) = pace.as_mut() else {
            return false;
        };
        let Ok(Message::Compact(job)) = pace.receiver.try_recv() else {
            return false;
        };
        inner.work(&job, pace);
        true
    }

    pub(super) fn submit(&self, job: Job) {
        let ticket = job.ticket.clone();
        if self.sender.send(Message::Compact(job)).is_err() {
            ticket.set(Progress::Stopped);
        }
    }

    /// Takes up what a crash left: everything up to `revision` counts as
    /// compacted from now on.
    pub(super) fn resume(&self, inner: &Inner, revision: i64) {
        let previous = {
            let mut state = inner.state.write();
            let previous = state.compacted;
            state.compacted = revision;
            previous
        };
        inner.compacted.store(revision, Ordering::Release);
        self.submit(Job {
            revision,
            previous,
            previous_finished: false,
            ticket: CompactionTicket::new(),
        });
    }

    pub(super) fn stop(&self) {
        let Some(thread) = self.thread.lock().take() else {
            return;
        };
        // The thread is gone already if no one listens.
        let _ = self.sender.send(Message::Stop);
        let _ = thread.join();
    }
}

/// Rests between steps, and hears of a stop while it does.
struct Pace {
    receiver: mpsc::Receiver<Message>,
    waiting: Vec<Job>,
    stopped: bool,
    /// No one is to be let through, so there is no rest.
    #[cfg(feature = "sim")]
    threadless: bool,
}

impl Pace {
    fn new(receiver: mpsc::Receiver<Message>) -> Pace {
        Pace {
            receiver,
            waiting: Vec::new(),
            stopped: false,
            #[cfg(feature = "sim")]
            threadless: false,
        }
    }

    fn next_job(&mut self) -> Option<Job> {
        if self.stopped {
            return None;
        }
        if !self.waiting.is_empty() {
            return Some(self.waiting.remove(0));
        }
        match self.receiver.recv() {
            Ok(Message::Compact(job)) => Some(job),
            Ok(Message::Stop) | Err(_) => None,
        }
    }

    /// False if the work is to end.
    fn rest(&mut self, time: Duration) -> bool {
        #[cfg(feature = "sim")]
        if self.threadless {
            return true;
        }
        let end = Instant::now() + time;
        while !self.stopped {
            let left = end.saturating_duration_since(Instant::now());
            match self.receiver.recv_timeout(left) {
                Ok(Message::Compact(job)) => self.waiting.push(job),
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => self.stopped = true,
                Err(RecvTimeoutError::Timeout) => break,
            }
        }
        !self.stopped
    }
}

impl Inner {
    fn work(&self, job: &Job, pace: &mut Pace) {
        job.ticket.set(match self.compact(job, pace) {
            Ok(true) => Progress::Finished,
            // A file that cannot be read has been reported by the
            // committer, or will be by the next check.
            Ok(false) | Err(_) => Progress::Stopped,
        });
    }

    /// True if it came to its end.
    fn compact(&self, job: &Job, pace: &mut Pace) -> Result<bool, Error> {
        // From here on the file has all that is to be removed, and knows that
        // it is to be.
        let begin = Instant::now();
        failpoint!(CompactBeforeCommitScheduledCompact);
        let tx = self.backend.snapshot()?;
        failpoint!(CompactAfterCommitScheduledCompact);
        let Some((dropped, keeps_any)) = self.compact_index(job.revision, pace) else {
            return Ok(false);
        };
        let observer = &self.options.on_compaction;
        observer.observe(CompactionStep::Index(begin.elapsed()));

        let rules = Rules {
            revision: job.revision,
            compacted: job.previous,
            not_kept: dropped
                .iter()
                .map(|s| s.revision)
                .take_while(|r| r.main <= job.previous)
                .collect(),
            keeps_any,
            removed: Vec::new(),
        };
        let mut hasher = Hasher::new(rules);
        if !hash_records(&tx, &mut hasher, job.revision, |_, _| {
            pace.rest(INDEX_PAUSE)
        })? {
            return Ok(false);
        }
        tx.advise_cold();
        drop(tx);
        let hash = hasher.finish();
        if job.previous_finished {
            self.hashes.lock().insert(HashKv {
                hash,
                revision: job.revision,
                compact_revision: job.previous,
                current_revision: job.revision,
            });
        }

        let mut rest = &dropped[..];
        let limit = self.options.compaction_batch_limit.max(1);
        loop {
            let batch_begin = Instant::now();
            let (now, later) = rest.split_at(rest.len().min(limit));
            rest = later;
            let mut run = Run {
                removed: now.to_vec(),
                ..Run::default()
            };
            failpoint!(CompactBeforeCommitBatch);
            failpoint!(CompactBeforeSetFinishedCompact if rest.is_empty());
            if rest.is_empty() {
                let finished = Revision::new(job.revision, 0).to_bytes();
                run.batch = Batch::new();
                run.batch.put(META, FINISHED, finished.to_vec());
            }
            self.backend.inner().append(run);
            failpoint!(CompactAfterCommitBatch);
            failpoint!(CompactAfterSetFinishedCompact if rest.is_empty());
            self.removed.fetch_add(now.len() as u64, Ordering::Relaxed);
            observer.observe(CompactionStep::Batch(batch_begin.elapsed()));
            if rest.is_empty() {
                break;
            }
            if !pace.rest(self.options.compaction_sleep) {
                return Ok(false);
            }
            self.backend.inner().wait_for_room();
        }
        {
            let mut state = self.state.write();
            state.settled = state.compacted == job.revision;
        }
        self.backend.commit_now()?;
        *self.doomed.lock() = Arc::default();
        observer.observe(CompactionStep::Finished {
            revision: job.revision,
            hash,
            took: begin.elapsed(),
        });
        Ok(true)
    }

    /// Forgets the past in the index; gives what was forgotten, ascending, and
    /// whether something represents the revision. `None` if it did not finish.
    fn compact_index(&self, revision: i64, pace: &mut Pace) -> Option<(Arc<Vec<Step>>, bool)> {
        let _past = self.past.lock();
        let (mut dropped, mut keeps_any) = (Vec::new(), false);
        let mut from = Some(Box::default());
        let mut holds = 0;
        let mut stopped = false;
        while let Some(key) = from.filter(|_| !stopped) {
            {
                let mut state = self.state.write();
                let (ids, next) = state.index.some_entries(&key, ENTRIES_AT_A_TIME);
                keeps_any |= state.index.compact(&ids, revision, &mut dropped);
                from = next;
            }
            holds += 1;
            stopped = holds % HOLDS_PER_PAUSE == 0 && !pace.rest(INDEX_PAUSE);
        }
        dropped.sort_unstable();
        let dropped = Arc::new(dropped);
        *self.doomed.lock() = dropped.clone();
        if stopped {
            return None;
        }
        Some((dropped, keeps_any))
    }
}
