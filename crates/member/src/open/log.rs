//! The log and the newest snapshot that it knows: read, or founded. Nothing here looks at the
//! database, and nothing is overwritten but a torn end of the log.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use prost::Message as _;
use proto::{
    EntryId,
    etcdserverpb::Metadata,
    raftpb::{Entry, HardState, Snapshot},
    walpb,
};
use wal::{
    Wal,
    disk::Disk,
    snap::{Loaded, Snapshotter, Unusable},
};

use crate::{
    error::{At as _, Error},
    log::record,
    state::Identity,
};

/// Where a member keeps its files.
#[derive(Clone, Debug)]
pub struct Dirs {
    /// The log.
    pub wal: PathBuf,
    /// Snapshots, and the database.
    pub snap: PathBuf,
}

impl Dirs {
    /// The database.
    pub fn database(&self) -> PathBuf {
        self.snap.join("db")
    }
}

/// What the log and the newest snapshot say.
pub struct Log {
    pub(super) wal: Wal,
    pub(super) snapshotter: Snapshotter,
    /// Files newer than the snapshot that cannot be used as one.
    pub(super) unusable: Vec<Unusable>,
    /// Whose log it is.
    pub identity: Identity,
    /// The newest snapshot that the log knows.
    pub snapshot: Option<Snapshot>,
    /// As of the end of the log.
    pub hard_state: HardState,
    /// The entries after the snapshot.
    pub entries: Vec<Entry>,
    /// Made by this start.
    pub is_new: bool,
}

/// What a new log begins with.
pub struct Founding<'a> {
    /// The member, and its cluster.
    pub identity: Identity,
    /// The first entries, as if agreed on in term 1; none for one that joins.
    pub entries: &'a [Entry],
    /// What goes with them.
    pub hard_state: HardState,
}

impl Log {
    /// Makes the log of a new member.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn found(
        dirs: &Dirs,
        founding: &Founding<'_>,
        options: wal::Options,
    ) -> Result<Log, Error> {
        let metadata = Metadata {
            node_id: founding.identity.member_id,
            cluster_id: founding.identity.cluster_id,
        };
        let snapshotter = Snapshotter::on(options.disk.clone(), &dirs.snap);
        let wal = Wal::found(
            &dirs.wal,
            &metadata.encode_to_vec(),
            founding.entries,
            founding.hard_state,
            options,
        )
        .at("cannot create the write-ahead log", &dirs.wal)?;
        tracing::info!(
            "local-member-id" = format!("{:x}", metadata.node_id),
            "cluster-id" = format!("{:x}", metadata.cluster_id),
            "starting local member"
        );
        Ok(Log {
            wal,
            snapshotter,
            unusable: Vec::new(),
            identity: founding.identity,
            snapshot: None,
            hard_state: founding.hard_state,
            entries: founding.entries.to_vec(),
            is_new: true,
        })
    }

    /// Locks the log of a member that was here before; from then on no one else uses its files.
    ///
    /// # Errors
    /// It is locked, or cannot be read.
    pub fn hold(dirs: &Dirs, disk: &dyn Disk) -> Result<wal::Hold, Error> {
        Wal::hold_on(disk, &dirs.wal).at("cannot open the write-ahead log", &dirs.wal)
    }

    /// Reads a log that is held, and the newest snapshot that it knows. A torn end is repaired.
    ///
    /// # Errors
    /// What is there contradicts itself, or cannot be read; the text says what to do.
    pub fn open(dirs: &Dirs, hold: wal::Hold, options: wal::Options) -> Result<Log, Error> {
        let dir = &dirs.wal;
        let disk = options.disk.clone();
        let snapshotter = Snapshotter::on(disk.clone(), &dirs.snap);
        let loaded = newest_snapshot(dirs, &disk, &snapshotter)?;
        let at = loaded
            .snapshot
            .as_ref()
            .map_or_else(walpb::Snapshot::default, record);
        let opened = hold
            .open(at, options)
            .at("cannot read the write-ahead log", dir)
            .map_err(|error| missing(error, &loaded))?;
        if let Some(repair) = &opened.repaired {
            tracing::info!(
                path = %repair.path.display(),
                offset = repair.offset,
                dropped_bytes = repair.dropped_bytes,
                copy = %repair.copy.display(),
                error = "unexpected EOF",
                "repaired WAL"
            );
        }
        let metadata = Metadata::decode(opened.metadata.clone())
            .at("the write-ahead log has unreadable metadata in", dir)?;
        let mut log = Log {
            wal: opened.wal,
            snapshotter,
            unusable: loaded.unusable.clone(),
            identity: Identity {
                cluster_id: metadata.cluster_id,
                member_id: metadata.node_id,
            },
            snapshot: loaded.snapshot.clone(),
            hard_state: opened.state,
            entries: opened.entries,
            is_new: false,
        };
        log.leave_out_replaced();
        log.check_commit(dir)
            .map_err(|error| missing(error, &loaded))?;
        Ok(log)
    }

    /// The last entry in the newest snapshot, zero without one.
    pub(super) fn snapshot_position(&self) -> EntryId {
        let metadata = self.snapshot.as_ref().map(|s| &s.metadata);
        metadata.map_or(EntryId::ZERO, EntryId::from)
    }

    /// Index of the last entry, or of what stands for it.
    pub fn last_index(&self) -> u64 {
        let first = self.snapshot_position().index;
        self.entries.last().map_or(first, |entry| entry.index)
    }

    /// A received snapshot takes the place of the whole log, but what contradicted
    /// it is still there after its record.
    fn leave_out_replaced(&mut self) {
        let first_term = self.snapshot_position().term;
        let stale = self.entries.iter().position(|e| e.term < first_term);
        if let Some(stale) = stale {
            tracing::warn!(
                from = self.entries[stale].index,
                count = self.entries.len() - stale,
                "left out entries that a received snapshot had replaced"
            );
            self.entries.truncate(stale);
        }
    }

    /// Refuses a log that lacks what it says is committed.
    fn check_commit(&self, dir: &Path) -> Result<(), Error> {
        let first = self.snapshot_position().index;
        let (last, commit) = (self.last_index(), self.hard_state.commit);
        if (first..=last).contains(&commit) {
            return Ok(());
        }
        Err(Error(format!(
            "{}: the log says that entry {commit} is committed, but holds entries {} to {last} only; {WAY_OUT}",
            dir.display(),
            first + 1
        )))
    }
}

