//! Listeners and connections: gRPC and pages on one port, pages alone on another.

use std::{rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use server::{
    api::Call,
    rpc::{Answer, Method, Source, frame_bytes},
    status::{Status, errors},
    transport::{Body, Limits, Messages, answer_call, is_call, serve_by},
};
use socket2::{SockRef, TcpKeepalive};
use tls::Acceptor;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
};

use super::{
    cluster::Cluster,
    frames::Frames,
    kv::Kv,
    lease::Leases,
    metrics::Metrics,
    pages::Pages,
    upstream::{Asker, Upstream, Who, status},
    watch::{self, Hub},
};

/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Silence before a connection is probed.
const PROBE_AFTER: Duration = Duration::from_secs(30);
/// The largest request, as gRPC has it where nothing is said.
const REQUEST_MAX_BYTES: usize = 4 << 20;
/// Messages of a stream of the cluster that the client has not taken.
const UNSENT_MAX: usize = 8;

/// All that is served.
pub(super) struct Proxy {
    pub(super) upstream: Rc<Upstream>,
    pub(super) kv: Rc<Kv>,
    pub(super) hub: Rc<Hub>,
    pub(super) leases: Rc<Leases>,
    pub(super) cluster: Cluster,
    pub(super) metrics: Rc<Metrics>,
    pub(super) pages: Pages,
    pub(super) limits: Limits,
    /// `--experimental-enable-grpc-logging`
    pub(super) logs_calls: bool,
    /// For streams of members that are passed on.
    pub(super) streams: Arc<Semaphore>,
}

/// One port.
pub(super) struct Port {
    pub(super) listener: TcpListener,
    pub(super) acceptor: Option<Arc<Acceptor>>,
    /// Whether there is gRPC on it, and profiles.
    pub(super) is_whole: bool,
}

/// Accepts connections for ever; beyond the number of seats the kernel keeps them waiting.
pub(super) async fn accept(proxy: Rc<Proxy>, port: Port, seats: Arc<Semaphore>) {
    let port = Rc::new(port);
    loop {
        let Ok(seat) = seats.clone().acquire_owned().await else {
            return;
        };
        match port.listener.accept().await {
            Ok((stream, _)) => {
                let (proxy, port) = (proxy.clone(), port.clone());
                tokio::task::spawn_local(async move {
                    connection(proxy, &port, stream).await;
                    drop(seat);
                });
            }
            Err(error) => {
                tracing::warn!(error = %error, "failed to accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(proxy: Rc<Proxy>, port: &Port, stream: TcpStream) {
    // A connection that is broken by now ends by itself.
    let _ = stream.set_nodelay(true);
    let probes = TcpKeepalive::new().with_time(PROBE_AFTER);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&probes);
    let (limits, is_whole) = (proxy.limits, port.is_whole);
    let is_secure = port.acceptor.is_some();
    let answer = move |request| answer(proxy.clone(), request, is_secure, is_whole);
    let Some(acceptor) = &port.acceptor else {
        return serve_by(stream, &limits, answer).await;
    };
    let remote = stream.peer_addr().ok().map(|address| address.to_string());
    match acceptor.accept_tcp(stream).await {
        Ok(accepted) => serve_by(accepted.stream, &limits, answer).await,
        Err(refused) if refused.eof => {}
        Err(refused) => tracing::warn!(
            "remote-addr" = remote.unwrap_or_default(),
            "server-name" = refused.server_name,
            error = refused.reason,
            "rejected connection"
        ),
    }
}

async fn answer(
    proxy: Rc<Proxy>,
    request: Request<Incoming>,
    is_secure: bool,
    is_whole: bool,
) -> Response<Body> {
    if !is_whole || !is_call(&request) {
        return proxy.pages.answer(&request, is_secure, is_whole).await;
    }
    let serve = async |method, call: &Call<'_>, messages| {
        proxy.metrics.started(method);
        let answer = proxy.call(method, call, messages).await;
        proxy.metrics.handled(method, &answer);
        if proxy.logs_calls {
            log(method, &answer);
        }
        answer
    };
    answer_call(request, REQUEST_MAX_BYTES, is_served, serve).await
}

/// A line for each call. What is in it is not shown: passwords are, and tokens.
fn log(method: Method, answer: &Result<Answer, Status>) {
    let failed = answer.as_ref().err();
    tracing::info!(
        "grpc.method" = method.path(),
        "grpc.code" = failed.map_or("OK", |status| status.code.name()),
        error = failed.map(|status| status.message.to_string()),
        "finished call"
    );
}

/// Streams of a range, and gRPC's own question of health, are of members alone.
fn is_served(method: Method) -> bool {
    !matches!(
        method,
        Method::RangeStream | Method::HealthCheck | Method::HealthWatch
    )
}

impl Proxy {
    async fn call(
        &self,
        method: Method,
        call: &Call<'_>,
        messages: Messages,
    ) -> Result<Answer, Status> {
        let message = match messages {
            Messages::One(message) => message,
            Messages::Stream(messages) if method == Method::Watch => {
                let responses = watch::serve(self.hub.clone(), Who::of(call), messages);
                return Ok(Answer::Stream(responses));
            }
            Messages::Stream(messages) => {
                let renewals = self.leases.keep_alive(Who::of(call), messages);
                return Ok(Answer::Stream(renewals));
            }
        };
        let asker = Asker::of(call);
        let answering = self.unary(&asker, method, message);
        let answer = match asker.timeout() {
            Some(timeout) => tokio::time::timeout(timeout, answering).await,
            None => Ok(answering.await),
        };
        answer.unwrap_or_else(|_| Err(status(::client::Error::Deadline { last: None })))
    }

    async fn unary(&self, asker: &Asker, method: Method, message: Bytes) -> Result<Answer, Status> {
        let answer = match method {
            Method::Range | Method::Put | Method::DeleteRange | Method::Txn | Method::Compact => {
                self.kv.call(asker, method, message).await
            }
            Method::LeaseGrant
            | Method::LeaseRevoke
            | Method::LeaseTimeToLive
            | Method::LeaseLeases => self.leases.call(asker, method, message).await,
            Method::MemberAdd
            | Method::MemberRemove
            | Method::MemberUpdate
            | Method::MemberList
            | Method::MemberPromote => self.cluster.call(asker, method, message).await,
            Method::Snapshot | Method::Observe => {
                let stream = self.stream(asker, method, message).await?;
                return Ok(Answer::Stream(stream));
            }
            _ => self.upstream.call(asker, method, message).await,
        };
        answer.map(|message| Answer::One(frame_bytes(&message)))
    }

    /// A stream of the cluster, passed on as it comes.
    async fn stream(
        &self,
        asker: &Asker,
        method: Method,
        message: Bytes,
    ) -> Result<Box<dyn Source>, Status> {
        let seat = self.streams.clone().try_acquire_owned();
        let seat = seat.map_err(|_| errors::TOO_MANY_REQUESTS)?;
        let mut stream = self.upstream.stream(asker, method, message).await?;
        let (frames, source) = mpsc::channel(UNSENT_MAX);
        tokio::task::spawn_local(async move {
            let _seat = seat;
            loop {
                let message = tokio::select! {
                    message = stream.message() => message,
                    () = frames.closed() => return,
                };
                let frame = match message {
                    Ok(Some(message)) => Ok(frame_bytes(&message)),
                    Ok(None) => return,
                    Err(error) => Err(status(error)),
                };
                let is_over = frame.is_err();
                if frames.send(frame).await.is_err() || is_over {
                    return;
                }
            }
        });
        Ok(Box::new(Frames(source)))
    }
}
