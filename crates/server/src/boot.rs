//! From a data directory to the parts of a running member: what is there is
//! read, checked and finished (an interrupted snapshot install, a torn log
//! tail); what is not there is created. Nothing is started here, and nothing
//! that cannot be understood is overwritten.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicI64},
    time::Instant,
};

pub use member::{At, Error};
use member::{
    Files, Machine, Seed, State,
    apply::Options,
    log::LogWriter,
    open::{self, Database, MembershipCheck, Stored, check_version},
    snapshot::placeholder,
    state::Identity,
};
use membership::{Cluster, Member, Refusal, Replay, v2store::Tree, v3store::V3View};
use prost::Message as _;
use proto::{
    etcdserverpb::Metadata,
    raftpb::{ConfState, Entry, HardState, Snapshot, SnapshotMetadata},
    walpb,
};
use wal::snap::Snapshotter;

use crate::{
    bootstrap,
    config::{Config, Discovery},
    core::Core,
    data_dir::{DirLock, check_data_dir, ensure_dir, exists, tidy},
    database::{self, ServerFiles},
    fatal::Fatal,
    force_new_cluster::{self, Impossible},
    metrics::Metrics,
    node::{Queue, Raft},
    peers::SnapshotsOut,
    runtime::Inbox,
    transport::Admission,
    v2_keys,
};

/// The parts of a member, not yet running.
pub struct Booted {
    lock: DirLock,
    log: LogWriter,
    node: consensus::Node,
    machine: Machine,
    state: Arc<State>,
    identity: Identity,
    hard_state: HardState,
    metrics: Arc<Metrics>,
    peers: Vec<Member>,
    was_member: bool,
}

/// What the threads are started with.
pub struct Parts {
    /// To be kept as long as anything writes.
    pub lock: DirLock,
    /// Shared by all.
    pub core: Arc<Core>,
    /// For the thread of the log writer.
    pub log: LogWriter,
    /// For the apply thread.
    pub machine: Machine,
    /// Members to be reached from the start, this one not among them.
    pub peers: Vec<Member>,
}

impl Booted {
    /// True if the directory had a log before this start.
    pub fn was_member(&self) -> bool {
        self.was_member
    }

    /// Puts the parts together for `runtimes` serving threads.
    pub fn into_core(
        self,
        config: Config,
        runtimes: usize,
        admission: Admission,
        fatal: Fatal,
    ) -> Parts {
        let raft = Raft::new(
            self.node,
            Arc::new(Queue::default()),
            Arc::new(Queue::default()),
        );
        raft.status.publish(&self.hard_state);
        let Identity {
            cluster_id,
            member_id,
        } = self.identity;
        let ids = membership::RequestIds::new(member_id, unix_ms());
        let core = Core {
            cluster_id,
            member_id,
            state: self.state,
            leases_changed: tokio::sync::Notify::new(),
            raft: Arc::new(raft),
            leader_lost: tokio::sync::watch::Sender::new(()),
            peer_connect: config.peer_connect(),
            inboxes: (0..=runtimes).map(|_| Arc::new(Inbox::default())).collect(),
            watchers: AtomicI64::new(0),
            watch_streams: AtomicI64::new(0),
            slow_watchers: AtomicI64::new(0),
            admission,
            nonce: ids.next(),
            ids,
            snapshots_out: SnapshotsOut::default(),
            joined: tokio::sync::watch::Sender::new(false),
            removed: tokio::sync::watch::Sender::new(false),
            metrics: self.metrics,
            paused: tokio::sync::watch::Sender::new(false),
            stop: tokio::sync::watch::Sender::new(false),
            over: tokio::sync::watch::Sender::new(false),
            fatal,
            started: Instant::now(),
            config,
        };
        Parts {
            lock: self.lock,
            core: Arc::new(core),
            log: self.log,
            machine: self.machine,
            peers: self.peers,
        }
    }
}

fn unix_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_millis() as u64)
}

