//! The listening side. Each handshake looks at the files anew, has a deadline,
//! and ends in a connection or in a [`Refused`] that says why.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::CryptoProvider,
    server::{NoServerSessionStorage, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use crate::{
    Allowed, Error, Leaf, Options, Refused,
    follow::{Followed, Look},
    load::{self, Revoked},
    protocol::unusable,
    remote,
    verify::{Chains, Gate, Shown},
    x509::Roots,
};

/// etcd allows 10 s for a handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The first byte of every TLS connection: a handshake record.
const HANDSHAKE_RECORD: u8 = 0x16;

/// Turns accepted sockets into TLS connections.
pub struct Acceptor {
    protocol: Protocol,
    identity: Followed<CertifiedKey>,
    clients: Option<Clients>,
    check_remote: bool,
    /// For handshakes in which no client certificate is asked for: nothing in
    /// it depends on the connection.
    plain: Mutex<Option<Ready>>,
    /// For the log.
    cert_file: String,
    key_file: String,
    timeout: Duration,
}

struct Protocol {
    provider: Arc<CryptoProvider>,
    versions: Vec<&'static SupportedProtocolVersion>,
    alpn: Vec<Vec<u8>>,
}

/// A configuration and the identity it was made from.
struct Ready {
    identity: Arc<CertifiedKey>,
    config: Arc<ServerConfig>,
}

/// What is asked of clients.
struct Clients {
    roots: Followed<Roots>,
    provider: Arc<CryptoProvider>,
    allowed: Arc<Allowed>,
    crl: Option<Followed<Revoked>>,
}

/// A connection with a finished handshake.
pub struct Accepted<S> {
    /// The connection.
    pub stream: TlsStream<S>,
    /// The client's certificate, trusted and allowed; `None` if none was asked for.
    pub peer: Option<Leaf>,
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

impl Acceptor {
    /// Reads all files. `alpn` lists the application protocols, best first.
    ///
    /// # Errors
    /// [`Error`], which names the file.
    pub fn new(options: &Options, alpn: &[&str]) -> Result<Acceptor, Error> {
        let Some(identity) = options.identity.clone() else {
            return Err(Error::Options(
                "KeyFile and CertFile are not presented".to_owned(),
            ));
        };
        let provider = options.protocol.provider();
        if let Some(client) = &options.client_identity {
            // Nothing is served with it, but a wrong file fails at startup, not later.
            load::identity(client, &provider)?;
        }
        let clients = (options.trusted_ca.is_some() || options.client_cert_auth)
            .then(|| Clients::open(options, &provider))
            .transpose()?;
        let (cert_file, key_file) = (
            identity.cert.display().to_string(),
            identity.key.display().to_string(),
        );
        let acceptor = Acceptor {
            identity: Followed::open(vec![identity.cert.clone(), identity.key.clone()], {
                let provider = provider.clone();
                move || load::identity(&identity, &provider)
            })?,
            protocol: Protocol {
                versions: options.protocol.versions(),
                provider,
                alpn: alpn.iter().map(|name| name.as_bytes().to_vec()).collect(),
            },
            clients,
            check_remote: options.check_remote,
            plain: Mutex::new(None),
            cert_file,
            key_file,
            timeout: HANDSHAKE_TIMEOUT,
        };
        // Versions and suites that do not fit each other show here.
        acceptor
            .config(&Arc::default())
            .map_err(|error| unusable(&error))?;
        Ok(acceptor)
    }

    #[cfg(test)]
    pub(crate) fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Does the handshake with a TCP client. One that does not speak TLS gets no
    /// answer, as with etcd: its connection is closed.
    ///
    /// # Errors
    /// [`Refused`]; the connection is closed by then.
    pub async fn accept_tcp(&self, stream: TcpStream) -> Result<Accepted<TcpStream>, Refused> {
        let remote = stream.peer_addr().ok().map(|address| address.ip());
        let deadline = tokio::time::Instant::now() + self.timeout;
        let mut first = [0];
        match tokio::time::timeout_at(deadline, stream.peek(&mut first)).await {
            Err(_) => return Err(Refused::timeout()),
            Ok(Err(error)) => return Err(Refused::io(&error)),
            Ok(Ok(0)) => return Err(Refused::eof()),
            Ok(Ok(_)) if first[0] != HANDSHAKE_RECORD => {
                discard(stream).await;
                return Err(Refused::not_tls());
            }
            Ok(Ok(_)) => {}
        }
        self.accept_until(deadline, stream, remote).await
    }

    /// Shakes hands over any stream. `remote` is where it comes from, when that
    /// is an address.
    ///
    /// # Errors
    /// [`Refused`]; the connection is closed by then.
    pub async fn accept<S>(&self, stream: S, remote: Option<IpAddr>) -> Result<Accepted<S>, Refused>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let deadline = tokio::time::Instant::now() + self.timeout;
        self.accept_until(deadline, stream, remote).await
    }

    async fn accept_until<S>(
        &self,
        deadline: tokio::time::Instant,
        stream: S,
        remote: Option<IpAddr>,
    ) -> Result<Accepted<S>, Refused>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match tokio::time::timeout_at(deadline, self.shake(stream, remote)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Refused::timeout()),
        }
    }

    async fn shake<S>(&self, stream: S, remote: Option<IpAddr>) -> Result<Accepted<S>, Refused>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream)
            .await
            .map_err(|error| Refused::handshake(&error, String::new(), Shown::default()))?;
        let server_name = hello
            .client_hello()
            .server_name()
            .unwrap_or_default()
            .to_owned();
        let shown = Arc::new(Mutex::new(Shown::default()));
        let take = || std::mem::take(&mut *shown.lock());
        let config = match self.config(&shown) {
            Ok(config) => config,
            Err(error) => {
                let error = io::Error::other(error);
                return Err(Refused::handshake(&error, server_name, take()));
            }
        };
        let mut stream = hello
            .into_stream(config)
            .await
            .map_err(|error| Refused::handshake(&error, server_name.clone(), take()))?;
        let peer = take().leaf;
        if self.check_remote
            && let (Some(leaf), Some(remote)) = (&peer, remote)
            && let Err(why) = remote::check(leaf, remote).await
        {
            // The client learns that the connection ends, no more.
            let _ = stream.shutdown().await;
            return Err(Refused::rule(why, server_name, peer));
        }
        Ok(Accepted { stream, peer })
    }

    fn identity(&self) -> Arc<CertifiedKey> {
        match self.identity.look() {
            Look::Same(identity) => identity,
            Look::Changed(identity) => {
                tracing::info!(
                    "cert-file" = self.cert_file,
                    "key-file" = self.key_file,
                    "certificate files changed; new connections are shown the new certificate"
                );
                warn_expired(&identity, &self.cert_file);
                identity
            }
            Look::Broke(identity, error) => {
                let (cert_file, key_file) = (&self.cert_file, &self.key_file);
                if error.is_not_found() {
                    tracing::warn!("cert-file" = cert_file, "key-file" = key_file, error = %error,
                        "failed to find peer cert files; new connections are shown the certificate of before");
                } else {
                    tracing::warn!("cert-file" = cert_file, "key-file" = key_file, error = %error,
                        "failed to create peer certificate; new connections are shown the certificate of before");
                }
                identity
            }
        }
    }

    /// The configuration of one handshake.
    fn config(&self, shown: &Arc<Mutex<Shown>>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let identity = self.identity();
        let Some(clients) = &self.clients else {
            let mut plain = self.plain.lock();
            if let Some(ready) = plain.as_ref()
                && Arc::ptr_eq(&ready.identity, &identity)
            {
                return Ok(ready.config.clone());
            }
            let config = self.protocol.config(identity.clone(), None)?;
            *plain = Some(Ready {
                identity,
                config: config.clone(),
            });
            return Ok(config);
        };
        self.protocol
            .config(identity, Some(Arc::new(clients.gate(shown.clone()))))
    }
}

