//! The examples that RFC 7541 prints, and bytes that are no block.

use proptest::prelude::*;

use super::*;

fn lines(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(String, String)>, Malformed> {
    let mut out = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    decoder.decode(block, |name, value| out.push((text(name), text(value))))?;
    Ok(out)
}

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

#[test]
fn huffman_coded_requests_of_the_rfc_are_read() {
    // RFC 7541 C.4: three requests on one connection.
    let mut decoder = Decoder::new();
    let first = lines(
        &mut decoder,
        &hex("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff"),
    )
    .unwrap();
    assert_eq!(first[3], (":authority".into(), "www.example.com".into()));
    let second = lines(&mut decoder, &hex("8286 84be 5886 a8eb 1064 9cbf")).unwrap();
    assert_eq!(second[3], (":authority".into(), "www.example.com".into()));
    assert_eq!(second[4], ("cache-control".into(), "no-cache".into()));
    let third = lines(
        &mut decoder,
        &hex("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf"),
    )
    .unwrap();
    assert_eq!(third[4], ("custom-key".into(), "custom-value".into()));
    assert_eq!(decoder.size, 164);
}

#[test]
fn eviction_follows_the_table_size() {
    let mut decoder = Decoder::new();
    // A size of 40 octets, then a line that costs 32 + 1 + 1, twice.
    let block = [0x3f, 9, 0x40, 1, b'a', 1, b'b', 0x40, 1, b'c', 1, b'd'];
    lines(&mut decoder, &block).unwrap();
    assert_eq!(decoder.table.len(), 1);
    assert_eq!(
        lines(&mut decoder, &[0xbe]).unwrap(),
        [("c".into(), "d".into())]
    );
    assert_eq!(
        lines(&mut decoder, &[0xbf]),
        Err(Malformed("index beyond the table"))
    );
}

/// A text in the code, word for word as the RFC's appendix prints them.
#[test]
fn words_of_every_length_are_read() {
    let words: [(u8, u32, u32); 12] = [
        (b'a', 0x3, 5),
        (b'A', 0x21, 6),
        (b'B', 0x5d, 7),
        (b'&', 0xf8, 8),
        (b'!', 0x3f8, 10),
        (b'#', 0xffa, 12),
        (b'$', 0x1ff9, 13),
        (b'<', 0x7ffc, 15),
        (b'\\', 0x7fff0, 19),
        (0x80, 0xfffe6, 20),
        (0x01, 0x7f_ffd8, 23),
        (b'\n', 0x3fff_fffc, 30),
    ];
    for (one, first, first_bits) in words {
        for (other, second, second_bits) in words {
            let bits = (u64::from(first) << second_bits) | u64::from(second);
            let len = first_bits + second_bits;
            let padded = (bits << (64 - len)) | (u64::MAX >> len);
            let octets = &padded.to_be_bytes()[..len.div_ceil(8) as usize];
            let mut out = Vec::new();
            huffman::decode(octets, &mut out).expect("a text");
            assert_eq!(out, [one, other]);
        }
    }
}

#[test]
fn a_text_that_ends_in_no_padding_is_refused() {
    let mut out = Vec::new();
    for octets in [&[0x00][..], &[0x1f, 0xff], &[0xff], &[0xff; 4], &[0x18]] {
        assert!(huffman::decode(octets, &mut out).is_err(), "{octets:x?}");
    }
    assert_eq!(huffman::decode(&[0x1f], &mut Vec::new()), Ok(()));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(block in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut decoder = Decoder::new();
        let _ = decoder.decode(&block, |_, _| ());
        prop_assert!(decoder.size <= DEFAULT_TABLE_SIZE);
    }
}
