//! The page: the registry, with what is kept elsewhere copied into it first.

use std::sync::Arc;

use prometheus::{IntCounter, IntGaugeVec};

use super::{by_line, network, process::Process, series::Metrics, text};
use crate::{core::Core, runtime::Inbox};

/// The page.
pub fn page(core: &Core, inboxes: &[Arc<Inbox>]) -> Vec<u8> {
    let metrics = &*core.metrics;
    mirror(metrics, core, inboxes);
    let mut out = String::with_capacity(192 * 1024);
    let families = by_line::of_line(metrics.registry.gather(), core.line());
    families
        .iter()
        .for_each(|family| text::write(&mut out, family));
    network::write(core, &mut out);
    metrics.scrapes.with_label_values(&["200"]).inc();
    out.into_bytes()
}

fn mirror(metrics: &Metrics, core: &Core, inboxes: &[Arc<Inbox>]) {
    use std::sync::atomic::Ordering::Relaxed;
    let m = &metrics.mirrors;
    by_line::mirror(m, core);
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
    follow(&m.debug_ranges, metrics.ranges.get());
    follow(&m.removed, core.store().removed_records());
    let sum = |part: fn(&Inbox) -> u64| inboxes.iter().map(|i| part(i)).sum::<u64>();
    follow(&m.events, sum(|inbox| inbox.events_taken.load(Relaxed)));
    m.pending_events
        .set(sum(|inbox| inbox.events_pending.load(Relaxed)) as i64);
    m.watchers.set(core.watchers.load(Relaxed));
    m.watch_streams.set(core.watch_streams.load(Relaxed));
    m.auth_revision
        .set(core.state.auth.read().revision() as i64);
    m.slow_watchers.set(core.slow_watchers.load(Relaxed));
    for code in ["200", "500", "503"] {
        metrics.scrapes.with_label_values(&[code]);
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
/// Brings a counter up to a number that is kept elsewhere.
fn follow(counter: &IntCounter, now: u64) {
    counter.inc_by(now.saturating_sub(counter.get()));
}
