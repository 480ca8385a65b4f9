//! The dialling side. The files are checked whenever a connection is secured.

use std::{io, sync::Arc};

use parking_lot::Mutex;
use rustls::{
    ClientConfig, SupportedProtocolVersion,
    client::Resumption,
    crypto::CryptoProvider,
    pki_types::ServerName,
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    ClientOptions, Error,
    follow::{Followed, Look},
    load,
    protocol::unusable,
    verify::{Chains, Host},
    wording::describe,
    x509::Roots,
};

/// Turns connections into TLS connections.
pub struct Connector {
    options: ClientOptions,
    provider: Arc<CryptoProvider>,
    versions: Vec<&'static SupportedProtocolVersion>,
    identity: Option<Followed<CertifiedKey>>,
    /// `None` when any server will do.
    roots: Option<Followed<Roots>>,
    ready: Mutex<Option<Ready>>,
}

/// A configuration and what it was made from.
struct Ready {
    identity: Option<Arc<CertifiedKey>>,
    roots: Option<Arc<Roots>>,
    config: Arc<ClientConfig>,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl Connector {
    /// Reads all files.
    ///
    /// # Errors
    /// [`Error`], which names the file.
    pub fn new(options: ClientOptions) -> Result<Connector, Error> {
        let provider = options.protocol.provider();
        let identity = match options.identity.clone() {
            Some(identity) => Some(Followed::open(
                vec![identity.cert.clone(), identity.key.clone()],
                {
                    let provider = provider.clone();
                    move || load::identity(&identity, &provider)
                },
            )?),
            None => None,
        };
        // A CA file that was given is read even if nothing is verified: a wrong one is a mistake.
        let roots = match options.trusted_ca.clone() {
            Some(path) => Some(Followed::open(vec![path.clone()], move || {
                load::roots(&path)
            })?),
            None if options.skip_verify => None,
            None => Some(Followed::open(Vec::new(), load::system_roots)?),
        };
        let connector = Connector {
            versions: options.protocol.versions(),
            provider,
            identity,
            roots: roots.filter(|_| !options.skip_verify),
            options,
            ready: Mutex::new(None),
        };
        connector.config().map_err(|error| unusable(&error))?;
        Ok(connector)
    }

    /// Shakes hands with the server at the other end of `stream`, whose
    /// certificate must be valid for `host` (a name or an address, no port), or
    /// for the server name of the options.
    ///
    /// # Errors
    /// Of the connection, or `InvalidData` with Go's words when the handshake
    /// failed. There is no deadline here.
    pub async fn secure<S>(&self, host: &str, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let host = self.options.server_name.as_deref().unwrap_or(host);
        // Certificates never have the final dot that names of the DNS may have.
        let host = host.strip_suffix('.').unwrap_or(host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{host:?} is no host name that a certificate could be valid for"),
            )
        })?;
        let config = self.config().map_err(io::Error::other)?;
        TlsConnector::from(config)
            .connect(name, stream)
            .await
            .map_err(|error| io::Error::new(error.kind(), describe(&error)))
    }

    fn config(&self) -> Result<Arc<ClientConfig>, rustls::Error> {
        let identity = self.identity.as_ref().map(|files| match files.look() {
            Look::Same(identity) => identity,
            Look::Changed(identity) => {
                tracing::info!("client certificate files changed; new connections show the new certificate");
                identity
            }
            Look::Broke(identity, error) => {
                tracing::warn!(error = %error, "failed to create client certificate; new connections show the certificate of before");
                identity
            }
        });
        let roots = self.roots.as_ref().map(|file| match file.look() {
            Look::Same(roots) | Look::Changed(roots) => roots,
            Look::Broke(roots, error) => {
                tracing::warn!(error = %error, "the trusted CA file cannot be used; servers are checked against its last good content");
                roots
            }
        });
        let mut ready = self.ready.lock();
        if let Some(ready) = ready.as_ref()
            && same(&ready.identity, &identity)
            && same(&ready.roots, &roots)
        {
            return Ok(ready.config.clone());
        }
        let config = self.build(identity.clone(), roots.clone())?;
        *ready = Some(Ready {
            identity,
            roots,
            config: config.clone(),
        });
        Ok(config)
    }

    fn build(
        &self,
        identity: Option<Arc<CertifiedKey>>,
        roots: Option<Arc<Roots>>,
    ) -> Result<Arc<ClientConfig>, rustls::Error> {
        let chains = roots.map(|roots| Chains {
            roots,
            provider: self.provider.clone(),
        });
        let builder = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&self.versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Host {
                chains,
                provider: self.provider.clone(),
                allowed: self.options.allowed.clone(),
            }));
        let mut config = match identity {
            Some(identity) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols.clone_from(&self.options.alpn);
        // A resumed session would not be checked against a CA that changed meanwhile.
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

fn same<T>(one: &Option<Arc<T>>, other: &Option<Arc<T>>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        _ => false,
    }
}
