//! The hashes of all members' keys at one revision.

use crate::{
    checks::NotCompared,
    facts::Facts,
    inspect::{self, Access},
};

/// The newest revision that all members that answer have, 0 if none does.
pub(crate) async fn common_revision(access: &Access, endpoints: &[&str]) -> i64 {
    let mut revision = i64::MAX;
    for endpoint in endpoints {
        if let Ok((_, status)) = access.greet(endpoint).await {
            revision = revision.min(status.header.map_or(1, |h| h.revision));
        }
    }
    match revision {
        i64::MAX => 0,
        revision => revision,
    }
}

/// The hashes of the databases that were streamed, if there is one of each member
/// and none of them was compacted meanwhile.
pub(crate) fn streamed(members: &[Facts]) -> Option<Vec<(String, u32)>> {
    let mut hashes = Vec::new();
    let mut compacted = None;
    for facts in members {
        let live = facts.live.as_ref()?;
        let hash = live.hash?;
        if *compacted.get_or_insert(hash.compacted) != hash.compacted {
            return None;
        }
        hashes.push((live.endpoint.clone(), hash.hash));
    }
    Some(hashes)
}

/// Hashes at the newest revision that all members have.
pub(crate) async fn live(
    access: &Access,
    endpoints: &[&str],
) -> Result<Vec<(String, u32)>, NotCompared> {
    let mut revision = i64::MAX;
    for endpoint in endpoints {
        let asked = access.greet(endpoint).await;
        let (_, status) = asked.map_err(|e| NotCompared(e.to_string()))?;
        revision = revision.min(status.header.map_or(1, |h| h.revision));
    }
    let mut hashes = Vec::new();
    let mut compacted = None;
    for endpoint in endpoints {
        let hash = inspect::hash(access, endpoint, revision)
            .await
            .map_err(|e| NotCompared(e.to_string()))?;
        if *compacted.get_or_insert(hash.compacted) != hash.compacted {
            return Err(NotCompared(
                "the members are compacting just now; check again".into(),
            ));
        }
        hashes.push(((*endpoint).to_owned(), hash.hash));
    }
    Ok(hashes)
}

/// The hashes of database files, at the newest revision that all of them have.
pub(crate) fn files(members: &[Facts]) -> Result<Vec<(String, u32)>, NotCompared> {
    let databases: Vec<_> = members
        .iter()
        .filter_map(|facts| Some((facts.label.clone(), facts.database.as_ref()?)))
        .collect();
    let revision = databases.iter().map(|(_, d)| d.revision).min().unwrap_or(1);
    let compacted = databases
        .iter()
        .map(|(_, d)| d.compacted)
        .max()
        .unwrap_or(0);
    if databases.iter().any(|(_, d)| d.compacted != compacted) {
        return Err(NotCompared(
            "the directories were compacted at different revisions; start the members, let them catch up, and check again"
                .into(),
        ));
    }
    databases
        .iter()
        .map(|(label, database)| {
            let hash = utl::hash_kv(&database.path, revision).map_err(NotCompared)?;
            Ok((label.clone(), hash))
        })
        .collect()
}
