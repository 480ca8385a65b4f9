//! What waits for a client, up to a bound.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use proto::etcdserverpb::{ResponseHeader, WatchResponse};
use server::{rpc::frame_message, status::Status};
use tokio::sync::Notify;

/// Responses that wait for a client, and their bytes; beyond that it falls behind. A single
/// response may be larger.
const WAITING_MAX: usize = 1024;
const BYTES_MAX: usize = 4 << 20;
/// The id of responses that belong to no watch.
const NO_WATCH: i64 = -1;

/// What a client has of a stream.
pub(super) struct Stream<Watcher> {
    queue: RefCell<VecDeque<Bytes>>,
    bytes: Cell<usize>,
    waker: RefCell<Option<Waker>>,
    /// There is room again, for responses to requests.
    room: Notify,
    end: RefCell<Option<Status>>,
    next_id: Cell<i64>,
    pub(super) watchers: RefCell<HashMap<i64, Rc<Watcher>>>,
    /// Watchers that have missed events for want of room.
    pub(super) behind: RefCell<Vec<Rc<Watcher>>>,
}

impl<Watcher> Stream<Watcher> {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Stream {
            queue: RefCell::default(),
            bytes: Cell::default(),
            waker: RefCell::default(),
            room: Notify::new(),
            end: RefCell::default(),
            next_id: Cell::default(),
            watchers: RefCell::default(),
            behind: RefCell::default(),
        })
    }

    pub(super) fn has_room(&self) -> bool {
        self.queue.borrow().len() < WAITING_MAX && self.bytes.get() < BYTES_MAX
    }

    /// Waits for room.
    pub(super) async fn room(&self) {
        while !self.has_room() {
            self.room.notified().await;
        }
    }

    pub(super) fn post(&self, response: &WatchResponse) {
        let frame = frame_message(response);
        self.bytes.set(self.bytes.get() + frame.len());
        self.queue.borrow_mut().push_back(frame);
        self.wake();
    }

    /// A watch that does not come about.
    pub(super) fn refuse(&self, header: Option<ResponseHeader>, reason: &str) {
        self.post(&WatchResponse {
            header,
            watch_id: NO_WATCH,
            created: true,
            canceled: true,
            cancel_reason: reason.to_owned(),
            ..WatchResponse::default()
        });
    }

    /// Ends it after what waits.
    pub(super) fn end(&self, status: Status) {
        self.end.borrow_mut().get_or_insert(status);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The next response that waits.
    pub(super) fn next(&self) -> Option<Bytes> {
        let frame = self.queue.borrow_mut().pop_front()?;
        self.bytes.set(self.bytes.get() - frame.len());
        self.room.notify_one();
        Some(frame)
    }

    /// The end, once nothing waits; the task is woken by what comes.
    pub(super) fn poll_end(&self, cx: &mut Context<'_>) -> Poll<Status> {
        match self.end.take() {
            Some(status) => Poll::Ready(status),
            None => {
                *self.waker.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The id of a new watch; `None` if the one that is asked for is taken.
    pub(super) fn id(&self, asked: i64) -> Option<i64> {
        let watchers = self.watchers.borrow();
        if asked != 0 {
            return (!watchers.contains_key(&asked)).then_some(asked);
        }
        let mut id = self.next_id.get();
        while watchers.contains_key(&id) {
            id += 1;
        }
        self.next_id.set(id + 1);
        Some(id)
    }
}