/// Opens or creates the member. Nothing that another server may be using is touched
/// before the locks are held.
pub fn boot(config: &Config, fatal: &Fatal) -> Result<Booted, Error> {
    ensure_dir(&config.data_dir)?;
    let lock = DirLock::take(&config.data_dir)?;
    check_data_dir(&config.data_dir)?;
    let snap_dir = config.snap_dir();
    ensure_dir(&snap_dir)?;
    let wal_dir = config.wal_path();
    if let Some(parent) = wal_dir.parent() {
        ensure_dir(parent)?;
    }
    let snapshotter = Snapshotter::new(&snap_dir);
    let db_path = snap_dir.join("db");
    let was_member =
        wal::Wal::exists(&wal_dir).at("cannot look for the write-ahead log", &wal_dir)?;
    let log = if was_member {
        open_log(config, fatal, &wal_dir, &snapshotter, &db_path)?
    } else {
        create_log(config, fatal, &wal_dir, &db_path)?
    };
    Ok(Booted {
        was_member,
        ..assemble(config, lock, log, snapshotter)?
    })
}

/// What the log and the newest snapshot say.
struct Log {
    files: Arc<ServerFiles>,
    metrics: Arc<Metrics>,
    wal: wal::Wal,
    cluster_id: u64,
    member_id: u64,
    snapshot: Option<Snapshot>,
    hard_state: HardState,
    entries: Vec<Entry>,
    /// Made by this start.
    is_new: bool,
    /// The database file was there before.
    db_existed: bool,
    /// Members known before the log tells of them.
    peers: Vec<Member>,
}

impl Log {
    fn snapshot_position(&self) -> (u64, u64) {
        self.snapshot
            .as_ref()
            .map_or((0, 0), |s| (s.metadata.index, s.metadata.term))
    }

    /// Refuses a log that lacks what it says is committed.
    fn check_commit(&self, dir: &Path) -> Result<(), Error> {
        let (first, _) = self.snapshot_position();
        let last = self.entries.last().map_or(first, |e| e.index);
        let commit = self.hard_state.commit;
        if (first..=last).contains(&commit) {
            return Ok(());
        }
        Err(Error(format!(
            "{}: the log says that entry {commit} is committed, but holds entries {} to {last} only; restore this member \
             from a backup, or remove it from the cluster and add it anew",
            dir.display(),
            first + 1
        )))
    }

    /// For `--force-new-cluster`: this member becomes the only one. What has to be written
    /// is returned: the directory may yet be refused.
    fn force_new_cluster(
        &mut self,
        from: &Replay,
        stored: Option<&Stored>,
    ) -> Result<Vec<Entry>, Impossible> {
        let commit_before = self.hard_state.commit;
        let forced = force_new_cluster::Found {
            own: self.member_id,
            snapshot: (self.snapshot_position().0, from.clone()),
            entries: &self.entries,
            hard_state: self.hard_state,
            consistent_index: stored.map_or(0, Stored::consistent_index),
        }
        .force()?;
        let known = self.entries.len();
        self.entries.retain(|entry| entry.index <= forced.kept);
        self.entries.extend_from_slice(&forced.changes);
        self.hard_state.commit = forced.kept + forced.changes.len() as u64;
        tracing::info!(
            "cluster-id" = format!("{:x}", self.cluster_id),
            "local-member-id" = format!("{:x}", self.member_id),
            "wal-commit-index" = commit_before,
            "commit-index" = self.hard_state.commit,
            "number-of-discarded-entries" = known + forced.changes.len() - self.entries.len(),
            "forcing restart member"
        );
        Ok(forced.changes)
    }
}

/// The files of this member, and where they are counted.
fn open_files(config: &Config, fatal: &Fatal, member_id: u64) -> (Arc<ServerFiles>, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new(config.extensive_metrics, member_id));
    let files = ServerFiles::new(config, fatal, &metrics);
    (Arc::new(files), metrics)
}

fn create_log(config: &Config, fatal: &Fatal, dir: &Path, db_path: &Path) -> Result<Log, Error> {
    if holds_database(db_path)? {
        tracing::warn!(path = %db_path.display(), "a database file without a write-ahead log is taken over as it is");
    }
    let founding = bootstrap::found(config)?;
    let (own, cluster_id) = (founding.own.0, founding.cluster_id.0);
    let metadata = Metadata {
        node_id: own,
        cluster_id,
    }
    .encode_to_vec();
    let wal = wal::Wal::found(
        dir,
        &metadata,
        &founding.entries,
        founding.hard_state,
        wal::Options::default(),
    )
    .at("cannot create the write-ahead log", dir)?;
    tracing::info!(
        "local-member-id" = format!("{own:x}"),
        "cluster-id" = format!("{cluster_id:x}"),
        "starting local member"
    );
    let (files, metrics) = open_files(config, fatal, own);
    Ok(Log {
        files,
        metrics,
        is_new: true,
        wal,
        cluster_id,
        member_id: own,
        snapshot: None,
        hard_state: founding.hard_state,
        entries: founding.entries,
        db_existed: false,
        peers: founding.peers,
    })
}

