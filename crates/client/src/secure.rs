//! Connections over TLS: dial, shake hands, hand the stream to tonic. It must
//! never give out a stream that is not encrypted.

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
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use crate::{Endpoint, EndpointError, endpoint::Target};

/// Dials one endpoint.
#[derive(Clone)]
pub(crate) struct Dialler {
    target: Target,
    connector: Arc<tls::Connector>,
    timeout: Duration,
    uri: String,
}

/// Any of the streams below.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Dialler {
    /// Takes `connector`, or puts one there that trusts the CAs of this machine.
    pub(crate) fn new(
        endpoint: &Endpoint,
        connector: &mut Option<Arc<tls::Connector>>,
        timeout: Duration,
    ) -> Result<Self, EndpointError> {
        let connector = match connector {
            Some(connector) => connector.clone(),
            None => {
                let options = tls::ClientOptions {
                    alpn: vec![b"h2".to_vec()],
                    ..tls::ClientOptions::default()
                };
                let made = tls::Connector::new(options).map_err(|error| EndpointError::Tls {
                    endpoint: endpoint.as_str().to_owned(),
                    why: error.to_string(),
                })?;
                connector.insert(Arc::new(made)).clone()
            }
        };
        Ok(Self {
            uri: match &endpoint.target {
                Target::Tcp(authority) => format!("http://{authority}"),
                Target::Unix(_) => "http://localhost".to_owned(),
            },
            target: endpoint.target.clone(),
            connector,
            timeout,
        })
    }

    /// What tonic is told to dial; this type dials its own target.
    pub(crate) fn uri(&self) -> &str {
        &self.uri
    }

    /// What requests name as their scheme and host.
    pub(crate) fn origin(&self) -> Option<http::Uri> {
        self.uri.replacen("http", "https", 1).parse().ok()
    }

    async fn dial(self) -> io::Result<TokioIo<Box<dyn Stream>>> {
        let name = self.target.server_name();
        let stream: Box<dyn Stream> = match &self.target {
            Target::Tcp(authority) => {
                let stream = TcpStream::connect(authority).await?;
                stream.set_nodelay(true)?;
                Box::new(self.connector.secure(name, stream).await?)
            }
            Target::Unix(path) => {
                let stream = UnixStream::connect(path).await?;
                Box::new(self.connector.secure(name, stream).await?)
            }
        };
        Ok(TokioIo::new(stream))
    }
}

impl tower_service::Service<http::Uri> for Dialler {
    type Response = TokioIo<Box<dyn Stream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let dialler = self.clone();
        Box::pin(async move {
            tokio::time::timeout(dialler.timeout, dialler.dial())
                .await
                .map_err(|_| {
                    io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake took too long")
                })?
        })
    }
}
