//! The Lease service. Grants and revokes go through the log; renewals and remaining times are
//! the primary lessor's own knowledge. The stream of renewals is in [`super::keep_alive`].

use std::{rc::Rc, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use failpoint::failpoint;
use lease::LeaseId;
use member::Outcome;
use prost::Message as _;
use proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseLeasesResponse, LeaseRevokeRequest, LeaseStatus, LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse, internal_raft_request::Op,
};
use proto::leasepb::{LeaseInternalRequest, LeaseInternalResponse};

use super::caller::{AsOf, Caller};
use crate::{
    ask,
    duties::lease::clear_checkpoint,
    quota,
    rpc::frame_message,
    runtime::Runtime,
    status::{Status, errors},
    submit::mixed_up,
};

/// `Lease.LeaseGrant`
pub async fn grant(
    rt: &Rc<Runtime>,
    caller: &Caller,
    request: LeaseGrantRequest,
) -> Result<Bytes, Status> {
    Ok(frame_message(&create(rt, caller, request).await?))
}

/// What [`grant`] answers, as a message.
pub(super) async fn create(
    rt: &Rc<Runtime>,
    caller: &Caller,
    mut request: LeaseGrantRequest,
) -> Result<LeaseGrantResponse, Status> {
    quota::check(rt, quota::LEASE_COST).await?;
    while request.id == 0 {
        // Positive, so that no sign appears where ids are printed.
        request.id = (rt.core.next_request_id() & (i64::MAX as u64)) as i64;
    }
    caller.require_user(rt).await?;
    let who = caller.identity(rt).await?;
    match rt.submit(who, Op::LeaseGrant(request)).await? {
        Outcome::LeaseGrant(mut response) => {
            rt.core.complete_header(&mut response.header);
            Ok(response)
        }
        _ => Err(mixed_up()),
    }
}

/// `Lease.LeaseRevoke`
pub async fn revoke(
    rt: &Rc<Runtime>,
    caller: &Caller,
    request: LeaseRevokeRequest,
) -> Result<Bytes, Status> {
    caller.require_user(rt).await?;
    let who = caller.identity(rt).await?;
    match rt.submit(who, Op::LeaseRevoke(request)).await? {
        Outcome::LeaseRevoke(mut response) => {
            rt.core.complete_header(&mut response.header);
            Ok(frame_message(&response))
        }
        _ => Err(mixed_up()),
    }
}

/// `Lease.LeaseTimeToLive`: only the primary lessor knows the time that is left.
pub async fn time_to_live(
    rt: &Rc<Runtime>,
    caller: &Caller,
    request: LeaseTimeToLiveRequest,
) -> Result<Bytes, Status> {
    caller.require_user(rt).await?;
    let (id, keys) = (request.id, request.keys);
    let as_of = match keys {
        true => Some(may_read(rt, caller, LeaseId(id)).await?),
        false => None,
    };
    failpoint!(BeforeLookupWhenLeaseTimeToLive);
    let found = match remaining(rt, request).await {
        Err(error) if error == errors::LEASE_NOT_FOUND => None,
        found => Some(found?),
    };
    if let Some(as_of) = as_of {
        as_of.check(&rt.core)?;
    }
    // The leader may have known more keys than this member.
    if let Some(response) = found.as_ref().filter(|_| keys) {
        let listed = caller.check(rt, |users, who| may_see(users, who, &response.keys));
        listed.await?.check(&rt.core)?;
    }
    let mut response = found.unwrap_or(LeaseTimeToLiveResponse {
        id,
        ttl: -1,
        ..LeaseTimeToLiveResponse::default()
    });
    response.header = Some(rt.core.header(rt.core.store().revision()));
    Ok(frame_message(&response))
}

