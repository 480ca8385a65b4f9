//! `/metrics`: etcd's names for what exists here. Hot counters are resolved once
//! and kept; gauges that mirror state are set when the page is asked for.

mod applies;
mod compaction;
mod idle;
mod network;
mod tally;

use std::time::{Duration, Instant};

use line::Line;
use prometheus::{
    Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder, exponential_buckets,
};

use wal::snap::Saved;

use crate::{api::Method, core::Core, status::Code, version::PINTLE};
pub use applies::Applies;
pub use compaction::Compaction;

struct PerMethod {
    started: IntCounter,
    received: IntCounter,
    sent: IntCounter,
    handled_ok: IntCounter,
    handling: Option<Histogram>,
}

/// All series of this process.
pub struct Metrics {
    registry: Registry,
    methods: Vec<PerMethod>,
    handled: IntCounterVec,
    client_requests: IntCounterVec,
    client_requests_unknown: [IntCounter; 2],
    apply_duration_seconds: HistogramVec,
    /// `etcd_disk_wal_write_bytes_total`
    pub wal_write_bytes: IntGauge,
    /// `etcd_disk_wal_write_duration_seconds`
    pub wal_write_duration_seconds: Histogram,
    /// `etcd_disk_backend_defrag_duration_seconds`
    pub defrag_duration_seconds: Histogram,
    /// `etcd_disk_defrag_inflight`
    pub defrag_inflight: IntGauge,
    /// `etcd_disk_backend_snapshot_duration_seconds`
    pub snapshot_duration_seconds: Histogram,
    /// `etcd_mvcc_hash_duration_seconds`
    pub hash_duration_seconds: Histogram,
    /// `etcd_mvcc_hash_rev_duration_seconds`
    pub hash_rev_duration_seconds: Histogram,
    /// `etcd_server_read_indexes_failed_total`
    pub read_indexes_failed: IntCounter,
    /// `etcd_server_slow_read_indexes_total`
    pub slow_read_indexes: IntCounter,
    /// `etcd_server_learner_promote_successes`
    pub promote_successes: IntCounter,
    /// `etcd_server_learner_promote_failures{Reason}`
    pub promote_failures: IntCounterVec,
    /// `etcd_debugging_lease_ttl_total`, seconds
    pub lease_ttl: Histogram,
    /// `etcd_debugging_mvcc_total_put_size_in_bytes`
    pub put_bytes: IntGauge,
    /// `etcd_disk_wal_fsync_duration_seconds`
    pub wal_fsync_duration_seconds: Histogram,
    /// `etcd_disk_backend_commit_duration_seconds`
    pub backend_commit_duration_seconds: Histogram,
    /// `etcd_debugging_snap_save_total_duration_seconds`
    snap_save_seconds: Histogram,
    /// `etcd_snap_fsync_duration_seconds`
    snap_fsync_duration_seconds: Histogram,
    /// `etcd_debugging_snap_save_marshalling_duration_seconds`
    snap_marshalling_seconds: Histogram,
    /// `etcd_debugging_mvcc_db_compaction_*` and its index
    pub compaction: Compaction,
    scrapes: IntCounterVec,
    disagreements: IntGaugeVec,
    /// `etcd_server_slow_apply_total`
    pub slow_apply: IntCounter,
    /// `etcd_server_proposals_failed_total`
    pub proposals_failed: IntCounter,
    /// `etcd_server_health_success`
    pub health_success: IntCounter,
    /// `etcd_server_health_failures`
    pub health_failures: IntCounter,
    /// `etcd_server_healthcheck{type,name}`
    pub healthcheck: IntGaugeVec,
    /// `etcd_server_healthchecks_total{type,name,status}`
    pub healthchecks_total: IntCounterVec,
    /// `etcd_debugging_lease_granted_total`
    pub lease_granted: IntCounter,
    /// `etcd_debugging_lease_renewed_total`
    pub lease_renewed: IntCounter,
    /// `etcd_debugging_lease_revoked_total`
    pub lease_revoked: IntCounter,
    /// `etcd_debugging_server_lease_expired_total`
    pub lease_expired: IntCounter,
    /// `etcd_mvcc_put_total`
    pub puts: IntCounter,
    /// `etcd_mvcc_delete_total`
    pub deletes: IntCounter,
    /// `etcd_mvcc_txn_total`
    pub txns: IntCounter,
    /// `etcd_mvcc_range_total`
    pub ranges: IntCounter,
    /// `etcd_network_client_grpc_received_bytes_total`: messages, without their frames
    pub client_received_bytes: IntCounter,
    /// `etcd_network_client_grpc_sent_bytes_total`: messages, without their frames
    pub client_sent_bytes: IntCounter,
    mirrors: Mirrors,
}

