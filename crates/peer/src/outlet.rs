//! A stream that another member opened, for what we send: a bounded queue on one
//! end, the body of the answer on the other. Everything that waits goes out as
//! one frame, and with it one write. Must never hold a lock while it encodes.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use parking_lot::Mutex;
use proto::raftpb::Message;
use tokio::time::{Interval, MissedTickBehavior};

use crate::{
    channel::Channel,
    codec::{Encoder, Kind},
    transport::Shared,
};

/// Messages that wait for a stream; etcd's number.
const QUEUE: usize = 4096;
/// Between two signs of life: a third of what the reader waits.
const HEARTBEAT: Duration = Duration::from_micros(5_000_000 / 3);
/// A stream into which nothing can be written for this long is dead.
pub(crate) const WRITE_TIMEOUT: Duration = crate::STALL;
/// A frame of a stream grows no larger, its last message excepted.
const FRAME_BYTES: usize = 256 << 10;
/// A buffer that one large message made larger than this is not kept.
const BUFFER_BYTES: usize = 4 * FRAME_BYTES;

/// What waits for a stream.
pub(crate) struct Queue {
    state: Mutex<State>,
}

struct State {
    messages: VecDeque<Message>,
    /// Of the stream's connection, while it waits for messages.
    waker: Option<Waker>,
    open: bool,
    /// Since when there has been something to write and nothing was taken.
    waiting_since: Option<Instant>,
}

impl Queue {
    fn new() -> Arc<Queue> {
        Arc::new(Queue {
            state: Mutex::new(State {
                messages: VecDeque::new(),
                waker: None,
                open: true,
                waiting_since: None,
            }),
        })
    }

    /// Takes a message, `false` if it was dropped because too many wait. It comes
    /// back from a stream that has ended. Wakes nobody.
    pub(crate) fn push(&self, message: Message) -> Result<bool, Message> {
        let mut state = self.state.lock();
        if !state.open {
            return Err(message);
        }
        if state.messages.len() >= QUEUE {
            return Ok(false);
        }
        if state.waiting_since.is_none() {
            state.waiting_since = Some(Instant::now());
        }
        state.messages.push_back(message);
        Ok(true)
    }

    /// Wakes the stream if something waits for it.
    pub(crate) fn wake(&self) {
        let waker = {
            let mut state = self.state.lock();
            if state.messages.is_empty() {
                return;
            }
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// True if the other side has taken nothing for too long.
    pub(crate) fn is_stalled(&self) -> bool {
        let since = self.state.lock().waiting_since;
        since.is_some_and(|since| since.elapsed() > WRITE_TIMEOUT)
    }

    /// Ends the stream. True if messages are lost with it.
    pub(crate) fn close(&self) -> bool {
        let (waker, lost) = {
            let mut state = self.state.lock();
            state.open = false;
            let lost = state.waiting_since.take().is_some();
            state.messages = VecDeque::new();
            (state.waker.take(), lost)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        lost
    }
}

/// The body of a stream's answer.
pub(crate) struct Outlet {
    shared: Arc<Shared>,
    channel: Arc<Channel>,
    kind: Kind,
    queue: Arc<Queue>,
    /// Taken off the queue, not yet written.
    batch: VecDeque<Message>,
    encoder: Encoder,
    buffer: BytesMut,
    heartbeat: Interval,
}

impl Outlet {
    /// Takes the place of an older stream to the member.
    pub(crate) fn open(shared: &Arc<Shared>, channel: &Arc<Channel>, kind: Kind) -> Outlet {
        let queue = Queue::new();
        let id = format!("{:x}", channel.id);
        let local = format!("{:x}", shared.config.member_id);
        if let Some(older) = channel.attach(kind, queue.clone()) {
            tracing::warn!(
                "stream-writer-type" = kind.log_name(),
                "local-member-id" = local,
                "remote-peer-id" = id,
                "closed TCP streaming connection with remote peer"
            );
            if older.close() {
                shared.unreachable(channel);
            }
        }
        channel.activate();
        tracing::info!(
            "stream-writer-type" = kind.log_name(),
            "local-member-id" = local,
            "remote-peer-id" = id,
            "established TCP streaming connection with remote peer"
        );
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.reset();
        Outlet {
            shared: shared.clone(),
            channel: channel.clone(),
            kind,
            queue,
            batch: VecDeque::new(),
            encoder: Encoder::new(kind),
            buffer: BytesMut::new(),
            heartbeat,
        }
    }

    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        {
            let mut state = self.queue.state.lock();
            if !state.open {
                return Poll::Ready(None);
            }
            if self.batch.is_empty() {
                std::mem::swap(&mut state.messages, &mut self.batch);
            }
            if self.batch.is_empty() {
                state.waiting_since = None;
                match &state.waker {
                    Some(waker) if waker.will_wake(cx.waker()) => {}
                    _ => state.waker = Some(cx.waker().clone()),
                }
            } else {
                // Until the connection asks again, which it does when this is written.
                state.waiting_since = Some(Instant::now());
            }
        }
        while self.buffer.len() < FRAME_BYTES
            && let Some(message) = self.batch.pop_front()
        {
            self.encoder.encode(&message, &mut self.buffer);
        }
        while self.heartbeat.poll_tick(cx).is_ready() {
            self.encoder.heartbeat(&mut self.buffer);
        }
        if self.buffer.is_empty() {
            return Poll::Pending;
        }
        let sent = &self.channel.counters.sent_bytes;
        sent.fetch_add(self.buffer.len() as u64, Ordering::Relaxed);
        let frame = self.buffer.split().freeze();
        if frame.len() > BUFFER_BYTES {
            self.buffer = BytesMut::new();
        }
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        if self.channel.detach(self.kind, &self.queue) {
            self.shared
                .lost_stream(&self.channel, self.kind, "the connection was closed");
        }
        if self.queue.close() || !self.batch.is_empty() {
            self.shared.unreachable(&self.channel);
        }
    }
}
