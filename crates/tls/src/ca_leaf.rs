//! Certificates that say of themselves that they are a CA, shown by a server or a client: what
//! `openssl req -x509` makes. webpki takes them from no one, Go and so etcd do. A chain that webpki
//! refuses for this reason alone is verified here with all of the other checks: signatures up to a
//! trusted CA, validity, purposes, path lengths. What is not understood is refused.

use std::{cell::Cell, sync::Arc, time::Duration};

use rustls::{
    CertificateError, DistinguishedName, Error, OtherError, RootCertStore,
    client::{
        danger::{ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::WebPkiSupportedAlgorithms,
    pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime},
    server::{
        ParsedCertificate,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use crate::{
    der::{Reader, tag},
    leaf::moment,
    verify::signatures_of,
};

/// What a certificate must be good for, as the last byte of 1.3.6.1.5.5.7.3.x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Server = 1,
    Client = 2,
}

/// Signatures that one verification checks at most; a peer chooses the certificates it shows.
const SIGNATURES_MAX: usize = 32;
/// CAs between the leaf and a trusted one.
const INTERMEDIATES_MAX: usize = 6;

/// id-ce-basicConstraints, -keyUsage, -extKeyUsage, -subjectAltName, -nameConstraints: 2.5.29.x
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 37];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 17];
const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 30];
/// anyExtendedKeyUsage, 2.5.29.37.0
const ANY_PURPOSE: &[u8] = &[0x55, 0x1d, 37, 0];
/// id-kp, 1.3.6.1.5.5.7.3
const PURPOSES: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3];
/// keyCertSign is bit 5 of the key usage, counted from the left.
const CERT_SIGN: u8 = 0x80 >> 5;

/// The parts of a certificate that a chain is judged by.
#[derive(Debug)]
struct Certificate<'a> {
    /// What is signed, its head included.
    signed: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
    issuer: &'a [u8],
    subject: &'a [u8],
    key: &'a [u8],
    not_before: i64,
    not_after: i64,
    is_ca: bool,
    path_len: Option<usize>,
    key_usage: Option<u8>,
    /// `None` where it names no purpose.
    purposes: Option<Vec<&'a [u8]>>,
}

fn bad_encoding() -> CertificateError {
    CertificateError::BadEncoding
}

/// The bytes of a BIT STRING that has no unused bits.
fn bits(content: &[u8]) -> Option<&[u8]> {
    match content {
        [0, bits @ ..] => Some(bits),
        _ => None,
    }
}

