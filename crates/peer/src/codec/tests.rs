use super::*;
use proptest::prelude::*;

fn entry(term: u64, index: u64, data: Vec<u8>) -> Entry {
    Entry {
        r#type: 0,
        term,
        index,
        data: (!data.is_empty()).then(|| data.into()),
    }
}

fn append(term: u64, log_term: u64, index: u64, data: &[Vec<u8>], commit: u64) -> Message {
    let entries = data
        .iter()
        .enumerate()
        .map(|(i, data)| entry(term, index + 1 + i as u64, data.clone()))
        .collect();
    Message {
        r#type: MessageType::MsgApp as i32,
        to: 2,
        from: 1,
        term,
        log_term,
        index,
        entries,
        commit,
        ..Message::default()
    }
}

/// Feeds bytes in pieces, as a socket would.
fn decode_all(kind: Kind, bytes: &[u8], piece: usize) -> Result<Vec<Message>, Error> {
    let mut decoder = Decoder::new(kind, 1, 2);
    let (mut buffer, mut out) = (BytesMut::new(), Vec::new());
    for chunk in bytes.chunks(piece.max(1)) {
        buffer.extend_from_slice(chunk);
        while let Some(message) = decoder.decode(&mut buffer)? {
            out.push(message);
        }
    }
    Ok(out)
}

/// What etcd 3.5 wrote, as docs/design/peers.md has it: one whole message, then a
/// commit index alone.
#[test]
fn reads_what_etcd_wrote() {
    let hex = "02000000000000003808031080a682e6a9e2fcd18d0118fcba82cf80adacf5fd01200228013002\
               3a0608001002180340024a0a12080a02280010001800500058000100000000000000000000000000000004";
    let bytes: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
        .collect();
    let mut decoder = Decoder::new(Kind::MsgApp, 0xfdea_b168_0ce0_9d7c, 7);
    let mut buffer = BytesMut::from(&bytes[..]);
    let first = decoder.decode(&mut buffer).unwrap().unwrap();
    assert_eq!((first.term, first.log_term, first.index), (2, 1, 2));
    assert_eq!(first.entries.len(), 1);
    assert_eq!(first.commit, 2);
    let second = decoder.decode(&mut buffer).unwrap().unwrap();
    assert_eq!((second.term, second.log_term, second.index), (2, 2, 3));
    assert_eq!((second.entries.len(), second.commit), (0, 4));
    assert!(buffer.is_empty());
}

#[test]
fn runs_of_appends_are_written_short() {
    let mut encoder = Encoder::new(Kind::MsgApp);
    let mut out = BytesMut::new();
    encoder.encode(&append(5, 4, 10, &[vec![1]], 9), &mut out);
    assert_eq!(out[0], WHOLE);
    let at = out.len();
    encoder.encode(&append(5, 5, 11, &[vec![2], vec![3]], 11), &mut out);
    assert_eq!(out[at], ENTRIES);
    // One that starts elsewhere says so.
    let at = out.len();
    encoder.encode(&append(5, 5, 11, &[vec![2]], 12), &mut out);
    assert_eq!(out[at], WHOLE);
    let messages = decode_all(Kind::MsgApp, &out, 7).unwrap();
    assert_eq!(messages.len(), 3);
    assert_eq!(messages[1], append(5, 5, 11, &[vec![2], vec![3]], 11));
}

#[test]
fn signs_of_life_are_no_messages() {
    for kind in [Kind::Message, Kind::MsgApp] {
        let mut encoder = Encoder::new(kind);
        let mut out = BytesMut::new();
        encoder.heartbeat(&mut out);
        encoder.encode(&append(1, 0, 0, &[], 0), &mut out);
        encoder.heartbeat(&mut out);
        assert_eq!(decode_all(kind, &out, 3).unwrap().len(), 1);
    }
}

