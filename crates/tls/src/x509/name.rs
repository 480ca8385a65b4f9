//! Distinguished names: only whether Go can read them, and the common name.

use crate::der::{Reader, is_oid, tag};

/// id-at-commonName, 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// Strings that names are made of (X.690).
mod text {
    pub(super) const UTF8: u8 = 12;
    pub(super) const NUMERIC: u8 = 18;
    pub(super) const PRINTABLE: u8 = 19;
    pub(super) const T61: u8 = 20;
    pub(super) const IA5: u8 = 22;
    pub(super) const BMP: u8 = 30;
}

/// The last common name of a name, empty if there is none. `None` for what is no name to Go.
pub(super) fn common_name(content: &[u8]) -> Option<String> {
    let mut sets = Reader::new(content);
    let mut found = String::new();
    while !sets.is_empty() {
        let mut set = sets.enter(tag::SET)?;
        while !set.is_empty() {
            let mut attribute = set.enter(tag::SEQUENCE)?;
            let kind = attribute.take(tag::OID).filter(|oid| is_oid(oid))?;
            let (string, bytes) = attribute.next()?;
            let value = string_of(string, bytes)?;
            if kind == COMMON_NAME {
                found = value;
            }
        }
    }
    Some(found)
}

fn string_of(kind: u8, bytes: &[u8]) -> Option<String> {
    let all = |allowed: fn(u8) -> bool| {
        bytes
            .iter()
            .all(|byte| allowed(*byte))
            .then(|| bytes.iter().map(|byte| char::from(*byte)).collect())
    };
    match kind {
        text::UTF8 => String::from_utf8(bytes.to_vec()).ok(),
        // Read as Latin-1, which it almost is.
        text::T61 => all(|_| true),
        text::PRINTABLE => all(|b| b.is_ascii_alphanumeric() || b" '()+,-./:=?*&".contains(&b)),
        text::IA5 => all(|b| b.is_ascii()),
        text::NUMERIC => all(|b| b.is_ascii_digit() || b == b' '),
        text::BMP => bmp(bytes),
        _ => None,
    }
}

/// Two bytes for each character, none of them a half surrogate or no character at all.
fn bmp(bytes: &[u8]) -> Option<String> {
    let (pairs, []) = bytes.as_chunks::<2>() else {
        return None;
    };
    let pairs = match pairs {
        [rest @ .., [0, 0]] => rest,
        all => all,
    };
    pairs
        .iter()
        .map(|pair| match u16::from_be_bytes(*pair) {
            0xfdd0..=0xfdef | 0xfffe | 0xffff => None,
            unit => char::from_u32(u32::from(unit)),
        })
        .collect()
}
