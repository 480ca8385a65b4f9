//! Listeners: bind first, serve later. One acceptor per listener hands the
//! sockets to the runtimes in turn: few, long-lived connections would hash
//! unevenly over SO_REUSEPORT.

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use socket2::{Domain, Protocol, Socket, Type};

use super::{
    Surface,
    admission::Seat,
    channel::{Channel, Port},
    connection,
    secure::{self, Security},
    streams::Streams,
};
use crate::{
    config::{Config, ListenTarget, ListenUrl},
    core::Core,
    runtime::{Delivery, Inboxes, Runtime},
};

/// One bound socket.
pub struct Endpoint {
    /// What was asked for.
    pub url: String,
    target: ListenTarget,
    surface: Surface,
    socket: Bound,
    speaks: Speaks,
}

/// What is spoken on a socket.
#[derive(Clone)]
enum Speaks {
    /// An http or unix URL.
    Plain,
    /// An https or unixs URL.
    Tls(Arc<tls::Acceptor>),
    /// Both kinds of URL with one address: the first byte of a connection decides, as on etcd.
    Both(Arc<tls::Acceptor>),
}

impl Speaks {
    /// What is spoken on a socket that two URLs name.
    fn and(&self, other: &Speaks) -> Speaks {
        match (self, other) {
            (Speaks::Plain, Speaks::Tls(acceptor)) | (Speaks::Tls(acceptor), Speaks::Plain) => {
                Speaks::Both(acceptor.clone())
            }
            _ => self.clone(),
        }
    }
}

enum Bound {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener, PathBuf),
}

/// All sockets of the server.
pub struct Listeners {
    endpoints: Vec<Endpoint>,
}

/// Connections the kernel keeps until they are accepted.
const BACKLOG: i32 = 1024;

impl Listeners {
    /// Binds everything, or nothing: the error names the URL.
    pub fn bind(config: &Config, security: &Security) -> io::Result<Listeners> {
        let client = if config.listen_client_http.is_empty() {
            Surface::Client
        } else {
            Surface::ClientGrpc
        };
        let groups: [(&[ListenUrl], Surface); 4] = [
            (&config.listen_peer, Surface::Peer),
            (&config.listen_client, client),
            (&config.listen_client_http, Surface::ClientHttp),
            (&config.listen_metrics, Surface::Metrics),
        ];
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for (urls, surface) in groups {
            for url in urls {
                let speaks = match url.secure {
                    true => Speaks::Tls(security.of(surface).ok_or_else(|| {
                        io::Error::other(format!(
                            "cannot listen on TLS for {}: KeyFile and CertFile are not presented",
                            url.url
                        ))
                    })?),
                    false => Speaks::Plain,
                };
                // Client URLs may share an address; everywhere else it is in use.
                let shared = endpoints.iter_mut().find(|endpoint| {
                    endpoint.surface == surface
                        && matches!(
                            surface,
                            Surface::Client | Surface::ClientGrpc | Surface::ClientHttp
                        )
                        && endpoint.target == url.target
                });
                if let Some(endpoint) = shared {
                    endpoint.speaks = endpoint.speaks.and(&speaks);
                    continue;
                }
                let socket = bind(&url.target, config).map_err(|error| {
                    io::Error::new(
                        error.kind(),
                        format!("cannot listen on {}: {error}", url.url),
                    )
                })?;
                endpoints.push(Endpoint {
                    url: url.url.clone(),
                    target: url.target.clone(),
                    surface,
                    socket,
                    speaks,
                });
            }
        }
        Ok(Listeners { endpoints })
    }

    /// Takes out the listeners that `wanted` picks, for another runtime to serve.
    pub fn split_off(&mut self, wanted: impl Fn(Surface) -> bool) -> Listeners {
        let (taken, rest) = std::mem::take(&mut self.endpoints)
            .into_iter()
            .partition(|e| wanted(e.surface));
        self.endpoints = rest;
        Listeners { endpoints: taken }
    }

