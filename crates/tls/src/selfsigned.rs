//! The certificates of `--auto-tls` and `--peer-auto-tls`: made once, kept in
//! files, found again by the next start, by Pintle and by etcd.

use std::{
    fs,
    io::Write as _,
    net::IpAddr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P521_SHA512, SanType,
};
use time::{Duration, OffsetDateTime};

use crate::{Error, Identity};

/// Gives the identity in `dir` (`cert.pem`, `key.pem`); makes it, valid for
/// `years` and for the hosts of `hosts` (`host:port`), if it is not there.
///
/// # Errors
/// [`Error::Write`], or [`Error::Options`] for a validity of zero.
pub fn self_signed(dir: &Path, hosts: &[String], years: u64) -> Result<Identity, Error> {
    if years == 0 {
        tracing::warn!(
            error = "selfSignedCertValidity is invalid,it should be greater than 0",
            "cannot generate cert"
        );
        return Err(Error::Options(
            "selfSignedCertValidity is invalid,it should be greater than 0".to_owned(),
        ));
    }
    let write = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Write { path, source }
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(write(dir))?;
    let dir = fs::canonicalize(dir).map_err(write(dir))?;
    let identity = Identity {
        cert: dir.join("cert.pem"),
        key: dir.join("key.pem"),
    };
    if identity.cert.exists() && identity.key.exists() {
        return Ok(identity);
    }
    let impossible =
        |error: rcgen::Error| Error::Options(format!("no certificate could be made: {error}"));
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "etcd");
    params.not_before = OffsetDateTime::now_utc();
    params.not_after = i64::try_from(years)
        .ok()
        .and_then(|years| years.checked_mul(365))
        .filter(|days| *days < 365 * 8000)
        .and_then(|days| params.not_before.checked_add(Duration::days(days)))
        .ok_or_else(|| {
            Error::Options(format!(
                "--self-signed-cert-validity {years}: a certificate cannot be valid for so many years"
            ))
        })?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::DigitalSignature,
    ];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    tracing::warn!(
        "certificate-validity-bound-not-after" = %params.not_after,
        "automatically generate certificates"
    );
    for host in hosts {
        let host = host
            .rsplit_once(':')
            .map_or(host.as_str(), |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = match host.parse::<IpAddr>() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) => SanType::DnsName(host.try_into().map_err(impossible)?),
        };
        if !params.subject_alt_names.contains(&name) {
            params.subject_alt_names.push(name);
        }
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512).map_err(impossible)?;
    let cert = params.self_signed(&key).map_err(impossible)?;
    put(&identity.cert, "CERTIFICATE", cert.der()).map_err(write(&identity.cert))?;
    tracing::info!(path = %identity.cert.display(), "created cert file");
    put(&identity.key, "PRIVATE KEY", key.serialized_der()).map_err(write(&identity.key))?;
    tracing::info!(path = %identity.key.display(), "created key file");
    Ok(identity)
}

/// Writes one PEM block, 64 characters a line (RFC 7468).
fn put(path: &Path, label: &str, der: &[u8]) -> std::io::Result<()> {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(pem.as_bytes())?;
    file.sync_all()
}
