use hpack::{DEFAULT_TABLE_SIZE, Decoder, Malformed};

use super::*;

fn lines(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(String, String)>, Malformed> {
    let mut out = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    decoder.decode(block, |name, value| out.push((text(name), text(value))))?;
    Ok(out)
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
