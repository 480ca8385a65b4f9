use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    frames::{CONTINUATION, PADDED, PRIORITY, RST_STREAM},
    *,
};

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
    let head = [&[a, b, c, kind, flags][..], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// Method, scheme, a path of this text.
fn block(path: &[u8]) -> Vec<u8> {
    [&[0x83, 0x86, 0x44, path.len() as u8][..], path].concat()
}

fn headers(stream: u32, path: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block(path))
}

/// One whose path took the place of another.
fn replaced(stream: u32, path: &[u8], sent: &[u8]) -> Vec<u8> {
    let mut block = block(path);
    block.push(0);
    hpack::put_text(PATH_AS_SENT.as_bytes(), &mut block);
    hpack::put_text(sent, &mut block);
    frame(HEADERS, END_HEADERS, stream, &block)
}

fn connection(frames: &[Vec<u8>]) -> Vec<u8> {
    [PREFACE, &frame(4, 0, 0, &[0; 12]), &frames.concat()].concat()
}

const WINDOW: u32 = 400;

/// What a reader sees of bytes that arrive in pieces of this size.
async fn seen(sent: &[u8], piece: usize) -> Vec<u8> {
    let (mut client, server) = tokio::io::duplex(1 << 16);
    let mut server = Intake::new(server, WINDOW, None);
    let mut out = Vec::new();
    for piece in sent.chunks(piece) {
        client.write_all(piece).await.expect("open");
        let mut buf = [0; 100];
        // Nothing may wait for what is yet to come but a frame of headers.
        while let Ok(Ok(len)) = tokio::time::timeout(Duration::ZERO, server.read(&mut buf)).await {
            out.extend_from_slice(&buf[..len]);
        }
    }
    client.shutdown().await.expect("open");
    server.read_to_end(&mut out).await.expect("the end");
    out
}

#[tokio::test]
async fn every_block_of_headers_is_looked_at() {
    let data = frame(DATA, 0, 1, b"\x41\x03/a/");
    let sent = connection(&[
        headers(1, b"/a"),
        data.clone(),
        headers(3, b"/a<b"),
        data.clone(),
        headers(5, b"/a\xffb"),
    ]);
    let expected = connection(&[
        headers(1, b"/a"),
        data.clone(),
        replaced(3, b"/a!b", b"/a<b"),
        data,
        replaced(5, b"/a!b", b"/a\xffb"),
    ]);
    for piece in [1, 7, 50, 10_000] {
        assert_eq!(seen(&sent, piece).await, expected, "pieces of {piece}");
    }
}

/// A block in frames with so many bytes of it each, the first with padding and a priority.
fn in_frames(stream: u32, block: &[u8], part: usize) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut parts = block.chunks(part).peekable();
    while let Some(part) = parts.next() {
        let last = match parts.peek() {
            Some(_) => 0,
            None => END_HEADERS,
        };
        frames.push(match frames.is_empty() {
            true => {
                let payload = [&[2, 0, 0, 0, 0, 9][..], part, &[0; 2]].concat();
                frame(HEADERS, PADDED | PRIORITY | last, stream, &payload)
            }
            false => frame(CONTINUATION, last, stream, part),
        });
    }
    frames
}

#[tokio::test]
async fn a_block_in_many_frames_becomes_one_in_full_frames() {
    let data = frame(DATA, 0, 1, b"abc");
    let before = |block: &[u8]| [&[0, 0, 0, 0, 9][..], block].concat();
    let mut sent = in_frames(1, &block(b"/a"), 1);
    sent.push(data.clone());
    sent.extend(in_frames(3, &block(b"/a<b"), 2));
    let mut replacement = replaced(3, b"/a!b", b"/a<b")[HEAD..].to_vec();
    replacement = before(&replacement);
    let expected = connection(&[
        frame(HEADERS, PRIORITY | END_HEADERS, 1, &before(&block(b"/a"))),
        data,
        frame(HEADERS, PRIORITY | END_HEADERS, 3, &replacement),
    ]);
    for piece in [1, 7, 10_000] {
        assert_eq!(seen(&connection(&sent), piece).await, expected, "{piece}");
    }
    let mut long = block(b"/a");
    long.extend([0x0f, 0x80, 0].repeat(10_000));
    let whole = before(&long);
    let full = [
        frame(HEADERS, PRIORITY, 5, &whole[..PAYLOAD_MAX]),
        frame(CONTINUATION, END_HEADERS, 5, &whole[PAYLOAD_MAX..]),
    ];
    let sent = connection(&in_frames(5, &long, 1_000));
    assert_eq!(seen(&sent, 10_000).await, connection(&full));
}

