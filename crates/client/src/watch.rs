//! Watches that outlive their connection. All watches of one [`Watcher`] share
//! a stream. When the stream is lost, each is created again on the next
//! endpoint from the revision after the last one it delivered; the receiver
//! sees no gap and no duplicate. If history was compacted meanwhile, the
//! server's cancellation says so: a watch never skips revisions silently.
//!
//! Creations are sent one at a time, because the server answers a refused one
//! with watch id -1 and nothing else to tell it by.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures_util::stream::poll_fn;
use proto::etcdserverpb::{
    self as api, WatchCreateRequest, WatchRequest, WatchResponse, watch_request::RequestUnion,
};
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};

use crate::{
    Client, Error,
    client::{Token, is_about_token},
    pool::{Reach, reach},
};

/// Responses a watch may have waiting. A full one holds back the stream, and
/// HTTP/2 flow control then holds back the server.
const RESPONSES_WAITING_MAX: usize = 64;
/// Commands to the session that may be waiting.
const COMMANDS_WAITING_MAX: usize = 16;
/// Requests on their way to the server.
const REQUESTS_WAITING_MAX: usize = 16;
const PAUSE_MIN: Duration = Duration::from_millis(25);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The id of responses that belong to no single watch.
const NO_WATCH: i64 = -1;
const NO_LEADER: &str = "etcdserver: no leader";

type Delivery = Result<WatchResponse, Error>;

enum Command {
    Create(WatchCreateRequest, Creation, mpsc::Sender<Delivery>),
    Cancel(i64),
    Progress,
}

/// Whether the receiver of a watch hears that it was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Creation {
    Silent,
    /// Once: not when it is created again on another stream.
    Told,
}

/// A group of watches on one stream. The stream lives as long as the watcher
/// or one of its watches.
pub struct Watcher {
    shared: Arc<Shared>,
    next_id: i64,
}

struct Shared {
    commands: mpsc::Sender<Command>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One watch. Dropping it cancels it on the server.
///
/// Every watch of a [`Watcher`] must be read: one that is not holds back the
/// others once its queue is full.
pub struct Watch {
    id: i64,
    responses: mpsc::Receiver<Delivery>,
    shared: Arc<Shared>,
}

impl Client {
    /// A new, empty group of watches. Opens nothing until the first watch.
    #[must_use]
    pub fn watcher(&self) -> Watcher {
        let (commands, receiver) = mpsc::channel(COMMANDS_WAITING_MAX);
        let task = tokio::spawn(Session::new(self.clone(), receiver).run());
        Watcher {
            shared: Arc::new(Shared { commands, task }),
            next_id: 1,
        }
    }
}

impl Watcher {
    /// Starts a watch. `request.watch_id` is chosen here; a refusal arrives as
    /// the canceled response of [`Watch::message`].
    pub async fn watch(&mut self, request: WatchCreateRequest) -> Watch {
        self.create(request, Creation::Silent).await
    }

    /// As [`Watcher::watch`], but the first message of the watch is the server's word that it is
    /// there, with the revision as of which.
    pub async fn watch_created(&mut self, request: WatchCreateRequest) -> Watch {
        self.create(request, Creation::Told).await
    }

    async fn create(&mut self, mut request: WatchCreateRequest, creation: Creation) -> Watch {
        let id = self.next_id;
        self.next_id += 1;
        request.watch_id = id;
        let (sender, responses) = mpsc::channel(RESPONSES_WAITING_MAX);
        // The session ends only with `shared`, or after telling every watch.
        let _ = self
            .shared
            .commands
            .send(Command::Create(request, creation, sender))
            .await;
        Watch {
            id,
            responses,
            shared: Arc::clone(&self.shared),
        }
    }

