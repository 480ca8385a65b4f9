//! The messages of a request: one of a unary call, or a stream of them; as gRPC frames, or as
//! JSON objects one after another. Each byte that arrives is looked at a bounded number of times.

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use prometheus::IntCounter;
use proto::schema::Message;
use tokio::sync::oneshot;

use super::{
    compression::{Encoding, FRAME_HEAD},
    json::{Finder, transcode},
};
use crate::status::{Code, Status};

pub(super) fn too_large(len: usize, limit: usize) -> Status {
    Status::new(
        Code::ResourceExhausted,
        format!("grpc: received message larger than max ({len} vs. {limit})"),
    )
}

/// The length of the framed message at the head of `buffer`, its head included, once it is known.
fn framed_len(buffer: &[u8], limit: usize) -> Result<Option<usize>, Status> {
    let Some(&[_, a, b, c, d]) = buffer.first_chunk::<FRAME_HEAD>() else {
        return Ok(None);
    };
    let len = u32::from_be_bytes([a, b, c, d]) as usize;
    if len > limit {
        return Err(too_large(len, limit));
    }
    Ok(Some(len + FRAME_HEAD))
}

/// The message of a whole frame.
fn unframe(mut frame: Bytes, limit: usize, encoding: Encoding) -> Result<Bytes, Status> {
    let flag = frame.first().copied().unwrap_or_default();
    frame.advance(FRAME_HEAD);
    encoding.open(flag, frame, limit)
}

/// Reads the message of a unary request. What comes after it is not looked at, and whether the
/// client says that nothing will is not waited for.
pub(super) async fn read_one(
    mut body: Incoming,
    limit: usize,
    encoding: Encoding,
) -> Result<Bytes, Status> {
    // Nearly always the whole message is in the first data frame: that one is not copied.
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    loop {
        let have: &[u8] = if joined.is_empty() { &first } else { &joined };
        if let Some(len) = framed_len(have, limit)?
            && have.len() >= len
        {
            let frame = if joined.is_empty() {
                first.split_to(len)
            } else {
                joined.split_to(len).freeze()
            };
            return unframe(frame, limit, encoding);
        }
        let is_in_head = have.len() < FRAME_HEAD;
        match body.frame().await {
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else {
                    continue;
                };
                if first.is_empty() {
                    first = data;
                } else if !data.is_empty() {
                    if joined.is_empty() {
                        joined.extend_from_slice(&first);
                    }
                    joined.extend_from_slice(&data);
                }
            }
            // grpc-go passes on what its reader says.
            _ if is_in_head => return Err(Status::fixed(Code::Unknown, "EOF")),
            _ => return Err(Status::fixed(Code::Unknown, "unexpected EOF")),
        }
    }
}

/// How the messages of a request stream are written.
enum Form {
    /// gRPC frames.
    Grpc(Encoding),
    /// JSON values one after another, each turned into the serialized message.
    Json {
        message: &'static Message,
        finder: Finder,
    },
}

/// The messages of a request stream, in order.
pub struct MessageStream {
    body: Incoming,
    buffer: BytesMut,
    limit: usize,
    form: Form,
    /// The stream ends no sooner than this, though the body may.
    open: Option<oneshot::Receiver<()>>,
    received: Option<Received>,
}

/// Counters of what arrives: messages, and their bytes.
struct Received {
    messages: IntCounter,
    bytes: IntCounter,
}

impl MessageStream {
    /// A stream of gRPC frames.
    pub(super) fn new(body: Incoming, limit: usize, encoding: Encoding) -> MessageStream {
        MessageStream {
            body,
            buffer: BytesMut::new(),
            limit,
            form: Form::Grpc(encoding),
            open: None,
            received: None,
        }
    }

    /// A stream of JSON objects.
    pub(super) fn json(body: Incoming, limit: usize, message: &'static Message) -> MessageStream {
        MessageStream {
            body,
            buffer: BytesMut::new(),
            limit,
            form: Form::Json {
                message,
                finder: Finder::new(),
            },
            open: None,
            received: None,
        }
    }

    /// From here on the stream lasts, after its body has ended cleanly, until
    /// what is given back is dropped.
    pub fn hold_open(&mut self) -> oneshot::Sender<()> {
        let (sender, receiver) = oneshot::channel();
        self.open = Some(receiver);
        sender
    }

    /// Counts what arrives from here on.
    pub fn count(&mut self, messages: IntCounter, bytes: IntCounter) {
        self.received = Some(Received { messages, bytes });
    }

    /// What is complete at the head of the buffer.
    fn take_message(&mut self) -> Result<Option<Bytes>, Status> {
        match &mut self.form {
            Form::Grpc(encoding) => match framed_len(&self.buffer, self.limit)? {
                Some(len) if self.buffer.len() >= len => {
                    let frame = self.buffer.split_to(len).freeze();
                    unframe(frame, self.limit, *encoding).map(Some)
                }
                _ => Ok(None),
            },
            Form::Json { message, finder } => match finder.find(&self.buffer) {
                Ok(Some(len)) => transcode(&self.buffer.split_to(len), message)
                    .map(Some)
                    .map_err(|error| Status::new(Code::InvalidArgument, error.to_string())),
                Ok(None) if self.buffer.len() > self.limit => {
                    Err(too_large(self.buffer.len(), self.limit))
                }
                Ok(None) => Ok(None),
                Err(error) => Err(Status::new(Code::InvalidArgument, error.to_string())),
            },
        }
    }

    /// The next message; `None` when the peer has closed its side cleanly.
    pub async fn next(&mut self) -> Option<Result<Bytes, Status>> {
        loop {
            match self.take_message() {
                // To etcd's gateway an object it cannot read is the end of the requests.
                Err(_) if matches!(self.form, Form::Json { .. }) => return self.ended().await,
                Err(status) => return Some(Err(status)),
                Ok(Some(message)) => {
                    if let Some(received) = &self.received {
                        received.messages.inc();
                        received.bytes.inc_by(message.len() as u64);
                    }
                    return Some(Ok(message));
                }
                Ok(None) => {}
            }
            match self.body.frame().await {
                None => return self.ended().await,
                // The peer reset the stream: it wants nothing more.
                Some(Err(_)) => {
                    return Some(Err(Status::fixed(Code::Canceled, "context canceled")));
                }
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
            }
        }
    }

    /// What follows the last message.
    async fn ended(&mut self) -> Option<Result<Bytes, Status>> {
        if matches!(self.form, Form::Grpc(_)) && !self.buffer.is_empty() {
            return Some(Err(Status::fixed(Code::Internal, "unexpected EOF")));
        }
        if let Some(open) = &mut self.open {
            // Nothing is ever sent: the drop of the sender is the message.
            let _ = open.await;
        }
        None
    }
}
