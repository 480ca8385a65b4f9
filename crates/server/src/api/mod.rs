//! The methods of the public API, told apart by path, free of transport types:
//! serialized request in, framed answer out. Every call passes the same gate
//! ([`admit`]) before it reaches its method.

mod auth;
mod caller;
pub mod cluster;
pub mod downgrade;
pub mod election;
mod frames;
mod health;
mod keep_alive;
pub mod kv;
pub mod lease;
pub mod lock;
pub mod maintenance;
mod metered;
mod turn;
pub mod watch;

use std::{rc::Rc, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
pub use caller::Caller;
pub(crate) use metered::DEADLINE_EXCEEDED;
use metered::Metered;
use proto::{
    etcdserverpb::internal_raft_request::Op,
    wire::{Nested, Read},
};

use crate::{
    runtime::Runtime,
    status::{Code, Status, errors},
    transport::{MessageStream, Source},
};

/// Room that gRPC framing and headers may take beyond `--max-request-bytes`, bytes.
pub const GRPC_OVERHEAD: usize = 512 * 1024;

/// What a method gives back.
pub enum Answer {
    /// One framed message.
    One(Bytes),
    /// One framed message in pieces: it is too large to be put together first.
    Pieces(Box<dyn Source>),
    /// A stream of framed messages.
    Stream(Box<dyn Source>),
}

/// What the request metadata says.
pub struct Call<'a> {
    /// `hasleader: true`: fail when this member knows no leader.
    pub has_leader: bool,
    /// `client-api-version`, for the metric alone.
    pub client_api_version: Option<&'a str>,
    /// The client's own deadline.
    pub timeout: Option<Duration>,
    /// Who calls.
    pub caller: Caller,
}

macro_rules! methods {
    ($($service:literal { $($variant:ident = $name:literal $kind:ident),* $(,)? })*) => {
        /// A method of the API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Method {
            $($(#[doc = concat!("`/", $service, "/", $name, "`")] $variant,)*)*
        }

        impl Method {
            /// Finds a method by its path, `/<package>.<Service>/<Method>`.
            pub fn of(path: &str) -> Option<Method> {
                Some(match path {
                    $($(concat!("/", $service, "/", $name) => Method::$variant,)*)*
                    _ => return None,
                })
            }

            /// The full path.
            pub fn path(self) -> &'static str {
                match self {
                    $($(Method::$variant => concat!("/", $service, "/", $name),)*)*
                }
            }

            /// `unary`, `server_stream` or `bidi_stream`, as etcd's metrics name the kinds.
            pub fn kind(self) -> &'static str {
                match self {
                    $($(Method::$variant => stringify!($kind),)*)*
                }
            }

            /// True if some method of this service exists.
            pub fn has_service(service: &str) -> bool {
                [$($service),*].contains(&service)
            }

            /// Every method.
            pub const ALL: &'static [Method] = &[$($(Method::$variant,)*)*];
        }
    };
}

methods! {
    "etcdserverpb.KV" {
        Range = "Range" unary,
        RangeStream = "RangeStream" server_stream,
        Put = "Put" unary,
        DeleteRange = "DeleteRange" unary,
        Txn = "Txn" unary,
        Compact = "Compact" unary,
    }
    "etcdserverpb.Watch" {
        Watch = "Watch" bidi_stream,
    }
    "etcdserverpb.Lease" {
        LeaseGrant = "LeaseGrant" unary,
        LeaseRevoke = "LeaseRevoke" unary,
        LeaseKeepAlive = "LeaseKeepAlive" bidi_stream,
        LeaseTimeToLive = "LeaseTimeToLive" unary,
        LeaseLeases = "LeaseLeases" unary,
    }
    "etcdserverpb.Cluster" {
        MemberAdd = "MemberAdd" unary,
        MemberRemove = "MemberRemove" unary,
        MemberUpdate = "MemberUpdate" unary,
        MemberList = "MemberList" unary,
        MemberPromote = "MemberPromote" unary,
    }
    "etcdserverpb.Maintenance" {
        Alarm = "Alarm" unary,
        Status = "Status" unary,
        Defragment = "Defragment" unary,
        Hash = "Hash" unary,
        HashKv = "HashKV" unary,
        Snapshot = "Snapshot" server_stream,
        MoveLeader = "MoveLeader" unary,
        Downgrade = "Downgrade" unary,
    }
    "etcdserverpb.Auth" {
        AuthEnable = "AuthEnable" unary,
        AuthDisable = "AuthDisable" unary,
        AuthStatus = "AuthStatus" unary,
        Authenticate = "Authenticate" unary,
        UserAdd = "UserAdd" unary,
        UserGet = "UserGet" unary,
        UserList = "UserList" unary,
        UserDelete = "UserDelete" unary,
        UserChangePassword = "UserChangePassword" unary,
        UserGrantRole = "UserGrantRole" unary,
        UserRevokeRole = "UserRevokeRole" unary,
        RoleAdd = "RoleAdd" unary,
        RoleGet = "RoleGet" unary,
        RoleList = "RoleList" unary,
        RoleDelete = "RoleDelete" unary,
        RoleGrantPermission = "RoleGrantPermission" unary,
        RoleRevokePermission = "RoleRevokePermission" unary,
    }
    "v3lockpb.Lock" {
        Lock = "Lock" unary,
        Unlock = "Unlock" unary,
    }
    "v3electionpb.Election" {
        Campaign = "Campaign" unary,
        Proclaim = "Proclaim" unary,
        Leader = "Leader" unary,
        Observe = "Observe" server_stream,
        Resign = "Resign" unary,
    }
    "grpc.health.v1.Health" {
        HealthCheck = "Check" unary,
        HealthWatch = "Watch" server_stream,
    }
}

