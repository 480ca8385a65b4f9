//! Keys and signatures: which there are is Go's choice, the mathematics are the provider's.

use rustls::{SignatureScheme, crypto::WebPkiSupportedAlgorithms};

use super::fault::Fault;
use crate::der::{Reader, is_integer, is_oid, magnitude, tag, whole_bytes};

/// rsaEncryption, 1.2.840.113549.1.1.1; the other algorithms of RSA differ in the last number.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const RSA_FAMILY: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1];
/// id-mgf1, in that family
const MGF1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 8];
/// id-ecPublicKey, 1.2.840.10045.2.1
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
/// ecdsa-with-SHA2, 1.2.840.10045.4.3
const ECDSA_SHA2: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3];
/// SHA-1 with ECDSA, 1.2.840.10045.4.1, and with DSA, 1.2.840.10040.4.3
const ECDSA_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1];
const DSA_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x38, 4, 3];
/// id-X25519, 1.3.101.110
const X25519: &[u8] = &[0x2b, 0x65, 0x6e];
/// id-Ed25519, 1.3.101.112
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
/// id-sha2, 2.16.840.1.101.3.4.2
const SHA2: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2];
/// Curves that Go knows, with the bytes of a coordinate: P-224, P-256, P-384, P-521.
const CURVES: [(&[u8], usize); 4] = [
    (&[0x2b, 0x81, 4, 0, 33], 28),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7], 32),
    (&[0x2b, 0x81, 4, 0, 34], 48),
    (&[0x2b, 0x81, 4, 0, 35], 66),
];
/// NULL
const NULL: &[u8] = &[5, 0];
/// Go takes no larger RSA keys in TLS: they cost the other side too much.
const RSA_BITS_MAX: usize = 8192;

/// The kind of a public key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Key {
    Rsa {
        bits: usize,
    },
    Ecdsa,
    Ed25519,
    /// Known to Go, and of no use in TLS.
    Other,
    #[default]
    Unknown,
}

impl Key {
    /// Reads the content of a SubjectPublicKeyInfo.
    pub(super) fn parse(info: &[u8]) -> Result<Key, Fault> {
        let malformed = || Fault::Malformed("malformed public key");
        let mut info = Reader::new(info);
        let algorithm = info.take(tag::SEQUENCE).ok_or_else(malformed)?;
        let (oid, parameters) = split_algorithm(algorithm).ok_or_else(malformed)?;
        let bits = info
            .take(tag::BITS)
            .and_then(whole_bytes)
            .ok_or_else(malformed)?;
        match oid {
            RSA if parameters == NULL => rsa_bits(bits).map(|bits| Key::Rsa { bits }),
            RSA => None,
            EC => is_point(parameters, bits).then_some(Key::Ecdsa),
            ED25519 => (parameters.is_empty() && bits.len() == 32).then_some(Key::Ed25519),
            X25519 => (parameters.is_empty() && bits.len() == 32).then_some(Key::Other),
            _ => Some(Key::Unknown),
        }
        .ok_or_else(malformed)
    }

    pub(super) fn check_size(self) -> Result<(), Fault> {
        match self {
            Key::Rsa { bits } if bits > RSA_BITS_MAX => Err(Fault::KeySize),
            _ => Ok(()),
        }
    }

    /// Whether a handshake can be signed with it.
    pub(super) fn can_shake(self) -> bool {
        matches!(self, Key::Rsa { .. } | Key::Ecdsa | Key::Ed25519)
    }
}

fn rsa_bits(key: &[u8]) -> Option<usize> {
    let mut numbers = Reader::new(key).enter(tag::SEQUENCE)?;
    let mut positive = || {
        let number = numbers.take(tag::INTEGER).filter(|n| is_integer(n))?;
        let is_positive = number[0] & 0x80 == 0 && number != [0];
        is_positive.then(|| magnitude(number))
    };
    let (modulus, _) = (positive()?, positive()?);
    let head = modulus.first()?.leading_zeros() as usize;
    Some(modulus.len() * 8 - head)
}

fn is_point(curve: &[u8], point: &[u8]) -> bool {
    let Some(oid) = Reader::new(curve).take(tag::OID) else {
        return false;
    };
    CURVES
        .iter()
        .any(|(known, size)| *known == oid && point.len() == 1 + 2 * size && point[0] == 4)
}

/// The name of an algorithm and its parameters, the latter with their head.
fn split_algorithm(content: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = Reader::new(content);
    let oid = parts.take(tag::OID).filter(|oid| is_oid(oid))?;
    let parameters = match parts.peek() {
        None => &[][..],
        Some(kind) => parts.take_whole(kind)?.0,
    };
    Some((oid, parameters))
}

