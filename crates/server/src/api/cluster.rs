//! The Cluster service and leader transfer. A change of membership is checked
//! here against who is there and who is reachable, then goes through the log;
//! whether it holds is decided when it is applied. Nothing here changes
//! membership.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, StatusCode};
use membership::{Cluster, Member, conf_change};
use proto::etcdserverpb::{
    Member as WireMember, MemberAddRequest, MemberAddResponse, MemberListRequest,
    MemberListResponse, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
    MemberUpdateRequest, MemberUpdateResponse, MoveLeaderRequest, MoveLeaderResponse,
};

use super::caller::Caller;
use crate::{
    ask, config,
    core::Core,
    disputes,
    rpc::frame_message,
    runtime::Runtime,
    status::{Status, errors},
};

fn wire(member: &Member) -> WireMember {
    WireMember {
        id: member.id.0,
        name: member.name.clone(),
        peer_ur_ls: member.peer_urls.clone(),
        client_ur_ls: member.client_urls.clone(),
        is_learner: member.is_learner,
    }
}

fn wires<'a>(members: impl IntoIterator<Item = &'a Member>) -> Vec<WireMember> {
    members.into_iter().map(wire).collect()
}

/// `Cluster.MemberList`
pub async fn member_list(rt: &Rc<Runtime>, request: MemberListRequest) -> Result<Bytes, Status> {
    if request.linearizable {
        rt.linearizable().await?;
    }
    let cluster = rt.core.state.cluster.load();
    // Membership answers carry no revision.
    Ok(frame_message(&MemberListResponse {
        header: Some(rt.core.header(0)),
        members: wires(cluster.members()),
    }))
}

/// A connection younger than this does not count when members are changed.
const HEALTH_INTERVAL: Duration = Duration::from_secs(5);

/// True if the member is this one, or has been connected long enough.
fn is_active(core: &Core, id: u64) -> bool {
    let since = || core.raft.peers()?.active_since(id);
    id == core.member_id || since().is_some_and(|at| at.elapsed() >= HEALTH_INTERVAL)
}

/// A member is started once it has published its name.
fn is_started(member: &Member) -> bool {
    !member.name.is_empty()
}

fn voters(cluster: &Cluster) -> impl Iterator<Item = &Member> {
    cluster.members().filter(|m| !m.is_learner)
}

/// With one more voter, would the started members still be a quorum, and are
/// enough of them connected? A learner waits for the second too, as in etcd.
fn check_add(core: &Core, cluster: &Cluster, is_learner: bool) -> Result<(), Status> {
    if !core.config.strict_reconfig_check {
        return Ok(());
    }
    let count = voters(cluster).count();
    // The first step from one member to two can only be made unprotected.
    if count == 1 {
        return Ok(());
    }
    let quorum = count.div_ceil(2) + 1;
    let started = voters(cluster).filter(|m| is_started(m)).count();
    if !is_learner && started < quorum {
        tracing::warn!(
            "number-of-started-member" = started,
            quorum,
            "rejecting member add; started member will be less than quorum"
        );
        return Err(errors::NOT_ENOUGH_STARTED);
    }
    let active = voters(cluster).filter(|m| is_active(core, m.id.0)).count();
    if active < quorum {
        tracing::warn!(
            active,
            quorum,
            "rejecting member add request; local member has not been connected to enough peers"
        );
        return Err(errors::UNHEALTHY);
    }
    Ok(())
}

/// `Cluster.MemberAdd`
///
/// # Errors
/// URLs that are none or taken; too few started or connected members.
pub async fn member_add(rt: &Rc<Runtime>, request: MemberAddRequest) -> Result<Bytes, Status> {
    let mut urls = request.peer_ur_ls;
    if urls.is_empty() || urls.iter().any(|url| config::check_url(url).is_err()) {
        return Err(errors::BAD_MEMBER_URLS);
    }
    urls.sort();
    let core = &rt.core;
    let cluster = core.state.cluster.load_full();
    check_add(core, &cluster, request.is_learner)?;
    if request.is_learner {
        disputes::settled(rt).await?;
    }
    if cluster
        .members()
        .any(|member| member.peer_urls.iter().any(|url| urls.contains(url)))
    {
        return Err(errors::PEER_URL_EXISTS);
    }
    let seconds = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    let member = Member {
        id: membership::cluster::member_id_at(&urls, seconds),
        peer_urls: urls,
        is_learner: request.is_learner,
        ..Member::default()
    };
    let change = conf_change::add(core.next_request_id(), &member);
    let members = rt.submit_conf_change(&change).await?;
    Ok(frame_message(&MemberAddResponse {
        header: Some(core.header(0)),
        member: Some(wire(&member)),
        members: wires(&members),
    }))
}

