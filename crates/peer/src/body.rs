//! The body of an answer to another member.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::outlet::Outlet;

/// An answer's body: some bytes, or a stream without end.
pub struct Body(Content);

enum Content {
    Bytes(Bytes),
    Stream(Box<Outlet>),
}

impl Body {
    pub(crate) fn bytes(bytes: impl Into<Bytes>) -> Body {
        Body(Content::Bytes(bytes.into()))
    }

    pub(crate) fn stream(outlet: Outlet) -> Body {
        Body(Content::Stream(Box::new(outlet)))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut self.get_mut().0 {
            Content::Bytes(bytes) if bytes.is_empty() => Poll::Ready(None),
            Content::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Content::Stream(outlet) => outlet.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Content::Bytes(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Stream(_) => SizeHint::default(),
        }
    }
}
