//! A stream of frames out of a queue.

use std::task::{Context, Poll};

use bytes::Bytes;
use server::{rpc::Source, status::Status};
use tokio::sync::mpsc;

/// Frames from a task to a connection.
pub(super) struct Frames(pub(super) mpsc::Receiver<Result<Bytes, Status>>);

impl Source for Frames {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        self.0.poll_recv(cx)
    }
}
