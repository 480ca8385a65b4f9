use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
    [&[a, b, c, kind, flags, 0, 0, 0, 1][..], payload].concat()
}

/// Method, scheme, `:authority` as given, one more field.
fn block(authority: &[u8]) -> Vec<u8> {
    [&[0x83, 0x86, 0x41][..], authority, &[0x5f, 1, b'v']].concat()
}

fn plain(text: &str) -> Vec<u8> {
    [&[text.len() as u8], text.as_bytes()].concat()
}

/// What a reader sees of bytes that arrive in pieces of this size.
async fn seen(sent: &[u8], piece: usize) -> Vec<u8> {
    let (mut client, server) = tokio::io::duplex(1 << 16);
    let mut server = Lenient::new(server);
    let mut out = Vec::new();
    for piece in sent.chunks(piece) {
        client.write_all(piece).await.expect("open");
        let mut buf = [0; 100];
        // Nothing may wait for what is yet to come but a frame of headers.
        while let Ok(Ok(len)) =
            tokio::time::timeout(std::time::Duration::ZERO, server.read(&mut buf)).await
        {
            out.extend_from_slice(&buf[..len]);
        }
    }
    drop(client);
    server.read_to_end(&mut out).await.expect("the end");
    out
}

fn connection(frames: &[Vec<u8>]) -> Vec<u8> {
    [PREFACE, &frame(4, 0, &[0; 12]), &frames.concat()].concat()
}

#[tokio::test]
async fn an_authority_that_is_none_is_replaced_by_one_as_long() {
    let odd = "#initially=[http://127.0.0.1:1;x]";
    let name = plain(&"x".repeat(odd.len()));
    let data = frame(0, 0, b"\x41\x03/a/");
    let padded = |authority: &[u8]| {
        let padded = [&[2, 0, 0, 0, 0, 0][..], &block(authority), &[0, 0]].concat();
        frame(HEADERS, PADDED | PRIORITY, &padded)
    };
    let sent = connection(&[
        frame(HEADERS, 4, &block(&plain(odd))),
        data.clone(),
        frame(HEADERS, 4, &block(&plain("h:1"))),
        padded(&plain(odd)),
    ]);
    let expected = connection(&[
        frame(HEADERS, 4, &block(&name)),
        data,
        frame(HEADERS, 4, &block(&plain("h:1"))),
        padded(&name),
    ]);
    for piece in [1, 7, 50, 10_000] {
        assert_eq!(seen(&sent, piece).await, expected, "pieces of {piece}");
    }
}

#[tokio::test]
async fn all_else_passes_as_it_is() {
    let fine = frame(HEADERS, 4, &block(&plain("127.0.0.1:2379")));
    let odd = frame(HEADERS, 4, &block(&plain("/a/b")));
    for sent in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"PRI * HTTP/1.1\r\n\r\n".to_vec(),
        b"PRI".to_vec(),
        // Once the first headers are sound nothing is looked at.
        connection(&[fine, odd.clone()]),
        // Cut off, padded beyond its end, unreadable, an empty name.
        connection(&[odd[..14].to_vec()]),
        connection(&[frame(HEADERS, PADDED, &[200, 0x41, 1, b'/'])]),
        connection(&[frame(HEADERS, 4, &[0x41, 0x7f, 0xff, 0xff, 0xff, 0xff])]),
        connection(&[frame(HEADERS, 4, &block(&[0]))]),
    ] {
        for piece in [1, 10_000] {
            assert_eq!(seen(&sent, piece).await, sent);
        }
    }
}

#[test]
fn packed_texts_are_unpacked() {
    // From RFC 7541, C.4.1 and C.6.1.
    let packed = [
        0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
    ];
    let found = hpack::authority(&packed).expect("an authority");
    assert_eq!(
        (found.place, &found.value[..]),
        (1..14, &b"www.example.com"[..])
    );
    let date = [
        0x41, 0x96, 0xd0, 0x7a, 0xbe, 0x94, 0x10, 0x54, 0xd4, 0x44, 0xa8, 0x20, 0x05, 0x95, 0x04,
        0x0b, 0x81, 0x66, 0xe0, 0x82, 0xa6, 0x2d, 0x1b, 0xff,
    ];
    let found = hpack::authority(&date).expect("an authority");
    assert_eq!(found.value, b"Mon, 21 Oct 2013 20:13:21 GMT");
}

#[test]
fn a_text_can_be_of_any_length() {
    for len in [0, 1, 126, 127, 128, 254, 255, 16_000] {
        let block = [&[0x41][..], &hpack::text(len)].concat();
        let found = hpack::authority(&block).expect("an authority");
        assert_eq!(found.value.len(), len);
        assert_eq!(found.place, 1..block.len());
    }
}
