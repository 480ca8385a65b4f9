//! One watch of a client.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
};

use proto::{
    etcdserverpb::{
        ResponseHeader, WatchCreateRequest, WatchResponse, watch_create_request::FilterType,
    },
    mvccpb::{Event, event::EventType},
};
use server::status::Status;

use super::{
    super::{
        operation::Keys,
        upstream::{Who, is_about_token},
    },
    broadcast, stream,
};

/// A watch in the cluster, for these watches.
pub(super) type Broadcast = broadcast::Broadcast<Watcher>;
/// What a client has of a stream of these watches.
pub(super) type Stream = stream::Stream<Watcher>;

/// A watch, as its client asked for it.
pub(super) struct Watcher {
    pub(super) id: i64,
    pub(super) keys: Keys,
    pub(super) who: Who,
    wants_progress: bool,
    wants_prev_kv: bool,
    /// Kinds of events that are left out.
    filters: Vec<EventType>,
    /// It has all events before this revision; 0 for one that begins with the present.
    pub(super) next: Cell<i64>,
    /// Its client knows of it.
    pub(super) is_created: Cell<bool>,
    /// Of the last response.
    header: Cell<Option<ResponseHeader>>,
    pub(super) joined: RefCell<Option<Rc<Broadcast>>>,
    stream: Weak<Stream>,
}

impl Watcher {
    pub(super) fn new(
        id: i64,
        who: Who,
        request: &WatchCreateRequest,
        stream: &Rc<Stream>,
    ) -> Rc<Watcher> {
        let filters = request.filters().map(|filter| match filter {
            FilterType::Noput => EventType::Put,
            FilterType::Nodelete => EventType::Delete,
        });
        Rc::new(Watcher {
            id,
            keys: Keys::new(&request.key, &request.range_end),
            who,
            wants_progress: request.progress_notify,
            wants_prev_kv: request.prev_kv,
            filters: filters.collect(),
            next: Cell::new(request.start_revision),
            is_created: Cell::default(),
            header: Cell::default(),
            joined: RefCell::default(),
            stream: Rc::downgrade(stream),
        })
    }

    /// Tells the client that it is there: it has joined a watch that was there before.
    pub(super) fn create(&self, header: Option<ResponseHeader>) {
        self.is_created.set(true);
        self.post(WatchResponse {
            header,
            created: true,
            ..WatchResponse::default()
        });
    }

    /// Takes what concerns it out of a response; false if the client has no room for it.
    pub(super) fn take(&self, response: &WatchResponse) -> bool {
        let revision = response.header.map_or(0, |header| header.revision);
        if self.next.get() == 0 {
            // Watches the present: what follows.
            self.next.set(revision + 1);
        }
        if response.created {
            if !self.is_created.get() {
                self.create(response.header);
            }
            return true;
        }
        if response.events.is_empty() {
            if self.wants_progress && self.has_room() {
                self.post(WatchResponse {
                    header: response.header,
                    ..WatchResponse::default()
                });
            }
            return true;
        }
        let is_new = |event: &&Event| mod_revision(event) >= self.next.get();
        let Some(last) = response.events.iter().rfind(is_new) else {
            return true;
        };
        if !self.has_room() {
            return false;
        }
        let events = response.events.iter().filter(is_new);
        let events = events.filter(|event| !self.filters.contains(&event.r#type()));
        let events: Vec<Event> = events.map(|event| self.shown(event)).collect();
        self.next.set(mod_revision(last) + 1);
        if !events.is_empty() {
            self.post(WatchResponse {
                header: response.header,
                events,
                ..WatchResponse::default()
            });
        }
        true
    }

    fn shown(&self, event: &Event) -> Event {
        let mut event = event.clone();
        if !self.wants_prev_kv {
            event.prev_kv = None;
        }
        event
    }

    /// Joins again when the client has taken what waits for it.
    pub(super) fn falls_behind(self: &Rc<Self>) {
        if let Some(stream) = self.stream.upgrade() {
            stream.behind.borrow_mut().push(self.clone());
        }
    }

    /// Tells the client that it is over, for a reason of the cluster.
    pub(super) fn cancel(&self, response: &WatchResponse) {
        self.post(WatchResponse {
            header: response.header,
            created: !self.is_created.get(),
            canceled: true,
            compact_revision: response.compact_revision,
            cancel_reason: response.cancel_reason.clone(),
            ..WatchResponse::default()
        });
        self.forgotten();
    }

    /// The stream in the cluster was refused: so is this one, or the watch where it is the client's
    /// token.
    pub(super) fn refuse(&self, status: &Status) {
        if is_about_token(&status.message) {
            let response = WatchResponse {
                header: Some(self.header.get().unwrap_or_default()),
                cancel_reason: status.message.to_string(),
                ..WatchResponse::default()
            };
            return self.cancel(&response);
        }
        if let Some(stream) = self.stream.upgrade() {
            stream.end(status.clone());
        }
    }

    /// Tells the client that it is over, as it has asked.
    pub(super) fn canceled(&self) {
        self.post(WatchResponse {
            header: Some(self.header.get().unwrap_or_default()),
            canceled: true,
            ..WatchResponse::default()
        });
    }

    fn forgotten(&self) {
        if let Some(stream) = self.stream.upgrade() {
            stream.watchers.borrow_mut().remove(&self.id);
        }
    }

    fn has_room(&self) -> bool {
        self.stream.upgrade().is_none_or(|stream| stream.has_room())
    }

    fn post(&self, mut response: WatchResponse) {
        response.watch_id = self.id;
        self.header.set(response.header);
        if let Some(stream) = self.stream.upgrade() {
            stream.post(&response);
        }
    }
}

fn mod_revision(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}
