//! A received snapshot takes the place of this member's state: the database that
//! came with it is renamed over the old one and opened, and everything that was
//! built from the old one is built anew. The log has recorded it before; a crash
//! in here is finished at the next start.

use std::{path::Path, sync::atomic::Ordering};

use failpoint::failpoint;
use membership::{Cluster, Replay, v2store::Tree};
use proto::raftpb::Snapshot;

use super::{
    command::{Change, Effects, PeerChange},
    machine::Machine,
    schema::Storage,
};
use crate::{
    error::{At as _, Error, Fatal},
    host::{Files, Host, Step},
    open::{self, Database, MembershipCheck, Stored},
    plant::{Plant, broken},
    snapshot::{SnapshotState, release_received},
};

impl Machine {
    /// Puts the snapshot in place.
    pub(super) fn install<H: Host>(
        &mut self,
        snapshot: &Snapshot,
        host: &mut H,
        effects: &mut Effects,
    ) -> Result<(), Fatal> {
        let metadata = &snapshot.metadata;
        tracing::info!(
            "current-snapshot-index" = self.snapshot_index,
            "current-applied-index" = self.applied,
            "incoming-leader-snapshot-index" = metadata.index,
            "incoming-leader-snapshot-term" = metadata.term,
            "applying snapshot"
        );
        if metadata.index > self.applied {
            // What cannot be put in place ends the process: the log speaks of it already.
            self.replace(snapshot, host, effects)
                .map_err(|error| Fatal::new("failed to apply a received snapshot", &error))?;
        }
        let applied = self.applied;
        host.consensus(|node| node.applied_to(applied));
        release_received(&self.snapshotter, metadata.index);
        tracing::info!(
            "incoming-leader-snapshot-index" = metadata.index,
            "applied snapshot"
        );
        Ok(())
    }

    fn replace<H: Host>(
        &mut self,
        snapshot: &Snapshot,
        host: &mut H,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        let metadata = &snapshot.metadata;
        let path = self.options.snap_dir.join("db");
        let received = self.snapshotter.db_path(metadata.index);
        let from = self.members_of(snapshot)?;
        let stored = Stored::read(self.files.as_ref(), &received)?.ok_or_else(|| {
            Error::new(format!(
                "{}: there is no database in it",
                received.display()
            ))
        })?;
        let versions = [
            from.cluster.version(),
            stored.view().cluster_version.as_ref(),
        ];
        if let Some(version) = versions.into_iter().flatten().max() {
            self.follow_up(version);
        }
        let line = self.state.line();
        let by_buckets = open::buckets_rule(line, stored.view());
        let buckets = Cluster::of_buckets(from.cluster.id(), stored.view());
        let check = self.options.membership_check.by_line(line, stored.view());
        let verdict =
            open::compare_members(from.clone(), metadata.index, &[], metadata.index, stored);
        if let Some(verdict) = &verdict {
            let action = verdict.report(check);
            host.observe(Step::Disagreements(verdict.found(), action));
            if check == MembershipCheck::Refuse && verdict.is_serious() {
                return Err(verdict.refusal(&received));
            }
        }
        let Replay {
            mut cluster,
            mut tree,
            ..
        } = from;
        if by_buckets {
            let learners_max = cluster.learners_max();
            cluster = buckets;
            cluster.limit_learners(learners_max);
            tree = cluster.to_tree();
        }

        failpoint!(ApplyBeforeOpenSnapshot);
        self.close_database(&path, host)?;
        put_in_place(self.files.as_ref(), &received, &path)?;
        let database = Database::open(
            self.files.as_ref(),
            self.options.lease,
            self.options.auth,
            &path,
        )?;
        failpoint!(ApplyAfterOpenSnapshot);
        cluster.recover_downgrade(&database.membership);
        open::check_version(line, &cluster, &database.membership)?;
        // The sender's copies may disagree; from here on ours do not.
        if let Some(verdict) = verdict.filter(|_| check == MembershipCheck::Heal) {
            database.store.backend().write(verdict.healing());
        }

        if !broken(Plant::InstallWithoutMembers) {
            self.cluster = cluster;
            self.tree = tree;
        }
        self.adopted = None;
        self.storage = Storage::new(database.membership.storage_version.as_ref());
        self.publish_storage_version();
        self.generation += 1;
        self.blocks_newer_release = false;
        self.forces_snapshot = false;
        self.conf_state = metadata.conf_state.clone();
        self.judged = database.membership.conf_state.clone();
        self.applied = metadata.index;
        self.term = metadata.term;
        self.consistent_index = database.consistent_index.max(metadata.index);
        self.snapshot_index = metadata.index;
        self.compacted = metadata.index;
        let revision = database.store.revision();
        self.show(database);
        effects.leases_changed = true;
        let members = self.cluster.members().cloned().collect();
        effects.peers.push(PeerChange::Replaced(members));
        effects.changes.push(Change::Restored { revision });
        Ok(())
    }

    /// The membership in a received snapshot.
    fn members_of(&self, snapshot: &Snapshot) -> Result<Replay, Error> {
        let json = snapshot.data.clone().unwrap_or_default();
        let tree = Tree::parse(&json)
            .map_err(|error| Error::new(format!("its v2 tree is unreadable: {error}")))?;
        let conf_state = snapshot.metadata.conf_state.clone();
        let cluster_id = self.identity.cluster_id.into();
        let mut from = Replay::from_snapshot(cluster_id, tree, conf_state)
            .map_err(|error| Error::new(error.to_string()))?;
        from.cluster.limit_learners(self.options.max_learners);
        from.line = self.state.line();
        Ok(from)
    }

    /// From here on nothing writes, or puts another file, under the name; one
    /// of our own snapshots may just be committing.
    fn close_database(&mut self, path: &Path, host: &mut impl Host) -> Result<(), Error> {
        if matches!(self.snapshot, SnapshotState::Running) {
            host.await_snapshot();
            self.snapshot = SnapshotState::Idle;
        }
        let old = self.state.store.load_full();
        old.stop();
        old.backend().close().at("cannot close the database", path)
    }

    /// Shows readers the new state.
    fn show(&self, database: Database) {
        {
            // Keys, leases and users change together, as far as anyone can see.
            let mut lessor = self.state.lessor.write();
            *lessor = database.lessor;
            *self.state.alarms.write() = database.alarms;
            let mut users = self.state.auth.write();
            *users = database.auth;
            if users.is_enabled() {
                self.state.tokens.accept();
            }
            self.state.store.store(database.store);
        }
        self.state.applied.store(self.applied, Ordering::Release);
        self.publish_cluster();
    }
}

fn put_in_place(files: &dyn Files, received: &Path, path: &Path) -> Result<(), Error> {
    let disk = files.disk();
    disk.rename(received, path)
        .at("cannot put in place the received database", received)?;
    let dir = path.parent().unwrap_or(path);
    disk.sync_dir(dir).at("cannot sync the directory", dir)
}
