//! Connections to other members, over TCP or a unix socket. Plain here; what makes
//! an https or unixs URL secure is given from outside.

use std::{future::Future, io, path::PathBuf, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

/// A connection's two directions.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// A secure connection on its way.
pub type Securing = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>>>>;

/// TLS, given from outside.
pub trait Connect: Send + Sync + 'static {
    /// Makes a connection to `host` secure.
    fn secure(&self, host: &str, stream: Box<dyn Stream>) -> Securing;
}

/// No TLS at all: https URLs are refused.
pub struct NoTls;

impl Connect for NoTls {
    fn secure(&self, host: &str, _: Box<dyn Stream>) -> Securing {
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
    address: Address,
}

enum Address {
    Port(u16),
    /// Host and path of the URL together, as etcd reads them.
    Unix(PathBuf),
}

/// The part after the scheme of a URL of a unix socket, and whether it is secure.
fn unix(url: &str) -> Option<(bool, &str)> {
    let plain = url.strip_prefix("unix://").map(|rest| (false, rest));
    plain.or_else(|| url.strip_prefix("unixs://").map(|rest| (true, rest)))
}

fn parse(url: &str) -> io::Result<Target> {
    let bad = || {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "{url:?} is not a peer URL that can be dialled (http://host:port, https://host:port, \
                 unix://path or unixs://path)"
            ),
        )
    };
    if let Some((secure, path)) = unix(url) {
        let host = path.split([':', '/']).next().unwrap_or_default();
        return Ok(Target {
            secure,
            // A certificate is valid for a host, and this one is here.
            host: if host.is_empty() { "localhost" } else { host }.to_owned(),
            address: Address::Unix(PathBuf::from(path)),
        });
    }
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
        address: Address::Port(uri.port_u16().unwrap_or(if secure { 443 } else { 80 })),
    })
}

impl Target {
    async fn connect(&self, stall: Duration) -> io::Result<Box<dyn Stream>> {
        Ok(match &self.address {
            Address::Port(port) => {
                let dialled = TcpStream::connect((self.host.as_str(), *port)).await;
                let stream = dialled.map_err(|error| {
                    let address = format!("{}:{port}", self.host);
                    crate::cause::dial_error("tcp", &address, &error)
                })?;
                tune(&stream, stall)?;
                Box::new(stream)
            }
            // The kernel knows at once when the other side is gone.
            Address::Unix(path) => {
                let dialled = UnixStream::connect(path).await;
                let path = path.display().to_string();
                Box::new(dialled.map_err(|e| crate::cause::dial_error("unix", &path, &e))?)
            }
        })
    }
}

/// Between signs of life that the kernel asks for on a silent connection.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Makes a socket notice within `stall` that the other side no longer takes what
/// is sent, or is gone. Accepted sockets of the peer port need it as much as
/// dialled ones: streams are written there, and a reader that has vanished without
/// a word would be noticed after a quarter of an hour.
///
/// # Errors
/// The kernel refuses the options.
pub fn tune(stream: &TcpStream, stall: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(stall))?;
    #[cfg(not(target_os = "linux"))]
    let _ = stall;
    Ok(())
}

/// Opens an HTTP/1.1 connection to the host of a URL within `timeout`, one that
/// breaks when the other side takes nothing for `stall`. Must run inside a
/// `LocalSet`: the connection is driven by a task of its own.
///
/// # Errors
/// The URL, the name, the connection or its security.
pub(crate) async fn open(
    connect: &Arc<dyn Connect>,
    url: &str,
    timeout: Duration,
    stall: Duration,
) -> io::Result<http1::SendRequest<RequestBody>> {
    let target = parse(url)?;
    let dial = async {
        let mut stream = target.connect(stall).await?;
        if target.secure {
            stream = connect.secure(&target.host, stream).await?;
        }
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
    if let Some((_, path)) = unix(url) {
        return path.split('/').next().unwrap_or_default().to_owned();
    }
    url.parse::<http::Uri>()
        .ok()
        .and_then(|uri| uri.authority().map(ToString::to_string))
        .unwrap_or_default()
}

/// The beginning of an answer's text, for a message to a person.
pub(crate) async fn short_text(body: Incoming, timeout: Duration) -> String {
    let body = Limited::new(body, 64 << 10).collect();
    let body = match tokio::time::timeout(timeout, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) | Err(_) => return String::new(),
    };
    let text = String::from_utf8_lossy(&body[..body.len().min(200)]);
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Address, authority, parse};

    #[test]
    fn urls_lead_where_etcd_finds_them() {
        let shown = |url: &str| {
            let target = parse(url).ok()?;
            Some(match target.address {
                Address::Port(port) => format!("{} {}:{port}", target.secure, target.host),
                Address::Unix(path) => {
                    format!("{} {} {}", target.secure, target.host, path.display())
                }
            })
        };
        for (url, leads, host) in [
            ("http://a:1", "false a:1", "a:1"),
            ("https://[::1]:2", "true ::1:2", "[::1]:2"),
            (
                "unix://localhost:1",
                "false localhost localhost:1",
                "localhost:1",
            ),
            ("unix:///run/m.sock", "false localhost /run/m.sock", ""),
            ("unixs://m1:3", "true m1 m1:3", "m1:3"),
        ] {
            assert_eq!(shown(url).as_deref(), Some(leads));
            assert_eq!(authority(url), host);
        }
        assert_eq!(shown("ftp://a:1"), None);
    }
}
