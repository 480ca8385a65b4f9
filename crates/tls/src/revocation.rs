//! Revocation lists.

use crate::der::{Reader, is_integer, magnitude, tag};

/// The serial numbers of a DER revocation list (RFC 5280, 5.1). Nothing else of
/// it matters, neither issuer nor signature nor dates: etcd's rule. But a list
/// that is broken anywhere is none, and not one that revokes less.
pub(crate) fn revoked_serials(der: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut outside = Reader::new(der);
    let mut list = outside.enter(tag::SEQUENCE)?;
    let mut tbs = list.enter(tag::SEQUENCE)?;
    list.take(tag::SEQUENCE)?; // signature algorithm
    list.take(tag::BITS)?;
    if !outside.is_empty() {
        return None;
    }
    tbs.take(tag::INTEGER); // version
    tbs.take(tag::SEQUENCE)?; // signature algorithm
    tbs.take(tag::SEQUENCE)?; // issuer
    tbs.next().filter(is_time)?;
    if matches!(tbs.peek(), Some(tag::UTC_TIME | tag::GENERALIZED_TIME)) {
        tbs.next()?;
    }
    let mut serials = Vec::new();
    if tbs.peek() == Some(tag::SEQUENCE) {
        let mut entries = tbs.enter(tag::SEQUENCE)?;
        while !entries.is_empty() {
            let mut entry = entries.enter(tag::SEQUENCE)?;
            let serial = entry
                .take(tag::INTEGER)
                .filter(|serial| is_integer(serial))?;
            entry.next().filter(is_time)?;
            serials.push(magnitude(serial).to_vec());
        }
    }
    if !tbs.is_empty() {
        tbs.take(tag::VERSION)?; // extensions
    }
    tbs.is_empty().then_some(serials)
}

fn is_time((kind, _): &(u8, &[u8])) -> bool {
    matches!(*kind, tag::UTC_TIME | tag::GENERALIZED_TIME)
}
