//! Whether the members of a cluster hold the same: hash, revision, member
//! list, leader, term, raft index, alarms, cluster version, each asked of each
//! member itself. It must never ask one member about another.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result, ensure};
use proto::etcdserverpb::*;
use tokio::time::timeout;

use super::processes::{ANSWER_WITHIN, Cluster, Member, WITHIN};
use crate::{api, http};

/// What all members of a cluster at rest say alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Agreement {
    /// Current revision.
    pub revision: i64,
    /// Compacted revision as HashKV names it.
    pub compact_revision: i64,
    /// HashKV at the current revision.
    pub hash: u32,
    /// The leader's id.
    pub leader: u64,
    /// The term.
    pub term: u64,
    /// Committed and applied index.
    pub index: u64,
    /// `(id, name, peer URLs, client URLs, learner)` of every member, by id.
    pub members: Vec<Listed>,
    /// `(member, type)` of every alarm. Learners answer no alarm request: theirs
    /// come from their status.
    pub alarms: Vec<(u64, i32)>,
    /// Version of the cluster, `3.5.0`.
    pub version: String,
}

/// A member as a member list names it.
pub type Listed = (u64, String, Vec<String>, Vec<String>, bool);

impl Cluster {
    /// All running members must agree; then everything is stopped and checked.
    pub async fn finish(mut self) -> Result<Agreement> {
        let agreement = self.agree().await?;
        self.end().await?;
        Ok(agreement)
    }

    /// Waits until all running members, learners too, say the same of everything
    /// in [`Agreement`]. No one may write meanwhile.
    pub async fn agree(&mut self) -> Result<Agreement> {
        for place in self.places() {
            let member = &mut self.members[place];
            if let Some(server) = &mut member.server
                && let Some(status) = server.poll_exit()?
            {
                let tail = server.tail();
                anyhow::bail!("{} ended by itself: {status}\n{tail}", member.label());
            }
        }
        let cluster = &*self;
        // An alarm request is a proposal, even one that only lists: they come first,
        // for the index must rest while it is compared.
        let mut alarms_of = Vec::new();
        for place in cluster.up() {
            alarms_of.push(alarms(&cluster.members[place]).await?);
        }
        let mut agreed = until::ok("all members agree", WITHIN, async || {
            let mut said = Vec::new();
            for place in cluster.up() {
                let member = &cluster.members[place];
                let saying = say(member)
                    .await
                    .with_context(|| format!("{} is asked for its state", member.label()))?;
                said.push((member.label(), saying));
            }
            let different: BTreeSet<_> = said.iter().map(|(_, s)| s).collect();
            ensure!(
                different.len() == 1,
                "members say different things: {said:#x?}"
            );
            Ok(said.swap_remove(0).1)
        })
        .await?;
        let different: BTreeSet<_> = alarms_of.iter().collect();
        ensure!(
            different.len() == 1,
            "members list different alarms: {alarms_of:?}"
        );
        agreed.alarms = alarms_of.swap_remove(0);
        Ok(agreed)
    }

    /// HashKV at one revision, the newest one of the first running member, is equal
    /// on all running members. Others may write meanwhile.
    pub async fn hashes_equal(&self) -> Result<()> {
        let places = self.up();
        let first = places.first().context("no member runs")?;
        let now = self.api(*first).range(api::get("x")).await?;
        let revision = now.header.map_or(0, |h| h.revision);
        let mut hashes = BTreeSet::new();
        for place in &places {
            let member = &self.members[*place];
            let answer = until::ok(
                &format!("{} has revision {revision}", member.label()),
                WITHIN,
                async || hash(member, revision).await,
            )
            .await?;
            hashes.insert((answer, member.label()));
        }
        let different: BTreeSet<_> = hashes.iter().map(|(h, _)| h).collect();
        ensure!(
            different.len() == 1,
            "(hash, compact revision) at revision {revision} differ: {hashes:?}"
        );
        Ok(())
    }
}

