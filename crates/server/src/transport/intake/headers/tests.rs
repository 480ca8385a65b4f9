use hpack::Decoder;

use super::{
    super::frames::{HEADERS, PADDED, PRIORITY},
    *,
};

fn frame(flags: u8, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
    [&[a, b, c, HEADERS, flags, 0, 0, 0, 1][..], payload].concat()
}

fn text(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    hpack::put_text(text, &mut out);
    out
}

/// A field that both ends keep in their tables.
fn kept(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[0x40][..], &text(name), &text(value)].concat()
}

fn lines(decoder: &mut Decoder, block: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut out = Vec::new();
    decoder
        .decode(block, |name, value| {
            out.push((name.to_vec(), value.to_vec()));
        })
        .expect("a block");
    out
}

fn line(name: &[u8], value: &[u8]) -> (Vec<u8>, Vec<u8>) {
    (name.to_vec(), value.to_vec())
}

const POST_HTTP: [u8; 2] = [0x83, 0x86];

#[test]
fn sound_blocks_are_left_alone() {
    let path = [&[0x44][..], &text(b"/etcdserverpb.KV/Range")].concat();
    // www.example.com, from RFC 7541, C.4.1.
    let coded = [
        0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
    ];
    for more in [
        kept(b"hasleader", b"true"),
        kept(b"x-any", "v\t\u{e4} \"".as_bytes()),
        kept(b"x-bytes", &[0xff, 0x80]),
        coded.to_vec(),
        vec![0x3f, 0x00],
        [&[0x44][..], &text(b"*")].concat(),
        [&[0x44][..], &text("/a/r\u{e4}ng?b".as_bytes())].concat(),
    ] {
        let block = [&POST_HTTP[..], &path, &more].concat();
        assert_eq!(sound(&frame(4, &block)), None, "{block:x?}");
    }
}

#[test]
fn what_cannot_be_read_is_left_alone() {
    for payload in [
        &[0x41][..],
        &[0x41, 0x7f, 0xff, 0xff, 0xff, 0xff],
        &[0x40, 1, b'X', 9],
        // A text in a code that is none.
        &[0x40, 1, b'X', 0x81, 0xff],
    ] {
        assert_eq!(sound(&frame(4, payload)), None, "{payload:x?}");
    }
    assert_eq!(sound(&frame(PADDED, &[200, 0x41, 1, b'/'])), None);
    assert_eq!(sound(&frame(PADDED, &[])), None);
    assert_eq!(sound(&frame(PRIORITY, &[0; 4])), None);
}

#[test]
fn a_malformed_list_ends_its_stream_and_keeps_the_table_in_step() {
    let refused = |len| line(b"te", &vec![b'x'; len]);
    for (name, value) in [
        (&b"X-Some"[..], &b"value"[..]),
        (b"", b"value"),
        (b"x some", b""),
        (b"x-\xc3\xa4", b"value"),
        (b"x-some", b"va\nlue"),
        (b":some", b"value"),
        (b":status", b"200"),
    ] {
        let block = [&POST_HTTP[..], &kept(name, value), &kept(b"a", b"b")].concat();
        let out = sound(&frame(4, &block)).expect("another block");
        let mut decoder = Decoder::new();
        let read = lines(&mut decoder, &out[HEAD..]);
        let cost = name.len() + value.len();
        let expected = [refused(cost - 2), line(b"a", b"b"), refused(1)];
        assert_eq!(read[2..], expected, "{}", name.escape_ascii());
        // The next block of this client names both by their places.
        let again = lines(&mut decoder, &[0xbf, 0xbe]);
        assert_eq!(again, [refused(cost - 2), line(b"a", b"b")]);
    }
    // One without a place in the table leaves nothing but the refusal.
    let block = [&[0x00][..], &text(b"X"), &text(b"")].concat();
    let out = sound(&frame(4, &block)).expect("another block");
    assert_eq!(lines(&mut Decoder::new(), &out[HEAD..]), [refused(1)]);
    // Too short for the name that ends a stream: it has its place all the same.
    let out = sound(&frame(4, &kept(b"X", b""))).expect("another block");
    let read = lines(&mut Decoder::new(), &out[HEAD..]);
    assert_eq!(read, [line(b"x", b""), refused(1)]);
}

#[test]
fn a_value_of_a_name_sent_before_is_as_long() {
    let first = kept(b"x-some", b"value");
    let mut decoder = Decoder::new();
    lines(&mut decoder, &first);
    let second = [&[0x7e][..], &text(b"va\0lue")].concat();
    let out = sound(&frame(4, &second)).expect("another block");
    let read = lines(&mut decoder, &out[HEAD..]);
    assert_eq!(read, [line(b"x-some", b"xxxxxx"), line(b"te", b"x")]);
}

#[test]
fn what_go_never_reads_becomes_what_h2_can() {
    let of = |index: u8, sent: &[u8]| {
        let block = [&[index][..], &text(sent)].concat();
        let out = sound(&frame(4, &block)).expect("another block");
        let read = lines(&mut Decoder::new(), &out[HEAD..]);
        let [(name, value), as_sent @ ..] = &read[..] else {
            panic!("no field");
        };
        if name == b":path" {
            assert_eq!(as_sent, [line(PATH_AS_SENT.as_bytes(), sent)]);
        }
        String::from_utf8(value.clone()).expect("text")
    };
    let list = b"#initially=[http://127.0.0.1:1;x]";
    assert_eq!(of(0x41, list), "x".repeat(list.len()));
    assert_eq!(of(0x41, b"\xff/"), "xx");
    // One octet more than in the table of the client: no name is as short.
    assert_eq!(of(0x41, b""), "x");
    assert_eq!(of(0x42, b"PO ST"), "xxxxx");
    assert_eq!(of(0x46, b"\xff"), "x");
    assert_eq!(of(0x44, b"/a/b\xff"), "/a/b!");
    assert_eq!(of(0x44, b"/a/b#c"), "/a/b!c");
    assert_eq!(of(0x44, b"xa.B/C d"), "/!.B/C!d");
    assert_eq!(of(0x44, b"x/a.B/C"), "/!a.B/C");
    assert_eq!(of(0x44, b"x"), "/");
    assert_eq!(of(0x44, b""), "/");
}

#[test]
fn padding_and_priority_stay() {
    let before = [2, 0, 0, 0, 0, 16];
    let block = [&[0x41][..], &text(b"/a")].concat();
    let payload = [&before[..], &block, &[0, 0]].concat();
    let other = [&[0x41][..], &text(b"xx")].concat();
    let expected = [&before[..], &other, &[0, 0]].concat();
    let flags = PADDED | PRIORITY;
    assert_eq!(
        sound(&frame(flags, &payload)),
        Some(frame(flags, &expected))
    );
}

proptest::proptest! {
    #[test]
    fn any_frame_is_judged(flags: u8, payload in proptest::collection::vec(0u8.., 0..200)) {
        if let Some(other) = sound(&frame(flags, &payload)) {
            let head = other.first_chunk().expect("a head");
            proptest::prop_assert_eq!(Frame::parse(head).len, other.len() - HEAD);
            // What is sound stays as it is.
            proptest::prop_assert_eq!(sound(&other), None);
        }
    }
}
