//! The Watch service: streams in and out around the runtime's [`WatcherGroup`].
//! The group decides what every watcher gets; here is only who is connected,
//! who waits, and when history is read for those that lag.

use std::{
    cell::{Cell, RefCell, RefMut},
    collections::VecDeque,
    rc::Rc,
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Buf as _, Bytes, BytesMut};
use mvcc::{
    EventBatch,
    watch::{Options, WatcherGroup},
};
use prost::Message as _;
use proto::etcdserverpb::{
    WatchCreateRequest, WatchRequest, WatchResponse, watch_request::RequestUnion,
};
use rustc_hash::FxHashMap;
use tokio::{sync::oneshot, task::unconstrained};

use super::caller::Caller;
use crate::{
    core::Core,
    rpc::{GRPC_OVERHEAD, Source, decode},
    runtime::{LocalSignal, Runtime},
    status::{Code, Status, errors},
    transport::MessageStream,
};

type StreamId = u64;

/// The watchers of one runtime and the connections they belong to.
pub struct WatchHub {
    /// The runtime's index.
    runtime: u32,
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

/// How often watchers that could not be caught up are tried again.
const CATCH_UP_PERIOD: Duration = Duration::from_millis(100);
/// How often progress notifications that are due are looked for.
const PROGRESS_PERIOD: Duration = Duration::from_millis(10);
/// History read in one go before other work of the runtime gets its turn, bytes.
const CATCH_UP_BYTES: usize = 1 << 20;

impl WatchHub {
    /// A hub without watchers.
    pub fn new(core: &Core, runtime: u32) -> WatchHub {
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
            runtime,
            group: RefCell::new(WatcherGroup::new(options, core.store().revision())),
            streams: RefCell::default(),
            next_stream: Cell::new(1),
            ready: RefCell::default(),
            lagging: LocalSignal::default(),
        }
    }

    /// Brings in what a run of entries changed.
    pub fn notify(&self, core: &Core, events: &[Arc<EventBatch>]) {
        {
            let mut group = self.group.borrow_mut();
            group.set_raft_term(core.raft.status.term.load(Ordering::Acquire));
            for batch in events {
                group.notify(batch, &**core.store());
            }
        }
        self.count_events(core);
        self.wake_ready();
    }

    /// The store was replaced by one at `revision`: watchers read from its
    /// history what they have not seen.
    pub fn restored(&self, core: &Core, revision: i64) {
        self.group.borrow_mut().advance(revision);
        self.count_events(core);
        self.wake_ready();
    }

    /// Publishes the numbers of events for `/metrics`: plain stores, for nobody
    /// else writes them.
    fn count_events(&self, core: &Core) {
        let (group, inbox) = (self.group.borrow(), &core.inboxes[self.runtime as usize]);
        let taken = group.events_taken();
        inbox.events_taken.store(taken, Ordering::Relaxed);
        let pending = group.events_pending();
        inbox.events_pending.store(pending, Ordering::Relaxed);
    }

