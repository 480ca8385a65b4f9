//! The JSON gateway: a POST with a JSON object becomes the serialized request of
//! the same method, and its answer JSON again. It goes through the same
//! dispatch as gRPC, so nothing can differ but the clothes.

use std::{
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method as HttpMethod, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use prost::Message;
use proto::{etcdserverpb::*, schema, v3electionpb::*, v3lockpb::*};
use serde::Serialize;

use super::{
    Body, MessageStream, Surface,
    channel::Channel,
    gateway_body::{TEXT_FACTOR, read},
    json::txn_to_json,
    pages,
    plain::{json as json_page, plain, unsniffed},
    streams::{OpenStream, Streams},
};
use crate::{
    api::{self, Call, Caller},
    rpc::{Answer, GRPC_OVERHEAD, Method, Source},
    runtime::Runtime,
    status::{Code, Status, errors},
};

/// How one path is served.
struct Route {
    method: Method,
    /// What the request consists of.
    request: &'static schema::Message,
    /// Serialized answer to JSON text.
    answer: fn(Bytes) -> Result<String, Status>,
}

fn to_json<M: Message + Default + Serialize>(bytes: Bytes) -> Result<String, Status> {
    let message =
        M::decode(bytes).map_err(|error| Status::new(Code::Internal, error.to_string()))?;
    // Text that is none.
    serde_json::to_string(&message).map_err(|error| Status::new(Code::Unknown, error.to_string()))
}

fn txn_answer(bytes: Bytes) -> Result<String, Status> {
    txn_to_json(bytes).map_err(|error| Status::new(Code::Internal, error.to_string()))
}

macro_rules! routes {
    ($path:expr; $($($route:literal)|+ => $method:ident $request:ident => $answer:ty;)*) => {
        match $path {
            $($($route)|+ => Some(Route {
                method: Method::$method,
                request: &schema::$request,
                answer: to_json::<$answer>,
            }),)*
            _ => None,
        }
    };
}

fn route(path: &str) -> Option<Route> {
    if path == "kv/txn" {
        return Some(Route {
            method: Method::Txn,
            request: &schema::TxnRequest,
            // As deep as the request: what serde reads and writes by recursion is not.
            answer: txn_answer,
        });
    }
    routes! { path;
        "kv/range" => Range RangeRequest => RangeResponse;
        "kv/put" => Put PutRequest => PutResponse;
        "kv/deleterange" => DeleteRange DeleteRangeRequest => DeleteRangeResponse;
        "kv/compaction" => Compact CompactionRequest => CompactionResponse;
        "watch" => Watch WatchRequest => WatchResponse;
        "lease/grant" => LeaseGrant LeaseGrantRequest => LeaseGrantResponse;
        "lease/revoke" | "kv/lease/revoke" => LeaseRevoke LeaseRevokeRequest => LeaseRevokeResponse;
        "lease/keepalive" => LeaseKeepAlive LeaseKeepAliveRequest => LeaseKeepAliveResponse;
        "lease/timetolive" | "kv/lease/timetolive" => LeaseTimeToLive LeaseTimeToLiveRequest => LeaseTimeToLiveResponse;
        "lease/leases" | "kv/lease/leases" => LeaseLeases LeaseLeasesRequest => LeaseLeasesResponse;
        "cluster/member/list" => MemberList MemberListRequest => MemberListResponse;
        "cluster/member/add" => MemberAdd MemberAddRequest => MemberAddResponse;
        "cluster/member/remove" => MemberRemove MemberRemoveRequest => MemberRemoveResponse;
        "cluster/member/update" => MemberUpdate MemberUpdateRequest => MemberUpdateResponse;
        "cluster/member/promote" => MemberPromote MemberPromoteRequest => MemberPromoteResponse;
        "maintenance/alarm" => Alarm AlarmRequest => AlarmResponse;
        "maintenance/status" => Status StatusRequest => StatusResponse;
        "maintenance/defragment" => Defragment DefragmentRequest => DefragmentResponse;
        "maintenance/hash" => Hash HashRequest => HashResponse;
        "maintenance/hashkv" => HashKv HashKVRequest => HashKvResponse;
        "maintenance/snapshot" => Snapshot SnapshotRequest => SnapshotResponse;
        "maintenance/transfer-leadership" => MoveLeader MoveLeaderRequest => MoveLeaderResponse;
        "maintenance/downgrade" => Downgrade DowngradeRequest => DowngradeResponse;
        "auth/enable" => AuthEnable AuthEnableRequest => AuthEnableResponse;
        "auth/disable" => AuthDisable AuthDisableRequest => AuthDisableResponse;
        "auth/status" => AuthStatus AuthStatusRequest => AuthStatusResponse;
        "auth/authenticate" => Authenticate AuthenticateRequest => AuthenticateResponse;
        "auth/user/add" => UserAdd AuthUserAddRequest => AuthUserAddResponse;
        "auth/user/get" => UserGet AuthUserGetRequest => AuthUserGetResponse;
        "auth/user/list" => UserList AuthUserListRequest => AuthUserListResponse;
        "auth/user/delete" => UserDelete AuthUserDeleteRequest => AuthUserDeleteResponse;
        "auth/user/changepw" => UserChangePassword AuthUserChangePasswordRequest => AuthUserChangePasswordResponse;
        "auth/user/grant" => UserGrantRole AuthUserGrantRoleRequest => AuthUserGrantRoleResponse;
        "auth/user/revoke" => UserRevokeRole AuthUserRevokeRoleRequest => AuthUserRevokeRoleResponse;
        "auth/role/add" => RoleAdd AuthRoleAddRequest => AuthRoleAddResponse;
        "auth/role/get" => RoleGet AuthRoleGetRequest => AuthRoleGetResponse;
        "auth/role/list" => RoleList AuthRoleListRequest => AuthRoleListResponse;
        "auth/role/delete" => RoleDelete AuthRoleDeleteRequest => AuthRoleDeleteResponse;
        "auth/role/grant" => RoleGrantPermission AuthRoleGrantPermissionRequest => AuthRoleGrantPermissionResponse;
        "lock/lock" => Lock LockRequest => LockResponse;
        "lock/unlock" => Unlock UnlockRequest => UnlockResponse;
        "election/campaign" => Campaign CampaignRequest => CampaignResponse;
        "election/proclaim" => Proclaim ProclaimRequest => ProclaimResponse;
        "election/leader" => Leader LeaderRequest => LeaderResponse;
        "election/observe" => Observe LeaderRequest => LeaderResponse;
        "election/resign" => Resign ResignRequest => ResignResponse;
        "auth/role/revoke" => RoleRevokePermission AuthRoleRevokePermissionRequest => AuthRoleRevokePermissionResponse;
    }
}

/// Whether it counts as POST: a form may name another method for itself.
fn is_post(request: &Request<()>) -> bool {
    let header = |name| request.headers().get(name).map(HeaderValue::as_bytes);
    let is_form = header("content-type") == Some(b"application/x-www-form-urlencoded".as_slice());
    let named = header("x-http-method-override").filter(|name| is_form && !name.is_empty());
    request.method() == HttpMethod::POST
        && named.is_none_or(|name| name.eq_ignore_ascii_case(b"POST"))
}

/// Serves a gateway path, or hands on to the pages. Leaves a body that it does not take.
pub(super) async fn or_pages(
    rt: &Rc<Runtime>,
    request: &Request<()>,
    body: &mut Option<Incoming>,
    surface: Surface,
    streams: &Streams,
    channel: &Channel,
) -> Response<Body> {
    // Over TLS the certificate has already told the client whom it talks to.
    let refusal = if channel.is_plain() {
        refuse_host(rt, request)
    } else {
        refuse_name(rt, channel.common_name().map(|name| &**name), request)
    };
    if let Some(refusal) = refusal {
        return refusal;
    }
    let cors = cors_origin(rt, request);
    let mut response = if request.method() == HttpMethod::OPTIONS {
        Response::new(Body::Done)
    } else {
        let path = request.uri().path();
        match path
            .strip_prefix("/v3/")
            .or_else(|| path.strip_prefix("/v3beta/"))
        {
            Some(rest) if rt.core.config.grpc_gateway => match route(rest) {
                Some(route) if is_post(request) => call(rt, route, streams, request, body).await,
                Some(_) => error_page(&Status::fixed(Code::Unimplemented, "Method Not Allowed")),
                None => error_page(&Status::fixed(Code::NotFound, "Not Found")),
            },
            _ => pages::answer(rt, request, surface).await,
        }
    };
    if let Some(origin) = cors {
        let headers = response.headers_mut();
        headers.insert(
            "access-control-allow-methods",
            HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE"),
        );
        headers.insert("access-control-allow-origin", origin);
        headers.insert(
            "access-control-allow-headers",
            HeaderValue::from_static("accept, content-type, authorization"),
        );
    }
    response
}

/// A browser tricked by DNS into talking to this port sends a foreign Host.
fn refuse_host(rt: &Rc<Runtime>, request: &Request<()>) -> Option<Response<Body>> {
    let allowed = &rt.core.config.host_whitelist;
    if allowed.is_empty() || allowed.iter().any(|host| host == "*") {
        return None;
    }
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|v| v.to_str().ok())
        .or_else(|| request.uri().host())
        .unwrap_or("");
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if allowed.iter().any(|a| a == name) {
        return None;
    }
    tracing::warn!(host = host, "rejecting HTTP request from untrusted host");
    Some(plain(
        StatusCode::MISDIRECTED_REQUEST,
        format!(
            "\netcd received your request, but the Host header was unrecognized.\n\nTo fix this, choose one of the following options:\n\
             - Enable TLS, then any HTTPS request will be allowed.\n\
             - Add the hostname you want to use to the whitelist in settings.\n  - e.g. etcd --host-whitelist \"{host}\"\n\n\
             This requirement has been added to help prevent \"DNS Rebinding\" attacks (CVE-2018-5702).\n"
        ),
    ))
}

