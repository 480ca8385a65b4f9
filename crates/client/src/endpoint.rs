//! One address of a member, from text. The text is kept as given, because
//! commands print it back; only its target is for dialling.

use std::fmt;

use thiserror::Error;

/// Why a text is no endpoint.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EndpointError {
    /// Nothing between two commas, or an empty list.
    #[error("an endpoint is empty; write it as host:port, http://host:port or unix:///path")]
    Empty,
    /// No port, or one that is no number.
    #[error("endpoint {0:?} has no port; etcd's client port is 2379, as in {0}:2379")]
    NoPort(String),
    /// A scheme other than http, https, unix, unixs.
    #[error("endpoint {endpoint:?} has the scheme {scheme:?}; use http, https or unix")]
    Scheme {
        /// The endpoint as given.
        endpoint: String,
        /// Its scheme.
        scheme: String,
    },
    /// Characters that cannot stand in an address.
    #[error("endpoint {0:?} is not an address; write it as host:port")]
    Malformed(String),
    /// No CAs to verify a TLS endpoint with.
    #[error("endpoint {endpoint:?} asks for TLS: {why}")]
    Tls {
        /// The endpoint as given.
        endpoint: String,
        /// What is missing.
        why: String,
    },
}

/// How a connection is secured, as the scheme says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    /// `http`: never.
    Plain,
    /// `https` and `unixs`: always.
    Tls,
    /// No scheme, and `unix`: as the other options say.
    Open,
}

/// Where an endpoint leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// `host:port`
    Tcp(String),
    /// The path of a socket.
    Unix(String),
}

impl Target {
    /// The name a certificate must be valid for: the host, or the file name of
    /// the socket.
    pub(crate) fn server_name(&self) -> &str {
        match self {
            Self::Tcp(authority) => authority
                .rsplit_once(':')
                .map_or(authority.as_str(), |(host, _)| host),
            Self::Unix(path) => path.rsplit('/').next().unwrap_or(path),
        }
    }
}

/// A parsed endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    text: String,
    /// What is dialled.
    pub(crate) target: Target,
    pub(crate) security: Security,
}

/// `host.:port` without the dot that names from the DNS end with: the hosts file
/// does not know them with it.
fn without_final_dot(authority: &str) -> String {
    match authority.rsplit_once(':') {
        Some((host, port)) => format!("{}:{port}", host.strip_suffix('.').unwrap_or(host)),
        None => authority.strip_suffix('.').unwrap_or(authority).to_owned(),
    }
}

impl Endpoint {
    /// Reads `host:port`, `http://host:port[/path]` (the path is ignored),
    /// `https://` likewise, `unix:///path` or `unix:path`, and both with `unixs`, as etcd's
    /// client does.
    ///
    /// # Errors
    /// [`EndpointError`], worded for the person who typed it.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(EndpointError::Empty);
        }
        let (scheme, rest) = trimmed
            .split_once("://")
            .or_else(|| {
                let opaque = trimmed.split_once(':')?;
                ["unix", "unixs"].contains(&opaque.0).then_some(opaque)
            })
            .unwrap_or(("", trimmed));
        let security = match scheme {
            "http" => Security::Plain,
            "https" | "unixs" => Security::Tls,
            _ => Security::Open,
        };
        let target = match scheme {
            "" | "http" | "https" => {
                let authority = rest.split('/').next().unwrap_or_default();
                check_authority(trimmed, authority)?;
                Target::Tcp(without_final_dot(authority))
            }
            "unix" | "unixs" if !rest.is_empty() => Target::Unix(rest.to_owned()),
            "unix" | "unixs" => return Err(EndpointError::Malformed(trimmed.to_owned())),
            other => {
                return Err(EndpointError::Scheme {
                    endpoint: trimmed.to_owned(),
                    scheme: other.to_owned(),
                });
            }
        };
        Ok(Self {
            text: trimmed.to_owned(),
            target,
            security,
        })
    }

    /// The endpoint as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn check_authority(text: &str, authority: &str) -> Result<(), EndpointError> {
    let malformed = || EndpointError::Malformed(text.to_owned());
    if authority
        .chars()
        .any(|c| c.is_whitespace() || c.is_control() || "@?#\\".contains(c))
    {
        return Err(malformed());
    }
    let no_port = || EndpointError::NoPort(text.to_owned());
    let (host, port) = authority.rsplit_once(':').ok_or_else(no_port)?;
    if host.is_empty() || (host.contains(':') && !(host.starts_with('[') && host.ends_with(']'))) {
        return Err(malformed());
    }
    port.parse::<u16>().map_err(|_| no_port())?;
    Ok(())
}
