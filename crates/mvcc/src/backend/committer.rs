//! The thread that writes the open batch to the file. It sleeps until a batch
//! is old or large enough or someone asks; after an error it never writes
//! again.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use failpoint::failpoint;
use proto::EntryId;

use super::{
    inner::Inner,
    meta::{CONSISTENT_INDEX, KEY, META, TERM, consistent_index},
    overlay::Segment,
};

impl Inner {
    /// The open batch has become non-empty, or full.
    pub(super) fn schedule(&self, at_once: bool) {
        let mut signal = self.signal.lock();
        let now = Instant::now();
        let deadline = if at_once {
            now
        } else {
            now + self.options.batch_interval
        };
        if signal.deadline.is_none_or(|d| deadline < d) {
            signal.deadline = Some(deadline);
            self.wake.notify_one();
        }
    }

    pub(super) fn request(&self) -> u64 {
        let mut signal = self.signal.lock();
        signal.requested += 1;
        self.wake.notify_one();
        signal.requested
    }

    pub(super) fn commit_and_wait(&self) -> Result<(), bolt::Error> {
        #[cfg(feature = "sim")]
        if self.threadless {
            return self.commit().inspect_err(|error| self.fail(error.clone()));
        }
        let mut signal = self.signal.lock();
        signal.requested += 1;
        let mine = signal.requested;
        self.wake.notify_one();
        loop {
            if let Some(error) = &signal.failed {
                return Err(error.clone());
            }
            if signal.finished >= mine {
                return Ok(());
            }
            if signal.stop {
                return Err(self.refusal("the backend is closed"));
            }
            self.done.wait(&mut signal);
        }
    }

    /// Waits while too much waits for the disk.
    pub(crate) fn wait_for_room(&self) {
        let full = || self.overlay.read().open_bytes() >= 2 * self.options.batch_bytes;
        if !full() {
            return;
        }
        let mut signal = self.signal.lock();
        while signal.failed.is_none() && !signal.stop && full() {
            self.done.wait(&mut signal);
        }
    }

    pub(super) fn stop(&self) {
        self.signal.lock().stop = true;
        self.wake.notify_one();
        self.done.notify_all();
    }

    /// An error after the first failure, or once the backend is closed.
    pub(super) fn still_open(&self) -> Result<(), bolt::Error> {
        self.failure()?;
        if self.signal.lock().stop {
            return Err(self.refusal("the backend is closed"));
        }
        Ok(())
    }

    pub(super) fn failure(&self) -> Result<(), bolt::Error> {
        self.signal.lock().failed.clone().map_or(Ok(()), Err)
    }

    /// Ends all commits for a reason found in memory: what is open must never
    /// reach the file.
    pub(crate) fn abandon(&self, why: &'static str) -> bolt::Error {
        let error = self.refusal(why);
        self.fail(error.clone());
        error
    }

    pub(super) fn fail(&self, error: bolt::Error) {
        let first = {
            let mut signal = self.signal.lock();
            let first = signal.failed.is_none();
            signal.failed.get_or_insert_with(|| error.clone());
            first
        };
        self.wake.notify_one();
        self.done.notify_all();
        if first {
            (self.options.on_error)(&error);
        }
    }

    pub(super) fn commit_loop(&self) {
        loop {
            let (covers, last) = {
                let mut signal = self.signal.lock();
                loop {
                    if signal.failed.is_some() {
                        return;
                    }
                    if signal.stop || signal.requested > signal.finished {
                        break;
                    }
                    match signal.deadline {
                        Some(at) if at <= Instant::now() => break,
                        Some(at) => {
                            self.wake.wait_until(&mut signal, at);
                        }
                        None => self.wake.wait(&mut signal),
                    }
                }
                signal.deadline = None;
                (signal.requested, signal.stop)
            };
            if let Err(error) = self.commit() {
                self.fail(error);
                return;
            }
            self.signal.lock().finished = covers;
            self.done.notify_all();
            if last {
                return;
            }
        }
    }

    /// Commits the same state once more, so that both meta pages name it: a
    /// file at rest survives the loss of either. etcd's closing commit does the same.
    pub(super) fn settle(&self) -> Result<(), bolt::Error> {
        let _file = self.file.lock();
        let db = self.db.read().clone();
        let index = consistent_index(&db.begin_read())?.index;
        if index == 0 {
            return Ok(());
        }
        let mut tx = db.begin_write()?;
        tx.put(META.as_bytes(), CONSISTENT_INDEX, &index.to_be_bytes())?;
        tx.commit()
    }

    /// Writes the open batch. Runs on the committer alone.
    fn commit(&self) -> Result<(), bolt::Error> {
        let _file = self.file.lock();
        if let Some(error) = &self.signal.lock().failed {
            return Err(error.clone());
        }
        let Some(segment) = self.overlay.write().seal() else {
            return Ok(());
        };
        let begin = Instant::now();
        let db = self.db.read().clone();
        self.write_segment(&db, &segment)?;
        let tx = db.begin_read();
        let rest = self.overlay.write().committed(tx);
        drop(rest);
        if let Some(entry) = segment.run.consistent {
            self.committed_index.store(entry.index, Ordering::Release);
        }
        (self.options.on_commit)(begin.elapsed());
        Ok(())
    }

    fn write_segment(&self, db: &bolt::Db, segment: &Segment) -> Result<(), bolt::Error> {
        let run = &segment.run;
        let key = KEY.as_bytes();
        failpoint!(BeforeStartDbTxn);
        let mut tx = db.begin_write()?;
        failpoint!(AfterStartDbTxn);
        for pending in &run.records {
            if pending.tombstone {
                tx.put(key, &pending.revision.to_tombstone_bytes(), &pending.record)?;
            } else {
                tx.put(key, &pending.revision.to_bytes(), &pending.record)?;
            }
        }
        for step in &run.removed {
            if step.tombstone {
                tx.delete(key, &step.revision.to_tombstone_bytes())?;
            } else {
                tx.delete(key, &step.revision.to_bytes())?;
            }
        }
        tx.apply(&run.batch)?;
        failpoint!(CommitBeforePreCommitHook);
        if let Some(EntryId { index, term }) = run.consistent {
            let meta = META.as_bytes();
            // Zero means unknown and is never written.
            if index != 0 {
                tx.put(meta, CONSISTENT_INDEX, &index.to_be_bytes())?;
            }
            if term != 0 {
                tx.put(meta, TERM, &term.to_be_bytes())?;
            }
        }
        failpoint!(CommitAfterPreCommitHook);
        failpoint!(BeforeCommit);
        tx.commit()?;
        failpoint!(AfterCommit);
        Ok(())
    }

    fn refusal(&self, why: &'static str) -> bolt::Error {
        bolt::Error::Io {
            path: self.path.clone(),
            op: String::from("commit"),
            source: Arc::new(io::Error::other(why)),
        }
    }
}
