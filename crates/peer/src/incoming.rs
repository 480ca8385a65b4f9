//! Requests of other members.

use std::{
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use prost::Message as _;
use proto::raftpb::Message;
use tokio::{sync::mpsc, time::Interval};

use crate::{
    Transport,
    channel::Channel,
    codec::{Encoder, Kind, MESSAGE_MAX},
    headers::{self, Refusal},
    snapshot,
    transport::Shared,
};

/// An answer's body: some bytes, or a stream without end.
pub struct Body(Content);

enum Content {
    Bytes(Option<Bytes>),
    Stream(Box<Outlet>),
}

/// What we send to a member on a stream that it opened.
struct Outlet {
    channel: Arc<Channel>,
    kind: Kind,
    number: u64,
    queue: mpsc::Receiver<Message>,
    encoder: Encoder,
    heartbeat: Interval,
    local: u64,
}

/// Without a message for this long, a sign of life is sent.
const HEARTBEAT: Duration = Duration::from_micros(5_000_000 / 3);

/// A frame of a stream grows no larger, one message excepted.
const FRAME_BYTES: usize = 1 << 20;

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut self.get_mut().0 {
            Content::Bytes(bytes) => match bytes.take().filter(|b| !b.is_empty()) {
                Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                None => Poll::Ready(None),
            },
            Content::Stream(outlet) => outlet.poll(cx),
        }
    }
}

impl Outlet {
    /// Everything that waits goes out as one frame.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let mut out = BytesMut::new();
        while out.len() < FRAME_BYTES {
            match self.queue.poll_recv(cx) {
                Poll::Ready(Some(message)) => self.encoder.encode(&message, &mut out),
                Poll::Ready(None) if out.is_empty() => return Poll::Ready(None),
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        if !out.is_empty() {
            self.heartbeat.reset();
        } else if self.heartbeat.poll_tick(cx).is_ready() {
            self.encoder.heartbeat(&mut out);
        } else {
            return Poll::Pending;
        }
        let sent = &self.channel.sent_bytes;
        sent.fetch_add(out.len() as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(out.freeze()))))
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        if self.channel.detach(self.kind, self.number) {
            tracing::warn!(
                "stream-writer-type" = self.kind.log_name(),
                "local-member-id" = format!("{:x}", self.local),
                "remote-peer-id" = format!("{:x}", self.channel.id),
                "lost TCP streaming connection with remote peer"
            );
            self.channel.deactivate(&"the stream was closed");
        }
    }
}

fn text(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut text: String = text.into();
    // A Go server adds the line's end, and asks browsers not to guess.
    text.push('\n');
    let mut response = Response::new(Body(Content::Bytes(Some(text.into()))));
    *response.status_mut() = status;
    let head = response.headers_mut();
    head.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    head.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body(Content::Bytes(None)));
    *response.status_mut() = status;
    response
}

/// etcd's form of a refusal that ends the sender.
fn forbidden(message: &str) -> Response<Body> {
    let json = serde_json::json!({ "message": message }).to_string();
    let mut response = Response::new(Body(Content::Bytes(Some(json.into()))));
    *response.status_mut() = StatusCode::FORBIDDEN;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

fn not_allowed(method: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(method));
    response
}

impl Transport {
    /// Answers a request of the peer protocol; any other comes back. On the
    /// transport's thread.
    pub async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Request<Incoming>> {
        let path = request.uri().path();
        if path == "/raft/probing" {
            return Ok(self.probing());
        }
        let mut response = match path {
            "/raft" => self.message(request).await,
            "/raft/snapshot" => self.snapshot(request).await,
            _ if path.starts_with("/raft/stream/") => self.stream(&request),
            _ => return Err(request),
        };
        let cluster = headers::cluster(&self.shared.config);
        response.headers_mut().insert(headers::CLUSTER_ID, cluster);
        Ok(response)
    }

    fn probing(&self) -> Response<Body> {
        let now = time::OffsetDateTime::now_utc()
            .format(&time::format_description::well_known::Rfc3339)
            .unwrap_or_default();
        let json = format!("{{\"OK\":true,\"Now\":\"{now}\"}}\n");
        Response::new(Body(Content::Bytes(Some(json.into()))))
    }

    /// What every request must pass.
    fn admit(&self, request: &Request<Incoming>, method: &Method) -> Result<(), Response<Body>> {
        if request.method() != method {
            return Err(not_allowed(if *method == Method::GET {
                "GET"
            } else {
                "POST"
            }));
        }
        headers::check(request.headers(), &self.shared.config)
            .map_err(|(status, words): Refusal| text(status, words))?;
        Ok(())
    }

    /// Whoever asks can be answered, even if the log has not told of it yet.
    fn remember(&self, request: &Request<Incoming>) {
        let head = request.headers();
        let Some(from) = headers::hex(head, headers::SERVER_FROM) else {
            return;
        };
        let urls = head.get(headers::PEER_URLS).and_then(|v| v.to_str().ok());
        let urls: Vec<String> = urls
            .unwrap_or("")
            .split(',')
            .filter(|url| !url.is_empty())
            .map(str::to_owned)
            .collect();
        if !urls.is_empty() && !self.shared.host.is_removed(from) {
            self.add_remote(from, &urls);
        }
    }

