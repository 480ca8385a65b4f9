//! One connection: dial, secure if it is to be, hand the stream to tonic, and
//! know whether the server has spoken and whether the stream is still there. It
//! must never give out a plain stream where an encrypted one was asked for.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpStream, UnixStream},
    sync::watch,
};
use tonic::transport::Channel;

use crate::{
    Endpoint, EndpointError,
    cause::root,
    endpoint::Target,
    preface::{Reason, Stream, Watched},
};

/// Dials one endpoint.
#[derive(Clone)]
pub(crate) struct Dialler {
    target: Target,
    tls: Option<Arc<tls::Connector>>,
    uri: String,
}

/// A connection on which the server has spoken.
pub(crate) struct Opened {
    pub(crate) channel: Channel,
    /// Closed once the stream is gone.
    pub(crate) life: watch::Receiver<bool>,
}

impl Dialler {
    /// With `tls`, the connection is made secure by it.
    pub(crate) fn new(endpoint: &Endpoint, tls: Option<Arc<tls::Connector>>) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        Self {
            uri: match &endpoint.target {
                Target::Tcp(authority) => format!("{scheme}://{authority}"),
                Target::Unix(_) => format!("{scheme}://localhost"),
            },
            target: endpoint.target.clone(),
            tls,
        }
    }

    /// What requests name as their scheme and host.
    pub(crate) fn transport(
        &self,
        endpoint: &Endpoint,
    ) -> Result<tonic::transport::Endpoint, EndpointError> {
        let malformed = || EndpointError::Malformed(endpoint.as_str().to_owned());
        // tonic dials no https itself; the origin is what requests show.
        let dialled = self.uri.replacen("https", "http", 1);
        let origin = self.uri.parse().map_err(|_| malformed())?;
        tonic::transport::Endpoint::from_shared(dialled)
            .map(|transport| transport.origin(origin))
            .map_err(|_| malformed())
    }

    /// Opens a connection. It is open when the server's SETTINGS have arrived: a
    /// kernel accepts for a server that hangs.
    pub(crate) async fn open(
        &self,
        transport: &tonic::transport::Endpoint,
        limit: Duration,
    ) -> Result<Opened, String> {
        let (ready, mut life) = watch::channel(false);
        let reason = Reason::default();
        let stream = Once {
            dialler: self.clone(),
            ready: Some((ready, reason.clone())),
        };
        let opening = async {
            let connected = transport.connect_with_connector(stream).await;
            let channel = connected.map_err(|error| self.ended(&reason, || root(&error)))?;
            let spoken = life.wait_for(|ready| *ready).await.is_ok();
            // One that ended before anything was read from it has no reason of its own.
            let closed = || self.ended(&reason, || self.preface("EOF"));
            spoken.then_some(channel).ok_or_else(closed)
        };
        let channel = tokio::time::timeout(limit, opening)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))?;
        Ok(Opened { channel, life })
    }

    /// Why there is no connection: what ended it before the server's first frame, or else what
    /// `otherwise` says.
    fn ended(&self, reason: &Reason, otherwise: impl FnOnce() -> String) -> String {
        let why = reason.get();
        why.map_or_else(otherwise, |why| self.preface(why.as_ref()))
    }

    /// Says what ended a connection before the server's first frame.
    fn preface(&self, why: &str) -> String {
        let advice = match (&self.tls, why) {
            (None, "EOF") => " (plain text; does the server want https?)",
            _ => "",
        };
        format!("error reading server preface: {why}{advice}")
    }

    async fn dial(self) -> io::Result<Box<dyn Stream>> {
        match &self.target {
            Target::Tcp(authority) => {
                let dialled = TcpStream::connect(authority).await;
                let stream = dialled.map_err(|error| unreached("tcp", authority, &error))?;
                stream.set_nodelay(true)?;
                self.secure(stream).await
            }
            Target::Unix(path) => {
                let dialled = UnixStream::connect(path).await;
                let stream = dialled.map_err(|error| unreached("unix", path, &error))?;
                self.secure(stream).await
            }
        }
    }

    async fn secure(&self, stream: impl Stream + 'static) -> io::Result<Box<dyn Stream>> {
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some(connector) => {
                let name = self.target.server_name();
                let secured = connector.secure(name, stream).await;
                Ok(Box::new(secured.map_err(|error| {
                    let text = format!("transport: authentication handshake failed: {error}");
                    io::Error::new(error.kind(), text)
                })?))
            }
        }
    }
}

/// A connection attempt that failed, as Go's client says it.
fn unreached(network: &str, address: &str, error: &io::Error) -> io::Error {
    let dialled = tls::dial_error(network, address, error);
    let text = format!("transport: Error while dialing: {dialled}");
    io::Error::new(error.kind(), text)
}

/// Dials once. tonic would dial again by itself when a connection is lost; then a
/// request could be sent into one on which the server never speaks.
struct Once {
    dialler: Dialler,
    ready: Option<(watch::Sender<bool>, Reason)>,
}

impl tower_service::Service<http::Uri> for Once {
    type Response = TokioIo<Watched>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let (dialler, ready) = (self.dialler.clone(), self.ready.take());
        Box::pin(async move {
            let lost = || io::Error::new(io::ErrorKind::NotConnected, "the connection was lost");
            let (ready, reason) = ready.ok_or_else(lost)?;
            let stream = dialler.dial().await?;
            Ok(TokioIo::new(Watched::new(stream, ready, reason)))
        })
    }
}
