//! gRPC's gzip: requests are decompressed up to the size that a plain one may have, and who sends
//! compressed messages gets compressed answers, as from grpc-go.

use std::{
    io::{self, Read as _, Write as _},
    task::{Context, Poll},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use http::HeaderValue;

use crate::{
    rpc::Source,
    status::{Code, Status},
};

/// The head of a framed message: a flag and four bytes of length.
pub(super) const FRAME_HEAD: usize = 5;

/// How the messages of a call are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Not at all.
    Identity,
    /// Those whose frame says so, and all of the answer.
    Gzip,
}

impl Encoding {
    /// What `grpc-encoding` names.
    pub(super) fn of(name: Option<&HeaderValue>) -> Result<Encoding, Status> {
        match name.map(HeaderValue::as_bytes) {
            None | Some(b"" | b"identity") => Ok(Encoding::Identity),
            Some(b"gzip") => Ok(Encoding::Gzip),
            Some(other) => Err(Status::new(
                Code::Unimplemented,
                format!(
                    "grpc: Decompressor is not installed for grpc-encoding \"{}\"",
                    String::from_utf8_lossy(other)
                ),
            )),
        }
    }

    /// The message in a frame with this flag.
    pub(super) fn open(self, flag: u8, message: Bytes, limit: usize) -> Result<Bytes, Status> {
        match (flag, self) {
            (0, _) => Ok(message),
            (1, Encoding::Gzip) => decompress(&message, limit),
            (1, Encoding::Identity) => Err(Status::fixed(
                Code::Internal,
                "grpc: compressed flag set with identity or empty encoding",
            )),
            (other, _) => Err(Status::new(
                Code::Internal,
                format!("grpc: received unexpected payload format {other}"),
            )),
        }
    }
}

fn decompress(message: &[u8], limit: usize) -> Result<Bytes, Status> {
    let failed = |what: &str, why: &str| {
        Status::new(Code::Internal, format!("grpc: failed to {what}: {why}"))
    };
    match message {
        [] => return Err(failed("decompress the message", "EOF")),
        [0x1f, 0x8b, 8, ..] if message.len() >= 10 => {}
        _ if message.len() < 10 => return Err(failed("decompress the message", "unexpected EOF")),
        _ => return Err(failed("decompress the message", "gzip: invalid header")),
    }
    let mut plain = Vec::new();
    // One byte more than may be, so that what is too large shows without being read to its end.
    let read = MultiGzDecoder::new(message)
        .take(limit as u64 + 1)
        .read_to_end(&mut plain);
    if let Err(error) = read {
        let why = match error.kind() {
            io::ErrorKind::UnexpectedEof => "unexpected EOF",
            _ if error.to_string().contains("checksum") => "gzip: invalid checksum",
            _ => "flate: corrupt input",
        };
        return Err(failed("read decompressed data", why));
    }
    if plain.len() > limit {
        return Err(Status::new(
            Code::ResourceExhausted,
            format!("grpc: received message after decompression larger than max {limit}"),
        ));
    }
    Ok(plain.into())
}

/// Frames on their way out, compressed one after another.
struct Writer {
    /// The head of the frame that is being read, as far as it has come.
    head: BytesMut,
    /// The length of its message, once the head is known, and how much of it has come.
    message: Option<(usize, usize)>,
    encoder: GzEncoder<Vec<u8>>,
    out: BytesMut,
}

/// Answers are compressed while other connections wait: speed counts more than size.
fn encoder() -> GzEncoder<Vec<u8>> {
    GzEncoder::new(Vec::new(), Compression::fast())
}

impl Writer {
    fn new() -> Writer {
        Writer {
            head: BytesMut::new(),
            message: None,
            encoder: encoder(),
            out: BytesMut::new(),
        }
    }

    /// Takes the next bytes; whole frames appear in `out`.
    fn feed(&mut self, mut bytes: Bytes) -> io::Result<()> {
        loop {
            let (len, seen) = match self.message {
                Some(message) => message,
                None => {
                    let wanted = (FRAME_HEAD - self.head.len()).min(bytes.len());
                    self.head.extend_from_slice(&bytes.split_to(wanted));
                    let Some(&[_, a, b, c, d]) = self.head.first_chunk::<FRAME_HEAD>() else {
                        return Ok(());
                    };
                    self.head.clear();
                    (u32::from_be_bytes([a, b, c, d]) as usize, 0)
                }
            };
            let part = bytes.split_to((len - seen).min(bytes.len()));
            self.encoder.write_all(&part)?;
            let seen = seen + part.len();
            if seen < len {
                self.message = Some((len, seen));
                return Ok(());
            }
            self.message = None;
            let message = std::mem::replace(&mut self.encoder, encoder()).finish()?;
            // grpc-go does not compress an empty message.
            let flag = u8::from(len > 0);
            let message = if len > 0 { &message[..] } else { &[] };
            self.out.reserve(FRAME_HEAD + message.len());
            self.out.put_u8(flag);
            self.out.put_u32(message.len() as u32);
            self.out.extend_from_slice(message);
        }
    }

    fn take(&mut self) -> Bytes {
        self.out.split().freeze()
    }
}

/// Compresses the message in a whole frame.
pub(super) fn compress_frame(frame: Bytes) -> Result<Bytes, Status> {
    let mut writer = Writer::new();
    writer.feed(frame).map_err(unwritten)?;
    Ok(writer.take())
}

// Writing into memory does not fail.
fn unwritten(error: io::Error) -> Status {
    Status::new(
        Code::Internal,
        format!("grpc: error while compressing: {error}"),
    )
}

/// A stream of frames whose messages are compressed on their way out.
pub(super) struct Compressed {
    source: Box<dyn Source>,
    writer: Writer,
    /// What ended the source, while frames from before are on their way.
    end: Option<Option<Status>>,
}

impl Compressed {
    pub(super) fn new(source: Box<dyn Source>) -> Compressed {
        Compressed {
            source,
            writer: Writer::new(),
            end: None,
        }
    }
}

impl Source for Compressed {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        if self.end.is_none() {
            match self.source.poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => self.end = Some(None),
                Poll::Ready(Some(Err(status))) => self.end = Some(Some(status)),
                Poll::Ready(Some(Ok(bytes))) => {
                    if let Err(error) = self.writer.feed(bytes) {
                        self.end = Some(Some(unwritten(error)));
                    }
                }
            }
        }
        if !self.writer.out.is_empty() {
            return Poll::Ready(Some(Ok(self.writer.take())));
        }
        match self.end.take() {
            Some(end) => {
                self.end = Some(None);
                Poll::Ready(end.map(Err))
            }
            None => {
                // A piece of a large message: the other connections have their turn first.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests;
