use std::{
    collections::VecDeque,
    io::{Read as _, Write as _},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use proptest::prelude::*;

use super::{Compressed, Encoding};
use crate::{
    rpc::Source,
    status::{Code, Status},
};

struct Pieces(VecDeque<Bytes>);

impl Source for Pieces {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

fn gzip(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(message).expect("memory takes it all");
    encoder.finish().expect("memory takes it all")
}

fn frames(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for message in messages {
        out.push(0);
        out.extend((message.len() as u32).to_be_bytes());
        out.extend_from_slice(message);
    }
    out
}

/// All that a source gives, and the messages in it.
fn drain(mut source: Compressed) -> Vec<Vec<u8>> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut all = Vec::new();
    loop {
        match source.poll_next(&mut cx) {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(bytes))) => all.extend_from_slice(&bytes),
            Poll::Ready(Some(Err(status))) => panic!("{status:?}"),
            Poll::Ready(None) => break,
        }
    }
    let mut messages = Vec::new();
    let mut rest = &all[..];
    while let Some(&[flag, a, b, c, d]) = rest.first_chunk::<5>() {
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        let mut message = rest[5..5 + len].to_vec();
        if flag == 1 {
            let mut plain = Vec::new();
            let read = GzDecoder::new(&message[..]).read_to_end(&mut plain);
            assert!(read.is_ok());
            message = plain;
        }
        messages.push(message);
        rest = &rest[5 + len..];
    }
    assert!(rest.is_empty());
    messages
}

proptest! {
    #[test]
    fn frames_cut_anywhere_come_out_whole(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
        piece in 1usize..40,
    ) {
        let bytes = frames(&messages);
        let pieces = bytes.chunks(piece).map(Bytes::copy_from_slice).collect();
        prop_assert_eq!(drain(Compressed::new(Box::new(Pieces(pieces)))), messages);
    }

    #[test]
    fn any_bytes_are_opened_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Encoding::Gzip.open(1, bytes.clone().into(), 1_000);
        let mut damaged = gzip(&bytes);
        if let (Some(first), Some(at)) = (bytes.first(), damaged.len().checked_sub(9)) {
            damaged[at] ^= first;
        }
        let _ = Encoding::Gzip.open(1, damaged.into(), 1_000);
    }
}

#[test]
fn a_bomb_is_refused_at_the_limit() {
    let limit = 1 << 20;
    let exact = gzip(&vec![0; limit]);
    let opened = Encoding::Gzip.open(1, exact.into(), limit);
    assert_eq!(opened.map(|plain| plain.len()), Ok(limit));
    let bomb = gzip(&vec![0; 100 * limit]);
    let refused = Encoding::Gzip.open(1, bomb.into(), limit);
    assert_eq!(
        refused.map_err(|status| status.code),
        Err(Code::ResourceExhausted)
    );
}
