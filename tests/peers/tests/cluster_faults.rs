//! The leader is killed, paused, cut off; a follower is cut off. The others go
//! on, no one acknowledges what it cannot hold, no one reads what is stale, and
//! when the fault ends all members come to hold the same.

use std::{fmt, time::Duration};

use anyhow::{Context as _, Result, ensure};
use peers::{
    api::{self, Api},
    cluster::{Cluster, Plan, until},
    load::Load,
    mixes,
    peer::Program,
};
use proto::etcdserverpb::RangeRequest;
use tokio::time::timeout;

/// Who leads when the fault comes, and who the two others are.
#[derive(Clone)]
struct Pair {
    leader: Program,
    others: Program,
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} leads {}", self.leader, self.others)
    }
}

async fn cluster_of(pair: &Pair) -> Result<Cluster> {
    let programs = [
        pair.leader.clone(),
        pair.others.clone(),
        pair.others.clone(),
    ];
    let cluster = Plan::of(&programs).gated().start().await?;
    cluster.move_leader(0).await?;
    Ok(cluster)
}

async fn killed(pair: Pair) -> Result<String> {
    let mut cluster = cluster_of(&pair).await?;
    let load = Load::start(&cluster, &[0, 1, 2], 6, peers::seed(31)).await?;
    for _ in 0..2 {
        load.more(100).await?;
        let leader = cluster.leader().await?;
        load.change(leader, true, "kill of the leader");
        cluster.kill(leader).await?;
        cluster.leader().await.context("after the kill")?;
        load.more(100).await.context("without the killed leader")?;
        cluster.start(leader).await?;
        cluster.leader().await?;
        load.calm();
        load.more(50).await?;
        cluster.hashes_equal().await?;
        load.change(0, true, "move of the leader");
        cluster.move_leader(0).await?;
        load.more(50).await?;
        load.calm();
    }
    let summary = load.finish(&cluster, 1).await?;
    cluster.finish().await?;
    Ok(summary.to_string())
}

async fn paused(pair: Pair) -> Result<String> {
    let mut cluster = cluster_of(&pair).await?;
    let load = Load::start(&cluster, &[0, 1, 2], 6, peers::seed(32)).await?;
    load.more(100).await?;
    load.change(0, true, "pause of the leader");
    cluster.pause(0)?;
    let next = cluster
        .leader()
        .await
        .context("while the leader is paused")?;
    ensure!(next != 0, "a paused member leads");
    load.more(100)
        .await
        .context("while the old leader is paused")?;
    cluster.resume(0)?;
    cluster.leader().await.context("after the pause")?;
    load.more(50).await?;
    load.calm();
    let summary = load.finish(&cluster, 1).await?;
    cluster.finish().await?;
    Ok(summary.to_string())
}

/// What a member without the others must and must not answer.
async fn alone(api: &Api) -> Result<()> {
    const LONG: Duration = Duration::from_secs(10);
    let put = timeout(LONG, api.put(api::put("alone", "never"))).await;
    ensure!(
        !matches!(put, Ok(Ok(_))),
        "a member that is cut off acknowledged a put"
    );
    let read = timeout(LONG, api.range(api::get("known"))).await;
    ensure!(
        !matches!(read, Ok(Ok(_))),
        "a member that is cut off answered a linearizable read"
    );
    let stale = RangeRequest {
        serializable: true,
        ..api::get("known")
    };
    let stale = timeout(LONG, api.range(stale)).await??;
    ensure!(
        stale.kvs.len() == 1,
        "a serializable read is answered from what is there"
    );
    Ok(())
}

async fn cut_off(pair: Pair) -> Result<String> {
    let mut cluster = cluster_of(&pair).await?;
    cluster.api(0).put(api::put("known", "before")).await?;
    cluster.agree().await?;
    cluster.links.cut_off(0, [1, 2]);
    let next = cluster
        .leader_among(&[1, 2])
        .await
        .context("the majority elects")?;
    for i in 0..50 {
        cluster
            .api(1 + i % 2)
            .put(api::put("known", format!("{i}")))
            .await?;
    }
    alone(cluster.api(0)).await?;
    cluster.links.mend();
    cluster.leader().await.context("after the cut")?;
    let read = cluster.api(0).range(api::get("known")).await?;
    ensure!(
        read.kvs.first().is_some_and(|kv| &kv.value[..] == b"49"),
        "the member that was cut off reads {:?}",
        read.kvs
    );
    // The put at the lonely member may not have survived: it was never held by two.
    let lonely = cluster.api(next).range(api::get("alone")).await?;
    ensure!(lonely.kvs.is_empty(), "a write of the minority survived");
    cluster.finish().await?;
    Ok("the majority went on, the minority answered nothing".to_owned())
}

async fn follower_cut_off(pair: Pair) -> Result<String> {
    let cluster = cluster_of(&pair).await?;
    let before = cluster.members()[0].status().await?;
    let load = Load::start(&cluster, &[0, 1], 4, peers::seed(33)).await?;
    cluster.links.cut_off(2, [0, 1]);
    until(
        "the follower misses its leader",
        Duration::from_secs(20),
        async || {
            let status = cluster.members()[2].status().await?;
            ensure!(status.leader == 0, "it still follows {:x}", status.leader);
            Ok(())
        },
    )
    .await?;
    load.more(200).await?;
    cluster.links.mend();
    cluster.leader().await?;
    load.more(50).await?;
    let summary = load.finish(&cluster, 2).await?;
    let after = cluster.members()[0].status().await?;
    ensure!(
        (before.leader, before.raft_term) == (after.leader, after.raft_term),
        "a follower that came back cost leader {:x} its term {}: now {:x} in term {}",
        before.leader,
        before.raft_term,
        after.leader,
        after.raft_term
    );
    cluster.finish().await?;
    Ok(format!("same leader, same term; {summary}"))
}

fn cases() -> Vec<Pair> {
    mixes::pairs(&["3.5.30"])
        .into_iter()
        .map(|[leader, others]| Pair { leader, others })
        .collect()
}

#[test]
fn a_leader_is_killed() {
    mixes::each("leader killed", 150, cases(), killed);
}

#[test]
fn a_leader_is_paused() {
    mixes::each("leader paused", 120, cases(), paused);
}

#[test]
fn a_leader_is_cut_off() {
    mixes::each("leader cut off", 150, cases(), cut_off);
}

#[test]
fn a_follower_is_cut_off() {
    mixes::each("follower cut off", 120, cases(), follower_cut_off);
}
