//! The Lease service. Grants and revokes go through the log; renewals and remaining times are
//! the primary lessor's own knowledge. The stream of renewals is in [`super::keep_alive`].

use std::{rc::Rc, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use failpoint::failpoint;
use lease::{LeaseId, Lessor};
use member::Outcome;
use prost::Message as _;
use proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseLeasesResponse, LeaseRevokeRequest, LeaseStatus, LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse, internal_raft_request::Op,
};
use proto::leasepb::{LeaseInternalRequest, LeaseInternalResponse};
use tokio::time::Instant;

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
    let deadline = deadline(rt);
    loop {
        let found = match leads(rt) {
            true => match prepare_answer(rt, request.id, deadline).await {
                Ok(()) => remaining_as_primary(rt, &request),
                Err(error) => Err(error),
            },
            false => remaining_elsewhere(rt, request).await,
        };
        match found {
            Err(error) if error == errors::NOT_PRIMARY => ask_again(deadline).await?,
            found => return found,
        }
    }
}

/// What the leader's lessor knows of a lease, without a header.
///
/// # Errors
/// As [`ask_primary`].
async fn remaining_elsewhere(
    rt: &Rc<Runtime>,
    request: LeaseTimeToLiveRequest,
) -> Result<LeaseTimeToLiveResponse, Status> {
    let body = LeaseInternalRequest {
        lease_time_to_live_request: Some(request),
    };
    let reply = ask_primary(rt, "/leases/internal", body.encode_to_vec().into()).await?;
    LeaseInternalResponse::decode(reply)
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

/// Until when a question about a lease that comes now is asked again.
pub fn deadline(rt: &Rc<Runtime>) -> Instant {
    Instant::now() + rt.core.config.request_timeout()
}

/// Whether the primary lessor is, or is about to be, this member's own. Looked at before every
/// attempt, for leaders change: the one to ask may by now be this member.
fn leads(rt: &Rc<Runtime>) -> bool {
    rt.core.raft.status.is_leader.load(Ordering::Acquire)
}

/// Puts a question about a lease to the leader, once.
///
/// # Errors
/// Lease not found; not primary, if the answer may be another one in a moment: no other member
/// leads, it does not answer, or it cannot say yet.
async fn ask_primary(rt: &Rc<Runtime>, path: &'static str, body: Bytes) -> Result<Bytes, Status> {
    let reply = ask::leader_often(rt, path, body)
        .await
        .map_err(|_| errors::NOT_PRIMARY)?;
    match reply.status {
        http::StatusCode::OK => Ok(reply.body),
        http::StatusCode::NOT_FOUND => Err(errors::LEASE_NOT_FOUND),
        _ => Err(errors::NOT_PRIMARY),
    }
}

/// Waits before the next attempt.
///
/// # Errors
/// Timed out: there is none.
async fn ask_again(deadline: Instant) -> Result<(), Status> {
    if Instant::now() >= deadline {
        return Err(errors::TIMEOUT);
    }
    tokio::time::sleep(ASK_PAUSE).await;
    Ok(())
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
    let deadline = deadline(rt);
    loop {
        let renewed = match leads(rt) {
            true => renew_here(rt, caller, id, deadline).await,
            false => renew_elsewhere(rt, caller, id).await,
        };
        match renewed {
            Err(error) if error == errors::LEASE_NOT_FOUND => return Ok(0),
            Err(error) if error == errors::NOT_PRIMARY => ask_again(deadline).await?,
            renewed => return renewed,
        }
    }
}

async fn renew_here(
    rt: &Rc<Runtime>,
    caller: &Caller,
    id: i64,
    deadline: Instant,
) -> Result<i64, Status> {
    prepare_answer(rt, id, deadline).await?;
    may_renew(rt, caller, LeaseId(id)).await?;
    renew_as_primary(rt, id, deadline).await
}

async fn renew_elsewhere(rt: &Rc<Runtime>, caller: &Caller, id: i64) -> Result<i64, Status> {
    may_renew(rt, caller, LeaseId(id)).await?;
    let request = LeaseKeepAliveRequest { id };
    let reply = ask_primary(rt, "/leases", request.encode_to_vec().into()).await?;
    match LeaseKeepAliveResponse::decode(reply) {
        Ok(response) => Ok(response.ttl),
        Err(_) => Err(mixed_up()),
    }
}

/// Waits until this member's lessor may renew a lease, or speak of it: one that was paused while
/// it led must not, before a quorum has confirmed that it still leads; nor one that was elected a
/// moment ago, before the entries of those who led before it are applied; and what was granted or
/// revoked a moment ago, through any member, must be applied here. As in etcd, no quorum is asked
/// otherwise; but a lease is missing only if one agrees.
///
/// # Errors
/// No quorum, or timed out.
pub async fn prepare_answer(rt: &Rc<Runtime>, id: i64, deadline: Instant) -> Result<(), Status> {
    let term = rt.core.leads_steadily();
    if term.is_some_and(|term| knows(&rt.core.state.lessor.read(), term, LeaseId(id))) {
        return Ok(());
    }
    rt.linearizable_by(deadline.into()).await
}

/// Whether a lessor has the lease and is primary in the term that its member leads. In a term it
/// led before, it may not know what was revoked since; and without any it cannot answer.
fn knows(lessor: &Lessor, term: u64, id: LeaseId) -> bool {
    lessor.primary_term() == Some(term) && lessor.exists(id)
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
pub async fn renew_as_primary(rt: &Rc<Runtime>, id: i64, deadline: Instant) -> Result<i64, Status> {
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

#[cfg(test)]
mod tests {
    use bolt::Batch;
    use lease::{LeaseId, Lessor, Options};

    use super::knows;

    #[test]
    fn a_lessor_answers_in_the_term_that_it_is_primary_of() {
        let id = LeaseId(1);
        let mut lessor = Lessor::new(Options::default());
        let granted = lessor.grant(id, 60, 0, &mut Batch::default());
        granted.expect("a lease");
        assert!(!knows(&lessor, 7, id), "elected, and not promoted yet");
        lessor.promote(5, 0, 0);
        assert!(
            !knows(&lessor, 7, id),
            "elected again before it was demoted"
        );
        lessor.promote(7, 0, 0);
        assert!(knows(&lessor, 7, id));
        assert!(!knows(&lessor, 7, LeaseId(2)));
    }
}
