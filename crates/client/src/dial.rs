//! One connection: dial, secure if it is to be, hand the stream to tonic, and
//! know whether the server has spoken and whether the stream is still there. It
//! must never give out a plain stream where an encrypted one was asked for.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    sync::watch,
};
use tonic::transport::Channel;

use crate::{Endpoint, EndpointError, cause::root, endpoint::Target};

/// Length of an HTTP/2 frame header, and where its type is.
const FRAME_HEADER: usize = 9;
const FRAME_TYPE: usize = 3;
/// The frame that a server must send first.
const SETTINGS: u8 = 4;

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
        let stream = Once {
            dialler: self.clone(),
            ready: Some(ready),
        };
        let opening = async {
            let connected = transport.connect_with_connector(stream).await;
            let channel = connected.map_err(|error| root(&error))?;
            match life.wait_for(|ready| *ready).await {
                Ok(_) => Ok(channel),
                Err(_) => Err("the connection ended before the server's first frame".to_owned()),
            }
        };
        let channel = tokio::time::timeout(limit, opening)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))?;
        Ok(Opened { channel, life })
    }

    async fn dial(self) -> io::Result<Box<dyn Stream>> {
        match &self.target {
            Target::Tcp(authority) => {
                let stream = TcpStream::connect(authority).await?;
                stream.set_nodelay(true)?;
                self.secure(stream).await
            }
            Target::Unix(path) => self.secure(UnixStream::connect(path).await?).await,
        }
    }

    async fn secure(&self, stream: impl Stream + 'static) -> io::Result<Box<dyn Stream>> {
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some(connector) => {
                let name = self.target.server_name();
                Ok(Box::new(connector.secure(name, stream).await?))
            }
        }
    }
}

/// Any of the streams below.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Dials once. tonic would dial again by itself when a connection is lost; then a
/// request could be sent into one on which the server never speaks.
struct Once {
    dialler: Dialler,
    ready: Option<watch::Sender<bool>>,
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
            let ready = ready.ok_or_else(lost)?;
            let stream = dialler.dial().await?;
            Ok(TokioIo::new(Watched {
                stream,
                ready,
                first: [0; FRAME_HEADER],
                seen: 0,
            }))
        })
    }
}

/// A stream that says when the server's first frame has come, if it is the one
/// that must come first. That it is gone is said by the end of `ready`.
struct Watched {
    stream: Box<dyn Stream>,
    ready: watch::Sender<bool>,
    first: [u8; FRAME_HEADER],
    /// Bytes of `first` that have come.
    seen: usize,
}

impl Watched {
    fn note(&mut self, bytes: &[u8]) {
        let rest = &mut self.first[self.seen..];
        let more = rest.len().min(bytes.len());
        rest[..more].copy_from_slice(&bytes[..more]);
        self.seen += more;
        if more > 0 && self.seen == FRAME_HEADER && self.first[FRAME_TYPE] == SETTINGS {
            self.ready.send_replace(true);
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if self.seen < FRAME_HEADER {
            self.note(&buffer.filled()[before..]);
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
