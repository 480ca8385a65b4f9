//! Calls to the cluster, each in the name of the client that made it: its token goes along, so that
//! the members decide what it may see.

use std::{cell::RefCell, rc::Rc, time::Duration};

use bytes::Bytes;
use client::{Client, Forward, Forwarded, Watcher};
use prost::Message;
use server::{
    api::Call,
    rpc::Method,
    status::{Code, Status},
};
use tokio::time::Instant;

/// Who makes calls, as far as members hear of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Who {
    pub(super) token: Option<Rc<str>>,
    /// A member without a leader is to refuse.
    pub(super) has_leader: bool,
}

impl Who {
    /// Who has made a call.
    pub(super) fn of(call: &Call<'_>) -> Who {
        Who {
            token: call.caller.token().map(Rc::from),
            has_leader: call.has_leader,
        }
    }
}

/// Who asks, and until when they wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Asker {
    pub(super) who: Who,
    deadline: Option<Instant>,
}

impl Asker {
    pub(super) fn of(call: &Call<'_>) -> Asker {
        Asker {
            who: Who::of(call),
            deadline: call.timeout.map(|timeout| Instant::now() + timeout),
        }
    }

    /// Someone who waits for as long as it takes.
    pub(super) fn patient(who: Who) -> Asker {
        Asker {
            who,
            deadline: None,
        }
    }

    /// The proxy itself, for at most this time.
    pub(super) fn own(timeout: Duration) -> Asker {
        Asker {
            who: Who::default(),
            deadline: Some(Instant::now() + timeout),
        }
    }

    pub(super) fn timeout(&self) -> Option<Duration> {
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        self.deadline.map(left)
    }
}

/// The cluster.
pub(super) struct Upstream {
    client: Client,
    /// For calls that say nothing of who makes them: nearly all, where there are no users.
    plain: Client,
    watchers: RefCell<Vec<(Who, Rc<tokio::sync::Mutex<Watcher>>)>>,
}

/// Streams of watches that are kept open for the next watch of the same client; beyond that many
/// the oldest closes when its watches have ended.
const WATCHERS_KEPT: usize = 64;

impl Upstream {
    pub(super) fn new(client: Client) -> Result<Upstream, client::Error> {
        Ok(Upstream {
            plain: client.on_behalf(None, false)?,
            client,
            watchers: RefCell::default(),
        })
    }

    /// The client with all its endpoints.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// A client that speaks for someone.
    pub(super) fn client_of(&self, who: &Who) -> Result<Client, Status> {
        if *who == Who::default() {
            return Ok(self.plain.clone());
        }
        let client = self.client.on_behalf(who.token.as_deref(), who.has_leader);
        client.map_err(status)
    }

    /// A stream of watches of someone.
    pub(super) fn watcher_of(&self, who: &Who) -> Result<Rc<tokio::sync::Mutex<Watcher>>, Status> {
        let mut watchers = self.watchers.borrow_mut();
        if let Some((_, watcher)) = watchers.iter().find(|(of, _)| of == who) {
            return Ok(watcher.clone());
        }
        let watcher = Rc::new(tokio::sync::Mutex::new(self.client_of(who)?.watcher()));
        if watchers.len() == WATCHERS_KEPT {
            watchers.remove(0);
        }
        watchers.push((who.clone(), watcher.clone()));
        Ok(watcher)
    }

    /// Makes a call whose message is passed on as it is.
    pub(super) async fn call(
        &self,
        asker: &Asker,
        method: Method,
        message: Bytes,
    ) -> Result<Bytes, Status> {
        let client = self.client_of(&asker.who)?;
        let call = forward(asker, method, message);
        client.forward(call).await.map_err(status)
    }

    /// Makes a call whose answer is a stream.
    pub(super) async fn stream(
        &self,
        asker: &Asker,
        method: Method,
        message: Bytes,
    ) -> Result<Forwarded, Status> {
        let client = self.client_of(&asker.who)?;
        let call = forward(asker, method, message);
        client.forward_stream(call).await.map_err(status)
    }

    /// Makes a call whose answer is looked at.
    pub(super) async fn ask<Answer: Message + Default>(
        &self,
        asker: &Asker,
        method: Method,
        request: &impl Message,
    ) -> Result<Answer, Status> {
        let message = request.encode_to_vec().into();
        let answer = self.call(asker, method, message).await?;
        Answer::decode(answer).map_err(|error| {
            let text = format!("grpc: failed to unmarshal the received message: {error}");
            Status::new(Code::Internal, text)
        })
    }
}

fn forward(asker: &Asker, method: Method, message: Bytes) -> Forward {
    Forward {
        path: method.path(),
        message,
        repeatable: changes_nothing(method),
        timeout: asker.timeout(),
    }
}

/// Whether a call may be made twice.
fn changes_nothing(method: Method) -> bool {
    matches!(
        method,
        Method::Range
            | Method::LeaseTimeToLive
            | Method::LeaseLeases
            | Method::MemberList
            | Method::Status
            | Method::Hash
            | Method::HashKv
            | Method::AuthStatus
            | Method::Authenticate
            | Method::UserGet
            | Method::UserList
            | Method::RoleGet
            | Method::RoleList
            | Method::Leader
    )
}

/// What a client hears of a call that failed.
pub(super) fn status(error: client::Error) -> Status {
    match error {
        client::Error::Deadline { .. } => {
            Status::fixed(Code::DeadlineExceeded, "context deadline exceeded")
        }
        client::Error::Status { code, message } => Status::new(code_of(code), message),
        other => Status::new(Code::Unavailable, other.to_string()),
    }
}

/// An error of etcd as it leaves services that go through etcd's client: its text alone.
pub(super) fn without_code(status: Status) -> Status {
    match status.message.starts_with("etcdserver: ") {
        true => Status {
            code: Code::Unknown,
            ..status
        },
        false => status,
    }
}

/// Someone who may not read, and so has an answer.
pub(super) const PERMISSION_DENIED: &str = "etcdserver: permission denied";

/// Whether a refusal is about the token of a call.
pub(super) fn is_about_token(text: &str) -> bool {
    let about = [
        "etcdserver: invalid auth token",
        "etcdserver: revision of auth store is old",
        "etcdserver: user name is empty",
        PERMISSION_DENIED,
    ];
    about.into_iter().any(|about| text.ends_with(about))
}

fn code_of(code: client::Code) -> Code {
    match code {
        client::Code::Ok => Code::Ok,
        client::Code::Cancelled => Code::Canceled,
        client::Code::InvalidArgument => Code::InvalidArgument,
        client::Code::DeadlineExceeded => Code::DeadlineExceeded,
        client::Code::NotFound => Code::NotFound,
        client::Code::PermissionDenied => Code::PermissionDenied,
        client::Code::ResourceExhausted => Code::ResourceExhausted,
        client::Code::FailedPrecondition => Code::FailedPrecondition,
        client::Code::OutOfRange => Code::OutOfRange,
        client::Code::Unimplemented => Code::Unimplemented,
        client::Code::Internal => Code::Internal,
        client::Code::Unavailable => Code::Unavailable,
        client::Code::DataLoss => Code::DataLoss,
        client::Code::Unauthenticated => Code::Unauthenticated,
        // No method of etcd answers these.
        client::Code::Unknown | client::Code::AlreadyExists | client::Code::Aborted => {
            Code::Unknown
        }
    }
}
