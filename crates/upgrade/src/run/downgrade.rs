//! The way back once the cluster version has followed: the cluster is told to go
//! down one minor version, and every member brings its storage there, before any
//! binary is put back.

use std::time::{Duration, Instant};

use membership::cluster::Downgrade;
use proto::etcdserverpb as api;

use crate::inspect::{self, Access};

/// The first minor version that can be left downwards.
pub(super) const FROM: u64 = 6;

/// How often the members are asked.
const POLL: Duration = Duration::from_millis(300);

/// Enables the downgrade to `3.minor` and waits until every member has the storage
/// of that version. Done twice it does no more than once.
///
/// # Errors
/// The cluster refuses, or a member does not follow within `limit`.
pub(super) async fn enable(
    access: &Access,
    endpoints: &[(String, String)],
    minor: u64,
    limit: Duration,
) -> Result<String, String> {
    let Some((_, first)) = endpoints.first() else {
        return Err("there are no members".into());
    };
    let version = format!("3.{minor}.0");
    let ask = async |action: api::downgrade_request::DowngradeAction| -> Result<(), String> {
        let client = access.client(first).await.map_err(|e| e.to_string())?;
        let request = api::DowngradeRequest {
            action: action.into(),
            version: version.clone(),
        };
        match client.downgrade(request).await {
            Ok(_) => Ok(()),
            // An attempt that was interrupted has asked already.
            Err(error) if error.to_string().contains("downgrade job in progress") => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    };
    let deadline = Instant::now() + limit;
    if !arrived(access, endpoints, minor)
        .await
        .is_ok_and(|there| there)
    {
        ask(api::downgrade_request::DowngradeAction::Validate)
            .await
            .map_err(|why| format!("downgrade validate {version}: {why}"))?;
        ask(api::downgrade_request::DowngradeAction::Enable)
            .await
            .map_err(|why| format!("downgrade enable {version}: {why}"))?;
    }
    loop {
        match arrived(access, endpoints, minor).await {
            Ok(true) => {
                return Ok(format!(
                    "downgrade to 3.{minor} enabled, every member's storage is there"
                ));
            }
            outcome if Instant::now() >= deadline => {
                return Err(match outcome {
                    Err(why) => why,
                    _ => format!(
                        "a member's storage is not at 3.{minor} after {limit:?}; `downgrade cancel` gives it up"
                    ),
                });
            }
            _ => tokio::time::sleep(POLL).await,
        }
    }
}

/// Waits until the cluster itself has seen that it is down: until then it refuses
/// members of the higher version, and the next upgrade.
///
/// # Errors
/// A member does not answer, or the cluster still takes itself for on its way.
pub(super) async fn finished(
    access: &Access,
    endpoints: &[(String, String)],
    limit: Duration,
) -> Result<(), String> {
    let deadline = Instant::now() + limit;
    loop {
        let mut under_way = None;
        for (name, endpoint) in endpoints {
            let facts = inspect::live(access, endpoint).await;
            let facts = facts.map_err(|e| format!("{name}: {e}"))?;
            if let Some(Downgrade::To(to)) = facts.database.map(|d| d.members.downgrade) {
                under_way = Some(format!(
                    "{name}: a downgrade to {to} is still under way after {limit:?}; `downgrade cancel` ends it"
                ));
            }
        }
        match under_way {
            None => return Ok(()),
            Some(why) if Instant::now() >= deadline => return Err(why),
            Some(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// Whether every member has the storage of `3.minor`, or runs such a release.
async fn arrived(
    access: &Access,
    endpoints: &[(String, String)],
    minor: u64,
) -> Result<bool, String> {
    let head = format!("3.{minor}.");
    for (name, endpoint) in endpoints {
        let asked = access.greet(endpoint).await;
        let (_, status) = asked.map_err(|e| format!("{name}: {e}"))?;
        if !status.version.starts_with(&head) && !status.storage_version.starts_with(&head) {
            return Ok(false);
        }
    }
    Ok(true)
}
