//! Raft snapshots: once enough entries have been applied since the last one, the
//! membership as of exactly this index goes into a `.snap` file, the log records
//! it, and what it covers may be purged. The database is committed first, so
//! that it is never behind the file that says where the log begins.

use std::thread::JoinHandle;

use proto::{
    raftpb::{Snapshot, SnapshotMetadata},
    walpb,
};
use wal::snap::Snapshotter;

use super::{Command, Machine, install::release_received};
use crate::node::LogCommand;

/// Whether a snapshot may begin.
pub(super) enum SnapshotState {
    /// None is under way.
    Idle,
    /// One is being written.
    Running(JoinHandle<()>),
    /// The server is stopping.
    Over,
}

impl Machine {
    /// Starts a snapshot if one is due and none is under way.
    pub(super) fn maybe_snapshot(&mut self) {
        if self.applied - self.snapshot_index > self.core.config.snapshot_count {
            self.take_snapshot();
        }
    }

    /// Takes a snapshot if a release that comes after this one would not start
    /// from what lies on disk: a raw v2 request behind the newest snapshot ends
    /// etcd 3.7, and some of them 3.6.
    pub(super) fn snapshot_for_others(&mut self) {
        if self.is_in_the_way && self.applied > self.snapshot_index {
            self.take_snapshot();
        }
    }

    fn take_snapshot(&mut self) {
        if !matches!(self.snapshot, SnapshotState::Idle) {
            return;
        }
        let snapshot = Snapshot {
            data: Some(self.tree.to_json().into()),
            metadata: SnapshotMetadata {
                conf_state: self.conf_state.clone(),
                index: self.applied,
                term: self.term,
            },
        };
        tracing::info!(
            "local-member-id" = format!("{:x}", self.core.member_id),
            "local-member-applied-index" = self.applied,
            "local-member-snapshot-index" = self.snapshot_index,
            "local-member-snapshot-count" = self.core.config.snapshot_count,
            "triggering snapshot"
        );
        let core = self.core.clone();
        let started = std::thread::Builder::new()
            .name("snapshot".into())
            .spawn(move || {
                let begin = std::time::Instant::now();
                let index = snapshot.metadata.index;
                if let Err(error) = core.backend().commit_now() {
                    core.fatal
                        .report("failed to commit to the database", &error);
                    return;
                }
                let snapshotter = Snapshotter::new(&core.config.snap_dir());
                let saved = match snapshotter.save(&snapshot) {
                    Ok(saved) => saved,
                    Err(error) => {
                        core.fatal.report("failed to save a snapshot", &error);
                        return;
                    }
                };
                release_received(&snapshotter, index);
                core.metrics.count_snapshot(begin.elapsed(), saved);
                let record = walpb::Snapshot {
                    index,
                    term: snapshot.metadata.term,
                    conf_state: Some(snapshot.metadata.conf_state.clone()),
                };
                let apply = core.raft.apply.clone();
                core.raft.log.push(LogCommand::Snapshot {
                    record,
                    release_to: index,
                    done: Box::new(move || apply.push(Command::SnapshotSaved { index })),
                });
            });
        match started {
            Ok(thread) => {
                self.snapshot = SnapshotState::Running(thread);
                self.is_in_the_way = false;
            }
            // The next run of entries tries again.
            Err(error) => tracing::warn!(error = %error, "failed to start a snapshot"),
        }
    }

    /// The snapshot at `index` is on disk: raft may forget what lies well before it.
    pub(super) fn snapshot_saved(&mut self, index: u64) {
        if matches!(self.snapshot, SnapshotState::Running(_)) {
            self.snapshot = SnapshotState::Idle;
        }
        self.snapshot_index = self.snapshot_index.max(index);
        tracing::info!("snapshot-index" = index, "saved snapshot");
        if self.core.snapshots_out.in_flight() {
            // Whoever gets it needs the entries after it.
            tracing::info!("skip compaction since there is an inflight snapshot");
            return;
        }
        let keep = self.core.config.snapshot_catchup_entries;
        let compact = index.saturating_sub(keep);
        if compact > self.compacted {
            self.forget_log(compact);
            tracing::info!("compact-index" = compact, "compacted Raft logs");
        }
    }
}
