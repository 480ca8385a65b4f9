//! Requests of other members: who is refused and with which words, and what is
//! done with those that are not. Statuses, bodies and the order of the checks are
//! those that etcd 3.5.30 was seen to have.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::BytesMut;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use prost::Message as _;
use proto::raftpb::Message;

use crate::{
    Body, Transport,
    codec::{Kind, MESSAGE_MAX},
    headers::{self, Refusal},
    outlet::Outlet,
    probe, snapshot,
    snapshot::ReceiveError,
};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

fn text(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut text: String = text.into();
    // A Go server adds the line's end, and asks browsers not to guess.
    text.push('\n');
    let mut response = Response::new(Body::bytes(text));
    *response.status_mut() = status;
    let head = response.headers_mut();
    head.insert(header::CONTENT_TYPE, TEXT);
    head.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::bytes(""));
    *response.status_mut() = status;
    response
}

/// A message that raft must not see. etcd means to answer 403 here, which would
/// end the sender, but no release does: 3.4.23 to 3.7.1 answer so, and hang up.
fn rejected(words: impl Into<String>) -> Response<Body> {
    let mut response = text(StatusCode::INTERNAL_SERVER_ERROR, words);
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
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
            let mut response = Response::new(Body::bytes(probe::answer()));
            response.headers_mut().insert(header::CONTENT_TYPE, TEXT);
            return Ok(response);
        }
        let mut response = match path {
            "/raft" => self.message(request).await,
            "/raft/snapshot" => self.snapshot(request).await,
            _ if path.starts_with("/raft/stream/") => self.stream(&request),
            _ => return Err(request),
        };
        if response.status() != StatusCode::METHOD_NOT_ALLOWED {
            let cluster = headers::cluster(&self.shared.config);
            response.headers_mut().insert(headers::CLUSTER_ID, cluster);
        }
        Ok(response)
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
        let from = headers::hex(request.headers(), headers::SERVER_FROM);
        if let Some(channel) = from.and_then(|id| self.shared.peer(id)) {
            channel.runs(headers::server_version(request.headers()));
        }
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
        if from != 0 && !urls.is_empty() && !self.shared.host.is_removed(from) {
            self.add_remote(from, &urls);
        }
    }

    async fn message(&self, request: Request<Incoming>) -> Response<Body> {
        if let Err(refused) = self.admit(&request, &Method::POST) {
            return refused;
        }
        self.remember(&request);
        let Some(bytes) = read(request.into_body(), self.shared.config.read_timeout).await else {
            return text(StatusCode::BAD_REQUEST, "error reading raft message");
        };
        let len = bytes.len() as u64;
        let Ok(message) = Message::decode(bytes.freeze()) else {
            return text(StatusCode::BAD_REQUEST, "error unmarshalling raft message");
        };
        match self.shared.admit(&message) {
            Err(_) => return rejected("error processing raft message"),
            Ok(false) => {}
            Ok(true) => {
                if let Some(channel) = self.shared.peer(message.from) {
                    let received = &channel.counters.received_bytes;
                    received.fetch_add(len, Ordering::Relaxed);
                }
                self.shared.host.step(message);
            }
        }
        empty(StatusCode::NO_CONTENT)
    }

    async fn snapshot(&self, request: Request<Incoming>) -> Response<Body> {
        if let Err(refused) = self.admit(&request, &Method::POST) {
            return refused;
        }
        self.remember(&request);
        match snapshot::receive(&self.shared, request.into_body()).await {
            Ok(message) => {
                self.shared.host.step(message);
                empty(StatusCode::NO_CONTENT)
            }
            Err(error) => {
                tracing::warn!(error = %error, "failed to receive a database snapshot");
                match &error {
                    ReceiveError::Decode(_) | ReceiveError::Type => {
                        text(StatusCode::BAD_REQUEST, error.to_string())
                    }
                    ReceiveError::Rejected(_) | ReceiveError::Save(_) => {
                        rejected(error.to_string())
                    }
                }
            }
        }
    }

    fn stream(&self, request: &Request<Incoming>) -> Response<Body> {
        let mut response = match self.open_stream(request) {
            Ok(body) => Response::new(body),
            Err(refused) if refused.status() == StatusCode::METHOD_NOT_ALLOWED => return refused,
            Err(refused) => refused,
        };
        let version = HeaderValue::from_static(self.shared.config.spoken.line().release());
        response
            .headers_mut()
            .insert(headers::SERVER_VERSION, version);
        response
    }

    fn open_stream(&self, request: &Request<Incoming>) -> Result<Body, Response<Body>> {
        self.admit(request, &Method::GET)?;
        let shared = &self.shared;
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
            return Err(text(StatusCode::GONE, "removed member"));
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
        Ok(Body::stream(Outlet::open(shared, &channel, kind)))
    }
}

/// A message's bytes, as many as come; `None` if they break off, cease to come or
/// are too many.
async fn read(mut body: Incoming, timeout: Duration) -> Option<BytesMut> {
    let mut bytes = BytesMut::new();
    loop {
        match tokio::time::timeout(timeout, body.frame()).await {
            Ok(None) => return Some(bytes),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    bytes.extend_from_slice(&data);
                }
                if bytes.len() as u64 > MESSAGE_MAX {
                    return None;
                }
            }
            Ok(Some(Err(_))) | Err(_) => return None,
        }
    }
}