/// Gauges that copy state at the time of the scrape.
struct Mirrors {
    has_leader: IntGauge,
    is_leader: IntGauge,
    is_learner: IntGauge,
    leader_changes: IntCounter,
    committed: IntGauge,
    applied: IntGauge,
    pending: IntGauge,
    quota: IntGauge,
    db_size: IntGauge,
    db_in_use: IntGauge,
    open_reads: IntGauge,
    current_revision: IntGauge,
    compact_revision: IntGauge,
    keys: IntGauge,
    debug_ranges: IntCounter,
    removed: IntCounter,
    events: IntCounter,
    pending_events: IntGauge,
    virtual_memory_max: prometheus::Gauge,
    watchers: IntGauge,
    watch_streams: IntGauge,
    slow_watchers: IntGauge,
    auth_revision: IntGauge,
    cluster_version: IntGaugeVec,
    resident: IntGauge,
    virtual_memory: IntGauge,
    open_fds: IntGauge,
    max_fds: IntGauge,
    os_fd_used: IntGauge,
    os_fd_limit: IntGauge,
    connections: IntGaugeVec,
    connections_limit: IntGaugeVec,
    connections_sent_away: IntCounterVec,
    cpu_seconds: prometheus::Counter,
    network_received: IntCounter,
    network_sent: IntCounter,
}

/// Set when a call began.
pub struct CallTimer(Option<Instant>);

struct Maker(Registry);

impl Maker {
    fn keep<C: prometheus::core::Collector + Clone + 'static>(
        &self,
        made: prometheus::Result<C>,
    ) -> C {
        // Names are constants of this file: a refusal is a defect, found by the first test that starts a server.
        let metric = made.expect("metric names are valid");
        self.0
            .register(Box::new(metric.clone()))
            .expect("metric names are unique");
        metric
    }
    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.keep(IntCounter::new(name, help))
    }
    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.keep(IntGauge::new(name, help))
    }
    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.keep(IntCounterVec::new(Opts::new(name, help), labels))
    }
    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.keep(IntGaugeVec::new(Opts::new(name, help), labels))
    }
    fn histogram(&self, name: &str, help: &str, start: f64, count: usize) -> Histogram {
        let buckets = exponential_buckets(start, 2.0, count).expect("bucket rule is valid");
        self.keep(Histogram::with_opts(
            HistogramOpts::new(name, help).buckets(buckets),
        ))
    }
}

