//! What the settings come to.

use std::{path::PathBuf, time::Duration};

use line::Choice;
use member::open::MembershipCheck;

use super::{Discovery, GateState, ListenUrl, Logs, Security, Tracing};

/// Automatic compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCompaction {
    /// None.
    Off,
    /// Keep the history of this long.
    Periodic(Duration),
    /// Keep this many revisions.
    Revision(i64),
}

/// Everything the server needs to know before it starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// `--name`
    pub name: String,
    /// `--data-dir`
    pub data_dir: PathBuf,
    /// `--wal-dir`, `None` for `<data-dir>/member/wal`
    pub wal_dir: Option<PathBuf>,
    /// `--line`
    pub line: Choice,
    /// `--snapshot-count`, entries between `.snap` files; `None` for as many as the line has
    pub snapshot_count: Option<u64>,
    /// `--experimental-snapshot-catchup-entries`
    pub snapshot_catchup_entries: u64,
    /// `--heartbeat-interval`
    pub heartbeat: Duration,
    /// `--election-timeout`
    pub election: Duration,
    /// `--initial-election-tick-advance`
    pub initial_election_tick_advance: bool,
    /// `--pre-vote`
    pub pre_vote: bool,
    /// `--listen-peer-urls`
    pub listen_peer: Vec<ListenUrl>,
    /// `--listen-client-urls`
    pub listen_client: Vec<ListenUrl>,
    /// `--listen-client-http-urls`
    pub listen_client_http: Vec<ListenUrl>,
    /// `--listen-metrics-urls`
    pub listen_metrics: Vec<ListenUrl>,
    /// `--initial-advertise-peer-urls`
    pub advertise_peer: Vec<String>,
    /// `--advertise-client-urls`
    pub advertise_client: Vec<String>,
    /// `--initial-cluster`; empty where another way was chosen
    pub initial_cluster: String,
    /// Where the founding members are named
    pub discovery: Discovery,
    /// `--initial-cluster-token`
    pub initial_cluster_token: String,
    /// `--initial-cluster-state` is `existing`
    pub join_existing: bool,
    /// `--force-new-cluster`
    pub force_new_cluster: bool,
    /// `--experimental-initial-corrupt-check`
    pub initial_corrupt_check: bool,
    /// `--experimental-corrupt-check-time`; `None` for never
    pub corrupt_check_time: Option<Duration>,
    /// `--experimental-compact-hash-check-time`, if that check is enabled
    pub compact_hash_check_time: Option<Duration>,
    /// `--experimental-stop-grpc-service-on-defrag`
    pub stop_grpc_service_on_defrag: bool,
    /// `--experimental-downgrade-check-time`
    pub downgrade_check_time: Duration,
    /// `--max-learners`
    pub max_learners: usize,
    /// `--membership-check`
    pub membership_check: MembershipCheck,
    /// `--v2-deprecation=write-only-drop-data`
    pub drop_v2_keys: bool,
    /// `--strict-reconfig-check`
    pub strict_reconfig_check: bool,
    /// `--max-snapshots`, files kept, 0 = all
    pub max_snapshots: usize,
    /// `--max-wals`, files kept, 0 = all
    pub max_wals: usize,
    /// `--quota-backend-bytes`; `None` when switched off by a negative value
    pub quota_backend_bytes: Option<u64>,
    /// `--backend-batch-interval`
    pub backend_batch_interval: Duration,
    /// `--backend-batch-limit`
    pub backend_batch_limit: usize,
    /// `--max-txn-ops`
    pub max_txn_ops: usize,
    /// `--max-request-bytes`
    pub max_request_bytes: usize,
    /// `--max-concurrent-streams`
    pub max_concurrent_streams: u32,
    /// `--grpc-keepalive-min-time`
    pub grpc_keepalive_min_time: Duration,
    /// `--grpc-keepalive-interval`, `None` = off
    pub grpc_keepalive_interval: Option<Duration>,
    /// `--grpc-keepalive-timeout`
    pub grpc_keepalive_timeout: Duration,
    /// `--raft-read-timeout`
    pub raft_read_timeout: Duration,
    /// `--raft-write-timeout`
    pub raft_write_timeout: Duration,
    /// `--unsafe-no-fsync`
    pub unsafe_no_fsync: bool,
    /// `--experimental-memory-mlock`
    pub memory_mlock: bool,
    /// `--socket-reuse-port`
    pub reuse_port: bool,
    /// `--socket-reuse-address`
    pub reuse_address: bool,
    /// `--auto-compaction-mode` and `--auto-compaction-retention`
    pub auto_compaction: AutoCompaction,
    /// `--experimental-compaction-batch-limit`, keys
    pub compaction_batch_limit: usize,
    /// `--experimental-compaction-sleep-interval`
    pub compaction_sleep_interval: Duration,
    /// `--experimental-watch-progress-notify-interval`
    pub watch_progress_interval: Duration,
    /// `--experimental-enable-distributed-tracing` and what belongs to it.
    pub tracing: Option<Tracing>,
    /// `--enable-pprof`
    pub enable_pprof: bool,
    /// `--experimental-warning-apply-duration`
    pub warning_apply_duration: Duration,
    /// `--experimental-warning-unary-request-duration`
    pub warning_unary_request_duration: Duration,
    /// `--experimental-enable-lease-checkpoint`
    pub lease_checkpoint: bool,
    /// `--experimental-enable-lease-checkpoint-persist`
    pub lease_checkpoint_persist: bool,
    /// `--feature-gates=PriorityRequest`
    pub priority_request: bool,
    /// `--feature-gates`, all of them
    pub feature_gates: Vec<GateState>,
    /// `--experimental-bootstrap-defrag-threshold-megabytes`
    pub bootstrap_defrag_threshold_mb: u64,
    /// `--enable-grpc-gateway`
    pub grpc_gateway: bool,
    /// TLS towards clients and peers.
    pub security: Security,
    /// `--cors`
    pub cors: Vec<String>,
    /// `--host-whitelist`
    pub host_whitelist: Vec<String>,
    /// `--metrics` is `extensive`
    pub extensive_metrics: bool,
    /// `--auth-token`, its type and options well-formed
    pub auth_token: String,
    /// `--auth-token-ttl`, of simple tokens
    pub auth_token_ttl: Duration,
    /// `--bcrypt-cost`, within bcrypt's bounds
    pub bcrypt_cost: u32,
    /// Where and how log lines are written
    pub logs: Logs,
    /// Serving runtimes; 0 = one per core (`--runtimes`, Pintle's own)
    pub runtimes: usize,
}

impl Config {
    /// How long a request may take inside the server: 5 s and two election timeouts.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(5) + 2 * self.election
    }

    /// Ticks of one election timeout.
    pub fn election_ticks(&self) -> usize {
        (self.election.as_millis() / self.heartbeat.as_millis().max(1)).max(1) as usize
    }

    /// `<data-dir>/member`
    pub fn member_dir(&self) -> PathBuf {
        self.data_dir.join("member")
    }

    /// `<data-dir>/member/snap`
    pub fn snap_dir(&self) -> PathBuf {
        self.member_dir().join("snap")
    }

    /// Where the log lies.
    pub fn wal_path(&self) -> PathBuf {
        self.wal_dir
            .clone()
            .unwrap_or_else(|| self.member_dir().join("wal"))
    }
}
