//! A stream that another member opened, for what we send: its queue on one end,
//! the body of the answer on the other. Everything that waits goes out as
//! one frame, and with it one write. Must never hold a lock while it encodes.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use proto::raftpb::Message;
use tokio::time::{Interval, MissedTickBehavior};

use crate::{
    channel::Channel,
    codec::{Encoder, Kind},
    queue::Queue,
    shared::Shared,
};

/// Between two signs of life: a third of what the reader waits.
const HEARTBEAT: Duration = Duration::from_micros(5_000_000 / 3);
/// A frame of a stream grows no larger, its last message excepted.
const FRAME_BYTES: usize = 256 << 10;
/// A buffer that one large message made larger than this is not kept.
const BUFFER_BYTES: usize = 4 * FRAME_BYTES;

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
        let queue = Queue::new(shared.config.write_timeout);
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
