//! The version of the database's schema. From etcd 3.6 on the database says it (`storageVersion`),
//! and it follows the cluster version: up at once; down as soon as no entry after the newest
//! snapshot asks for a newer reader. Up to 3.5 there is none, which is what a lowered one becomes.

use std::sync::Arc;

use bolt::Batch;
use line::{Line, MIN_CLUSTER_VERSION};
use semver::Version;

use super::machine::Machine;
use crate::snapshot::SnapshotState;

impl Machine {
    /// Brings the schema to the cluster version. After each turn.
    pub(super) fn follow_storage_version(&mut self) {
        // A line that knows no version still lowers one that was left above it: by a kill on the
        // way down, or with the database of another member.
        let line = self.state.line();
        let has_version = line.facts().stores_version || self.storage.line > line;
        // The members in the log may be older than those in the database.
        if !has_version || self.adopted.is_some() || self.term == 0 {
            return;
        }
        let decided = |version: &&Version| **version != MIN_CLUSTER_VERSION;
        let Some(wanted) = self.cluster.version().filter(decided).and_then(Line::of) else {
            return;
        };
        if wanted == self.storage.line {
            return;
        }
        let is_on_disk = !self.forces_snapshot && matches!(self.snapshot, SnapshotState::Idle);
        if wanted < self.storage.line && !is_on_disk {
            // A release that the schema lets start must find a snapshot that does, too.
            return;
        }
        if wanted < self.storage.line && self.storage.is_held_up(wanted, self.snapshot_index) {
            if !std::mem::replace(&mut self.storage.waits, true) {
                tracing::error!(
                    "cluster-version" = %wanted.cluster_version(),
                    "failed to update storage version: the log has newer entries since its last snapshot; the next one \
                     lets it go on"
                );
            }
            return;
        }
        let version = wanted.cluster_version();
        let stored = wanted.facts().stores_version.then_some(&version);
        let mut batch = Batch::default();
        membership::v3store::project_storage_version(stored, &mut batch);
        self.state.store.load().backend().write(batch);
        self.storage.line = wanted;
        self.storage.waits = false;
        self.publish_storage_version();
        tracing::info!("new-storage-version" = %version, "updated storage version");
        if let Some(target) = self.cluster.downgrade() {
            tracing::info!(
                "target-version" = target,
                "server-version" = self.state.line().release(),
                "The server is ready to downgrade"
            );
        }
    }

    /// Shows readers the version of the schema.
    pub(super) fn publish_storage_version(&self) {
        let version = self.storage.line.cluster_version();
        self.state.storage_version.store(Arc::new(version));
    }
}