/// Who comes with a name in a certificate expects to be that user, which the gateway cannot do.
fn refuse_name(
    rt: &Rc<Runtime>,
    common_name: Option<&str>,
    request: &Request<()>,
) -> Option<Response<Body>> {
    let path = request.uri().path();
    let is_api = path.starts_with("/v3/") || path.starts_with("/v3beta/");
    let is_named = common_name.is_some_and(|name| !name.is_empty());
    if !(is_named && is_api && rt.core.config.grpc_gateway && rt.core.is_auth_enabled()) {
        return None;
    }
    Some(unsniffed(
        StatusCode::BAD_REQUEST,
        "CommonName of client sending a request against gateway will be ignored and not used as expected\n",
    ))
}

fn cors_origin(rt: &Rc<Runtime>, request: &Request<()>) -> Option<HeaderValue> {
    let allowed = &rt.core.config.cors;
    if allowed.is_empty() || allowed.iter().any(|origin| origin == "*") {
        return Some(HeaderValue::from_static("*"));
    }
    let origin = request.headers().get(header::ORIGIN)?;
    allowed
        .iter()
        .any(|a| a.as_bytes() == origin.as_bytes())
        .then(|| origin.clone())
}

async fn call(
    rt: &Rc<Runtime>,
    route: Route,
    streams: &Streams,
    request: &Request<()>,
    body: &mut Option<Incoming>,
) -> Response<Body> {
    let answer = route.answer;
    match dispatch(rt, route, streams, request, body).await {
        Err(status) => error_page(&status),
        Ok((Answer::Pieces(mut source), _open)) => {
            let mut whole = BytesMut::new();
            let end = std::future::poll_fn(|cx| {
                loop {
                    match source.poll_next(cx) {
                        Poll::Ready(Some(Ok(piece))) => whole.extend_from_slice(&piece),
                        Poll::Ready(Some(Err(status))) => return Poll::Ready(Err(status)),
                        Poll::Ready(None) => return Poll::Ready(Ok(())),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            })
            .await;
            match end.and_then(|()| answer(whole.freeze().slice(5..))) {
                Ok(text) => mark(json_page(text)),
                Err(status) => error_page(&status),
            }
        }
        Ok((Answer::One(frame), _)) => match answer(frame.slice(5..)) {
            Ok(text) => mark(json_page(text)),
            Err(status) => error_page(&status),
        },
        Ok((Answer::Stream(source), open)) => {
            let source = JsonSource {
                source,
                answer,
                buffer: BytesMut::new(),
                open: Some(open),
            };
            let mut response = Response::new(Body::PlainStream(Box::new(source)));
            response.headers_mut().insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
            mark(response)
        }
    }
}

/// Begins the call, as soon as there is room for it. Takes the body of one that streams requests.
async fn dispatch(
    rt: &Rc<Runtime>,
    route: Route,
    streams: &Streams,
    request: &Request<()>,
    body: &mut Option<Incoming>,
) -> Result<(Answer, OpenStream), Status> {
    let arrived = Instant::now();
    let headers = request.headers();
    let timeout = headers
        .get("grpc-timeout")
        .map(timeout)
        .transpose()?
        .flatten();
    // What is left of it, or the end of a call that is late before it began.
    let left = || match timeout.map(|timeout| timeout.saturating_sub(arrived.elapsed())) {
        Some(Duration::ZERO) => Err(errors::DEADLINE_EXCEEDED),
        left => Ok(left),
    };
    let mut call = Call {
        // The gateway passes headers of this prefix on as metadata.
        has_leader: headers
            .get("grpc-metadata-hasleader")
            .is_some_and(|value| value.as_bytes() == b"true"),
        client_api_version: None,
        timeout,
        remote: None,
        traceparent: headers
            .get("grpc-metadata-traceparent")
            .and_then(|value| value.to_str().ok()),
        caller: Caller::new(token(headers), None),
    };
    let limit = rt.core.config.max_request_bytes + GRPC_OVERHEAD;
    if route.method.streams_requests()
        && let Some(body) = body.take()
    {
        let open = streams.open(&rt.core, timeout).await?;
        call.timeout = timeout.map(|timeout| timeout.saturating_sub(arrived.elapsed()));
        let messages = MessageStream::json(body, TEXT_FACTOR * limit, route.request);
        let answer = api::stream(rt, route.method, &call, messages).await?;
        return Ok((answer, open));
    }
    // Read first: what is no request takes nothing from others.
    let message = read(body.as_mut(), limit, route.request).await?;
    let open = streams.open(&rt.core, left()?).await?;
    call.timeout = left()?;
    let answer = api::unary(rt, route.method, &call, message).await?;
    Ok((answer, open))
}

/// A token among the headers that the gateway passes on.
fn token(headers: &HeaderMap) -> Option<&str> {
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    value("grpc-metadata-token").or_else(|| value("authorization"))
}

/// The header by which etcd's gateway passes on that gRPC answered.
fn mark(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(
        "grpc-metadata-content-type",
        HeaderValue::from_static("application/grpc"),
    );
    response
}

/// The header `Grpc-Timeout`: a number and a unit. None for an empty one and for none at all, zero
/// for one that is over.
fn timeout(value: &HeaderValue) -> Result<Option<Duration>, Status> {
    let text = String::from_utf8_lossy(value.as_bytes());
    let invalid = || {
        Status::new(
            Code::InvalidArgument,
            format!("invalid grpc-timeout: {text}"),
        )
    };
    if text.is_empty() {
        return Ok(None);
    }
    let (digits, unit) = text.split_at_checked(text.len() - 1).ok_or_else(invalid)?;
    let nanos: i64 = match unit {
        "H" => 3_600_000_000_000,
        "M" => 60_000_000_000,
        "S" => 1_000_000_000,
        "m" => 1_000_000,
        "u" => 1_000,
        "n" => 1,
        _ => return Err(invalid()),
    };
    let number: i64 = digits.parse().map_err(|_| invalid())?;
    // Go multiplies without a look at what fits.
    Ok(match number.wrapping_mul(nanos) {
        0 => None,
        past if past < 0 => Some(Duration::ZERO),
        nanos => Some(Duration::from_nanos(nanos as u64)),
    })
}

fn error_page(status: &Status) -> Response<Body> {
    let message = serde_json::Value::from(status.message.as_ref());
    let mut response = json_page(format!(
        "{{\"error\":{message},\"code\":{},\"message\":{message}}}",
        status.code as u8
    ));
    *response.status_mut() =
        StatusCode::from_u16(status.code.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// Turns a stream of gRPC frames into lines of JSON.
struct JsonSource {
    source: Box<dyn Source>,
    answer: fn(Bytes) -> Result<String, Status>,
    buffer: BytesMut,
    /// `None` when the call has ended.
    open: Option<OpenStream>,
}

impl JsonSource {
    fn lines(&mut self) -> Result<String, Status> {
        let mut out = String::new();
        while let Some(head) = self.buffer.first_chunk::<5>() {
            let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            if self.buffer.len() < len + 5 {
                break;
            }
            self.buffer.advance(5);
            let message = self.buffer.split_to(len).freeze();
            out.push_str("{\"result\":");
            out.push_str(&(self.answer)(message)?);
            out.push_str("}\n");
        }
        Ok(out)
    }
}

impl Source for JsonSource {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        while self.open.is_some() {
            let status = match self.source.poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => {
                    self.open = None;
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Ok(frames))) => {
                    self.buffer.extend_from_slice(&frames);
                    match self.lines() {
                        Ok(lines) if lines.is_empty() => continue,
                        Ok(lines) => return Poll::Ready(Some(Ok(lines.into()))),
                        Err(status) => status,
                    }
                }
                Poll::Ready(Some(Err(status))) => status,
            };
            self.open = None;
            let http = StatusCode::from_u16(status.code.http())
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let line = serde_json::json!({"error": {
                "grpc_code": status.code as u8,
                "http_code": http.as_u16(),
                "message": status.message,
                "http_status": http.canonical_reason().unwrap_or(""),
            }});
            return Poll::Ready(Some(Ok(format!("{line}\n").into())));
        }
        Poll::Ready(None)
    }
}
