//! From a disk to a running member, in the order of `server::boot`: leftovers,
//! the newest snapshot that the log knows, the log behind it, a received
//! database that was not put in place, the stores, the core.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use consensus::{Config, Initial, Node};
use lease::{LeaseId, Lessor};
use membership::{Cluster, conf_change, v2store::Tree, v3store};
use mvcc::{
    Store, StoreOptions,
    backend::{Backend, BackendOptions},
};
use prost::Message as _;
use proto::{
    etcdserverpb::Metadata,
    raftpb::{ConfState, Entry, HardState, Snapshot},
    walpb,
};
use wal::{
    Options, Wal, disk::Disk as _, replay::valid_snapshots_on, sim::SimulatedDisk,
    snap::Snapshotter,
};

use super::{Dirs, ELECTION_TICKS, MIN_TTL, Member, Out, Shared, SnapshotStep};
use crate::plant::Plant;

/// How a member comes to be when its disk is empty.
#[derive(Clone, Debug)]
pub enum Birth {
    /// With the first members of the cluster.
    First(Cluster),
    /// Into a running cluster.
    Joining(Cluster),
}

impl Birth {
    fn cluster(&self) -> &Cluster {
        match self {
            Birth::First(cluster) | Birth::Joining(cluster) => cluster,
        }
    }
}

type Stores = (Arc<Backend>, Arc<Store>, Lessor);

/// Opens database, keys and leases.
pub(super) fn open_store(disk: &SimulatedDisk, path: &Path) -> Result<Stores, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let db = crate::file::open_db(disk, path)?;
    let backend = Backend::open_threadless(db, BackendOptions::default()).map_err(|e| text(&e))?;
    let mut attached: Vec<(Bytes, i64)> = Vec::new();
    let options = StoreOptions {
        compaction_batch_limit: 8,
        ..StoreOptions::default()
    };
    let store = Store::open_threadless(backend.clone(), options, &mut |key, lease| {
        attached.push((key, lease));
    })
    .map_err(|e| text(&e))?;
    let options = lease::Options {
        min_ttl_secs: MIN_TTL,
        ..lease::Options::default()
    };
    let view = backend.db().begin_read();
    let mut lessor = Lessor::recover(options, &view).map_err(|e| text(&e))?;
    for (key, id) in attached {
        if lessor.attach(LeaseId(id), &key).is_err() {
            return Err(format!("key {key:?} names lease {id}, which is not there"));
        }
    }
    Ok((backend, store, lessor))
}

struct Log {
    wal: Wal,
    snapshot: Option<Snapshot>,
    hard_state: HardState,
    entries: Vec<Entry>,
}

fn create_log(options: Options, dirs: &Dirs, id: u64, birth: &Birth) -> Result<Log, String> {
    let metadata = Metadata {
        node_id: id,
        cluster_id: birth.cluster().id().0,
    };
    let text = |error: wal::Error| error.to_string();
    let (mut entries, mut hard_state) = (Vec::new(), HardState::default());
    if let Birth::First(cluster) = birth {
        entries = conf_change::bootstrap_entries(cluster);
        hard_state = HardState {
            term: 1,
            vote: 0,
            commit: entries.len() as u64,
        };
    }
    let metadata = metadata.encode_to_vec();
    let wal = Wal::found(&dirs.wal, &metadata, &entries, hard_state, options).map_err(text)?;
    Ok(Log {
        wal,
        snapshot: None,
        hard_state,
        entries,
    })
}

fn open_log(
    options: Options,
    disk: &SimulatedDisk,
    dirs: &Dirs,
    snapshotter: &Snapshotter,
) -> Result<Log, String> {
    let text = |error: wal::Error| error.to_string();
    let valid = valid_snapshots_on(disk, &dirs.wal).map_err(text)?;
    let snapshot = snapshotter.load_newest_available(&valid).map_err(text)?;
    let at = snapshot
        .as_ref()
        .map_or_else(walpb::Snapshot::default, super::record);
    let first = at.index;
    let opened = Wal::open(&dirs.wal, at, options).map_err(text)?;
    if first > 0 {
        finish_install(first, disk, snapshotter, &dirs.db)?;
    }
    let last = opened.entries.last().map_or(first, |entry| entry.index);
    let commit = opened.state.commit;
    if commit > last || commit < first {
        return Err(format!(
            "the log says that entry {commit} is committed, but holds entries {} to {last} only",
            first + 1
        ));
    }
    Ok(Log {
        wal: opened.wal,
        snapshot,
        hard_state: opened.state,
        entries: opened.entries,
    })
}