impl Method {
    /// True if the client sends a stream.
    pub fn streams_requests(self) -> bool {
        matches!(self, Method::Watch | Method::LeaseKeepAlive)
    }

    /// True for the services on locks and elections. etcd serves them through a
    /// client of its own, and on that way its errors lose their codes.
    fn loses_codes(self) -> bool {
        matches!(
            self,
            Method::Lock
                | Method::Unlock
                | Method::Campaign
                | Method::Proclaim
                | Method::Leader
                | Method::Observe
                | Method::Resign
        )
    }

    /// How its stream ends when the leader is lost and the client asked for one; `None` if it does
    /// not: what it sends is this member's own and all there, and a backup is wanted most then.
    fn without_leader(self) -> Option<Status> {
        match self {
            Method::Snapshot | Method::RangeStream => None,
            Method::HealthWatch => Some(Status::fixed(Code::Canceled, "Stream has ended.")),
            _ => Some(errors::NO_LEADER),
        }
    }

    /// True if the answer waits for other clients, for as long as it takes.
    pub fn waits(self) -> bool {
        matches!(self, Method::Lock | Method::Campaign)
    }
}

/// Decodes a request by etcd's rules; a message that does not parse is the client's
/// mistake.
pub fn decode<M: Read>(message: Bytes) -> Result<M, Status> {
    M::read(&message).map_err(unreadable)
}

/// The same for a request that is answered as it came, without the log.
fn decode_used<M: Read>(message: Bytes) -> Result<M, Status> {
    M::read_used(&message).map_err(unreadable)
}

fn unreadable(error: proto::wire::Malformed) -> Status {
    Status::new(
        Code::Internal,
        format!("grpc: error unmarshalling request: {error}"),
    )
}

