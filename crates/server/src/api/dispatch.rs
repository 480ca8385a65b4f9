//! From a method to what it does. Every call passes the same gate ([`admit`]) before it gets there.

use std::{pin::pin, rc::Rc, sync::atomic::Ordering, time::Instant};

use bytes::Bytes;
use line::{Feature, Line};
use proto::{etcdserverpb::internal_raft_request::Op, wire::Nested};

use super::{
    auth,
    call::Call,
    caller::{self, Caller},
    cluster, downgrade, election, health, keep_alive, kv, lease, lines, lock, maintenance,
    metered::Metered,
    watch,
};
use crate::{
    rpc::{Answer, Method, decode_as, decode_used_as},
    runtime::Runtime,
    slow::Stats,
    spans,
    status::{Code, Status, errors},
    transport::MessageStream,
};

/// What a learner answers: what it holds itself, as far as it has got.
fn fits_learner(line: Line, method: Method, message: Option<&Bytes>) -> bool {
    match method {
        // A learner says why the line cannot be changed.
        Method::Status | Method::Snapshot | Method::LinesShow | Method::LinesSet => true,
        Method::Range => message.is_some_and(|message| {
            decode_as::<proto::etcdserverpb::RangeRequest>(line, message.clone())
                .is_ok_and(|range| range.serializable)
        }),
        _ => false,
    }
}

/// The gate that every call passes first. Its message, if there is just one.
fn admit(
    rt: &Rc<Runtime>,
    method: Method,
    call: &Call<'_>,
    message: Option<&Bytes>,
) -> Result<(), Status> {
    let core = &rt.core;
    let line = core.line();
    let version = match call.client_api_version.map(std::str::from_utf8) {
        Some(Ok(version)) => version,
        Some(Err(_)) if line.has(Feature::ClientApiVersionCheck) => {
            return Err(errors::INVALID_CLIENT_API_VERSION);
        }
        Some(Err(_)) | None => "unknown",
    };
    core.metrics.client_request(method, version);
    // A call that came before the client heard of the end is still answered; a
    // stream has none.
    let ending = match message {
        Some(_) => &core.over,
        None => &core.stop,
    };
    if *ending.borrow() {
        return Err(errors::STOPPED);
    }
    if core.state.is_learner.load(Ordering::Relaxed)
        && !fits_learner(rt.core.line(), method, message)
    {
        return Err(errors::NOT_FOR_LEARNER.precondition(line));
    }
    if call.has_leader && core.leader() == 0 {
        return Err(errors::NO_LEADER);
    }
    Ok(())
}

/// Serves a call with a single request message.
pub async fn unary(
    rt: &Rc<Runtime>,
    method: Method,
    call: &Call<'_>,
    message: Bytes,
) -> Result<Answer, Status> {
    admit(rt, method, call, Some(&message))?;
    let (timeout, caller) = (call.timeout, &call.caller);
    let metrics = &rt.core.metrics;
    let started = metrics.call_started(method);
    metrics.received(method).inc();
    metrics.client_received_bytes.inc_by(message.len() as u64);
    // Read once for all that times the call.
    let began = Instant::now();
    let stats = Stats::begin(method, &message, began);
    let mut span = spans::call(method, call.traceparent, call.remote);
    let result = {
        // Pinned here and not moved again: a copy in each arm would double the call's future.
        let work = perform(rt, method, caller, message, began);
        let work = pin!(spans::within(span.as_ref(), work));
        match timeout {
            // A client's deadline shorter than the server's own wins; where the
            // server has none, the client's is the only one.
            Some(limit) if method.waits() || limit < rt.core.config.request_timeout() => {
                match tokio::time::timeout(limit, work).await {
                    Ok(result) => result,
                    Err(_) => Err(errors::DEADLINE_EXCEEDED),
                }
            }
            _ => work.await,
        }
    };
    let expected = rt.core.config.warning_unary_request_duration;
    stats.end(method, call.remote, expected, &result);
    if let Some(span) = &mut span {
        span.ends(result.as_ref().map(drop));
    }
    let ended = |code| metrics.call_ended(method, &started, code);
    Ok(match result {
        Err(mut status) => {
            if method.loses_codes() && status != errors::DEADLINE_EXCEEDED {
                status.code = Code::Unknown;
            }
            ended(status.code);
            return Err(status);
        }
        Ok(Answer::One(frame)) => {
            metrics.sent(method, 1, (frame.len() as u64).saturating_sub(5));
            ended(Code::Ok);
            Answer::One(frame)
        }
        Ok(Answer::Pieces(source)) => {
            ended(Code::Ok);
            Answer::Pieces(Metered::pieces(rt, method, source))
        }
        Ok(Answer::Stream(source)) => {
            Answer::Stream(Metered::stream(rt, method, source, call, started, None))
        }
    })
}

