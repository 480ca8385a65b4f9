//! Questions to other members over HTTP: versions, hashes, leases, promotions.

use std::{
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use membership::{Cluster, Member};
use peer::ask::{AskError, Reply};

use crate::{
    runtime::Runtime,
    status::{Status, errors},
};

/// How long one member may take to answer.
pub const TIMEOUT: Duration = Duration::from_secs(5);

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
    member_within(rt, member, method, path, body, TIMEOUT).await
}

/// The same with as much time as the answer takes.
///
/// # Errors
/// As [`member`].
pub async fn member_within(
    rt: &Rc<Runtime>,
    member: &Member,
    method: Method,
    path: &str,
    body: Bytes,
    timeout: Duration,
) -> Result<Reply, Status> {
    let call = async |url: &str, request| {
        peer::ask::call(&rt.core.peer_connect, url, request, timeout).await
    };
    at_any_url(rt, member, method, path, body, call).await
}

async fn at_any_url(
    rt: &Rc<Runtime>,
    member: &Member,
    method: Method,
    path: &str,
    body: Bytes,
    call: impl AsyncFn(&str, http::Request<Bytes>) -> Result<Reply, AskError>,
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
        match call(url, request).await {
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

/// Asks the leader, for a caller with this token.
///
/// # Errors
/// There is none, it is this member, or it does not answer.
pub async fn leader(
    rt: &Rc<Runtime>,
    method: Method,
    path: &str,
    token: Option<&str>,
) -> Result<Reply, Status> {
    let (cluster, id) = other_leader(rt)?;
    let leader = cluster.member(id).ok_or(errors::NO_LEADER)?;
    let call = async |url: &str, mut request: http::Request<Bytes>| {
        if let Some(token) = token.and_then(|token| HeaderValue::from_str(token).ok()) {
            request.headers_mut().insert(header::AUTHORIZATION, token);
        }
        peer::ask::call(&rt.core.peer_connect, url, request, TIMEOUT).await
    };
    at_any_url(rt, leader, method, path, Bytes::new(), call).await
}

/// Puts a question to the leader that is asked often, and may be asked twice: on a connection
/// that is kept.
///
/// # Errors
/// As [`leader`].
pub async fn leader_often(rt: &Rc<Runtime>, path: &str, body: Bytes) -> Result<Reply, Status> {
    let (cluster, id) = other_leader(rt)?;
    let leader = cluster.member(id).ok_or(errors::NO_LEADER)?;
    let call = async |url: &str, request| {
        let links = &rt.links;
        links
            .call(&rt.core.peer_connect, url, request, TIMEOUT)
            .await
    };
    at_any_url(rt, leader, Method::POST, path, body, call).await
}

/// The membership and the leader in it, if that is another member.
fn other_leader(rt: &Rc<Runtime>) -> Result<(Arc<Cluster>, u64), Status> {
    match rt.core.raft.status.leader.load(Ordering::Acquire) {
        id if id != rt.core.member_id => Ok((rt.core.state.cluster.load_full(), id)),
        _ => Err(errors::NO_LEADER),
    }
}