fn open_log(
    config: &Config,
    fatal: &Fatal,
    dir: &Path,
    snapshotter: &Snapshotter,
    db_path: &Path,
) -> Result<Log, Error> {
    let hold = wal::Wal::hold(dir).at("cannot open the write-ahead log", dir)?;
    ensure_dir(dir)?;
    if matches!(
        config.discovery,
        Discovery::Registry(_) | Discovery::V2 { .. }
    ) {
        tracing::warn!("wal-dir" = %dir.display(), "discovery token is ignored since cluster already initialized; valid logs are found");
    }
    let valid = wal::valid_snapshots(dir).at("cannot read the write-ahead log", dir)?;
    let loaded = snapshotter
        .load(&valid)
        .at("cannot read the snapshots in", &config.snap_dir())?;
    for aside in &loaded.set_aside {
        tracing::warn!(path = %aside.path.display(), error = %aside.reason, "renamed a broken snapshot file");
    }
    let snapshot = loaded.snapshot;
    let at = snapshot
        .as_ref()
        .map_or_else(walpb::Snapshot::default, |s| walpb::Snapshot {
            index: s.metadata.index,
            term: s.metadata.term,
            conf_state: Some(s.metadata.conf_state.clone()),
        });
    let opened = hold
        .open(at, wal::Options::default())
        .at("cannot read the write-ahead log", dir)?;
    if let Some(repair) = &opened.repaired {
        tracing::warn!(path = %repair.path.display(), offset = repair.offset, "repaired a torn tail of the write-ahead log");
    }
    let metadata = Metadata::decode(opened.metadata.clone())
        .at("the write-ahead log has unreadable metadata in", dir)?;
    let (files, metrics) = open_files(config, fatal, metadata.node_id);
    if let Some(snapshot) = &snapshot {
        tracing::info!(
            index = snapshot.metadata.index,
            term = snapshot.metadata.term,
            "recovered v2 store from snapshot"
        );
        let index = snapshot.metadata.index;
        finish_install(files.as_ref(), index, snapshotter, db_path)?;
    }
    let first_term = snapshot.as_ref().map_or(0, |s| s.metadata.term);
    let mut entries = opened.entries;
    // A received snapshot takes the place of the whole log, but what contradicted
    // it still lies behind its record.
    if let Some(stale) = entries.iter().position(|entry| entry.term < first_term) {
        tracing::warn!(
            from = entries[stale].index,
            count = entries.len() - stale,
            "left out entries that a received snapshot had replaced"
        );
        entries.truncate(stale);
    }
    let log = Log {
        files,
        metrics,
        is_new: false,
        wal: opened.wal,
        cluster_id: metadata.cluster_id,
        member_id: metadata.node_id,
        snapshot,
        hard_state: opened.state,
        entries,
        db_existed: holds_database(db_path)?,
        peers: Vec::new(),
    };
    log.check_commit(dir)?;
    if !config.force_new_cluster {
        tracing::info!(
            "cluster-id" = format!("{:x}", log.cluster_id),
            "local-member-id" = format!("{:x}", log.member_id),
            "commit-index" = log.hard_state.commit,
            "restarting local member"
        );
    }
    Ok(log)
}

/// Whether there is a database: a file whose creation was cut off is none, and is made anew.
fn holds_database(path: &Path) -> Result<bool, Error> {
    let unwritten = bolt::Db::is_unwritten(path).at("cannot read the database", path)?;
    Ok(!unwritten)
}

