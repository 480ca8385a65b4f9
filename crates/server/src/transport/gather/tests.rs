use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{HELD, READ_MAX, gather};

/// A socket that takes as many bytes at a time as it was told: 0 is full.
#[derive(Default)]
struct Socket {
    takes: VecDeque<usize>,
    got: Vec<u8>,
    writes: usize,
    shut: bool,
    /// Bytes that are there to be read.
    has: usize,
    /// After them nothing comes.
    ends: bool,
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let n = self.has.min(buf.remaining());
        if n == 0 && !self.ends {
            return Poll::Pending;
        }
        self.has -= n;
        buf.put_slice(&vec![b'r'; n]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut room = self.takes.pop_front().unwrap_or(usize::MAX);
        if room == 0 {
            return Poll::Pending;
        }
        self.writes += 1;
        let mut n = 0;
        for buf in bufs {
            let part = buf.len().min(room);
            self.got.extend_from_slice(&buf[..part]);
            (n, room) = (n + part, room - part);
        }
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shut = true;
        Poll::Ready(Ok(()))
    }
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

#[test]
fn small_frames_of_a_turn_are_one_write() {
    let (mut io, end) = gather(Socket::default());
    let mut cx = context();
    for _ in 0..20 {
        let wrote = Pin::new(&mut io).poll_write(&mut cx, &[7; 300]);
        assert!(matches!(wrote, Poll::Ready(Ok(300))));
        assert!(Pin::new(&mut io).poll_flush(&mut cx).is_ready());
    }
    assert_eq!(end.0.borrow().io.writes, 0);
    assert!(end.poll(&mut cx).is_ready());
    let shared = end.0.borrow();
    assert_eq!((shared.io.writes, shared.io.got.len()), (1, 6000));
}

#[test]
fn shutdown_sends_what_is_held_first() {
    let socket = Socket {
        takes: [0].into(),
        ..Socket::default()
    };
    let (mut io, end) = gather(socket);
    let mut cx = context();
    assert!(Pin::new(&mut io).poll_write(&mut cx, b"bye").is_ready());
    assert!(Pin::new(&mut io).poll_shutdown(&mut cx).is_pending());
    assert!(!end.0.borrow().io.shut);
    assert!(Pin::new(&mut io).poll_shutdown(&mut cx).is_ready());
    let shared = end.0.borrow();
    assert!(shared.io.shut && shared.io.got == b"bye");
}

#[test]
fn a_turn_reads_no_more_than_its_share() {
    let (mut io, end) = gather(Socket {
        has: 10 * READ_MAX,
        ..Socket::default()
    });
    let mut cx = context();
    let mut turn = || {
        let mut read = 0;
        let mut space = [0; 8 << 10];
        loop {
            let mut buf = ReadBuf::new(&mut space);
            match Pin::new(&mut io).poll_read(&mut cx, &mut buf) {
                Poll::Ready(done) => done.unwrap(),
                Poll::Pending => break,
            }
            read += buf.filled().len();
        }
        assert!(end.poll(&mut cx).is_ready());
        read
    };
    assert_eq!([turn(), turn()], [READ_MAX, READ_MAX]);
}

#[test]
fn what_comes_after_the_last_word_is_dropped() {
    let (_io, end) = gather(Socket {
        has: 10 * READ_MAX,
        ends: true,
        ..Socket::default()
    });
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().build().unwrap();
    runtime.block_on(end.linger());
    assert_eq!(end.0.borrow().io.has, 0);
}

proptest! {
    /// Whatever the socket takes, every byte arrives once and in order, and no
    /// more is held than allowed.
    #[test]
    fn bytes_keep_their_order(
        frames in prop::collection::vec((0usize..20, 1usize..40_000, any::<bool>()), 1..40),
        takes in prop::collection::vec(prop_oneof![Just(0), 1usize..100_000], 0..80),
    ) {
        let (mut io, end) = gather(Socket { takes: takes.into(), ..Socket::default() });
        let mut cx = context();
        let (mut sent, mut next) = (Vec::new(), 0u8);
        for (head, len, turn) in frames {
            let frame: Vec<u8> = (0..head + len).map(|i| next.wrapping_add(i as u8)).collect();
            next = next.wrapping_mul(31).wrapping_add(1);
            let mut at = 0;
            while at < frame.len() {
                let cut = head.max(at).min(frame.len());
                let parts = [IoSlice::new(&frame[at..cut]), IoSlice::new(&frame[cut..])];
                match Pin::new(&mut io).poll_write_vectored(&mut cx, &parts) {
                    Poll::Ready(n) => {
                        let n = n.unwrap();
                        prop_assert!(n > 0);
                        at += n;
                    }
                    Poll::Pending => {}
                }
                prop_assert!(end.0.borrow().held.len() <= HELD);
            }
            sent.extend_from_slice(&frame);
            if turn {
                let _ = end.poll(&mut cx);
            }
        }
        while end.poll(&mut cx).is_pending() {}
        prop_assert_eq!(&end.0.borrow().io.got, &sent);
    }
}
