//! The bytes of a connection before h2 reads them, and after it has written them. h2 has no
//! setting for what is different here: a header list that is none must end its stream alone
//! ([`headers`]), messages to a call that has ended must not count against the connection
//! ([`Wire::look`]), and pings are counted ([`pings`]). Each byte is looked at once, where it was
//! read to; what passes as it is, as nearly all does, is neither copied nor held back. A block of
//! headers in more than one frame is gathered ([`blocks`]).

mod blocks;
mod calls;
mod frames;
mod headers;
mod pings;

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::{
    blocks::Block,
    calls::Calls,
    frames::{
        ACK, DATA, END_HEADERS, Frame, Frames, HEAD, HEADERS, PAYLOAD_MAX, PING, PREFACE,
        WINDOW_UPDATE,
    },
    pings::Rule,
};

pub(super) use self::headers::PATH_AS_SENT;

/// What one read takes in while a frame is held.
const PIECE: usize = 4096;

/// The part of a connection's window that may be owed for messages that no call took, before the
/// client hears that it may send as many again.
const OWED_PART: u32 = 4;

/// A connection as h2 is to see it.
pub(super) struct Intake<S> {
    io: S,
    wire: Wire,
    /// What has arrived and has to wait for the rest of its frame.
    held: BytesMut,
    /// What the reader has yet to take, where that is not what was read.
    ready: BytesMut,
    /// A frame of our own, to be sent between two of h2's.
    own: BytesMut,
}

/// What is known of the frames of a connection.
struct Wire {
    at: At,
    sent: Frames,
    calls: Calls,
    /// What has come of a block of headers in more than one frame.
    block: Option<Block>,
    /// None where no one counts.
    pings: Option<Rule>,
    /// Bytes that were dropped and are to be given back, and how many may be.
    owed: u32,
    owed_max: u32,
}

/// What the next byte belongs to.
enum At {
    /// HTTP/1, or no HTTP: nothing is looked at.
    Unknown,
    /// The preface, after so many bytes of it.
    Preface(usize),
    /// A frame, after so many bytes that pass as they are.
    Passing(usize),
    /// A frame, after so many bytes of one that h2 must not see.
    Dropping(usize),
}

/// What becomes of the first of some bytes.
enum Step {
    Pass(usize),
    Drop(usize),
    /// So many of them become others.
    Replace(usize, Vec<u8>),
    /// They cannot be judged without the next ones.
    Wait,
}

impl Wire {
    /// Looks at bytes, of which there are some.
    fn look(&mut self, bytes: &[u8]) -> Step {
        match self.at {
            At::Unknown => Step::Pass(bytes.len()),
            At::Preface(have) => {
                let expected = &PREFACE[have..];
                let len = expected.len().min(bytes.len());
                if expected[..len] != bytes[..len] {
                    self.at = At::Unknown;
                    return Step::Pass(bytes.len());
                }
                self.at = match have + len {
                    have if have < PREFACE.len() => At::Preface(have),
                    _ => At::Passing(0),
                };
                Step::Pass(len)
            }
            At::Passing(rest) if rest > 0 => {
                let len = rest.min(bytes.len());
                self.at = At::Passing(rest - len);
                Step::Pass(len)
            }
            At::Dropping(rest) if rest > 0 => {
                let len = rest.min(bytes.len());
                self.at = At::Dropping(rest - len);
                Step::Drop(len)
            }
            At::Passing(_) | At::Dropping(_) => self.look_at_frame(bytes),
        }
    }

    fn look_at_frame(&mut self, bytes: &[u8]) -> Step {
        let Some(head) = bytes.first_chunk() else {
            return Step::Wait;
        };
        let frame = Frame::parse(head);
        if self.block.is_some() {
            return self.look_at_part(frame, bytes);
        }
        match frame.kind {
            // h2 counts what it ignores against a budget that lasts as long as the connection,
            // and a client hears only later that its call is over.
            DATA if self.calls.has_ended(frame.stream) => {
                self.owed = self.owed.saturating_add(frame.len as u32);
                self.at = At::Dropping(frame.len);
                return Step::Drop(HEAD);
            }
            HEADERS if frame.has(END_HEADERS) && frame.len <= PAYLOAD_MAX => {
                let Some(whole) = bytes.get(..HEAD + frame.len) else {
                    return Step::Wait;
                };
                self.calls.received(frame);
                self.at = At::Passing(0);
                return match headers::sound(whole) {
                    Some(other) => Step::Replace(whole.len(), other),
                    None => Step::Pass(whole.len()),
                };
            }
            HEADERS if !frame.has(END_HEADERS) && frame.len <= PAYLOAD_MAX => {
                let Some(payload) = bytes.get(HEAD..HEAD + frame.len) else {
                    return Step::Wait;
                };
                self.calls.received(frame);
                self.at = At::Passing(0);
                self.block = Block::begin(frame, payload);
                return match self.block {
                    Some(_) => Step::Drop(HEAD + frame.len),
                    None => Step::Pass(HEAD + frame.len),
                };
            }
            PING if !frame.has(ACK) => {
                if let Some(rule) = &mut self.pings {
                    rule.ping(Instant::now(), self.calls.has_open());
                }
            }
            _ => self.calls.received(frame),
        }
        self.at = At::Passing(frame.len);
        Step::Pass(HEAD)
    }

