//! Repairs the files of a member that does not run: the copies of the membership
//! in the database are written anew from the truth, and a fresh snapshot clears
//! the log of what later releases cannot read. It must never act when the truth
//! is not certain, never change a file of which it keeps no copy, and find
//! nothing to do the second time.

pub(crate) mod online;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use bolt::{Batch, Db, Options};
use cli::private;
use membership::{
    cluster::{Cluster, MemberId},
    disagreement::{self, Disagreement},
    v3store,
};
use proto::{raftpb, walpb};

use crate::{
    facts::{Database, Facts, Log},
    inspect,
};

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The files cannot be read.
    #[error(transparent)]
    Read(#[from] inspect::Error),
    /// The copies contradict each other in a way that leaves the truth open.
    #[error("{path}: the truth is not certain: {why}; nothing was changed")]
    Uncertain {
        /// The directory.
        path: PathBuf,
        /// What is not certain.
        why: String,
    },
    /// A file could not be written or copied.
    #[error("{path}: {why}")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// What is to be changed in one directory.
#[derive(Debug)]
pub struct Repair {
    dir: PathBuf,
    /// The changes, in words, in the order in which they are made.
    pub changes: Vec<String>,
    batch: Batch,
    database: PathBuf,
    snapshot: Option<Fresh>,
    wal_dir: PathBuf,
    snap_dir: PathBuf,
}

#[derive(Debug)]
struct Fresh {
    /// Where the log is opened.
    at: walpb::Snapshot,
    new: raftpb::Snapshot,
}

/// Looks what there is to repair in `dir`. With `drop_v2` users' keys of API version
/// 2 are given up.
///
/// # Errors
/// The directory cannot be read or is in use, or the truth is not certain.
pub fn plan(dir: &Path, wal_dir: Option<&Path>, drop_v2: bool) -> Result<Repair, Error> {
    let facts = inspect::directory(dir, wal_dir, true, false)?;
    let uncertain = |why: String| Error::Uncertain {
        path: dir.into(),
        why,
    };
    let (Some(log), Some(database)) = (&facts.log, &facts.database) else {
        return Err(uncertain(facts.unread.join("; ")));
    };
    let truth = certain(&facts, log, database).map_err(uncertain)?;
    let mut repair = Repair {
        dir: dir.into(),
        changes: Vec::new(),
        batch: Batch::new(),
        database: database.path.clone(),
        snapshot: None,
        wal_dir: log.dir.clone(),
        snap_dir: database
            .path
            .parent()
            .map_or_else(PathBuf::new, Path::to_path_buf),
    };
    buckets(&mut repair, truth, log, database);
    snapshot(&mut repair, log, database, drop_v2).map_err(uncertain)?;
    Ok(repair)
}

/// The truth as of the database, if nothing speaks against it.
fn certain<'a>(facts: &Facts, log: &'a Log, database: &Database) -> Result<&'a Cluster, String> {
    if let Some(gap) = log.gaps.first() {
        return Err(gap.clone());
    }
    if let Some(damage) = database.damage.first() {
        return Err(format!("the database is damaged: {damage}"));
    }
    if database.consistent_index > log.commit {
        return Err(format!(
            "the database is at index {}, the log is committed up to {}: they are not of one member",
            database.consistent_index, log.commit
        ));
    }
    let Some(truth) = &log.at_database else {
        return Err(format!(
            "the database ends at index {}, before the log begins at {}",
            database.consistent_index, log.snapshot.index
        ));
    };
    let raft: BTreeSet<(MemberId, bool)> = log
        .conf_state
        .voters
        .iter()
        .map(|id| (MemberId(*id), false))
        .chain(
            log.conf_state
                .learners
                .iter()
                .map(|id| (MemberId(*id), true)),
        )
        .collect();
    let tree: BTreeSet<(MemberId, bool)> =
        log.now.members().map(|m| (m.id, m.is_learner)).collect();
    if raft != tree {
        return Err("raft and the v2 store do not have the same members".into());
    }
    if facts.id.is_none_or(|id| log.now.member(id).is_none()) {
        return Err("this member is no member of its own cluster; it was removed".into());
    }
    Ok(truth)
}

/// What of the buckets must be written anew.
fn buckets(repair: &mut Repair, truth: &Cluster, log: &Log, database: &Database) {
    let is_current = database.consistent_index == log.commit;
    let found: Vec<Disagreement> = disagreement::find(truth, &log.conf_state, &database.members)
        .into_iter()
        .filter(|d| match d {
            // As of another index.
            Disagreement::StoredConfState => is_current,
            // Raft was looked at already.
            d => d.is_healable() && !d.is_harmless(),
        })
        .collect();
    if found.is_empty() {
        return;
    }
    for one in &found {
        repair
            .changes
            .push(format!("{}: {one}", repair.database.display()));
    }
    v3store::project_over(truth, &database.members, &mut repair.batch);
    if is_current && found.contains(&Disagreement::StoredConfState) {
        v3store::project_conf_state(&log.conf_state, &mut repair.batch);
    }
}