impl Metrics {
    /// Registers everything. `extensive` adds the handling time of every method.
    pub fn new(line: Line, extensive: bool, member_id: u64) -> Metrics {
        let m = Maker(Registry::new());
        let labels = ["grpc_type", "grpc_service", "grpc_method"];
        let started = m.counters(
            "grpc_server_started_total",
            "Total number of RPCs started on the server.",
            &labels,
        );
        let received = m.counters(
            "grpc_server_msg_received_total",
            "Total number of RPC stream messages received on the server.",
            &labels,
        );
        let sent = m.counters(
            "grpc_server_msg_sent_total",
            "Total number of gRPC stream messages sent by the server.",
            &labels,
        );
        let handled = m.counters(
            "grpc_server_handled_total",
            "Total number of RPCs completed on the server, regardless of success or failure.",
            &["grpc_type", "grpc_service", "grpc_method", "grpc_code"],
        );
        let handling = extensive.then(|| {
            m.keep(HistogramVec::new(
                HistogramOpts::new(
                    "grpc_server_handling_seconds",
                    "Histogram of response latency (seconds) of gRPC that had been application-level handled by the server.",
                ),
                &labels,
            ))
        });
        let methods = Method::ALL
            .iter()
            .map(|method| {
                let (service, name) = split(*method);
                let values = [method.kind(), service, name];
                PerMethod {
                    started: started.with_label_values(&values),
                    received: received.with_label_values(&values),
                    sent: sent.with_label_values(&values),
                    handled_ok: handled.with_label_values(&[method.kind(), service, name, "OK"]),
                    handling: handling.as_ref().map(|h| h.with_label_values(&values)),
                }
            })
            .collect();
        let client_requests = m.counters(
            "etcd_server_client_requests_total",
            "The total number of client requests per client version.",
            &["type", "client_api_version"],
        );
        m.gauges(
            "etcd_server_version",
            "Which version is running. 1 for 'server_version' label with current version.",
            &["server_version"],
        )
        .with_label_values(&[line.release()])
        .set(1);
        m.gauges(
            "etcd_server_id",
            "Server or member ID in hexadecimal format. 1 for 'server_id' label with current ID.",
            &["server_id"],
        )
        .with_label_values(&[&format!("{member_id:x}")])
        .set(1);
        m.gauges(
            "pintle_version",
            "Version of Pintle. 1 for 'version' label with current version.",
            &["version"],
        )
        .with_label_values(&[PINTLE])
        .set(1);
        let start_time = m.gauge(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
        );
        start_time.set(time::OffsetDateTime::now_utc().unix_timestamp());
        idle::register(&m);
        // What a lone member has no occasion for stays at zero.
        m.counter("etcd_server_heartbeat_send_failures_total", "The total number of leader heartbeat send failures (likely overloaded from slow disk).");
        m.gauge(
            "etcd_server_snapshot_apply_in_progress_total",
            "1 if the server is applying the incoming snapshot. 0 if none.",
        );
        m.histogram(
            "etcd_snap_db_fsync_duration_seconds",
            "The latency distributions of fsyncing .snap.db file",
            0.001,
            14,
        );
        m.histogram(
            "etcd_snap_db_save_total_duration_seconds",
            "The total latency distributions of v3 snapshot save",
            0.1,
            10,
        );
        Metrics {
            methods,
            handled,
            client_requests_unknown: [
                client_requests.with_label_values(&["unary", "unknown"]),
                client_requests.with_label_values(&["stream", "unknown"]),
            ],
            client_requests,
            apply_duration_seconds: m.keep(HistogramVec::new(
                HistogramOpts::new("etcd_server_apply_duration_seconds", "The latency distributions of v2 apply called by backend.")
                    .buckets(exponential_buckets(0.0001, 2.0, 20).expect("bucket rule is valid")),
                &["version", "op", "success"],
            )),
            wal_write_bytes: m.gauge("etcd_disk_wal_write_bytes_total", "Total number of bytes written in WAL."),
            wal_write_duration_seconds: m.histogram("etcd_disk_wal_write_duration_seconds", "The latency distributions of write called by WAL.", 0.001, 14),
            defrag_duration_seconds: m.histogram("etcd_disk_backend_defrag_duration_seconds", "The latency distribution of backend defragmentation.", 0.1, 13),
            defrag_inflight: m.gauge("etcd_disk_defrag_inflight", "Whether or not defrag is active on the member. 1 means active, 0 means not."),
            snapshot_duration_seconds: m.histogram("etcd_disk_backend_snapshot_duration_seconds", "The latency distribution of backend snapshots.", 0.01, 17),
            hash_duration_seconds: m.histogram("etcd_mvcc_hash_duration_seconds", "The latency distribution of storage hash operation.", 0.01, 15),
            hash_rev_duration_seconds: m.histogram("etcd_mvcc_hash_rev_duration_seconds", "The latency distribution of storage hash by revision operation.", 0.01, 15),
            read_indexes_failed: m.counter("etcd_server_read_indexes_failed_total", "The total number of failed read indexes seen."),
            slow_read_indexes: m.counter("etcd_server_slow_read_indexes_total", "The total number of pending read indexes not in sync with leader's or timed out read index requests."),
            promote_successes: m.counter(
                "etcd_server_learner_promote_successes",
                "The total number of successful learner promotions while this member is leader.",
            ),
            promote_failures: m.counters("etcd_server_learner_promote_failures", "The total number of failed learner promotions (likely learner not ready) while this member is leader.", &["Reason"]),
            lease_ttl: m.histogram("etcd_debugging_lease_ttl_total", "Bucketed histogram of lease TTLs.", 1.0, 24),
            put_bytes: m.gauge("etcd_debugging_mvcc_total_put_size_in_bytes", "The total size of put kv pairs seen by this member."),
            wal_fsync_duration_seconds: m.histogram("etcd_disk_wal_fsync_duration_seconds", "The latency distributions of fsync called by WAL.", 0.001, 14),
            backend_commit_duration_seconds: m.histogram("etcd_disk_backend_commit_duration_seconds", "The latency distributions of commit called by backend.", 0.001, 14),
            snap_save_seconds: m.histogram("etcd_debugging_snap_save_total_duration_seconds", "The total latency distributions of save called by snapshot.", 0.001, 14),
            snap_fsync_duration_seconds: m.histogram("etcd_snap_fsync_duration_seconds", "The latency distributions of fsync called by snap.", 0.001, 14),
            snap_marshalling_seconds: m.histogram("etcd_debugging_snap_save_marshalling_duration_seconds", "The marshalling cost distributions of save called by snapshot.", 0.001, 14),
            compaction: Compaction::new(&m),
            scrapes: m.counters("promhttp_metric_handler_requests_total", "Total number of scrapes by HTTP status code.", &["code"]),
            disagreements: m.gauges("pintle_membership_disagreements", "Disagreements between the copies of the membership, as of the last start or received snapshot.", &["copy", "kind", "action"]),
            slow_apply: m.counter("etcd_server_slow_apply_total", "The total number of slow apply requests (likely overloaded from slow disk)."),
            proposals_failed: m.counter("etcd_server_proposals_failed_total", "The total number of failed proposals seen."),
            health_success: m.counter("etcd_server_health_success", "The total number of successful health checks"),
            health_failures: m.counter("etcd_server_health_failures", "The total number of failed health checks"),
            healthcheck: m.gauges("etcd_server_healthcheck", "The result of each kind of healthcheck.", &["type", "name"]),
            healthchecks_total: m.counters("etcd_server_healthchecks_total", "The total number of each kind of healthcheck.", &["type", "name", "status"]),
            lease_granted: m.counter("etcd_debugging_lease_granted_total", "The total number of granted leases."),
            lease_renewed: m.counter("etcd_debugging_lease_renewed_total", "The number of renewed leases seen by the leader."),
            lease_revoked: m.counter("etcd_debugging_lease_revoked_total", "The total number of revoked leases."),
            lease_expired: m.counter("etcd_debugging_server_lease_expired_total", "The total number of expired leases."),
            puts: m.counter("etcd_mvcc_put_total", "Total number of puts seen by this member."),
            deletes: m.counter("etcd_mvcc_delete_total", "Total number of deletes seen by this member."),
            txns: m.counter("etcd_mvcc_txn_total", "Total number of txns seen by this member."),
            ranges: m.counter("etcd_mvcc_range_total", "Total number of ranges seen by this member."),
            client_received_bytes: m.counter("etcd_network_client_grpc_received_bytes_total", "The total number of bytes received from grpc clients."),
            client_sent_bytes: m.counter("etcd_network_client_grpc_sent_bytes_total", "The total number of bytes sent to grpc clients."),
            mirrors: Mirrors {
                has_leader: m.gauge("etcd_server_has_leader", "Whether or not a leader exists. 1 is existence, 0 is not."),
                is_leader: m.gauge("etcd_server_is_leader", "Whether or not this member is a leader. 1 if is, 0 otherwise."),
                is_learner: m.gauge("etcd_server_is_learner", "Whether or not this member is a learner. 1 if is, 0 otherwise."),
                leader_changes: m.counter("etcd_server_leader_changes_seen_total", "The number of leader changes seen."),
                committed: m.gauge("etcd_server_proposals_committed_total", "The total number of consensus proposals committed."),
                applied: m.gauge("etcd_server_proposals_applied_total", "The total number of consensus proposals applied."),
                pending: m.gauge("etcd_server_proposals_pending", "The current number of pending proposals to commit."),
                quota: m.gauge("etcd_server_quota_backend_bytes", "Current backend storage quota size in bytes."),
                db_size: m.gauge("etcd_mvcc_db_total_size_in_bytes", "Total size of the underlying database physically allocated in bytes."),
                db_in_use: m.gauge("etcd_mvcc_db_total_size_in_use_in_bytes", "Total size of the underlying database logically in use in bytes."),
                open_reads: m.gauge("etcd_mvcc_db_open_read_transactions", "The number of currently open read transactions"),
                current_revision: m.gauge("etcd_debugging_mvcc_current_revision", "The current revision of store."),
                compact_revision: m.gauge("etcd_debugging_mvcc_compact_revision", "The revision of the last compaction in store."),
                keys: m.gauge("etcd_debugging_mvcc_keys_total", "Total number of keys."),
                debug_ranges: m.counter("etcd_debugging_mvcc_range_total", "Total number of ranges seen by this member."),
                removed: m.counter("etcd_debugging_mvcc_db_compaction_keys_total", "Total number of db keys compacted."),
                events: m.counter("etcd_debugging_mvcc_events_total", "Total number of events sent by this member."),
                pending_events: m.gauge("etcd_debugging_mvcc_pending_events_total", "Total number of pending events to be sent."),
                virtual_memory_max: m.keep(prometheus::Gauge::new("process_virtual_memory_max_bytes", "Maximum amount of virtual memory available in bytes.")),
                watchers: m.gauge("etcd_debugging_mvcc_watcher_total", "Total number of watchers."),
                watch_streams: m.gauge("etcd_debugging_mvcc_watch_stream_total", "Total number of watch streams."),
                auth_revision: m.gauge("etcd_debugging_auth_revision", "The current revision of auth store."),
                slow_watchers: m.gauge("etcd_debugging_mvcc_slow_watcher_total", "Total number of unsynced slow watchers."),
                cluster_version: m.gauges("etcd_cluster_version", "Which version is running. 1 for 'cluster_version' label with current cluster version", &["cluster_version"]),
                resident: m.gauge("process_resident_memory_bytes", "Resident memory size in bytes."),
                virtual_memory: m.gauge("process_virtual_memory_bytes", "Virtual memory size in bytes."),
                open_fds: m.gauge("process_open_fds", "Number of open file descriptors."),
                max_fds: m.gauge("process_max_fds", "Maximum number of open file descriptors."),
                os_fd_used: m.gauge("os_fd_used", "The number of used file descriptors."),
                os_fd_limit: m.gauge("os_fd_limit", "The file descriptor limit."),
                connections: m.gauges("pintle_connections", "Open connections.", &["of"]),
                connections_limit: m.gauges("pintle_connections_limit", "Connections that may be open, as the file descriptor limit allows.", &["of"]),
                connections_sent_away: m.counters("pintle_connections_sent_away_total", "Connections without a request that had to make room for others.", &["of"]),
                cpu_seconds: m.keep(prometheus::Counter::new("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.")),
                network_received: m.counter("process_network_receive_bytes_total", "Number of bytes received by the process over the network."),
                network_sent: m.counter("process_network_transmit_bytes_total", "Number of bytes sent by the process over the network."),
            },
            registry: m.0,
        }
    }

