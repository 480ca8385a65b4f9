//! The pages: whether the cluster answers, whether this proxy does, and what each of them counts.

use std::{rc::Rc, sync::Arc, time::Duration};

use ::client::Client;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use proto::etcdserverpb::{
    RangeRequest, RangeResponse, WatchCreateRequest, request_op::Request as Operation,
};
use server::{
    rpc::Method,
    status::Status,
    transport::{Body, is_profile, not_found, plain, profile, unsniffed},
};
use tls::Connector;

use super::{
    fetch,
    kv::Kv,
    metrics::Metrics,
    upstream::{Asker, PERMISSION_DENIED, Upstream, status},
};

/// How long a read may take that says whether all is well.
pub(super) const READ_WITHIN: Duration = Duration::from_secs(1);
/// And a watch.
const WATCH_WITHIN: Duration = Duration::from_secs(3);
/// What is read: it need not be there.
const KEY: &str = "a";

/// The pages.
pub(super) struct Pages {
    pub(super) upstream: Rc<Upstream>,
    pub(super) kv: Rc<Kv>,
    pub(super) metrics: Rc<Metrics>,
    /// This proxy, as clients find it.
    pub(super) own: Option<Client>,
    /// For pages of members.
    pub(super) connector: Option<Arc<Connector>>,
    /// `--enable-pprof`
    pub(super) has_profiles: bool,
}

impl Pages {
    /// Answers a request that came by TLS, or not.
    pub(super) async fn answer(
        &self,
        request: &Request<Incoming>,
        is_secure: bool,
        shows_profiles: bool,
    ) -> Response<Body> {
        let uri = request.uri();
        match uri.path() {
            "/metrics" => self.metrics_of_a_member(is_secure).await,
            "/proxy/metrics" => metrics(self.metrics.page()),
            "/health" | "/proxy/health" if request.method() != http::Method::GET => {
                let mut response =
                    unsniffed(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
                let get = HeaderValue::from_static("GET");
                response.headers_mut().insert(header::ALLOW, get);
                response
            }
            "/health" => health(self.cluster().await),
            "/proxy/health" => health(self.proxy().await),
            path if shows_profiles && self.has_profiles && is_profile(path) => {
                profile(path, uri.query().unwrap_or_default()).await
            }
            _ => not_found(),
        }
    }

    async fn metrics_of_a_member(&self, is_secure: bool) -> Response<Body> {
        let endpoints = self.upstream.client().endpoints();
        let chosen = rand::RngExt::random_range(&mut rand::rng(), 0..endpoints.len().max(1));
        let Some(endpoint) = endpoints.get(chosen) else {
            return not_found();
        };
        let connector = self.connector.clone();
        match fetch::page(endpoint.as_str(), "/metrics", is_secure, connector).await {
            Ok(page) => metrics(page),
            Err(error) => {
                tracing::warn!(endpoint = endpoint.as_str(), error = %error, "no metrics of a member");
                unsniffed(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error\n")
            }
        }
    }

    /// Why the cluster does not answer, if it does not.
    async fn cluster(&self) -> Result<(), String> {
        let range = RangeRequest {
            key: KEY.into(),
            ..RangeRequest::default()
        };
        let asker = Asker::own(READ_WITHIN);
        let read = self.kv.run(&asker, Operation::RequestRange(range));
        let read = tokio::time::timeout(READ_WITHIN, read).await;
        judge(read.unwrap_or_else(|_| Err(late())).map(drop))
    }

    /// Why this proxy does not answer, if it does not.
    async fn proxy(&self) -> Result<(), String> {
        let Some(own) = &self.own else {
            return Err("no connection to proxy".to_owned());
        };
        let range = RangeRequest {
            key: KEY.into(),
            ..RangeRequest::default()
        };
        judge(own.range(range).await.map(drop).map_err(status))?;
        let watching = async {
            let request = WatchCreateRequest {
                key: KEY.into(),
                ..WatchCreateRequest::default()
            };
            own.watcher().watch_created(request).await.message().await
        };
        match tokio::time::timeout(WATCH_WITHIN, watching).await {
            Ok(_) => Ok(()),
            Err(_) => Err("WATCH TIMEOUT".to_owned()),
        }
    }
}

fn late() -> Status {
    status(::client::Error::Deadline { last: None })
}

/// Who may not read has an answer.
fn judge(read: Result<(), Status>) -> Result<(), String> {
    match read {
        Err(error) if error.message != PERMISSION_DENIED => Err(format!("GET ERROR:{error}")),
        _ => Ok(()),
    }
}

fn health(outcome: Result<(), String>) -> Response<Body> {
    match outcome {
        Ok(()) => plain(StatusCode::OK, "{\"health\":\"true\",\"reason\":\"\"}"),
        Err(reason) => {
            tracing::warn!("status-code" = 503, reason, "Health check error");
            let reason = serde_json::Value::from(reason);
            let body = format!("{{\"health\":\"false\",\"reason\":{reason}}}\n");
            unsniffed(StatusCode::SERVICE_UNAVAILABLE, body)
        }
    }
}

fn metrics(page: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = plain(StatusCode::OK, page);
    let kind = HeaderValue::from_static("text/plain; version=0.0.4");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Reads until the cluster answers: from there on nothing older is shown.
pub(super) async fn recover_order(upstream: &Upstream, saw: impl Fn(i64)) {
    tracing::info!("waiting for linearized read from cluster to recover ordering");
    let range = RangeRequest {
        key: "_".into(),
        keys_only: true,
        ..RangeRequest::default()
    };
    loop {
        let asker = Asker::own(WATCH_WITHIN);
        let read: Result<RangeResponse, Status> = upstream.ask(&asker, Method::Range, &range).await;
        match read {
            Ok(read) => return saw(read.header.map_or(0, |header| header.revision)),
            Err(error) => {
                tracing::warn!(error = %error, "ordering recovery failed, retrying in 1s");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
