//! Members fed the same log must hold the same bytes. These checks compare the
//! hashes of all members: before serving, from time to time, and of what
//! compactions hashed in passing. A difference raises the CORRUPT alarm, which
//! stops writes: nothing here ever repairs.

use std::{rc::Rc, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use http::{Method, StatusCode};
use membership::{Cluster, Member};
use mvcc::HashKv;
use proto::etcdserverpb::{
    AlarmRequest, AlarmType, alarm_request::AlarmAction, internal_raft_request::Op,
};

use crate::{api, ask, runtime::Runtime, status::Status};

/// Starts the checks that are switched on.
pub fn start(rt: &Rc<Runtime>) {
    if let Some(period) = rt.core.config.corrupt_check_time {
        tracing::info!("local-member-id" = format!("{:x}", rt.core.member_id), interval = ?period, "enabled corruption checking");
        let rt = rt.clone();
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(period).await;
                if !leads(&rt) {
                    continue;
                }
                if let Err(error) = periodic(&rt).await {
                    tracing::warn!(error = %error, "failed to check hash KV");
                }
            }
        });
    }
    if let Some(period) = rt.core.config.compact_hash_check_time {
        let rt = rt.clone();
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(period).await;
                if leads(&rt) {
                    compactions(&rt).await;
                }
            }
        });
    }
}

fn leads(rt: &Rc<Runtime>) -> bool {
    rt.core.raft.status.is_leader.load(Ordering::Acquire)
}

/// What another member says of its data.
pub struct PeerHash {
    /// CRC-32C.
    pub hash: u32,
    /// What was compacted there.
    pub compact_revision: i64,
    /// The revision of its store.
    pub revision: i64,
}

impl PeerHash {
    /// Reads the answer of `/members/hashkv`.
    pub fn parse(body: &[u8]) -> Option<PeerHash> {
        let value: serde_json::Value = serde_json::from_slice(body).ok()?;
        let number = |at: &serde_json::Value, name: &str| {
            at.get(name).map_or(Some(0), serde_json::Value::as_i64)
        };
        Some(PeerHash {
            hash: u32::try_from(number(&value, "hash")?).ok()?,
            compact_revision: number(&value, "compact_revision")?,
            revision: number(value.get("header")?, "revision")?,
        })
    }
}

/// The question put to `/members/hashkv`.
pub fn question(revision: i64) -> Bytes {
    format!("{{\"revision\":{revision}}}").into()
}

/// The hashes of the other members at a revision, of those that have one.
async fn peers(rt: &Rc<Runtime>, cluster: &Cluster, revision: i64) -> Vec<(Member, PeerHash)> {
    let others = cluster
        .members()
        .filter(|m| m.id.0 != rt.core.member_id)
        .cloned();
    let questions = others.map(|member| async move {
        let reply = ask::member(
            rt,
            &member,
            Method::GET,
            "/members/hashkv",
            question(revision),
        )
        .await
        .ok()?;
        if reply.status != StatusCode::OK {
            // Behind, or compacted further: there is nothing to compare.
            tracing::warn!(
                "remote-peer-id" = %member.id,
                revision,
                error = String::from_utf8_lossy(&reply.body).trim_end(),
                "failed hash kv request"
            );
            return None;
        }
        Some((member, PeerHash::parse(&reply.body)?))
    });
    futures_util::future::join_all(questions)
        .await
        .into_iter()
        .flatten()
        .collect()
}

/// All members at one revision.
async fn periodic(rt: &Rc<Runtime>) -> Result<(), Status> {
    let cluster = rt.core.cluster.load_full();
    let before = api::maintenance::hash_of(rt, 0).await?;
    let others = peers(rt, &cluster, before.revision).await;
    rt.linearizable().await?;
    let after = api::maintenance::hash_of(rt, 0).await?;
    let same_place =
        after.revision == before.revision && after.compact_revision == before.compact_revision;
    if same_place && after.hash != before.hash {
        tracing::warn!("found hash mismatch");
        alarm(rt, rt.core.member_id).await?;
    }
    for (member, hash) in &others {
        let ahead = hash.revision > after.revision;
        let further = hash.compact_revision > after.compact_revision;
        let differs = hash.compact_revision == before.compact_revision && hash.hash != before.hash;
        if ahead || further || differs {
            tracing::warn!(
                "follower-peer-id" = %member.id,
                "leader-revision" = before.revision,
                "leader-compact-revision" = before.compact_revision,
                "leader-hash" = before.hash,
                "follower-revision" = hash.revision,
                "follower-compact-revision" = hash.compact_revision,
                "follower-hash" = hash.hash,
                "same compact revision then hashes must match"
            );
            alarm(rt, member.id.0).await?;
        }
    }
    Ok(())
}

/// The newest compaction that every member has hashed as well.
async fn compactions(rt: &Rc<Runtime>) {
    let cluster = rt.core.cluster.load_full();
    let hashes = rt.core.store().compaction_hashes();
    let mut checked = 0;
    for own in &hashes {
        let others = peers(rt, &cluster, own.revision).await;
        let comparable: Vec<_> = others
            .iter()
            .filter(|(_, h)| h.compact_revision == own.compact_revision)
            .collect();
        for (member, _) in suspects(rt, own, &comparable) {
            if let Err(error) = alarm(rt, member).await {
                tracing::warn!(error = %error, "failed to raise the alarm");
            }
        }
        checked += 1;
        if comparable.len() + 1 >= cluster.members().count() {
            break;
        }
    }
    tracing::info!(
        "number-of-hashes-checked" = checked,
        "number-of-hashes" = hashes.len(),
        "finished compaction hash check"
    );
}

/// Who differs: those apart from a clear majority, or nobody in particular (0)
/// where there is none.
fn suspects(rt: &Rc<Runtime>, own: &HashKv, others: &[&(Member, PeerHash)]) -> Vec<(u64, u32)> {
    let mut all: Vec<(u64, u32)> = others.iter().map(|(m, h)| (m.id.0, h.hash)).collect();
    all.push((rt.core.member_id, own.hash));
    let count = |hash: u32| all.iter().filter(|(_, h)| *h == hash).count();
    if count(own.hash) == all.len() {
        return Vec::new();
    }
    let total = rt.core.cluster.load().members().count();
    let majority = all.iter().map(|(_, h)| *h).find(|h| count(*h) > total / 2);
    tracing::error!(revision = own.revision, "detected compaction hash mismatch");
    match majority {
        Some(hash) => all.into_iter().filter(|(_, h)| *h != hash).collect(),
        None => vec![(0, 0)],
    }
}

async fn alarm(rt: &Rc<Runtime>, member_id: u64) -> Result<(), Status> {
    let raised = rt
        .core
        .alarms
        .read()
        .all()
        .iter()
        .any(|a| a.member_id == member_id && a.alarm == AlarmType::Corrupt as i32);
    if raised {
        return Ok(());
    }
    let request = AlarmRequest {
        action: AlarmAction::Activate as i32,
        member_id,
        alarm: AlarmType::Corrupt as i32,
    };
    rt.core.submit(rt, Op::Alarm(request)).await.map(drop)
}

/// How long another member may take to hash its data.
pub const HASH_TIMEOUT: Duration = Duration::from_secs(10);
