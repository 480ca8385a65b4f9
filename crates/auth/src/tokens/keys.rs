//! The keys of tokens, from PEM files of the kinds that Go reads: PKCS #1, PKCS #8 and SEC 1
//! private keys; public keys and certificates.

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, ParsedPublicKey, RsaKeyPair},
};
use pki_types::{
    CertificateDer,
    pem::{PemObject as _, SectionKind},
};

use super::method::{Family, Method, Size};
use crate::Error;

/// Why there is no key.
pub(super) enum KeyError {
    Missing,
    Mismatch,
    Unusable(String),
}

/// What signs.
pub(super) enum Signer {
    Rsa(RsaKeyPair, &'static dyn signature::RsaEncoding),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A key of one method.
pub(super) enum Key {
    /// Both sides have it.
    Shared(Box<hmac::Key>),
    /// An elliptic one whose curve is not that of the method. etcd starts on it too, and makes
    /// and recognises no token.
    OtherCurve,
    /// One side signs, if it can.
    Pair {
        signer: Option<Box<Signer>>,
        verifier: ParsedPublicKey,
    },
}

impl Key {
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signer = match self {
            Key::Shared(key) => return Ok(hmac::sign(key, message).as_ref().to_vec()),
            Key::OtherCurve => return Err(Error::InvalidKey),
            Key::Pair { signer, .. } => signer.as_deref().ok_or(Error::VerifyOnly)?,
        };
        let random = SystemRandom::new();
        match signer {
            Signer::Rsa(pair, padding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*padding, &random, message, &mut signature)
                    .map(|()| signature)
            }
            Signer::Ecdsa(pair) => pair.sign(&random, message).map(|s| s.as_ref().to_vec()),
            Signer::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
        .map_err(|_| Error::InvalidKey)
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Key::Shared(key) => hmac::verify(key, message, signature).is_ok(),
            Key::OtherCurve => false,
            Key::Pair { verifier, .. } => verifier.verify_sig(message, signature).is_ok(),
        }
    }
}

/// The key of a method from what the two files hold.
pub(super) fn load(method: Method, public: &[u8], private: &[u8]) -> Result<Key, KeyError> {
    if method.family == Family::Hmac {
        if private.is_empty() {
            return Err(KeyError::Missing);
        }
        let key = hmac::Key::new(digest(method.size), private);
        return Ok(Key::Shared(Box::new(key)));
    }
    let loaded = load_pair(method, public, private);
    if matches!(loaded, Err(KeyError::Unusable(_))) && is_of_another_curve(method, public, private)
    {
        tracing::error!(
            "sign-method" = method.name(),
            "the curve of the key is not that of the signing method: no one will be able to log in"
        );
        return Ok(Key::OtherCurve);
    }
    loaded
}

fn is_of_another_curve(method: Method, public: &[u8], private: &[u8]) -> bool {
    let curves = [Size::S256, Size::S384, Size::S512];
    let mut others = curves.into_iter().filter(|size| *size != method.size);
    method.family == Family::Ecdsa
        && others.any(|size| load_pair(Method { size, ..method }, public, private).is_ok())
}

fn load_pair(method: Method, public: &[u8], private: &[u8]) -> Result<Key, KeyError> {
    let signer = match private {
        [] => None,
        pem => Some(Box::new(signer(method, pem)?)),
    };
    let given = match public {
        [] => None,
        pem => Some(public_key(pem)?),
    };
    let of_signer = signer.as_deref().map(public_of);
    if let (Some(given), Some(own)) = (&given, &of_signer)
        && !is_same(given, own)
    {
        return Err(KeyError::Mismatch);
    }
    let bytes = of_signer.or(given).ok_or(KeyError::Missing)?;
    let verifier = ParsedPublicKey::new(verification(method), bytes).map_err(|error| {
        KeyError::Unusable(format!(
            "the public key cannot be used for {}: {error}",
            method.name()
        ))
    })?;
    Ok(Key::Pair { signer, verifier })
}

fn public_of(signer: &Signer) -> Vec<u8> {
    match signer {
        Signer::Rsa(pair, _) => pair.public_key().as_ref().to_vec(),
        Signer::Ecdsa(pair) => pair.public_key().as_ref().to_vec(),
        Signer::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
    }
}