/// Would the rest still be a working majority?
fn check_remove(core: &Core, cluster: &Cluster, member: &Member) -> Result<(), Status> {
    if member.is_learner {
        return Ok(());
    }
    // raft cannot carry that out, whatever is checked; etcd ends on it.
    let is_last = voters(cluster).all(|m| m.id == member.id);
    if !core.config.strict_reconfig_check && !is_last {
        return Ok(());
    }
    let rest = || voters(cluster).filter(|m| m.id != member.id);
    let quorum = rest().count() / 2 + 1;
    let started = rest().filter(|m| is_started(m)).count();
    if is_last || is_started(member) && started < quorum {
        tracing::warn!(
            "requested-member-remove-id" = %member.id,
            "rejecting member remove request; not enough healthy members"
        );
        return Err(errors::NOT_ENOUGH_STARTED);
    }
    // One that is down already can go without making anything worse. One that has
    // only just come back is not down.
    let connected = || core.raft.peers()?.active_since(member.id.0);
    if member.id.0 != core.member_id && connected().is_none() {
        return Ok(());
    }
    let active = rest().filter(|m| is_active(core, m.id.0)).count();
    if active < quorum {
        tracing::warn!(
            "requested-member-remove" = %member.id,
            "active-peers" = active,
            "rejecting member remove request; local member has not been connected to all peers, reconfigure breaks active quorum"
        );
        return Err(errors::UNHEALTHY);
    }
    Ok(())
}

/// The membership with `id` in it: the member may have been added through another one a moment
/// ago, so its absence counts only once all that was committed is applied here.
async fn cluster_with(rt: &Rc<Runtime>, id: u64) -> Result<Arc<Cluster>, Status> {
    let known = rt.core.state.cluster.load_full();
    if known.member(id).is_some() {
        return Ok(known);
    }
    rt.linearizable().await?;
    Ok(rt.core.state.cluster.load_full())
}

/// `Cluster.MemberRemove`
///
/// # Errors
/// No such member; too few would be left.
pub async fn member_remove(
    rt: &Rc<Runtime>,
    request: MemberRemoveRequest,
) -> Result<Bytes, Status> {
    let core = &rt.core;
    let cluster = cluster_with(rt, request.id).await?;
    let Some(member) = cluster.member(request.id) else {
        return Err(errors::MEMBER_NOT_FOUND);
    };
    check_remove(core, &cluster, member)?;
    let change = conf_change::remove(core.next_request_id(), member.id);
    let members = rt.submit_conf_change(&change).await?;
    Ok(frame_message(&MemberRemoveResponse {
        header: Some(core.header(0)),
        members: wires(&members),
    }))
}

/// `Cluster.MemberUpdate`
///
/// # Errors
/// No such member; URLs that are none, or another member's.
pub async fn member_update(
    rt: &Rc<Runtime>,
    request: MemberUpdateRequest,
) -> Result<Bytes, Status> {
    let core = &rt.core;
    let cluster = cluster_with(rt, request.id).await?;
    let Some(member) = cluster.member(request.id) else {
        return Err(errors::MEMBER_NOT_FOUND);
    };
    let mut urls = request.peer_ur_ls;
    urls.sort();
    if cluster
        .members()
        .filter(|other| other.id != member.id)
        .any(|other| other.peer_urls.iter().any(|url| urls.contains(url)))
    {
        return Err(errors::PEER_URL_EXISTS);
    }
    // etcd 3.5 takes them as they are; a member that nobody can reach helps nobody.
    if urls.is_empty() || urls.iter().any(|url| config::check_url(url).is_err()) {
        return Err(errors::BAD_MEMBER_URLS);
    }
    let request_id = core.next_request_id();
    let change = conf_change::update(request_id, member.id, &urls, member.is_learner);
    let members = rt.submit_conf_change(&change).await?;
    Ok(frame_message(&MemberUpdateResponse {
        header: Some(core.header(0)),
        members: wires(&members),
    }))
}

/// A learner has caught up when it holds this part of the leader's log, percent.
const READY_PERCENT: u64 = 90;

/// `Cluster.MemberPromote`
///
/// # Errors
/// Those of [`promote`].
pub async fn member_promote(rt: &Rc<Runtime>, caller: &Caller, id: u64) -> Result<Bytes, Status> {
    let members = promote(rt, caller, id).await?;
    Ok(frame_message(&MemberPromoteResponse {
        header: Some(rt.core.header(0)),
        members: wires(&members),
    }))
}

/// Gives a learner its vote. Only the leader knows how far it is; others ask it.
///
/// # Errors
/// No such member, not a learner, not in sync; not the leader and no answer
/// from it.
pub async fn promote(rt: &Rc<Runtime>, caller: &Caller, id: u64) -> Result<Vec<Member>, Status> {
    let core = &rt.core;
    caller.require_root(rt).await?;
    let result = if core.leader() == core.member_id {
        promote_as_leader(rt, id).await
    } else {
        ask_to_promote(rt, caller, id).await
    };
    match &result {
        Ok(_) => core.metrics.promote_successes.inc(),
        Err(error) => core
            .metrics
            .promote_failures
            .with_label_values(&[match error {
                e if *e == errors::MEMBER_NOT_FOUND => "membership: ID not found",
                e if *e == errors::NOT_A_LEARNER => "membership: can only promote a learner member",
                e => &*e.message,
            }])
            .inc(),
    }
    result
}