    /// Wakes the streams that have something to send, and the catch-up loop if a watcher is behind.
    fn wake_ready(&self) {
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

struct WatchSource {
    rt: Rc<Runtime>,
    id: StreamId,
    /// Dropped with the answer: the reader of requests ends with it.
    _open: Option<oneshot::Sender<()>>,
}

impl Source for WatchSource {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        let hub = &self.rt.watch;
        let mut out = BytesMut::new();
        let taken = hub.group.borrow_mut().next_output(self.id, &mut out);
        let mut streams = hub.streams.borrow_mut();
        let Some(state) = streams.get_mut(&self.id) else {
            return Poll::Ready(None);
        };
        if taken > 0 {
            hub.count_events(&self.rt.core);
            // There is room again: for requests, and for watchers that had to wait.
            if let Some(room) = state.room.take() {
                room.wake();
            }
            if hub.group.borrow().has_lagging() {
                hub.lagging.set();
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
}

impl Drop for WatchSource {
    fn drop(&mut self) {
        let hub = &self.rt.watch;
        hub.group.borrow_mut().close_stream(self.id);
        hub.count_events(&self.rt.core);
        hub.streams.borrow_mut().remove(&self.id);
        report(&self.rt);
    }
}

/// Keeps the gauges and the apply thread informed of this runtime's watchers.
fn report(rt: &Rc<Runtime>) {
    let stats = rt.watch.group.borrow().stats();
    rt.inbox()
        .watching
        .store(stats.watchers > 0, Ordering::SeqCst);
    let core = &rt.core;
    let now = [
        stats.watchers as i64,
        rt.watch.streams.borrow().len() as i64,
        stats.behind as i64,
    ];
    let before = rt.watch_reported.replace(now);
    for (gauge, (now, before)) in [&core.watchers, &core.watch_streams, &core.slow_watchers]
        .into_iter()
        .zip(now.into_iter().zip(before))
    {
        gauge.fetch_add(now - before, Ordering::Relaxed);
    }
}

/// Opens a stream and gives its output.
fn open(rt: &Rc<Runtime>) -> WatchSource {
    let hub = &rt.watch;
    let id = hub.next_stream.get();
    hub.next_stream.set(id + 1);
    hub.streams.borrow_mut().insert(id, StreamState::default());
    WatchSource {
        rt: rt.clone(),
        id,
        _open: None,
    }
}

/// The watchers of this runtime, told of the present term.
fn group(rt: &Rc<Runtime>) -> RefMut<'_, WatcherGroup<StreamId>> {
    let mut group = rt.watch.group.borrow_mut();
    group.set_raft_term(rt.core.raft.status.term.load(Ordering::Acquire));
    group
}

/// Adds a watcher to a stream.
fn create(rt: &Rc<Runtime>, id: StreamId, request: &WatchCreateRequest) {
    // Announced before the revision is read: whatever is applied from here on
    // is sent to this runtime.
    rt.inbox().watching.store(true, Ordering::SeqCst);
    fence(Ordering::SeqCst);
    let store = rt.core.store();
    let (revision, compacted) = (store.revision(), store.compact_revision());
    group(rt).create(id, request, revision, compacted);
}

/// Whether a caller may read what it wants to watch. A range to the last key needs permission on
/// all of them; etcd before 3.5.33 asks for the first one only.
async fn may_watch(
    rt: &Rc<Runtime>,
    caller: &Caller,
    request: &WatchCreateRequest,
) -> Result<(), auth::Error> {
    let key: &[u8] = match &request.key[..] {
        b"" => b"\0",
        key => key,
    };
    let checked = caller.check(rt, |users, who| {
        users.check_keys(who, key, &request.range_end)
    });
    checked.await.map(drop)
}

/// Adds a watcher to a stream, if the caller may have it.
async fn create_for(rt: &Rc<Runtime>, caller: &Caller, id: StreamId, request: &WatchCreateRequest) {
    // A start before the first revision is refused whoever asks.
    let permitted = match request.start_revision {
        negative if negative < 0 => Ok(()),
        _ => may_watch(rt, caller, request).await,
    };
    // Gone while its user was looked for.
    if !rt.watch.streams.borrow().contains_key(&id) {
        return;
    }
    let Err(error) = permitted else {
        return create(rt, id, request);
    };
    let status = Status::from(match error {
        auth::Error::InvalidAuthToken | auth::Error::AuthOldRevision | auth::Error::UserEmpty => {
            error
        }
        _ => auth::Error::PermissionDenied,
    });
    let reason = format!(
        "rpc error: code = {} desc = {}",
        status.code.name(),
        status.message
    );
    let revision = rt.core.store().revision();
    group(rt).refuse(id, &reason, revision);
}

/// A watch for the server's own use. It goes the way of all watches, history
/// included, and ends when dropped.
pub(super) struct OwnWatch {
    source: WatchSource,
    /// Responses that came in one piece of output.
    waiting: VecDeque<WatchResponse>,
}

impl OwnWatch {
    /// Begins to watch.
    ///
    /// # Errors
    /// The caller may not read the keys.
    pub(super) async fn open(
        rt: &Rc<Runtime>,
        caller: &Caller,
        request: &WatchCreateRequest,
    ) -> Result<OwnWatch, Status> {
        may_watch(rt, caller, request).await?;
        let source = open(rt);
        create(rt, source.id, request);
        report(rt);
        rt.watch.wake_ready();
        Ok(OwnWatch {
            source,
            waiting: VecDeque::new(),
        })
    }

    /// The next response that carries events.
    ///
    /// # Errors
    /// The watch was refused or canceled, or the server stops.
    pub(super) async fn next(&mut self) -> Result<WatchResponse, Status> {
        let mut stop = self.source.rt.core.stop.subscribe();
        loop {
            while let Some(response) = self.waiting.pop_front() {
                if response.compact_revision != 0 {
                    return Err(errors::COMPACTED);
                }
                if response.canceled {
                    return Err(errors::WATCH_CANCELED);
                }
                if !response.events.is_empty() {
                    return Ok(response);
                }
            }
            let output = std::future::poll_fn(|cx| self.source.poll_next(cx));
            let output = tokio::select! {
                output = output => output,
                _ = stop.wait_for(|stop| *stop) => return Err(errors::STOPPED),
            };
            let mut frames = output.unwrap_or(Err(errors::WATCH_CANCELED))?;
            while let Some(head) = frames.first_chunk::<5>() {
                let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                frames.advance(5);
                let message = frames.split_to(len.min(frames.len()));
                // The watch's own: it is what prost wrote.
                let response = WatchResponse::decode(message)
                    .map_err(|error| Status::new(Code::Internal, error.to_string()))?;
                self.waiting.push_back(response);
            }
        }
    }
}

/// `Watch.Watch`
pub fn serve(rt: &Rc<Runtime>, caller: Caller, mut messages: MessageStream) -> Box<dyn Source> {
    let mut source = open(rt);
    let id = source.id;
    let (open, closed) = oneshot::channel();
    source._open = Some(open);
    let rt = rt.clone();
    tokio::task::spawn_local(async move {
        let end = tokio::select! {
            // What is left on the connection counts against it, so a burst of requests is taken
            // whole, whatever the runtime thinks of a fair share.
            end = unconstrained(read(&rt, &caller, id, &mut messages)) => end,
            // Nothing is ever sent: the drop of the sender is the message.
            _ = closed => return,
        };
        let mut streams = rt.watch.streams.borrow_mut();
        if let Some(state) = streams.get_mut(&id) {
            state.end = Some(end);
            if let Some(waker) = state.waker.take() {
                waker.wake();
            }
        }
    });
    Box::new(source)
}

/// Waits while the stream holds as much output as it may: a client that only
/// asks and never reads is not listened to.
async fn room(rt: &Rc<Runtime>, id: StreamId) {
    std::future::poll_fn(|cx| {
        let hub = &rt.watch;
        match hub.streams.borrow_mut().get_mut(&id) {
            Some(state) if hub.group.borrow().is_full(id) => {
                state.room = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    })
    .await;
}

/// Takes the client's requests until it closes its side.
async fn read(
    rt: &Rc<Runtime>,
    caller: &Caller,
    id: StreamId,
    messages: &mut MessageStream,
) -> Result<(), Status> {
    let mut stop = rt.core.stop.subscribe();
    loop {
        room(rt, id).await;
        let message = tokio::select! {
            message = messages.next() => message,
            _ = stop.wait_for(|stop| *stop) => return Err(errors::STOPPED),
        };
        let request: WatchRequest = match message {
            None => return Ok(()),
            Some(Err(status)) if status.code == Code::Canceled => {
                return Err(errors::WATCH_CANCELED);
            }
            Some(Err(status)) => return Err(status),
            Some(Ok(message)) => decode(message)?,
        };
        if !rt.watch.streams.borrow().contains_key(&id) {
            return Ok(());
        }
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => {
                create_for(rt, caller, id, &request).await;
            }
            Some(RequestUnion::CancelRequest(cancel)) => {
                let revision = rt.core.store().revision();
                group(rt).cancel(id, cancel.watch_id, revision);
            }
            Some(RequestUnion::ProgressRequest(_)) => {
                let revision = rt.core.store().revision();
                group(rt).progress_request(id, revision);
            }
            None => {}
        }
        report(rt);
        rt.watch.wake_ready();
    }
}

/// Reads history for the watchers that are behind.
pub async fn catch_up_loop(rt: Rc<Runtime>) {
    let hub = &rt.watch;
    loop {
        hub.lagging.wait().await;
        loop {
            let more = hub
                .group
                .borrow_mut()
                .catch_up(&**rt.core.store(), CATCH_UP_BYTES);
            hub.wake_ready();
            match more {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::error!(error = %error, "failed to read the history of keys for watchers");
                    tokio::time::sleep(CATCH_UP_PERIOD).await;
                }
            }
            // Other tasks of this runtime get their turn between two rounds.
            tokio::task::yield_now().await;
        }
        report(&rt);
        // Who is behind now waits for its stream, which raises the signal again.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Sends progress notifications that are due.
pub async fn progress_loop(rt: Rc<Runtime>) {
    let period = (rt.core.config.watch_progress_interval / 10)
        .clamp(PROGRESS_PERIOD, Duration::from_secs(1));
    loop {
        tokio::time::sleep(period).await;
        if rt.inbox().watching.load(Ordering::Relaxed) {
            rt.watch.group.borrow_mut().tick_progress(rt.core.now_ms());
            rt.watch.wake_ready();
        }
    }
}