/// Checks the keys of a lease before they are read.
async fn may_read(rt: &Rc<Runtime>, caller: &Caller, id: LeaseId) -> Result<AsOf, Status> {
    let checked = caller.check_leases(rt, |users, lessor, who| {
        users.check_lease_read(who, Some(lessor), id)
    });
    Ok(checked.await?)
}

/// Whether a user may see keys that a lease has.
fn may_see(users: &auth::Store, who: &auth::Identity, keys: &[Bytes]) -> Result<(), auth::Error> {
    if users.check_admin(who).is_ok() {
        return Ok(());
    }
    keys.iter()
        .try_for_each(|key| users.check_keys(who, key, b""))
}

async fn remaining(
    rt: &Rc<Runtime>,
    request: LeaseTimeToLiveRequest,
) -> Result<LeaseTimeToLiveResponse, Status> {
    if rt.core.raft.status.is_leader.load(Ordering::Acquire) {
        prepare_answer(rt, request.id).await?;
        match remaining_as_primary(rt, &request) {
            Err(error) if error == errors::NOT_PRIMARY => {}
            remaining => return remaining,
        }
    }
    let body = LeaseInternalRequest {
        lease_time_to_live_request: Some(request),
    };
    let reply = ask_primary(rt, "/leases/internal", body.encode_to_vec().into()).await?;
    LeaseInternalResponse::decode(reply.ok_or(errors::LEASE_NOT_FOUND)?)
        .ok()
        .and_then(|response| response.lease_time_to_live_response)
        .ok_or_else(mixed_up)
}

/// What this member's own lessor knows of a lease, without a header. The caller has waited
/// until all that was committed is applied.
///
/// # Errors
/// Lease not found, not primary.
pub fn remaining_as_primary(
    rt: &Rc<Runtime>,
    request: &LeaseTimeToLiveRequest,
) -> Result<LeaseTimeToLiveResponse, Status> {
    let id = LeaseId(request.id);
    failpoint!(BeforeLookupWhenForwardLeaseTimeToLive);
    let lessor = rt.core.state.lessor.read();
    if !lessor.is_primary() {
        return Err(errors::NOT_PRIMARY);
    }
    let view = lessor
        .time_to_live(id, rt.core.now_ms())
        .ok_or(errors::LEASE_NOT_FOUND)?;
    let keys = lessor.keys(id).filter(|_| request.keys);
    Ok(LeaseTimeToLiveResponse {
        header: None,
        id: request.id,
        ttl: view.remaining_secs,
        granted_ttl: view.granted_secs,
        keys: keys.into_iter().flatten().cloned().collect(),
    })
}

/// Between two attempts to reach the primary lessor.
const ASK_PAUSE: Duration = Duration::from_millis(50);

/// Puts a question about a lease to the leader; `None` if it knows no such
/// lease. Tries until the request's time is over, since leaders change.
async fn ask_primary(
    rt: &Rc<Runtime>,
    path: &'static str,
    body: Bytes,
) -> Result<Option<Bytes>, Status> {
    let deadline = tokio::time::Instant::now() + rt.core.config.request_timeout();
    loop {
        if let Ok(reply) = ask::leader_often(rt, path, body.clone()).await {
            match reply.status {
                http::StatusCode::OK => return Ok(Some(reply.body)),
                http::StatusCode::NOT_FOUND => return Ok(None),
                _ => {}
            }
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(errors::TIMEOUT);
        }
        tokio::time::sleep(ASK_PAUSE).await;
    }
}

/// `Lease.LeaseLeases`: as far as this member has got, so that leases can be listed without a
/// quorum too.
pub async fn leases(rt: &Rc<Runtime>, caller: &Caller) -> Result<Bytes, Status> {
    let listed = rt.core.state.lessor.read().leases();
    let checked = caller.check_leases(rt, |users, lessor, who| {
        if who.user.is_empty() && who.revision == 0 {
            return Err(auth::Error::UserEmpty);
        }
        listed
            .iter()
            .try_for_each(|id| users.check_lease_read(who, Some(lessor), *id))
    });
    checked.await?.check(&rt.core)?;
    let leases = listed
        .into_iter()
        .map(|id| LeaseStatus { id: id.0 })
        .collect();
    Ok(frame_message(&LeaseLeasesResponse {
        header: Some(rt.core.header(rt.core.store().revision())),
        leases,
    }))
}