    /// Asks how far the stream is. The answer, a response without events,
    /// reaches every watch; without watches nothing is asked.
    pub async fn progress(&self) {
        let _ = self.shared.commands.send(Command::Progress).await;
    }
}

impl Watch {
    /// The next response with events, a progress notification (no events), or
    /// the cancellation by the server, after which comes `None`. Fragments
    /// are joined.
    ///
    /// # Errors
    /// A refusal that a new connection does not cure; `None` follows.
    pub async fn message(&mut self) -> Result<Option<WatchResponse>, Error> {
        self.responses.recv().await.transpose()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // If the queue is full the session notices at the next delivery.
        let _ = self.shared.commands.try_send(Command::Cancel(self.id));
    }
}

struct State {
    request: WatchCreateRequest,
    /// Where to go on: one past the last revision delivered. 0 until known.
    next_revision: i64,
    /// Fragments of a response whose end has not come yet.
    fragments: Vec<proto::mvccpb::Event>,
    creation: Creation,
    responses: mpsc::Sender<Delivery>,
}

/// What ended one stream.
enum Ended {
    /// Try again elsewhere.
    Lost,
    /// Try again with a new token.
    Renewed,
    /// No new connection helps.
    Refused(Error),
    /// No one listens any more.
    Unused,
}

struct Session {
    client: Client,
    commands: mpsc::Receiver<Command>,
    watches: BTreeMap<i64, State>,
    /// Watches still to be created on the present stream.
    uncreated: VecDeque<i64>,
    /// The watch whose creation was sent and not answered.
    creating: Option<i64>,
    /// The token that the present stream was opened with.
    token: Option<Token>,
    /// Logins since the server last created a watch or sent something of one.
    renewals: u32,
    pause: Duration,
}

impl Session {
    fn new(client: Client, commands: mpsc::Receiver<Command>) -> Self {
        Self {
            client,
            commands,
            watches: BTreeMap::new(),
            uncreated: VecDeque::new(),
            creating: None,
            token: None,
            renewals: 0,
            pause: PAUSE_MIN,
        }
    }

    async fn run(mut self) {
        loop {
            while self.watches.is_empty() {
                let Some(command) = self.commands.recv().await else {
                    return;
                };
                self.note(command);
            }
            match self.stream().await {
                Ended::Unused => return,
                Ended::Renewed => {}
                Ended::Lost => {
                    tokio::time::sleep(self.pause).await;
                    self.pause = (self.pause * 2).min(PAUSE_MAX);
                }
                Ended::Refused(error) => {
                    for state in std::mem::take(&mut self.watches).into_values() {
                        let _ = state.responses.send(Err(error.clone())).await;
                    }
                }
            }
        }
    }

    /// Takes a command in while there is no stream.
    fn note(&mut self, command: Command) -> Option<RequestUnion> {
        match command {
            Command::Create(request, creation, responses) => {
                let id = request.watch_id;
                let next_revision = request.start_revision;
                self.watches.insert(
                    id,
                    State {
                        request,
                        next_revision,
                        fragments: Vec::new(),
                        creation,
                        responses,
                    },
                );
                self.uncreated.push_back(id);
                None
            }
            Command::Cancel(id) => {
                self.uncreated.retain(|&waiting| waiting != id);
                self.watches.remove(&id).map(|_| cancel(id))
            }
            Command::Progress => (!self.watches.is_empty())
                .then_some(RequestUnion::ProgressRequest(api::WatchProgressRequest {})),
        }
    }

    /// The next creation to send, if none is under way.
    fn next_creation(&mut self) -> Option<RequestUnion> {
        if self.creating.is_some() {
            return None;
        }
        while let Some(id) = self.uncreated.pop_front() {
            if let Some(state) = self.watches.get(&id) {
                self.creating = Some(id);
                return Some(RequestUnion::CreateRequest(WatchCreateRequest {
                    start_revision: state.next_revision,
                    ..state.request.clone()
                }));
            }
        }
        None
    }

    /// One stream from its opening to its end.
    async fn stream(&mut self) -> Ended {
        self.creating = None;
        self.uncreated = self.watches.keys().copied().collect();
        for state in self.watches.values_mut() {
            state.fragments.clear();
        }
        let connection = self.client.connection().await;
        let (requests, mut outgoing) = mpsc::channel::<WatchRequest>(REQUESTS_WAITING_MAX);
        // The server answers the opening only together with its first
        // response, so the first request must already be on its way.
        let Some(first) = self.next_creation() else {
            return Ended::Lost;
        };
        if send(&requests, first).await.is_err() {
            return Ended::Lost;
        }
        self.token = self.client.token();
        let request = self
            .client
            .request(poll_fn(move |context| outgoing.poll_recv(context)));
        let opened = api::watch_client::WatchClient::new(connection.channel.clone())
            .max_decoding_message_size(usize::MAX)
            .watch(request)
            .await;
        let ended = match opened {
            Ok(stream) => self.serve(stream.into_inner(), &requests).await,
            Err(status) => self.classify(&status).await,
        };
        if matches!(ended, Ended::Lost) {
            self.client.stream_failed(&connection);
        }
        ended
    }