/// A SubjectPublicKeyInfo ends with the key itself.
fn is_same(info: &[u8], key: &[u8]) -> bool {
    info.ends_with(key)
}

fn digest(size: Size) -> hmac::Algorithm {
    match size {
        Size::S256 => hmac::HMAC_SHA256,
        Size::S384 => hmac::HMAC_SHA384,
        Size::S512 => hmac::HMAC_SHA512,
    }
}

fn verification(method: Method) -> &'static dyn signature::VerificationAlgorithm {
    match (method.family, method.size) {
        (Family::RsaPss, Size::S256) => &signature::RSA_PSS_2048_8192_SHA256,
        (Family::RsaPss, Size::S384) => &signature::RSA_PSS_2048_8192_SHA384,
        (Family::RsaPss, Size::S512) => &signature::RSA_PSS_2048_8192_SHA512,
        (Family::Ecdsa, Size::S256) => &signature::ECDSA_P256_SHA256_FIXED,
        (Family::Ecdsa, Size::S384) => &signature::ECDSA_P384_SHA384_FIXED,
        (Family::Ecdsa, Size::S512) => &signature::ECDSA_P521_SHA512_FIXED,
        (Family::EdDsa, _) => &signature::ED25519,
        (_, Size::S256) => &signature::RSA_PKCS1_2048_8192_SHA256,
        (_, Size::S384) => &signature::RSA_PKCS1_2048_8192_SHA384,
        (_, Size::S512) => &signature::RSA_PKCS1_2048_8192_SHA512,
    }
}

fn padding(method: Method) -> &'static dyn signature::RsaEncoding {
    match (method.family, method.size) {
        (Family::RsaPss, Size::S256) => &signature::RSA_PSS_SHA256,
        (Family::RsaPss, Size::S384) => &signature::RSA_PSS_SHA384,
        (Family::RsaPss, Size::S512) => &signature::RSA_PSS_SHA512,
        (_, Size::S256) => &signature::RSA_PKCS1_SHA256,
        (_, Size::S384) => &signature::RSA_PKCS1_SHA384,
        (_, Size::S512) => &signature::RSA_PKCS1_SHA512,
    }
}

fn curve(size: Size) -> &'static signature::EcdsaSigningAlgorithm {
    match size {
        Size::S256 => &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
        Size::S384 => &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
        Size::S512 => &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
    }
}

fn signer(method: Method, bytes: &[u8]) -> Result<Signer, KeyError> {
    let (kind, der) = section(bytes)?;
    let rejected = |error: aws_lc_rs::error::KeyRejected| {
        KeyError::Unusable(format!(
            "the private key cannot be used for {}: {error}",
            method.name()
        ))
    };
    match (method.family, kind) {
        (Family::Ecdsa, _) => EcdsaKeyPair::from_private_key_der(curve(method.size), &der)
            .map(Signer::Ecdsa)
            .map_err(rejected),
        (Family::EdDsa, _) => Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der)
            .map(Signer::Ed25519)
            .map_err(rejected),
        (_, SectionKind::RsaPrivateKey) => RsaKeyPair::from_der(&der)
            .map(|pair| Signer::Rsa(pair, padding(method)))
            .map_err(rejected),
        _ => RsaKeyPair::from_pkcs8(&der)
            .map(|pair| Signer::Rsa(pair, padding(method)))
            .map_err(rejected),
    }
}

/// The SubjectPublicKeyInfo of a public key or a certificate.
fn public_key(bytes: &[u8]) -> Result<Vec<u8>, KeyError> {
    let (kind, der) = section(bytes)?;
    if kind != SectionKind::Certificate {
        return Ok(der);
    }
    let certificate = CertificateDer::from(der);
    webpki::EndEntityCert::try_from(&certificate)
        .map(|parsed| parsed.subject_public_key_info().as_ref().to_vec())
        .map_err(|error| KeyError::Unusable(format!("the certificate cannot be parsed: {error}")))
}

fn section(bytes: &[u8]) -> Result<(SectionKind, Vec<u8>), KeyError> {
    <(SectionKind, Vec<u8>)>::from_pem_slice(bytes).map_err(|_| {
        KeyError::Unusable("invalid key: Key must be a PEM encoded PKCS1 or PKCS8 key".to_owned())
    })
}
