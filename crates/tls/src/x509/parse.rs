//! One certificate (RFC 5280, 4.1), read as strictly as Go reads it: what Go cannot read ends its
//! handshake, so it ends ours.

use std::collections::HashSet;

use rustls::pki_types::CertificateDer;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};

use super::{
    certificate::Certificate,
    fault::Fault,
    name,
    signature::{Key, SignedBy},
};
use crate::der::{Reader, is_integer, is_oid, magnitude, tag, whole_bytes};

impl Certificate {
    /// Reads a DER certificate.
    ///
    /// # Errors
    /// [`Fault::Malformed`]
    pub(crate) fn parse(der: &[u8]) -> Result<Certificate, Fault> {
        let mut outside = Reader::new(der);
        let mut whole = outside
            .enter(tag::SEQUENCE)
            .ok_or(Fault::Malformed("malformed certificate"))?;
        if !outside.is_empty() {
            return Err(Fault::Malformed("trailing data"));
        }
        let (signed, content) = whole
            .take_whole(tag::SEQUENCE)
            .ok_or(Fault::Malformed("malformed tbs certificate"))?;
        let algorithm = whole
            .take(tag::SEQUENCE)
            .ok_or(Fault::Malformed("malformed algorithm identifier"))?;
        let signature = whole
            .take(tag::BITS)
            .and_then(whole_bytes)
            .ok_or(Fault::Malformed("malformed signature"))?;
        let mut certificate = Certificate {
            der: der.to_vec(),
            signed: signed.to_vec(),
            signature: signature.to_vec(),
            ..Certificate::default()
        };
        certificate.read_signed(Reader::new(content), algorithm)?;
        Ok(certificate)
    }

    /// Reads all of what a peer has shown.
    ///
    /// # Errors
    /// The first that cannot be read, or has a key that TLS in Go is spared.
    pub(crate) fn parse_shown(
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<(Certificate, Vec<Certificate>), Fault> {
        let parse = |der: &CertificateDer<'_>| {
            let certificate = Certificate::parse(der)?;
            certificate.key.check_size()?;
            Ok(certificate)
        };
        let leaf = parse(end_entity)?;
        let rest = intermediates.iter().map(parse).collect::<Result<_, _>>()?;
        Ok((leaf, rest))
    }

    fn read_signed(&mut self, mut tbs: Reader<'_>, algorithm: &[u8]) -> Result<(), Fault> {
        self.version = version(&mut tbs).ok_or(Fault::Malformed("invalid version"))?;
        // A negative one is let through, as by the builds of etcd 3.5.
        let serial = tbs
            .take(tag::INTEGER)
            .filter(|serial| is_integer(serial))
            .ok_or(Fault::Malformed("malformed serial number"))?;
        self.serial = magnitude(serial).to_vec();
        let inner = tbs
            .take(tag::SEQUENCE)
            .ok_or(Fault::Malformed("malformed signature algorithm identifier"))?;
        if inner != algorithm {
            return Err(Fault::Malformed(
                "inner and outer signature algorithm identifiers don't match",
            ));
        }
        self.signed_by =
            SignedBy::parse(inner).ok_or(Fault::Malformed("malformed algorithm identifier"))?;
        let (issuer, _) = read_name(&mut tbs).ok_or(Fault::Malformed("malformed issuer"))?;
        (self.not_before, self.not_after) =
            validity(&mut tbs).ok_or(Fault::Malformed("malformed validity"))?;
        let (subject, common_name) =
            read_name(&mut tbs).ok_or(Fault::Malformed("malformed subject"))?;
        (self.issuer, self.subject) = (issuer.to_vec(), subject.to_vec());
        self.common_name = common_name;
        let (whole, content) = tbs
            .take_whole(tag::SEQUENCE)
            .ok_or(Fault::Malformed("malformed spki"))?;
        self.key_info = whole.to_vec();
        self.key = Key::parse(content)?;
        if self.version == 3 {
            tbs.take(tag::ISSUER_ID);
            tbs.take(tag::SUBJECT_ID);
            self.read_extensions(tbs)?;
        }
        Ok(())
    }