/// What a learner answers: what it holds itself, as far as it has got.
fn fits_learner(method: Method, message: Option<&Bytes>) -> bool {
    match method {
        Method::Status | Method::Snapshot => true,
        Method::Range => message.is_some_and(|message| {
            decode::<proto::etcdserverpb::RangeRequest>(message.clone())
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
    core.metrics
        .client_request(method, call.client_api_version.unwrap_or("unknown"));
    // A call that came before the client heard of the end is still answered; a
    // stream has none.
    let ending = match message {
        Some(_) => &core.over,
        None => &core.stop,
    };
    if *ending.borrow() {
        return Err(errors::STOPPED);
    }
    if core.state.is_learner.load(Ordering::Relaxed) && !fits_learner(method, message) {
        return Err(errors::NOT_FOR_LEARNER);
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
    let work = async {
        caller::pass(rt, method, caller).await?;
        Ok(match method {
            Method::Range => kv::range(rt, caller, decode_used(message)?).await?,
            Method::RangeStream => {
                Answer::Stream(kv::range_stream(rt, caller, decode(message)?).await?)
            }
            Method::Put => Answer::One(kv::put(rt, caller, decode(message)?).await?),
            Method::DeleteRange => {
                Answer::One(kv::delete_range(rt, caller, decode(message)?).await?)
            }
            Method::Txn => Answer::One(kv::txn(rt, caller, Nested::new(decode(message)?)).await?),
            Method::Compact => Answer::One(kv::compact(rt, caller, decode(message)?).await?),
            Method::LeaseGrant => Answer::One(lease::grant(rt, caller, decode(message)?).await?),
            Method::LeaseRevoke => Answer::One(lease::revoke(rt, caller, decode(message)?).await?),
            Method::LeaseTimeToLive => {
                Answer::One(lease::time_to_live(rt, caller, decode(message)?).await?)
            }
            Method::LeaseLeases => Answer::One(lease::leases(rt, caller).await?),
            Method::MemberList => Answer::One(cluster::member_list(rt, decode(message)?).await?),
            Method::Alarm => Answer::One(maintenance::alarm(rt, caller, decode(message)?).await?),
            Method::Status => Answer::One(maintenance::status(rt)),
            Method::Defragment => Answer::One(maintenance::defragment(rt).await?),
            Method::Hash => Answer::One(maintenance::hash(rt).await?),
            Method::HashKv => Answer::One(maintenance::hash_kv(rt, decode(message)?).await?),
            Method::Snapshot => Answer::Stream(maintenance::snapshot(rt).await?),
            Method::HealthCheck => Answer::One(health::check(rt, &message)?),
            Method::HealthWatch => Answer::Stream(health::watch(rt, &message)),
            Method::MemberAdd => Answer::One(cluster::member_add(rt, decode(message)?).await?),
            Method::MemberRemove => {
                Answer::One(cluster::member_remove(rt, decode(message)?).await?)
            }
            Method::MemberUpdate => {
                Answer::One(cluster::member_update(rt, decode(message)?).await?)
            }
            Method::MemberPromote => {
                let request: proto::etcdserverpb::MemberPromoteRequest = decode(message)?;
                Answer::One(cluster::member_promote(rt, caller, request.id).await?)
            }
            Method::MoveLeader => Answer::One(cluster::move_leader(rt, &decode(message)?).await?),
            Method::Downgrade => Answer::One(downgrade::call(rt, decode(message)?).await?),
            Method::Lock => Answer::One(lock::lock(rt, caller, decode(message)?).await?),
            Method::Unlock => Answer::One(lock::unlock(rt, caller, decode(message)?).await?),
            Method::Campaign => {
                Answer::One(election::campaign(rt, caller, decode(message)?).await?)
            }
            Method::Proclaim => {
                Answer::One(election::proclaim(rt, caller, decode(message)?).await?)
            }
            Method::Leader => Answer::One(election::leader(rt, caller, decode(message)?).await?),
            Method::Observe => Answer::Stream(election::observe(rt, caller, decode(message)?)),
            Method::Resign => Answer::One(election::resign(rt, caller, decode(message)?).await?),
            Method::Authenticate => Answer::One(auth::authenticate(rt, decode(message)?).await?),
            Method::UserAdd => Answer::One(auth::user_add(rt, caller, decode(message)?).await?),
            Method::UserChangePassword => {
                Answer::One(auth::user_change_password(rt, caller, decode(message)?).await?)
            }
            Method::AuthEnable => of_auth(rt, caller, Op::AuthEnable(decode(message)?)).await?,
            Method::AuthDisable => of_auth(rt, caller, Op::AuthDisable(decode(message)?)).await?,
            Method::AuthStatus => of_auth(rt, caller, Op::AuthStatus(decode(message)?)).await?,
            Method::UserGet => of_auth(rt, caller, Op::AuthUserGet(decode(message)?)).await?,
            Method::UserList => of_auth(rt, caller, Op::AuthUserList(decode(message)?)).await?,
            Method::UserDelete => of_auth(rt, caller, Op::AuthUserDelete(decode(message)?)).await?,
            Method::UserGrantRole => {
                of_auth(rt, caller, Op::AuthUserGrantRole(decode(message)?)).await?
            }
            Method::UserRevokeRole => {
                of_auth(rt, caller, Op::AuthUserRevokeRole(decode(message)?)).await?
            }
            Method::RoleAdd => of_auth(rt, caller, Op::AuthRoleAdd(decode(message)?)).await?,
            Method::RoleGet => of_auth(rt, caller, Op::AuthRoleGet(decode(message)?)).await?,
            Method::RoleList => of_auth(rt, caller, Op::AuthRoleList(decode(message)?)).await?,
            Method::RoleDelete => of_auth(rt, caller, Op::AuthRoleDelete(decode(message)?)).await?,
            Method::RoleGrantPermission => {
                of_auth(rt, caller, Op::AuthRoleGrantPermission(decode(message)?)).await?
            }
            Method::RoleRevokePermission => {
                of_auth(rt, caller, Op::AuthRoleRevokePermission(decode(message)?)).await?
            }
            Method::Watch | Method::LeaseKeepAlive => return Err(not_built(method)),
        })
    };
    let result = match timeout {
        // A client's deadline shorter than the server's own wins; where the
        // server has none, the client's is the only one.
        Some(limit) if method.waits() || limit < rt.core.config.request_timeout() => {
            match tokio::time::timeout(limit, work).await {
                Ok(result) => result,
                Err(_) => Err(DEADLINE_EXCEEDED),
            }
        }
        _ => work.await,
    };
    let ended = |code| metrics.call_ended(method, &started, code);
    Ok(match result {
        Err(mut status) => {
            if method.loses_codes() && status != DEADLINE_EXCEEDED {
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
    Ok(Answer::Stream(source))
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
