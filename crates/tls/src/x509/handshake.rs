//! Signatures of handshakes: whoever shows a certificate proves that it has the key.

use rustls::{
    CertificateError, DigitallySignedStruct, Error, PeerMisbehaved, SignatureScheme,
    client::danger::HandshakeSignatureValid, crypto::WebPkiSupportedAlgorithms,
};

use super::{certificate::Certificate, signature::is_signed};
use crate::der::{Reader, tag};

/// The versions of TLS sign in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handshake {
    Tls12,
    Tls13,
}

/// The schemes that Go offers, of those that the provider has.
pub(crate) fn schemes(algorithms: &WebPkiSupportedAlgorithms) -> Vec<SignatureScheme> {
    algorithms
        .supported_schemes()
        .into_iter()
        .filter(|scheme| {
            is_of_tls13(*scheme)
                || matches!(
                    scheme,
                    SignatureScheme::RSA_PKCS1_SHA256
                        | SignatureScheme::RSA_PKCS1_SHA384
                        | SignatureScheme::RSA_PKCS1_SHA512
                )
        })
        .collect()
}

fn is_of_tls13(scheme: SignatureScheme) -> bool {
    matches!(
        scheme,
        SignatureScheme::ECDSA_NISTP256_SHA256
            | SignatureScheme::ECDSA_NISTP384_SHA384
            | SignatureScheme::ECDSA_NISTP521_SHA512
            | SignatureScheme::ED25519
            | SignatureScheme::RSA_PSS_SHA256
            | SignatureScheme::RSA_PSS_SHA384
            | SignatureScheme::RSA_PSS_SHA512
    )
}

/// Checks that who shows `certificate` has its key.
///
/// # Errors
/// It has not, or signed in a way that was not offered.
pub(crate) fn check_handshake(
    version: Handshake,
    message: &[u8],
    certificate: &[u8],
    shown: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let scheme = shown.scheme;
    if !schemes(algorithms).contains(&scheme) || version == Handshake::Tls13 && !is_of_tls13(scheme)
    {
        return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    }
    let certificate = Certificate::parse(certificate)?;
    // TLS 1.3 names the curve with the digest; the provider lists that pair first.
    let is_exact = version == Handshake::Tls12
        || algorithms
            .mapping
            .iter()
            .find(|(known, _)| *known == scheme)
            .and_then(|(_, all)| all.first())
            .is_some_and(|first| certificate.has_key_algorithm(first.public_key_alg_id().as_ref()));
    let pair = (message, shown.signature());
    if is_exact && is_signed(algorithms, scheme, &certificate.key_info, pair) {
        Ok(HandshakeSignatureValid::assertion())
    } else {
        Err(CertificateError::BadSignature.into())
    }
}

impl Certificate {
    fn has_key_algorithm(&self, wanted: &[u8]) -> bool {
        Reader::new(&self.key_info)
            .enter(tag::SEQUENCE)
            .and_then(|mut info| info.take(tag::SEQUENCE))
            == Some(wanted)
    }
}
