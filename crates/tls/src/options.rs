//! What a person can say about TLS, as etcd's flags say it. Nothing is opened
//! here.

use std::path::PathBuf;

use crate::Protocol;

/// A certificate (with its chain) and the key to it, both PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `--cert-file` and the like.
    pub cert: PathBuf,
    /// `--key-file` and the like.
    pub key: PathBuf,
}

/// Who may connect, among those whose certificate is trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Allowed {
    /// Everyone.
    #[default]
    Any,
    /// `--peer-cert-allowed-cn`: the subject's common name is one of these.
    CommonNames(Vec<String>),
    /// `--*-cert-allowed-hostname`: the certificate is valid for one of these
    /// host names or addresses.
    Hostnames(Vec<String>),
}

/// One side of a member, towards clients or towards peers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What this side shows; `None` means that there is no TLS on it.
    pub identity: Option<Identity>,
    /// What is shown when this side dials, if that is another one.
    pub client_identity: Option<Identity>,
    /// CAs that client certificates must come from. Given alone it already
    /// makes a client certificate mandatory, as in etcd.
    pub trusted_ca: Option<PathBuf>,
    /// A client certificate is mandatory; without `trusted_ca` the CAs of this
    /// machine decide.
    pub client_cert_auth: bool,
    /// Which of the trusted certificates may connect.
    pub allowed: Allowed,
    /// Certificates with a serial number in this list may not connect.
    pub crl: Option<PathBuf>,
    /// The address a connection comes from must be among the names of the
    /// certificate, if it has any: etcd's rule between peers.
    pub check_remote: bool,
    /// The identity is self-signed by `--auto-tls`: whoever dials with these
    /// options accepts any certificate.
    pub self_signed: bool,
    /// Versions and cipher suites.
    pub protocol: Protocol,
}

impl Options {
    /// How a member dials other members with these options: it shows the client
    /// identity or else its own, and trusts the same CAs.
    pub fn dialling(&self) -> ClientOptions {
        ClientOptions {
            identity: self
                .client_identity
                .clone()
                .or_else(|| self.identity.clone()),
            trusted_ca: self.trusted_ca.clone(),
            server_name: None,
            skip_verify: self.self_signed,
            allowed: self.allowed.clone(),
            protocol: self.protocol.clone(),
            alpn: Vec::new(),
        }
    }

    /// The line etcd logs as `tls-info`.
    pub fn describe(&self) -> String {
        let cert = |of: &Option<Identity>| {
            of.as_ref()
                .map_or_else(Default::default, |i| i.cert.display().to_string())
        };
        let key = |of: &Option<Identity>| {
            of.as_ref()
                .map_or_else(Default::default, |i| i.key.display().to_string())
        };
        let path = |of: &Option<PathBuf>| {
            of.as_ref()
                .map_or_else(Default::default, |p| p.display().to_string())
        };
        format!(
            "cert = {}, key = {}, client-cert={}, client-key={}, trusted-ca = {}, client-cert-auth = {}, crl-file = {}",
            cert(&self.identity),
            key(&self.identity),
            cert(&self.client_identity),
            key(&self.client_identity),
            path(&self.trusted_ca),
            self.client_cert_auth,
            path(&self.crl),
        )
    }
}

/// The dialling side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientOptions {
    /// Shown when the server asks for a certificate.
    pub identity: Option<Identity>,
    /// CAs that the server's certificate must come from; `None` takes those of
    /// this machine.
    pub trusted_ca: Option<PathBuf>,
    /// The name the server's certificate must be valid for, in place of the
    /// host that was dialled.
    pub server_name: Option<String>,
    /// Any certificate will do.
    pub skip_verify: bool,
    /// Which of the trusted certificates a server may show.
    pub allowed: Allowed,
    /// Versions and cipher suites.
    pub protocol: Protocol,
    /// Application protocols to offer, best first; none for etcd's peer protocol.
    pub alpn: Vec<Vec<u8>>,
}
