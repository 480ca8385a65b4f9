//! What a run looks at before and after every step.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use proto::etcdserverpb as api;
use semver::Version;

use crate::inspect::{self, Access};

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
    /// The slower half of some reads takes at least this.
    pub(crate) latency: Duration,
}

/// Looks at all `endpoints` (name and URL) once.
///
/// # Errors
/// The first thing that is not as it should be.
pub(crate) async fn once(access: &Access, endpoints: &[(String, String)]) -> Result<Seen, String> {
    let mut seen = Seen::default();
    let mut leaders = BTreeSet::new();
    let mut revision = i64::MAX;
    let mut newest = 0;
    let mut applied = Vec::new();
    let mut ids = Vec::new();
    for (name, endpoint) in endpoints {
        let said = |why: String| format!("{name}: {why}");
        let (client, status) = access
            .greet(endpoint)
            .await
            .map_err(|e| said(e.to_string()))?;
        let header = status.header.unwrap_or_default();
        if let Some(error) = status.errors.first() {
            return Err(said(error.clone()));
        }
        if status.leader == 0 {
            return Err(said("knows no leader".into()));
        }
        let version =
            Version::parse(&status.version).map_err(|e| said(format!("its version: {e}")))?;
        seen.versions.push((name.clone(), version));
        ids.push((header.member_id, name.clone()));
        leaders.insert(status.leader);
        newest = newest.max(status.raft_index);
        applied.push((name.clone(), status.raft_applied_index));
        revision = revision.min(header.revision);
        let list = client
            .member_list(api::MemberListRequest { linearizable: true })
            .await
            .map_err(|e| said(e.to_string()))?;
        let listed: BTreeSet<(u64, String)> = list
            .members
            .iter()
            .map(|m| (m.id, m.peer_ur_ls.join(",")))
            .collect();
        if seen.members.is_empty() {
            seen.members = listed;
        } else if seen.members != listed {
            return Err(said("lists other members than the others do".into()));
        }
        for member in &list.members {
            if member.name.is_empty() || member.client_ur_ls.is_empty() {
                return Err(said(format!(
                    "member {:x} has not published itself",
                    member.id
                )));
            }
        }
        let began = Instant::now();
        for _ in 0..5 {
            client
                .range(api::RangeRequest {
                    key: b"pintle-upgrade".as_slice().into(),
                    ..Default::default()
                })
                .await
                .map_err(|e| said(format!("a read: {e}")))?;
        }
        seen.latency = seen.latency.max(began.elapsed() / 5);
    }
    if leaders.len() != 1 {
        return Err("the members do not agree on one leader".into());
    }
    let leader = leaders.first().copied().unwrap_or(0);
    seen.leader = ids
        .iter()
        .find(|(id, _)| *id == leader)
        .map_or(String::new(), |(_, name)| name.clone());
    for (name, index) in applied {
        if index + 1000 < newest {
            return Err(format!("{name}: is {} entries behind", newest - index));
        }
    }
    let mut hashes = Vec::new();
    for (name, endpoint) in endpoints {
        let hash = inspect::hash(access, endpoint, revision)
            .await
            .map_err(|e| format!("{name}: {e}"))?;
        hashes.push((name, hash));
    }
    let same =
        |a: &inspect::Hashed, b: &inspect::Hashed| a.compacted != b.compacted || a.hash == b.hash;
    if let Some((first, rest)) = hashes.split_first() {
        for (name, hash) in rest {
            if !same(&first.1, hash) {
                return Err(format!(
                    "{name} and {} have different keys at revision {revision}",
                    first.0
                ));
            }
        }
    }
    seen.cluster = cluster_version(access, endpoints).await;
    Ok(seen)
}

/// The cluster version: from a page where there is one, else out of a database.
async fn cluster_version(access: &Access, endpoints: &[(String, String)]) -> Option<Version> {
    let (_, endpoint) = endpoints.first()?;
    if let Some(version) = inspect::cluster_version(access, endpoint).await {
        return Some(version);
    }
    let facts = inspect::live(access, endpoint).await.ok()?;
    facts.database?.members.cluster_version
}

/// Looks until all is as it should be and `also` agrees.
///
/// # Errors
/// What was not as it should be, when `limit` was over.
pub(crate) async fn until(
    access: &Access,
    endpoints: &[(String, String)],
    limit: Duration,
    also: impl Fn(&Seen) -> Result<(), String>,
) -> Result<Seen, String> {
    let deadline = Instant::now() + limit;
    loop {
        let outcome = match once(access, endpoints).await {
            Ok(seen) => also(&seen).map(|()| seen),
            Err(why) => Err(why),
        };
        match outcome {
            Ok(seen) => return Ok(seen),
            Err(why) if Instant::now() >= deadline => return Err(why),
            Err(_) => tokio::time::sleep(Duration::from_millis(300)).await,
        }
    }
}
