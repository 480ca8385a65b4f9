//! Addresses and errors as Go's `net` reads and words them: operators match on these texts.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs as _},
};

/// `host:port` taken apart, brackets off; `None` where Go refuses to.
pub(crate) fn split_host_port(address: &str) -> Option<(&str, &str)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains([':', ']']) => return None,
        None => host,
    };
    (!port.contains(['[', ']'])).then_some((host, port))
}

/// `host:port`, with brackets around the colons of an IPv6 address.
pub(crate) fn join_host_port(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// The host of an endpoint that is a URL; all of it where it is none.
pub(crate) fn without_scheme(endpoint: &str) -> &str {
    let Some((_, rest)) = endpoint.split_once("://") else {
        return endpoint;
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    if host.is_empty() { endpoint } else { host }
}

/// The addresses of a host; an empty name has none.
pub(crate) fn look_up(host: &str) -> io::Result<Vec<IpAddr>> {
    if host.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "no such host"));
    }
    let found = (host, 0).to_socket_addrs()?;
    Ok(found.map(|address| address.ip()).collect())
}

/// The first address to listen on; an empty host is every one of this machine.
///
/// # Errors
/// In Go's words.
pub(crate) fn listen_address(address: &str) -> Result<SocketAddr, String> {
    let refused = |why: &str| format!("listen tcp: address {address}: {why}");
    let (host, port) =
        split_host_port(address).ok_or_else(|| refused("missing port in address"))?;
    let port: u16 = match port.parse() {
        Ok(port) => port,
        Err(_) if port.bytes().all(|b| b.is_ascii_digit()) && !port.is_empty() => {
            return Err(format!("listen tcp: address {port}: invalid port"));
        }
        Err(_) => return Err(format!("listen tcp: lookup tcp/{port}: unknown port")),
    };
    if host.is_empty() {
        return Ok((std::net::Ipv6Addr::UNSPECIFIED, port).into());
    }
    let found = look_up(host)
        .map_err(|_| format!("listen tcp: lookup {host}: no such host"))?
        .into_iter();
    // As Go: of several, an IPv4 one.
    let mut found: Vec<IpAddr> = found.collect();
    found.sort_by_key(|address| !address.is_ipv4());
    match found.first() {
        Some(ip) => Ok((*ip, port).into()),
        None => Err(format!("listen tcp: lookup {host}: no such host")),
    }
}

/// Binds the address of `--listen-addr`.
///
/// # Errors
/// In Go's words.
pub(crate) fn bind(listen: &str) -> Result<TcpListener, String> {
    let address = listen_address(listen)?;
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|error| format!("listen tcp {address}: {}", system("bind", &error)))
}

/// An error of the system in Go's words: the call, and what it returned.
pub(crate) fn system(call: &str, error: &io::Error) -> String {
    let text = error.to_string();
    let why = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::AddrInUse => "address already in use",
        io::ErrorKind::AddrNotAvailable => "cannot assign requested address",
        io::ErrorKind::PermissionDenied => "permission denied",
        io::ErrorKind::TimedOut => "connection timed out",
        io::ErrorKind::HostUnreachable => "no route to host",
        io::ErrorKind::NetworkUnreachable => "network is unreachable",
        _ => return text,
    };
    format!("{call}: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart_as_go_does() {
        assert_eq!(split_host_port("a:1"), Some(("a", "1")));
        assert_eq!(split_host_port(":1"), Some(("", "1")));
        assert_eq!(split_host_port("[::1]:2"), Some(("::1", "2")));
        for wrong in ["a", "::1", "[::1]", "[::1:2", "a]:1"] {
            assert_eq!(split_host_port(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_endpoint_is_a_host_whatever_is_around_it() {
        assert_eq!(without_scheme("http://a:1/b"), "a:1");
        assert_eq!(without_scheme("https://u:p@a:1"), "a:1");
        assert_eq!(without_scheme("a:1"), "a:1");
        assert_eq!(without_scheme("unix:///x"), "unix:///x");
    }

    #[test]
    fn ports_that_are_none_are_refused_in_the_words_of_go() {
        assert_eq!(
            listen_address("127.0.0.1:99999"),
            Err("listen tcp: address 99999: invalid port".to_owned())
        );
        assert_eq!(
            listen_address("a"),
            Err("listen tcp: address a: missing port in address".to_owned())
        );
    }
}
