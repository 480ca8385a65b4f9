//! The database file and what is rebuilt from it in memory: keys, leases, alarms.
//! Opened at the start, and again when a received snapshot has taken its place.
//! Never looks at the log.

use std::{path::Path, sync::Arc, time::Duration, time::Instant};

use bytes::Bytes;
use membership::v3store::V3View;
use mvcc::{
    CompactionObserver, CompactionStep,
    backend::{Backend, BackendOptions},
};

use crate::{
    alarms::Alarms,
    boot::{At as _, Error},
    config::Config,
    fatal::Fatal,
    logging::human_bytes,
    metrics::Metrics,
};

/// An open database.
pub struct Database {
    /// Keys, values, history.
    pub store: Arc<mvcc::Store>,
    /// Leases with their keys.
    pub lessor: lease::Lessor,
    /// Active alarms.
    pub alarms: Alarms,
    /// The membership that its buckets tell of.
    pub membership: V3View,
    /// Index of the last entry whose effects it holds.
    pub consistent_index: u64,
}

impl Database {
    /// Opens the file, which is created if it is not there.
    ///
    /// # Errors
    /// It cannot be read or written, or contradicts itself; the text names it.
    pub fn open(
        config: &Config,
        fatal: &Fatal,
        metrics: &Arc<Metrics>,
        path: &Path,
    ) -> Result<Database, Error> {
        let begin = Instant::now();
        let backend = open_backend(config, fatal, metrics, path)?;
        tracing::info!(path = %path.display(), took = ?begin.elapsed(), "opened backend db");
        let (consistent_index, _) = backend.consistent_index();
        let view = backend.db().begin_read();
        let membership =
            membership::v3store::read(&view).at("cannot read the membership in", path)?;
        let alarms = Alarms::recover(&view)
            .map_err(|error| Error(format!("{}: {error}", path.display())))?;
        let mut attached: Vec<(Bytes, i64)> = Vec::new();
        let store = mvcc::Store::open(
            backend.clone(),
            mvcc::StoreOptions {
                compaction_batch_limit: config.compaction_batch_limit,
                compaction_sleep: config.compaction_sleep_interval,
                on_compaction: observer(&backend, metrics),
            },
            &mut |key, lease| attached.push((key, lease)),
        )
        .at("cannot restore the keys of", path)?;
        tracing::info!("current-rev" = store.revision(), "kvstore restored");
        let mut lessor = lease::Lessor::recover(lease_options(config), &view)
            .at("cannot restore the leases of", path)?;
        for (key, id) in attached {
            if lessor.attach(lease::LeaseId(id), &key).is_err() {
                tracing::error!(
                    "lease-id" = format!("{id:016x}"),
                    "failed to attach a lease to a key: there is no such lease"
                );
            }
        }
        // The walk over all records is done; reads bring back what they need.
        view.advise_cold();
        drop(view);
        initialise_auth(&backend)?;
        Ok(Database {
            store,
            lessor,
            alarms,
            membership,
            consistent_index,
        })
    }
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

fn lease_options(config: &Config) -> lease::Options {
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
pub fn defragment(config: &Config, backend: &Backend, path: &Path) -> Result<(), Error> {
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

/// Every etcd writes the auth revision at its first start, with auth never used.
fn initialise_auth(backend: &Backend) -> Result<(), Error> {
    let read = |key: &[u8]| {
        backend
            .read("auth", key)
            .map_err(|error| Error(error.to_string()))
    };
    if read(b"authRevision")?.is_none() {
        let mut batch = bolt::Batch::default();
        batch.put(
            "auth",
            Bytes::from_static(b"authRevision"),
            1u64.to_be_bytes().to_vec(),
        );
        backend.write(batch);
    }
    match read(b"authEnabled")?.as_deref() {
        Some([1]) => Err(Error::new(
            "this data directory has authentication switched on, which this version of Pintle does not check; stay with etcd",
        )),
        _ => Ok(()),
    }
}
