//! One connection on its runtime: HTTP/1.1 or HTTP/2 by what the peer speaks,
//! and each request to gRPC or to the pages by its content type.

use std::{
    cell::Cell,
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{rt::TokioIo, server::conn::auto};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Body, Surface,
    admission::Seat,
    channel::{Channel, Port},
    gateway,
    gather::{TurnEnd, gather},
    grpc, head, http1,
    intake::Intake,
    pages,
    plain::plain,
};
use crate::runtime::Runtime;

/// Runs futures on the runtime's own thread.
#[derive(Clone, Copy)]
struct LocalExec;

impl<F> hyper::rt::Executor<F> for LocalExec
where
    F: std::future::Future + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// What a client may send on a stream, and on a connection, before its calls have taken it. h2 also
/// lets no more frames wait than half of a connection's window justifies, at [`FRAME_COST`] each,
/// and ends the connection beyond that: a client that fills one stream with the smallest messages
/// while the server is slow must not meet that limit. Go's server begins with half of this for a
/// stream, and lets both grow to 16 MiB.
const STREAM_WINDOW: u32 = 128 << 10;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// What h2 takes a small frame to cost, payload included.
const FRAME_COST: u32 = 256;
/// The frame of a message without a field.
const FRAME_MIN: u32 = 5;

const _: () = {
    let frames_max = STREAM_WINDOW / FRAME_MIN;
    assert!(frames_max * (FRAME_COST - FRAME_MIN) <= CONNECTION_WINDOW / 2);
};

/// Streams that a client may cancel, or end by a mistake, before the connection gets its next turn:
/// as many control frames as Go's HTTP/2 server queues. A stall of the machine makes a legal client
/// cancel all calls that it has open, and the end of the connection would take its watches with
/// it. An attacker gains little: what is cancelled is dropped in the turn in which it is read, so
/// the number bounds the memory of one turn, and clients of other connections take turns with it.
const CANCELLED_MAX: usize = 10_000;

/// Headers of one call. Go's server takes 16 MiB, which each of thousands of connections could hold
/// half sent; the largest legal ones are tokens of a few KiB and metadata of tracing.
const HEADERS_MAX_BYTES: u32 = 256 << 10;

/// A connection that is younger than this when the server stops may still be
/// about to send its first request: many clients do not wait for a word from the
/// server before they do.
const NEW_CONNECTION_GRACE: Duration = Duration::from_millis(100);

/// What a client may do on a connection, and how it is asked whether it is there.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Calls that it may have open.
    pub streams: u32,
    /// Between two pings to it; `None` for none.
    pub ping_interval: Option<Duration>,
    /// How long it may take to answer one.
    pub ping_timeout: Duration,
    /// Between two pings of its own; `None` where no one counts them.
    pub ping_min_time: Option<Duration>,
}

