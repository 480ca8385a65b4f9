//! etcd's own rules on top of the verification of a certificate chain: allowed
//! names and revoked serial numbers. They only ever refuse; a chain that does
//! not lead to a trusted CA has been refused before they are asked.

use std::sync::Arc;

use parking_lot::Mutex;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};

use crate::{Allowed, Leaf, load::Revoked};

/// The part of a verifier about signatures of handshakes, left to the verifier in a field: what is
/// checked on top of a chain has no say in it.
macro_rules! signatures_of {
    ($verifier:ident) => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &rustls::pki_types::CertificateDer<'_>,
            dss: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            self.$verifier.verify_tls12_signature(message, cert, dss)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &rustls::pki_types::CertificateDer<'_>,
            dss: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            self.$verifier.verify_tls13_signature(message, cert, dss)
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            self.$verifier.supported_verify_schemes()
        }
    };
}
pub(crate) use signatures_of;

impl Allowed {
    /// Whether the certificate has one of the allowed names.
    pub(crate) fn admits(&self, certificate: &CertificateDer<'_>) -> bool {
        match self {
            Allowed::Any => true,
            Allowed::CommonNames(names) => {
                Leaf::parse(certificate).is_some_and(|leaf| names.contains(&leaf.common_name))
            }
            Allowed::Hostnames(names) => {
                webpki::EndEntityCert::try_from(certificate).is_ok_and(|cert| {
                    names.iter().any(|name| {
                        ServerName::try_from(name.as_str())
                            .is_ok_and(|name| cert.verify_is_valid_for_subject_name(&name).is_ok())
                    })
                })
            }
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
    pub(crate) chain: Arc<dyn ClientCertVerifier>,
    pub(crate) allowed: Arc<Allowed>,
    /// `Err` while the list cannot be read: then no one is let in, as in etcd.
    pub(crate) revoked: Option<Result<Arc<Revoked>, String>>,
    pub(crate) shown: Arc<Mutex<Shown>>,
}

impl Gate {
    /// The first revoked certificate of what was shown.
    fn check_revoked(&self, shown: &[&CertificateDer<'_>]) -> Result<(), String> {
        let revoked = match &self.revoked {
            None => return Ok(()),
            Some(Err(why)) => return Err(why.clone()),
            Some(Ok(revoked)) => revoked,
        };
        for der in shown {
            let Some(leaf) = Leaf::parse(der) else {
                return Err("a certificate of the chain cannot be read".to_owned());
            };
            if revoked.contains(&leaf.serial) {
                let serial: String = leaf.serial.iter().map(|b| format!("{b:02x}")).collect();
                return Err(format!("transport: certificate serial {serial} revoked"));
            }
        }
        Ok(())
    }
}

impl ClientCertVerifier for Gate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.shown.lock().leaf = Leaf::parse(end_entity);
        let verified = self
            .chain
            .verify_client_cert(end_entity, intermediates, now)?;
        if !self.allowed.admits(end_entity) {
            self.shown.lock().refusal = Some("client certificate authentication failed".to_owned());
            return Err(CertificateError::NotValidForName.into());
        }
        let all: Vec<_> = std::iter::once(end_entity).chain(intermediates).collect();
        if let Err(why) = self.check_revoked(&all) {
            self.shown.lock().refusal = Some(why);
            return Err(CertificateError::Revoked.into());
        }
        Ok(verified)
    }

    signatures_of!(chain);
}

/// Verifies what a server shows, with allowed names.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) chain: Arc<dyn ServerCertVerifier>,
    pub(crate) allowed: Allowed,
}

impl ServerCertVerifier for Host {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.chain.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        if self.allowed.admits(end_entity) {
            Ok(verified)
        } else {
            // Go ends the handshake with the alert "bad certificate"; so does this one.
            Err(CertificateError::NotValidForName.into())
        }
    }

    signatures_of!(chain);
}

/// Accepts any server that holds the key to what it shows: encryption without
/// knowing with whom. Only for `--insecure-skip-tls-verify` and `--peer-auto-tls`.
#[derive(Debug)]
pub(crate) struct Anyone(pub(crate) Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
