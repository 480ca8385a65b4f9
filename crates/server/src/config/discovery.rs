//! How a new member learns who founds the cluster with it, when nobody tells
//! it by `--initial-cluster`. Flags here; the asking is in [`crate::discovery`].

use std::{path::PathBuf, time::Duration};

use super::{
    error::ParseError,
    settings::Settings,
    table::{Id, flag},
};

/// Where the founding members are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// By `--initial-cluster`.
    Static,
    /// By SRV records.
    Srv {
        /// `--discovery-srv`
        domain: String,
        /// `--discovery-srv-name`
        service_name: String,
    },
    /// By a key space of another etcd cluster, through its v3 API.
    Registry(Registry),
    /// By a key space of another etcd cluster, through its v2 API.
    V2 {
        /// `--discovery`
        url: String,
        /// `--discovery-proxy`
        proxy: Option<String>,
    },
}

/// Another etcd cluster that keeps the list.
#[derive(Clone, PartialEq, Eq)]
pub struct Registry {
    /// `--discovery-token`
    pub token: String,
    /// `--discovery-endpoints`
    pub endpoints: Vec<String>,
    /// `--discovery-dial-timeout`
    pub dial_timeout: Duration,
    /// `--discovery-request-timeout`
    pub request_timeout: Duration,
    /// `--discovery-keepalive-time`
    pub keepalive_time: Duration,
    /// `--discovery-keepalive-timeout`
    pub keepalive_timeout: Duration,
    /// `--discovery-cert` and `--discovery-key`
    pub identity: Option<tls::Identity>,
    /// `--discovery-cacert`
    pub trusted_ca: Option<PathBuf>,
    /// `--discovery-insecure-skip-tls-verify`
    pub skip_verify: bool,
    /// `--discovery-insecure-transport`
    pub insecure_transport: bool,
    /// `--discovery-user` and `--discovery-password`
    pub credentials: Option<(String, String)>,
}

/// A password has no place in a log.
impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("token", &self.token)
            .field("endpoints", &self.endpoints)
            .finish_non_exhaustive()
    }
}

impl Discovery {
    /// The token that member and cluster ids are made with.
    pub fn cluster_token<'a>(&'a self, initial_cluster_token: &'a str) -> &'a str {
        match self {
            Discovery::Static | Discovery::Srv { .. } => initial_cluster_token,
            Discovery::Registry(registry) => &registry.token,
            Discovery::V2 { url, .. } => url,
        }
    }
}

/// Settings of the v3 discovery that do not go with v2's proxy.
const V3_ONLY: &[Id] = &[
    flag!("discovery-endpoints"),
    flag!("discovery-token"),
    flag!("discovery-cert"),
    flag!("discovery-key"),
    flag!("discovery-cacert"),
    flag!("discovery-user"),
    flag!("discovery-password"),
];

/// Reads the flags.
pub(super) fn resolve(settings: &Settings) -> Result<Discovery, ParseError> {
    let given = |id: Id| !settings.text(id).is_empty();
    let ways = [
        flag!("initial-cluster"),
        flag!("discovery"),
        flag!("discovery-srv"),
        flag!("discovery-endpoints"),
    ];
    if ways.iter().filter(|id| given(**id)).count() > 1 {
        // etcd 3.5 does not know the last of them.
        let choice = if given(flag!("discovery-endpoints")) {
            r#""initial-cluster", "discovery", "discovery-endpoints" or "discovery-srv""#
        } else {
            r#""initial-cluster", "discovery" or "discovery-srv""#
        };
        return Err(ParseError::config(format!(
            "multiple discovery or bootstrap flags are set. Choose one of {choice}"
        )));
    }
    if given(flag!("discovery-proxy")) && V3_ONLY.iter().any(|id| given(*id)) {
        return Err(ParseError::config(
            "both v2 discovery settings (discovery, discovery-proxy) and v3 discovery settings (discovery-token, \
             discovery-endpoints, discovery-cert, discovery-key, discovery-cacert, discovery-user, discovery-password) are set",
        ));
    }
    if given(flag!("discovery-token")) != given(flag!("discovery-endpoints")) {
        return Err(ParseError::config(
            "both --discovery-token and --discovery-endpoints must be set",
        ));
    }
    let text = |id: Id| settings.text(id).to_owned();
    Ok(if given(flag!("discovery")) {
        let proxy = text(flag!("discovery-proxy"));
        Discovery::V2 {
            url: text(flag!("discovery")),
            proxy: (!proxy.is_empty()).then_some(proxy),
        }
    } else if given(flag!("discovery-endpoints")) {
        Discovery::Registry(registry(settings)?)
    } else if given(flag!("discovery-srv")) {
        Discovery::Srv {
            domain: text(flag!("discovery-srv")),
            service_name: text(flag!("discovery-srv-name")),
        }
    } else {
        Discovery::Static
    })
}

fn registry(settings: &Settings) -> Result<Registry, ParseError> {
    let (cert, key) = (
        settings.text(flag!("discovery-cert")),
        settings.text(flag!("discovery-key")),
    );
    if cert.is_empty() != key.is_empty() {
        return Err(ParseError::config(format!(
            "KeyFile and CertFile must both be present[key: {key}, cert: {cert}] (--discovery-key, --discovery-cert)"
        )));
    }
    let cacert = settings.text(flag!("discovery-cacert"));
    let (user, password) = (
        settings.text(flag!("discovery-user")),
        settings.text(flag!("discovery-password")),
    );
    let (user, password) = match (password, user.split_once(':')) {
        ("", Some(both)) => both,
        _ => (user, password),
    };
    let mut endpoints = settings.list(flag!("discovery-endpoints"));
    endpoints.sort();
    endpoints.dedup();
    Ok(Registry {
        token: settings.text(flag!("discovery-token")).to_owned(),
        endpoints,
        dial_timeout: settings.duration(flag!("discovery-dial-timeout")),
        request_timeout: settings.duration(flag!("discovery-request-timeout")),
        keepalive_time: settings.duration(flag!("discovery-keepalive-time")),
        keepalive_timeout: settings.duration(flag!("discovery-keepalive-timeout")),
        identity: (!cert.is_empty()).then(|| tls::Identity {
            cert: cert.into(),
            key: key.into(),
        }),
        trusted_ca: (!cacert.is_empty()).then(|| cacert.into()),
        skip_verify: settings.bool(flag!("discovery-insecure-skip-tls-verify")),
        insecure_transport: settings.bool(flag!("discovery-insecure-transport")),
        // As etcd's client: without a name or without a password nobody logs in.
        credentials: (!user.is_empty() && !password.is_empty())
            .then(|| (user.to_owned(), password.to_owned())),
    })
}
