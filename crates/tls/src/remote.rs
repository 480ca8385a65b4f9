//! etcd's rule between peers: a certificate with addresses or names must
//! have the address that the connection comes from, or a name that resolves to it.

use std::{
    ffi::CStr,
    net::{IpAddr, SocketAddr},
};

use crate::Leaf;

/// Checks `leaf` against the address its bearer connects from.
///
/// # Errors
/// What does not match, in etcd's words.
pub(crate) async fn check(leaf: &Leaf, remote: IpAddr) -> Result<(), String> {
    let remote = remote.to_canonical();
    if leaf.ip_addresses.is_empty() && leaf.dns_names.is_empty() {
        return Ok(());
    }
    if leaf
        .ip_addresses
        .iter()
        .any(|ip| ip.to_canonical() == remote)
    {
        return Ok(());
    }
    if leaf.dns_names.is_empty() {
        let listed: Vec<String> = leaf.ip_addresses.iter().map(ToString::to_string).collect();
        return Err(format!(
            "x509: certificate is valid for {}, not {remote}",
            listed.join(", ")
        ));
    }
    if let Some(name) = reverse(remote).await
        && leaf.dns_names.iter().any(|pattern| fits(pattern, &name))
    {
        return Ok(());
    }
    let mut failed = None;
    for name in leaf.dns_names.iter().filter(|n| !n.starts_with("*.")) {
        match tokio::net::lookup_host((name.as_str(), 0)).await {
            Ok(mut found) => {
                if found.any(|address| address.ip().to_canonical() == remote) {
                    return Ok(());
                }
            }
            Err(error) => failed = Some(error),
        }
    }
    let why = failed.map_or_else(String::new, |error| format!(" ({error})"));
    Err(format!(
        "tls: \"{remote}\" does not match any of DNSNames {:?}{why}",
        leaf.dns_names
    ))
}

/// A wildcard fits any name that ends like it, as in etcd.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(ending) if ending.starts_with('.') => name.ends_with(ending),
        _ => pattern == name,
    }
}

/// The name of an address, asked of the system's resolver on a blocking thread.
async fn reverse(ip: IpAddr) -> Option<String> {
    tokio::task::spawn_blocking(move || reverse_now(ip))
        .await
        .ok()
        .flatten()
}

fn reverse_now(ip: IpAddr) -> Option<String> {
    let mut name = [0 as libc::c_char; libc::NI_MAXHOST as usize];
    let found = |address: *const libc::sockaddr, len: usize, name: &mut [libc::c_char]| {
        // SAFETY: `address` points to a live socket address of `len` bytes, `name` is a buffer of
        // the length given; the function writes a terminated string into it or fails.
        unsafe {
            libc::getnameinfo(
                address,
                len as libc::socklen_t,
                name.as_mut_ptr(),
                name.len() as libc::socklen_t,
                std::ptr::null_mut(),
                0,
                libc::NI_NAMEREQD,
            ) == 0
        }
    };
    let ok = match SocketAddr::new(ip, 0) {
        SocketAddr::V4(v4) => {
            let address = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: 0,
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(v4.ip().octets()),
                },
                sin_zero: [0; 8],
            };
            found(
                (&raw const address).cast(),
                size_of::<libc::sockaddr_in>(),
                &mut name,
            )
        }
        SocketAddr::V6(v6) => {
            let address = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: 0,
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr {
                    s6_addr: v6.ip().octets(),
                },
                sin6_scope_id: 0,
            };
            found(
                (&raw const address).cast(),
                size_of::<libc::sockaddr_in6>(),
                &mut name,
            )
        }
    };
    if !ok {
        return None;
    }
    // SAFETY: a successful call has terminated the string inside the buffer, which lives on.
    let text = unsafe { CStr::from_ptr(name.as_ptr()) };
    Some(text.to_string_lossy().trim_end_matches('.').to_owned())
}