impl<'a> Certificate<'a> {
    fn parse(der: &'a [u8]) -> Result<Certificate<'a>, CertificateError> {
        Certificate::read(der).ok_or_else(bad_encoding)?
    }

    /// `None` for what is no certificate, an error for one that must not be judged here.
    fn read(der: &'a [u8]) -> Option<Result<Certificate<'a>, CertificateError>> {
        let mut whole = Reader::new(der).enter(tag::SEQUENCE)?;
        let (signed, content) = whole.take_whole(tag::SEQUENCE)?;
        let algorithm = whole.take(tag::SEQUENCE)?;
        let signature = bits(whole.take(tag::BITS)?)?;
        let mut tbs = Reader::new(content);
        tbs.take(tag::VERSION);
        tbs.take(tag::INTEGER)?;
        // The algorithm stands inside and outside of what is signed.
        if tbs.take(tag::SEQUENCE)? != algorithm {
            return None;
        }
        let issuer = tbs.take(tag::SEQUENCE)?;
        let mut validity = tbs.enter(tag::SEQUENCE)?;
        let mut second = || {
            let (kind, text) = validity.next()?;
            Some(moment(kind, text)?.unix_timestamp())
        };
        let (not_before, not_after) = (second()?, second()?);
        let mut certificate = Certificate {
            signed,
            algorithm,
            signature,
            issuer,
            subject: tbs.take(tag::SEQUENCE)?,
            key: tbs.take(tag::SEQUENCE)?,
            not_before,
            not_after,
            is_ca: false,
            path_len: None,
            key_usage: None,
            purposes: None,
        };
        while let Some(next) = tbs.peek() {
            let (_, content) = tbs.next()?;
            if next == tag::EXTENSIONS {
                let extensions = Reader::new(content).enter(tag::SEQUENCE)?;
                if let Err(error) = certificate.read_extensions(extensions)? {
                    return Some(Err(error));
                }
            }
        }
        Some(Ok(certificate))
    }

    fn read_extensions(
        &mut self,
        mut extensions: Reader<'a>,
    ) -> Option<Result<(), CertificateError>> {
        while extensions.peek().is_some() {
            let mut extension = extensions.enter(tag::SEQUENCE)?;
            let name = extension.take(tag::OID)?;
            let is_critical = extension
                .take(tag::BOOLEAN)
                .is_some_and(|value| value != [0]);
            let mut value = Reader::new(extension.take(tag::OCTETS)?);
            match name {
                BASIC_CONSTRAINTS => {
                    let mut constraints = value.enter(tag::SEQUENCE)?;
                    self.is_ca = constraints.take(tag::BOOLEAN).is_some_and(|ca| ca != [0]);
                    self.path_len = match constraints.take(tag::INTEGER) {
                        None => None,
                        Some([len @ 0..0x80]) => Some(usize::from(*len)),
                        Some(_) => return None,
                    };
                }
                KEY_USAGE => self.key_usage = Some(*value.take(tag::BITS)?.get(1)?),
                EXTENDED_KEY_USAGE => {
                    let mut list = value.enter(tag::SEQUENCE)?;
                    let mut purposes = Vec::new();
                    while list.peek().is_some() {
                        purposes.push(list.take(tag::OID)?);
                    }
                    self.purposes = Some(purposes);
                }
                // Read by who checks the name.
                SUBJECT_ALT_NAME => {}
                // Not judged here, so nothing below it is let through.
                NAME_CONSTRAINTS => {
                    return Some(Err(CertificateError::UnhandledCriticalExtension));
                }
                _ if is_critical => {
                    return Some(Err(CertificateError::UnhandledCriticalExtension));
                }
                _ => {}
            }
        }
        Some(Ok(()))
    }

    /// What every certificate of a chain must be.
    fn check(&self, purpose: Purpose, now: UnixTime) -> Result<(), CertificateError> {
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if seconds < self.not_before {
            return Err(CertificateError::NotValidYet);
        }
        if seconds > self.not_after {
            return Err(CertificateError::ExpiredContext {
                time: now,
                not_after: UnixTime::since_unix_epoch(Duration::from_secs(
                    u64::try_from(self.not_after).unwrap_or_default(),
                )),
            });
        }
        let serves = |oid: &&[u8]| {
            *oid == ANY_PURPOSE || oid.strip_prefix(PURPOSES) == Some(&[purpose as u8][..])
        };
        match &self.purposes {
            Some(purposes) if !purposes.iter().any(serves) => Err(CertificateError::InvalidPurpose),
            _ => Ok(()),
        }
    }

    /// Whether it may have signed a certificate with so many CAs between the two.
    fn may_sign(&self, between: usize) -> bool {
        self.is_ca
            && self.path_len.is_none_or(|most| between <= most)
            && self.key_usage.is_none_or(|usage| usage & CERT_SIGN != 0)
    }
}

/// One verification.
struct Chain<'a> {
    roots: &'a [TrustAnchor<'static>],
    algorithms: &'a WebPkiSupportedAlgorithms,
    /// The certificates that the peer has shown with its own.
    shown: &'a [Certificate<'a>],
    purpose: Purpose,
    now: UnixTime,
    signatures_left: Cell<usize>,
}

