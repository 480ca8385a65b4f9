//! The messages of a call, serialized and framed, between the API and the transport.

use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use line::Line;
use membership::entry::order;
use proto::wire::Read;

use crate::status::{Code, Status};

/// Room that gRPC framing and headers may take beyond `--max-request-bytes`, bytes.
pub const GRPC_OVERHEAD: usize = 512 * 1024;

/// A stream of already framed gRPC messages, pulled by the connection.
pub trait Source {
    /// The next bytes: whole frames, or a piece of one that is too large to be
    /// put together first, cut behind its head. `None` ends the stream with status OK.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>>;

    /// Of one message in pieces: its bytes, and the number of keys that a range has found.
    fn sums(&self) -> (usize, i64) {
        (0, 0)
    }
}

/// What a method returns.
pub enum Answer {
    /// One framed message.
    One(Bytes),
    /// One framed message in pieces: it is too large to be put together first.
    Pieces(Box<dyn Source>),
    /// A stream of framed messages.
    Stream(Box<dyn Source>),
}

/// Decodes a request by the rules of etcd up to 3.6; a message that does not parse is the client's
/// mistake.
///
/// # Errors
/// That it does not parse.
pub fn decode<M: Read>(message: Bytes) -> Result<M, Status> {
    M::read(&message).map_err(unreadable)
}

/// Decodes a request by the rules of a line of etcd; a message that does not parse is the client's
/// mistake.
///
/// # Errors
/// That it does not parse.
pub fn decode_as<M: Read>(line: Line, message: Bytes) -> Result<M, Status> {
    M::read_as(&message, order(line).rules()).map_err(unreadable)
}

/// The same for a request that is answered as it came, without the log.
///
/// # Errors
/// As [`decode_as`].
pub fn decode_used_as<M: Read>(line: Line, message: Bytes) -> Result<M, Status> {
    M::read_used_as(&message, order(line).rules()).map_err(unreadable)
}

fn unreadable(error: proto::wire::Malformed) -> Status {
    Status::new(
        Code::Internal,
        format!("grpc: error unmarshalling request: {error}"),
    )
}

/// Frames one message: a zero byte (no compression), the length, the message.
pub fn frame_message(message: &impl prost::Message) -> Bytes {
    let len = message.encoded_len();
    let mut out = BytesMut::with_capacity(len + 5);
    frame_into(message, len, &mut out);
    out.freeze()
}

/// Frames a message that is encoded already.
pub fn frame_bytes(message: &[u8]) -> Bytes {
    use bytes::BufMut as _;
    let mut out = BytesMut::with_capacity(message.len() + 5);
    out.put_u8(0);
    out.put_u32(message.len() as u32);
    out.put_slice(message);
    out.freeze()
}

/// Appends one framed message to `out`.
pub fn append_message(message: &impl prost::Message, out: &mut BytesMut) {
    let len = message.encoded_len();
    out.reserve(len + 5);
    frame_into(message, len, out);
}

fn frame_into(message: &impl prost::Message, len: usize, out: &mut BytesMut) {
    use bytes::BufMut as _;
    out.put_u8(0);
    out.put_u32(len as u32);
    // BytesMut grows as needed, so encoding cannot run out of room.
    let _ = message.encode(out);
}