    /// Looks at a frame that comes after a part of a block.
    fn look_at_part(&mut self, frame: Frame, bytes: &[u8]) -> Step {
        self.at = At::Passing(0);
        let Some(mut block) = self.block.take() else {
            return Step::Wait;
        };
        if !block.takes(frame) {
            // h2 says what is wrong with it.
            return Step::Replace(0, block.unfinished());
        }
        let Some(payload) = bytes.get(HEAD..HEAD + frame.len) else {
            self.block = Some(block);
            return Step::Wait;
        };
        block.push(payload);
        if frame.has(END_HEADERS) {
            return Step::Replace(HEAD + frame.len, block.finish());
        }
        self.block = Some(block);
        Step::Drop(HEAD + frame.len)
    }

    fn sent(&mut self, bytes: &[u8]) {
        let (calls, pings) = (&mut self.calls, &mut self.pings);
        self.sent.feed(bytes, |frame| {
            calls.sent(frame);
            if let (DATA | HEADERS, Some(rule)) = (frame.kind, &mut *pings) {
                rule.sent();
            }
        });
    }

    fn is_broken(&self) -> bool {
        self.pings.as_ref().is_some_and(Rule::is_broken)
    }
}

impl<S> Intake<S> {
    /// `window` is what a client may send on the connection before it hears that it may send more;
    /// `ping_min_time` is the least time between two pings, where they are counted.
    pub(super) fn new(io: S, window: u32, ping_min_time: Option<Duration>) -> Intake<S> {
        Intake {
            io,
            wire: Wire {
                at: At::Preface(0),
                sent: Frames::default(),
                calls: Calls::default(),
                block: None,
                pings: ping_min_time.map(Rule::new),
                owed: 0,
                owed_max: window / OWED_PART,
            },
            held: BytesMut::new(),
            ready: BytesMut::new(),
            own: BytesMut::new(),
        }
    }

    /// Looks at what was just read; how much of it the reader may have as it is. The rest is held,
    /// or ready in another form.
    fn take_in(&mut self, read: &[u8]) -> usize {
        let mut at = 0;
        while at < read.len() {
            match self.wire.look(&read[at..]) {
                Step::Pass(len) => at += len,
                step => {
                    self.held.extend_from_slice(&read[at..]);
                    self.work_off(step);
                    break;
                }
            }
        }
        at
    }

    /// Makes ready what is held, as far as it can be judged.
    fn work_off(&mut self, mut step: Step) {
        loop {
            match step {
                Step::Pass(len) => self.ready.unsplit(self.held.split_to(len)),
                Step::Drop(len) => self.held.advance(len),
                Step::Replace(len, other) => {
                    self.held.advance(len);
                    self.ready.extend_from_slice(&other);
                }
                Step::Wait => return,
            }
            if self.held.is_empty() {
                return;
            }
            step = self.wire.look(&self.held);
        }
    }

    /// Notes what is to be said to the client beside what h2 says.
    fn give_back(&mut self) {
        if self.wire.owed < self.wire.owed_max {
            return;
        }
        let owed = std::mem::take(&mut self.wire.owed);
        self.own
            .extend_from_slice(&[0, 0, 4, WINDOW_UPDATE, 0, 0, 0, 0, 0]);
        self.own.extend_from_slice(&owed.to_be_bytes());
    }
}

impl<S: AsyncWrite + Unpin> Intake<S> {
    /// Sends our own frames, if h2 is between two of its.
    fn send_own(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.own.is_empty() && self.wire.sent.is_between_frames() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, &self.own))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                len => self.own.advance(len),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// What has come of what was read: an error if the connection must end.
    fn judge(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.wire.is_broken() {
            if self.wire.sent.is_between_frames() {
                let goaway = pings::goaway(self.wire.calls.newest());
                // The connection ends, whether or not there is room for the reason.
                let _ = Pin::new(&mut self.io).poll_write(cx, &goaway);
            }
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        self.give_back();
        match self.send_own(cx) {
            Poll::Ready(sent) => sent,
            // With the next frame, or in the next turn.
            Poll::Pending => Ok(()),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Intake<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.ready.is_empty() {
            if this.held.is_empty() {
                let before = buf.filled().len();
                ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
                let read = &buf.filled()[before..];
                if read.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                let passed = this.take_in(read);
                buf.set_filled(before + passed);
                this.judge(cx)?;
                if passed > 0 {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            let mut piece = [0; PIECE];
            let mut piece = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut this.io).poll_read(cx, &mut piece))?;
            if piece.filled().is_empty() {
                // The end: the reader judges what is left.
                this.wire.at = At::Unknown;
            }
            this.held.extend_from_slice(piece.filled());
            let step = this.wire.look(&this.held);
            this.work_off(step);
            this.judge(cx)?;
        }
        let len = this.ready.len().min(buf.remaining());
        buf.put_slice(&this.ready.split_to(len));
        if this.ready.is_empty() && this.held.is_empty() {
            // Most of a connection's life passes without them.
            (this.held, this.ready) = (BytesMut::new(), BytesMut::new());
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Intake<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.send_own(cx))?;
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        self.wire.sent(&buf[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.send_own(cx))?;
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, parts))?;
        let mut rest = written;
        for part in parts {
            let len = rest.min(part.len());
            self.wire.sent(&part[..len]);
            rest -= len;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send_own(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
