//! What rustls asks of us about certificates: the chain as Go verifies it, and on top of it etcd's
//! own rules, allowed names and revoked serial numbers, which only ever refuse.

use std::sync::Arc;

use parking_lot::Mutex;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};

use crate::{
    Allowed, Leaf,
    load::Revoked,
    wording::wording,
    x509::{self, Certificate, Fault, Handshake, Purpose, Roots, Verification},
};

/// The part of a verifier about signatures of handshakes, with the algorithms of the provider that
/// an expression leads to.
macro_rules! signatures_of {
    ($self:ident => $provider:expr) => {
        fn verify_tls12_signature(
            &$self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            shown: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &$provider.signature_verification_algorithms;
            x509::check_handshake(Handshake::Tls12, message, cert, shown, algorithms)
        }

        fn verify_tls13_signature(
            &$self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            shown: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &$provider.signature_verification_algorithms;
            x509::check_handshake(Handshake::Tls13, message, cert, shown, algorithms)
        }

        fn supported_verify_schemes(&$self) -> Vec<SignatureScheme> {
            x509::schemes(&$provider.signature_verification_algorithms)
        }
    };
}

/// Verifies chains up to the certificates of a file.
#[derive(Debug)]
pub(crate) struct Chains {
    pub(crate) roots: Arc<Roots>,
    pub(crate) provider: Arc<CryptoProvider>,
}

impl Chains {
    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        (purpose, host): (Purpose, Option<&str>),
        now: UnixTime,
    ) -> Result<(), Error> {
        let (leaf, shown) = Certificate::parse_shown(end_entity, intermediates)?;
        let verification = Verification {
            roots: &self.roots,
            algorithms: &self.provider.signature_verification_algorithms,
            shown: &shown,
            purpose,
            now: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
        };
        Ok(verification.check(&leaf, host)?)
    }
}

impl Allowed {
    /// Whether the certificate has one of the allowed names.
    pub(crate) fn admits(&self, certificate: &CertificateDer<'_>) -> bool {
        match self {
            Allowed::Any => true,
            Allowed::CommonNames(names) => Certificate::parse(certificate)
                .is_ok_and(|certificate| names.contains(&certificate.common_name)),
            Allowed::Hostnames(names) => Certificate::parse(certificate).is_ok_and(|certificate| {
                names
                    .iter()
                    .any(|name| certificate.check_host(name).is_ok())
            }),
        }
    }
}

/// What a client showed in one handshake, and what was wrong with it.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    pub(crate) leaf: Option<Leaf>,
    /// Which of etcd's rules refused it, in etcd's words.
    pub(crate) refusal: Option<String>,
}

/// Verifies the client certificate of one handshake.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) chains: Arc<Chains>,
    pub(crate) allowed: Arc<Allowed>,
    /// `Err` while the list cannot be read: then no one is let in, as in etcd.
    pub(crate) revoked: Option<Result<Arc<Revoked>, String>>,
    pub(crate) shown: Arc<Mutex<Shown>>,
}

impl Gate {
    /// `error`, whose text is kept, as the one that makes rustls send the alert that Go sends:
    /// it is all that the client learns.
    fn refused(&self, error: Error) -> Error {
        let Error::InvalidCertificate(why) = &error else {
            return error;
        };
        let alert = match x509::within(why) {
            Some(Fault::Expired { .. } | Fault::NotYetValid { .. }) => CertificateError::Expired,
            Some(Fault::Key) => CertificateError::InvalidPurpose,
            Some(_) => CertificateError::BadEncoding,
            None => return error,
        };
        self.shown.lock().refusal = Some(wording(&error));
        alert.into()
    }

    /// The first revoked certificate of what was shown.
    fn check_revoked(&self, shown: &[&CertificateDer<'_>]) -> Result<(), String> {
        let revoked = match &self.revoked {
            None => return Ok(()),
            Some(Err(why)) => return Err(why.clone()),
            Some(Ok(revoked)) => revoked,
        };
        for der in shown {
            let Ok(certificate) = Certificate::parse(der) else {
                return Err("a certificate of the chain cannot be read".to_owned());
            };
            if revoked.contains(&certificate.serial) {
                let serial: String = certificate
                    .serial
                    .iter()
                    .map(|b| format!("{b:02x}"))
                    .collect();
                return Err(format!("transport: certificate serial {serial} revoked"));
            }
        }
        Ok(())
    }
}

impl ClientCertVerifier for Gate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.roots.hints()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.shown.lock().leaf = Leaf::parse(end_entity);
        let wanted = (Purpose::Client, None);
        let checked = self.chains.check(end_entity, intermediates, wanted, now);
        checked.map_err(|error| self.refused(error))?;
        if !self.allowed.admits(end_entity) {
            self.shown.lock().refusal = Some("client certificate authentication failed".to_owned());
            return Err(CertificateError::NotValidForName.into());
        }
        let all: Vec<_> = std::iter::once(end_entity).chain(intermediates).collect();
        if let Err(why) = self.check_revoked(&all) {
            self.shown.lock().refusal = Some(why);
            return Err(CertificateError::Revoked.into());
        }
        Ok(ClientCertVerified::assertion())
    }

    signatures_of!(self => self.chains.provider);
}

/// Verifies what a server shows, with allowed names.
#[derive(Debug)]
pub(crate) struct Host {
    /// `None`: any server that has the key to what it shows. Encryption without knowing with whom,
    /// only for `--insecure-skip-tls-verify` and `--peer-auto-tls`.
    pub(crate) chains: Option<Chains>,
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) allowed: Allowed,
}

impl ServerCertVerifier for Host {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.chains {
            Some(chains) => {
                let host = server_name.to_str();
                let wanted = (Purpose::Server, Some(host.as_ref()));
                chains.check(end_entity, intermediates, wanted, now)?;
            }
            // Go reads them all the same.
            None => {
                Certificate::parse_shown(end_entity, intermediates)?;
            }
        }
        if self.allowed.admits(end_entity) {
            Ok(ServerCertVerified::assertion())
        } else {
            // Go ends the handshake with the alert "bad certificate"; so does this one.
            Err(CertificateError::NotValidForName.into())
        }
    }

    signatures_of!(self => self.provider);
}
