//! No bytes of others break what reads certificates and revocation lists.

use proptest::{collection::vec, prelude::*};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::pki_types::CertificateDer;

use super::certs::Ca;
use crate::{
    der::{Reader, tag},
    revocation::revoked_serials,
    x509::Certificate,
};

/// Last numbers of the standard extensions that are read.
const EXTENSIONS: [u64; 12] = [14, 15, 17, 19, 30, 31, 32, 33, 35, 36, 37, 54];

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let mut whole = vec![tag];
    match len {
        0..0x80 => whole.push(len as u8),
        0x80..0x100 => whole.extend([0x81, len as u8]),
        _ => whole.extend([0x82, (len >> 8) as u8, len as u8]),
    }
    whole.extend_from_slice(content);
    whole
}

/// Elements inside of elements: their heads are sound, their contents anything.
fn tree() -> impl Strategy<Value = Vec<u8>> {
    let tags = prop_oneof![
        1u8..7,
        Just(tag::UTC_TIME),
        Just(tag::GENERALIZED_TIME),
        0x80u8..0x88,
        any::<u8>(),
    ];
    let leaf = (tags, vec(any::<u8>(), 0..34)).prop_map(|(tag, content)| element(tag, &content));
    leaf.prop_recursive(4, 24, 4, |inner| {
        let tags = prop_oneof![Just(tag::SEQUENCE), Just(tag::SET), 0xa0u8..0xa4];
        (tags, vec(inner, 0..4)).prop_map(|(tag, parts)| element(tag, &parts.concat()))
    })
}

/// One element of a kind that extensions have, with any content.
fn any_element() -> impl Strategy<Value = Vec<u8>> {
    let tags = [tag::BOOLEAN, tag::INTEGER, tag::BITS, tag::OCTETS, tag::OID];
    let tags = proptest::sample::select(tags.to_vec());
    (tags, vec(any::<u8>(), 0..12)).prop_map(|(tag, content)| element(tag, &content))
}

fn with_extension(number: u64, value: Vec<u8>) -> Vec<u8> {
    thread_local! {
        static KEY: KeyPair = KeyPair::generate().expect("key");
    }
    let mut params = CertificateParams::new(Vec::new()).expect("no name");
    let extension = CustomExtension::from_oid_content(&[2, 5, 29, number], value);
    params.custom_extensions = vec![extension];
    let certificate = KEY.with(|key| params.self_signed(key)).expect("signed");
    certificate.der().to_vec()
}

fn read(bytes: &[u8]) {
    let _ = revoked_serials(bytes);
    let _ = Certificate::parse(bytes).map(|read| crate::Leaf::of(&read));
    let mut reader = Reader::new(bytes);
    while reader.next().is_some() {}
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_break_the_parsers(bytes in vec(any::<u8>(), 0..200)) {
        read(&bytes);
    }

    #[test]
    fn no_elements_break_the_parsers(tree in tree()) {
        read(&tree);
    }

    #[test]
    fn no_extension_breaks_the_parsers(
        number in proptest::sample::select(&EXTENSIONS[..]),
        value in prop_oneof![any_element(), tree(), vec(any::<u8>(), 0..40)],
    ) {
        read(&with_extension(number, value));
    }

    #[test]
    fn no_changed_byte_breaks_the_parsers(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut der = with_extension(15, element(tag::BITS, &[7, 0x80]));
        let at = at.index(der.len());
        der[at] = byte;
        read(&der);
    }
}

#[test]
fn a_key_usage_has_at_most_seven_unused_bits() {
    for unused in 0..=255 {
        let der = with_extension(15, element(tag::BITS, &[unused, 0x80]));
        assert_eq!(Certificate::parse(&der).is_ok(), unused <= 7, "{unused}");
    }
    for (bits, is_sound) in [(&[1, 0x01][..], false), (&[1, 0x02], true), (&[1], false)] {
        let der = with_extension(15, element(tag::BITS, bits));
        assert_eq!(Certificate::parse(&der).is_ok(), is_sound, "{bits:?}");
    }
}

/// What follows the key of a certificate is not passed over because its length is none.
#[test]
fn extensions_with_a_broken_head_are_not_passed_over() {
    let mut der = with_extension(15, element(tag::BITS, &[7, 0x80]));
    assert!(Certificate::parse(&CertificateDer::from(der.clone())).is_ok());
    let at = der
        .windows(4)
        .rposition(|head| head[0] == tag::EXTENSIONS && head[2] == tag::SEQUENCE)
        .expect("extensions");
    der[at + 1] = 0x80;
    assert!(Certificate::parse(&der).is_err());
}

/// A list that is broken in the middle does not revoke less than it was meant to.
#[test]
fn a_broken_list_of_revoked_serials_is_no_list() {
    let dir = tempfile::tempdir().expect("dir");
    let ca = Ca::new(dir.path(), "ca");
    let der = std::fs::read(ca.revoke(&[300, 301], false)).expect("read");
    let serials = revoked_serials(&der).expect("a list");
    assert_eq!(serials, [vec![1, 44], vec![1, 45]]);
    let none = std::fs::read(ca.revoke(&[], false)).expect("read");
    assert_eq!(revoked_serials(&none), Some(Vec::new()));
    // The head of the first entry is behind the head of the entries.
    let entry = der
        .windows(4)
        .position(|part| part == [tag::INTEGER, 2, 1, 44])
        .expect("an entry");
    for (at, byte) in [
        (entry - 4, 0x05), // another tag for the entries
        (entry - 3, 0x80), // no length
        (entry - 3, 0x7f), // longer than the list
        (entry - 2, 0x05), // an entry that is none
        (entry - 1, 0x80),
        (entry + 1, 0x00), // no serial
        (entry + 4, 0x05), // no date
    ] {
        let mut broken = der.clone();
        broken[at] = byte;
        assert_eq!(revoked_serials(&broken), None, "{byte:#x} at {at}");
    }
    let cut = &der[..der.len() - 1];
    assert_eq!(revoked_serials(cut), None);
    let longer = [&der[..], b"\n"].concat();
    assert_eq!(revoked_serials(&longer), None);
}
