//! `/metrics` of a member, for who asks the proxy.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tls::Connector;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::goes;

/// A page of a member has a few hundred KiB.
const BYTES_MAX: usize = 64 << 20;
/// Until it is there.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no page; no one is told more than that.
type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Gets a page of an endpoint, by TLS where its URL, or else `is_secure`, says so.
pub(super) async fn page(
    endpoint: &str,
    path: &str,
    is_secure: bool,
    connector: Option<Arc<Connector>>,
) -> Result<Bytes, Failed> {
    let host = goes::without_scheme(endpoint);
    let is_secure = match endpoint.split_once("://") {
        Some((scheme, _)) => scheme == "https",
        None => is_secure,
    };
    let getting = async {
        let stream = TcpStream::connect(host).await?;
        if !is_secure {
            return get(stream, host, path).await;
        }
        let connector = match connector {
            Some(connector) => connector,
            None => Arc::new(Connector::new(tls::ClientOptions::default())?),
        };
        let name = goes::split_host_port(host).map_or(host, |(name, _)| name);
        get(connector.secure(name, stream).await?, host, path).await
    };
    tokio::time::timeout(TIMEOUT, getting).await?
}

async fn get<S>(stream: S, host: &str, path: &str) -> Result<Bytes, Failed>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::task::spawn_local(connection);
    let request = http::Request::get(path)
        .header(http::header::HOST, host)
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let body = Limited::new(response.into_body(), BYTES_MAX)
        .collect()
        .await?;
    connection.abort();
    Ok(body.to_bytes())
}
