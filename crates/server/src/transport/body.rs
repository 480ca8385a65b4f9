//! The body of an answer. One message with its trailers, a pulled stream of
//! messages, or plain HTTP bytes. A stream is polled only when the peer's
//! flow-control window has room, so a slow reader holds nothing but its source.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Frame, SizeHint};

use crate::{
    rpc::Source,
    status::{Code, Status},
};

/// The body of an HTTP or gRPC answer.
pub enum Body {
    /// Nothing more to send.
    Done,
    /// Plain HTTP bytes.
    Plain(Bytes),
    /// One framed gRPC message, then `grpc-status: 0`.
    Unary(Bytes),
    /// A gRPC stream.
    Stream(Box<dyn Source>),
    /// A plain HTTP stream (the gateway's newline-separated JSON).
    PlainStream(Box<dyn Source>),
    /// Only the trailers are left.
    Trailers(Status),
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        match this {
            Body::Done => Poll::Ready(None),
            Body::Plain(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Body::Done;
                if bytes.is_empty() {
                    Poll::Ready(None)
                } else {
                    Poll::Ready(Some(Ok(Frame::data(bytes))))
                }
            }
            Body::Unary(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Body::Trailers(Status::fixed(Code::Ok, ""));
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Body::Stream(source) | Body::PlainStream(source) => match source.poll_next(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Some(Ok(bytes))) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Poll::Ready(end) => {
                    let status = match end {
                        Some(Err(status)) => status,
                        _ => Status::fixed(Code::Ok, ""),
                    };
                    let plain = matches!(this, Body::PlainStream(_));
                    *this = Body::Done;
                    if plain {
                        return Poll::Ready(None);
                    }
                    Poll::Ready(Some(Ok(Frame::trailers(trailers(&status)))))
                }
            },
            Body::Trailers(status) => {
                let trailers = trailers(status);
                *this = Body::Done;
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Done)
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Done => SizeHint::with_exact(0),
            Body::Plain(bytes) => SizeHint::with_exact(bytes.len() as u64),
            _ => SizeHint::default(),
        }
    }
}

static GRPC_STATUS: http::HeaderName = http::HeaderName::from_static("grpc-status");
static GRPC_MESSAGE: http::HeaderName = http::HeaderName::from_static("grpc-message");

fn trailers(status: &Status) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(2);
    put_status(status, &mut map);
    map
}

/// Writes `grpc-status` and the percent-encoded `grpc-message`, empty where all went well.
pub(super) fn put_status(status: &Status, map: &mut HeaderMap) {
    map.insert(GRPC_STATUS.clone(), HeaderValue::from(status.code as u16));
    if status.code == Code::Ok || status.message.is_empty() {
        map.insert(GRPC_MESSAGE.clone(), HeaderValue::from_static(""));
    } else {
        let mut text = String::with_capacity(status.message.len());
        for &b in status.message.as_bytes() {
            if (0x20..=0x7e).contains(&b) && b != b'%' {
                text.push(char::from(b));
            } else {
                text.push_str(&format!("%{b:02X}"));
            }
        }
        if let Ok(value) = HeaderValue::from_str(&text) {
            map.insert(GRPC_MESSAGE.clone(), value);
        }
    }
}