fn newest_snapshot(
    dirs: &Dirs,
    disk: &Arc<dyn Disk>,
    snapshotter: &Snapshotter,
) -> Result<Loaded, Error> {
    let valid = wal::replay::valid_snapshots_on(disk.as_ref(), &dirs.wal)
        .at("cannot read the write-ahead log", &dirs.wal)?;
    let loaded = snapshotter
        .load(&valid)
        .at("cannot read the snapshots in", &dirs.snap)?;
    for file in &loaded.unusable {
        tracing::warn!(
            path = %file.path.display(),
            error = %file.reason,
            "failed to read a snap file"
        );
    }
    if let Some(snapshot) = &loaded.snapshot {
        tracing::info!(
            index = snapshot.metadata.index,
            term = snapshot.metadata.term,
            "recovered v2 store from snapshot"
        );
    }
    Ok(loaded)
}

/// The error of a log that does not reach back to an older snapshot than the one it was to follow.
fn missing(error: Error, loaded: &Loaded) -> Error {
    match loaded.unusable.first() {
        Some(newest) => Error(format!(
            "{error}; the newest snapshot cannot be used: {}: {}",
            newest.path.display(),
            newest.reason
        )),
        None => error,
    }
}

/// What is done about a directory that lacks what it had. A backup is no way back for one member of
/// a cluster that runs: it has another past.
pub(super) const WAY_OUT: &str = "remove this member from the cluster and add it again; if it is \
                                  the only one, restore a backup";

/// As in etcd, a file that cannot be renamed stops no start: it is passed over again.
pub(super) fn set_aside(snapshotter: &Snapshotter, file: &Unusable) {
    let path = file.path.display();
    match snapshotter.set_aside(file) {
        Ok(aside) => tracing::warn!(
            path = %path,
            "broken-path" = %aside.display(),
            "renamed to a broken snap file"
        ),
        Err(failed) => tracing::warn!(
            path = %path,
            error = %failed,
            "failed to rename a broken snap file"
        ),
    }
}
