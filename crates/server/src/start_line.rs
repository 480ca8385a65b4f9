//! The log line "starting an etcd server": the settings that an operator wants to see, under
//! etcd's names. Of etcd's some fifty fields those are left out that are seldom set.

use line::{Line, Truth};

use crate::{
    config::{Config, ListenUrl},
    version,
};

/// Writes the line. `runtimes` is how many serve.
pub(crate) fn log(config: &Config, runtimes: usize) {
    let line = config.line.of_new_cluster();
    tracing::info!(
        "etcd-version" = line.release(),
        "pintle-version" = version::PINTLE,
        name = config.name,
        "data-dir" = %config.data_dir.display(),
        "wal-dir" = %config.wal_dir.as_deref().unwrap_or("".as_ref()).display(),
        "member-dir" = %config.member_dir().display(),
        "force-new-cluster" = config.force_new_cluster,
        "heartbeat-interval" = ?config.heartbeat,
        "election-timeout" = ?config.election,
        "snapshot-count" = snapshot_count(config, line),
        "max-wals" = config.max_wals,
        "max-snapshots" = config.max_snapshots,
        "snapshot-catchup-entries" = config.snapshot_catchup_entries,
        "initial-advertise-peer-urls" = list(config.advertise_peer.iter()),
        "listen-peer-urls" = listened(&config.listen_peer),
        "advertise-client-urls" = list(config.advertise_client.iter()),
        "listen-client-urls" = listened(&config.listen_client),
        "listen-metrics-urls" = listened(&config.listen_metrics),
        cors = list(config.cors.iter()),
        "host-whitelist" = list(config.host_whitelist.iter()),
        "initial-cluster" = config.initial_cluster,
        "initial-cluster-state" = if config.join_existing { "existing" } else { "new" },
        "initial-cluster-token" = config.initial_cluster_token,
        "quota-backend-bytes" = config.quota_backend_bytes.unwrap_or(0),
        "max-request-bytes" = config.max_request_bytes,
        "max-concurrent-streams" = config.max_concurrent_streams,
        "pre-vote" = config.pre_vote,
        "downgrade-check-interval" = ?config.downgrade_check_time,
        "max-learners" = config.max_learners,
        "v2-deprecation" = v2_deprecation(line),
        runtimes = runtimes,
        "starting an etcd server"
    );
}

fn snapshot_count(config: &Config, line: Line) -> u64 {
    config.snapshot_count.unwrap_or(line.facts().snapshot_count)
}

/// What is done about the v2 store is no longer a choice where it is not the truth.
fn v2_deprecation(line: Line) -> Option<&'static str> {
    (line.facts().truth == Truth::V3Store).then_some("write-only")
}

/// A JSON array, as the log writes it.
fn list(items: impl Iterator<Item = impl AsRef<str>>) -> String {
    let items: Vec<_> = items.map(|item| item.as_ref().to_owned()).collect();
    serde_json::Value::from(items).to_string()
}

fn listened(urls: &[ListenUrl]) -> String {
    list(urls.iter().map(|listen| listen.url.as_str()))
}