    async fn serve(
        &mut self,
        mut stream: Streaming<WatchResponse>,
        requests: &mpsc::Sender<WatchRequest>,
    ) -> Ended {
        loop {
            let request = tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.note(command),
                    None => return Ended::Unused,
                },
                message = stream.message() => match message {
                    Ok(Some(response)) if is_refused_for_token(&response) => {
                        let text = described(&response.cancel_reason);
                        if let Some(ended) = self.renew_token(text).await {
                            return ended;
                        }
                        self.deliver(response).await
                    }
                    Ok(Some(response)) => {
                        self.pause = PAUSE_MIN;
                        self.renewals = 0;
                        self.deliver(response).await
                    }
                    Ok(None) => return Ended::Lost,
                    Err(status) => return self.classify(&status).await,
                },
            };
            for request in [request, self.next_creation()].into_iter().flatten() {
                if send(requests, request).await.is_err() {
                    return Ended::Lost;
                }
            }
        }
    }

    /// After a refusal for the token: the next stream is opened with a new one. `None` if that
    /// was tried already, or cannot be.
    async fn renew_token(&mut self, text: &str) -> Option<Ended> {
        let refused = self.token.take();
        let renewal = self.client.renew_token(refused, text, &mut self.renewals);
        match renewal.await {
            Ok(true) => Some(Ended::Renewed),
            Ok(false) => None,
            Err(error) => Some(Ended::Refused(error)),
        }
    }

    async fn classify(&mut self, status: &Status) -> Ended {
        let answered = reach(status) == Reach::Answered;
        if answered
            && is_about_token(status.message())
            && let Some(ended) = self.renew_token(status.message()).await
        {
            return ended;
        }
        let leaderless = self.client.config().require_leader && status.message() == NO_LEADER;
        let curable = matches!(status.code(), Code::Unavailable | Code::Internal);
        if !answered || (curable && !leaderless) {
            Ended::Lost
        } else {
            Ended::Refused(status.clone().into())
        }
    }

    /// Hands a response to whom it concerns; may ask for a cancellation.
    async fn deliver(&mut self, mut response: WatchResponse) -> Option<RequestUnion> {
        let revision = response.header.as_ref().map_or(0, |header| header.revision);
        if response.watch_id == NO_WATCH && !response.created {
            for state in self.watches.values_mut() {
                state.next_revision = state.next_revision.max(revision + 1);
                let _ = state.responses.send(Ok(response.clone())).await;
            }
            return None;
        }
        let id = if response.created {
            self.creating.take().unwrap_or(response.watch_id)
        } else {
            response.watch_id
        };
        let Some(state) = self.watches.get_mut(&id) else {
            // Dropped by its receiver while the server was still creating it.
            return (response.created && !response.canceled).then(|| cancel(id));
        };
        response.watch_id = id;
        if response.created && !response.canceled {
            if state.next_revision == 0 {
                state.next_revision = revision + 1;
            }
            if std::mem::replace(&mut state.creation, Creation::Silent) == Creation::Told {
                let _ = state.responses.send(Ok(response)).await;
            }
            return None;
        }
        if response.fragment {
            state.fragments.append(&mut response.events);
            return None;
        }
        if !state.fragments.is_empty() {
            let mut events = std::mem::take(&mut state.fragments);
            events.append(&mut response.events);
            response.events = events;
        }
        let last = response.events.last().and_then(|event| event.kv.as_ref());
        if let Some(kv) = last {
            state.next_revision = kv.mod_revision + 1;
        } else if !response.canceled {
            state.next_revision = state.next_revision.max(revision + 1);
        }
        let canceled = response.canceled;
        let gone = state.responses.send(Ok(response)).await.is_err();
        if canceled || gone {
            self.watches.remove(&id);
        }
        (gone && !canceled).then(|| cancel(id))
    }
}

/// Whether a creation was refused for the token of the stream.
fn is_refused_for_token(response: &WatchResponse) -> bool {
    response.created && response.canceled && is_about_token(described(&response.cancel_reason))
}

/// A reason without the code that servers write before it.
fn described(reason: &str) -> &str {
    reason
        .split_once(" desc = ")
        .map_or(reason, |(_, text)| text)
}

fn cancel(watch_id: i64) -> RequestUnion {
    RequestUnion::CancelRequest(api::WatchCancelRequest { watch_id })
}

async fn send(requests: &mpsc::Sender<WatchRequest>, request: RequestUnion) -> Result<(), ()> {
    requests
        .send(WatchRequest {
            request_union: Some(request),
        })
        .await
        .map_err(|_| ())
}
