//! What leaves on a stream is counted, and what ends any stream ends it here: the client's
//! deadline, and the loss of the leader for a client that asked for one. It passes frames on as
//! they are.

use std::{
    future::pending,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::{sync::oneshot, time::Instant};

use super::call::Call;
use crate::{
    metrics::CallTimer,
    rpc::{Method, Source},
    runtime::Runtime,
    status::{Code, Status, errors},
};

/// A source whose frames are counted.
pub(super) struct Metered {
    source: Box<dyn Source>,
    rt: Rc<Runtime>,
    method: Method,
    /// How the call is counted at its end; `None` if that is done or another's.
    call: Option<CallTimer>,
    /// Resolves to the end that comes from outside the call.
    ended: Option<Pin<Box<dyn Future<Output = Status>>>>,
    /// Dropped with the answer; the requests of the call last until then.
    _open: Option<oneshot::Sender<()>>,
    /// One message in pieces, counted already, instead of frames.
    in_pieces: bool,
    /// Bytes still to come of the last frame begun.
    rest: usize,
}

impl Metered {
    /// A stream of frames; the end of it is the end of the call that `timer` times.
    pub(super) fn stream(
        rt: &Rc<Runtime>,
        method: Method,
        source: Box<dyn Source>,
        call: &Call<'_>,
        timer: CallTimer,
        open: Option<oneshot::Sender<()>>,
    ) -> Box<dyn Source> {
        Box::new(Metered {
            source,
            rt: rt.clone(),
            method,
            call: Some(timer),
            ended: ended(rt, method, call),
            _open: open,
            in_pieces: false,
            rest: 0,
        })
    }

    /// One frame in pieces.
    pub(super) fn pieces(
        rt: &Rc<Runtime>,
        method: Method,
        source: Box<dyn Source>,
    ) -> Box<dyn Source> {
        rt.core.metrics.sent(method, 1, 0);
        Box::new(Metered {
            source,
            rt: rt.clone(),
            method,
            call: None,
            ended: None,
            _open: None,
            in_pieces: true,
            rest: 0,
        })
    }

    fn end(&mut self, code: Code) {
        if let Some(timer) = self.call.take() {
            self.rt.core.metrics.call_ended(self.method, &timer, code);
        }
    }
}

/// What ends the stream of a call, if its client asked for anything that does.
fn ended(
    rt: &Rc<Runtime>,
    method: Method,
    call: &Call<'_>,
) -> Option<Pin<Box<dyn Future<Output = Status>>>> {
    let without_leader = method.without_leader().filter(|_| call.has_leader);
    if call.timeout.is_none() && without_leader.is_none() {
        return None;
    }
    let deadline = call.timeout.map(|timeout| Instant::now() + timeout);
    let mut lost = rt.core.leader_lost.subscribe();
    Some(Box::pin(async move {
        let late = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => pending().await,
            }
        };
        let leaderless = async {
            match without_leader {
                // An error means that the server is gone, and this with it.
                Some(status) if lost.changed().await.is_ok() => status,
                _ => pending().await,
            }
        };
        tokio::select! {
            () = late => errors::DEADLINE_EXCEEDED,
            status = leaderless => status,
        }
    }))
}

/// Messages that begin in `bytes`. `rest` is what is missing of the last one
/// begun; a frame's head is never torn.
fn messages(rest: &mut usize, mut bytes: &[u8]) -> u64 {
    let mut n = 0;
    loop {
        let skip = bytes.len().min(*rest);
        *rest -= skip;
        bytes = &bytes[skip..];
        let Some(head) = bytes.first_chunk::<5>() else {
            return n;
        };
        *rest = 5 + u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        n += 1;
    }
}

impl Source for Metered {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        if let Some(ended) = &mut self.ended
            && let Poll::Ready(status) = ended.as_mut().poll(cx)
        {
            self.end(status.code);
            return Poll::Ready(Some(Err(status)));
        }
        let next = self.source.poll_next(cx);
        match &next {
            Poll::Ready(Some(Ok(bytes))) if self.in_pieces => {
                let metrics = &self.rt.core.metrics;
                metrics.client_sent_bytes.inc_by(bytes.len() as u64);
            }
            Poll::Ready(Some(Ok(bytes))) => {
                let n = messages(&mut self.rest, bytes);
                let metrics = &self.rt.core.metrics;
                metrics.sent(self.method, n, (bytes.len() as u64).saturating_sub(5 * n));
            }
            Poll::Ready(Some(Err(status))) => self.end(status.code),
            Poll::Ready(None) => self.end(Code::Ok),
            Poll::Pending => {}
        }
        next
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        // Dropped before its end: the client went away.
        self.end(Code::Canceled);
    }
}
