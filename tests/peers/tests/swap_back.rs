//! Older releases on what a Pintle leaves behind, also where it was killed: whatever it wrote
//! into its log, they can read.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use peers::{
    api,
    cluster::{Cluster, Plan, WITHIN, until},
    http, peer,
};
use prost::Message as _;
use proto::{
    etcdserverpb::{
        DowngradeRequest, InternalRaftRequest, downgrade_request::DowngradeAction,
        internal_raft_request::Op,
    },
    raftpb::EntryType,
};

/// Entries of the log that etcd 3.4 cannot read.
fn unreadable_for_3_4(dir: &Path) -> Result<Vec<u64>> {
    let log = wal::read_all(&dir.join("member/wal"), proto::walpb::Snapshot::default())?;
    let is_new = |data: bytes::Bytes| {
        let request = InternalRaftRequest::decode(data).ok().and_then(|r| r.op);
        matches!(
            request,
            Some(Op::ClusterVersionSet(_) | Op::ClusterMemberAttrSet(_) | Op::DowngradeInfoSet(_))
        )
    };
    let entries = log.entries.into_iter();
    Ok(entries
        .filter(|e| e.r#type == EntryType::EntryNormal as i32)
        .filter_map(|e| is_new(e.data.unwrap_or_default()).then_some(e.index))
        .collect())
}

/// Waits until the newest snapshot in the log is as new as everything that is applied now.
async fn snapshot_of_now(cluster: &Cluster, place: usize) -> Result<()> {
    let now = cluster.members()[place].status().await?.raft_applied_index;
    let dir = &cluster.members()[place].dir;
    until("a snapshot", WITHIN, async || {
        let log = wal::read_all(&dir.join("member/wal"), proto::walpb::Snapshot::default())?;
        let index = log.snapshots.last().map_or(0, |snapshot| snapshot.index);
        ensure!(index >= now, "the newest is at {index}, applied is {now}");
        Ok(())
    })
    .await
}

async fn cluster_version(cluster: &Cluster) -> Result<String> {
    let page = http::send(cluster.members()[0].client_port, "GET", "/version", "").await?;
    let page: serde_json::Value = serde_json::from_slice(&page.body)?;
    let version = page["etcdcluster"].as_str();
    Ok(version.context("no cluster version")?.to_owned())
}

#[test]
fn a_restarted_member_proposes_nothing_that_3_4_cannot_read() {
    peers::run(120, async {
        let Some(program) = peer::subject() else {
            return Ok(());
        };
        let mut cluster = Plan::of(&[program]).start().await?;
        for _ in 0..2 {
            // From there it knows the cluster version before it has read the log.
            snapshot_of_now(&cluster, 0).await?;
            cluster.kill(0).await?;
            cluster.start(0).await?;
            cluster.settled().await?;
        }
        cluster.kill(0).await?;
        let found = unreadable_for_3_4(&cluster.members()[0].dir)?;
        ensure!(found.is_empty(), "entries {found:?}");
        Ok(())
    });
}

/// Down to 3.4, killed without a warning, and 3.4 goes on. What begins a downgrade is the one
/// entry that 3.4 cannot read, so there is a snapshot after it.
#[test]
fn etcd_3_4_starts_on_the_directory_of_a_killed_member_after_a_downgrade() {
    peers::run(120, async {
        let (Some(program), Some(older)) = (peer::subject(), peer::etcd(peer::BEFORE)) else {
            return Ok(());
        };
        if !program.is_pintle {
            return Ok(());
        }
        let mut cluster = Plan::of(&[program]).start().await?;
        cluster.api(0).put(api::put("before", "v")).await?;
        snapshot_of_now(&cluster, 0).await?;
        let request = DowngradeRequest {
            action: DowngradeAction::Enable as i32,
            version: "3.4.0".to_owned(),
        };
        cluster.api(0).downgrade(request).await?;
        until("the cluster version is down", WITHIN, async || {
            let version = cluster_version(&cluster).await?;
            ensure!(version == "3.4.0", "{version}");
            Ok(())
        })
        .await?;
        snapshot_of_now(&cluster, 0).await?;
        cluster.kill(0).await?;
        cluster.refit(0, &older, &[]);
        cluster.start(0).await?;
        let kept = cluster.api(0).range(api::get("before")).await?;
        ensure!(kept.count == 1, "{kept:?}");
        cluster.end().await?;
        Ok(())
    });
}

/// 3.4 ends where it reads that a downgrade begins.
#[test]
fn no_downgrade_begins_where_3_4_may_read_it() {
    peers::run(120, async {
        let (Some(program), Some(older)) = (peer::subject(), peer::etcd(peer::BEFORE)) else {
            return Ok(());
        };
        if !program.is_pintle {
            return Ok(());
        }
        let programs = [older.clone(), program, older];
        let mut cluster = Plan::of(&programs).start().await?;
        let version = cluster_version(&cluster).await?;
        ensure!(version == "3.4.0", "{version}");
        for action in [DowngradeAction::Enable, DowngradeAction::Cancel] {
            let request = DowngradeRequest {
                action: action as i32,
                version: "3.3.0".to_owned(),
            };
            let refused = cluster.api(1).downgrade(request).await;
            ensure!(refused.is_err(), "{action:?}: {refused:?}");
        }
        cluster.api(1).put(api::put("after", "v")).await?;
        // Also a member that comes back says who it is in words that 3.4 knows.
        cluster.kill(1).await?;
        cluster.start(1).await?;
        cluster.finish().await?;
        Ok(())
    });
}

/// Rounds of the leader's look at the versions of the members.
const ROUNDS: u32 = 5;

/// A member of etcd 3.5 ends for good where it reads that the cluster version is down to 3.4 while
/// it runs 3.5, so a leader waits until no other member runs that any more.
#[test]
fn a_downgrade_ends_no_member_that_is_not_replaced_yet() {
    peers::run(120, async {
        let (Some(program), Some(etcd), Some(older)) = (
            peer::subject(),
            peer::etcd(peer::REFERENCE),
            peer::etcd("3.5.16"),
        ) else {
            return Ok(());
        };
        if !program.is_pintle {
            return Ok(());
        }
        let flag = "--experimental-downgrade-check-time=1s";
        let programs = [etcd, program, older];
        let cluster = Plan::of(&programs).flag(flag).start().await?;
        cluster.move_leader(1).await?;
        let request = DowngradeRequest {
            action: DowngradeAction::Enable as i32,
            version: "3.4.0".to_owned(),
        };
        cluster.api(1).downgrade(request).await?;
        // The leader looks every second, as the flag has it.
        let rounds = tokio::time::Instant::now() + ROUNDS * std::time::Duration::from_secs(1);
        while tokio::time::Instant::now() < rounds {
            for place in cluster.places() {
                cluster.api(place).put(api::put("during", "v")).await?;
            }
        }
        let version = cluster_version(&cluster).await?;
        ensure!(version == "3.5.0", "{version}");
        let request = DowngradeRequest {
            action: DowngradeAction::Cancel as i32,
            version: String::new(),
        };
        cluster.api(1).downgrade(request).await?;
        cluster.finish().await?;
        Ok(())
    });
}
