//! What the rules of etcd and the log lines need to know of a certificate:
//! serial, common name, alternative names, end of validity. Reading it says
//! nothing about whether the certificate is trusted.

use std::net::IpAddr;

use time::OffsetDateTime;

use crate::x509::Certificate;

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
    /// When its validity ends.
    pub not_after: Option<OffsetDateTime>,
    /// The digest of its signature where that is one that is refused nowadays.
    pub weak_digest: Option<&'static str>,
}

impl Leaf {
    /// Reads a DER certificate (RFC 5280, 4.1). `None` for what Go cannot read either.
    pub fn parse(der: &[u8]) -> Option<Leaf> {
        Certificate::parse(der).ok().map(|read| Leaf::of(&read))
    }

    pub(crate) fn of(certificate: &Certificate) -> Leaf {
        Leaf {
            serial: certificate.serial.clone(),
            common_name: certificate.common_name.clone(),
            dns_names: certificate.dns_names().to_vec(),
            ip_addresses: certificate.ip_addresses().collect(),
            not_after: certificate.expiry(),
            weak_digest: certificate.weak_digest(),
        }
    }
}
