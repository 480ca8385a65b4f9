//! From flags and a data directory to the parts of a member that the threads are started with.
//! The directory as a place is checked and locked here; what is in it is the business of
//! [`member::open`]. Nothing is started here.

use std::{
    sync::{Arc, atomic::AtomicI64},
    time::Instant,
};

use auth::tokens::Provider;
use line::{Kept, Line};
use member::{
    At as _, Error, Files, Machine,
    apply::Options,
    log::LogWriter,
    open::{self, Dirs, Founding, Log, Setup},
    state::Identity,
};
use membership::Member;

use super::{
    data_dir::{DirLock, check_data_dir, ensure_dir},
    database::{self, ServerFiles},
    found,
};
use crate::{
    config::{Config, Discovery},
    core::Core,
    fatal::Fatal,
    lines::{LineKept, file as line_file},
    metrics::Metrics,
    node::{Queue, Raft},
    snapshots_out::SnapshotsOut,
    transport::{Admission, peer_connect},
};

/// The parts of a member, not yet running.
pub(super) struct Opened {
    lock: DirLock,
    parts: open::Parts,
    metrics: Arc<Metrics>,
    line_kept: LineKept,
    peers: Vec<Member>,
    was_member: bool,
}

/// What the threads are started with.
pub(super) struct Parts {
    /// To be kept as long as anything writes.
    pub(super) lock: DirLock,
    /// Shared by all.
    pub(super) core: Arc<Core>,
    /// For the thread of the log writer.
    pub(super) log: LogWriter,
    /// For the apply thread.
    pub(super) machine: Machine,
    /// Members to be reached from the start, this one not among them.
    pub(super) peers: Vec<Member>,
}

impl Opened {
    /// True if the directory had a log before this start.
    pub(super) fn was_member(&self) -> bool {
        self.was_member
    }

    /// Puts the parts together.
    pub(super) fn into_core(self, config: Config, admission: Admission, fatal: Fatal) -> Parts {
        let parts = self.parts;
        let raft = Raft::new(
            parts.node,
            Arc::new(Queue::default()),
            Arc::new(Queue::default()),
        );
        raft.status.publish(&parts.hard_state);
        let Identity {
            cluster_id,
            member_id,
        } = parts.identity;
        let ids = membership::RequestIds::new(member_id, unix_ms());
        let core = Core {
            cluster_id,
            member_id,
            state: parts.state,
            leases_changed: tokio::sync::Notify::new(),
            raft: Arc::new(raft),
            leader_lost: tokio::sync::watch::Sender::new(()),
            peer_connect: peer_connect(&config),
            watchers: AtomicI64::new(0),
            watch_streams: AtomicI64::new(0),
            slow_watchers: AtomicI64::new(0),
            hashing: Arc::new(tokio::sync::Semaphore::new(HASHING_MAX)),
            admission,
            nonce: ids.next(),
            ids,
            snapshots_out: SnapshotsOut::default(),
            retry_said_ms: std::sync::atomic::AtomicU64::new(0),
            joined: tokio::sync::watch::Sender::new(false),
            removed: tokio::sync::watch::Sender::new(false),
            metrics: self.metrics,
            line_kept: self.line_kept,
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
            log: parts.log,
            machine: parts.machine,
            peers: self.peers,
        }
    }
}

/// Passwords that are hashed or compared at a time. Each takes a core for a tenth of a second.
const HASHING_MAX: usize = 2;

fn unix_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_millis() as u64)
}

