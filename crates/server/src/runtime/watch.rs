//! The watchers of one runtime around a [`WatcherGroup`], and the streams they belong to. The group
//! decides what every watcher gets; here is only who waits for what.

use std::{
    cell::{Cell, RefCell, RefMut},
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use mvcc::{
    EventBatch,
    watch::{HistoryError, Options, WatcherGroup},
};
use rustc_hash::FxHashMap;

use super::signal::LocalSignal;
use crate::{core::Core, rpc::GRPC_OVERHEAD, status::Status};

/// A stream of watches on this runtime.
pub type StreamId = u64;

/// The watchers of one runtime and the streams they belong to.
pub struct WatchHub {
    group: RefCell<WatcherGroup<StreamId>>,
    streams: RefCell<FxHashMap<StreamId, StreamState>>,
    next_stream: Cell<StreamId>,
    ready: RefCell<Vec<StreamId>>,
    /// Some watcher is behind.
    lagging: LocalSignal,
}

#[derive(Default)]
struct StreamState {
    /// The connection, waiting for output.
    waker: Option<Waker>,
    /// The reader of requests, waiting for output to be taken.
    room: Option<Waker>,
    end: Option<Result<(), Status>>,
}

impl WatchHub {
    /// A hub without watchers.
    pub(super) fn new(core: &Core, runtime: u32) -> WatchHub {
        let options = Options {
            cluster_id: core.cluster_id,
            member_id: core.member_id,
            fragment_bytes: core.config.max_request_bytes + GRPC_OVERHEAD,
            progress_interval_ms: core.config.watch_progress_interval.as_millis() as u64,
            // Clients cannot know it: it tells watchers apart, nothing more.
            seed: core.next_request_id().wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(runtime),
            ..Options::default()
        };
        WatchHub {
            group: RefCell::new(WatcherGroup::new(options, core.store().revision())),
            streams: RefCell::default(),
            next_stream: Cell::new(1),
            ready: RefCell::default(),
            lagging: LocalSignal::default(),
        }
    }

    /// Brings in what a run of entries changed.
    pub(super) fn notify(&self, core: &Core, events: &[Arc<EventBatch>]) {
        {
            let mut group = self.group.borrow_mut();
            group.set_raft_term(core.raft.status.term.load(Ordering::Acquire));
            for batch in events {
                group.notify(batch, &**core.store());
            }
        }
        self.wake_ready();
    }

    /// The store was replaced by one at `revision`: watchers read from its
    /// history what they have not seen.
    pub(super) fn restored(&self, revision: i64) {
        self.group.borrow_mut().advance(revision);
        self.wake_ready();
    }

    /// Events that connections have taken, and those that wait for theirs.
    pub(super) fn events(&self) -> (u64, u64) {
        let group = self.group.borrow();
        (group.events_taken(), group.events_pending())
    }

    /// Watchers, streams, and watchers that read history.
    pub fn counts(&self) -> [i64; 3] {
        let stats = self.group.borrow().stats();
        let streams = self.streams.borrow().len();
        [stats.watchers as i64, streams as i64, stats.behind as i64]
    }

    /// The watchers, told of the present term.
    pub fn group(&self, core: &Core) -> RefMut<'_, WatcherGroup<StreamId>> {
        let mut group = self.group.borrow_mut();
        group.set_raft_term(core.raft.status.term.load(Ordering::Acquire));
        group
    }

    /// Opens a stream.
    pub fn open(&self) -> StreamId {
        let id = self.next_stream.get();
        self.next_stream.set(id + 1);
        self.streams.borrow_mut().insert(id, StreamState::default());
        id
    }

    /// True until the connection of the stream is gone.
    pub fn is_open(&self, id: StreamId) -> bool {
        self.streams.borrow().contains_key(&id)
    }

    /// Ends a stream and its watchers: its connection is gone.
    pub fn close(&self, id: StreamId) {
        self.group.borrow_mut().close_stream(id);
        self.streams.borrow_mut().remove(&id);
    }

    /// How a stream ends, once its output is taken.
    pub fn end(&self, id: StreamId, end: Result<(), Status>) {
        let mut streams = self.streams.borrow_mut();
        if let Some(state) = streams.get_mut(&id) {
            state.end = Some(end);
            if let Some(waker) = state.waker.take() {
                waker.wake();
            }
        }
    }

    /// The next output of a stream, for its connection.
    pub fn poll_output(
        &self,
        id: StreamId,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Status>>> {
        let mut out = BytesMut::new();
        let taken = self.group.borrow_mut().next_output(id, &mut out);
        let mut streams = self.streams.borrow_mut();
        let Some(state) = streams.get_mut(&id) else {
            return Poll::Ready(None);
        };
        if taken > 0 {
            // There is room again: for requests, and for watchers that had to wait.
            if let Some(room) = state.room.take() {
                room.wake();
            }
            if self.group.borrow().has_lagging() {
                self.lagging.set();
            }
            return Poll::Ready(Some(Ok(out.freeze())));
        }
        match state.end.take() {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(status)) => Poll::Ready(Some(Err(status))),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Waits while a stream holds as much output as it may: a client that only
    /// asks and never reads is not listened to.
    pub async fn room(&self, id: StreamId) {
        std::future::poll_fn(|cx| match self.streams.borrow_mut().get_mut(&id) {
            Some(state) if self.group.borrow().is_full(id) => {
                state.room = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        })
        .await;
    }

    /// Waits until a watcher is behind.
    pub async fn lagging(&self) {
        self.lagging.wait().await;
    }

    /// Reads up to `bytes` of history for watchers that are behind. True if there is more.
    ///
    /// # Errors
    /// The history cannot be read.
    pub fn catch_up(&self, store: &mvcc::Store, bytes: usize) -> Result<bool, HistoryError> {
        let more = self.group.borrow_mut().catch_up(store, bytes);
        self.wake_ready();
        more
    }

    /// Sends progress notifications that are due.
    pub fn tick_progress(&self, now_ms: u64) {
        self.group.borrow_mut().tick_progress(now_ms);
        self.wake_ready();
    }

    /// Wakes the streams that have something to send, and whoever catches up if a watcher is
    /// behind.
    pub fn wake_ready(&self) {
        let mut ready = self.ready.borrow_mut();
        self.group.borrow_mut().take_ready(&mut ready);
        let mut streams = self.streams.borrow_mut();
        for id in ready.drain(..) {
            if let Some(waker) = streams.get_mut(&id).and_then(|s| s.waker.take()) {
                waker.wake();
            }
        }
        drop(streams);
        if self.group.borrow().has_lagging() {
            self.lagging.set();
        }
    }
}
