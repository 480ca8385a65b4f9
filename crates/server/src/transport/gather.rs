//! What one turn of a connection writes, gathered into few system calls. h2
//! flushes after every data frame of 256 bytes or more, so each small answer
//! and each 16 KiB of a large one would be a write of its own. Here a flush
//! only marks the end of a frame; the bytes leave when there are enough of
//! them, and at the end of the turn. It must never hold bytes beyond the turn
//! that wrote them unless the socket is full, and then the turn's task is woken
//! when there is room.
//!
//! What one turn reads is bounded too. h2 takes all that the socket has, and ends a connection
//! whose calls have not taken enough of their frames: after a burst, or a pause of this process,
//! they must get a turn of their own first.

use std::{
    cell::RefCell,
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are held at most: what the kernel sends as one piece.
const HELD: usize = 64 << 10;
/// A buffer that has grown beyond this is given back once it is empty, so that
/// idle connections hold little.
const KEPT: usize = 8 << 10;
/// Slices that one write hands on beside what is held; h2 writes a frame's head
/// and its payload.
const PARTS: usize = 7;

/// Bytes that one turn reads: some 1,400 renewals of a lease, a twentieth of the small frames that h2
/// lets wait (half a connection's window, 256 bytes each); it takes a call a few turns to begin.
const READ_MAX: usize = 32 << 10;

struct Shared<S> {
    io: S,
    /// What the present turn has read.
    read: usize,
    held: Vec<u8>,
    /// How much of `held` has left already.
    sent: usize,
}

impl<S: AsyncWrite + Unpin> Shared<S> {
    /// Writes all that is held.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.held.len() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, &self.held[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.sent += n,
            }
        }
        self.sent = 0;
        self.held.clear();
        if self.held.capacity() > KEPT {
            self.held = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Takes some of `parts`; never nothing while it is ready, unless they are empty.
    fn take(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        loop {
            let held = self.held.len() - self.sent;
            if self.held.len() + len <= HELD {
                if len > KEPT {
                    // More of its kind will follow.
                    self.held.reserve(HELD - self.held.len());
                }
                for part in parts {
                    self.held.extend_from_slice(part);
                }
                return Poll::Ready(Ok(len));
            }
            let mut all = [IoSlice::new(&[]); 1 + PARTS];
            all[0] = IoSlice::new(&self.held[self.sent..]);
            for (to, part) in all[1..].iter_mut().zip(parts) {
                *to = IoSlice::new(part);
            }
            let from = usize::from(held == 0);
            let to = 1 + parts.len().min(PARTS);
            let n = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &all[from..to]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            if n < held {
                self.sent += n;
                continue;
            }
            self.held.clear();
            self.sent = 0;
            if n > held {
                return Poll::Ready(Ok(n - held));
            }
        }
    }
}

/// The socket of a connection as HTTP sees it.
pub(super) struct Gather<S>(Rc<RefCell<Shared<S>>>);

/// The other end of a [`Gather`], for the one who drives the connection.
pub(super) struct TurnEnd<S>(Rc<RefCell<Shared<S>>>);

/// Puts a socket behind a buffer that [`TurnEnd`] empties.
pub(super) fn gather<S>(io: S) -> (Gather<S>, TurnEnd<S>) {
    let shared = Rc::new(RefCell::new(Shared {
        io,
        read: 0,
        held: Vec::new(),
        sent: 0,
    }));
    (Gather(shared.clone()), TurnEnd(shared))
}

impl<S: AsyncWrite + Unpin> TurnEnd<S> {
    /// Sends what the turn has written. While that is pending, the task is woken
    /// when the socket has room. The next turn may read again.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = self.0.borrow_mut();
        shared.read = 0;
        shared.drain(cx)
    }
}

/// How long Go's server reads on after its last word.
const LINGER: Duration = Duration::from_millis(500);

impl<S: AsyncRead + Unpin> TurnEnd<S> {
    /// Drops what still comes after the last answer, for a while: the kernel resets a connection
    /// that is closed with bytes unread, and the client may lose the answer by that.
    pub(super) async fn linger(&self) {
        let to_the_end = poll_fn(|cx| {
            let mut shared = self.0.borrow_mut();
            let mut bytes = [0; 4096];
            loop {
                let mut buf = ReadBuf::new(&mut bytes);
                let read = ready!(Pin::new(&mut shared.io).poll_read(cx, &mut buf));
                if read.is_err() || buf.filled().is_empty() {
                    return Poll::Ready(());
                }
            }
        });
        // A client that keeps sending has had its time.
        let _ = tokio::time::timeout(LINGER, to_the_end).await;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gather<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut shared = self.0.borrow_mut();
        if shared.read >= READ_MAX {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut shared.io).poll_read(cx, buf);
        shared.read += buf.filled().len() - before;
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gather<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().take(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().take(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The end of a frame, not of a turn: see [`TurnEnd::poll`].
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = self.0.borrow_mut();
        ready!(shared.drain(cx))?;
        Pin::new(&mut shared.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