    /// Is the message from a member, and for this one?
    fn check_ends(&self, message: &Message) -> Result<(), Response<Body>> {
        if self.shared.host.is_removed(message.from) {
            tracing::warn!(
                "local-member-id" = format!("{:x}", self.shared.config.member_id),
                "removed-member-id" = format!("{:x}", message.from),
                "rejected Raft message from removed member"
            );
            return Err(forbidden("cannot process message from removed member"));
        }
        if message.to != self.shared.config.member_id {
            tracing::warn!(
                "local-member-id" = format!("{:x}", self.shared.config.member_id),
                "mismatch-member-id" = format!("{:x}", message.to),
                "rejected Raft message to mismatch member"
            );
            return Err(forbidden("cannot process message to mismatch member"));
        }
        Ok(())
    }

    async fn message(&self, request: Request<Incoming>) -> Response<Body> {
        if let Err(refused) = self.admit(&request, &Method::POST) {
            return refused;
        }
        self.remember(&request);
        let body = Limited::new(request.into_body(), MESSAGE_MAX as usize);
        let Ok(body) = body.collect().await else {
            return text(StatusCode::BAD_REQUEST, "error reading raft message");
        };
        let bytes = body.to_bytes();
        let len = bytes.len() as u64;
        let Ok(message) = Message::decode(bytes) else {
            return text(StatusCode::BAD_REQUEST, "error unmarshalling raft message");
        };
        if let Err(refused) = self.check_ends(&message) {
            return refused;
        }
        if let Some(channel) = self.shared.peer(message.from) {
            channel.received_bytes.fetch_add(len, Ordering::Relaxed);
        }
        self.shared.host.step(message);
        empty(StatusCode::NO_CONTENT)
    }

    async fn snapshot(&self, request: Request<Incoming>) -> Response<Body> {
        if let Err(refused) = self.admit(&request, &Method::POST) {
            return refused;
        }
        self.remember(&request);
        let begin = std::time::Instant::now();
        let received = match snapshot::receive(&self.shared, request.into_body()).await {
            Ok(received) => received,
            Err(error) => {
                tracing::warn!(error = %error, "failed to save incoming database snapshot");
                return text(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    format!("failed to save KV snapshot: {error}"),
                );
            }
        };
        let message = received.message;
        if let Err(refused) = self.check_ends(&message) {
            return refused;
        }
        if message.r#type != proto::raftpb::MessageType::MsgSnap as i32 {
            return text(StatusCode::BAD_REQUEST, "wrong raft message type");
        }
        tracing::info!(
            "remote-snapshot-sender-id" = format!("{:x}", message.from),
            "incoming-snapshot-index" = message.snapshot.as_ref().map_or(0, |s| s.metadata.index),
            bytes = received.bytes,
            took = ?begin.elapsed(),
            "received and saved database snapshot"
        );
        self.shared.host.step(message);
        empty(StatusCode::NO_CONTENT)
    }

    fn stream(&self, request: &Request<Incoming>) -> Response<Body> {
        let mut response = match self.open_stream(request) {
            Ok(body) => Response::new(body),
            Err(refused) => refused,
        };
        if let Ok(version) = HeaderValue::from_str(&self.shared.config.server_version) {
            response
                .headers_mut()
                .insert(headers::SERVER_VERSION, version);
        }
        response
    }

    fn open_stream(&self, request: &Request<Incoming>) -> Result<Body, Response<Body>> {
        self.admit(request, &Method::GET)?;
        let shared: &Shared = &self.shared;
        let not_found = |words: &str| text(StatusCode::NOT_FOUND, words.to_owned());
        let rest = request.uri().path().strip_prefix("/raft/stream/");
        let (kind, from) = rest
            .and_then(|rest| rest.split_once('/'))
            .ok_or_else(|| not_found("invalid path"))?;
        let kind = match kind {
            "message" => Kind::Message,
            "msgapp" => Kind::MsgApp,
            _ => return Err(not_found("invalid path")),
        };
        let from = u64::from_str_radix(from, 16).map_err(|_| not_found("invalid from"))?;
        if shared.host.is_removed(from) {
            tracing::warn!(
                "local-member-id" = format!("{:x}", shared.config.member_id),
                "remote-peer-id-stream-handler" = format!("{from:x}"),
                "rejected stream from remote peer because it was removed"
            );
            return Err(empty(StatusCode::GONE));
        }
        let Some(channel) = shared.peer(from) else {
            self.remember(request);
            tracing::warn!(
                "local-member-id" = format!("{:x}", shared.config.member_id),
                "remote-peer-id-from" = format!("{from:x}"),
                "failed to find remote peer in cluster"
            );
            return Err(not_found("error sender not found"));
        };
        if headers::hex(request.headers(), headers::RAFT_TO) != Some(shared.config.member_id) {
            return Err(text(StatusCode::PRECONDITION_FAILED, "to field mismatch"));
        }
        let (number, queue) = channel.attach(kind);
        channel.activate();
        tracing::info!(
            "stream-writer-type" = kind.log_name(),
            "local-member-id" = format!("{:x}", shared.config.member_id),
            "remote-peer-id" = format!("{from:x}"),
            "established TCP streaming connection with remote peer"
        );
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.reset();
        Ok(Body(Content::Stream(Box::new(Outlet {
            channel,
            kind,
            number,
            queue,
            encoder: Encoder::new(kind),
            heartbeat,
            local: shared.config.member_id,
        }))))
    }
}