    /// Starts accepting on the listeners that `wanted` picks. Runs inside `rt`.
    pub fn serve(&mut self, rt: &Rc<Runtime>, wanted: impl Fn(Surface) -> bool) -> io::Result<()> {
        let next = Arc::new(AtomicUsize::new(0));
        let (now, later) = std::mem::take(&mut self.endpoints)
            .into_iter()
            .partition(|e| wanted(e.surface));
        self.endpoints = later;
        for endpoint in now {
            let Endpoint {
                surface,
                socket,
                speaks,
                ..
            } = endpoint;
            let next = next.clone();
            let port = Port {
                surface,
                streams: Streams::new(rt.core.config.max_concurrent_streams),
            };
            match socket {
                Bound::Tcp(listener) => {
                    let listener = tokio::net::TcpListener::from_std(listener)?;
                    tokio::task::spawn_local(accept_tcp(rt.clone(), listener, port, speaks, next));
                }
                Bound::Unix(listener, path) => {
                    let listener = tokio::net::UnixListener::from_std(listener)?;
                    tokio::task::spawn_local(accept_unix(
                        rt.clone(),
                        listener,
                        path,
                        port,
                        speaks,
                        next,
                    ));
                }
            }
        }
        Ok(())
    }
}

fn bind(target: &ListenTarget, config: &Config) -> io::Result<Bound> {
    match target {
        ListenTarget::Tcp(address) => {
            let socket = Socket::new(
                Domain::for_address(*address),
                Type::STREAM,
                Some(Protocol::TCP),
            )?;
            // Go sets it on every listener; without it a restart waits for old connections to time out.
            socket.set_reuse_address(true)?;
            if config.reuse_port {
                socket.set_reuse_port(true)?;
            }
            if matches!(address, SocketAddr::V6(v6) if v6.ip().is_unspecified()) {
                socket.set_only_v6(false)?;
            }
            socket.bind(&(*address).into())?;
            socket.listen(BACKLOG)?;
            socket.set_nonblocking(true)?;
            Ok(Bound::Tcp(socket.into()))
        }
        ListenTarget::Unix(path) => {
            // A socket file left by a process that is gone is in the way of every restart.
            // Any other error may come from a server that lives, and is only busy.
            match std::os::unix::net::UnixStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path)?;
                }
                _ => {}
            }
            let listener = std::os::unix::net::UnixListener::bind(path)?;
            listener.set_nonblocking(true)?;
            Ok(Bound::Unix(listener, path.clone()))
        }
    }
}

/// Hands a socket to the next runtime, which registers it with its own reactor.
fn hand_over<S: Send + 'static>(
    inboxes: &Inboxes,
    next: &AtomicUsize,
    surface: Surface,
    socket: S,
    serve: impl FnOnce(Rc<Runtime>, S) + Send + 'static,
) {
    // The last runtime is the members' own: their messages do not queue behind
    // clients.
    let last = inboxes.len() - 1;
    let runtime = match surface {
        Surface::Peer => last,
        _ => next.fetch_add(1, Ordering::Relaxed) % last,
    };
    inboxes[runtime].deliver([Delivery::Spawn(Box::new(move |rt| {
        serve(rt.clone(), socket)
    }))]);
}

/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

async fn accept_tcp(
    rt: Rc<Runtime>,
    listener: tokio::net::TcpListener,
    port: Port,
    speaks: Speaks,
    next: Arc<AtomicUsize>,
) {
    let (core, surface) = (&rt.core, port.surface);
    let mut stop = core.end_of(surface);
    loop {
        // Who has connected before the stop is not turned away by it.
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let stream = match accepted.and_then(|(stream, _)| {
            match surface {
                // A reader that has vanished must be noticed: streams end here.
                Surface::Peer => peer::dial::tune(&stream, core.config.raft_write_timeout)?,
                _ => stream.set_nodelay(true)?,
            }
            stream.into_std()
        }) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(error = %error, "failed to accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(seat) = seat(core, surface, &mut stop).await else {
            return;
        };
        let (port, speaks) = (port.clone(), speaks.clone());
        hand_over(&rt.inboxes, &next, surface, stream, move |rt, stream| {
            match tokio::net::TcpStream::from_std(stream) {
                Ok(stream) => seated(seat, |seat| serve_tcp(rt, stream, port, speaks, seat)),
                Err(error) => tracing::warn!(error = %error, "failed to register a connection"),
            }
        });
    }
}