/// Renews a lease: its TTL, or 0 when there is none of that id.
pub(super) async fn renew(rt: &Rc<Runtime>, caller: &Caller, id: i64) -> Result<i64, Status> {
    if rt.core.raft.status.is_leader.load(Ordering::Acquire) {
        prepare_answer(rt, id).await?;
        may_renew(rt, caller, LeaseId(id)).await?;
        match renew_as_primary(rt, id).await {
            Err(error) if error == errors::LEASE_NOT_FOUND => return Ok(0),
            Err(error) if error == errors::NOT_PRIMARY => {}
            renewed => return renewed,
        }
    }
    may_renew(rt, caller, LeaseId(id)).await?;
    let request = LeaseKeepAliveRequest { id };
    let reply = ask_primary(rt, "/leases", request.encode_to_vec().into()).await?;
    match reply.map(LeaseKeepAliveResponse::decode) {
        None => Ok(0),
        Some(Ok(response)) => Ok(response.ttl),
        Some(Err(_)) => Err(mixed_up()),
    }
}

/// Waits until this member's lessor may renew a lease, or speak of it: one that was paused while
/// it led must not, before a quorum has confirmed that it still leads; and what was granted or
/// revoked a moment ago, through any member, must be applied here. As in etcd, no quorum is asked
/// otherwise; but a lease is missing only if one agrees.
///
/// # Errors
/// No quorum, or timed out.
pub async fn prepare_answer(rt: &Rc<Runtime>, id: i64) -> Result<(), Status> {
    if rt.core.leads_steadily() && rt.core.state.lessor.read().exists(LeaseId(id)) {
        return Ok(());
    }
    rt.linearizable().await
}

/// Checks the keys that a lease keeps.
async fn may_renew(rt: &Rc<Runtime>, caller: &Caller, id: LeaseId) -> Result<(), Status> {
    let checked = caller.check_leases(rt, |users, lessor, who| {
        if who.user.is_empty() && who.revision == 0 {
            return Err(auth::Error::UserEmpty);
        }
        users.check_lease_write(who, Some(lessor), id)
    });
    checked.await?.check(&rt.core)
}

/// Renews a lease in this member's lessor: its TTL. The caller has waited until all that was
/// committed is applied. For an expired lease it waits until the revocation is applied.
///
/// # Errors
/// Lease not found, not primary, timed out.
pub async fn renew_as_primary(rt: &Rc<Runtime>, id: i64) -> Result<i64, Status> {
    let deadline = tokio::time::Instant::now() + rt.core.config.request_timeout();
    loop {
        let changed = rt.core.leases_changed.notified();
        let mut changed = std::pin::pin!(changed);
        // From here on no change is missed.
        changed.as_mut().enable();
        match try_renew(rt, LeaseId(id)) {
            Err(lease::Error::Expired) => {}
            renewed => return Ok(renewed?),
        }
        if tokio::time::timeout_at(deadline, changed).await.is_err() {
            return Err(errors::TIMEOUT);
        }
    }
}

fn try_renew(rt: &Rc<Runtime>, id: LeaseId) -> Result<i64, lease::Error> {
    let (term, renewed) = {
        let lessor = rt.core.state.lessor.read();
        (lessor.primary_term(), lessor.renew(id, rt.core.now_ms()))
    };
    let renewal = renewed?;
    rt.core.metrics.lease_renewed.inc();
    if let Some(term) = term.filter(|_| renewal.clear_checkpoint) {
        clear_checkpoint(rt, term, id);
    }
    Ok(renewal.ttl_secs)
}
