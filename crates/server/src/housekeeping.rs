//! What a member does without being asked: ticks, the first election, its
//! announcement, automatic compaction, purge. What it does with leases is in
//! [`lease_upkeep`].

use std::{collections::VecDeque, rc::Rc, sync::atomic::Ordering, time::Duration};

use proto::{
    etcdserverpb::{CompactionRequest, internal_raft_request::Op},
    membershippb::Attributes,
};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::{
    config::AutoCompaction,
    lease_upkeep,
    runtime::Runtime,
    status::{Status, errors},
    versions,
};

/// Starts all of it on runtime 0.
pub fn start(rt: &Rc<Runtime>) {
    tokio::task::spawn_local(tick(rt.clone()));
    tokio::task::spawn_local(elect(rt.clone()));
    tokio::task::spawn_local(advance_ticks(rt.clone()));
    tokio::task::spawn_local(miss_leader(rt.clone()));
    lease_upkeep::start(rt);
    tokio::task::spawn_local(purge(rt.clone()));
    tokio::task::spawn_local(snapshot_for_newer_releases(rt.clone()));
    match rt.core.config.auto_compaction {
        AutoCompaction::Off => {}
        AutoCompaction::Periodic(retention) => drop(tokio::task::spawn_local(
            compact_periodically(rt.clone(), retention),
        )),
        AutoCompaction::Revision(keep) => drop(tokio::task::spawn_local(compact_revisions(
            rt.clone(),
            keep,
        ))),
    }
}

pub(crate) fn steady(period: Duration) -> tokio::time::Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn tick(rt: Rc<Runtime>) {
    let mut ticks = steady(rt.core.config.heartbeat);
    loop {
        ticks.tick().await;
        rt.core.raft.drive(consensus::Node::tick);
        // A commit index that moved since the last append reaches the disk now.
        rt.core.raft.log.wake();
    }
}

/// The only voter need not wait for an election timeout: it stands as soon as
/// its own log lets it.
async fn elect(rt: Rc<Runtime>) {
    let sole = || rt.core.raft.inspect(consensus::Node::is_sole_voter);
    while rt.core.leader() == 0 {
        rt.core.raft.drive(|node| {
            let status = node.status();
            // Refused while committed entries wait to be applied; the next round asks again.
            if node.is_sole_voter() && status.applied == status.commit {
                let _ = node.campaign();
            }
        });
        sleep(if sole() { SOLE_POLL } else { POLL }).await;
    }
    tracing::info!(
        "local-member-id" = format!("{:x}", rt.core.member_id),
        leader = format!("{:x}", rt.core.leader()),
        term = rt.core.raft.status.term.load(Ordering::Acquire),
        "elected leader"
    );
}

/// How often it is looked for a leader: a lone member's start waits for it.
const SOLE_POLL: Duration = Duration::from_millis(2);
const POLL: Duration = Duration::from_millis(20);

/// How long the others are waited for before the election clock stands where it is.
const ADVANCE_WAIT: Duration = Duration::from_secs(5);

/// A member that reaches others at its start need not wait a whole election
/// timeout: two ticks are left for a leader to be heard from.
async fn advance_ticks(rt: Rc<Runtime>) {
    if !rt.core.config.initial_election_tick_advance {
        return;
    }
    let ticks = rt.core.config.election_ticks().saturating_sub(2);
    let begin = Instant::now();
    while begin.elapsed() < ADVANCE_WAIT && rt.core.leader() == 0 {
        let active = rt.core.raft.peers().map_or(0, |peers| {
            let peers = peers.peers();
            peers.iter().filter(|p| p.active_since.is_some()).count()
        });
        if active > 0 {
            tracing::info!(
                "local-member-id" = format!("{:x}", rt.core.member_id),
                "forward-ticks" = ticks,
                "active-remote-members" = active,
                "initialized peer connections; fast-forwarding election ticks"
            );
            rt.core.raft.drive(|node| {
                for _ in 0..ticks {
                    node.tick();
                }
            });
            return;
        }
        sleep(POLL).await;
    }
}

/// Election timeouts without a leader after which streams end that asked for one. New calls are
/// refused at once; a stream costs its client more to open again.
const LEADER_MISSED_MAX: u32 = 3;

/// Looks once per election timeout whether there is a leader.
async fn miss_leader(rt: Rc<Runtime>) {
    let mut rounds = steady(rt.core.config.election);
    let mut missed = 0;
    loop {
        rounds.tick().await;
        missed = if rt.core.leader() == 0 { missed + 1 } else { 0 };
        if missed >= LEADER_MISSED_MAX {
            rt.core.leader_lost.send_replace(());
        }
    }
}

/// Hands leadership to the voter that has been connected longest, so that the
/// cluster need not wait for an election when this member stops.
pub async fn give_up_leadership(rt: &Rc<Runtime>) {
    let core = &rt.core;
    let cluster = core.state.cluster.load_full();
    if !core.raft.status.is_leader.load(Ordering::Acquire) {
        tracing::info!(
            "local-member-id" = format!("{:x}", core.member_id),
            "current-leader-member-id" = format!("{:x}", core.leader()),
            "skipped leadership transfer; local server is not leader"
        );
        return;
    }
    if cluster.members().filter(|m| !m.is_learner).count() <= 1 {
        tracing::info!(
            "local-member-id" = format!("{:x}", core.member_id),
            "skipped leadership transfer for single voting member cluster"
        );
        return;
    }
    let oldest = cluster
        .members()
        .filter(|m| !m.is_learner && m.id.0 != core.member_id)
        .filter_map(|m| Some((core.raft.peers()?.active_since(m.id.0)?, m.id.0)))
        .min();
    let Some((_, target)) = oldest else {
        tracing::warn!("no voter is connected; leadership is not transferred");
        return;
    };
    if let Err(error) = crate::api::cluster::transfer(rt, target).await {
        tracing::warn!(
            "transferee-member-id" = format!("{target:x}"),
            error = %error,
            "leadership transfer failed"
        );
    }
}

