//! The examples that RFC 7541 prints, and the encoder against the decoder.

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

#[test]
fn calls_are_read_back_and_the_second_is_short() {
    for table in [DEFAULT_TABLE_SIZE, 0] {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        encoder.peer_table_size(table);
        for round in 0..3 {
            for path in ["/etcdserverpb.KV/Put", "/etcdserverpb.KV/Range"] {
                let mut block = Vec::new();
                encoder.call(path, "127.0.0.1:2379", round == 1, &mut block);
                let read = lines(&mut decoder, &block).unwrap();
                let value = |name: &str| {
                    read.iter()
                        .find(|(n, _)| n == name)
                        .map(|(_, v)| v.as_str())
                };
                assert_eq!(value(":path"), Some(path));
                assert_eq!(value(":method"), Some("POST"));
                assert_eq!(value(":authority"), Some("127.0.0.1:2379"));
                assert_eq!(value("te"), Some("trailers"));
                assert_eq!(value("hasleader"), (round == 1).then_some("true"));
                if round == 2 && table > 0 {
                    assert_eq!(block.len(), 7);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(block in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut decoder = Decoder::new();
        let _ = decoder.decode(&block, |_, _| ());
        prop_assert!(decoder.size <= DEFAULT_TABLE_SIZE);
    }
}