/// Says in the log when a certificate that is about to be shown is out of date.
pub(crate) fn warn_expired(identity: &CertifiedKey, cert_file: &str) {
    let Some(not_after) = identity
        .cert
        .first()
        .and_then(|der| Leaf::parse(der))
        .and_then(|leaf| leaf.not_after)
    else {
        return;
    };
    if not_after < time::OffsetDateTime::now_utc() {
        tracing::warn!(
            "cert-file" = cert_file,
            "not-after" = %not_after,
            "the certificate has expired; clients that verify it will refuse to connect"
        );
    }
}

impl Protocol {
    fn config(
        &self,
        identity: Arc<CertifiedKey>,
        gate: Option<Arc<dyn ClientCertVerifier>>,
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let builder = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&self.versions)?;
        let builder = match gate {
            Some(gate) => builder.with_client_cert_verifier(gate),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
        config.alpn_protocols.clone_from(&self.alpn);
        // A resumed session skips the client certificate, and with it the rules. etcd's clients
        // do not resume.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

impl Clients {
    fn open(options: &Options, provider: &Arc<CryptoProvider>) -> Result<Clients, Error> {
        let roots = match options.trusted_ca.clone() {
            Some(path) => Followed::open(vec![path.clone()], move || load::roots(&path))?,
            None => Followed::open(Vec::new(), load::system_roots)?,
        };
        let crl = options
            .crl
            .clone()
            .map(|path| Followed::open(vec![path.clone()], move || load::revoked(&path)))
            .transpose()?;
        Ok(Clients {
            roots,
            provider: provider.clone(),
            allowed: Arc::new(options.allowed.clone()),
            crl,
        })
    }

    fn gate(&self, shown: Arc<Mutex<Shown>>) -> Gate {
        Gate {
            chains: Arc::new(Chains {
                roots: self.roots(),
                provider: self.provider.clone(),
            }),
            allowed: self.allowed.clone(),
            revoked: self.crl.as_ref().map(revoked),
            shown,
        }
    }

    fn roots(&self) -> Arc<Roots> {
        match self.roots.look() {
            Look::Same(store) => store,
            Look::Changed(store) => {
                tracing::info!(
                    "the trusted CA file changed; new connections are checked against it"
                );
                store
            }
            Look::Broke(store, error) => {
                tracing::warn!(error = %error, "the trusted CA file cannot be used; new connections are checked against its last good content");
                store
            }
        }
    }
}

fn revoked(list: &Followed<Revoked>) -> Result<Arc<Revoked>, String> {
    let revoked = match list.look() {
        Look::Same(revoked) => revoked,
        Look::Changed(revoked) => {
            tracing::info!(
                serials = revoked.len(),
                "the revocation list changed; new connections are checked against it"
            );
            revoked
        }
        Look::Broke(revoked, error) => {
            tracing::error!(error = %error, "the revocation list cannot be used; connections with a client certificate are refused until it can");
            revoked
        }
    };
    match list.broken() {
        None => Ok(revoked),
        Some(why) => Err(why),
    }
}

/// Reads what already came, so that closing sends an end and not a reset.
async fn discard(mut stream: TcpStream) {
    let mut rest = [0; 4096];
    while matches!(stream.try_read(&mut rest), Ok(n) if n > 0) {}
    let _ = stream.shutdown().await;
}
