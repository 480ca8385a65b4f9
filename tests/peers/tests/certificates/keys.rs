//! Keys of every kind that etcd takes.

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::{self, KeySize},
    signature::{
        self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaEncoding,
    },
};

use super::der::{bits, element, oid, sequence};

/// A key, and how it signs.
pub(crate) enum Key {
    Rsa(rsa::KeyPair, &'static dyn RsaEncoding, Vec<u8>),
    Ecdsa(EcdsaKeyPair, &'static str, &'static str),
    Ed25519(Ed25519KeyPair),
}

const NULL: &[u8] = &[5, 0];

fn ecdsa(
    algorithm: &'static EcdsaSigningAlgorithm,
    curve: &'static str,
    signing: &'static str,
) -> Key {
    let pair = EcdsaKeyPair::generate(algorithm).expect("key");
    Key::Ecdsa(pair, curve, signing)
}

impl Key {
    pub(crate) fn p256() -> Key {
        ecdsa(
            &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
            "1.2.840.10045.3.1.7",
            "1.2.840.10045.4.3.2",
        )
    }

    /// P-521 that signs with SHA-384: certificates may, TLS 1.3 does not.
    pub(crate) fn p521_sha384() -> Key {
        ecdsa(
            &signature::ECDSA_P521_SHA384_ASN1_SIGNING,
            "1.3.132.0.35",
            "1.2.840.10045.4.3.3",
        )
    }

    pub(crate) fn p384() -> Key {
        ecdsa(
            &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
            "1.3.132.0.34",
            "1.2.840.10045.4.3.3",
        )
    }

    pub(crate) fn p521() -> Key {
        ecdsa(
            &signature::ECDSA_P521_SHA512_ASN1_SIGNING,
            "1.3.132.0.35",
            "1.2.840.10045.4.3.4",
        )
    }

    pub(crate) fn ed25519() -> Key {
        Key::Ed25519(Ed25519KeyPair::generate().expect("key"))
    }

    pub(crate) fn rsa(size: KeySize) -> Key {
        let pair = rsa::KeyPair::generate(size).expect("key");
        let algorithm = sequence(&[&oid("1.2.840.113549.1.1.11"), NULL]);
        Key::Rsa(pair, &signature::RSA_PKCS1_SHA256, algorithm)
    }

    /// RSASSA-PSS with SHA-256 throughout.
    pub(crate) fn rsa_pss() -> Key {
        let pair = rsa::KeyPair::generate(KeySize::Rsa2048).expect("key");
        let hash = sequence(&[&oid("2.16.840.1.101.3.4.2.1"), NULL]);
        let mask = sequence(&[&oid("1.2.840.113549.1.1.8"), &hash]);
        let parameters = sequence(&[
            &element(0xa0, &hash),
            &element(0xa1, &mask),
            &element(0xa2, &element(2, &[32])),
        ]);
        let algorithm = sequence(&[&oid("1.2.840.113549.1.1.10"), &parameters]);
        Key::Rsa(pair, &signature::RSA_PSS_SHA256, algorithm)
    }

    /// The SubjectPublicKeyInfo.
    pub(crate) fn info(&self) -> Vec<u8> {
        match self {
            Key::Rsa(pair, _, _) => {
                let algorithm = sequence(&[&oid("1.2.840.113549.1.1.1"), NULL]);
                sequence(&[&algorithm, &bits(pair.public_key().as_ref())])
            }
            Key::Ecdsa(pair, curve, _) => {
                let algorithm = sequence(&[&oid("1.2.840.10045.2.1"), &oid(curve)]);
                sequence(&[&algorithm, &bits(pair.public_key().as_ref())])
            }
            Key::Ed25519(pair) => sequence(&[
                &sequence(&[&oid("1.3.101.112")]),
                &bits(pair.public_key().as_ref()),
            ]),
        }
    }

    /// The AlgorithmIdentifier of its signatures.
    pub(crate) fn algorithm(&self) -> Vec<u8> {
        match self {
            Key::Rsa(_, _, algorithm) => algorithm.clone(),
            Key::Ecdsa(_, _, signing) => sequence(&[&oid(signing)]),
            Key::Ed25519(_) => sequence(&[&oid("1.3.101.112")]),
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Key::Rsa(pair, encoding, _) => {
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, message, &mut out)
                    .expect("signed");
                out
            }
            Key::Ecdsa(pair, _, _) => pair
                .sign(&random, message)
                .expect("signed")
                .as_ref()
                .to_vec(),
            Key::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// The private key as PKCS#8.
    pub(crate) fn private(&self) -> Vec<u8> {
        match self {
            Key::Rsa(pair, _, _) => AsDer::<Pkcs8V1Der<'_>>::as_der(pair)
                .expect("der")
                .as_ref()
                .to_vec(),
            Key::Ecdsa(pair, _, _) => pair.to_pkcs8v1().expect("der").as_ref().to_vec(),
            Key::Ed25519(pair) => pair.to_pkcs8v1().expect("der").as_ref().to_vec(),
        }
    }
}