async fn say(member: &Member) -> Result<Agreement> {
    let status = member.status().await?;
    ensure!(
        status.raft_index == status.raft_applied_index,
        "{} has applied {} of {}",
        member.label(),
        status.raft_applied_index,
        status.raft_index
    );
    let read = RangeRequest {
        serializable: true,
        ..api::get("x")
    };
    let header = timeout(ANSWER_WITHIN, member.api.range(read))
        .await??
        .header;
    let revision = header.map_or(0, |h| h.revision);
    let (hash, compact_revision) = hash(member, revision).await?;
    let version = http::send(member.client_port, "GET", "/version", "").await?;
    let version: serde_json::Value = serde_json::from_slice(&version.body)?;
    Ok(Agreement {
        revision,
        compact_revision,
        hash,
        leader: status.leader,
        term: status.raft_term,
        index: status.raft_index,
        members: member_list(member).await?,
        alarms: Vec::new(),
        version: version["etcdcluster"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    })
}

/// HashKV at a revision and the compact revision it names. A learner refuses
/// the call of clients; its peer port answers.
async fn hash(member: &Member, revision: i64) -> Result<(u32, i64)> {
    if !member.is_learner {
        let request = HashKvRequest { revision };
        let answer = timeout(ANSWER_WITHIN, member.api.hash_kv(request)).await??;
        return Ok((answer.hash, answer.compact_revision));
    }
    let body = format!("{{\"revision\":{revision}}}");
    let answer = http::send(member.peer_port, "GET", "/members/hashkv", &body).await?;
    let text = answer.text();
    ensure!(
        answer.status == 200,
        "/members/hashkv: {} {text}",
        answer.status
    );
    let json: serde_json::Value = serde_json::from_str(&text)?;
    let hash = json["hash"].as_u64().with_context(|| text.clone())?;
    let compact = json["compact_revision"].as_i64().unwrap_or(0);
    Ok((u32::try_from(hash)?, compact))
}

async fn member_list(member: &Member) -> Result<Vec<Listed>> {
    let mut listed: Vec<Listed> = if member.is_learner {
        let answer = http::send(member.peer_port, "GET", "/members", "").await?;
        let json: serde_json::Value = serde_json::from_slice(&answer.body)?;
        let words = |v: &serde_json::Value| -> Vec<String> {
            let list = v.as_array().into_iter().flatten();
            list.filter_map(|u| u.as_str().map(str::to_owned)).collect()
        };
        let members = json.as_array().context("/members is no list")?;
        members
            .iter()
            .map(|m| {
                (
                    m["id"].as_u64().unwrap_or(0),
                    m["name"].as_str().unwrap_or_default().to_owned(),
                    words(&m["peerURLs"]),
                    words(&m["clientURLs"]),
                    m["isLearner"].as_bool().unwrap_or(false),
                )
            })
            .collect()
    } else {
        let request = MemberListRequest {
            linearizable: false,
        };
        let answer = timeout(ANSWER_WITHIN, member.api.member_list(request)).await??;
        answer
            .members
            .into_iter()
            .map(|m| (m.id, m.name, m.peer_ur_ls, m.client_ur_ls, m.is_learner))
            .collect()
    };
    listed.sort();
    Ok(listed)
}

async fn alarms(member: &Member) -> Result<Vec<(u64, i32)>> {
    if member.is_learner {
        let status = member.status().await?;
        // Status names them as text: `memberID:1 alarm:NOSPACE `.
        return Ok(status.errors.iter().filter_map(|e| alarm_in(e)).collect());
    }
    let answer = timeout(
        Duration::from_secs(10),
        member.api.alarm(AlarmRequest::default()),
    )
    .await??;
    let mut found: Vec<_> = answer
        .alarms
        .iter()
        .map(|a| (a.member_id, a.alarm))
        .collect();
    found.sort();
    Ok(found)
}

fn alarm_in(text: &str) -> Option<(u64, i32)> {
    let id = text.split("memberID:").nth(1)?.split(' ').next()?;
    let name = text.split("alarm:").nth(1)?.trim();
    Some((id.parse().ok()?, AlarmType::from_str_name(name)? as i32))
}