/// Publishes this member's name and client URLs. Returns when that is applied.
/// A cluster that may hold members of 3.4 is told in the words these know.
pub async fn announce(rt: &Rc<Runtime>) {
    let core = &rt.core;
    let attributes = Attributes {
        name: core.config.name.clone(),
        client_urls: core.config.advertise_client.clone(),
    };
    loop {
        match versions::publish(rt, &attributes).await {
            Ok(()) => break,
            Err(error) => {
                if error != errors::NO_LEADER {
                    tracing::warn!(error = %error, "failed to publish local member to cluster through raft");
                }
                sleep(Duration::from_millis(5)).await;
            }
        }
    }
    tracing::info!(
        "local-member-id" = format!("{:x}", core.member_id),
        "local-member-attributes" = format!(
            "{{Name:{} ClientURLs:[{}]}}",
            attributes.name,
            attributes.client_urls.join(" ")
        ),
        "cluster-id" = format!("{:x}", core.cluster_id),
        "published local member to cluster through raft"
    );
}

/// Soon after the start, when everybody has published itself, and from then on
/// whenever a member that speaks the v2 language has.
const NEWER_RELEASE_PERIOD: Duration = Duration::from_secs(5);

/// Keeps what lies on disk fit for releases to come, also where the process is killed.
async fn snapshot_for_newer_releases(rt: Rc<Runtime>) {
    let mut rounds = steady(NEWER_RELEASE_PERIOD);
    rounds.tick().await;
    loop {
        rounds.tick().await;
        rt.core.raft.apply.push(member::Command::SnapshotIfBlocking);
    }
}

const PURGE_PERIOD: Duration = Duration::from_secs(30);

/// Removes snapshot files and log segments beyond the number to keep. A segment
/// that is still needed is locked by the log writer and stays.
async fn purge(rt: Rc<Runtime>) {
    let mut rounds = steady(PURGE_PERIOD);
    loop {
        rounds.tick().await;
        let config = &rt.core.config;
        let jobs = [
            (config.snap_dir(), ".snap", config.max_snapshots),
            (config.snap_dir(), ".snap.db", config.max_snapshots),
            (config.wal_path(), ".wal", config.max_wals),
        ];
        let done = tokio::task::spawn_blocking(move || {
            for (dir, suffix, keep) in jobs {
                if keep == 0 {
                    continue;
                }
                match wal::purge::purge(&dir, suffix, keep) {
                    Ok(files) => {
                        for file in files {
                            tracing::info!(path = %file.display(), "purged");
                        }
                    }
                    Err(error) => {
                        tracing::warn!(path = %dir.display(), error = %error, "failed to purge")
                    }
                }
            }
        });
        let _ = done.await;
    }
}

async fn compact(rt: &Rc<Runtime>, revision: i64) -> Result<(), Status> {
    rt.core
        .submit(
            rt,
            auth::Identity::default(),
            Op::Compaction(CompactionRequest {
                revision,
                physical: false,
            }),
        )
        .await
        .map(drop)
}

/// Every tenth of the interval the revision is noted; what was current one
/// retention ago is compacted once per interval.
async fn compact_periodically(rt: Rc<Runtime>, retention: Duration) {
    let interval = retention.min(Duration::from_secs(3600));
    let step = interval / 10;
    let keep = (retention.as_nanos() / step.as_nanos().max(1)) as usize;
    let mut revisions = VecDeque::new();
    let mut rounds = steady(step);
    let mut last = Instant::now();
    loop {
        rounds.tick().await;
        revisions.push_back(rt.core.store().revision());
        while revisions.len() > keep + 1 {
            revisions.pop_front();
        }
        if revisions.len() <= keep
            || last.elapsed() < interval
            || !rt.core.raft.status.is_leader.load(Ordering::Acquire)
        {
            continue;
        }
        let revision = revisions[0];
        tracing::info!(revision, "compact-period" = ?retention, "starting auto periodic compaction");
        match compact(&rt, revision).await {
            Ok(()) => {
                last = Instant::now();
                tracing::info!(revision, "completed auto periodic compaction");
            }
            Err(error) if error == errors::COMPACTED => last = Instant::now(),
            Err(error) => {
                tracing::warn!(revision, error = %error, "failed auto periodic compaction")
            }
        }
    }
}

const REVISION_PERIOD: Duration = Duration::from_secs(300);

async fn compact_revisions(rt: Rc<Runtime>, keep: i64) {
    let mut done = 0;
    loop {
        sleep(REVISION_PERIOD).await;
        let revision = rt.core.store().revision() - keep;
        if revision <= 0
            || revision == done
            || !rt.core.raft.status.is_leader.load(Ordering::Acquire)
        {
            continue;
        }
        tracing::info!(
            revision,
            "revision-compaction-retention" = keep,
            "starting auto revision compaction"
        );
        match compact(&rt, revision).await {
            Ok(()) => {
                done = revision;
                tracing::info!(revision, "completed auto revision compaction");
            }
            Err(error) if error == errors::COMPACTED => done = revision,
            Err(error) => {
                tracing::warn!(revision, error = %error, "failed auto revision compaction")
            }
        }
    }
}
