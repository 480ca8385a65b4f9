//! URLs as the flags have them, by etcd's rules.

use std::{net::SocketAddr, path::PathBuf};

use url::Url;

/// A URL this server listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenUrl {
    /// As given.
    pub url: String,
    /// Where to bind.
    pub target: ListenTarget,
    /// `https` or `unixs`.
    pub secure: bool,
}

/// Where a listener binds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenTarget {
    /// An address and port.
    Tcp(SocketAddr),
    /// A unix socket: the host part of the URL is its path.
    Unix(PathBuf),
}

/// Checks one URL by etcd's rules: a scheme, `host:port`, no path, not even `/`; or a unix socket.
///
/// # Errors
/// What is wrong, in etcd's words where it has them.
pub fn check_url(text: &str) -> Result<Url, String> {
    let text = text.trim();
    let (scheme, authority) = text.split_once("://").unwrap_or(("", ""));
    if !matches!(scheme, "http" | "https" | "unix" | "unixs") {
        return Err(format!(
            "URL scheme must be http, https, unix, or unixs: {text}"
        ));
    }
    let url = Url::parse(text).map_err(|error| format!("parse {text:?}: {error}"))?;
    // Url drops a port that is the scheme's default; the text still shows it.
    // A unix socket has a path in its place.
    if scheme.starts_with("unix") {
        return Ok(url);
    }
    // The colons of an IPv6 address are inside its brackets.
    let (_, port) = authority.rsplit_once(']').unwrap_or(("", authority));
    if !port.contains(':') {
        return Err(format!(
            "URL address does not have the form \"host:port\": {text}"
        ));
    }
    if authority.contains('/') {
        return Err(format!("URL must not contain a path: {text}"));
    }
    Ok(url)
}

/// Reads comma-separated URLs. Gives each as it is written and as it parses.
pub(super) fn url_list(value: &str) -> Result<Vec<(String, Url)>, String> {
    listed(value)
        .map(str::to_owned)
        .map(|text| check_url(&text).map(|url| (text, url)))
        .collect()
}

/// What is between the commas, without the spaces around it.
pub(super) fn listed(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}
