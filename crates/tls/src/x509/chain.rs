//! From a certificate that a peer shows to one that is trusted.

use std::cell::Cell;

use rustls::{DistinguishedName, crypto::WebPkiSupportedAlgorithms};

use super::{
    certificate::Certificate, constraints, fault::Fault, policy, purpose::Purpose,
    signature::is_signed,
};

/// Signatures that one verification checks at most; a peer chooses the certificates it shows. Go
/// has the same bound. It bounds the length of a chain too, and so the depth of the search.
const SIGNATURES_MAX: usize = 100;
/// keyCertSign is bit 5 of the key usage, counted from the left.
const CERT_SIGN: u16 = 0x8000 >> 5;
/// anyExtendedKeyUsage, 2.5.29.37.0
const ANY_PURPOSE: &[u8] = &[0x55, 0x1d, 37, 0];
/// id-kp, 1.3.6.1.5.5.7.3
const PURPOSES: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3];

/// Certificates that are trusted.
#[derive(Debug, Default)]
pub(crate) struct Roots {
    all: Vec<Certificate>,
    /// What a server asks clients for.
    hints: Vec<DistinguishedName>,
}

impl Roots {
    pub(crate) fn push(&mut self, certificate: Certificate) {
        let hint = DistinguishedName::in_sequence(&certificate.subject);
        self.hints.push(hint);
        self.all.push(certificate);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn hints(&self) -> &[DistinguishedName] {
        &self.hints
    }
}

impl Certificate {
    /// Whether `issuer` may sign certificates and has signed this one.
    pub(super) fn is_signed_by(
        &self,
        issuer: &Certificate,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> bool {
        let may_sign = match issuer.basic {
            Some(basic) => basic.is_ca,
            // Older certificates have no way to say it.
            None => issuer.version < 3,
        };
        let usage = issuer.key_usage;
        may_sign
            && (usage == 0 || usage & CERT_SIGN != 0)
            && self.signed_by.scheme().is_some_and(|scheme| {
                let pair = (self.signed.as_slice(), self.signature.as_slice());
                is_signed(algorithms, scheme, &issuer.key_info, pair)
            })
    }
}

/// One verification of what a peer shows.
pub(crate) struct Verification<'a> {
    pub(crate) roots: &'a Roots,
    pub(crate) algorithms: &'a WebPkiSupportedAlgorithms,
    /// The certificates that the peer has shown with its own.
    pub(crate) shown: &'a [Certificate],
    pub(crate) purpose: Purpose,
    /// Seconds since 1970.
    pub(crate) now: i64,
}

impl Verification<'_> {
    /// Checks `leaf`; for `host` as well, if there is one.
    ///
    /// # Errors
    /// The first [`Fault`] that invalidates the only chain, or all of them.
    pub(crate) fn check(&self, leaf: &Certificate, host: Option<&str>) -> Result<(), Fault> {
        self.check_alone(leaf, None)?;
        if let Some(host) = host {
            leaf.check_host(host)?;
        }
        if self.roots.all.iter().any(|root| root.der == leaf.der) {
            self.check_whole(&[leaf])?;
        } else {
            let search = Search {
                verification: self,
                signatures_left: Cell::new(SIGNATURES_MAX),
                hint: Cell::new(None),
            };
            if !search.extend(&mut vec![leaf]) {
                return Err(search.hint.take().unwrap_or(Fault::UnknownAuthority));
            }
        }
        match leaf.key.can_shake() {
            true => Ok(()),
            false => Err(Fault::Key),
        }
    }

    /// What every certificate must be; `below` has those under a CA.
    fn check_alone(
        &self,
        certificate: &Certificate,
        below: Option<&[&Certificate]>,
    ) -> Result<(), Fault> {
        let now = self.now;
        if certificate.has_unhandled {
            return Err(Fault::CriticalExtension);
        }
        if now < certificate.not_before {
            let start = certificate.not_before;
            return Err(Fault::NotYetValid { now, start });
        }
        if now > certificate.not_after {
            let end = certificate.not_after;
            return Err(Fault::Expired { now, end });
        }
        let most = certificate.basic.and_then(|basic| basic.path_len);
        let between = below.map_or(0, |below| below.len().saturating_sub(1)) as u64;
        match most {
            Some(most) if below.is_some() && between > most => Err(Fault::PathLength),
            _ => Ok(()),
        }
    }

    /// What only a whole chain shows.
    fn check_whole(&self, chain: &[&Certificate]) -> Result<(), Fault> {
        policy::check(chain)?;
        let serves = |oid: &Vec<u8>| {
            oid == ANY_PURPOSE || oid.strip_prefix(PURPOSES) == Some(&[self.purpose as u8][..])
        };
        let is_for_it = chain
            .iter()
            .all(|one| one.purposes.is_empty() || one.purposes.iter().any(serves));
        if !is_for_it {
            return Err(Fault::Purpose);
        }
        constraints::check(chain)
    }
}

/// The way up from a leaf.
struct Search<'v, 'a> {
    verification: &'v Verification<'a>,
    signatures_left: Cell<usize>,
    /// The best reason not to have found one.
    hint: Cell<Option<Fault>>,
}

impl<'v> Search<'v, '_> {
    /// Looks for a trusted certificate above the last of `chain`.
    fn extend(&self, chain: &mut Vec<&'v Certificate>) -> bool {
        let roots = self.verification.roots.all.iter().map(|root| (root, true));
        let shown = self.verification.shown.iter().map(|ca| (ca, false));
        for (issuer, is_root) in roots.chain(shown) {
            if !self.may_follow(chain, issuer, is_root) {
                continue;
            }
            chain.push(issuer);
            let is_found = if is_root {
                self.note(self.verification.check_whole(chain))
            } else {
                self.extend(chain)
            };
            if is_found {
                return true;
            }
            chain.pop();
        }
        false
    }

    fn may_follow(&self, chain: &[&Certificate], issuer: &Certificate, is_root: bool) -> bool {
        let Some(last) = chain.last() else {
            return false;
        };
        if issuer.subject != last.issuer || is_in(issuer, chain) {
            return false;
        }
        let Some(left) = self.signatures_left.get().checked_sub(1) else {
            return self.note(Err(Fault::SignatureLimit));
        };
        self.signatures_left.set(left);
        if !last.is_signed_by(issuer, self.verification.algorithms) {
            return false;
        }
        if !is_root && !issuer.basic.is_some_and(|basic| basic.is_ca) {
            return self.note(Err(Fault::NotAuthorizedToSign));
        }
        self.note(self.verification.check_alone(issuer, Some(chain)))
    }

    /// Keeps the first reason.
    fn note(&self, outcome: Result<(), Fault>) -> bool {
        let Err(fault) = outcome else {
            return true;
        };
        let first = self.hint.take().unwrap_or(fault);
        self.hint.set(Some(first));
        false
    }
}

/// A certificate for the same key and names is in the chain: cross-signatures lead in circles.
fn is_in(candidate: &Certificate, chain: &[&Certificate]) -> bool {
    chain.iter().any(|one| {
        one.subject == candidate.subject
            && one.key_info == candidate.key_info
            && one.has_alt_names == candidate.has_alt_names
            && one.alt_names_der == candidate.alt_names_der
    })
}
