//! How a new member learns who founds the cluster with it, when nobody tells
//! it by `--initial-cluster`. Flags here; the asking is in [`crate::discovery`].

use std::{path::PathBuf, time::Duration};

use super::{
    parse::ParseError,
    resolve::{boolean, config, duration, list},
    settings::Settings,
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
const V3_ONLY: &[&str] = &[
    "discovery-endpoints",
    "discovery-token",
    "discovery-cert",
    "discovery-key",
    "discovery-cacert",
    "discovery-user",
    "discovery-password",
];

/// Reads the flags.
pub(super) fn resolve(settings: &Settings) -> Result<Discovery, ParseError> {
    let given = |name| !settings.get(name).is_empty();
    let ways = [
        "initial-cluster",
        "discovery",
        "discovery-srv",
        "discovery-endpoints",
    ];
    if ways.iter().filter(|name| given(name)).count() > 1 {
        // etcd 3.5 does not know the last of them.
        let choice = if given("discovery-endpoints") {
            r#""initial-cluster", "discovery", "discovery-endpoints" or "discovery-srv""#
        } else {
            r#""initial-cluster", "discovery" or "discovery-srv""#
        };
        return Err(config(format!(
            "multiple discovery or bootstrap flags are set. Choose one of {choice}"
        )));
    }
    if given("discovery-proxy") && V3_ONLY.iter().any(|name| given(name)) {
        return Err(config(
            "both v2 discovery settings (discovery, discovery-proxy) and v3 discovery settings (discovery-token, \
             discovery-endpoints, discovery-cert, discovery-key, discovery-cacert, discovery-user, discovery-password) are set",
        ));
    }
    if given("discovery-token") != given("discovery-endpoints") {
        return Err(config(
            "both --discovery-token and --discovery-endpoints must be set",
        ));
    }
    let text = |name| settings.get(name).to_owned();
    Ok(if given("discovery") {
        let proxy = text("discovery-proxy");
        Discovery::V2 {
            url: text("discovery"),
            proxy: (!proxy.is_empty()).then_some(proxy),
        }
    } else if given("discovery-endpoints") {
        Discovery::Registry(registry(settings)?)
    } else if given("discovery-srv") {
        Discovery::Srv {
            domain: text("discovery-srv"),
            service_name: text("discovery-srv-name"),
        }
    } else {
        Discovery::Static
    })
}

fn registry(settings: &Settings) -> Result<Registry, ParseError> {
    let (cert, key) = (
        settings.get("discovery-cert"),
        settings.get("discovery-key"),
    );
    if cert.is_empty() != key.is_empty() {
        return Err(config(format!(
            "KeyFile and CertFile must both be present[key: {key}, cert: {cert}] (--discovery-key, --discovery-cert)"
        )));
    }
    let cacert = settings.get("discovery-cacert");
    let (user, password) = (
        settings.get("discovery-user"),
        settings.get("discovery-password"),
    );
    let (user, password) = match (password, user.split_once(':')) {
        ("", Some(both)) => both,
        _ => (user, password),
    };
    let mut endpoints = list(settings.get("discovery-endpoints"));
    endpoints.sort();
    endpoints.dedup();
    Ok(Registry {
        token: settings.get("discovery-token").to_owned(),
        endpoints,
        dial_timeout: duration(settings, "discovery-dial-timeout"),
        request_timeout: duration(settings, "discovery-request-timeout"),
        keepalive_time: duration(settings, "discovery-keepalive-time"),
        keepalive_timeout: duration(settings, "discovery-keepalive-timeout"),
        identity: (!cert.is_empty()).then(|| tls::Identity {
            cert: cert.into(),
            key: key.into(),
        }),
        trusted_ca: (!cacert.is_empty()).then(|| cacert.into()),
        skip_verify: boolean(settings, "discovery-insecure-skip-tls-verify"),
        insecure_transport: boolean(settings, "discovery-insecure-transport"),
        // As etcd's client: without a name or without a password nobody logs in.
        credentials: (!user.is_empty() && !password.is_empty())
            .then(|| (user.to_owned(), password.to_owned())),
    })
}
