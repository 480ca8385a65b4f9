//! The Cluster service and leader transfer. Listing works; a change of
//! membership is checked as etcd checks it, so that a request etcd refuses gets
//! etcd's error. One that etcd would carry out is refused as not built: this
//! version serves a single member. Nothing here changes membership.

use std::rc::Rc;

use bytes::Bytes;
use proto::etcdserverpb::{
    Member, MemberAddRequest, MemberListRequest, MemberListResponse, MemberPromoteRequest,
    MemberRemoveRequest, MemberUpdateRequest, MoveLeaderRequest, MoveLeaderResponse,
};

use crate::{
    config,
    runtime::Runtime,
    status::{Code, Status, errors},
    transport::frame_message,
};

/// `Cluster.MemberList`
pub async fn member_list(rt: &Rc<Runtime>, request: MemberListRequest) -> Result<Bytes, Status> {
    if request.linearizable {
        rt.linearizable().await?;
    }
    let cluster = rt.core.cluster.load();
    let members = cluster
        .members()
        .map(|member| Member {
            id: member.id.0,
            name: member.name.clone(),
            peer_ur_ls: member.peer_urls.clone(),
            client_ur_ls: member.client_urls.clone(),
            is_learner: member.is_learner,
        })
        .collect();
    // Membership answers carry no revision.
    Ok(frame_message(&MemberListResponse {
        header: Some(rt.core.header(0)),
        members,
    }))
}

/// The answer to a change that etcd would make.
fn single_member(what: &str) -> Status {
    Status::new(
        Code::Unimplemented,
        format!(
            "{what} is not implemented by this version of Pintle, which serves clusters of one member; \
             nothing was changed. Stop it and start etcd on the same data directory to do this"
        ),
    )
}

/// `Cluster.MemberAdd`
///
/// # Errors
/// Always: etcd's own for URLs that are none or are taken, else Unimplemented.
pub fn member_add(rt: &Rc<Runtime>, request: &MemberAddRequest) -> Result<Bytes, Status> {
    let urls = &request.peer_ur_ls;
    if urls.is_empty() || urls.iter().any(|url| config::check_url(url).is_err()) {
        return Err(errors::BAD_MEMBER_URLS);
    }
    let cluster = rt.core.cluster.load();
    if cluster
        .members()
        .any(|member| member.peer_urls.iter().any(|url| urls.contains(url)))
    {
        return Err(errors::PEER_URL_EXISTS);
    }
    Err(single_member("adding a member"))
}

/// `Cluster.MemberRemove`
///
/// # Errors
/// Always: etcd's own for an id that is no member's and for the last member
/// (unless `--strict-reconfig-check` is off), else Unimplemented.
pub fn member_remove(rt: &Rc<Runtime>, request: &MemberRemoveRequest) -> Result<Bytes, Status> {
    let cluster = rt.core.cluster.load();
    if cluster.member(request.id).is_none() {
        return Err(errors::MEMBER_NOT_FOUND);
    }
    if rt.core.config.strict_reconfig_check && cluster.members().count() == 1 {
        return Err(errors::NOT_ENOUGH_STARTED);
    }
    Err(single_member("removing a member"))
}

/// `Cluster.MemberUpdate`. etcd 3.5 does not look at the URLs.
///
/// # Errors
/// Always: member not found, peer URLs of another member, else Unimplemented.
pub fn member_update(rt: &Rc<Runtime>, request: &MemberUpdateRequest) -> Result<Bytes, Status> {
    let cluster = rt.core.cluster.load();
    if cluster.member(request.id).is_none() {
        return Err(errors::MEMBER_NOT_FOUND);
    }
    let urls = &request.peer_ur_ls;
    if cluster
        .members()
        .filter(|member| member.id.0 != request.id)
        .any(|member| member.peer_urls.iter().any(|url| urls.contains(url)))
    {
        return Err(errors::PEER_URL_EXISTS);
    }
    Err(single_member("updating a member"))
}

/// `Cluster.MemberPromote`
///
/// # Errors
/// Always: member not found, not a learner, else Unimplemented.
pub fn member_promote(rt: &Rc<Runtime>, request: &MemberPromoteRequest) -> Result<Bytes, Status> {
    let failed = |reason: &str| {
        let failures = &rt.core.metrics.promote_failures;
        failures.with_label_values(&[reason]).inc();
    };
    match rt.core.cluster.load().member(request.id) {
        None => {
            failed("membership: ID not found");
            Err(errors::MEMBER_NOT_FOUND)
        }
        Some(member) if !member.is_learner => {
            failed("membership: can only promote a learner member");
            Err(errors::NOT_A_LEARNER)
        }
        Some(_) => Err(single_member("promoting a learner")),
    }
}

/// `Maintenance.MoveLeader`. The leader may be asked to give way to itself.
///
/// # Errors
/// Not leader, bad transferee; Unimplemented for another voter.
pub fn move_leader(rt: &Rc<Runtime>, request: &MoveLeaderRequest) -> Result<Bytes, Status> {
    let core = &rt.core;
    if core.leader() != core.member_id {
        return Err(errors::NOT_LEADER);
    }
    match core.cluster.load().member(request.target_id) {
        Some(member) if member.is_learner => Err(errors::BAD_TRANSFEREE),
        None => Err(errors::BAD_TRANSFEREE),
        Some(_) if request.target_id == core.member_id => {
            Ok(frame_message(&MoveLeaderResponse { header: None }))
        }
        Some(_) => Err(single_member("transferring leadership")),
    }
}
