//! The beginning of a connection: whether the server has spoken, and what ended the connection if
//! it has not. A server refuses a client certificate after the client's side of a TLS 1.3
//! handshake is done, so that the alert is the answer to the first read; it must not get lost.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::watch,
};

/// Length of an HTTP/2 frame header, and where its type is.
const FRAME_HEADER: usize = 9;
const FRAME_TYPE: usize = 3;
/// The frame that a server must send first.
const SETTINGS: u8 = 4;

/// A connection, secured or not.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What ended a connection before the server's first frame, as Go says it.
#[derive(Clone, Default)]
pub(crate) struct Reason(Arc<Mutex<Option<String>>>);

impl Reason {
    /// Keeps the first reason: what follows is a consequence.
    fn set(&self, why: String) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.get_or_insert(why);
    }

    pub(crate) fn get(&self) -> Option<String> {
        let slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.clone()
    }
}

/// A stream that says when the server's first frame has come, if it is the one
/// that must come first. That it is gone is said by the end of `ready`.
pub(crate) struct Watched {
    stream: Box<dyn Stream>,
    ready: watch::Sender<bool>,
    reason: Reason,
    first: [u8; FRAME_HEADER],
    /// Bytes of `first` that have come.
    seen: usize,
}

impl Watched {
    pub(crate) fn new(
        stream: Box<dyn Stream>,
        ready: watch::Sender<bool>,
        reason: Reason,
    ) -> Watched {
        Watched {
            stream,
            ready,
            reason,
            first: [0; FRAME_HEADER],
            seen: 0,
        }
    }

    fn note(&mut self, bytes: &[u8]) {
        let rest = &mut self.first[self.seen..];
        let more = rest.len().min(bytes.len());
        rest[..more].copy_from_slice(&bytes[..more]);
        self.seen += more;
        if more > 0 && self.seen == FRAME_HEADER && self.first[FRAME_TYPE] == SETTINGS {
            self.ready.send_replace(true);
        }
    }

    /// Keeps what a read before the server's first frame ended with.
    fn note_end(&self, read: &Poll<io::Result<()>>, bytes: usize) {
        match read {
            Poll::Ready(Err(error)) => self.reason.set(tls::describe(error)),
            Poll::Ready(Ok(())) if bytes == 0 => self.reason.set("EOF".to_owned()),
            _ => {}
        }
    }

    /// After a write has failed: the server may have said why before it closed.
    fn read_reason(&mut self, context: &mut Context<'_>) {
        if self.seen == FRAME_HEADER {
            return;
        }
        let mut bytes = [0; FRAME_HEADER];
        let mut buffer = ReadBuf::new(&mut bytes);
        let polled = Pin::new(&mut self.stream).poll_read(context, &mut buffer);
        self.note_end(&polled, buffer.filled().len());
    }

    fn written<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if matches!(polled, Poll::Ready(Err(_))) {
            self.read_reason(context);
        }
        polled
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if self.seen < FRAME_HEADER {
            let bytes = &buffer.filled()[before..];
            self.note_end(&polled, bytes.len());
            self.note(bytes);
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.written(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