async fn promote_as_leader(rt: &Rc<Runtime>, id: u64) -> Result<Vec<Member>, Status> {
    let core = &rt.core;
    disputes::settled(rt).await?;
    let cluster = cluster_with(rt, id).await?;
    let member = cluster.member(id).ok_or(errors::MEMBER_NOT_FOUND)?;
    if !member.is_learner {
        return Err(errors::NOT_A_LEARNER);
    }
    let (matched, last) = core
        .raft
        .inspect(|node| (node.matched(id), node.status().last_index));
    let matched = matched.ok_or(errors::NOT_LEADER)?;
    if matched.saturating_mul(100) < last.saturating_mul(READY_PERCENT) {
        return Err(errors::LEARNER_NOT_READY);
    }
    check_promote(core, &cluster)?;
    disputes::all_take_for_learner(rt, &cluster, member.id).await?;
    let change = conf_change::promote(core.next_request_id(), id.into());
    rt.submit_conf_change(&change).await
}

fn check_promote(core: &Core, cluster: &Cluster) -> Result<(), Status> {
    if !core.config.strict_reconfig_check {
        return Ok(());
    }
    let quorum = voters(cluster).count().div_ceil(2) + 1;
    // The learner is running: it has just shown how far it is.
    let started = voters(cluster).filter(|m| is_started(m)).count() + 1;
    if started < quorum {
        return Err(errors::NOT_ENOUGH_STARTED);
    }
    Ok(())
}

async fn ask_to_promote(rt: &Rc<Runtime>, caller: &Caller, id: u64) -> Result<Vec<Member>, Status> {
    let path = format!("/members/promote/{id}");
    let reply = ask::leader(rt, Method::POST, &path, caller.token()).await?;
    let text = || String::from_utf8_lossy(&reply.body).trim_end().to_owned();
    match reply.status {
        StatusCode::OK => serde_json::from_slice(&reply.body)
            .map_err(|_| Status::new(crate::status::Code::Unknown, text())),
        StatusCode::NOT_FOUND => Err(errors::MEMBER_NOT_FOUND),
        StatusCode::PRECONDITION_FAILED if text().contains("in sync") => {
            Err(errors::LEARNER_NOT_READY)
        }
        StatusCode::PRECONDITION_FAILED if text() == *errors::VOTE_DISPUTED.message => {
            Err(errors::VOTE_DISPUTED)
        }
        StatusCode::PRECONDITION_FAILED => Err(errors::NOT_A_LEARNER),
        _ => Err(Status::new(crate::status::Code::Unknown, text())),
    }
}

/// How often it is looked whether leadership has moved.
const TRANSFER_POLL: Duration = Duration::from_millis(5);

/// `Maintenance.MoveLeader`
///
/// # Errors
/// Not leader, bad transferee, took too long.
pub async fn move_leader(rt: &Rc<Runtime>, request: &MoveLeaderRequest) -> Result<Bytes, Status> {
    let core = &rt.core;
    if core.leader() != core.member_id {
        return Err(errors::NOT_LEADER);
    }
    let target = request.target_id;
    match core.state.cluster.load().member(target) {
        Some(member) if !member.is_learner => {}
        _ => return Err(errors::BAD_TRANSFEREE),
    }
    transfer(rt, target).await?;
    Ok(frame_message(&MoveLeaderResponse { header: None }))
}

/// Hands leadership to a voter and waits until it has it.
///
/// # Errors
/// It took longer than an election may take.
pub async fn transfer(rt: &Rc<Runtime>, target: u64) -> Result<(), Status> {
    let core = &rt.core;
    let begin = Instant::now();
    let limit = core.config.election + core.config.heartbeat;
    tracing::info!(
        "local-member-id" = format!("{:x}", core.member_id),
        "transferee-member-id" = format!("{target:x}"),
        "leadership transfer starting"
    );
    core.raft.drive(|node| node.transfer_leader(target));
    while core.leader() != target {
        if begin.elapsed() > limit {
            return Err(errors::TIMEOUT_LEADER_TRANSFER);
        }
        tokio::time::sleep(TRANSFER_POLL).await;
    }
    tracing::info!(
        "local-member-id" = format!("{:x}", core.member_id),
        "old-leader-member-id" = format!("{:x}", core.member_id),
        "new-leader-member-id" = format!("{target:x}"),
        took = ?begin.elapsed(),
        "leadership transfer finished"
    );
    Ok(())
}
