//! `Maintenance.Downgrade`: one minor version down, one step at a time. What is
//! decided here is only that it may begin or end; the leader carries it out.

use std::rc::Rc;

use bytes::Bytes;
use line::release;
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
            let (target, _) = validate(rt, &request.version).await?;
            set(rt, true, target.to_string()).await?
        }
        Ok(DowngradeAction::Cancel) => {
            rt.linearizable().await?;
            let cluster = rt.core.state.cluster.load_full();
            if cluster.downgrade().is_none() {
                return Err(errors::NO_INFLIGHT_DOWNGRADE);
            }
            if cluster
                .version()
                .is_some_and(|v| !release::knows_downgrades(v))
            {
                return Err(errors::INVALID_DOWNGRADE_TARGET);
            }
            set(rt, false, String::new()).await?
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
    Ok((target, current.to_string()))
}

async fn set(rt: &Rc<Runtime>, enabled: bool, ver: String) -> Result<String, Status> {
    let request = DowngradeInfoSetRequest { enabled, ver };
    let own = auth::Identity::default();
    let op = Op::DowngradeInfoSet(request);
    rt.submit(own, op).await?;
    Ok(rt
        .core
        .state
        .cluster
        .load()
        .version()
        .map(ToString::to_string)
        .unwrap_or_default())
}
