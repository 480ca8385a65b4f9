//! The TLS flags, checked against each other and against the URLs. No file is
//! opened here: that is left to the acceptors and connectors made of them.

use std::{fmt, sync::Arc};

use tls::{Allowed, Connector, Identity, Options, Protocol};

use super::{
    ListenUrl,
    parse::ParseError,
    resolve::{boolean, config, list, uint},
    settings::Settings,
};

/// The key of `client-transport-security.allowed-cn`, which has no flag.
pub(super) const CLIENT_ALLOWED_CN: &str = "client-transport-security.allowed-cn";

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
        settings.get("tls-min-version"),
        settings.get("tls-max-version"),
        &list(settings.get("cipher-suites")),
    )
    .map_err(config)?;
    let client = Options {
        identity: identity(settings, "cert-file", "key-file")?,
        client_identity: client_identity(settings, "client-cert-file", "client-key-file")?,
        trusted_ca: path(settings, "trusted-ca-file"),
        client_cert_auth: boolean(settings, "client-cert-auth"),
        allowed: allowed(settings, CLIENT_ALLOWED_CN, "client-cert-allowed-hostname")?,
        crl: path(settings, "client-crl-file"),
        check_remote: false,
        self_signed: false,
        protocol: protocol.clone(),
    };
    let peer = Options {
        identity: identity(settings, "peer-cert-file", "peer-key-file")?,
        client_identity: client_identity(
            settings,
            "peer-client-cert-file",
            "peer-client-key-file",
        )?,
        trusted_ca: path(settings, "peer-trusted-ca-file"),
        client_cert_auth: boolean(settings, "peer-client-cert-auth"),
        allowed: allowed(
            settings,
            "peer-cert-allowed-cn",
            "peer-cert-allowed-hostname",
        )?,
        crl: path(settings, "peer-crl-file"),
        check_remote: !boolean(settings, "experimental-peer-skip-client-san-verification"),
        self_signed: false,
        protocol,
    };
    Ok(Security {
        client,
        peer,
        client_auto: boolean(settings, "auto-tls"),
        peer_auto: boolean(settings, "peer-auto-tls"),
        // The file may say 0, which is the default there.
        self_signed_years: match uint(settings, "self-signed-cert-validity") {
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
            return Err(config(format!(
                "cannot listen on TLS for {url}: KeyFile and CertFile are not presented (--peer-cert-file and --peer-key-file, \
                 or --peer-auto-tls)"
            )));
        }
        if !has_client && let Some(url) = secure(client).or_else(|| secure(http)) {
            return Err(config(format!(
                "TLS key/cert (--cert-file, --key-file) must be provided for client url {url} with HTTPS scheme"
            )));
        }
        if !has_client && let Some(url) = secure(metrics) {
            return Err(config(format!(
                "client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url {url}"
            )));
        }
        Ok(())
    }
}

fn path(settings: &Settings, name: &'static str) -> Option<std::path::PathBuf> {
    Some(settings.get(name))
        .filter(|p| !p.is_empty())
        .map(Into::into)
}

fn identity(
    settings: &Settings,
    cert: &'static str,
    key: &'static str,
) -> Result<Option<Identity>, ParseError> {
    match (path(settings, cert), path(settings, key)) {
        (None, None) => Ok(None),
        (Some(cert), Some(key)) => Ok(Some(Identity { cert, key })),
        _ => Err(config(format!(
            "KeyFile and CertFile must both be present[key: {}, cert: {}] (--{key}, --{cert})",
            settings.get(key),
            settings.get(cert)
        ))),
    }
}

fn client_identity(
    settings: &Settings,
    cert: &'static str,
    key: &'static str,
) -> Result<Option<Identity>, ParseError> {
    identity(settings, cert, key).map_err(|_| {
        config(format!(
            "ClientKeyFile and ClientCertFile must both be present or both absent: key: {}, cert: {}] (--{key}, --{cert})",
            settings.get(key),
            settings.get(cert)
        ))
    })
}

fn allowed(
    settings: &Settings,
    names: &'static str,
    hostnames: &'static str,
) -> Result<Allowed, ParseError> {
    let names = list(settings.get(names));
    let hostnames = list(settings.get(hostnames));
    match (names.is_empty(), hostnames.is_empty()) {
        (true, true) => Ok(Allowed::Any),
        (false, true) => Ok(Allowed::CommonNames(names)),
        (true, false) => Ok(Allowed::Hostnames(hostnames)),
        (false, false) => Err(config(format!(
            "AllowedCNs and AllowedHostnames are mutually exclusive (cns={names:?}, hostnames={hostnames:?})"
        ))),
    }
}
