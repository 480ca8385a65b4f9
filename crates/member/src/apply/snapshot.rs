//! Raft snapshots: when one is due, and what may go once it is saved.

use bolt::ReadTx;
use line::Line;
use proto::{
    EntryId,
    raftpb::{ConfState, Snapshot, SnapshotMetadata},
};

use super::machine::Machine;
use crate::{
    host::Host,
    snapshot::{Job, SnapshotState},
};

impl Machine {
    /// Starts a snapshot if one is due and none is under way.
    pub(super) fn snapshot_if_due(&mut self, host: &mut impl Host) {
        let is_forced = self.forces_snapshot && self.applied != self.snapshot_index;
        if is_forced || self.applied - self.snapshot_index > self.snapshot_count() {
            self.take_snapshot(host);
        }
    }

    fn snapshot_count(&self) -> u64 {
        let line = self.state.line().facts();
        self.options.snapshot_count.unwrap_or(line.snapshot_count)
    }

    /// Takes a snapshot if a release that comes after this one would not start
    /// from what is on disk: a raw v2 request after the newest snapshot ends
    /// etcd 3.7, and some of them 3.6.
    pub(super) fn snapshot_if_blocking(&mut self, host: &mut impl Host) {
        if self.blocks_newer_release && self.applied > self.snapshot_index {
            self.take_snapshot(host);
        }
    }

    /// Takes a snapshot if an entry after the newest asks for a reader above `line`.
    pub(super) fn snapshot_for(&mut self, line: Line, host: &mut impl Host) {
        if self.storage.is_held_up(line, self.snapshot_index) {
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
            "local-member-snapshot-count" = self.snapshot_count(),
            "triggering snapshot"
        );
        let snapshot = Snapshot {
            data: Some(self.snapshot_data().into()),
            metadata: SnapshotMetadata {
                conf_state: self.conf_state.clone(),
                index: self.applied,
                term: self.term,
            },
        };
        let job = Job::new(snapshot, self.state.clone(), self.snapshotter.clone());
        // If not, the next run of entries tries again.
        if host.start_snapshot(job) {
            self.snapshot = SnapshotState::Running;
            self.blocks_newer_release = false;
            self.forces_snapshot = false;
        }
    }

    /// The snapshot at `index` is on disk: raft may forget what is well before it.
    pub(super) fn snapshot_saved(&mut self, index: u64, host: &mut impl Host) {
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

/// The membership as it is sent along with a database.
pub struct MembersToSend {
    generation: u64,
    json: Vec<u8>,
    conf_state: ConfState,
}

impl MembersToSend {
    /// The snapshot for another member that goes with `view`, a view of the database that was
    /// opened since. `None` if the membership may be another one as of the view: it changes
    /// rarely, so if it did not meanwhile, it is also that of the view's index.
    ///
    /// # Errors
    /// The view cannot be read.
    pub fn with(self, machine: &Machine, view: &ReadTx) -> Result<Option<Snapshot>, bolt::Error> {
        let held = mvcc::backend::consistent_index(view)?;
        if machine.generation != self.generation {
            return Ok(None);
        }
        // At the start the database can be ahead of the membership, for as long as nothing is
        // committed: that may take whoever waits for this snapshot. The entries between the two
        // come from the log, and change the membership alone.
        let EntryId { index, term } = if held.index > machine.applied {
            EntryId {
                index: machine.applied,
                term: machine.term,
            }
        } else {
            held
        };
        Ok(Some(Snapshot {
            data: Some(self.json.into()),
            metadata: SnapshotMetadata {
                conf_state: self.conf_state,
                index,
                term,
            },
        }))
    }
}

impl Machine {
    /// The membership as of now, for a snapshot that another member is sent. The view of the
    /// database is to be opened after this, and compared with [`MembersToSend::with`].
    pub fn members_to_send(&self) -> MembersToSend {
        MembersToSend {
            generation: self.generation,
            json: self.snapshot_data(),
            conf_state: self.conf_state.clone(),
        }
    }
}
