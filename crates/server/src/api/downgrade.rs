//! `Maintenance.Downgrade`: one minor version down, one step at a time. What is
//! decided here is only that it may begin or end; the leader carries it out.

use std::rc::Rc;

use bytes::Bytes;
use line::{Feature, Line, release};
use proto::{
    etcdserverpb::{
        DowngradeRequest, DowngradeResponse, downgrade_request::DowngradeAction,
        internal_raft_request::Op,
    },
    membershippb::DowngradeInfoSetRequest,
};
use semver::Version;

use crate::{
    rpc::frame_message,
    runtime::Runtime,
    status::{Code, Status, errors},
};

/// Validates, begins or gives up a downgrade.
///
/// # Errors
/// etcd's own for each.
pub async fn call(rt: &Rc<Runtime>, request: DowngradeRequest) -> Result<Bytes, Status> {
    let version = match DowngradeAction::try_from(request.action) {
        Ok(DowngradeAction::Validate) => validate(rt, &request.version).await?.1,
        Ok(DowngradeAction::Enable) => {
            begin(rt, &request.version).await?;
            cluster_version(rt)
        }
        Ok(DowngradeAction::Cancel) => {
            match cancel(rt).await {
                // These lines log what went wrong, and answer as if nothing had.
                Err(error) if rt.core.line().has(Feature::QuietCancel) => {
                    tracing::warn!(%error, "failed to cancel downgrade");
                }
                result => result?,
            }
            cluster_version(rt)
        }
        Err(_) => {
            return Err(Status::fixed(Code::Unknown, "etcdserver: unknown method"));
        }
    };
    Ok(frame_message(&DowngradeResponse {
        header: Some(rt.core.header(rt.core.store().revision())),
        version,
    }))
}

async fn begin(rt: &Rc<Runtime>, version: &str) -> Result<(), Status> {
    if let Some(change) = rt.core.line_kept.change().filter(|change| change.is_up()) {
        return Err(Status::new(
            Code::FailedPrecondition,
            format!(
                "pintle: the cluster is on its way to {}: finish that with `line set {}`, or take it back with `line set {}`, \
                 first",
                change.to, change.to, change.from
            ),
        ));
    }
    let (target, _) = validate(rt, version).await?;
    set(rt, true, target.to_string()).await
}

/// Begins the downgrade to a line.
///
/// # Errors
/// As for a client who asks for it.
pub async fn enable(rt: &Rc<Runtime>, target: Line) -> Result<(), Status> {
    begin(rt, &target.to_string()).await
}

/// Gives up the downgrade under way.
///
/// # Errors
/// There is none, or the log does not take it.
pub async fn cancel(rt: &Rc<Runtime>) -> Result<(), Status> {
    rt.linearizable().await?;
    let cluster = rt.core.state.cluster.load_full();
    if cluster.downgrade().is_none() {
        return Err(errors::NO_INFLIGHT_DOWNGRADE);
    }
    let version = cluster.version();
    if version.is_some_and(|version| !release::knows_downgrades(version)) {
        return Err(errors::INVALID_DOWNGRADE_TARGET);
    }
    set(rt, false, String::new()).await
}

/// The cluster's version as the answer says it.
fn cluster_version(rt: &Rc<Runtime>) -> String {
    let cluster = rt.core.state.cluster.load();
    cluster
        .version()
        .map_or_else(String::new, |version| shown(rt, version))
}

fn shown(rt: &Rc<Runtime>, version: &Version) -> String {
    if rt.core.line().has(Feature::ShortDowngradeVersion) {
        format!("{}.{}", version.major, version.minor)
    } else {
        version.to_string()
    }
}

/// `X.Y.Z` or `X.Y`; only the minor counts.
fn parse(text: &str) -> Option<Version> {
    let version = Version::parse(text)
        .or_else(|_| Version::parse(&format!("{text}.0")))
        .ok()?;
    Some(line::trimmed(&version))
}

/// The target, and the cluster's version of now.
async fn validate(rt: &Rc<Runtime>, text: &str) -> Result<(Version, String), Status> {
    let target = parse(text).ok_or(errors::WRONG_DOWNGRADE_FORMAT)?;
    rt.linearizable().await?;
    let cluster = rt.core.state.cluster.load();
    let current = cluster
        .version()
        .ok_or(errors::CLUSTER_VERSION_UNAVAILABLE.precondition(rt.core.line()))?;
    if Some(&target) != line::below(current).as_ref() {
        return Err(errors::INVALID_DOWNGRADE_TARGET);
    }
    // etcd 3.4 ends where it finds the beginning of a downgrade in its log.
    if !release::knows_downgrades(current) {
        return Err(errors::INVALID_DOWNGRADE_TARGET);
    }
    if cluster.downgrade().is_some() {
        return Err(errors::DOWNGRADE_IN_PROCESS);
    }
    Ok((target, shown(rt, current)))
}

async fn set(rt: &Rc<Runtime>, enabled: bool, ver: String) -> Result<(), Status> {
    let request = DowngradeInfoSetRequest { enabled, ver };
    let own = auth::Identity::default();
    let op = Op::DowngradeInfoSet(request);
    rt.submit(own, op).await.map(drop)
}
