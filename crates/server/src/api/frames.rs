//! A stream whose frames a task of its own makes. The bound of the channel is what may wait for
//! the connection; the task learns of the client's end by the channel's.

use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::{rpc::Source, status::Status};

/// What the task has sent, frame by frame. When it drops its side the stream ends well.
pub(super) struct Frames(pub mpsc::Receiver<Result<Bytes, Status>>);

impl Source for Frames {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        self.0.poll_recv(cx)
    }
}
