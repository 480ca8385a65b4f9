//! What is known of one certificate.

use std::net::IpAddr;

use time::OffsetDateTime;

use super::{
    alt_names::AltNames,
    signature::{Key, SignedBy},
    subtrees::Constraints,
};

/// The parts of a certificate that a chain is judged by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Certificate {
    pub(crate) der: Vec<u8>,
    /// 1 to 3.
    pub(super) version: u8,
    /// Big endian, without leading zeros.
    pub(crate) serial: Vec<u8>,
    /// What is signed, its head included.
    pub(super) signed: Vec<u8>,
    pub(super) signed_by: SignedBy,
    pub(super) signature: Vec<u8>,
    pub(super) issuer: Vec<u8>,
    /// The content of the name.
    pub(crate) subject: Vec<u8>,
    pub(crate) common_name: String,
    /// The SubjectPublicKeyInfo, its head included.
    pub(crate) key_info: Vec<u8>,
    pub(super) key: Key,
    pub(super) not_before: i64,
    pub(super) not_after: i64,

    /// An extension that must be understood and is not.
    pub(super) has_unhandled: bool,
    pub(super) basic: Option<Basic>,
    /// Bits of the key usage, the first in the highest bit; 0 where nothing is said.
    pub(super) key_usage: u16,
    /// Empty where it names no purpose.
    pub(super) purposes: Vec<Vec<u8>>,
    pub(super) has_alt_names: bool,
    pub(super) alt_names: AltNames,
    /// The alternative names as they are encoded.
    pub(super) alt_names_der: Vec<u8>,
    pub(super) constraints: Option<Constraints>,
    pub(super) policies: Policies,
}

impl Certificate {
    pub(crate) fn dns_names(&self) -> &[String] {
        &self.alt_names.dns
    }

    pub(crate) fn ip_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.alt_names.ip_addresses()
    }

    /// When its validity ends; `None` if no calendar reaches that far.
    pub(crate) fn expiry(&self) -> Option<OffsetDateTime> {
        OffsetDateTime::from_unix_timestamp(self.not_after).ok()
    }

    /// The digest of its signature where that is one that is refused nowadays.
    pub(crate) fn weak_digest(&self) -> Option<&'static str> {
        match self.signed_by {
            SignedBy::Weak(digest) => Some(digest),
            SignedBy::Scheme(_) | SignedBy::Unknown => None,
        }
    }
}

/// Of the basic constraints.
#[derive(Clone, Copy, Debug)]
pub(super) struct Basic {
    pub(super) is_ca: bool,
    pub(super) path_len: Option<u64>,
}

/// Of the extensions about policies.
#[derive(Clone, Debug, Default)]
pub(super) struct Policies {
    pub(super) named: Vec<Vec<u8>>,
    pub(super) has_mappings: bool,
    pub(super) require_explicit: Option<u64>,
    pub(super) inhibit_any: Option<u64>,
}
