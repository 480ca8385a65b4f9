//! Series of etcd about what does not exist or does not happen here. They are on
//! the page, so that dashboards and rules that name them find them.

use super::maker::Maker;

/// Counters that stay at zero. The store of API version 2 is not served, and there
/// is no proxy.
const COUNTERS: &[(&str, &str)] = &[
    (
        "etcd_debugging_store_expires_total",
        "Total number of expired keys.",
    ),
    (
        "etcd_debugging_store_watch_requests_total",
        "Total number of incoming watch requests (new or reestablished).",
    ),
    (
        "etcd_grpc_proxy_events_coalescing_total",
        "Total number of events coalescing",
    ),
];

/// Gauges that keep their value.
const GAUGES: &[(&str, &str, i64)] = &[
    (
        "etcd_debugging_store_watchers",
        "Count of currently active watchers.",
        0,
    ),
    (
        "etcd_grpc_proxy_cache_hits_total",
        "Total number of cache hits",
        0,
    ),
    (
        "etcd_grpc_proxy_cache_keys_total",
        "Total number of keys/ranges cached",
        0,
    ),
    (
        "etcd_grpc_proxy_cache_misses_total",
        "Total number of cache misses",
        0,
    ),
    (
        "etcd_grpc_proxy_watchers_coalescing_total",
        "Total number of current watchers coalescing",
        0,
    ),
    // Whoever reads it is being served.
    (
        "promhttp_metric_handler_requests_in_flight",
        "Current number of scrapes being served.",
        1,
    ),
];

/// Phases of a commit. Here they are one, and only the whole is timed:
/// `etcd_disk_backend_commit_duration_seconds`.
const COMMIT_PHASES: &[&str] = &["rebalance", "spill", "write"];

pub(super) fn register(m: &Maker) {
    for (name, help) in COUNTERS {
        m.counter(name, help);
    }
    for (name, help, value) in GAUGES {
        m.gauge(name, help).set(*value);
    }
    for phase in COMMIT_PHASES {
        m.histogram(
            &format!("etcd_debugging_disk_backend_commit_{phase}_duration_seconds"),
            &format!("The latency distributions of commit.{phase} called by bboltdb backend."),
            0.001,
            14,
        );
    }
    // Here there is no loop that does one thing after another for a stream.
    for (name, what) in [
        ("control_stream", "send loop control stream response"),
        ("progress", "progress loop control stream response"),
        ("watch_stream", "send loop watch stream response all events"),
    ] {
        m.histogram(
            &format!("etcd_debugging_server_watch_send_loop_{name}_duration_seconds"),
            &format!("The total duration in seconds of running through the {what}."),
            0.001,
            14,
        );
    }
    m.histogram(
        "etcd_debugging_server_watch_send_loop_watch_stream_duration_per_event_seconds",
        "The average duration in seconds of running through the send loop watch stream response, per event.",
        0.001,
        14,
    );
    let by_action = [
        (
            "etcd_debugging_store_reads_total",
            "Total number of reads action by (get/getRecursive), local to this member.",
            ["get", "getRecursive"],
        ),
        (
            "etcd_debugging_store_writes_total",
            "Total number of writes (e.g. set/compareAndDelete) seen by this member.",
            ["create", "set"],
        ),
    ];
    for (name, help, actions) in by_action {
        let counters = m.counters(name, help, &["action"]);
        for action in actions {
            counters.with_label_values(&[action]);
        }
    }
    m.gauges(
        "etcd_server_go_version",
        "Which Go version server is running with. 1 for 'server_go_version' label with current version.",
        &["server_go_version"],
    )
    .with_label_values(&["none (Rust)"])
    .set(1);
}