#[test]
fn nobody_announces_what_does_not_fit() {
    let mut buffer = BytesMut::from(&u64::MAX.to_be_bytes()[..]);
    let mut decoder = Decoder::new(Kind::Message, 1, 2);
    assert!(matches!(
        decoder.decode(&mut buffer),
        Err(Error::TooLong(_))
    ));
    let mut buffer = BytesMut::from(&[9u8][..]);
    let mut decoder = Decoder::new(Kind::MsgApp, 1, 2);
    assert!(matches!(decoder.decode(&mut buffer), Err(Error::Type(9))));
}

fn messages() -> impl Strategy<Value = Vec<Message>> {
    let data = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4);
    let one = (1..4u64, 0..3u64, 0..6u64, data, 0..9u64).prop_map(
        |(term, log_term, index, data, commit)| append(term, log_term, index, &data, commit),
    );
    prop::collection::vec(one, 0..12)
}

proptest! {
    #[test]
    fn what_is_written_is_read(messages in messages(), piece in 1usize..64) {
        for kind in [Kind::Message, Kind::MsgApp] {
            let mut encoder = Encoder::new(kind);
            let mut out = BytesMut::new();
            for message in &messages {
                encoder.encode(message, &mut out);
            }
            prop_assert_eq!(&decode_all(kind, &out, piece).unwrap(), &messages);
        }
    }

    #[test]
    fn any_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200), piece in 1usize..50) {
        let _ = decode_all(Kind::Message, &bytes, piece);
        let _ = decode_all(Kind::MsgApp, &bytes, piece);
    }
}

/// A run of appends that comes byte by byte is decoded once, not once per byte:
/// with what is looked at again and again this would take minutes.
#[test]
fn a_long_run_in_small_pieces_takes_no_longer_than_it_must() {
    let mut encoder = Encoder::new(Kind::MsgApp);
    let mut out = BytesMut::new();
    encoder.encode(&append(5, 5, 0, &[], 0), &mut out);
    let data = vec![vec![7; 3]; 20_000];
    encoder.encode(&append(5, 5, 0, &data, 9), &mut out);
    let messages = decode_all(Kind::MsgApp, &out, 1).unwrap();
    assert_eq!(messages[1].entries.len(), 20_000);
}

#[test]
fn an_announced_number_of_entries_costs_nothing_before_they_come() {
    let mut bytes = vec![ENTRIES];
    bytes.extend_from_slice(&u64::MAX.to_be_bytes());
    let mut decoder = Decoder::new(Kind::MsgApp, 1, 2);
    let mut buffer = BytesMut::from(&bytes[..]);
    assert!(matches!(decoder.decode(&mut buffer), Ok(None)));
    // Each may be large, all together may not.
    let huge = Run {
        left: 2,
        entries: Vec::new(),
        bytes: MESSAGE_MAX,
    };
    decoder.run = Some(huge);
    let mut buffer = BytesMut::from(&0u64.to_be_bytes()[..]);
    assert!(matches!(
        decoder.decode(&mut buffer),
        Err(Error::TooLong(_))
    ));
}

#[test]
fn every_etcd_release_s_sign_of_life_is_one() {
    // 3.5 writes all fields, 3.6 others, 3.7 the type alone.
    let forms: [&[u8]; 3] = [
        b"\x08\x08\x10\x00\x18\x00\x20\x00\x28\x00\x30\x00\x40\x00\x4a\x0a\x12\x08\x0a\x02\x28\x00\x10\x00\x18\x00\x50\x00\x58\x00",
        b"\x08\x08\x10\x00\x18\x00\x20\x00\x28\x00\x30\x00\x40\x00\x50\x00\x58\x00\x68\x00",
        b"\x08\x08",
    ];
    for form in forms {
        let mut bytes = (form.len() as u64).to_be_bytes().to_vec();
        bytes.extend_from_slice(form);
        assert!(decode_all(Kind::Message, &bytes, 5).unwrap().is_empty());
    }
}