    /// What the last look at the copies of the membership found, and what became of it.
    pub fn count_disagreements(&self, found: &[membership::Disagreement], action: &str) {
        self.disagreements.reset();
        for one in found {
            self.disagreements
                .with_label_values(&[one.copy(), one.kind(), action])
                .inc();
        }
    }

    /// Counts a request by the version its client speaks.
    pub fn client_request(&self, method: Method, client_api_version: &str) {
        let stream = method.kind() != "unary";
        if client_api_version == "unknown" {
            self.client_requests_unknown[usize::from(stream)].inc();
        } else {
            let kind = if stream { "stream" } else { "unary" };
            self.client_requests
                .with_label_values(&[kind, client_api_version])
                .inc();
        }
    }

    /// Counts a snapshot that was saved, in `took` altogether.
    pub fn count_snapshot(&self, took: Duration, saved: Saved) {
        self.snap_save_seconds.observe(took.as_secs_f64());
        let (encoding, sync) = (saved.encoding.as_secs_f64(), saved.sync.as_secs_f64());
        self.snap_marshalling_seconds.observe(encoding);
        self.snap_fsync_duration_seconds.observe(sync);
    }

    /// For whoever applies entries.
    pub fn applies(&self) -> Applies {
        Applies::new(self.apply_duration_seconds.clone())
    }