fn builder(limits: &Limits) -> auto::Builder<LocalExec> {
    let mut builder = auto::Builder::new(LocalExec);
    builder
        .http2()
        // gRPC has no use for it, and it costs every answer a header.
        .auto_date_header(false)
        .timer(hyper_util::rt::TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(1 << 20)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(HEADERS_MAX_BYTES)
        .max_pending_accept_reset_streams(CANCELLED_MAX)
        .max_local_error_reset_streams(CANCELLED_MAX)
        .keep_alive_interval(limits.ping_interval)
        .keep_alive_timeout(limits.ping_timeout);
    builder
}

/// Serves a connection of another program than a member until its client ends it: each request is
/// answered by `answer`.
pub async fn serve_by<S, A>(
    stream: S,
    limits: &Limits,
    answer: impl Fn(Request<Incoming>) -> A + 'static,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    A: Future<Output = Response<Body>> + 'static,
{
    let builder = builder(limits);
    let service = service_fn(move |request| {
        let answering = answer(request);
        async move { Ok::<_, Infallible>(answering.await) }
    });
    let (stream, end) = gather(stream);
    let stream = Intake::new(stream, CONNECTION_WINDOW, limits.ping_min_time);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    poll_fn(|cx| turn(connection.as_mut(), &end, cx)).await;
}

/// What the requests of one connection share.
struct Served {
    port: Port,
    channel: Channel,
    /// The last answer left bytes of its request unread.
    is_left: Cell<bool>,
}

/// Serves a connection until either side ends it or the server stops.
pub(super) async fn serve<S>(
    rt: Rc<Runtime>,
    stream: S,
    port: Port,
    channel: Channel,
    seat: Rc<Seat>,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    if port.surface == Surface::Peer {
        return super::peer::serve(rt, stream, seat).await;
    }
    let config = &rt.core.config;
    let builder = builder(&Limits {
        streams: config.max_concurrent_streams,
        ping_interval: config.grpc_keepalive_interval,
        ping_timeout: config.grpc_keepalive_timeout,
        ping_min_time: None,
    });
    let since = seat.since;
    let (surface, is_plain) = (port.surface, channel.is_plain());
    let served = Rc::new(Served {
        port,
        channel,
        is_left: Cell::new(false),
    });
    let (service_rt, shared) = (rt.clone(), served.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        seat.keep();
        answer(service_rt.clone(), request, shared.clone())
    });
    let (stream, end) = gather(stream);
    // Behind TLS, Go's own HTTP/2 server takes gRPC and pages together, and counts no pings.
    let counts = match surface {
        Surface::Client => is_plain,
        Surface::ClientGrpc => true,
        Surface::ClientHttp | Surface::Metrics | Surface::Peer => false,
    };
    let min_time = counts.then_some(rt.core.config.grpc_keepalive_min_time);
    let stream = Intake::new(stream, CONNECTION_WINDOW, min_time);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut stop = rt.core.stop.subscribe();
    tokio::select! {
        () = poll_fn(|cx| turn(connection.as_mut(), &end, cx)) => {
            if served.is_left.get() {
                end.linger().await;
            }
            return;
        }
        _ = stop.wait_for(|stop| *stop) => {}
    }
    let young = poll_fn(|cx| turn(connection.as_mut(), &end, cx));
    if tokio::time::timeout_at(since + NEW_CONNECTION_GRACE, young)
        .await
        .is_ok()
    {
        return;
    }
    connection.as_mut().graceful_shutdown();
    poll_fn(|cx| turn(connection.as_mut(), &end, cx)).await;
}

/// One turn of a connection, and what it wrote. Ready when the connection is
/// over: a clean end has shut the socket down and so emptied it, and a peer that
/// goes away in mid-request is its own affair.
fn turn<S: AsyncWrite + Unpin>(
    connection: Pin<&mut impl Future>,
    end: &TurnEnd<S>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    let over = connection.poll(cx).is_ready();
    match end.poll(cx) {
        Poll::Ready(Ok(())) | Poll::Pending if !over => Poll::Pending,
        _ => Poll::Ready(()),
    }
}

async fn answer(
    rt: Rc<Runtime>,
    request: Request<Incoming>,
    served: Rc<Served>,
) -> Result<Response<Body>, Infallible> {
    let Served { port, channel, .. } = &*served;
    if let Some(refusal) = http1::refusal(&request) {
        return Ok(refusal);
    }
    let is_http2 = request.version() == http::Version::HTTP_2;
    let speaks_grpc = match port.surface {
        // Without TLS, etcd takes all of HTTP/2 for gRPC.
        Surface::Client => channel.is_plain() || head::is_grpc(request.headers()),
        // Where nothing else is served, gRPC has the word for what is none.
        Surface::ClientGrpc => true,
        _ => false,
    };
    if is_http2 && speaks_grpc {
        return Ok(grpc::call(&rt, request, channel).await);
    }
    Ok(Box::pin(page(&rt, request, &served)).await)
}

/// All that is not gRPC.
async fn page(rt: &Rc<Runtime>, request: Request<Incoming>, served: &Served) -> Response<Body> {
    let Served { port, channel, .. } = served;
    let (head, body) = request.into_parts();
    let (request, mut body) = (Request::from_parts(head, ()), Some(body));
    let (surface, streams) = (port.surface, &port.streams);
    let mut response = match surface {
        Surface::ClientGrpc => plain(
            http::StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "only gRPC is served here\n",
        ),
        Surface::Client | Surface::ClientHttp => {
            gateway::or_pages(rt, &request, &mut body, surface, streams, channel).await
        }
        Surface::Metrics | Surface::Peer => pages::answer(rt, &request, surface).await,
    };
    if http1::settle(&request, body, &mut response).await {
        served.is_left.set(true);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rare methods and surfaces are boxed to keep it below: what is copied shows in the CPU of every
    /// call.
    const CALL_BYTES_MAX: usize = 4000;

    /// The future of a call is copied when it is spawned and when it ends.
    #[test]
    fn the_future_of_a_call_is_small() {
        fn size_of_future<A, B, C, F>(_: fn(A, B, C) -> F) -> usize {
            size_of::<F>()
        }
        let size = size_of_future(answer);
        assert!(size <= CALL_BYTES_MAX, "{size} bytes");
    }
}