/// Opens or creates the member. Nothing that another server may be using is touched
/// before the locks are held.
///
/// # Errors
/// The member cannot be started from this directory; the text says why, and what to do.
pub(super) fn open(config: &Config, fatal: &Fatal) -> Result<Opened, Error> {
    ensure_dir(&config.data_dir)?;
    let lock = DirLock::take(&config.data_dir)?;
    check_data_dir(&config.data_dir)?;
    let dirs = Dirs {
        wal: config.wal_path(),
        snap: config.snap_dir(),
    };
    ensure_dir(&dirs.snap)?;
    if let Some(parent) = dirs.wal.parent() {
        ensure_dir(parent)?;
    }
    let was_member =
        wal::Wal::exists(&dirs.wal).at("cannot look for the write-ahead log", &dirs.wal)?;
    let mut line_kept = line_file::read(&config.member_dir())?;
    let (log, founders) = if was_member {
        (open_log(config, &dirs)?, Vec::new())
    } else {
        database::refuse_without_log(&dirs)?;
        let (log, founders, founded) = found_log(config, &dirs)?;
        line_kept = Kept::Founded(founded);
        (log, founders)
    };
    let found_kept = line_kept;
    line_kept = config.line.leave(found_kept);
    let member_id = log.identity.member_id;
    let metrics = Arc::new(Metrics::new(config.extensive_metrics, member_id));
    let files: Arc<dyn Files> = Arc::new(ServerFiles::new(config, fatal, &metrics));
    let database = dirs.database();
    if log.is_new && open::holds_database(files.as_ref(), &database)? {
        tracing::warn!(path = %database.display(), "a database file without a write-ahead log is taken over as it is");
    }
    let parts = open::start(&setup(config, line_kept, dirs)?, files, log)?;
    if line_kept != found_kept {
        tracing::warn!(kept = ?found_kept, "a change of the line is given up for the line that is asked for");
        line_file::remove(&config.member_dir())?;
    }
    let line = parts.state.line();
    tracing::info!(line = %line, "etcd-version" = line.release(), "speaking a line of etcd");
    let of_other_lines = config.feature_gates.iter().filter(|gate| !gate.is_in(line));
    for gate in of_other_lines.filter(|gate| !gate.is_default()) {
        tracing::warn!(gate = gate.name, line = %line, "a feature gate has no effect at this line of etcd");
    }
    if let Some((found, action)) = &parts.disagreements {
        metrics.count_disagreements(found, action);
    }
    let backend = parts.state.store.load().backend().clone();
    database::defragment(config, &backend, &database)?;
    let known = parts.members.iter().chain(&founders);
    let spoken = parts.state.spoken.clone();
    Ok(Opened {
        lock,
        peers: known.filter(|m| m.id.0 != member_id).cloned().collect(),
        parts,
        metrics,
        line_kept: LineKept::new(
            config.member_dir(),
            line_file::read(&config.member_dir())?,
            spoken,
        ),
        was_member,
    })
}

/// What a member is told.
fn setup(config: &Config, line_kept: Kept, dirs: Dirs) -> Result<Setup, Error> {
    let tokens = Provider::parse(&config.auth_token, config.auth_token_ttl).map_err(|error| {
        tracing::warn!(%error, "failed to create token provider");
        Error::new(error.to_string())
    })?;
    Ok(Setup {
        line: config.line,
        line_kept,
        data_dir: config.data_dir.clone(),
        machine: Options {
            snapshot_count: config.snapshot_count,
            snapshot_catchup_entries: config.snapshot_catchup_entries,
            drop_v2_keys: config.drop_v2_keys,
            max_learners: config.max_learners,
            membership_check: config.membership_check,
            quota_backend_bytes: config.quota_backend_bytes,
            lease_extension_ms: config.election.as_millis() as u64,
            lease: database::lease_options(config),
            auth: auth::Options {
                bcrypt_cost: config.bcrypt_cost,
                ..auth::Options::default()
            },
            snap_dir: dirs.snap.clone(),
        },
        consensus: consensus::Config {
            election_ticks: config.election_ticks(),
            heartbeat_ticks: 1,
            pre_vote: config.pre_vote,
            // Members must not draw the same election timeouts.
            seed: unix_ms(),
            ..consensus::Config::default()
        },
        tokens: Arc::new(tokens),
        force_new_cluster: config.force_new_cluster,
        dirs,
    })
}

/// The log of a new member, the members it knows before the log tells of them, and its line.
fn found_log(config: &Config, dirs: &Dirs) -> Result<(Log, Vec<Member>, Line), Error> {
    let founding = found::found(config)?;
    match founding.line {
        // One of an earlier member is none of this one.
        Line::DEFAULT => line_file::remove(&config.member_dir())?,
        line => line_file::write(&config.member_dir(), &line.to_string())?,
    }
    let begin = Founding {
        identity: Identity {
            cluster_id: founding.cluster_id.0,
            member_id: founding.own.0,
        },
        entries: &founding.entries,
        hard_state: founding.hard_state,
    };
    let log = Log::found(dirs, &begin, log_options(config))?;
    Ok((log, founding.peers, founding.line))
}

fn log_options(config: &Config) -> wal::Options {
    let mut options = wal::Options::default();
    if config.unsafe_no_fsync {
        options.disk = Arc::new(wal::disk::NoSync);
    }
    options
}

fn open_log(config: &Config, dirs: &Dirs) -> Result<Log, Error> {
    let hold = Log::hold(dirs, &wal::disk::OsDisk)?;
    ensure_dir(&dirs.wal)?;
    if matches!(
        config.discovery,
        Discovery::Registry(_) | Discovery::V2 { .. }
    ) {
        tracing::warn!("wal-dir" = %dirs.wal.display(), "discovery token is ignored since cluster already initialized; valid logs are found");
    }
    Log::open(dirs, hold, log_options(config))
}
