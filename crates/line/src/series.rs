//! Series of `/metrics` that only some lines have. Those that are not named here have no line.

use crate::lines::Line;

/// Families by their names, and the lines that have them.
static FAMILIES: [(&str, &[Line]); 11] = {
    use Line::{V3_5, V3_6, V3_7};
    [
        ("etcd_debugging_mvcc_range_total", &[V3_5]),
        ("etcd_debugging_store_reads_total", &[V3_5, V3_6]),
        ("etcd_debugging_store_writes_total", &[V3_5, V3_6]),
        ("etcd_network_known_peers", &[V3_6, V3_7]),
        ("etcd_server_feature_enabled", &[V3_6, V3_7]),
        (
            "etcd_debugging_server_watch_send_loop_control_stream_duration_seconds",
            &[V3_7],
        ),
        (
            "etcd_debugging_server_watch_send_loop_progress_duration_seconds",
            &[V3_7],
        ),
        (
            "etcd_debugging_server_watch_send_loop_watch_stream_duration_per_event_seconds",
            &[V3_7],
        ),
        (
            "etcd_debugging_server_watch_send_loop_watch_stream_duration_seconds",
            &[V3_7],
        ),
        ("etcd_server_range_duration_seconds", &[V3_6, V3_7]),
        ("etcd_server_request_duration_seconds", &[V3_7]),
    ]
};

impl Line {
    /// Whether members of this line have a family of series.
    pub fn has_series(self, family: &str) -> bool {
        FAMILIES
            .iter()
            .find(|(name, _)| *name == family)
            .is_none_or(|(_, lines)| lines.contains(&self))
    }
}
