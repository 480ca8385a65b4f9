//! CAs, certificates and revocation lists in a directory of their own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber,
};
use time::{Duration, OffsetDateTime};

use crate::{ClientOptions, Identity, Options};

pub(super) struct Ca {
    dir: PathBuf,
    name: String,
    issuer: Issuer<'static, KeyPair>,
    pub(super) file: PathBuf,
}

/// What a certificate says.
pub(super) struct Leaf<'a> {
    pub(super) common_name: &'a str,
    pub(super) names: &'a [&'a str],
    pub(super) serial: u64,
    pub(super) expired: bool,
}

impl Default for Leaf<'_> {
    fn default() -> Self {
        Leaf {
            common_name: "",
            names: &["localhost", "127.0.0.1"],
            serial: 7,
            expired: false,
        }
    }
}

pub(super) fn pem(label: &str, der: &[u8]) -> String {
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        STANDARD.encode(der)
    )
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if !common_name.is_empty() {
        name.push(DnType::CommonName, common_name);
    }
    name
}

impl Ca {
    pub(super) fn new(dir: &Path, name: &str) -> Ca {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("key");
        let cert = params.self_signed(&key).expect("self-signed");
        let file = dir.join(format!("{name}.crt"));
        fs::write(&file, pem("CERTIFICATE", cert.der())).expect("write");
        Ca {
            dir: dir.to_owned(),
            name: name.to_owned(),
            issuer: Issuer::new(params, key),
            file,
        }
    }

    /// Writes `<name>.crt` and `<name>.key`.
    pub(super) fn issue(&self, name: &str, leaf: &Leaf<'_>) -> Identity {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(leaf.common_name);
        params.serial_number = Some(SerialNumber::from(leaf.serial));
        params.subject_alt_names = leaf
            .names
            .iter()
            .map(|name| match name.parse() {
                Ok(ip) => SanType::IpAddress(ip),
                Err(_) => SanType::DnsName((*name).try_into().expect("name")),
            })
            .collect();
        let now = OffsetDateTime::now_utc();
        params.not_before = now - Duration::days(10);
        params.not_after = if leaf.expired {
            now - Duration::days(1)
        } else {
            now + Duration::days(10)
        };
        let key = KeyPair::generate().expect("key");
        let cert = params.signed_by(&key, &self.issuer).expect("signed");
        let identity = Identity {
            cert: self.dir.join(format!("{name}.crt")),
            key: self.dir.join(format!("{name}.key")),
        };
        fs::write(&identity.cert, pem("CERTIFICATE", cert.der())).expect("write");
        fs::write(&identity.key, pem("PRIVATE KEY", key.serialized_der())).expect("write");
        identity
    }

    /// Writes a revocation list, as PEM or DER.
    pub(super) fn revoke(&self, serials: &[u64], as_pem: bool) -> PathBuf {
        let now = OffsetDateTime::now_utc();
        let list = CertificateRevocationListParams {
            this_update: now,
            next_update: now + Duration::days(1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: serials
                .iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from(*serial),
                    revocation_time: now,
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        }
        .signed_by(&self.issuer)
        .expect("signed");
        let file = self.dir.join(format!("{}.crl", self.name));
        let bytes = if as_pem {
            pem("X509 CRL", list.der()).into_bytes()
        } else {
            list.der().to_vec()
        };
        fs::write(&file, bytes).expect("write");
        file
    }

    /// A server that shows `identity` and wants certificates of this CA.
    pub(super) fn server(&self, identity: &Identity) -> Options {
        Options {
            identity: Some(identity.clone()),
            trusted_ca: Some(self.file.clone()),
            client_cert_auth: true,
            ..Options::default()
        }
    }

    /// A client that trusts this CA.
    pub(super) fn client(&self, identity: Option<&Identity>) -> ClientOptions {
        ClientOptions {
            identity: identity.cloned(),
            trusted_ca: Some(self.file.clone()),
            ..ClientOptions::default()
        }
    }
}