    /// The counter of the messages that calls of `method` bring.
    pub fn received(&self, method: Method) -> &IntCounter {
        &self.methods[method as usize].received
    }

    /// Counts messages that leave, and their bytes without the frames.
    pub fn sent(&self, method: Method, messages: u64, bytes: u64) {
        self.methods[method as usize].sent.inc_by(messages);
        self.client_sent_bytes.inc_by(bytes);
    }

    /// Counts a call that begins.
    pub fn call_started(&self, method: Method) -> CallTimer {
        let series = &self.methods[method as usize];
        series.started.inc();
        CallTimer(series.handling.as_ref().map(|_| Instant::now()))
    }

    /// Counts a call that ended.
    pub fn call_ended(&self, method: Method, timer: &CallTimer, code: Code) {
        let series = &self.methods[method as usize];
        if code == Code::Ok {
            series.handled_ok.inc();
        } else {
            let (service, name) = split(method);
            self.handled
                .with_label_values(&[method.kind(), service, name, code.name()])
                .inc();
        }
        if let (Some(handling), Some(begin)) = (&series.handling, timer.0) {
            handling.observe(begin.elapsed().as_secs_f64());
        }
    }

    /// The page.
    pub fn page(&self, core: &Core) -> Vec<u8> {
        self.mirror(core);
        let mut out = Vec::with_capacity(64 * 1024);
        // Writing into memory cannot fail.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut out);
        network::write(core, &mut out);
        self.scrapes.with_label_values(&["200"]).inc();
        out
    }

