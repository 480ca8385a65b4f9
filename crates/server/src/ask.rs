//! Questions to other members over HTTP: versions, hashes, leases, promotions.

use std::{rc::Rc, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use http::Method;
use membership::Member;
use peer::ask::Reply;

use crate::{
    runtime::Runtime,
    status::{Status, errors},
};

/// How long one member may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks a member at each of its peer URLs until one answers.
///
/// # Errors
/// None of them did.
pub async fn member(
    rt: &Rc<Runtime>,
    member: &Member,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Reply, Status> {
    let cluster_id = format!("{:x}", rt.core.cluster_id);
    let mut failed = None;
    for url in &member.peer_urls {
        let request = http::Request::builder()
            .method(method.clone())
            .uri(path)
            .header("x-etcd-cluster-id", &cluster_id)
            .header(http::header::CONTENT_TYPE, "application/protobuf")
            .body(body.clone());
        let Ok(request) = request else { continue };
        match peer::ask::call(&rt.core.peer_connect, url, request, TIMEOUT).await {
            Ok(reply) => return Ok(reply),
            Err(error) => failed = Some(error.to_string()),
        }
    }
    tracing::debug!(
        "member-id" = %member.id,
        path,
        error = failed.as_deref().unwrap_or("it has no peer URL"),
        "failed to ask a member"
    );
    Err(errors::TIMEOUT_CONNECTION_LOST)
}

/// Asks the leader.
///
/// # Errors
/// There is none, it is this member, or it does not answer.
pub async fn leader(
    rt: &Rc<Runtime>,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Reply, Status> {
    let id = rt.core.raft.status.leader.load(Ordering::Acquire);
    let cluster = rt.core.cluster.load_full();
    match cluster.member(id) {
        Some(leader) if id != rt.core.member_id => member(rt, leader, method, path, body).await,
        _ => Err(errors::NO_LEADER),
    }
}
