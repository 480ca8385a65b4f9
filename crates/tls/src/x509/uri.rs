//! URIs of certificates: whether Go's parser takes them, and their host.

use std::net::Ipv6Addr;

use super::domain::is_domain;

/// A URI that could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Uri {
    /// As it stands, the port included; empty without an authority.
    pub(super) host: String,
}

impl Uri {
    pub(super) fn parse(text: &str) -> Option<Uri> {
        if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
            return None;
        }
        let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
        if !is_escaped(fragment) {
            return None;
        }
        let (scheme, rest) = scheme_of(rest)?;
        let rest = rest.split_once('?').map_or(rest, |(path, _)| path);
        let host = if !rest.starts_with('/') {
            if scheme.is_some() {
                return Some(Uri {
                    host: String::new(),
                }); // opaque: urn:…, mailto:…
            }
            let first = rest.split('/').next().unwrap_or_default();
            if first.contains(':') || !is_escaped(rest) {
                return None;
            }
            String::new()
        } else if let Some(authority) = rest.strip_prefix("//")
            && (scheme.is_some() || !rest.starts_with("///"))
        {
            let (authority, path) = match authority.find('/') {
                Some(at) => authority.split_at(at),
                None => (authority, ""),
            };
            if !is_escaped(path) {
                return None;
            }
            host_of(authority)?
        } else {
            if !is_escaped(rest) {
                return None;
            }
            String::new()
        };
        (host.is_empty() || is_domain(&host, false)).then_some(Uri { host })
    }
}

/// The part before the first colon, if it can be a scheme. `None` if there is nothing before it.
fn scheme_of(text: &str) -> Option<(Option<&str>, &str)> {
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return None,
            b':' => return Some((Some(&text[..at]), &text[at + 1..])),
            _ => break,
        }
    }
    Some((None, text))
}

/// Every `%` has two hexadecimal digits after it.
fn is_escaped(text: &str) -> bool {
    text.split('%').skip(1).all(|after| {
        after
            .as_bytes()
            .get(..2)
            .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

fn is_optional_port(text: &str) -> bool {
    text.is_empty()
        || text
            .strip_prefix(':')
            .is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
}

fn host_of(authority: &str) -> Option<String> {
    let host = match authority.rsplit_once('@') {
        None => authority,
        Some((user, host)) => {
            let is_user = user
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&b));
            if !is_user || !is_escaped(user) {
                return None;
            }
            host
        }
    };
    if let Some(literal) = host.strip_prefix('[') {
        let (address, port) = literal.rsplit_once(']')?;
        let address = address.split_once("%25").map_or(address, |(ip, _)| ip);
        let is_address = address.parse::<Ipv6Addr>().is_ok();
        return (is_address && is_optional_port(port)).then(|| host.to_owned());
    }
    // A list of hosts with ports is accepted: only the last port is checked.
    if host
        .rfind(':')
        .is_some_and(|at| !is_optional_port(&host[at..]))
    {
        return None;
    }
    let is_host = host
        .bytes()
        .all(|b| b >= 0x80 || b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]<>\"%".contains(&b));
    // A host may escape only what is not ASCII.
    let is_foreign = host.split('%').skip(1).all(|after| {
        matches!(
            after.as_bytes().first(),
            Some(b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F')
        )
    });
    (is_host && is_foreign && is_escaped(host) && !host.contains('[')).then(|| host.to_owned())
}