/// What a method with a single request message does. Only what is asked often and is small is part of
/// the call's own future: that is copied when it is spawned and when it ends, however little of it is used.
async fn perform(
    rt: &Rc<Runtime>,
    method: Method,
    caller: &Caller,
    message: Bytes,
    began: Instant,
) -> Result<Answer, Status> {
    caller::pass(rt, method, caller).await?;
    let line = rt.core.line();
    Ok(match method {
        Method::Range => kv::range(rt, caller, decode_used_as(line, message)?, began).await?,
        Method::Put => Answer::One(kv::put(rt, caller, decode_as(line, message)?).await?),
        _ => Box::pin(perform_rarer(rt, method, caller, message)).await?,
    })
}

/// What all other methods with a single request message do.
async fn perform_rarer(
    rt: &Rc<Runtime>,
    method: Method,
    caller: &Caller,
    message: Bytes,
) -> Result<Answer, Status> {
    // Whatever it is, by the rules of the line.
    macro_rules! request {
        () => {
            decode_as(rt.core.line(), message)?
        };
    }
    Ok(match method {
        Method::RangeStream => Answer::Stream(kv::range_stream(rt, caller, request!()).await?),
        Method::Txn => Answer::One(kv::txn(rt, caller, Nested::new(request!())).await?),
        Method::DeleteRange => Answer::One(kv::delete_range(rt, caller, request!()).await?),
        Method::Compact => Answer::One(kv::compact(rt, caller, request!()).await?),
        Method::LeaseGrant => Answer::One(lease::grant(rt, caller, request!()).await?),
        Method::LeaseRevoke => Answer::One(lease::revoke(rt, caller, request!()).await?),
        Method::LeaseTimeToLive => Answer::One(lease::time_to_live(rt, caller, request!()).await?),
        Method::LeaseLeases => Answer::One(lease::leases(rt, caller).await?),
        Method::MemberList => Answer::One(cluster::member_list(rt, request!()).await?),
        Method::Alarm => Answer::One(maintenance::alarm(rt, caller, request!()).await?),
        Method::Status => Answer::One(maintenance::status(rt)),
        Method::Defragment => Answer::One(maintenance::defragment(rt).await?),
        Method::Hash => Answer::One(maintenance::hash(rt).await?),
        Method::HashKv => Answer::One(maintenance::hash_kv(rt, request!()).await?),
        Method::Snapshot => Answer::Stream(maintenance::snapshot(rt).await?),
        Method::LinesShow => Answer::One(lines::show(rt, message).await?),
        Method::LinesSet => Answer::One(lines::set(rt, message).await?),
        Method::HealthCheck => Answer::One(health::check(rt, &message)?),
        Method::HealthWatch => Answer::Stream(health::watch(rt, &message)),
        Method::MemberAdd => Answer::One(cluster::member_add(rt, request!()).await?),
        Method::MemberRemove => Answer::One(cluster::member_remove(rt, request!()).await?),
        Method::MemberUpdate => Answer::One(cluster::member_update(rt, request!()).await?),
        Method::MemberPromote => {
            let request: proto::etcdserverpb::MemberPromoteRequest = request!();
            Answer::One(cluster::member_promote(rt, caller, request.id).await?)
        }
        Method::MoveLeader => Answer::One(cluster::move_leader(rt, &request!()).await?),
        Method::Downgrade => Answer::One(downgrade::call(rt, request!()).await?),
        Method::Lock => Answer::One(lock::lock(rt, caller, request!()).await?),
        Method::Unlock => Answer::One(lock::unlock(rt, caller, request!()).await?),
        Method::Campaign => Answer::One(election::campaign(rt, caller, request!()).await?),
        Method::Proclaim => Answer::One(election::proclaim(rt, caller, request!()).await?),
        Method::Leader => Answer::One(election::leader(rt, caller, request!()).await?),
        Method::Observe => Answer::Stream(election::observe(rt, caller, request!())),
        Method::Resign => Answer::One(election::resign(rt, caller, request!()).await?),
        Method::Authenticate => Answer::One(auth::authenticate(rt, request!()).await?),
        Method::UserAdd => Answer::One(auth::user_add(rt, caller, request!()).await?),
        Method::UserChangePassword => {
            Answer::One(auth::user_change_password(rt, caller, request!()).await?)
        }
        Method::AuthEnable => of_auth(rt, caller, Op::AuthEnable(request!())).await?,
        Method::AuthDisable => of_auth(rt, caller, Op::AuthDisable(request!())).await?,
        Method::AuthStatus => of_auth(rt, caller, Op::AuthStatus(request!())).await?,
        Method::UserGet => of_auth(rt, caller, Op::AuthUserGet(request!())).await?,
        Method::UserList => of_auth(rt, caller, Op::AuthUserList(request!())).await?,
        Method::UserDelete => of_auth(rt, caller, Op::AuthUserDelete(request!())).await?,
        Method::UserGrantRole => of_auth(rt, caller, Op::AuthUserGrantRole(request!())).await?,
        Method::UserRevokeRole => of_auth(rt, caller, Op::AuthUserRevokeRole(request!())).await?,
        Method::RoleAdd => of_auth(rt, caller, Op::AuthRoleAdd(request!())).await?,
        Method::RoleGet => of_auth(rt, caller, Op::AuthRoleGet(request!())).await?,
        Method::RoleList => of_auth(rt, caller, Op::AuthRoleList(request!())).await?,
        Method::RoleDelete => of_auth(rt, caller, Op::AuthRoleDelete(request!())).await?,
        Method::RoleGrantPermission => {
            of_auth(rt, caller, Op::AuthRoleGrantPermission(request!())).await?
        }
        Method::RoleRevokePermission => {
            of_auth(rt, caller, Op::AuthRoleRevokePermission(request!())).await?
        }
        Method::Range | Method::Put | Method::Watch | Method::LeaseKeepAlive => {
            return Err(not_built(method));
        }
    })
}

