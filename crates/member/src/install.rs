//! A received snapshot takes the place of this member's state: the database that
//! came with it is renamed over the old one and opened, and everything that was
//! built from the old one is built anew. The log has recorded it before; a crash
//! in here is finished at the next start.

use std::{fs, path::Path, sync::atomic::Ordering};

use membership::{Replay, v2store::Tree};
use proto::raftpb::Snapshot;
use wal::snap::Snapshotter;

use super::{Machine, snapshot::SnapshotState};
use crate::{
    boot::{self, At as _, Error},
    config::MembershipCheck,
    database::Database,
    membership_check::{self, Stored},
    runtime::Delivery,
};

impl Machine {
    /// Puts the snapshot in place. What cannot be put in place ends the process:
    /// the log speaks of it already.
    pub(super) fn install(&mut self, snapshot: &Snapshot) {
        let metadata = &snapshot.metadata;
        tracing::info!(
            "current-snapshot-index" = self.snapshot_index,
            "current-applied-index" = self.applied,
            "incoming-leader-snapshot-index" = metadata.index,
            "incoming-leader-snapshot-term" = metadata.term,
            "applying snapshot"
        );
        if metadata.index > self.applied
            && let Err(error) = self.replace(snapshot)
        {
            self.core
                .fatal
                .report("failed to apply a received snapshot", &error);
            return;
        }
        let applied = self.applied;
        self.core.raft.drive(|node| node.applied_to(applied));
        release_received(
            &Snapshotter::new(&self.core.config.snap_dir()),
            metadata.index,
        );
        tracing::info!(
            "incoming-leader-snapshot-index" = metadata.index,
            "applied snapshot"
        );
    }

    fn replace(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        let core = self.core.clone();
        let metadata = &snapshot.metadata;
        let snap_dir = core.config.snap_dir();
        let path = snap_dir.join("db");
        let received = Snapshotter::new(&snap_dir).db_path(metadata.index);
        let json = snapshot.data.clone().unwrap_or_default();
        let tree = Tree::parse(&json)
            .map_err(|error| Error::new(format!("its v2 tree is unreadable: {error}")))?;
        let mut from =
            Replay::from_snapshot(core.cluster_id.into(), tree, metadata.conf_state.clone())
                .map_err(|error| Error::new(error.to_string()))?;
        from.cluster.limit_learners(core.config.max_learners);
        let check = core.config.membership_check;
        let stored = Stored::read(&received)?.ok_or_else(|| {
            Error::new(format!(
                "{}: there is no database in it",
                received.display()
            ))
        })?;
        // Before anything is replaced: etcd finishes the installation instead.
        stored.auth().refuse_enabled(&received)?;
        stored.auth().warn();
        let (applied, members) = (metadata.index, from.clone());
        let verdict = membership_check::compare(members, applied, &[], applied, stored);
        if let Some(verdict) = &verdict {
            verdict.report(check, &core.metrics);
            if check == MembershipCheck::Refuse && verdict.is_serious() {
                return Err(verdict.refusal(&received));
            }
        }
        let Replay {
            mut cluster, tree, ..
        } = from;

        // Nothing may write, or put another file, under the name any more; one
        // of our own snapshots may just be committing.
        if let SnapshotState::Running(thread) =
            std::mem::replace(&mut self.snapshot, SnapshotState::Idle)
        {
            // A panic of the thread was already reported by the panic hook.
            let _ = thread.join();
        }
        let old = core.store.load_full();
        old.stop();
        old.backend()
            .close()
            .at("cannot close the database", &path)?;
        fs::rename(&received, &path).at("cannot put in place the received database", &received)?;
        sync_dir(&snap_dir)?;
        let database = Database::open(&core.config, &core.fatal, &core.metrics, &path)?;
        cluster.recover_downgrade(&database.membership);
        boot::check_version(&cluster, &database.membership)?;
        // The sender's copies may disagree; from here on ours do not.
        if let Some(verdict) = verdict.filter(|_| check == MembershipCheck::Heal) {
            database.store.backend().write(verdict.healing());
        }

        self.cluster = cluster;
        self.tree = tree;
        self.generation += 1;
        self.is_in_the_way = false;
        self.conf_state = metadata.conf_state.clone();
        self.applied = metadata.index;
        self.term = metadata.term;
        self.consistent_index = database.consistent_index.max(metadata.index);
        self.snapshot_index = metadata.index;
        self.compacted = metadata.index;
        let revision = database.store.revision();
        {
            // Keys and leases change together, as far as anybody can see.
            let mut lessor = core.lessor.write();
            *lessor = database.lessor;
            *core.alarms.write() = database.alarms;
            core.store.store(database.store);
        }
        core.leases_changed.notify_waiters();
        core.applied.store(self.applied, Ordering::Release);
        self.publish_cluster();
        self.meet_everybody();
        for out in &mut self.deliveries {
            out.push(Delivery::Restored { revision });
        }
        Ok(())
    }
}

/// Removes received databases that an installed or a saved snapshot at `index` has
/// outdated. Not as soon as the log knows of the snapshot: an earlier one may still
/// wait to be put in place.
pub(super) fn release_received(snapshotter: &Snapshotter, index: u64) {
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

fn sync_dir(dir: &Path) -> Result<(), Error> {
    fs::File::open(dir)
        .and_then(|dir| dir.sync_all())
        .at("cannot sync the directory", dir)
}
