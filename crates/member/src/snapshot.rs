//! The steps that write a snapshot of raft: the membership as of exactly one index goes into a
//! `.snap` file, the log records it, and what it covers may be purged. The database is committed
//! first, so that it is never behind the file that says where the log begins.

use std::sync::Arc;

use proto::raftpb::{Snapshot, SnapshotMetadata};
use wal::snap::{Saved, Snapshotter};

use crate::{
    error::Fatal,
    log,
    plant::{Plant, broken},
    state::State,
};

/// Whether a snapshot may begin.
pub(crate) enum SnapshotState {
    /// None is under way.
    Idle,
    /// One is being written.
    Running,
    /// The server is stopping.
    Over,
}

/// A snapshot that is to be written. Its steps wait for the disk, so the machine does not make
/// them: [`Job::commit`], [`Job::save`], and then the record goes to the log writer.
pub struct Job {
    snapshot: Snapshot,
    state: Arc<State>,
    snapshotter: Snapshotter,
}

impl Job {
    pub(crate) fn new(snapshot: Snapshot, state: Arc<State>, snapshotter: Snapshotter) -> Job {
        Job {
            snapshot,
            state,
            snapshotter,
        }
    }

    /// Commits the database: it must not be behind the file.
    ///
    /// # Errors
    /// The member must stop.
    pub fn commit(&self) -> Result<(), Fatal> {
        if broken(Plant::SnapshotBeforeCommit) {
            return Ok(());
        }
        let store = self.state.store.load_full();
        let committed = store.backend().commit_now();
        committed.map_err(|error| Fatal::new("failed to commit to the database", &error))
    }

    /// Writes the `.snap` file, and removes received databases that it outdates.
    ///
    /// # Errors
    /// The member must stop.
    pub fn save(&self) -> Result<Saved, Fatal> {
        let saved = self.snapshotter.save(&self.snapshot);
        let saved = saved.map_err(|error| Fatal::new("failed to save a snapshot", &error))?;
        release_received(&self.snapshotter, self.snapshot.metadata.index);
        Ok(saved)
    }

    /// What the log writer is to do once the file is there.
    pub fn record(&self) -> log::LogCommand {
        log::LogCommand::Snapshot {
            record: log::record(&self.snapshot),
        }
    }
}

/// A snapshot for raft to offer. Its content is put in when it is sent, so that
/// it is never older than the database that goes with it.
pub fn placeholder(metadata: SnapshotMetadata) -> Snapshot {
    Snapshot {
        data: Some(bytes::Bytes::from_static(b"{}")),
        metadata,
    }
}

/// Removes received databases that an installed or a saved snapshot at `index` has
/// outdated. Not as soon as the log knows of the snapshot: an earlier one may still
/// wait to be put in place.
pub(crate) fn release_received(snapshotter: &Snapshotter, index: u64) {
    match snapshotter.release_snap_dbs(index) {
        Ok(files) => {
            for file in files {
                tracing::info!(path = %file.display(), "found orphaned .snap.db file; deleting");
            }
        }
        // It costs room and nothing else, until the next start.
        Err(error) => tracing::warn!(error = %error, "failed to delete a received database"),
    }
}
