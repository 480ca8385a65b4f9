//! What a run looks at before and after every step.

use std::{collections::BTreeSet, time::Duration};

use semver::Version;

use super::{
    cluster::Cluster,
    deviation::Deviation,
    poll::{self, Attempt},
    safety::Refusal,
};
use crate::facts::Hash;

/// A cluster that is as it should be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Ids and peer URLs of its members.
    pub(crate) members: BTreeSet<(u64, String)>,
    /// Name of the leader.
    pub(crate) leader: String,
    /// Versions by member.
    pub(crate) versions: Vec<(String, Version)>,
    /// The cluster version.
    pub(crate) cluster: Option<Version>,
    /// Where a downgrade leads, if one is under way.
    pub(crate) downgrade: Option<Version>,
    /// The slower half of some reads takes at least this.
    pub(crate) latency: Duration,
}

impl Seen {
    /// Whether the members are those of an earlier look.
    ///
    /// # Errors
    /// The member list has changed.
    pub(crate) fn has_members_of(&self, before: &Seen) -> Result<(), Deviation> {
        if self.members == before.members {
            return Ok(());
        }
        let why = format!(
            "the member list was {:?} and is {:?}",
            before.members, self.members
        );
        Err(why.into())
    }
}

/// Looks at all `endpoints` (name and URL) once.
///
/// # Errors
/// The first thing that is not as it should be.
pub(crate) async fn once(
    cluster: &impl Cluster,
    endpoints: &[(String, String)],
) -> Result<Seen, Deviation> {
    let mut seen = Seen::default();
    let mut leaders = BTreeSet::new();
    let mut revision = i64::MAX;
    let mut ids = Vec::new();
    for (name, endpoint) in endpoints {
        let said = |why: String| Deviation::Seen(format!("{name}: {why}"));
        let facts = cluster.answers(endpoint).await.told();
        let facts = facts.map_err(|e| Deviation::from(e).at(name))?;
        let live = facts
            .live
            .as_ref()
            .ok_or_else(|| said("no answer".into()))?;
        if let Some((id, kind)) = live.alarms.first() {
            let member = live.members.iter().find(|m| m.id == *id);
            let member = member.map_or_else(|| id.to_string(), |m| m.name.clone());
            let kind = kind.clone();
            return Err(Refusal::Alarm { member, kind }.into());
        }
        if let Some(error) = live.errors.first() {
            return Err(said(error.clone()));
        }
        if live.leader == 0 {
            return Err(said("knows no leader".into()));
        }
        let version = live.version.clone();
        let version = version.ok_or_else(|| said("does not report its version".into()))?;
        seen.versions.push((name.clone(), version));
        if seen.downgrade.is_none() {
            seen.downgrade.clone_from(&live.downgrade);
        }
        ids.push((facts.id.map_or(0, |id| id.0), name.clone()));
        leaders.insert(live.leader);
        revision = revision.min(live.revision);
        if live.members.is_empty() {
            return Err(said(facts.unread.join("; ")));
        }
        let listed: BTreeSet<(u64, String)> = live
            .members
            .iter()
            .map(|m| (m.id.0, m.peer_urls.join(",")))
            .collect();
        if seen.members.is_empty() {
            seen.members = listed;
        } else if seen.members != listed {
            return Err(said("lists other members than the others do".into()));
        }
        for member in &live.members {
            if member.name.is_empty() || member.client_urls.is_empty() {
                return Err(said(format!(
                    "member {} has not published itself",
                    member.id
                )));
            }
        }
        // Who answers it has applied all that was committed when it was asked.
        let took = cluster.read(endpoint).await;
        seen.latency = seen
            .latency
            .max(took.told().map_err(|e| said(format!("a read: {e}")))?);
    }
    if leaders.len() != 1 {
        return Err("the members do not agree on one leader".into());
    }
    let leader = leaders.first().copied().unwrap_or(0);
    seen.leader = ids
        .iter()
        .find(|(id, _)| *id == leader)
        .map_or(String::new(), |(_, name)| name.clone());
    same_keys(cluster, endpoints, revision).await?;
    seen.cluster = cluster_version(cluster, endpoints).await;
    Ok(seen)
}

/// Whether all have the same keys at `revision`.
async fn same_keys(
    cluster: &impl Cluster,
    endpoints: &[(String, String)],
    revision: i64,
) -> Result<(), Deviation> {
    let mut hashes = Vec::new();
    for (name, endpoint) in endpoints {
        let hash = cluster.hash(endpoint, revision).await;
        hashes.push((name, hash.map_err(|e| Deviation::from(e).at(name))?));
    }
    let same = |a: &Hash, b: &Hash| a.compacted != b.compacted || a.hash == b.hash;
    let Some((first, rest)) = hashes.split_first() else {
        return Ok(());
    };
    match rest.iter().find(|(_, hash)| !same(&first.1, hash)) {
        Some((name, _)) => Err(format!(
            "{name} and {} have different keys at revision {revision}",
            first.0
        )
        .into()),
        None => Ok(()),
    }
}

/// The cluster version: from a page where there is one, else out of a database.
async fn cluster_version(
    cluster: &impl Cluster,
    endpoints: &[(String, String)],
) -> Option<Version> {
    let (_, endpoint) = endpoints.first()?;
    if let Some(version) = cluster.cluster_version(endpoint).await {
        return Some(version);
    }
    let facts = cluster.everything(endpoint).await.told().ok()?;
    facts.database?.members.cluster_version
}

/// Looks until all is as it should be and `also` agrees.
///
/// # Errors
/// What was not as it should be, when `limit` was over.
pub(crate) async fn until(
    cluster: &impl Cluster,
    endpoints: &[(String, String)],
    limit: Duration,
    also: impl Fn(&Seen) -> Result<(), Deviation>,
) -> Result<Seen, Deviation> {
    poll::until(cluster, cluster.now() + limit, async || {
        let seen = once(cluster, endpoints).await;
        Attempt::from(seen.and_then(|seen| also(&seen).map(|()| seen)))
    })
    .await
}
