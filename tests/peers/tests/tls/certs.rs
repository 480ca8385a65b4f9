//! A CA of this test and what it signs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use peers::pem::pem;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};

/// A CA with its files in a directory.
pub(crate) struct Ca {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub(crate) file: PathBuf,
}

impl Ca {
    pub(crate) fn new(dir: &Path, name: &str) -> Result<Ca> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let cert = params.self_signed(&key)?;
        let file = dir.join(format!("{name}.crt"));
        fs::write(&file, pem("CERTIFICATE", cert.der()))?;
        Ok(Ca {
            dir: dir.to_owned(),
            issuer: Issuer::new(params, key),
            file,
        })
    }

    /// Writes `<file>.crt` and `<file>.key`; `year` is the last of its validity.
    pub(crate) fn issue(&self, file: &str, name: &str, serial: u64, year: i32) -> Result<()> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        params.subject_alt_names = vec![
            SanType::DnsName("localhost".try_into()?),
            SanType::DnsName(peers::names::HOST.try_into()?),
            SanType::IpAddress([127, 0, 0, 1].into()),
        ];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 12, 31);
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer)?;
        fs::write(
            self.path(file, "key"),
            pem("PRIVATE KEY", key.serialized_der()),
        )?;
        fs::write(self.path(file, "crt"), pem("CERTIFICATE", cert.der()))?;
        Ok(())
    }

    /// Writes a revocation list of these serials.
    pub(crate) fn revoke(&self, file: &str, serials: &[u64]) -> Result<()> {
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2090, 1, 1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: serials
                .iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from(*serial),
                    revocation_time: date_time_ymd(2020, 1, 2),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        }
        .signed_by(&self.issuer)?;
        fs::write(self.path(file, "crl"), pem("X509 CRL", list.der()))?;
        Ok(())
    }

    pub(crate) fn path(&self, file: &str, ending: &str) -> PathBuf {
        self.dir.join(format!("{file}.{ending}"))
    }
}
