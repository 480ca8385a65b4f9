//! `:authority` as grpc-go writes it. Clients of etcd 3.5.0 name a list of endpoints there, those
//! of a unix socket its path; Go's server takes any text, h2 ends the stream. A reader in front of
//! h2 puts a name of the same length in its place, so that both ends keep the same table of
//! headers. It looks at the first headers of a connection; where these are sound, as nearly
//! always, everything after them passes without being looked at or copied.

mod hpack;

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::{Frame, HEAD, HEADERS, PREFACE};

const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// What h2 announces that it takes; it refuses a longer frame by itself.
const PAYLOAD_MAX: usize = 16_384;
const PIECE: usize = 4096;

/// A connection whose reader never sees an `:authority` that is none.
pub(super) struct Lenient<S> {
    stream: S,
    looks: Looks,
    /// What has arrived and was not looked at: the beginning of a frame, no more.
    held: BytesMut,
    /// What the reader has yet to take.
    ready: BytesMut,
}

/// What is looked at.
enum Looks {
    /// Whether HTTP/2 is spoken at all.
    Preface,
    /// Frames, after so many bytes of the present one.
    Frames { skip: usize, was_odd: bool },
    /// Nothing any more.
    Nothing,
}

impl<S> Lenient<S> {
    pub(super) fn new(stream: S) -> Lenient<S> {
        Lenient {
            stream,
            looks: Looks::Preface,
            held: BytesMut::new(),
            ready: BytesMut::new(),
        }
    }

    /// Moves so many bytes on to the reader.
    fn pass(&mut self, len: usize) {
        self.ready.unsplit(self.held.split_to(len));
    }

    fn pass_all(&mut self) {
        self.looks = Looks::Nothing;
        self.pass(self.held.len());
    }

    /// Looks at what has arrived, as far as it goes.
    fn look(&mut self) {
        loop {
            match self.looks {
                Looks::Nothing => return self.pass_all(),
                Looks::Preface => {
                    let len = self.held.len().min(PREFACE.len());
                    if self.held[..len] != PREFACE[..len] {
                        return self.pass_all();
                    }
                    if len < PREFACE.len() {
                        return;
                    }
                    self.pass(len);
                    self.looks = Looks::Frames {
                        skip: 0,
                        was_odd: false,
                    };
                }
                Looks::Frames { skip, was_odd } if skip > 0 => {
                    let len = skip.min(self.held.len());
                    self.pass(len);
                    self.looks = Looks::Frames {
                        skip: skip - len,
                        was_odd,
                    };
                    if len < skip {
                        return;
                    }
                }
                Looks::Frames { was_odd, .. } => {
                    let Some(head) = self.held.first_chunk() else {
                        return;
                    };
                    let Frame { len, kind, .. } = Frame::parse(head);
                    if kind != HEADERS || len > PAYLOAD_MAX {
                        self.pass(HEAD);
                        self.looks = Looks::Frames { skip: len, was_odd };
                        continue;
                    }
                    if self.held.len() < HEAD + len {
                        return;
                    }
                    match sound(&self.held[..HEAD + len]) {
                        Some(frame) => {
                            self.held.advance(HEAD + len);
                            self.ready.extend_from_slice(&frame);
                            self.looks = Looks::Frames {
                                skip: 0,
                                was_odd: true,
                            };
                        }
                        None if was_odd => self.pass(HEAD + len),
                        None => return self.pass_all(),
                    }
                }
            }
        }
    }
}

/// A frame of headers with another `:authority`, if that of this one is none.
fn sound(frame: &[u8]) -> Option<Vec<u8>> {
    let (head, payload) = frame.split_at_checked(HEAD)?;
    let flags = Frame::parse(frame.first_chunk()?).flags;
    let padding = match flags & PADDED {
        0 => 0,
        _ => usize::from(*payload.first()?),
    };
    let begin = usize::from(flags & PADDED != 0) + if flags & PRIORITY != 0 { 5 } else { 0 };
    let block = payload.get(begin..payload.len().checked_sub(padding)?)?;
    let found = hpack::authority(block)?;
    if http::uri::Authority::try_from(&found.value[..]).is_ok() || found.value.is_empty() {
        return None;
    }
    let name = hpack::text(found.value.len());
    let len = payload.len() - found.place.len() + name.len();
    if len > PAYLOAD_MAX {
        return None;
    }
    let [_, a, b, c] = (len as u32).to_be_bytes();
    let (before, after) = (begin + found.place.start, begin + found.place.end);
    Some(
        [
            &[a, b, c],
            &head[3..],
            &payload[..before],
            &name,
            &payload[after..],
        ]
        .concat(),
    )
}

impl<S: AsyncRead + Unpin> AsyncRead for Lenient<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.ready.is_empty() {
            if matches!(this.looks, Looks::Nothing) {
                return Pin::new(&mut this.stream).poll_read(cx, buf);
            }
            let mut piece = [0; PIECE];
            let mut piece = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut piece))?;
            this.held.extend_from_slice(piece.filled());
            if piece.filled().is_empty() {
                // The end: the reader judges what is left.
                this.pass_all();
            } else {
                this.look();
            }
        }
        let len = this.ready.len().min(buf.remaining());
        buf.put_slice(&this.ready.split_to(len));
        if this.ready.is_empty() && matches!(this.looks, Looks::Nothing) {
            // Most connections live long after this.
            (this.held, this.ready) = (BytesMut::new(), BytesMut::new());
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lenient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
