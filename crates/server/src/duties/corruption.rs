//! Members fed the same log must hold the same bytes. These checks compare the
//! hashes of all members: before serving, from time to time, and of what
//! compactions hashed in passing. A difference raises the CORRUPT alarm, which
//! stops writes: nothing here ever repairs.

use std::{rc::Rc, sync::atomic::Ordering};

use bytes::Bytes;
use http::{Method, StatusCode};
use line::Feature;
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
            let mut checked = 0;
            loop {
                tokio::time::sleep(period).await;
                if leads(&rt) {
                    checked = compactions(&rt, checked).await;
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

/// All members at one revision. However many differ there is one alarm: which of them is
/// right cannot be told from here. Up to 3.5 it is for no one; later lines accuse the first
/// that is not as the leader.
async fn periodic(rt: &Rc<Runtime>) -> Result<(), Status> {
    let cluster = rt.core.state.cluster.load_full();
    let before = api::maintenance::hash_of(rt, 0).await?;
    let others = peers(rt, &cluster, before.revision).await;
    rt.linearizable().await?;
    let after = api::maintenance::hash_of(rt, 0).await?;
    let same_place =
        after.revision == before.revision && after.compact_revision == before.compact_revision;
    let mut differs = None;
    if same_place && after.hash != before.hash {
        differs = Some(rt.core.member_id);
        tracing::warn!(
            "revision-1" = before.revision,
            "compact-revision-1" = before.compact_revision,
            "hash-1" = before.hash,
            "revision-2" = after.revision,
            "compact-revision-2" = after.compact_revision,
            "hash-2" = after.hash,
            "found hash mismatch"
        );
    }
    for (member, hash) in &others {
        if contradicts(&before, &after, member, hash) {
            differs = differs.or(Some(member.id.0));
        }
    }
    if let Some(member) = differs {
        let accused = if accuses(rt) { member } else { NOBODY };
        alarm(rt, accused).await?;
    }
    tracing::info!(
        "number-of-peers-checked" = others.len(),
        "finished peer corruption check"
    );
    Ok(())
}

/// True if what another member says cannot be, with this one hashed before and after it.
fn contradicts(before: &HashKv, after: &HashKv, member: &Member, theirs: &PeerHash) -> bool {
    let is_ahead = theirs.revision > after.revision;
    if is_ahead {
        tracing::warn!(
            "leader-revision" = after.revision,
            "follower-revision" = theirs.revision,
            "follower-peer-id" = %member.id,
            "revision from follower must be less than or equal to leader's"
        );
    }
    let is_further = theirs.compact_revision > after.compact_revision;
    if is_further {
        tracing::warn!(
            "leader-compact-revision" = after.compact_revision,
            "follower-compact-revision" = theirs.compact_revision,
            "follower-peer-id" = %member.id,
            "compact revision from follower must be less than or equal to leader's"
        );
    }
    let differs = theirs.compact_revision == before.compact_revision && theirs.hash != before.hash;
    if differs {
        tracing::warn!(
            "leader-compact-revision" = after.compact_revision,
            "leader-hash" = before.hash,
            "follower-compact-revision" = theirs.compact_revision,
            "follower-hash" = theirs.hash,
            "follower-peer-id" = %member.id,
            "same compact revision then hashes must match"
        );
    }
    is_ahead || is_further || differs
}

/// Compares what compactions hashed, from the newest on, down to one that every member has
/// hashed as well. Returns the newest revision that all agreed on, `checked` before.
async fn compactions(rt: &Rc<Runtime>, checked: i64) -> i64 {
    tracing::info!(
        "local-member-id" = format!("{:x}", rt.core.member_id),
        "starting compact hash check"
    );
    let cluster = rt.core.state.cluster.load_full();
    let others_count = cluster.members().count().saturating_sub(1);
    let mut hashes = rt.core.store().compaction_hashes();
    hashes.retain(|hash| hash.revision > checked);
    hashes.sort_by_key(|hash| std::cmp::Reverse(hash.revision));
    for (at, own) in hashes.iter().enumerate() {
        if others_count == 0 {
            continue;
        }
        let others = peers(rt, &cluster, own.revision).await;
        let others: Vec<_> = others
            .iter()
            .filter(|(_, theirs)| theirs.compact_revision == own.compact_revision)
            .collect();
        if let Some((member, theirs)) = others.iter().find(|(_, h)| h.hash != own.hash) {
            tracing::error!(
                revision = own.revision,
                "leader-compact-revision" = own.compact_revision,
                "leader-hash" = own.hash,
                "follower-compact-revision" = theirs.compact_revision,
                "follower-hash" = theirs.hash,
                "follower-peer-id" = %member.id,
                "failed compaction hash check"
            );
            let hashes: Vec<_> = std::iter::once((rt.core.member_id, own.hash))
                .chain(others.iter().map(|(member, h)| (member.id.0, h.hash)))
                .collect();
            let accused = match accuses(rt) {
                true => minority(&hashes, others_count + 1),
                false => vec![NOBODY],
            };
            for member in accused {
                if let Err(error) = alarm(rt, member).await {
                    tracing::warn!(error = %error, "failed to raise the alarm");
                }
            }
            return checked;
        }
        if others.len() == others_count {
            tracing::info!(
                "number-of-peers-checked" = others.len(),
                revision = own.revision,
                "successfully checked hash on whole cluster"
            );
            finished(at + 1);
            return own.revision;
        }
        tracing::warn!(
            "number-of-peers-checked" = others.len(),
            "number-of-peers" = others_count,
            revision = own.revision,
            "skipped revision in compaction hash check; was not able to check all peers"
        );
    }
    finished(hashes.len());
    checked
}

fn finished(checked: usize) {
    tracing::info!(
        "number-of-hashes-checked" = checked,
        "finished compaction hash check"
    );
}

/// Whether alarms name members: etcd 3.5 raises them for no one in particular, for a hash that
/// differs does not say whose data is wrong, and the leader's may be.
fn accuses(rt: &Rc<Runtime>) -> bool {
    rt.core.line().has(Feature::CorruptMembersNamed)
}

/// Those whose hash is not that of most members of the cluster; no one in particular where no
/// hash is.
fn minority(hashes: &[(u64, u32)], members: usize) -> Vec<u64> {
    let of_most = hashes.iter().map(|(_, hash)| *hash).find(|hash| {
        let agree = hashes.iter().filter(|(_, other)| other == hash).count();
        agree > members / 2
    });
    match of_most {
        None => vec![NOBODY],
        Some(most) => hashes
            .iter()
            .filter(|(_, hash)| *hash != most)
            .map(|(member, _)| *member)
            .collect(),
    }
}

/// Raises the alarm for this member, unless it is raised.
async fn alarm(rt: &Rc<Runtime>, member: u64) -> Result<(), Status> {
    let request = AlarmRequest {
        action: AlarmAction::Activate as i32,
        member_id: member,
        alarm: AlarmType::Corrupt as i32,
    };
    let raised = rt.core.state.alarms.read().all();
    if raised
        .iter()
        .any(|a| a.member_id == member && a.alarm == request.alarm)
    {
        return Ok(());
    }
    rt.submit_again(Op::Alarm(request)).await.map(drop)
}

/// The member id of an alarm that accuses no member.
const NOBODY: u64 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_hash_is_not_that_of_most_is_accused() {
        assert_eq!(minority(&[(1, 7), (2, 7), (3, 8)], 3), [3]);
        assert_eq!(minority(&[(1, 8), (2, 7), (3, 7)], 3), [1]);
        assert_eq!(
            minority(&[(1, 8), (2, 7), (3, 7), (4, 9), (5, 7)], 5),
            [1, 4]
        );
    }

    #[test]
    fn without_a_majority_no_one_is_accused() {
        assert_eq!(minority(&[(1, 7), (2, 8)], 2), [NOBODY]);
        assert_eq!(minority(&[(1, 7), (2, 8), (3, 9)], 3), [NOBODY]);
        // Two agree, but of five: the others did not answer.
        assert_eq!(minority(&[(1, 7), (2, 7), (3, 8)], 5), [NOBODY]);
    }
}