async fn of_auth(rt: &Rc<Runtime>, caller: &Caller, op: Op) -> Result<Answer, Status> {
    Ok(Answer::One(auth::call(rt, caller, op).await?))
}

/// Serves a call whose client sends a stream.
pub async fn stream(
    rt: &Rc<Runtime>,
    method: Method,
    call: &Call<'_>,
    mut messages: MessageStream,
) -> Result<Answer, Status> {
    admit(rt, method, call, None)?;
    caller::pass(rt, method, &call.caller).await?;
    let caller = call.caller.clone();
    let metrics = &rt.core.metrics;
    messages.count(
        metrics.received(method).clone(),
        metrics.client_received_bytes.clone(),
    );
    // A client that will ask for no more still wants its events; keepalives are
    // one answer to each request.
    let open = (method == Method::Watch).then(|| messages.hold_open());
    let source = match method {
        Method::Watch => watch::serve(rt, caller, messages),
        Method::LeaseKeepAlive => keep_alive::serve(rt, caller, messages),
        other => return Err(not_built(other)),
    };
    let started = metrics.call_started(method);
    let source = Metered::stream(rt, method, source, call, started, open);
    let span = spans::call(method, call.traceparent, call.remote);
    Ok(Answer::Stream(spans::stream(span, source)))
}

fn not_built(method: Method) -> Status {
    Status::new(
        Code::Unimplemented,
        format!(
            "{} is not implemented by this version of Pintle",
            method.path()
        ),
    )
}
