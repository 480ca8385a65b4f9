//! Subject alternative names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::uri::Uri;

/// The subject alternative names.
#[derive(Clone, Debug, Default)]
pub(super) struct AltNames {
    pub(super) dns: Vec<String>,
    pub(super) emails: Vec<String>,
    pub(super) uris: Vec<Uri>,
    /// Four bytes or sixteen.
    pub(super) addresses: Vec<Vec<u8>>,
}

impl AltNames {
    pub(super) fn ip_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().filter_map(|bytes| address(bytes))
    }
}

/// An address of four bytes or of sixteen.
pub(super) fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes)
            .ok()
            .map(|b| Ipv4Addr::from(b).into()),
        16 => <[u8; 16]>::try_from(bytes)
            .ok()
            .map(|b| Ipv6Addr::from(b).into()),
        _ => None,
    }
}