/// How a certificate is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SignedBy {
    /// As Go verifies.
    Scheme(SignatureScheme),
    /// With this digest, which neither Go since 1.18 nor rustls accepts from anyone.
    Weak(&'static str),
    /// With what Go does not verify.
    #[default]
    Unknown,
}

impl SignedBy {
    /// Reads an AlgorithmIdentifier. `None` if it is none.
    pub(super) fn parse(algorithm: &[u8]) -> Option<SignedBy> {
        let (oid, parameters) = split_algorithm(algorithm)?;
        let scheme = match oid {
            ECDSA_SHA1 | DSA_SHA1 => return Some(SignedBy::Weak("SHA-1")),
            ED25519 => parameters.is_empty().then_some(SignatureScheme::ED25519),
            _ => match (oid.strip_prefix(ECDSA_SHA2), oid.strip_prefix(RSA_FAMILY)) {
                (Some([2]), _) => Some(SignatureScheme::ECDSA_NISTP256_SHA256),
                (Some([3]), _) => Some(SignatureScheme::ECDSA_NISTP384_SHA384),
                (Some([4]), _) => Some(SignatureScheme::ECDSA_NISTP521_SHA512),
                (_, Some([4])) => return Some(SignedBy::Weak("MD5")),
                (_, Some([5])) => return Some(SignedBy::Weak("SHA-1")),
                (_, Some([10])) => pss(parameters),
                (_, Some([11])) => Some(SignatureScheme::RSA_PKCS1_SHA256),
                (_, Some([12])) => Some(SignatureScheme::RSA_PKCS1_SHA384),
                (_, Some([13])) => Some(SignatureScheme::RSA_PKCS1_SHA512),
                _ => None,
            },
        };
        Some(scheme.map_or(SignedBy::Unknown, SignedBy::Scheme))
    }

    /// What to verify it with.
    pub(super) fn scheme(self) -> Option<SignatureScheme> {
        match self {
            SignedBy::Scheme(scheme) => Some(scheme),
            SignedBy::Weak(_) | SignedBy::Unknown => None,
        }
    }
}

/// RSASSA-PSS with one digest throughout, a salt of its length and the usual trailer.
fn pss(parameters: &[u8]) -> Option<SignatureScheme> {
    let mut fields = Reader::new(parameters).enter(tag::SEQUENCE)?;
    let hash = fields.enter(0xa0)?.take(tag::SEQUENCE)?;
    let (hash, hash_parameters) = split_algorithm(hash)?;
    let mask = fields.enter(0xa1)?.take(tag::SEQUENCE)?;
    let (mask, mask_hash) = split_algorithm(mask)?;
    let (mask_hash, mask_parameters) =
        split_algorithm(Reader::new(mask_hash).take(tag::SEQUENCE)?)?;
    let salt = fields.enter(0xa2)?.take(tag::INTEGER)?;
    let is_usual_trailer = match fields.enter(0xa3) {
        None => true,
        Some(mut trailer) => trailer.take(tag::INTEGER)? == [1],
    };
    let is_plain = |parameters: &[u8]| parameters.is_empty() || parameters == NULL;
    if mask != MGF1
        || mask_hash != hash
        || !is_usual_trailer
        || !is_plain(hash_parameters)
        || !is_plain(mask_parameters)
    {
        return None;
    }
    match (hash.strip_prefix(SHA2)?, salt) {
        ([1], [32]) => Some(SignatureScheme::RSA_PSS_SHA256),
        ([2], [48]) => Some(SignatureScheme::RSA_PSS_SHA384),
        ([3], [64]) => Some(SignatureScheme::RSA_PSS_SHA512),
        _ => None,
    }
}

/// Whether the key in `key_info` has made the signature with this scheme. Of ECDSA only the digest
/// is fixed by it, as in certificates and TLS 1.2.
pub(super) fn is_signed(
    algorithms: &WebPkiSupportedAlgorithms,
    scheme: SignatureScheme,
    key_info: &[u8],
    (signed, signature): (&[u8], &[u8]),
) -> bool {
    let parts = || {
        let mut info = Reader::new(key_info).enter(tag::SEQUENCE)?;
        let algorithm = info.take(tag::SEQUENCE)?;
        Some((algorithm, whole_bytes(info.take(tag::BITS)?)?))
    };
    let Some((algorithm, key)) = parts() else {
        return false;
    };
    algorithms
        .mapping
        .iter()
        .filter(|(known, _)| *known == scheme)
        .flat_map(|(_, algorithms)| algorithms.iter())
        .any(|known| {
            known.public_key_alg_id().as_ref() == algorithm
                && known.verify_signature(key, signed, signature).is_ok()
        })
}
