//! Certificates for tests: a CA, and what it signed.

use std::{fs, path::Path};

use anyhow::Result;
use peers::pem::pem;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};

/// Writes into `dir` a CA (`ca.crt`), and of a server on the loopback address and of a
/// client the certificate, which ends in `days`, and the key.
pub fn write(dir: &Path, days: i64) -> Result<()> {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate()?;
    let cert = ca.self_signed(&ca_key)?;
    fs::write(dir.join("ca.crt"), pem("CERTIFICATE", cert.der()))?;
    let issuer = Issuer::new(ca, ca_key);
    for of in ["server", "client"] {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
        params.not_before = time::OffsetDateTime::now_utc() - time::Duration::days(400);
        params.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(days);
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &issuer)?;
        fs::write(
            dir.join(format!("{of}.crt")),
            pem("CERTIFICATE", cert.der()),
        )?;
        let key = pem("PRIVATE KEY", key.serialized_der());
        fs::write(dir.join(format!("{of}.key")), key)?;
    }
    Ok(())
}
