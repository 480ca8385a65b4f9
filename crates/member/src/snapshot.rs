//! Raft snapshots: once enough entries have been applied since the last one, the
//! membership as of exactly this index goes into a `.snap` file, the log records
//! it, and what it covers may be purged. The database is committed first, so
//! that it is never behind the file that says where the log begins.

use std::sync::Arc;

use proto::raftpb::{Snapshot, SnapshotMetadata};
use wal::snap::{Saved, Snapshotter};

use crate::{Fatal, Host, Machine, State, install::release_received, log};

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
    /// Commits the database: it must not be behind the file.
    ///
    /// # Errors
    /// The member must stop.
    pub fn commit(&self) -> Result<(), Fatal> {
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

impl Machine {
    /// Starts a snapshot if one is due and none is under way.
    pub(crate) fn snapshot_if_due(&mut self, host: &mut impl Host) {
        if self.applied - self.snapshot_index > self.options.snapshot_count {
            self.take_snapshot(host);
        }
    }

    /// Takes a snapshot if a release that comes after this one would not start
    /// from what is on disk: a raw v2 request after the newest snapshot ends
    /// etcd 3.7, and some of them 3.6.
    pub(crate) fn snapshot_if_blocking(&mut self, host: &mut impl Host) {
        if self.blocks_newer_release && self.applied > self.snapshot_index {
            self.take_snapshot(host);
        }
    }

    /// Takes a last snapshot if what is on disk would stop another release, and lets no other
    /// begin. Whoever calls this has waited for the one under way.
    pub fn take_last_snapshot(&mut self, host: &mut impl Host) {
        self.snapshot = SnapshotState::Idle;
        self.snapshot_if_blocking(host);
        self.snapshot = SnapshotState::Over;
    }

    fn take_snapshot(&mut self, host: &mut impl Host) {
        if !matches!(self.snapshot, SnapshotState::Idle) {
            return;
        }
        tracing::info!(
            "local-member-id" = format!("{:x}", self.identity.member_id),
            "local-member-applied-index" = self.applied,
            "local-member-snapshot-index" = self.snapshot_index,
            "local-member-snapshot-count" = self.options.snapshot_count,
            "triggering snapshot"
        );
        let job = Job {
            snapshot: Snapshot {
                data: Some(self.tree.to_json().into()),
                metadata: SnapshotMetadata {
                    conf_state: self.conf_state.clone(),
                    index: self.applied,
                    term: self.term,
                },
            },
            state: self.state.clone(),
            snapshotter: self.snapshotter.clone(),
        };
        // If not, the next run of entries tries again.
        if host.start_snapshot(job) {
            self.snapshot = SnapshotState::Running;
            self.blocks_newer_release = false;
        }
    }

    /// The snapshot at `index` is on disk: raft may forget what is well before it.
    pub(crate) fn snapshot_saved(&mut self, index: u64, host: &mut impl Host) {
        if matches!(self.snapshot, SnapshotState::Running) {
            self.snapshot = SnapshotState::Idle;
        }
        self.snapshot_index = self.snapshot_index.max(index);
        tracing::info!("snapshot-index" = index, "saved snapshot");
        if host.is_sending_snapshot() {
            // Whoever gets it needs the entries after it.
            tracing::info!("skip compaction since there is an inflight snapshot");
            return;
        }
        let keep = self.options.snapshot_catchup_entries;
        let compact = index.saturating_sub(keep);
        if compact > self.compacted {
            self.forget_log(compact, host);
            tracing::info!("compact-index" = compact, "compacted Raft logs");
        }
    }
}
