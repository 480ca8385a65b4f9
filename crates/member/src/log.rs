//! The log-writer thread: everything that queued up during one sync becomes one
//! write and one fdatasync. It owns the WAL; nobody else touches it. An I/O
//! error here is fatal for the process: nothing may be acknowledged after it.

use std::{collections::VecDeque, sync::Arc, thread::JoinHandle, time::Duration};

use proto::{
    raftpb::{Entry, HardState, Message, Snapshot},
    walpb,
};

use wal::snap::Snapshotter;

use super::{Queue, Raft};
use crate::{
    apply::{Command, SharedMachine},
    fatal::Fatal,
};

/// What the log writer is asked to do.
pub enum LogCommand {
    /// Append entries and state; report `number` when durable.
    Append {
        /// A snapshot of another member that takes the place of the log before
        /// the entries. Its database is next to the old one already.
        snapshot: Option<Box<Snapshot>>,
        /// Bytes of data in the entries.
        bytes: usize,
        /// Entries in index order, possibly none.
        entries: Vec<Entry>,
        /// The hard state as of these entries.
        state: Option<HardState>,
        /// True when something must be durable before `number` is reported.
        must_sync: bool,
        /// The work's number.
        number: u64,
        /// To other members, once this is durable.
        messages: Vec<Message>,
    },
    /// Record a snapshot that already lies on disk, then release what it covers.
    Snapshot {
        /// Index, term and ConfState of the `.snap` file.
        record: walpb::Snapshot,
        /// Segments wholly below this index may be purged.
        release_to: u64,
        /// Runs after the record is durable.
        done: Box<dyn FnOnce() + Send>,
    },
}

/// The running thread.
pub struct LogWriter {
    thread: JoinHandle<()>,
    queue: Arc<Queue<LogCommand>>,
}

/// Runs up to this many entries may be applied by the log writer.
const INLINE_ENTRIES_MAX: usize = 4;

/// A sync longer than this is logged, as etcd does.
const SLOW_SYNC: Duration = Duration::from_secs(1);

impl LogWriter {
    /// Starts the thread.
    pub fn start(
        wal: wal::Wal,
        snapshotter: Snapshotter,
        raft: Arc<Raft>,
        machine: SharedMachine,
        metrics: Arc<crate::metrics::Metrics>,
        fatal: Fatal,
    ) -> std::io::Result<LogWriter> {
        let queue = raft.log.clone();
        let thread = std::thread::Builder::new()
            .name("wal".into())
            .spawn(move || run(wal, &snapshotter, &raft, &machine, &metrics, &fatal))?;
        Ok(LogWriter { thread, queue })
    }

    /// Writes what is queued and closes the log.
    pub fn stop(self) {
        self.queue.close();
        // A panic of the writer was already reported by the panic hook.
        let _ = self.thread.join();
    }
}

fn run(
    mut wal: wal::Wal,
    snapshotter: &Snapshotter,
    raft: &Raft,
    machine: &SharedMachine,
    metrics: &crate::metrics::Metrics,
    fatal: &Fatal,
) {
    let mut batch = VecDeque::new();
    while raft.log.wait() {
        raft.log.take(&mut batch);
        if let Err(error) = write(&mut wal, &mut batch, snapshotter, raft, machine, metrics) {
            fatal.report("failed to write the write-ahead log", &error);
            return;
        }
    }
    if let Err(error) = wal.close() {
        fatal.report("failed to close the write-ahead log", &error);
    }
}

fn write(
    wal: &mut wal::Wal,
    batch: &mut VecDeque<LogCommand>,
    snapshotter: &Snapshotter,
    raft: &Raft,
    machine: &SharedMachine,
    metrics: &crate::metrics::Metrics,
) -> Result<(), wal::Error> {
    let mut sync = false;
    let mut newest = None;
    let mut outgoing = Vec::new();
    let mut installs = false;
    let mut written = 0;
    for command in batch.drain(..) {
        match command {
            LogCommand::Append {
                snapshot,
                bytes,
                entries,
                state,
                must_sync,
                number,
                messages,
            } => {
                written += bytes;
                if let Some(snapshot) = &snapshot {
                    record(wal, snapshotter, snapshot)?;
                }
                wal.append(&entries, state.as_ref())?;
                if let Some(snapshot) = snapshot {
                    // Until the log says that the snapshot is committed, a restart
                    // begins with what was there before. So nothing of that may go
                    // any earlier: neither the database nor a segment.
                    wal.sync()?;
                    wal.release_to(snapshot.metadata.index)?;
                    raft.apply.push(Command::Install(*snapshot));
                    installs = true;
                }
                sync |= must_sync;
                newest = Some(number);
                outgoing.extend(messages);
            }
            LogCommand::Snapshot {
                record,
                release_to,
                done,
            } => {
                let stats = wal.save_snapshot(&record)?;
                metrics.wal_write_bytes.add(stats.bytes as i64);
                wal.release_to(release_to)?;
                done();
            }
        }
    }
    if sync {
        let stats = wal.sync()?;
        let took = stats.sync;
        metrics.wal_write_bytes.add(stats.bytes as i64);
        metrics
            .wal_write_duration_seconds
            .observe(stats.write.as_secs_f64());
        metrics
            .wal_fsync_duration_seconds
            .observe(took.as_secs_f64());
        if took > SLOW_SYNC {
            tracing::warn!(took = ?took, "expected-duration" = ?SLOW_SYNC, "slow fdatasync");
        }
    }
    raft.written(written);
    if let Some(number) = newest {
        let committed = raft.persisted(number, outgoing);
        // A small run, with nothing waiting to be written: applying it here saves
        // the lone client a hand-over between threads. Otherwise the next sync
        // must not wait for it.
        match machine.try_lock() {
            Some(mut machine)
                if committed <= INLINE_ENTRIES_MAX && !installs && !raft.log.is_loud() =>
            {
                machine.turn()
            }
            _ => raft.apply.wake(),
        }
    }
    Ok(())
}

/// Makes a received snapshot known to the log: first its file, then its record.
/// Only then may a hard state speak of entries that it stands for.
fn record(
    wal: &mut wal::Wal,
    snapshotter: &Snapshotter,
    snapshot: &Snapshot,
) -> Result<(), wal::Error> {
    snapshotter.save(snapshot)?;
    let metadata = &snapshot.metadata;
    wal.save_snapshot(&walpb::Snapshot {
        index: metadata.index,
        term: metadata.term,
        conf_state: Some(metadata.conf_state.clone()),
    })
    .map(drop)
}
