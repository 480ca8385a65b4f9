//! Connections to other members. Plain TCP here; what makes an https URL secure
//! is given from outside.

use std::{future::Future, io, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// A connection's two directions.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// A secure connection on its way.
pub type Securing = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>>>>;

/// TLS, given from outside.
pub trait Connect: Send + Sync + 'static {
    /// Makes a connection to `host` secure.
    fn secure(&self, host: &str, stream: TcpStream) -> Securing;
}

/// No TLS at all: https URLs are refused.
pub struct NoTls;

impl Connect for NoTls {
    fn secure(&self, host: &str, _: TcpStream) -> Securing {
        let error = io::Error::new(
            io::ErrorKind::Unsupported,
            format!("{host}: an https peer URL, but no peer TLS is configured"),
        );
        Box::pin(std::future::ready(Err(error)))
    }
}

/// What requests carry.
pub(crate) type RequestBody = UnsyncBoxBody<Bytes, io::Error>;

/// Where a URL leads.
struct Target {
    secure: bool,
    host: String,
    port: u16,
}

fn parse(url: &str) -> io::Result<Target> {
    let bad = || {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "{url:?} is not a peer URL that can be dialled (http://host:port or https://host:port)"
            ),
        )
    };
    let uri: http::Uri = url.parse().map_err(|_| bad())?;
    let secure = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(bad()),
    };
    let host = uri.host().ok_or_else(bad)?;
    Ok(Target {
        secure,
        host: host.trim_matches(['[', ']']).to_owned(),
        port: uri.port_u16().unwrap_or(if secure { 443 } else { 80 }),
    })
}

/// Opens an HTTP/1.1 connection to the host of a URL within `timeout`. Must run
/// inside a `LocalSet`: the connection is driven by a task of its own.
///
/// # Errors
/// The URL, the name, the connection or its security.
pub(crate) async fn open(
    connect: &Arc<dyn Connect>,
    url: &str,
    timeout: Duration,
) -> io::Result<http1::SendRequest<RequestBody>> {
    let target = parse(url)?;
    let dial = async {
        let stream = TcpStream::connect((target.host.as_str(), target.port)).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = if target.secure {
            connect.secure(&target.host, stream).await?
        } else {
            Box::new(stream)
        };
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        Ok::<_, io::Error>((sender, connection))
    };
    let (sender, connection) = tokio::time::timeout(timeout, dial)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, format!("dial {url}: timed out")))??;
    tokio::task::spawn_local(async move {
        // Whoever uses the connection sees its end.
        let _ = connection.await;
    });
    Ok(sender)
}

/// The authority of a URL, for the `Host` header.
pub(crate) fn authority(url: &str) -> String {
    url.parse::<http::Uri>()
        .ok()
        .and_then(|uri| uri.authority().map(ToString::to_string))
        .unwrap_or_default()
}
