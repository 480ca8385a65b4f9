//! The peer port: raft's messages go to the transport of the peer protocol, the
//! pages that members ask each other for are answered here. HTTP/1.1 only.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    rc::Rc,
    sync::atomic::Ordering,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt as _, Collected, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use proto::{
    etcdserverpb::{
        LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseTimeToLiveResponse, ResponseHeader,
    },
    leasepb::{LeaseInternalRequest, LeaseInternalResponse},
    pintlepb::LineOrder,
};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Body,
    admission::Seat,
    http1,
    pages::version_page,
    plain::{json, not_allowed, not_found, plain, unsniffed},
};
use crate::{
    api::{self, Caller},
    lines,
    runtime::Runtime,
    status::{Code, Status, errors},
};

/// An answer on the peer port.
enum Answer {
    /// Of the peer protocol, endless ones among them.
    Raft(peer::Body),
    /// A page.
    Page(Body),
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Answer::Raft(body) => Pin::new(body).poll_frame(cx),
            Answer::Page(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|never: Infallible| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Answer::Raft(body) => body.is_end_stream(),
            Answer::Page(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Raft(body) => body.size_hint(),
            Answer::Page(body) => body.size_hint(),
        }
    }
}

/// Serves a connection of another member until either side ends it.
pub(super) async fn serve<S>(rt: Rc<Runtime>, stream: S, seat: Rc<Seat>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service_rt = rt.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (rt, seat) = (service_rt.clone(), seat.clone());
        async move { Ok::<_, Infallible>(answer(&rt, request, &seat).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(hyper_util::rt::TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    let mut stop = rt.core.over.subscribe();
    tokio::select! {
        // A peer that goes away is noticed by those who talk to it.
        _ = connection => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

async fn answer(rt: &Rc<Runtime>, request: Request<Incoming>, seat: &Seat) -> Response<Answer> {
    if let Some(refusal) = http1::refusal(&request) {
        return refusal.map(Answer::Page);
    }
    // Anyone can connect and ask for a page; a member knows which cluster it belongs to.
    if peer::headers::hex(request.headers(), peer::headers::CLUSTER_ID) == Some(rt.core.cluster_id)
    {
        seat.keep();
    }
    let path = request.uri().path();
    let is_of_raft = path.starts_with("/raft") && path != "/raft/probing";
    if is_of_raft && !*rt.core.joined.borrow() {
        let response = refused(StatusCode::SERVICE_UNAVAILABLE, "member is starting");
        return response.map(Answer::Page);
    }
    let request = match rt.core.raft.peers() {
        Some(transport) => match transport.answer(request).await {
            Ok(response) => return response.map(Answer::Raft),
            Err(request) => request,
        },
        None => request,
    };
    page(rt, request).await.map(Answer::Page)
}

/// A body another member sends with a question is small.
const BODY_MAX: usize = 1 << 20;

async fn page(rt: &Rc<Runtime>, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let (request, mut body) = (Request::from_parts(head, ()), Some(body));
    let mut response = page_of(rt, &request, &mut body).await;
    http1::settle(&request, body, &mut response).await;
    response
}

/// Whether what a request asks is in its body.
fn has_content(request: &Request<()>) -> bool {
    match request.uri().path() {
        "/members/hashkv" => request.method() == Method::GET,
        lines::PAGE | "/leases" | "/leases/internal" => request.method() == Method::POST,
        _ => false,
    }
}

/// Reads the body of a question that has one, and leaves every other.
async fn page_of(
    rt: &Rc<Runtime>,
    request: &Request<()>,
    body: &mut Option<Incoming>,
) -> Response<Body> {
    let (path, headers) = (request.uri().path(), request.headers());
    let is_get = request.method() == Method::GET;
    let is_post = request.method() == Method::POST;
    let content = match body.as_mut().filter(|_| has_content(request)) {
        Some(body) => Limited::new(body, BODY_MAX).collect().await,
        None => Ok(Collected::default()),
    };
    let Ok(body) = content.map(Collected::to_bytes) else {
        return unsniffed(StatusCode::BAD_REQUEST, "error reading body\n");
    };
    let promote = path.strip_prefix("/members/promote/");
    match (path, promote) {
        ("/version", _) if is_get => version_page(rt),
        ("/members", _) if is_get => of_cluster(rt, members(rt)),
        ("/members/hashkv", _) if is_get => of_cluster(rt, hash_kv(rt, headers, &body).await),
        ("/downgrade/enabled", _) if is_get => of_cluster(rt, downgrade_enabled(rt).await),
        (lines::PAGE, _) if is_post => of_cluster(rt, line(rt, headers, body).await),
        ("/leases", _) if is_post => renew(rt, body).await,
        ("/leases/internal", _) if is_post => time_to_live(rt, body).await,
        (_, Some(id)) if is_post => {
            let token = headers.get(header::AUTHORIZATION);
            let caller = Caller::new(token.and_then(|token| token.to_str().ok()), None);
            of_cluster(rt, promote_member(rt, &caller, id).await)
        }
        (
            "/version"
            | "/members"
            | "/members/hashkv"
            | "/downgrade/enabled"
            | "/leases"
            | "/leases/internal"
            | lines::PAGE,
            _,
        )
        | (_, Some(_)) => not_allowed(),
        _ => not_found(),
    }
}

/// Marks an answer with the cluster it comes from.
fn of_cluster(rt: &Rc<Runtime>, mut response: Response<Body>) -> Response<Body> {
    if let Ok(value) = HeaderValue::from_str(&format!("{:x}", rt.core.cluster_id)) {
        response.headers_mut().insert("x-etcd-cluster-id", value);
    }
    response
}

fn members_json(members: &[membership::Member]) -> String {
    let members: Vec<serde_json::Value> = members.iter().map(|m| m.to_json_value()).collect();
    format!("{}\n", serde_json::Value::from(members))
}

fn members(rt: &Rc<Runtime>) -> Response<Body> {
    let members: Vec<_> = rt.core.state.cluster.load().members().cloned().collect();
    json(members_json(&members))
}

/// A Go server adds the line's end, and asks browsers not to guess.
fn refused(status: StatusCode, text: impl std::fmt::Display) -> Response<Body> {
    unsniffed(status, format!("{text}\n"))
}

async fn hash_kv(rt: &Rc<Runtime>, headers: &HeaderMap, body: &[u8]) -> Response<Body> {
    let own = format!("{:x}", rt.core.cluster_id);
    if headers
        .get("x-etcd-cluster-id")
        .is_some_and(|id| id.as_bytes() != own.as_bytes())
    {
        return refused(StatusCode::PRECONDITION_FAILED, "cluster ID mismatch");
    }
    let revision = match serde_json::from_slice::<serde_json::Value>(body) {
        Ok(value) => value
            .get("revision")
            .and_then(serde_json::Value::as_i64)
            .unwrap_or(0),
        Err(_) => return refused(StatusCode::BAD_REQUEST, "error unmarshalling request"),
    };
    match api::maintenance::hash_of(rt, revision).await {
        Ok(hash) => {
            let mut answer = serde_json::json!({
                "header": { "revision": hash.current_revision },
                "hash": hash.hash,
                "compact_revision": hash.compact_revision,
            });
            if let Some(revision) = api::maintenance::hash_revision(&rt.core, &hash) {
                answer["hash_revision"] = revision.into();
            }
            json(answer.to_string())
        }
        // Members look for the store's own words.
        Err(status) => refused(
            StatusCode::BAD_REQUEST,
            status.message.trim_start_matches("etcdserver: "),
        ),
    }
}

async fn downgrade_enabled(rt: &Rc<Runtime>) -> Response<Body> {
    match rt.linearizable().await {
        Ok(()) => plain(
            StatusCode::OK,
            rt.core
                .state
                .cluster
                .load()
                .downgrade()
                .is_some()
                .to_string(),
        ),
        Err(error) => refused(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("failed linearized read: {error}"),
        ),
    }
}

async fn promote_member(rt: &Rc<Runtime>, caller: &Caller, id: &str) -> Response<Body> {
    let Ok(id) = id.parse::<u64>() else {
        return refused(
            StatusCode::NOT_FOUND,
            format!("member {id} not found in cluster"),
        );
    };
    match api::cluster::promote(rt, caller, id).await {
        Ok(members) => json(members_json(&members)),
        Err(error) if error == errors::MEMBER_NOT_FOUND => {
            refused(StatusCode::NOT_FOUND, "membership: ID not found")
        }
        Err(error) if error == errors::NOT_A_LEARNER => refused(
            StatusCode::PRECONDITION_FAILED,
            "membership: can only promote a learner member",
        ),
        Err(error) if error == errors::LEARNER_NOT_READY || error == errors::VOTE_DISPUTED => {
            refused(StatusCode::PRECONDITION_FAILED, error)
        }
        Err(error) => {
            tracing::warn!("member-id" = format!("{id:x}"), error = %error, "failed to promote a member");
            let mut response = json("{\"message\":\"Internal Server Error\"}".to_owned());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    }
}

fn protobuf(message: &impl prost::Message) -> Response<Body> {
    let mut response = Response::new(Body::Plain(message.encode_to_vec().into()));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/protobuf"),
    );
    response
}

/// Status and words for a lease question that could not be answered.
fn lease_refused(error: &Status) -> Response<Body> {
    match error {
        e if *e == errors::LEASE_NOT_FOUND => refused(StatusCode::NOT_FOUND, "lease not found"),
        e if e.code == Code::Unavailable => refused(
            StatusCode::REQUEST_TIMEOUT,
            "waiting for node to catch up its applied index has timed out",
        ),
        e => refused(StatusCode::BAD_REQUEST, e),
    }
}

/// An order of another member about the line. No one else is obeyed: any program that reaches the
/// port could move the cluster, and a member at an address that was another's is not meant.
async fn line(rt: &Rc<Runtime>, headers: &HeaderMap, body: Bytes) -> Response<Body> {
    let core = &rt.core;
    if peer::headers::hex(headers, peer::headers::CLUSTER_ID) != Some(core.cluster_id) {
        return refused(StatusCode::PRECONDITION_FAILED, "cluster ID mismatch");
    }
    let Ok(order) = LineOrder::decode(body) else {
        return refused(StatusCode::BAD_REQUEST, "error unmarshalling request");
    };
    let cluster = core.state.cluster.load_full();
    if order.to_member != core.member_id || cluster.member(order.by_member).is_none() {
        return refused(
            StatusCode::FORBIDDEN,
            "not an order of a member to this one",
        );
    }
    protobuf(&lines::own::obey(rt, &order).await)
}

async fn renew(rt: &Rc<Runtime>, body: Bytes) -> Response<Body> {
    let Ok(request) = LeaseKeepAliveRequest::decode(body) else {
        return refused(StatusCode::BAD_REQUEST, "error unmarshalling request");
    };
    let answer = async {
        let deadline = api::lease::deadline(rt);
        within_patience(rt, api::lease::prepare_answer(rt, request.id, deadline)).await?;
        api::lease::renew_as_primary(rt, request.id, deadline).await
    };
    match answer.await {
        Ok(ttl) => protobuf(&LeaseKeepAliveResponse {
            header: None,
            id: request.id,
            ttl,
        }),
        Err(error) => lease_refused(&error),
    }
}

async fn time_to_live(rt: &Rc<Runtime>, body: Bytes) -> Response<Body> {
    let request = LeaseInternalRequest::decode(body)
        .ok()
        .and_then(|request| request.lease_time_to_live_request);
    let Some(request) = request else {
        return refused(StatusCode::BAD_REQUEST, "error unmarshalling request");
    };
    let answer = async {
        let deadline = api::lease::deadline(rt);
        within_patience(rt, api::lease::prepare_answer(rt, request.id, deadline)).await?;
        api::lease::remaining_as_primary(rt, &request)
    };
    match answer.await {
        Ok(response) => protobuf(&LeaseInternalResponse {
            lease_time_to_live_response: Some(LeaseTimeToLiveResponse {
                // The member that was asked fills it in; etcd panics if there is none.
                header: Some(ResponseHeader::default()),
                ..response
            }),
        }),
        Err(error) => lease_refused(&error),
    }
}

/// How long another member may wait until this one has caught up.
const CATCH_UP: Duration = Duration::from_secs(1);

/// Waits, on a leader alone and not for long, until it may answer for the cluster.
async fn within_patience(
    rt: &Rc<Runtime>,
    ready: impl Future<Output = Result<(), Status>>,
) -> Result<(), Status> {
    if !rt.core.raft.status.is_leader.load(Ordering::Acquire) {
        return Err(errors::NOT_PRIMARY);
    }
    tokio::time::timeout(CATCH_UP, ready)
        .await
        .unwrap_or(Err(errors::TIMEOUT))
}
