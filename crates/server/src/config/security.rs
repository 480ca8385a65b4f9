//! The TLS flags, checked against each other and against the URLs. No file is
//! opened here: that is left to the acceptors and connectors made of them.

use std::{fmt, sync::Arc};

use tls::{Allowed, Connector, Identity, Options, Protocol};

use super::{
    ListenUrl,
    error::ParseError,
    settings::Settings,
    table::{Id, flag},
};

/// TLS towards clients and towards peers.
#[derive(Clone, Default)]
pub struct Security {
    /// Client, HTTP and metrics listeners.
    pub client: Options,
    /// Peer listeners, and connections to peers.
    pub peer: Options,
    /// `--auto-tls`
    pub client_auto: bool,
    /// `--peer-auto-tls`
    pub peer_auto: bool,
    /// `--self-signed-cert-validity`, years
    pub self_signed_years: u64,
    /// How other members are dialled, once the files have been read.
    pub connector: Option<Arc<Connector>>,
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Security")
            .field("client", &self.client)
            .field("peer", &self.peer)
            .field("client_auto", &self.client_auto)
            .field("peer_auto", &self.peer_auto)
            .field("self_signed_years", &self.self_signed_years)
            .finish_non_exhaustive()
    }
}

/// Reads the flags.
pub(super) fn resolve(settings: &Settings) -> Result<Security, ParseError> {
    let protocol = Protocol::parse(
        settings.text(flag!("tls-min-version")),
        settings.text(flag!("tls-max-version")),
        &settings.list(flag!("cipher-suites")),
    )
    .map_err(ParseError::config)?;
    let client = Options {
        identity: identity(settings, flag!("cert-file"), flag!("key-file"))?,
        client_identity: client_identity(
            settings,
            flag!("client-cert-file"),
            flag!("client-key-file"),
        )?,
        trusted_ca: path(settings, flag!("trusted-ca-file")),
        client_cert_auth: settings.bool(flag!("client-cert-auth")),
        allowed: allowed(
            settings,
            flag!("client-cert-allowed-cn"),
            flag!("client-cert-allowed-hostname"),
        )?,
        crl: path(settings, flag!("client-crl-file")),
        check_remote: false,
        self_signed: false,
        protocol: protocol.clone(),
    };
    let peer = Options {
        identity: identity(settings, flag!("peer-cert-file"), flag!("peer-key-file"))?,
        client_identity: client_identity(
            settings,
            flag!("peer-client-cert-file"),
            flag!("peer-client-key-file"),
        )?,
        trusted_ca: path(settings, flag!("peer-trusted-ca-file")),
        client_cert_auth: settings.bool(flag!("peer-client-cert-auth")),
        allowed: allowed(
            settings,
            flag!("peer-cert-allowed-cn"),
            flag!("peer-cert-allowed-hostname"),
        )?,
        crl: path(settings, flag!("peer-crl-file")),
        check_remote: !settings.bool(flag!("experimental-peer-skip-client-san-verification")),
        self_signed: false,
        protocol,
    };
    Ok(Security {
        client,
        peer,
        client_auto: settings.bool(flag!("auto-tls")),
        peer_auto: settings.bool(flag!("peer-auto-tls")),
        // The file may say 0, which is the default there.
        self_signed_years: match settings.uint(flag!("self-signed-cert-validity")) {
            0 if settings.file.is_some() => 1,
            years => years,
        },
        connector: None,
    })
}

impl Security {
    /// An https URL needs a certificate from somewhere.
    pub(super) fn check_urls(
        &self,
        client: &[ListenUrl],
        http: &[ListenUrl],
        metrics: &[ListenUrl],
        peer: &[ListenUrl],
    ) -> Result<(), ParseError> {
        let has_client = self.client.identity.is_some() || self.client_auto;
        let has_peer = self.peer.identity.is_some() || self.peer_auto;
        let secure = |urls: &[ListenUrl]| urls.iter().find(|u| u.secure).map(|u| u.url.clone());
        if !has_peer && let Some(url) = secure(peer) {
            return Err(ParseError::config(format!(
                "cannot listen on TLS for {url}: KeyFile and CertFile are not presented (--peer-cert-file and --peer-key-file, \
                 or --peer-auto-tls)"
            )));
        }
        if !has_client && let Some(url) = secure(client).or_else(|| secure(http)) {
            return Err(ParseError::config(format!(
                "TLS key/cert (--cert-file, --key-file) must be provided for client url {url} with HTTPS scheme"
            )));
        }
        if !has_client && let Some(url) = secure(metrics) {
            return Err(ParseError::config(format!(
                "client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url {url}"
            )));
        }
        Ok(())
    }
}

fn path(settings: &Settings, id: Id) -> Option<std::path::PathBuf> {
    Some(settings.text(id))
        .filter(|p| !p.is_empty())
        .map(Into::into)
}

fn identity(settings: &Settings, cert: Id, key: Id) -> Result<Option<Identity>, ParseError> {
    match (path(settings, cert), path(settings, key)) {
        (None, None) => Ok(None),
        (Some(cert), Some(key)) => Ok(Some(Identity { cert, key })),
        _ => Err(ParseError::config(format!(
            "KeyFile and CertFile must both be present[key: {}, cert: {}] (--{}, --{})",
            settings.text(key),
            settings.text(cert),
            key.name(),
            cert.name()
        ))),
    }
}

fn client_identity(settings: &Settings, cert: Id, key: Id) -> Result<Option<Identity>, ParseError> {
    identity(settings, cert, key).map_err(|_| {
        ParseError::config(format!(
            "ClientKeyFile and ClientCertFile must both be present or both absent: key: {}, cert: {}] (--{}, --{})",
            settings.text(key),
            settings.text(cert),
            key.name(),
            cert.name()
        ))
    })
}

fn allowed(settings: &Settings, names: Id, hostnames: Id) -> Result<Allowed, ParseError> {
    let names = settings.list(names);
    let hostnames = settings.list(hostnames);
    match (names.is_empty(), hostnames.is_empty()) {
        (true, true) => Ok(Allowed::Any),
        (false, true) => Ok(Allowed::CommonNames(names)),
        (true, false) => Ok(Allowed::Hostnames(hostnames)),
        (false, false) => Err(ParseError::config(format!(
            "AllowedCNs and AllowedHostnames are mutually exclusive (cns={names:?}, hostnames={hostnames:?})"
        ))),
    }
}
