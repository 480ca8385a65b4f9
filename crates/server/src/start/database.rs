//! The files of this process: the database over the operating system's files, with the threads,
//! log lines and metrics that the server adds to it.

use std::{path::Path, sync::Arc, time::Duration, time::Instant};

use bytes::Bytes;
use member::{At as _, Error, Files, open::Dirs};
use mvcc::{
    CompactionObserver, CompactionStep,
    backend::{Backend, BackendOptions},
};
use wal::disk::{Disk, OsDisk};

use crate::{config::Config, fatal::Fatal, logging::human_bytes, metrics::Metrics};

/// See the module's page.
pub(super) struct ServerFiles {
    disk: Arc<dyn Disk>,
    config: Config,
    fatal: Fatal,
    metrics: Arc<Metrics>,
}

/// Whoever holds a database is another server, which the log's lock would have found.
const LOCK_WAIT: Duration = Duration::from_secs(5);

impl ServerFiles {
    /// Files as `config` says. What cannot be committed goes to `fatal`.
    pub(super) fn new(config: &Config, fatal: &Fatal, metrics: &Arc<Metrics>) -> ServerFiles {
        ServerFiles {
            disk: Arc::new(OsDisk),
            config: config.clone(),
            fatal: fatal.clone(),
            metrics: metrics.clone(),
        }
    }
}

impl Files for ServerFiles {
    fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    fn is_unwritten(&self, path: &Path) -> Result<bool, bolt::Error> {
        bolt::Db::is_unwritten(path)
    }

    fn read_database(&self, path: &Path) -> Result<bolt::Db, bolt::Error> {
        bolt::Db::open(path, read_only())
    }

    fn open_backend(&self, path: &Path) -> Result<Arc<Backend>, Error> {
        let begin = Instant::now();
        let backend = open_backend(&self.config, &self.fatal, &self.metrics, path)?;
        tracing::info!(path = %path.display(), took = ?begin.elapsed(), "opened backend db");
        Ok(backend)
    }

    fn open_store(
        &self,
        backend: Arc<Backend>,
        leased: &mut dyn FnMut(Bytes, i64),
    ) -> Result<Arc<mvcc::Store>, mvcc::OpenError> {
        let options = mvcc::StoreOptions {
            compaction_batch_limit: self.config.compaction_batch_limit,
            compaction_sleep: self.config.compaction_sleep_interval,
            on_compaction: observer(&backend, &self.metrics),
        };
        mvcc::Store::open(backend, options, leased)
    }
}

fn read_only() -> bolt::Options {
    bolt::Options {
        read_only: true,
        lock_timeout: Some(LOCK_WAIT),
        ..bolt::Options::default()
    }
}

/// Refuses a database that has applied entries of a log which is not there. A new log begins
/// with entry 1: what the database takes for applied would be passed over, here and in what a
/// leader sends, and no one would hear of it.
///
/// # Errors
/// There is such a database, or one that cannot be read.
pub(super) fn refuse_without_log(dirs: &Dirs) -> Result<(), Error> {
    let path = dirs.database();
    if bolt::Db::is_unwritten(&path).at("cannot read the database", &path)? {
        return Ok(());
    }
    let db = bolt::Db::open(&path, read_only()).at("cannot open the database", &path)?;
    let held =
        mvcc::backend::consistent_index(&db.begin_read()).at("cannot read the database", &path)?;
    let index = held.index;
    if index == 0 {
        return Ok(());
    }
    Err(Error(format!(
        "{}: the database has applied {index} entries of a write-ahead log that is not in {}; start with the --wal-dir that \
         it is in. If it is lost, remove this member from its cluster and add it anew with an empty data directory, or make a \
         new cluster of this database with \"snapshot restore --skip-hash-check\"",
        path.display(),
        dirs.wal.display()
    )))
}

/// Logs and counts what compactions do.
fn observer(backend: &Arc<Backend>, metrics: &Arc<Metrics>) -> CompactionObserver {
    let (backend, metrics) = (Arc::downgrade(backend), metrics.clone());
    CompactionObserver::new(move |step| {
        metrics.compaction.observe(step);
        let CompactionStep::Finished {
            revision,
            hash,
            took,
        } = step
        else {
            return;
        };
        // Gone if another database took its place meanwhile.
        let Some(backend) = backend.upgrade() else {
            return;
        };
        let (size, in_use) = (backend.size(), backend.size_in_use());
        tracing::info!(
            "compact-revision" = revision,
            took = ?took,
            hash = hash,
            "current-db-size-bytes" = size,
            "current-db-size" = human_bytes(size),
            "current-db-size-in-use-bytes" = in_use,
            "current-db-size-in-use" = human_bytes(in_use),
            "finished scheduled compaction"
        );
    })
}

/// How leases behave.
pub(super) fn lease_options(config: &Config) -> lease::Options {
    lease::Options {
        min_ttl_secs: (3 * config.election.as_millis()).div_ceil(2 * 1000) as i64,
        checkpoint: config.lease_checkpoint,
        checkpoint_persist: config.lease_checkpoint_persist,
    }
}

fn open_backend(
    config: &Config,
    fatal: &Fatal,
    metrics: &Arc<Metrics>,
    path: &Path,
) -> Result<Arc<Backend>, Error> {
    let db = bolt::Db::open(
        path,
        bolt::Options {
            no_sync: config.unsafe_no_fsync,
            warn: Some(Arc::new(|text: &str| tracing::warn!("{text}"))),
            ..bolt::Options::default()
        },
    )
    .at("cannot open the database", path)?;
    let (fatal, metrics) = (fatal.clone(), metrics.clone());
    Backend::open(
        db,
        BackendOptions {
            batch_interval: config.backend_batch_interval,
            batch_limit: config.backend_batch_limit,
            on_error: Box::new(move |error: &bolt::Error| {
                fatal.report("failed to commit to the database", error);
            }),
            on_commit: Box::new(move |took: Duration| {
                metrics
                    .backend_commit_duration_seconds
                    .observe(took.as_secs_f64());
            }),
            ..BackendOptions::default()
        },
    )
    .at("cannot open the database", path)
}

/// Defragments a file with more free space than the flag allows. At the start
/// only: nobody waits then.
///
/// # Errors
/// The copy could not be made; the text names the file.
pub(super) fn defragment(config: &Config, backend: &Backend, path: &Path) -> Result<(), Error> {
    let threshold = config.bootstrap_defrag_threshold_mb * (1 << 20);
    if threshold == 0 {
        return Ok(());
    }
    let (size, in_use) = (backend.size(), backend.size_in_use());
    let free = size.saturating_sub(in_use);
    if free < threshold {
        tracing::info!(
            "current-db-size-bytes" = size,
            "current-db-size" = human_bytes(size),
            "current-db-size-in-use-bytes" = in_use,
            "current-db-size-in-use" = human_bytes(in_use),
            "experimental-bootstrap-defrag-threshold-bytes" = threshold,
            "experimental-bootstrap-defrag-threshold" = human_bytes(threshold),
            "Skipping defragmentation"
        );
        return Ok(());
    }
    tracing::info!("freeable-bytes" = free, "starting defragment");
    backend.defrag().at("cannot defragment", path)?;
    tracing::info!("finished defragment");
    Ok(())
}
