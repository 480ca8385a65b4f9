//! gRPC over HTTP/2: reads the message out of the body, finds the method by its
//! path, and puts the answer or the status back. It knows the wire, not the
//! meaning: [`crate::api`] holds the methods.

use std::rc::Rc;

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderValue, Request, Response, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use prometheus::IntCounter;
use tokio::sync::oneshot;

use super::body::{Body, put_status};
use crate::{
    api::{self, Answer, Call},
    runtime::Runtime,
    status::{Code, Status},
};

static GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// Answers one gRPC request.
pub(super) async fn call(rt: &Rc<Runtime>, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let answer = match api::Method::of(head.uri.path()) {
        None => Err(unknown(head.uri.path())),
        Some(method) => {
            let call = Call {
                has_leader: head
                    .headers
                    .get("hasleader")
                    .is_some_and(|v| v.as_bytes() == b"true"),
                client_api_version: head
                    .headers
                    .get("client-api-version")
                    .and_then(|v| v.to_str().ok()),
                timeout: head
                    .headers
                    .get("grpc-timeout")
                    .and_then(|v| parse_timeout(v.as_bytes())),
            };
            dispatch(rt, method, &call, body).await
        }
    };
    let mut response = Response::new(Body::Done);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, GRPC.clone());
    match answer {
        Ok(Answer::One(frame)) => *response.body_mut() = Body::Unary(frame),
        Ok(Answer::Pieces(source) | Answer::Stream(source)) => {
            *response.body_mut() = Body::Stream(source)
        }
        // A call that never began answers with trailers alone.
        Err(status) => put_status(&status, response.headers_mut()),
    }
    response
}

async fn dispatch(
    rt: &Rc<Runtime>,
    method: api::Method,
    call: &Call<'_>,
    body: Incoming,
) -> Result<Answer, Status> {
    let limit = rt.core.config.max_request_bytes + api::GRPC_OVERHEAD;
    if method.streams_requests() {
        return api::stream(rt, method, call, MessageStream::new(body, limit)).await;
    }
    let message = read_one(body, limit).await?;
    api::unary(rt, method, call, message).await
}

fn unknown(path: &str) -> Status {
    let mut parts = path.trim_start_matches('/').splitn(2, '/');
    let (service, method) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    if api::Method::has_service(service) {
        Status::new(
            Code::Unimplemented,
            format!("unknown method {method} for service {service}"),
        )
    } else {
        Status::new(Code::Unimplemented, format!("unknown service {service}"))
    }
}

/// `grpc-timeout`: up to eight digits and a unit.
fn parse_timeout(value: &[u8]) -> Option<std::time::Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let n: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    use std::time::Duration;
    Some(match unit {
        b'H' => Duration::from_secs(n * 3600),
        b'M' => Duration::from_secs(n * 60),
        b'S' => Duration::from_secs(n),
        b'm' => Duration::from_millis(n),
        b'u' => Duration::from_micros(n),
        b'n' => Duration::from_nanos(n),
        _ => return None,
    })
}

fn too_large(len: usize, limit: usize) -> Status {
    Status::new(
        Code::ResourceExhausted,
        format!("grpc: received message larger than max ({len} vs. {limit})"),
    )
}

fn broken_body() -> Status {
    Status::fixed(Code::Internal, "unexpected EOF in the request message")
}

/// The length of the framed message at the head of `buffer`, once it is known.
fn framed_len(buffer: &[u8], limit: usize) -> Result<Option<usize>, Status> {
    let Some(head) = buffer.first_chunk::<5>() else {
        return Ok(None);
    };
    if head[0] != 0 {
        return Err(Status::fixed(
            Code::Unimplemented,
            "grpc: Decompressor is not installed for grpc-encoding of the request",
        ));
    }
    let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if len > limit {
        return Err(too_large(len, limit));
    }
    Ok(Some(len))
}

/// Reads the single message of a unary request.
async fn read_one(mut body: Incoming, limit: usize) -> Result<Bytes, Status> {
    // Nearly always the whole message lies in the first data frame.
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| broken_body())?.into_data() else {
            continue;
        };
        let Some(head) = &first else {
            first = Some(data);
            if body.is_end_stream() {
                break;
            }
            continue;
        };
        if rest.is_empty() {
            if data.is_empty() {
                continue;
            }
            rest.extend_from_slice(head);
        }
        rest.extend_from_slice(&data);
        if let Some(len) = framed_len(&rest, limit)?
            && rest.len() > len + 5
        {
            return Err(broken_body());
        }
    }
    let mut whole = if rest.is_empty() {
        first.unwrap_or_default()
    } else {
        rest.freeze()
    };
    match framed_len(&whole, limit)? {
        Some(len) if whole.len() == len + 5 => {
            whole.advance(5);
            Ok(whole)
        }
        _ => Err(broken_body()),
    }
}

/// How the messages of a request stream are written.
enum Form {
    /// gRPC frames.
    Grpc,
    /// JSON objects one after another, each turned into the serialized message.
    Json(fn(serde_json::Value) -> Result<Bytes, Status>),
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
    fn new(body: Incoming, limit: usize) -> MessageStream {
        MessageStream {
            body,
            buffer: BytesMut::new(),
            limit,
            form: Form::Grpc,
            open: None,
            received: None,
        }
    }

    /// A stream of JSON objects.
    pub(super) fn json(
        body: Incoming,
        limit: usize,
        convert: fn(serde_json::Value) -> Result<Bytes, Status>,
    ) -> MessageStream {
        MessageStream {
            body,
            buffer: BytesMut::new(),
            limit,
            form: Form::Json(convert),
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
        match &self.form {
            Form::Grpc => match framed_len(&self.buffer, self.limit)? {
                Some(len) if self.buffer.len() >= len + 5 => {
                    self.buffer.advance(5);
                    Ok(Some(self.buffer.split_to(len).freeze()))
                }
                _ => Ok(None),
            },
            Form::Json(convert) => {
                let blank = self
                    .buffer
                    .iter()
                    .take_while(|b| b.is_ascii_whitespace())
                    .count();
                self.buffer.advance(blank);
                if self.buffer.len() > self.limit {
                    return Err(too_large(self.buffer.len(), self.limit));
                }
                let mut values = serde_json::Deserializer::from_slice(&self.buffer)
                    .into_iter::<serde_json::Value>();
                match values.next() {
                    Some(Ok(value)) => {
                        let used = values.byte_offset();
                        self.buffer.advance(used);
                        convert(value).map(Some)
                    }
                    Some(Err(error)) if !error.is_eof() => {
                        Err(Status::new(Code::InvalidArgument, error.to_string()))
                    }
                    _ => Ok(None),
                }
            }
        }
    }

    /// The next message; `None` when the peer has closed its side cleanly.
    pub async fn next(&mut self) -> Option<Result<Bytes, Status>> {
        loop {
            match self.take_message() {
                // To etcd's gateway an object it cannot read is the end of the requests.
                Err(_) if matches!(self.form, Form::Json(_)) => return self.ended().await,
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
        if matches!(self.form, Form::Grpc) && !self.buffer.is_empty() {
            return Some(Err(broken_body()));
        }
        if let Some(open) = &mut self.open {
            // Nothing is ever sent: the drop of the sender is the message.
            let _ = open.await;
        }
        None
    }
}
