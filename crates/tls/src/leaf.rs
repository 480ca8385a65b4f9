//! What the rules of etcd and the log lines need to know of a certificate:
//! serial, common name, alternative names, end of validity. Reading it says
//! nothing about whether the certificate is trusted.

use std::net::IpAddr;

use time::OffsetDateTime;

use crate::{
    der::{Reader, is_integer, magnitude, tag},
    x509::{address, moment},
};

/// Facts out of one certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaf {
    /// Serial number, big endian, no leading zeros.
    pub serial: Vec<u8>,
    /// The last common name of the subject; empty when there is none.
    pub common_name: String,
    /// DNS alternative names, in order.
    pub dns_names: Vec<String>,
    /// IP alternative names, in order.
    pub ip_addresses: Vec<IpAddr>,
    /// When it ends to be valid, if that could be read.
    pub not_after: Option<OffsetDateTime>,
    /// The digest of its signature where that is one that is refused nowadays.
    pub weak_digest: Option<&'static str>,
}

/// Signature algorithms that Go since 1.18 and rustls take from nobody: MD5 and SHA-1
/// with RSA (1.2.840.113549.1.1.4 and .5), SHA-1 with ECDSA (1.2.840.10045.4.1) and
/// with DSA (1.2.840.10040.4.3).
const WEAK: [(&[u8], &str); 4] = [
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x04],
        "MD5",
    ),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05],
        "SHA-1",
    ),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01], "SHA-1"),
    (&[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x03], "SHA-1"),
];

/// id-at-commonName, 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// id-ce-subjectAltName, 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

impl Leaf {
    /// Reads a DER certificate (RFC 5280, 4.1). `None` if it is none.
    pub fn parse(der: &[u8]) -> Option<Leaf> {
        let mut certificate = Reader::new(der).enter(tag::SEQUENCE)?;
        let mut tbs = certificate.enter(tag::SEQUENCE)?;
        tbs.take(tag::VERSION);
        let serial = magnitude(tbs.take(tag::INTEGER)?).to_vec();
        let algorithm = tbs.enter(tag::SEQUENCE)?.take(tag::OID)?;
        let weak = WEAK.iter().find(|(oid, _)| *oid == algorithm);
        tbs.take(tag::SEQUENCE)?; // issuer
        let mut validity = tbs.enter(tag::SEQUENCE)?;
        validity.next()?;
        let not_after = validity.next().and_then(|(tag, text)| moment(tag, text));
        let mut leaf = Leaf {
            serial,
            common_name: common_name(tbs.enter(tag::SEQUENCE)?)?,
            not_after,
            weak_digest: weak.map(|(_, name)| *name),
            ..Leaf::default()
        };
        tbs.take(tag::SEQUENCE)?; // public key
        while let Some(next) = tbs.peek() {
            let (_, content) = tbs.next()?;
            if next == tag::EXTENSIONS {
                leaf.read_extensions(Reader::new(content).enter(tag::SEQUENCE)?)?;
            }
        }
        Some(leaf)
    }

    fn read_extensions(&mut self, mut extensions: Reader<'_>) -> Option<()> {
        while extensions.peek().is_some() {
            let mut extension = extensions.enter(tag::SEQUENCE)?;
            if extension.take(tag::OID)? != SUBJECT_ALT_NAME {
                continue;
            }
            if extension.peek()? != tag::OCTETS {
                extension.next()?; // whether it is critical
            }
            let mut names = Reader::new(extension.take(tag::OCTETS)?).enter(tag::SEQUENCE)?;
            while names.peek().is_some() {
                match names.next()? {
                    (tag::DNS_NAME, name) => self
                        .dns_names
                        .push(String::from_utf8_lossy(name).into_owned()),
                    (tag::IP_ADDRESS, bytes) => self.ip_addresses.push(address(bytes)?),
                    _ => {}
                }
            }
        }
        Some(())
    }
}

fn common_name(mut subject: Reader<'_>) -> Option<String> {
    let mut found = String::new();
    while subject.peek().is_some() {
        let mut set = subject.enter(tag::SET)?;
        while set.peek().is_some() {
            let mut attribute = set.enter(tag::SEQUENCE)?;
            let is_name = attribute.take(tag::OID)? == COMMON_NAME;
            let (_, value) = attribute.next()?;
            if is_name {
                // Go keeps the last one, too.
                found = String::from_utf8_lossy(value).into_owned();
            }
        }
    }
    Some(found)
}

/// The serial numbers of a DER revocation list (RFC 5280, 5.1). Nothing else of
/// it matters, neither issuer nor signature nor dates: etcd's rule. But a list
/// that is broken anywhere is none, and not one that revokes less.
pub(crate) fn revoked_serials(der: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut outside = Reader::new(der);
    let mut list = outside.enter(tag::SEQUENCE)?;
    let mut tbs = list.enter(tag::SEQUENCE)?;
    list.take(tag::SEQUENCE)?; // signature algorithm
    list.take(tag::BITS)?;
    if !outside.is_empty() {
        return None;
    }
    tbs.take(tag::INTEGER); // version
    tbs.take(tag::SEQUENCE)?; // signature algorithm
    tbs.take(tag::SEQUENCE)?; // issuer
    tbs.next().filter(is_time)?;
    if matches!(tbs.peek(), Some(tag::UTC_TIME | tag::GENERALIZED_TIME)) {
        tbs.next()?;
    }
    let mut serials = Vec::new();
    if tbs.peek() == Some(tag::SEQUENCE) {
        let mut entries = tbs.enter(tag::SEQUENCE)?;
        while !entries.is_empty() {
            let mut entry = entries.enter(tag::SEQUENCE)?;
            let serial = entry
                .take(tag::INTEGER)
                .filter(|serial| is_integer(serial))?;
            entry.next().filter(is_time)?;
            serials.push(magnitude(serial).to_vec());
        }
    }
    if !tbs.is_empty() {
        tbs.take(tag::VERSION)?; // extensions
    }
    tbs.is_empty().then_some(serials)
}

fn is_time((kind, _): &(u8, &[u8])) -> bool {
    matches!(*kind, tag::UTC_TIME | tag::GENERALIZED_TIME)
}
