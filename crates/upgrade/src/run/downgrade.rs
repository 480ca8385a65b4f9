//! The way back once the cluster version has followed: the cluster is told to go
//! down one minor version, and every member brings its storage there, before any
//! binary is put back.

use std::time::Duration;

use membership::cluster::Downgrade;
use semver::Version;

use super::{
    cluster::{Ask, Cluster},
    deviation::Deviation,
    poll::{self, Attempt},
};

/// The first minor version that can be left downwards.
pub(super) const FROM: u64 = 6;

/// Enables the downgrade to `3.minor` and waits until every member has the storage
/// of that version. Done twice it does no more than once; where one that leads elsewhere
/// is under way, as the hop before may have left it, we wait for its end first.
///
/// # Errors
/// The cluster refuses, or a member does not follow within `limit`.
pub(super) async fn enable(
    cluster: &impl Cluster,
    endpoints: &[(String, String)],
    minor: u64,
    limit: Duration,
) -> Result<String, Deviation> {
    let version = format!("3.{minor}.0");
    let deadline = cluster.now() + limit;
    // Another one's end is awaited; ours was asked for by an interrupted attempt.
    poll::until(cluster, deadline, async || {
        Attempt::from(match under_way(cluster, endpoints).await {
            Ok(Some((_, to))) if to.minor == minor => Ok(()),
            Ok(Some((name, to))) => Err(format!(
                "{name}: a downgrade to {to} is under way, and not the one to {version}; `etcdctl downgrade cancel` ends it"
            )
            .into()),
            Ok(None) => ask_for(cluster, endpoints, minor).await,
            Err(why) => Err(why),
        })
    })
    .await?;
    poll::until(cluster, deadline, async || {
        Attempt::from(match arrived(cluster, endpoints, minor).await {
            Ok(true) => Ok(format!(
                "downgrade to 3.{minor} enabled, every member's storage is there"
            )),
            Ok(false) => Err(format!(
                "a member's storage is not at 3.{minor} after {limit:?}; `downgrade cancel` gives it up"
            )
            .into()),
            Err(why) => Err(why),
        })
    })
    .await
}

/// Asks for the downgrade to `3.minor`, unless the members are there.
async fn ask_for(
    cluster: &impl Cluster,
    endpoints: &[(String, String)],
    minor: u64,
) -> Result<(), Deviation> {
    if matches!(arrived(cluster, endpoints, minor).await, Ok(true)) {
        return Ok(());
    }
    let Some((_, first)) = endpoints.first() else {
        return Err("there are no members".into());
    };
    let version = format!("3.{minor}.0");
    for (ask, word) in [(Ask::Validate, "validate"), (Ask::Enable, "enable")] {
        let answer = cluster.downgrade(first, ask, &version).await;
        answer.map_err(|e| Deviation::from(e).at(&format!("downgrade {word} {version}")))?;
    }
    Ok(())
}

/// Waits until the cluster itself has seen that it is down: until then it refuses
/// members of the higher version, and the next upgrade.
///
/// # Errors
/// A member does not answer, or the cluster still takes itself for on its way.
pub(super) async fn finished(
    cluster: &impl Cluster,
    endpoints: &[(String, String)],
    limit: Duration,
) -> Result<(), Deviation> {
    poll::until(cluster, cluster.now() + limit, async || {
        Attempt::from(match under_way(cluster, endpoints).await {
            Ok(None) => Ok(()),
            Ok(Some((name, to))) => Err(format!(
                "{name}: a downgrade to {to} is still under way after {limit:?}; `downgrade cancel` ends it"
            )
            .into()),
            Err(why) => Err(why),
        })
    })
    .await
}

/// Where a downgrade leads that is under way, by the databases of the members.
async fn under_way(
    cluster: &impl Cluster,
    endpoints: &[(String, String)],
) -> Result<Option<(String, Version)>, Deviation> {
    for (name, endpoint) in endpoints {
        let facts = cluster.everything(endpoint).await;
        let facts = facts.told().map_err(|e| Deviation::from(e).at(name))?;
        let Some(database) = facts.database else {
            return Err(format!("{name}: {}", facts.unread.join("; ")).into());
        };
        if let Downgrade::To(to) = database.members.downgrade {
            let to = Version::parse(&to).map_err(|e| format!("{name}: downgrade to {to}: {e}"))?;
            return Ok(Some((name.clone(), to)));
        }
    }
    Ok(None)
}

/// Whether every member has the storage of `3.minor`, or runs such a release.
async fn arrived(
    cluster: &impl Cluster,
    endpoints: &[(String, String)],
    minor: u64,
) -> Result<bool, Deviation> {
    for (name, endpoint) in endpoints {
        let facts = cluster.answers(endpoint).await;
        let live = facts.told().map_err(|e| Deviation::from(e).at(name))?.live;
        let live = live.ok_or_else(|| format!("{name}: no answer"))?;
        let runs = live.version.is_some_and(|version| version.minor == minor);
        let stored = Version::parse(&live.storage_version);
        if !runs && !stored.is_ok_and(|stored| stored.minor == minor) {
            return Ok(false);
        }
    }
    Ok(true)
}
