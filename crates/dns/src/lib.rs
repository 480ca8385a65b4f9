//! DNS SRV look-ups, as the discovery flags of etcd and etcdctl need them: one
//! question to the system's name servers, by UDP, and by TCP when the answer
//! is too long. Host names are left to the C library, which has no SRV. This
//! crate must never believe an answer to another question, and knows no etcd
//! but the names of its services.
//!
//! - [`Resolver`]: whom to ask, from `/etc/resolv.conf`
//! - [`Resolver::srv`]: the records of a service, in the order to try them
//! - [`endpoint`]: a host and port as a socket address, by the C library
//! - [`service`]: how etcd names a service
//!
//! Calls block: they are made before there is anything else to do.

#![forbid(unsafe_code)]

mod message;
mod order;
mod resolv;
mod resolver;

pub use message::Srv;
pub use resolver::{Error, RESOLVER_VARIABLE, Resolver};

use std::net::{SocketAddr, ToSocketAddrs as _};

/// The name of one of etcd's services: `base` is `etcd-server` or
/// `etcd-client`, `-ssl` says that it speaks TLS, and a service name that is
/// not empty comes last.
#[must_use]
pub fn service(base: &str, service_name: &str, tls: bool) -> String {
    let ssl = if tls { "-ssl" } else { "" };
    let dash = if service_name.is_empty() { "" } else { "-" };
    format!("{base}{ssl}{dash}{service_name}")
}

/// The address of `host:port`, an IPv4 one if there is one, so that two names
/// of one place compare equal.
///
/// # Errors
/// [`Error`] that names the host.
pub fn endpoint(authority: &str) -> Result<SocketAddr, Error> {
    let failed = |why: &str| Error::host(authority, why);
    let found: Vec<SocketAddr> = authority
        .to_socket_addrs()
        .map_err(|error| failed(&error.to_string()))?
        .collect();
    found
        .iter()
        .find(|address| address.is_ipv4())
        .or_else(|| found.first())
        .copied()
        .ok_or_else(|| failed("no such host"))
}

#[cfg(test)]
mod tests;
