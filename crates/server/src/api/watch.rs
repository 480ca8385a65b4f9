//! The Watch service: what clients ask of the watchers of their runtime, who may ask it, and when
//! history is read for those that lag.

use std::{
    collections::VecDeque,
    rc::Rc,
    sync::atomic::{Ordering, fence},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use failpoint::failpoint;
use prost::Message as _;
use proto::etcdserverpb::{
    WatchCreateRequest, WatchRequest, WatchResponse, watch_request::RequestUnion,
};
use tokio::{sync::oneshot, task::unconstrained};

use super::caller::Caller;
use crate::{
    rpc::{Source, decode_as},
    runtime::{Runtime, StreamId},
    status::{Code, Status, errors},
    transport::MessageStream,
};

/// How often watchers that could not be caught up are tried again.
const CATCH_UP_PERIOD: Duration = Duration::from_millis(100);
/// How often progress notifications that are due are looked for.
const PROGRESS_PERIOD: Duration = Duration::from_millis(10);
/// History read in one go before other work of the runtime gets its turn, bytes.
const CATCH_UP_BYTES: usize = 1 << 20;

struct WatchSource {
    rt: Rc<Runtime>,
    id: StreamId,
    /// Dropped with the answer: the reader of requests ends with it.
    _open: Option<oneshot::Sender<()>>,
}

impl Source for WatchSource {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        let output = self.rt.watch.poll_output(self.id, cx);
        if let Poll::Ready(Some(Ok(_))) = &output {
            failpoint!(BeforeSendWatchResponse);
            self.rt.count_events();
        }
        output
    }
}

impl Drop for WatchSource {
    fn drop(&mut self) {
        self.rt.watch.close(self.id);
        self.rt.count_events();
        report(&self.rt);
    }
}

/// Keeps the gauges and the apply thread informed of this runtime's watchers.
fn report(rt: &Runtime) {
    let now = rt.watch.counts();
    rt.inbox().watching.store(now[0] > 0, Ordering::SeqCst);
    let core = &rt.core;
    let before = rt.watch_reported.replace(now);
    for (gauge, (now, before)) in [&core.watchers, &core.watch_streams, &core.slow_watchers]
        .into_iter()
        .zip(now.into_iter().zip(before))
    {
        gauge.fetch_add(now - before, Ordering::Relaxed);
    }
}

/// Opens a stream; what is returned is its output.
fn open(rt: &Rc<Runtime>) -> WatchSource {
    WatchSource {
        rt: rt.clone(),
        id: rt.watch.open(),
        _open: None,
    }
}

/// Starts what watchers need without being asked.
pub fn start(rt: &Rc<Runtime>) {
    tokio::task::spawn_local(catch_up_loop(rt.clone()));
    tokio::task::spawn_local(progress_loop(rt.clone()));
}

/// Adds a watcher to a stream.
fn create(rt: &Rc<Runtime>, id: StreamId, request: &WatchCreateRequest) {
    // Announced before the revision is read: whatever is applied from here on
    // is sent to this runtime.
    rt.inbox().watching.store(true, Ordering::SeqCst);
    fence(Ordering::SeqCst);
    let store = rt.core.store();
    let (revision, compacted) = (store.revision(), store.compact_revision());
    rt.watch
        .group(&rt.core)
        .create(id, request, revision, compacted);
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
    if !rt.watch.is_open(id) {
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
    rt.watch.group(&rt.core).refuse(id, &reason, revision);
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
        rt.watch.end(id, end);
    });
    Box::new(source)
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
        rt.watch.room(id).await;
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
            Some(Ok(message)) => decode_as(rt.core.line(), message)?,
        };
        if !rt.watch.is_open(id) {
            return Ok(());
        }
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => {
                create_for(rt, caller, id, &request).await;
            }
            Some(RequestUnion::CancelRequest(cancel)) => {
                let revision = rt.core.store().revision();
                rt.watch
                    .group(&rt.core)
                    .cancel(id, cancel.watch_id, revision);
            }
            Some(RequestUnion::ProgressRequest(_)) => {
                failpoint!(BeforeProgressIfSync);
                let revision = rt.core.store().revision();
                rt.watch.group(&rt.core).progress_request(id, revision);
            }
            None => {}
        }
        report(rt);
        rt.watch.wake_ready();
    }
}

/// Reads history for the watchers that are behind.
async fn catch_up_loop(rt: Rc<Runtime>) {
    loop {
        rt.watch.lagging().await;
        failpoint!(BeforeSyncWatchers);
        loop {
            match rt.watch.catch_up(&rt.core.store(), CATCH_UP_BYTES) {
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
async fn progress_loop(rt: Rc<Runtime>) {
    let period = (rt.core.config.watch_progress_interval / 10)
        .clamp(PROGRESS_PERIOD, Duration::from_secs(1));
    loop {
        tokio::time::sleep(period).await;
        if rt.inbox().watching.load(Ordering::Relaxed) {
            rt.watch.tick_progress(rt.core.now_ms());
        }
    }
}