    fn mirror(&self, core: &Core) {
        use std::sync::atomic::Ordering::Relaxed;
        let m = &self.mirrors;
        let raft = &core.raft.status;
        m.has_leader.set(i64::from(core.leader() != 0));
        m.is_leader.set(i64::from(raft.is_leader.load(Relaxed)));
        let cluster = core.state.cluster.load();
        m.is_learner.set(i64::from(
            cluster.member(core.member_id).is_some_and(|m| m.is_learner),
        ));
        if let Some(version) = cluster.version() {
            m.cluster_version
                .with_label_values(&[&format!("{}.{}", version.major, version.minor)])
                .set(1);
        }
        follow(&m.leader_changes, raft.leader_changes.load(Relaxed));
        m.committed.set(raft.commit.load(Relaxed) as i64);
        m.applied.set(core.state.applied.load(Relaxed) as i64);
        m.pending.set(core.in_flight() as i64);
        m.quota
            .set(core.config.quota_backend_bytes.unwrap_or(0) as i64);
        m.db_size.set(core.backend().size() as i64);
        m.db_in_use.set(core.backend().size_in_use() as i64);
        m.open_reads.set(core.backend().db().open_readers() as i64);
        m.current_revision.set(core.store().revision());
        m.compact_revision
            .set(core.store().compact_revision().max(0));
        m.keys.set(core.store().key_count() as i64);
        follow(&m.debug_ranges, self.ranges.get());
        follow(&m.removed, core.store().removed_records());
        let sum = |part: fn(&crate::runtime::Inbox) -> u64| {
            core.inboxes.iter().map(|i| part(i)).sum::<u64>()
        };
        follow(&m.events, sum(|inbox| inbox.events_taken.load(Relaxed)));
        m.pending_events
            .set(sum(|inbox| inbox.events_pending.load(Relaxed)) as i64);
        m.watchers.set(core.watchers.load(Relaxed));
        m.watch_streams.set(core.watch_streams.load(Relaxed));
        m.auth_revision
            .set(core.state.auth.read().revision() as i64);
        m.slow_watchers.set(core.slow_watchers.load(Relaxed));
        for code in ["200", "500", "503"] {
            self.scrapes.with_label_values(&[code]);
        }
        let process = Process::now();
        m.resident.set(process.resident);
        m.virtual_memory.set(process.virtual_memory);
        m.cpu_seconds
            .inc_by((process.cpu_seconds - m.cpu_seconds.get()).max(0.0));
        follow(&m.network_received, process.network_received);
        follow(&m.network_sent, process.network_sent);
        m.open_fds.set(process.open_fds);
        m.os_fd_used.set(process.open_fds);
        m.virtual_memory_max.set(
            rustix::process::getrlimit(rustix::process::Resource::As)
                .current
                .unwrap_or(u64::MAX) as f64,
        );
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile)
            .current
            .unwrap_or(0) as i64;
        m.max_fds.set(limit);
        m.os_fd_limit.set(limit);
        let admission = &core.admission;
        for (of, seats) in [
            ("clients", &admission.clients),
            ("members", &admission.members),
        ] {
            let gauge = |gauges: &IntGaugeVec, value: usize| {
                gauges
                    .with_label_values(&[of])
                    .set(i64::try_from(value).unwrap_or(i64::MAX));
            };
            gauge(&m.connections, seats.taken());
            gauge(&m.connections_limit, seats.limit());
            follow(
                &m.connections_sent_away.with_label_values(&[of]),
                seats.sent_away(),
            );
        }
    }
}

