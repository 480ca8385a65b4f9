//! Each kind catches up from the other: a member that was away gets what it
//! missed from the leader's log, or, when that no longer reaches back, a
//! snapshot; a new member gets everything. Writes go on meanwhile.

use std::fmt;

use anyhow::{Context as _, Result, ensure};
use futures_util::{StreamExt as _, stream};
use peers::{
    api,
    cluster::{Cluster, Plan, Role},
    mixes,
    peer::Program,
};
use proto::etcdserverpb::LeaseGrantRequest;

/// Who leads and who was away.
#[derive(Clone)]
struct Pair {
    leader: Program,
    behind: Program,
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} catches up from {}", self.behind, self.leader)
    }
}

/// `n` puts through member `via`, many at a time.
async fn puts(cluster: &Cluster, via: usize, prefix: &str, n: u64) -> Result<()> {
    let api = cluster.api(via);
    let mut answers = stream::iter(0..n)
        .map(|i| async move {
            api.put(api::put(format!("{prefix}/{i:06}"), vec![b'x'; 60]))
                .await
        })
        .buffer_unordered(64);
    while let Some(answer) = answers.next().await {
        answer.context("put")?;
    }
    Ok(())
}

/// A cluster of leader, third and the one that will be away, led by the first.
async fn cluster_of(pair: &Pair, count: u64, keep: u64) -> Result<Cluster> {
    let programs = [
        pair.leader.clone(),
        pair.leader.clone(),
        pair.behind.clone(),
    ];
    let mut cluster = Plan::of(&programs).snapshots(count, keep).start().await?;
    cluster.move_leader(0).await?;
    puts(&cluster, 0, "before", 50).await?;
    let grant = LeaseGrantRequest { ttl: 3600, id: 77 };
    cluster.api(0).lease_grant(grant).await?;
    cluster.agree().await?;
    Ok(cluster)
}

async fn by_log(pair: Pair) -> Result<String> {
    let mut cluster = cluster_of(&pair, 100_000, 5000).await?;
    cluster.stop(2).await?;
    puts(&cluster, 1, "away", 300).await?;
    cluster.start(2).await?;
    cluster.agree().await?;
    let log = cluster.member(2).server()?.log_text();
    ensure!(
        !took_a_snapshot(&log),
        "it took a snapshot though the log reaches back"
    );
    // Once more without a warning to anybody.
    cluster.kill(2).await?;
    puts(&cluster, 0, "killed", 100).await?;
    cluster.start(2).await?;
    cluster.agree().await?;
    cluster.finish().await?;
    Ok("400 entries".to_owned())
}

fn took_a_snapshot(log: &str) -> bool {
    log.contains("applied snapshot") || log.contains("received and saved database snapshot")
}

async fn by_snapshot(pair: Pair) -> Result<String> {
    let mut cluster = cluster_of(&pair, 100, 20).await?;
    let kept = cluster.entries_kept(0);
    cluster.stop(2).await?;
    // Two snapshots' worth beyond what the leader keeps.
    puts(&cluster, 1, "away", kept + 300).await?;
    cluster.start(2).await?;
    puts(&cluster, 0, "meanwhile", 50).await?;
    cluster.agree().await?;
    let log = cluster.member(2).server()?.log_text();
    ensure!(
        took_a_snapshot(&log),
        "no snapshot was installed, though {} entries were missed and {kept} kept",
        kept + 300
    );
    // It must be able to start from what the snapshot left, and to lead.
    cluster.kill(2).await?;
    cluster.start(2).await?;
    cluster.move_leader(2).await?;
    puts(&cluster, 1, "after", 50).await?;
    cluster.agree().await?;
    cluster.finish().await?;
    Ok(format!("{} entries missed, {kept} kept", kept + 300))
}

async fn as_a_new_member(pair: Pair) -> Result<String> {
    let programs = [
        pair.leader.clone(),
        pair.leader.clone(),
        pair.leader.clone(),
    ];
    let mut cluster = Plan::of(&programs).snapshots(100, 20).start().await?;
    let kept = cluster.entries_kept(0);
    puts(&cluster, 0, "before", kept + 300).await?;
    let place = cluster.add(&pair.behind, Role::Learner, 0).await?;
    puts(&cluster, 0, "meanwhile", 50).await?;
    cluster.agree().await.context("with a learner")?;
    cluster.promote(place, 0).await?;
    cluster.settled().await?;
    cluster.agree().await.context("promoted")?;
    let log = cluster.member(place).server()?.log_text();
    ensure!(took_a_snapshot(&log), "no snapshot was installed");
    cluster.move_leader(place).await?;
    puts(&cluster, place, "led", 50).await?;
    cluster.finish().await?;
    Ok("learner, snapshot, promoted, led".to_owned())
}

fn cases() -> Vec<Pair> {
    mixes::pairs(&["3.5.30"])
        .into_iter()
        .map(|[leader, behind]| Pair { leader, behind })
        .collect()
}

#[test]
fn a_member_catches_up_by_log() {
    mixes::each("catch up by log", 120, cases(), by_log);
}

#[test]
fn a_member_catches_up_by_snapshot() {
    mixes::each("catch up by snapshot", 150, cases(), by_snapshot);
}

#[test]
fn a_new_member_catches_up_by_snapshot() {
    // A cluster of one release has its version: no one older joins.
    let mut cases = cases();
    cases.retain(|pair| pair.leader.minor() <= pair.behind.minor());
    mixes::each("new member by snapshot", 150, cases, as_a_new_member);
}