/// A snapshot that was received but not yet put in place is put in place now.
fn finish_install(
    index: u64,
    disk: &SimulatedDisk,
    snapshotter: &Snapshotter,
    db: &Path,
) -> Result<(), String> {
    let exists = |path: &Path| disk.open(path, wal::disk::Mode::Read).is_ok();
    let mut held = 0;
    if exists(db) {
        let view = crate::file::open_db(disk, db)?.begin_read();
        (held, _) = mvcc::backend::consistent_index(&view).map_err(|e| e.to_string())?;
    }
    if held >= index {
        return Ok(());
    }
    let received = snapshotter.db_path(index);
    if !exists(&received) {
        return Err(format!(
            "the database holds entries up to {held}, the log starts at {index}, and {} is missing",
            received.display()
        ));
    }
    disk.rename(&received, db)
        .and_then(|()| disk.sync_dir(received.parent().unwrap_or(db)))
        .map_err(|e| e.to_string())
}

impl Member {
    /// Starts a member from its disk, or with an empty one as `birth` says.
    ///
    /// # Errors
    /// What the server would tell its operator.
    pub fn boot(
        shared: &mut Shared,
        id: u64,
        disk: SimulatedDisk,
        birth: &Birth,
        seed: u64,
    ) -> Result<Member, String> {
        let dirs = Dirs::new();
        let snapshotter = Snapshotter::on(Arc::new(disk.clone()), &dirs.snap);
        let options = Options {
            background: false,
            segment_bytes: 16 << 10,
            disk: Arc::new(disk.clone()),
            ..Options::default()
        };
        let names = disk.names(&dirs.wal).map_err(|e| e.to_string())?;
        let exists = names.iter().any(|name| name.ends_with(".wal"));
        let log = if exists {
            shared.oracle.reached.restarts += 1;
            open_log(options, &disk, &dirs, &snapshotter)?
        } else {
            create_log(options, &dirs, id, birth)?
        };
        let last = log.wal.last_index();
        shared.oracle.starts(id, &log.hard_state, last);

        for result in [
            snapshotter.remove_leftovers(),
            snapshotter.release_snap_dbs(u64::MAX),
        ] {
            result.map_err(|e| e.to_string())?;
        }
        let (backend, store, lessor) = open_store(&disk, &dirs.db)?;
        let (consistent_index, _) = backend.consistent_index();
        if consistent_index > last {
            let text = format!("{id:x}: database at {consistent_index}, log at {last}");
            shared
                .oracle
                .fail("the database is never ahead of the log", text);
        }
        let (snapshot_index, snapshot_term) = log
            .snapshot
            .as_ref()
            .map_or((0, 0), |s| (s.metadata.index, s.metadata.term));
        if consistent_index < snapshot_index {
            return Err(format!(
                "the database holds entries up to {consistent_index}, but the log starts at {snapshot_index}"
            ));
        }
        let view = backend.db().begin_read();
        let v3 = v3store::read(&view).map_err(|e| e.to_string())?;
        drop(view);
        let tree = match &log.snapshot {
            Some(snapshot) => Tree::parse(&snapshot.data.clone().unwrap_or_default())
                .map_err(|e| e.to_string())?,
            None => Tree::new(),
        };
        let mut cluster =
            Cluster::recover(birth.cluster().id(), &tree).map_err(|e| e.to_string())?;
        cluster.recover_downgrade(&v3);
        let mut conf_state = log
            .snapshot
            .as_ref()
            .map_or_else(ConfState::default, |s| s.metadata.conf_state.clone());
        if shared.broken(Plant::MembersFromDatabase)
            && let Some(stored) = v3.conf_state
            && snapshot_index > 0
        {
            conf_state = stored;
        }
        let mut node = Node::new(
            Config {
                id,
                election_ticks: ELECTION_TICKS,
                max_size_per_msg: 4096,
                max_inflight: 8,
                pre_vote: shared.pre_vote,
                seed,
                ..Config::default()
            },
            Initial {
                hard_state: log.hard_state,
                conf_state: conf_state.clone(),
                snapshot: (snapshot_index, snapshot_term),
                entries: log.entries,
                applied: snapshot_index,
            },
        )
        .map_err(|e| e.to_string())?;
        if let Some(snapshot) = log.snapshot {
            node.create_snapshot(snapshot);
        }
        let mut member = Member {
            id,
            disk,
            dirs,
            snapshotter,
            node,
            wal: log.wal,
            backend,
            store,
            lessor,
            cluster,
            tree,
            conf_state,
            applied: snapshot_index,
            term: snapshot_term,
            consistent_index,
            snapshot_index,
            snapshot: SnapshotStep::Idle,
            leads: false,
            sole_leader: false,
            log: Default::default(),
            apply: Default::default(),
            log_loud: false,
            waiters: Default::default(),
            waiting: Default::default(),
            reads: Vec::new(),
            ticks: 0,
            published: false,
            out: Out::default(),
        };
        member.inspect(shared);
        member.hand_on(shared);
        Ok(member)
    }
}