    fn read_extensions(&mut self, mut tbs: Reader<'_>) -> Result<(), Fault> {
        let malformed = Fault::Malformed("malformed extension");
        if tbs.peek() != Some(tag::EXTENSIONS) {
            return Ok(());
        }
        let mut outer = tbs
            .enter(tag::EXTENSIONS)
            .ok_or(Fault::Malformed("malformed extensions"))?;
        let mut list = outer.enter(tag::SEQUENCE).ok_or(malformed.clone())?;
        let mut seen = HashSet::new();
        while !list.is_empty() {
            let mut extension = list.enter(tag::SEQUENCE).ok_or(malformed.clone())?;
            let oid = extension
                .take(tag::OID)
                .filter(|oid| is_oid(oid))
                .ok_or(malformed.clone())?;
            let is_critical = match extension.take(tag::BOOLEAN) {
                None | Some([0]) => false,
                Some([0xff]) => true,
                Some(_) => return Err(malformed),
            };
            let value = extension.take(tag::OCTETS).ok_or(malformed.clone())?;
            if !seen.insert(oid) {
                return Err(Fault::Malformed("certificate contains duplicate extension"));
            }
            let is_handled = self.read_extension(oid, is_critical, value)?;
            self.has_unhandled |= is_critical && !is_handled;
        }
        Ok(())
    }
}

fn version(tbs: &mut Reader<'_>) -> Option<u8> {
    if tbs.peek() != Some(tag::VERSION) {
        return Some(1);
    }
    let mut inside = tbs.enter(tag::VERSION)?;
    match inside.take(tag::INTEGER)? {
        [version @ 0..=2] if inside.is_empty() => Some(version + 1),
        _ => None,
    }
}

fn read_name<'a>(tbs: &mut Reader<'a>) -> Option<(&'a [u8], String)> {
    let content = tbs.take(tag::SEQUENCE)?;
    Some((content, name::common_name(content)?))
}

fn validity(tbs: &mut Reader<'_>) -> Option<(i64, i64)> {
    let mut validity = tbs.enter(tag::SEQUENCE)?;
    let mut next = || {
        let (kind, text) = validity.next()?;
        Some(moment(kind, text)?.unix_timestamp())
    };
    Some((next()?, next()?))
}

/// UTCTime `YYMMDDHHMM[SS]Z` or GeneralizedTime `YYYYMMDDHHMMSSZ`; in place of the Z an offset that
/// is not zero, which Go takes as well.
fn moment(kind: u8, text: &[u8]) -> Option<OffsetDateTime> {
    let text = std::str::from_utf8(text).ok()?;
    let zone_at = text.find(['Z', '+', '-'])?;
    let (digits, zone) = text.split_at(zone_at);
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match (kind, digits.len()) {
        (tag::UTC_TIME, 10 | 12) => {
            let year: i32 = digits[..2].parse().ok()?;
            let century = if year < 50 { 2000 } else { 1900 };
            (century + year, &digits[2..])
        }
        (tag::GENERALIZED_TIME, 14) => (digits[..4].parse().ok()?, &digits[4..]),
        _ => return None,
    };
    let two = |at: usize| {
        rest.get(at..at + 2)
            .map_or(Some(0), |two| two.parse::<u8>().ok())
    };
    let date = Date::from_calendar_date(year, Month::try_from(two(0)?).ok()?, two(2)?).ok()?;
    let time = Time::from_hms(two(4)?, two(6)?, two(8)?).ok()?;
    Some(PrimitiveDateTime::new(date, time).assume_offset(offset(zone)?))
}

fn offset(zone: &str) -> Option<UtcOffset> {
    if zone == "Z" {
        return Some(UtcOffset::UTC);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let digits = zone
        .get(1..)
        .filter(|digits| digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit()))?;
    let (hours, minutes): (i8, i8) = (digits[..2].parse().ok()?, digits[2..].parse().ok()?);
    UtcOffset::from_hms(sign * hours, sign * minutes, 0)
        .ok()
        .filter(|offset| *offset != UtcOffset::UTC)
}