/// Whether a fresh snapshot is needed, and what it holds.
fn snapshot(
    repair: &mut Repair,
    log: &Log,
    database: &Database,
    drop_v2: bool,
) -> Result<(), String> {
    let has_keys = log.tree.has_user_data();
    if has_keys && !drop_v2 && !log.v2_keys.is_empty() {
        repair.changes.push(format!(
            "left alone: keys of API version 2 ({}); --drop-v2 removes them",
            log.v2_keys.join(", ")
        ));
    }
    // Releases up to 3.6.2 do not take the empty folders of v2 auth either.
    let keys = (has_keys || log.v2_auth) && drop_v2;
    let requests = log.v2_records.len();
    if !keys && requests == 0 {
        return Ok(());
    }
    if database.consistent_index != log.commit {
        let behind = log.commit - database.consistent_index;
        if keys || log.v2_records.iter().any(|record| !record.is_membership) {
            return Err(format!(
                "{behind} entries are committed and not applied yet; start the member on its present release, stop it with SIGTERM, and try again"
            ));
        }
        // 3.4 writes its index down with keys only. 3.5 and 3.6 read such a log.
        repair.changes.push(format!(
            "left alone: the log, whose {requests} raw v2 records etcd 3.7 cannot read, since {behind} entries are committed and not applied yet"
        ));
        return Ok(());
    }
    if log.commit <= log.snapshot.index && !keys {
        return Ok(());
    }
    let mut tree = log.tree.clone();
    if keys {
        tree.drop_user_data();
        repair.changes.push(format!(
            "{}: a snapshot without the keys of API version 2",
            repair.snap_dir.display()
        ));
    }
    if requests > 0 {
        repair.changes.push(format!(
            "{}: a snapshot at index {}, after which the log has none of its {requests} raw v2 records",
            repair.snap_dir.display(),
            log.commit
        ));
    }
    let conf_state = log.conf_state.clone();
    repair.snapshot = Some(Fresh {
        at: walpb::Snapshot {
            index: log.snapshot.index,
            term: log.snapshot.term,
            conf_state: None,
        },
        new: raftpb::Snapshot {
            data: Some(tree.to_json().into()),
            metadata: raftpb::SnapshotMetadata {
                conf_state,
                index: log.commit,
                term: log.commit_term,
            },
        },
    });
    Ok(())
}

impl Repair {
    /// True if there is nothing to change.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.snapshot.is_none()
    }

    /// Copies the files that will change, then changes them. Returns where the
    /// copies are.
    ///
    /// # Errors
    /// A file could not be copied or written. What was copied stays.
    pub fn carry_out(self) -> Result<PathBuf, Error> {
        let kept = self.keep()?;
        let failed = |path: &Path, why: String| Error::Write {
            path: path.into(),
            why,
        };
        if !self.batch.is_empty() {
            let options = Options {
                lock_timeout: Some(std::time::Duration::from_millis(200)),
                ..Options::default()
            };
            let write = || -> Result<(), bolt::Error> {
                let db = Db::open(&self.database, options)?;
                let mut tx = db.begin_write()?;
                for bucket in ["members", "members_removed", "cluster", "meta"] {
                    tx.create_bucket_if_not_exists(bucket.as_bytes())?;
                }
                tx.apply(&self.batch)?;
                tx.commit()
            };
            write().map_err(|e| failed(&self.database, e.to_string()))?;
        }
        if let Some(Fresh { at, new }) = &self.snapshot {
            let write = || -> Result<(), wal::Error> {
                let opened = wal::Wal::open(&self.wal_dir, at.clone(), wal::Options::default())?;
                let mut log = opened.wal;
                wal::snap::Snapshotter::new(&self.snap_dir).save(new)?;
                log.save_snapshot(&walpb::Snapshot {
                    index: new.metadata.index,
                    term: new.metadata.term,
                    conf_state: Some(new.metadata.conf_state.clone()),
                })?;
                log.close()
            };
            write().map_err(|e| failed(&self.wal_dir, e.to_string()))?;
        }
        Ok(kept)
    }

    /// Copies what will change into a folder beside the directory.
    fn keep(&self) -> Result<PathBuf, Error> {
        let failed = |path: &Path, e: std::io::Error| Error::Write {
            path: path.into(),
            why: format!("cannot keep a copy: {e}"),
        };
        let dir = fs::canonicalize(&self.dir).map_err(|e| failed(&self.dir, e))?;
        let kept = (1..)
            .map(|n| PathBuf::from(format!("{}.before-repair-{n}", dir.display())))
            .find(|path| !path.exists())
            .unwrap_or_default();
        private::folder(&kept).map_err(|e| failed(&kept, e))?;
        let mut files = Vec::new();
        if !self.batch.is_empty() {
            files.push(self.database.clone());
        }
        if let Some(fresh) = &self.snapshot {
            let entries = fs::read_dir(&self.wal_dir).map_err(|e| failed(&self.wal_dir, e))?;
            let mut segments: Vec<PathBuf> = entries
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| path.extension().is_some_and(|e| e == "wal"))
                .collect();
            segments.sort();
            files.extend(segments.pop());
            // A snapshot of the same index is replaced.
            let name = wal::snap::file_name((&fresh.new.metadata).into());
            let same = self.snap_dir.join(name);
            files.extend(Some(same).filter(|path| path.exists()));
        }
        for path in files {
            let to = kept.join(path.file_name().unwrap_or_default());
            let mut copy = private::create(&to).map_err(|e| failed(&to, e))?;
            fs::File::open(&path)
                .and_then(|mut file| std::io::copy(&mut file, &mut copy))
                .and_then(|_| copy.sync_all())
                .map_err(|e| failed(&path, e))?;
        }
        Ok(kept)
    }
}
