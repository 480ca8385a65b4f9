//! The thread of the log writer: everything that queued up during one sync becomes one
//! write and one fdatasync. An I/O error here is fatal for the process: nothing may be
//! acknowledged after it.

use std::{collections::VecDeque, sync::Arc, thread::JoinHandle, time::Duration};

use failpoint::failpoint;
use member::log::{LogCommand, LogWriter};
use wal::SyncStats;

use super::{Queue, Raft};
use crate::{fatal::Fatal, metrics::Metrics, spans};

/// Who applies a run of entries.
pub trait Applier: Send {
    /// Does what is in the apply queue, on the thread of the log writer. False if another thread
    /// is at it already.
    fn try_apply(&self) -> bool;
}

/// The running thread.
pub struct LogThread {
    thread: JoinHandle<()>,
    queue: Arc<Queue<LogCommand>>,
}

/// A sync longer than this is logged, as etcd does.
const SLOW_SYNC: Duration = Duration::from_secs(1);

impl LogThread {
    /// Starts the thread.
    pub fn start(
        writer: LogWriter,
        raft: Arc<Raft>,
        applier: impl Applier + 'static,
        metrics: Arc<Metrics>,
        fatal: Fatal,
    ) -> std::io::Result<LogThread> {
        let queue = raft.log.clone();
        let thread = std::thread::Builder::new()
            .name("wal".into())
            .spawn(move || run(writer, &raft, &applier, &metrics, &fatal))?;
        Ok(LogThread { thread, queue })
    }

    /// Writes what is queued and closes the log.
    pub fn stop(self) {
        self.queue.close();
        // A panic of the writer was already reported by the panic hook.
        let _ = self.thread.join();
    }
}

fn run(
    mut writer: LogWriter,
    raft: &Raft,
    applier: &impl Applier,
    metrics: &Metrics,
    fatal: &Fatal,
) {
    let mut batch = VecDeque::new();
    while raft.log.wait() {
        raft.log.take(&mut batch);
        if let Err(error) = write(&mut writer, &mut batch, raft, applier, metrics) {
            fatal.report("failed to write the write-ahead log", &error);
            return;
        }
    }
    if let Err(error) = writer.close() {
        fatal.report("failed to close the write-ahead log", &error);
    }
}

fn write(
    writer: &mut LogWriter,
    batch: &mut VecDeque<LogCommand>,
    raft: &Raft,
    applier: &impl Applier,
    metrics: &Metrics,
) -> Result<(), wal::Error> {
    let mut written = writer.write(batch, &mut |command| raft.apply.push(command))?;
    count(metrics, &written.sync, written.record_bytes);
    raft.written(written.bytes);
    if let Some(number) = written.number {
        let messages = std::mem::take(&mut written.messages);
        failpoint!(RaftBeforeAdvance);
        let committed = raft.persisted(number, messages);
        let inline = written.applies_inline(committed, raft.log.is_loud());
        if !(inline && applier.try_apply()) {
            raft.apply.wake();
        }
    }
    Ok(())
}

fn count(metrics: &Metrics, sync: &Option<SyncStats>, record_bytes: u64) {
    if record_bytes > 0 {
        metrics.wal_write_bytes.add(record_bytes as i64);
    }
    let Some(stats) = sync else { return };
    let took = stats.sync;
    metrics.wal_write_bytes.add(stats.bytes as i64);
    metrics
        .wal_write_duration_seconds
        .observe(stats.write.as_secs_f64());
    metrics
        .wal_fsync_duration_seconds
        .observe(took.as_secs_f64());
    spans::event("fsync", took, &[("bytes", stats.bytes)]);
    if took > SLOW_SYNC {
        tracing::warn!(took = ?took, "expected-duration" = ?SLOW_SYNC, "slow fdatasync");
    }
}
