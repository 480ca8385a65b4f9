//! The series that others count into.

use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Registry, exponential_buckets,
};
use wal::snap::Saved;

use super::{
    applies::Applies,
    calls::{CallTimer, Calls},
    compaction::Compaction,
    idle,
    maker::Maker,
    mirrors::Mirrors,
    requests::Requests,
};
use crate::{rpc::Method, status::Code, version::PINTLE};

/// All series of this process.
pub struct Metrics {
    pub(super) registry: Registry,
    calls: Calls,
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
    pub(super) scrapes: IntCounterVec,
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
    /// `etcd_server_request_duration_seconds`
    pub requests: Requests,
    pub(super) mirrors: Mirrors,
}

impl Metrics {
    /// Registers everything. `extensive` adds the handling time of every method.
    pub fn new(extensive: bool, member_id: u64) -> Metrics {
        let m = Maker(Registry::new());
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
            calls: Calls::new(&m, extensive),
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
            requests: Requests::new(&m),
            mirrors: Mirrors::new(&m),
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
        self.calls.client_request(method, client_api_version);
    }

    /// The counter of the messages that calls of `method` bring.
    pub fn received(&self, method: Method) -> &IntCounter {
        self.calls.received(method)
    }

    /// Counts messages that leave, and their bytes without the frames.
    pub fn sent(&self, method: Method, messages: u64, bytes: u64) {
        self.calls.sent(method, messages);
        self.client_sent_bytes.inc_by(bytes);
    }

    /// Counts a call that begins.
    pub fn call_started(&self, method: Method) -> CallTimer {
        self.calls.call_started(method)
    }

    /// Counts a call that ended.
    pub fn call_ended(&self, method: Method, timer: &CallTimer, code: Code) {
        self.calls.call_ended(method, timer, code);
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
}