#[tokio::test]
async fn h2_judges_what_is_no_block() {
    // Something else between its frames, or another stream; the end of it is not one any more.
    let begun = frame(HEADERS, 0, 1, b"\x83");
    for other in [
        frame(DATA, 0, 1, b"abc"),
        frame(CONTINUATION, END_HEADERS, 3, b"\x86"),
        frame(HEADERS, END_HEADERS, 3, b"\x86"),
    ] {
        let end = frame(CONTINUATION, END_HEADERS, 1, b"\x86");
        let sent = connection(&[begun.clone(), other, end]);
        assert_eq!(seen(&sent, 10_000).await, sent);
    }
    // More than is gathered: what comes after it passes as it is.
    let part = frame(CONTINUATION, 0, 1, &[0x80; PAYLOAD_MAX]);
    let mut frames = vec![begun];
    frames.extend(std::iter::repeat_n(part, 40));
    let sent = connection(&frames);
    let seen = seen(&sent, 1 << 15).await;
    let content = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == 0x80).count();
    assert_eq!(content(&seen), content(&sent));
}

#[tokio::test]
async fn all_else_passes_as_it_is() {
    let odd = headers(1, b"/a<b");
    for sent in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"PRI * HTTP/1.1\r\n\r\n".to_vec(),
        b"PRI".to_vec(),
        // Cut off.
        connection(&[odd[..14].to_vec()]),
        connection(&[odd[..4].to_vec()]),
        connection(&[headers(1, b"/a"), frame(DATA, 0, 1, &[7; 3_000])]),
    ] {
        for piece in [1, 10_000] {
            assert_eq!(seen(&sent, piece).await, sent);
        }
    }
}

#[tokio::test]
async fn messages_to_a_call_that_has_ended_are_dropped_and_given_back() {
    for (kind, flags) in [(HEADERS, 1 | END_HEADERS), (DATA, 1), (RST_STREAM, 0)] {
        let begin = connection(&[headers(1, b"/a"), headers(3, b"/a")]);
        let late = frame(DATA, 0, 1, &[7; 60]);
        let open = frame(DATA, 0, 3, &[8; 60]);
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let mut server = Intake::new(server, WINDOW, None);
        client.write_all(&begin).await.expect("open");
        let mut read = vec![0; begin.len()];
        server.read_exact(&mut read).await.expect("open");
        let answer = frame(kind, flags, 1, &[0; 4]);
        server.write_all(&answer).await.expect("open");
        let mut said = vec![0; answer.len()];
        client.read_exact(&mut said).await.expect("open");
        assert_eq!(said, answer);
        for piece in [late.clone(), open.clone(), late].concat().chunks(23) {
            client.write_all(piece).await.expect("open");
        }
        // The end of the last one is found with the next read.
        client.write_all(&open).await.expect("open");
        let mut read = vec![0; 2 * open.len()];
        server.read_exact(&mut read).await.expect("open");
        assert_eq!(read, [open.clone(), open].concat());
        let mut said = [0; 13];
        client.read_exact(&mut said).await.expect("open");
        assert_eq!(said[..], frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 120]));
    }
}

#[tokio::test]
async fn a_frame_of_our_own_waits_for_the_end_of_one_of_h2() {
    let (mut client, server) = tokio::io::duplex(1 << 16);
    let mut server = Intake::new(server, WINDOW, None);
    let answer = [frame(RST_STREAM, 0, 1, &[0; 4]), frame(DATA, 0, 3, b"abcd")].concat();
    let begin = connection(&[headers(1, b"/a"), headers(3, b"/a")]);
    client.write_all(&begin).await.expect("open");
    let mut read = vec![0; begin.len()];
    server.read_exact(&mut read).await.expect("open");
    let (first, second) = answer.split_at(answer.len() - 2);
    server.write_all(first).await.expect("open");
    client
        .write_all(&frame(DATA, 0, 1, &[7; 100]))
        .await
        .expect("open");
    let mut buf = [0; 9];
    let nothing = tokio::time::timeout(Duration::ZERO, server.read(&mut buf)).await;
    assert!(nothing.is_err(), "{nothing:?}");
    server.write_all(second).await.expect("open");
    server.flush().await.expect("open");
    let update = frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 100]);
    let mut said = vec![0; answer.len() + update.len()];
    client.read_exact(&mut said).await.expect("open");
    assert_eq!(said, [answer, update].concat());
}