/// A snapshot that was received but not yet put in place is put in place now.
fn finish_install(
    files: &dyn Files,
    index: u64,
    snapshotter: &Snapshotter,
    db_path: &Path,
) -> Result<(), Error> {
    let held = if holds_database(db_path)? {
        let db = bolt::Db::open(
            db_path,
            bolt::Options {
                read_only: true,
                ..bolt::Options::default()
            },
        )
        .at("cannot open the database", db_path)?;
        mvcc::backend::consistent_index(&db.begin_read())
            .at("cannot read the database", db_path)?
            .0
    } else {
        0
    };
    let parent = db_path.parent().unwrap_or(db_path);
    // Renames of a process that died before it had made them durable: from here
    // on they are relied upon.
    let durable = || {
        fs::File::open(parent)
            .and_then(|dir| dir.sync_all())
            .at("cannot sync", parent)
    };
    if held >= index {
        return durable();
    }
    let received: PathBuf = snapshotter.db_path(index);
    if !exists(&received)? {
        return Err(Error(format!(
            "{}: holds entries up to {held}, but the log starts at snapshot {index} and {} is missing; restore this \
             member from a backup, or remove it from the cluster and add it anew",
            db_path.display(),
            received.display()
        )));
    }
    open::refuse_file(files, &received)?;
    fs::rename(&received, db_path).at("cannot put the received database in place of", db_path)?;
    tracing::info!(path = %received.display(), "put the received database in place");
    durable()
}

/// Who was a member when the newest snapshot was taken.
fn membership_at_snapshot(config: &Config, log: &Log) -> Result<Replay, Error> {
    let (index, _) = log.snapshot_position();
    let (tree, conf_state) = match &log.snapshot {
        Some(snapshot) => {
            let json = snapshot.data.clone().unwrap_or_default();
            let tree = Tree::parse(&json).map_err(|error| {
                Error(format!(
                    "the snapshot at index {index} holds an unreadable v2 tree: {error}"
                ))
            })?;
            (tree, snapshot.metadata.conf_state.clone())
        }
        None => (Tree::new(), ConfState::default()),
    };
    let mut replay = Replay::from_snapshot(log.cluster_id.into(), tree, conf_state)
        .map_err(|error| Error(format!("the snapshot at index {index}: {error}")))?;
    replay.cluster.limit_learners(config.max_learners);
    Ok(replay)
}

/// Refuses a directory that this release must not be started on: before anything in it
/// is written, so that the release it belongs to goes on with it as it was.
fn refuse_foreign(
    cluster: &Cluster,
    log: &Log,
    stored: Option<&Stored>,
    db_path: &Path,
) -> Result<(), Error> {
    let (snapshot_index, _) = log.snapshot_position();
    let held = stored.map_or(0, Stored::consistent_index);
    if held != 0 && held < snapshot_index {
        return Err(Error(format!(
            "{}: holds entries up to {held}, but the log starts at snapshot {snapshot_index}; restore this member \
             from a backup, or remove it from the cluster and add it anew",
            db_path.display()
        )));
    }
    if cluster.has_too_many_learners() {
        return Err(Error(format!(
            "{}; raise --max-learners",
            membership::conf_change::Rejection::TooManyLearners
        )));
    }
    if let Some(stored) = stored {
        stored.auth().refuse_enabled(db_path)?;
        stored.auth().warn();
    }
    let none = V3View::default();
    check_version(cluster, stored.map_or(&none, Stored::view))?;
    if cluster.version().is_some() && !log.db_existed {
        return Err(Error(format!(
            "database file ({}) of the backend is missing; restore this member from a backup",
            db_path.display()
        )));
    }
    Ok(())
}

