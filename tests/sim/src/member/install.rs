//! Snapshots between members: what the sender merges, how the receiver keeps
//! the database that comes with it, and how it puts it in place once the log
//! knows of the snapshot. At every moment a crash finds either the old state
//! or all that the new one needs.

use std::sync::Arc;

use membership::{Cluster, v2store::Tree};
use proto::raftpb as pb;
use wal::disk::{Disk as _, Mode};

use super::{Down, Member, Shared, Turn, Wire, boot, disk};
use crate::plant::Plant;

impl Member {
    /// raft wants `message` sent. The snapshot in it says where the log begins;
    /// what is sent is the state as of now, which is newer.
    pub(super) fn send_snapshot(&mut self, shared: &mut Shared, mut message: pb::Message) -> Turn {
        let view = self.backend.snapshot().map_err(disk)?;
        let mut db = Vec::new();
        view.write_to(&mut db).map_err(disk)?;
        message.snapshot = Some(self.merged_snapshot());
        shared.oracle.sends(self.id, &message);
        self.out.messages.push(Wire {
            message,
            db: Some(Arc::new(db)),
        });
        Ok(())
    }

    /// Keeps the database of a snapshot as `<index>.snap.db`.
    pub(super) fn save_received(&mut self, shared: &Shared, index: u64, db: &[u8]) -> Turn {
        let path = self.snapshotter.db_path(index);
        let building = self.dirs.snap.join(format!("tmp.{index:016x}"));
        let synced = !shared.broken(Plant::ReceivedDbNotSynced);
        let save = || {
            let file = self.disk.open(&building, Mode::Create(0o600))?;
            file.write_at(db, 0)?;
            if synced {
                file.sync()?;
            }
            self.disk.rename(&building, &path)?;
            if synced {
                self.disk.sync_dir(&self.dirs.snap)?;
            }
            Ok::<(), std::io::Error>(())
        };
        save().map_err(disk)
    }

    /// Puts a received snapshot in the place of everything.
    pub(super) fn install(&mut self, shared: &mut Shared, snapshot: &pb::Snapshot) -> Turn {
        let at = &snapshot.metadata;
        if shared.oracle.term_at(at.index) != Some(at.term) {
            let text = format!("{:x}: entry {} of term {}", self.id, at.index, at.term);
            shared.oracle.fail("a snapshot is of the log", text);
        }
        let received = self.snapshotter.db_path(at.index);
        self.disk
            .rename(&received, &self.dirs.db)
            .and_then(|()| self.disk.sync_dir(&self.dirs.snap))
            .map_err(disk)?;
        // Not when the log knows of it: the next one may be there before this is
        // in place, and would take its database away.
        self.snapshotter.release_snap_dbs(at.index).map_err(disk)?;
        let opened = boot::open_store(&self.disk, &self.dirs.db);
        let (backend, store, lessor) = opened.map_err(Down)?;
        let (index, _) = backend.consistent_index();
        if index < at.index {
            let text = format!(
                "{:x} received a database up to {index} for {}",
                self.id, at.index
            );
            shared
                .oracle
                .fail("consistent_index is that of the data", text);
        }
        self.consistent_index = index;
        (self.backend, self.store, self.lessor) = (backend, store, lessor);
        if !shared.broken(Plant::InstallWithoutMembers) {
            let json = snapshot.data.clone().unwrap_or_default();
            let tree = Tree::parse(&json);
            let cluster = tree
                .as_ref()
                .ok()
                .and_then(|tree| Cluster::recover(self.cluster.id(), tree).ok());
            let (Ok(tree), Some(cluster)) = (tree, cluster) else {
                let text = format!("{:x}: the v2 tree at {}", self.id, at.index);
                shared.oracle.fail("snapshots are understood", text);
                return Ok(());
            };
            (self.tree, self.cluster) = (tree, cluster);
        }
        self.conf_state = at.conf_state.clone();
        (self.applied, self.term) = (at.index, at.term);
        self.snapshot_index = at.index;
        self.node.applied_to(at.index);
        shared.oracle.reached.installs += 1;
        self.inspect(shared);
        Ok(())
    }
}