/// Brings a counter up to a number that is kept elsewhere.
fn follow(counter: &IntCounter, now: u64) {
    counter.inc_by(now.saturating_sub(counter.get()));
}

fn split(method: Method) -> (&'static str, &'static str) {
    method
        .path()
        .trim_start_matches('/')
        .split_once('/')
        .unwrap_or(("", ""))
}

#[derive(Default)]
struct Process {
    resident: i64,
    virtual_memory: i64,
    cpu_seconds: f64,
    open_fds: i64,
    network_received: u64,
    network_sent: u64,
}

impl Process {
    /// Read from /proc; zero where that is not there.
    fn now() -> Process {
        let mut process = Process::default();
        let page = rustix::param::page_size() as i64;
        if let Ok(text) = std::fs::read_to_string("/proc/self/statm") {
            let mut fields = text
                .split_whitespace()
                .filter_map(|f| f.parse::<i64>().ok());
            process.virtual_memory = fields.next().unwrap_or(0) * page;
            process.resident = fields.next().unwrap_or(0) * page;
        }
        if let Ok(text) = std::fs::read_to_string("/proc/self/stat")
            && let Some((_, rest)) = text.rsplit_once(')')
        {
            let fields: Vec<&str> = rest.split_whitespace().collect();
            let ticks = |i: usize| {
                fields
                    .get(i)
                    .and_then(|f| f.parse::<f64>().ok())
                    .unwrap_or(0.0)
            };
            process.cpu_seconds =
                (ticks(11) + ticks(12)) / rustix::param::clock_ticks_per_second() as f64;
        }
        if let Ok(text) = std::fs::read_to_string("/proc/self/net/netstat") {
            process.network_received = netstat(&text, "InOctets");
            process.network_sent = netstat(&text, "OutOctets");
        }
        process.open_fds = std::fs::read_dir("/proc/self/fd").map_or(0, |dir| dir.count() as i64);
        process
    }
}

/// A number of the group `IpExt`: one line has the names, the next the values.
fn netstat(text: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter(|line| line.starts_with("IpExt:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
        return 0;
    };
    let at = names.split_whitespace().position(|field| field == name);
    at.and_then(|at| values.split_whitespace().nth(at)?.parse().ok())
        .unwrap_or(0)
}