/// Refuses a log with an entry that this release must not apply, before the
/// others in it are applied. What is not committed may yet be taken back, but an
/// entry about authentication stays with whoever can apply it.
fn refuse_entries(config: &Config, log: &Log, stored: Option<&Stored>) -> Result<(), Error> {
    let held = stored.map_or(0, Stored::consistent_index);
    for entry in &log.entries {
        let is_committed = entry.index <= log.hard_state.commit;
        match membership::entry::judge(entry, entry.index > held) {
            Err(refusal) if is_committed || matches!(refusal, Refusal::Auth(_)) => {
                return Err(Error(format!(
                    "{}: entry {} of the log cannot be applied: {refusal}; {}",
                    config.wal_path().display(),
                    entry.index,
                    refusal.advice()
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What the machine is told.
fn machine_options(config: &Config) -> Options {
    Options {
        snapshot_count: config.snapshot_count,
        snapshot_catchup_entries: config.snapshot_catchup_entries,
        drop_v2_keys: config.drop_v2_keys,
        max_learners: config.max_learners,
        membership_check: config.membership_check,
        quota_backend_bytes: config.quota_backend_bytes,
        lease_extension_ms: config.election.as_millis() as u64,
        lease: database::lease_options(config),
        snap_dir: config.snap_dir(),
    }
}

fn assemble(
    config: &Config,
    lock: DirLock,
    mut log: Log,
    snapshotter: Snapshotter,
) -> Result<Booted, Error> {
    let db_path = &config.snap_dir().join("db");
    let (files, metrics) = (log.files.clone(), log.metrics.clone());
    let (snapshot_index, snapshot_term) = log.snapshot_position();
    let mut from = membership_at_snapshot(config, &log)?;
    let stored = match log.db_existed {
        true => Stored::read(files.as_ref(), db_path)?,
        false => None,
    };
    refuse_foreign(&from.cluster, &log, stored.as_ref(), db_path)?;
    let forces = config.force_new_cluster && !log.is_new;
    let mut changes = Vec::new();
    if forces {
        changes = log
            .force_new_cluster(&from, stored.as_ref())
            .map_err(|error| Error(format!("{}: {error}", config.data_dir.display())))?;
    }
    let commit = log.hard_state.commit;
    refuse_entries(config, &log, stored.as_ref())?;
    if forces {
        log.wal
            .append(&changes, Some(&log.hard_state))
            .and_then(|()| log.wal.sync().map(drop))
            .at("cannot write the write-ahead log", &config.wal_path())?;
    }
    tidy(&snapshotter).at("cannot tidy", &config.snap_dir())?;
    let verdict = stored.and_then(|stored| {
        open::compare_members(from.clone(), snapshot_index, &log.entries, commit, stored)
    });
    if let Some(verdict) = &verdict {
        let action = verdict.report(config.membership_check);
        metrics.count_disagreements(verdict.found(), action);
        if config.membership_check == MembershipCheck::Refuse && verdict.is_serious() {
            return Err(verdict.refusal(&config.data_dir));
        }
    }
    let v2_keys_dropped = v2_keys::settle(config, &mut from, &log.entries, commit, snapshot_index)?;
    let options = machine_options(config);
    let database = Database::open(files.as_ref(), options.lease, db_path)?;
    if let Some(verdict) = &verdict
        && config.membership_check == MembershipCheck::Heal
    {
        database.store.backend().write(verdict.healing());
    }
    database::defragment(config, database.store.backend(), db_path)?;
    let consistent_index = database.consistent_index;
    let Replay {
        mut cluster,
        tree,
        conf_state,
        ..
    } = from;
    // Only the database knows of a downgrade.
    cluster.recover_downgrade(&database.membership);
    let mut node = consensus::Node::new(
        consensus::Config {
            id: log.member_id,
            election_ticks: config.election_ticks(),
            heartbeat_ticks: 1,
            pre_vote: config.pre_vote,
            // Members must not draw the same election timeouts.
            seed: unix_ms(),
            ..consensus::Config::default()
        },
        consensus::Initial {
            hard_state: log.hard_state,
            conf_state: conf_state.clone(),
            snapshot: (snapshot_index, snapshot_term),
            entries: log.entries,
            applied: snapshot_index,
        },
    )
    .map_err(|error| Error(format!("cannot start consensus: {error}")))?;
    if snapshot_index > 0 {
        // Whoever is behind the log gets the state of the moment it is sent.
        node.create_snapshot(placeholder(SnapshotMetadata {
            conf_state: conf_state.clone(),
            index: snapshot_index,
            term: snapshot_term,
        }));
    }

    let known = cluster.members().chain(&log.peers);
    let peers = known
        .filter(|member| member.id.0 != log.member_id)
        .cloned()
        .collect();
    let state = Arc::new(State::new(
        database.store,
        database.lessor,
        database.alarms,
        cluster.clone(),
        snapshot_index,
    ));
    let identity = Identity {
        cluster_id: log.cluster_id,
        member_id: log.member_id,
    };
    let seed = Seed {
        applied: (snapshot_index, snapshot_term),
        consistent_index,
        cluster,
        tree,
        conf_state,
        judged: database.membership.conf_state,
        snapshot_index,
        blocks_newer_release: v2_keys_dropped,
    };
    Ok(Booted {
        lock,
        was_member: false,
        log: LogWriter::new(log.wal, snapshotter),
        node,
        peers,
        machine: Machine::new(identity, options, files, state.clone(), seed),
        state,
        identity,
        hard_state: log.hard_state,
        metrics,
    })
}