async fn accept_unix(
    rt: Rc<Runtime>,
    listener: tokio::net::UnixListener,
    path: PathBuf,
    port: Port,
    speaks: Speaks,
    next: Arc<AtomicUsize>,
) {
    let (core, surface) = (&rt.core, port.surface);
    let mut stop = core.end_of(surface);
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let stream = match accepted.and_then(|(stream, _)| stream.into_std()) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(error = %error, "failed to accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(seat) = seat(core, surface, &mut stop).await else {
            break;
        };
        let (port, speaks) = (port.clone(), speaks.clone());
        hand_over(&rt.inboxes, &next, surface, stream, move |rt, stream| {
            match tokio::net::UnixStream::from_std(stream) {
                Ok(stream) => seated(seat, |seat| serve_unix(rt, stream, port, speaks, seat)),
                Err(error) => tracing::warn!(error = %error, "failed to register a connection"),
            }
        });
    }
    // Gone already is as good.
    let _ = std::fs::remove_file(path);
}

/// A seat for a connection that has been accepted; `None` if the server stops before one is free.
async fn seat(
    core: &Core,
    surface: Surface,
    stop: &mut tokio::sync::watch::Receiver<bool>,
) -> Option<Seat> {
    let seats = core.admission.of(surface);
    tokio::select! {
        biased;
        seat = seats.take() => Some(seat),
        _ = stop.wait_for(|stop| *stop) => None,
    }
}

/// Serves a connection until its end, or until it has to make room.
fn seated<F>(mut seat: Seat, serve: impl FnOnce(Rc<Seat>) -> F)
where
    F: Future<Output = ()> + 'static,
{
    let must_leave = seat.must_leave();
    let serving = serve(Rc::new(seat));
    tokio::task::spawn_local(async move {
        tokio::select! {
            () = serving => {}
            () = must_leave => {}
        }
    });
}

/// The first byte of every TLS connection: a handshake record. No request of HTTP begins with it.
const HANDSHAKE_RECORD: u8 = 0x16;

/// The acceptor that a connection wants, by its first byte where that decides; an error for one
/// that ends, or finds the server stopping, before it has sent any.
async fn acceptor(
    rt: &Runtime,
    speaks: Speaks,
    first_byte: impl Future<Output = io::Result<Option<u8>>>,
) -> io::Result<Option<Arc<tls::Acceptor>>> {
    let acceptor = match speaks {
        Speaks::Plain => return Ok(None),
        Speaks::Tls(acceptor) => return Ok(Some(acceptor)),
        Speaks::Both(acceptor) => acceptor,
    };
    let mut stop = rt.core.stop.subscribe();
    let first_byte = tokio::select! {
        first_byte = first_byte => first_byte?,
        _ = stop.wait_for(|stop| *stop) => None,
    };
    match first_byte {
        Some(HANDSHAKE_RECORD) => Ok(Some(acceptor)),
        Some(_) => Ok(None),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// A connection of its own from the first byte: a handshake that takes its time
/// holds up nobody else.
async fn serve_tcp(
    rt: Rc<Runtime>,
    stream: tokio::net::TcpStream,
    port: Port,
    speaks: Speaks,
    seat: Rc<Seat>,
) {
    let remote = stream.peer_addr().ok();
    let first_byte = async {
        let mut byte = [0];
        let len = stream.peek(&mut byte).await?;
        Ok((len > 0).then_some(byte[0]))
    };
    match acceptor(&rt, speaks, first_byte).await {
        // Gone before it said anything.
        Err(_) => {}
        Ok(None) => connection::serve(rt, stream, port, Channel::plain(remote), seat).await,
        Ok(Some(acceptor)) => {
            if let Some(accepted) = secure::tcp(&rt, &acceptor, port.surface, stream).await {
                let channel = Channel::of(&rt, remote, accepted.peer.as_ref());
                connection::serve(rt, accepted.stream, port, channel, seat).await;
            }
        }
    }
}

async fn serve_unix(
    rt: Rc<Runtime>,
    stream: tokio::net::UnixStream,
    port: Port,
    speaks: Speaks,
    seat: Rc<Seat>,
) {
    let first_byte = stream.async_io(tokio::io::Interest::READABLE, || {
        let mut byte = [0];
        let (len, _) = rustix::net::recv(&stream, &mut byte, rustix::net::RecvFlags::PEEK)?;
        Ok((len > 0).then_some(byte[0]))
    });
    match acceptor(&rt, speaks, first_byte).await {
        // Gone before it said anything.
        Err(_) => {}
        Ok(None) => connection::serve(rt, stream, port, Channel::plain(None), seat).await,
        Ok(Some(acceptor)) => {
            if let Some(accepted) = secure::unix(&rt, &acceptor, port.surface, stream).await {
                let channel = Channel::of(&rt, None, accepted.peer.as_ref());
                connection::serve(rt, accepted.stream, port, channel, seat).await;
            }
        }
    }
}
