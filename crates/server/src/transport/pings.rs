//! How often a client may ping, by the rule of Go's gRPC server: not more often than
//! `--grpc-keepalive-min-time`, hardly ever while no call is open, and again after the server has
//! sent something. The third ping too many ends the connection. h2 answers pings without a word to
//! anyone, so the frames are read as they pass. It must never change or hold back what passes.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use rustc_hash::FxHashSet;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::{DATA, Frame, HEAD, HEADERS, PING, PREFACE, RST_STREAM};

/// Of DATA and HEADERS.
const END_STREAM: u8 = 1;
/// Of PING.
const ACK: u8 = 1;

/// Between pings of a client that has no call open.
const IDLE: Duration = Duration::from_secs(2 * 60 * 60);
/// Between pings where the setting is 0.
const DEFAULT_MIN_TIME: Duration = Duration::from_secs(5 * 60);
/// Pings too many that are borne.
const STRIKES_MAX: u32 = 2;

/// The head of a GOAWAY with such a text.
const GOAWAY_HEAD: &[u8; HEAD] = b"\0\0\x16\x07\0\0\0\0\0";
const ENHANCE_YOUR_CALM: &[u8] = b"\0\0\0\x0btoo_many_pings";

/// Finds the frames in bytes that come in pieces.
#[derive(Default)]
struct Frames {
    head: [u8; HEAD],
    /// How much of `head` is there.
    have: usize,
    /// How much of the frame's payload is still to come.
    rest: usize,
}

impl Frames {
    fn feed(&mut self, mut bytes: &[u8], mut found: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            let skipped = self.rest.min(bytes.len());
            self.rest -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEAD - self.have).min(bytes.len());
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == HEAD {
                let frame = Frame::parse(&self.head);
                self.have = 0;
                self.rest = frame.len;
                found(frame);
            }
        }
    }

    fn is_between_frames(&self) -> bool {
        self.have == 0 && self.rest == 0
    }
}

/// The pings of one client.
struct Rule {
    min_time: Duration,
    /// How much of the preface has come.
    preface: usize,
    received: Frames,
    sent: Frames,
    /// Streams that the client has begun and the server has not ended.
    open: FxHashSet<u32>,
    newest: u32,
    last_ping: Option<Instant>,
    strikes: u32,
    /// Whether headers or data were sent since the last ping.
    has_sent: bool,
}

impl Rule {
    /// Takes in what the client sent; `None` if it does not speak HTTP/2.
    fn received(&mut self, mut bytes: &[u8], now: Instant) -> Option<()> {
        if self.preface < PREFACE.len() {
            let expected = &PREFACE[self.preface..];
            let length = expected.len().min(bytes.len());
            if expected[..length] != bytes[..length] {
                return None;
            }
            self.preface += length;
            bytes = &bytes[length..];
        }
        let mut frames = std::mem::take(&mut self.received);
        frames.feed(bytes, |frame| match frame.kind {
            HEADERS if frame.stream > self.newest => {
                self.newest = frame.stream;
                self.open.insert(frame.stream);
            }
            RST_STREAM => drop(self.open.remove(&frame.stream)),
            PING if frame.flags & ACK == 0 => self.ping(now),
            _ => {}
        });
        self.received = frames;
        Some(())
    }

    fn sent(&mut self, bytes: &[u8]) {
        let (open, has_sent) = (&mut self.open, &mut self.has_sent);
        self.sent.feed(bytes, |frame| match frame.kind {
            DATA | HEADERS => {
                *has_sent = true;
                if frame.flags & END_STREAM != 0 {
                    open.remove(&frame.stream);
                }
            }
            RST_STREAM => drop(open.remove(&frame.stream)),
            _ => {}
        });
    }

    fn ping(&mut self, now: Instant) {
        let last = self.last_ping.replace(now);
        if std::mem::take(&mut self.has_sent) {
            self.strikes = 0;
            return;
        }
        let least = if self.open.is_empty() {
            IDLE
        } else {
            self.min_time
        };
        if last.is_some_and(|last| now.duration_since(last) < least) {
            self.strikes += 1;
        }
    }

    /// Says why the connection ends, and up to which stream calls were taken.
    fn goaway(&self) -> Vec<u8> {
        let newest = self.newest.to_be_bytes();
        [GOAWAY_HEAD, &newest[..], ENHANCE_YOUR_CALM].concat()
    }

    fn is_broken(&self) -> bool {
        self.strikes > STRIKES_MAX
    }
}

/// A connection whose pings are counted.
pub(super) struct Pings<S> {
    io: S,
    /// None where nobody counts.
    rule: Option<Rule>,
}

impl<S> Pings<S> {
    /// Counts, if there is a least time between pings.
    pub(super) fn new(io: S, min_time: Option<Duration>) -> Self {
        let rule = min_time.map(|min_time| Rule {
            min_time: if min_time.is_zero() {
                DEFAULT_MIN_TIME
            } else {
                min_time
            },
            preface: 0,
            received: Frames::default(),
            sent: Frames::default(),
            open: FxHashSet::default(),
            newest: 0,
            last_ping: None,
            strikes: 0,
            has_sent: false,
        });
        Self { io, rule }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Pings<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let read = Pin::new(&mut this.io).poll_read(cx, buf);
        let Some(rule) = &mut this.rule else {
            return read;
        };
        if rule
            .received(&buf.filled()[before..], Instant::now())
            .is_none()
        {
            this.rule = None;
        } else if rule.is_broken() {
            if rule.sent.is_between_frames() {
                // The connection ends, whether or not there is room for the reason.
                let _ = Pin::new(&mut this.io).poll_write(cx, &rule.goaway());
            }
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Pings<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        if let (Some(rule), Poll::Ready(Ok(length))) = (&mut self.rule, &written) {
            rule.sent(&buf[..*length]);
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, parts);
        if let (Some(rule), Poll::Ready(Ok(length))) = (&mut self.rule, &written) {
            let mut rest = *length;
            for part in parts {
                let length = rest.min(part.len());
                rule.sent(&part[..length]);
                rest -= length;
            }
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
