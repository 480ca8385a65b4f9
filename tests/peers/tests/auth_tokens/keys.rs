//! Keys for tokens, in every form that a file may have.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use peers::pem::pem;
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _, SignatureAlgorithm};

/// A signing method of RFC 7518 and the keys it takes.
pub(crate) struct Method {
    pub(crate) name: &'static str,
    algorithm: Option<&'static SignatureAlgorithm>,
    /// The curve, as its object identifier is encoded.
    curve: &'static [u8],
    is_rsa: bool,
}

const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];

const fn rsa(name: &'static str) -> Method {
    Method {
        name,
        algorithm: Some(&rcgen::PKCS_RSA_SHA256),
        curve: &[],
        is_rsa: true,
    }
}

const fn ec(
    name: &'static str,
    algorithm: &'static SignatureAlgorithm,
    curve: &'static [u8],
) -> Method {
    Method {
        name,
        algorithm: Some(algorithm),
        curve,
        is_rsa: false,
    }
}

const fn shared(name: &'static str) -> Method {
    Method {
        name,
        algorithm: None,
        curve: &[],
        is_rsa: false,
    }
}

/// What 3.5 signs with.
pub(crate) static METHODS: [Method; 12] = [
    rsa("RS256"),
    rsa("RS384"),
    rsa("RS512"),
    rsa("PS256"),
    rsa("PS384"),
    rsa("PS512"),
    ec("ES256", &rcgen::PKCS_ECDSA_P256_SHA256, P256),
    ec("ES384", &rcgen::PKCS_ECDSA_P384_SHA384, P384),
    ec("ES512", &rcgen::PKCS_ECDSA_P521_SHA512, P521),
    shared("HS256"),
    shared("HS384"),
    shared("HS512"),
];

/// What 3.6 signs with besides.
pub(crate) static ED: Method = Method {
    name: "EdDSA",
    algorithm: Some(&rcgen::PKCS_ED25519),
    curve: &[],
    is_rsa: false,
};

/// A pair of key files; the public one is empty where both sides have the same secret.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    /// What the form of the files is called.
    pub(crate) form: &'static str,
    pub(crate) private: String,
    pub(crate) public: String,
}

impl Method {
    /// Writes one pair of keys in all forms that files of this method may have.
    pub(crate) fn write(&self, dir: &Path) -> Result<Vec<Files>> {
        let write = |ending: &str, text: &[u8]| -> Result<String> {
            let path = dir.join(format!("{}.{ending}", self.name));
            fs::write(&path, text)?;
            Ok(path.display().to_string())
        };
        let Some(algorithm) = self.algorithm else {
            let private = write("secret", b"any bytes \x00\xff are a secret")?;
            let public = String::new();
            let form = "a secret";
            return Ok(vec![Files {
                form,
                private,
                public,
            }]);
        };
        let pair = KeyPair::generate_for(algorithm)?;
        let mut all = vec![Files {
            form: "PKCS #8 and a public key",
            private: write("pk8", pem("PRIVATE KEY", pair.serialized_der()).as_bytes())?,
            public: write(
                "pub",
                pem("PUBLIC KEY", &pair.subject_public_key_info()).as_bytes(),
            )?,
        }];
        let older = match (self.is_rsa, self.curve) {
            (true, _) => Some(("RSA PRIVATE KEY", inner(pair.serialized_der())?.to_vec())),
            (_, []) => None,
            (_, curve) => Some((
                "EC PRIVATE KEY",
                sec1(inner(pair.serialized_der())?, curve)?,
            )),
        };
        if let Some((label, der)) = older {
            let certificate = CertificateParams::default().self_signed(&pair)?;
            all.push(Files {
                form: "the older form and a certificate",
                private: write("key", pem(label, &der).as_bytes())?,
                public: write("crt", pem("CERTIFICATE", certificate.der()).as_bytes())?,
            });
        }
        Ok(all)
    }
}

/// A value of DER: its tag, its content, and what follows it.
fn value(der: &[u8]) -> Result<(u8, &[u8], &[u8])> {
    let (head, rest) = der.split_at_checked(2).context("too short")?;
    let (len, rest) = match head[1] {
        short @ 0..0x80 => (usize::from(short), rest),
        long => {
            let (digits, rest) = rest
                .split_at_checked(usize::from(long & 0x7f))
                .context("length")?;
            (
                digits
                    .iter()
                    .fold(0, |len, digit| len << 8 | usize::from(*digit)),
                rest,
            )
        }
    };
    let (content, rest) = rest.split_at_checked(len).context("shorter than it says")?;
    Ok((head[0], content, rest))
}

fn encode(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut der = vec![tag];
    match content.len() {
        short @ 0..0x80 => der.push(short as u8),
        long @ 0x80..0x100 => der.extend([0x81, long as u8]),
        long => der.extend([0x82, (long >> 8) as u8, long as u8]),
    }
    der.extend_from_slice(content);
    der
}

/// The key inside PKCS #8: of a version, an algorithm and an octet string the last.
fn inner(pkcs8: &[u8]) -> Result<&[u8]> {
    let (_, fields, _) = value(pkcs8)?;
    let (_, _, rest) = value(fields)?;
    let (_, _, rest) = value(rest)?;
    Ok(value(rest)?.1)
}

/// A key of SEC 1 with the name of its curve, which PKCS #8 has elsewhere.
fn sec1(key: &[u8], curve: &[u8]) -> Result<Vec<u8>> {
    let (_, fields, _) = value(key)?;
    let (_, version, rest) = value(fields)?;
    let (_, secret, rest) = value(rest)?;
    let curve = encode(0xa0, &encode(0x06, curve));
    let fields = [
        encode(0x02, version),
        encode(0x04, secret),
        curve,
        rest.to_vec(),
    ]
    .concat();
    Ok(encode(0x30, &fields))
}