impl Chain<'_> {
    /// Whether the key of an issuer has signed the certificate.
    fn is_signed(&self, certificate: &Certificate<'_>, issuer_key: &[u8]) -> bool {
        let Some(left) = self.signatures_left.get().checked_sub(1) else {
            return false;
        };
        self.signatures_left.set(left);
        let mut parts = Reader::new(issuer_key);
        let (Some(key_algorithm), Some(key)) = (
            parts.take(tag::SEQUENCE),
            parts.take(tag::BITS).and_then(bits),
        ) else {
            return false;
        };
        self.algorithms.all.iter().any(|known| {
            known.signature_alg_id().as_ref() == certificate.algorithm
                && known.public_key_alg_id().as_ref() == key_algorithm
                && known
                    .verify_signature(key, certificate.signed, certificate.signature)
                    .is_ok()
        })
    }

    /// Looks for a way from `certificate`, with so many CAs below it, to a trusted CA.
    fn leads_to_root(&self, certificate: &Certificate<'_>, below: usize) -> bool {
        let by_root = self.roots.iter().any(|root| {
            root.subject.as_ref() == certificate.issuer
                && root.name_constraints.is_none()
                && self.is_signed(certificate, root.subject_public_key_info.as_ref())
        });
        by_root
            || below < INTERMEDIATES_MAX
                && self.shown.iter().any(|issuer| {
                    issuer.subject == certificate.issuer
                        && issuer.may_sign(below)
                        && issuer.check(self.purpose, self.now).is_ok()
                        && self.is_signed(certificate, issuer.key)
                        && self.leads_to_root(issuer, below + 1)
                })
    }
}

/// Verifies the chain of a leaf that says it is a CA.
fn verify(
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    roots: &RootCertStore,
    algorithms: &WebPkiSupportedAlgorithms,
    purpose: Purpose,
    now: UnixTime,
) -> Result<(), CertificateError> {
    let leaf = Certificate::parse(end_entity)?;
    leaf.check(purpose, now)?;
    // One that cannot be read leads nowhere.
    let shown: Vec<Certificate<'_>> = intermediates
        .iter()
        .filter_map(|der| Certificate::parse(der).ok())
        .collect();
    let chain = Chain {
        roots: &roots.roots,
        algorithms,
        shown: &shown,
        purpose,
        now,
        signatures_left: Cell::new(SIGNATURES_MAX),
    };
    if chain.leads_to_root(&leaf, 0) {
        Ok(())
    } else {
        Err(CertificateError::UnknownIssuer)
    }
}

/// True if webpki refused a certificate for no other reason than that it says it is a CA.
fn is_ca_refused(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) = error else {
        return false;
    };
    matches!(
        inner.downcast_ref::<webpki::Error>(),
        Some(webpki::Error::CaUsedAsEndEntity)
    )
}

/// A verifier of rustls, and what it does not let through though etcd does.
#[derive(Debug)]
pub(crate) struct CaLeaves<V: ?Sized> {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
    inner: Arc<V>,
}

impl<V: ?Sized> CaLeaves<V> {
    /// `inner` trusts `roots`.
    pub(crate) fn new(
        roots: Arc<RootCertStore>,
        algorithms: WebPkiSupportedAlgorithms,
        inner: Arc<V>,
    ) -> CaLeaves<V> {
        CaLeaves {
            roots,
            algorithms,
            inner,
        }
    }

    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        purpose: Purpose,
        now: UnixTime,
    ) -> Result<(), Error> {
        let (roots, algorithms) = (&self.roots, &self.algorithms);
        verify(end_entity, intermediates, roots, algorithms, purpose, now).map_err(Error::from)
    }
}

impl ClientCertVerifier for CaLeaves<dyn ClientCertVerifier> {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self
            .inner
            .verify_client_cert(end_entity, intermediates, now)
        {
            Err(error) if is_ca_refused(&error) => {
                self.verify(end_entity, intermediates, Purpose::Client, now)?;
                Ok(ClientCertVerified::assertion())
            }
            outcome => outcome,
        }
    }

    signatures_of!(inner);
}

impl ServerCertVerifier for CaLeaves<dyn ServerCertVerifier> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let outcome = self.inner.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match outcome {
            Err(error) if is_ca_refused(&error) => {
                self.verify(end_entity, intermediates, Purpose::Server, now)?;
                // The verifier of rustls comes to the name last.
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            outcome => outcome,
        }
    }

    signatures_of!(inner);
}
