//! `migrate`: the storage of a member that is not running, made what another
//! version of etcd expects, as etcdutl 3.6 and 3.7 do it. All that tells the
//! three versions apart is `meta/storageVersion`, so one transaction of one
//! record is the whole change. Must never touch a file that is in use, and
//! never make a database of one that was none.
//!
//! Where etcdutl says nothing but the new etcd would not start, a warning says
//! what blocks it.

mod demands;
mod plan;
#[cfg(test)]
mod tests;
mod version;

use std::{fs, path::Path, time::Duration};

use bolt::{Db, Options, ReadTx};
use membership::v3store;

use crate::{
    command::Line,
    failure::{Failure, Outcome},
    log, snapshot,
};
use demands::Demands;
use version::{V3_5, V3_6, V3_7, Version};

const PLACE: &str = "utl/migrate";
const META: &[u8] = b"meta";
const STORAGE_VERSION: &[u8] = b"storageVersion";

/// How long to wait for a server that is about to end.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn run(line: &Line) -> Outcome<String> {
    let target = Version::target(line.parsed.text("target-version")).map_err(Failure::arguments)?;
    let data_dir = Path::new(line.parsed.text("data-dir"));
    let db = open(&data_dir.join("member").join("snap").join("db"))?;
    let tx = db.begin_read();
    let current = detect(&tx).inspect_err(|_| {
        log::error(
            PLACE,
            "failed to detect storage version. Please make sure you are using data dir from etcd v3.5 and older",
            &[],
        );
    })?;
    if current == target {
        log::info(
            PLACE,
            "storage version up-to-date",
            &[("storage-version", current.short().into())],
        );
        return Ok(String::new());
    }
    let demands = demands::read(data_dir).inspect_err(|failure| {
        let reason = failure.message.clone().into();
        log::error(PLACE, "Failed to finalize config", &[("error", reason)]);
    })?;
    let cluster_version = cluster_version(&tx, target, &demands)?;
    match steps(current, target, &demands) {
        Ok(steps) => {
            if let Some(reached) = steps.last() {
                store(&db, *reached)?;
            }
            for step in steps {
                let version = step.to_string().into();
                log::info(
                    PLACE,
                    "updated storage version",
                    &[("new-storage-version", version)],
                );
            }
        }
        Err(reason) if line.parsed.bool("force") => {
            log::info(
                PLACE,
                "normal migrate failed, trying with force",
                &[("error", reason.into())],
            );
            store(&db, target)?;
            if target < V3_6 {
                log::warn(PLACE, "forcefully cleared storage version", &[]);
            } else {
                let version = target.short().into();
                log::warn(
                    PLACE,
                    "forcefully set storage version",
                    &[("storage-version", version)],
                );
            }
        }
        Err(reason) => return Err(Failure::error(reason)),
    }
    warn(target, cluster_version, demands.v2_requests);
    Ok(String::new())
}

/// Opens and locks a file that is a database already: opening for writing makes
/// one of an empty file.
fn open(path: &Path) -> Outcome<Db> {
    fs::metadata(path).map_err(|e| Failure::io("stat", path, &e))?;
    drop(snapshot::status::open(path)?);
    let options = Options {
        lock_timeout: Some(PATIENCE),
        ..Options::default()
    };
    Ok(Db::open(path, options)?)
}

/// The version whose storage this is.
fn detect(tx: &ReadTx) -> Outcome<Version> {
    let missing = || Failure::error("missing term information");
    let meta = tx.bucket(META)?.ok_or_else(missing)?;
    let stored = meta.get(STORAGE_VERSION)?;
    let stored = stored.and_then(|text| Version::parse(str::from_utf8(text).ok()?).ok());
    if let Some(version) = stored {
        return Ok(version);
    }
    // 3.5 leaves no version, but is the first to store the term.
    let number = |name: &str| -> Outcome<Option<u64>> {
        let Some(value) = meta.get(name.as_bytes())? else {
            return Ok(None);
        };
        let number = value.try_into().map(u64::from_be_bytes).map_err(|_| {
            let bytes = value.len();
            Failure::error(format_args!(
                "invalid database: meta/{name} has {bytes} bytes, not 8"
            ))
        })?;
        Ok(Some(number))
    };
    let is_set = number("consistent_index")?.is_some();
    match number("term")? {
        Some(term) if is_set && term > 0 => Ok(V3_5),
        _ => Err(missing()),
    }
}

/// The steps to the target, or why there is no way.
fn steps(current: Version, target: Version, demands: &Demands) -> Result<Vec<Version>, String> {
    if current.major != target.major {
        log::error(
            PLACE,
            "Changing major storage version is not supported",
            &[
                ("storage-version", current.trimmed().to_string().into()),
                ("target-storage-version", target.to_string().into()),
            ],
        );
    }
    let steps = plan::plan(current, target)
        .map_err(|reason| format!("cannot create migration plan: {reason}"))?;
    if target < current
        && let Some(lowest) = demands.lowest.clone()?
        && target < lowest
    {
        return Err(format!(
            "cannot downgrade storage, WAL contains newer entries, as the target version \
             ({target}) is lower than the version ({lowest}) detected from WAL logs"
        ));
    }
    Ok(steps)
}

/// Makes the storage that of `version`.
fn store(db: &Db, version: Version) -> Outcome<()> {
    let mut tx = db.begin_write()?;
    if version < V3_6 {
        tx.delete(META, STORAGE_VERSION)?;
    } else {
        tx.put(META, STORAGE_VERSION, version.to_string().as_bytes())?;
    }
    Ok(tx.commit()?)
}

/// The cluster version that etcd of the target version would find: 3.5 asks the
/// snapshot and the log, those after it the database.
fn cluster_version(tx: &ReadTx, target: Version, demands: &Demands) -> Outcome<Option<Version>> {
    if target < V3_6 {
        return Ok(demands.cluster_version);
    }
    let stored = v3store::read(tx)?.cluster_version;
    Ok(stored.and_then(|version| Version::parse(&version.to_string()).ok()))
}

/// Names what keeps etcd of the target version from starting, which etcdutl
/// leaves for the start to find.
fn warn(target: Version, cluster_version: Option<Version>, v2_requests: u64) {
    if let Some(above) = cluster_version.filter(|version| *version > target) {
        log::warn(
            PLACE,
            "etcd of the target version will not start from this directory, since the cluster \
             version is above it. Start the etcd of before and let `etcdctl downgrade enable` \
             lower it",
            &[
                ("cluster-version", above.to_string().into()),
                ("target-version", target.short().into()),
            ],
        );
    }
    if target >= V3_7 && v2_requests > 0 {
        log::warn(
            PLACE,
            "etcd 3.7 cannot read requests of API version 2, and will not start from this \
             directory while the log holds some behind its newest snapshot. Run etcd 3.6 on it \
             until it has taken a snapshot",
            &[("requests", v2_requests.into())],
        );
    }
}
