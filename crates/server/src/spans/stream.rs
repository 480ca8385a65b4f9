//! The span of a call that is answered with a stream lasts as long as the stream.

use std::task::{Context, Poll};

use bytes::Bytes;

use super::Span;
use crate::{rpc::Source, status::Status};

struct Traced {
    source: Box<dyn Source>,
    /// `None` after the end of the stream.
    span: Option<Span>,
}

/// `source`, and its span if it has one.
pub fn stream(span: Option<Span>, source: Box<dyn Source>) -> Box<dyn Source> {
    match span {
        Some(span) => Box::new(Traced {
            source,
            span: Some(span),
        }),
        None => source,
    }
}

impl Source for Traced {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        let next = self.source.poll_next(cx);
        let end = match &next {
            Poll::Ready(None) => Ok(()),
            Poll::Ready(Some(Err(status))) => Err(status),
            _ => return next,
        };
        if let Some(mut span) = self.span.take() {
            span.ends(end);
        }
        next
    }
}
