//! The client itself: how one unary call is tried, retried and authorized.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prost::Message;
use proto::etcdserverpb::{self as api, auth_client::AuthClient};
use tokio::time::Instant;
use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};

use crate::{
    Config, Credentials, Endpoint, EndpointError, Error,
    pool::{Connection, Pool, Reach, reach},
};

/// The API version this client speaks, for the server's metric of clients.
const CLIENT_API_VERSION: &str = "3.5";
/// Attempts after which even a read gives up without a deadline (as the Go
/// client does, which waits 25 ms between rounds).
const ATTEMPTS_MAX: usize = 100;
const RETRY_PAUSE: Duration = Duration::from_millis(25);
const RETRY_PAUSE_MAX: Duration = Duration::from_millis(500);
/// New tokens for one call. Each is an entry in the log and an expensive check of a password, and
/// a member that refuses this many refuses the next one as well.
pub(crate) const RENEWALS_MAX: u32 = 10;

const INVALID_TOKEN: &str = "etcdserver: invalid auth token";
const OLD_AUTH_REVISION: &str = "etcdserver: revision of auth store is old";
const EMPTY_USER: &str = "etcdserver: user name is empty";
const AUTH_OFF: &str = "etcdserver: authentication is not enabled";

/// Whether a call may be sent again when its fate is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Reads: any `Unavailable` is retried.
    Read,
    /// Writes: retried only when nothing was sent.
    Write,
    /// The login itself: a read that no other login helps.
    Login,
}

/// A token as it is sent.
pub(crate) type Token = MetadataValue<Ascii>;

/// A connected client. Clones share connections and token.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    pool: Arc<Pool>,
    token: Mutex<Option<Token>>,
    /// What is sent is someone else's: the token is, and its renewal.
    on_behalf: bool,
    /// Held by the call that logs in. Those that were refused meanwhile wait for its token.
    login: tokio::sync::Mutex<()>,
}

/// A server that ends a call at its deadline does so at most this much before
/// the client's own timer.
const EARLY: Duration = Duration::from_millis(100);

impl Client {
    /// Builds a client; with credentials it logs in before it returns. Without
    /// them no connection is opened until the first call.
    ///
    /// # Errors
    /// [`Error::Endpoint`] without endpoints; otherwise what the login said.
    /// A server whose auth is off is no error.
    pub async fn connect(config: Config) -> Result<Self, Error> {
        if config.endpoints.is_empty() {
            return Err(EndpointError::Empty.into());
        }
        let pool = Arc::new(Pool::new(&config)?);
        let client = Self {
            inner: Arc::new(Inner {
                config,
                pool,
                token: Mutex::new(None),
                on_behalf: false,
                login: tokio::sync::Mutex::new(()),
            }),
        };
        if let Some(credentials) = client.inner.config.credentials.clone() {
            client.login(&credentials).await?;
        }
        Ok(client)
    }

    /// A client of the same connections for calls of someone else, with the token that came with
    /// them. When that is refused, its owner hears so: no other is asked for.
    ///
    /// # Errors
    /// The token cannot be sent.
    pub fn on_behalf(&self, token: Option<&str>, require_leader: bool) -> Result<Self, Error> {
        let unsendable = |_| Error::status(Code::Unauthenticated, INVALID_TOKEN);
        let token = token.map(Token::try_from).transpose().map_err(unsendable)?;
        Ok(Self {
            inner: Arc::new(Inner {
                config: Config {
                    credentials: None,
                    require_leader,
                    ..self.inner.config.clone()
                },
                pool: Arc::clone(&self.inner.pool),
                token: Mutex::new(token),
                on_behalf: true,
                login: tokio::sync::Mutex::new(()),
            }),
        })
    }

    /// The endpoints as they are now.
    #[must_use]
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.inner.pool.endpoints()
    }

    /// Uses these endpoints from now on. Connections to those that stay are kept.
    ///
    /// # Errors
    /// [`Error::Endpoint`]: there are none, or one cannot be used; nothing has changed.
    pub fn set_endpoints(&self, endpoints: &[Endpoint]) -> Result<(), Error> {
        if endpoints.is_empty() {
            return Err(EndpointError::Empty.into());
        }
        Ok(self.inner.pool.replace(endpoints, &self.inner.config)?)
    }

    /// What the client was built from.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    async fn login(&self, credentials: &Credentials) -> Result<(), Error> {
        let request = api::AuthenticateRequest {
            name: credentials.name.clone().into(),
            password: credentials.password.clone().into(),
        };
        let answer = self.unary(Policy::Login, request, |channel, request| async move {
            AuthClient::new(channel).authenticate(request).await
        });
        let token = match answer.await {
            Ok(response) => {
                let token = Token::try_from(response.token.as_str()).map_err(|_| {
                    Error::status(Code::Internal, "the server's token is not ASCII")
                })?;
                Some(token)
            }
            Err(error) if error.is(AUTH_OFF) => None,
            Err(error) => return Err(error),
        };
        *self.token_slot() = token;
        Ok(())
    }

    fn token_slot(&self) -> MutexGuard<'_, Option<Token>> {
        let slot = self.inner.token.lock();
        slot.unwrap_or_else(PoisonError::into_inner)
    }

    /// The token that requests are sent with now.
    pub(crate) fn token(&self) -> Option<Token> {
        self.token_slot().clone()
    }

    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        metadata.insert(
            "client-api-version",
            MetadataValue::from_static(CLIENT_API_VERSION),
        );
        if self.inner.config.require_leader {
            metadata.insert("hasleader", MetadataValue::from_static("true"));
        }
        if let Some(token) = self.token() {
            metadata.insert("token", token);
        }
        request
    }

    pub(crate) async fn connection(&self) -> Connection {
        self.inner.pool.connect().await
    }

    /// Runs `work` under the command timeout.
    pub(crate) async fn limited<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let Some(limit) = self.inner.config.command_timeout else {
            return work.await;
        };
        let begin = Instant::now();
        match tokio::time::timeout(limit, work).await {
            Ok(Err(Error::Deadline { .. })) | Err(_) => Err(self.unreachable()),
            // The server keeps the same deadline, and its clock may be first.
            Ok(Err(error)) if error.ends_a_deadline() && begin.elapsed() + EARLY >= limit => {
                Err(self.unreachable())
            }
            Ok(result) => result,
        }
    }

    /// One unary call: connect, send, and by `policy` again.
    pub(crate) async fn unary<Req, Resp, Call, Answer>(
        &self,
        policy: Policy,
        message: Req,
        call: Call,
    ) -> Result<Resp, Error>
    where
        Req: Message + Clone,
        Call: Fn(Channel, Request<Req>) -> Answer,
        Answer: Future<Output = Result<Response<Resp>, Status>>,
    {
        self.check_size(message.encoded_len())?;
        let deadline = self
            .inner
            .config
            .command_timeout
            .map(|limit| Instant::now() + limit);
        self.limited(self.attempts(policy, message, call, deadline))
            .await
    }

    /// Refuses a request that is larger than what is sent.
    pub(crate) fn check_size(&self, size: usize) -> Result<(), Error> {
        let limit = self.inner.config.max_send_bytes;
        if size <= limit {
            return Ok(());
        }
        Err(Error::status(
            Code::ResourceExhausted,
            format!("trying to send message larger than max ({size} vs. {limit})"),
        ))
    }

    pub(crate) async fn attempts<Req, Resp, Call, Answer>(
        &self,
        policy: Policy,
        message: Req,
        call: Call,
        deadline: Option<Instant>,
    ) -> Result<Resp, Error>
    where
        Req: Clone,
        Call: Fn(Channel, Request<Req>) -> Answer,
        Answer: Future<Output = Result<Response<Resp>, Status>>,
    {
        let mut attempt = 1;
        let mut renewals = 0;
        loop {
            let connection = self.connection().await;
            let token = self.token();
            let mut request = self.request(message.clone());
            if let Some(deadline) = deadline {
                // The server stops working on what no one waits for.
                request.set_timeout(deadline.saturating_duration_since(Instant::now()));
            }
            let answer = call(connection.channel.clone(), request);
            let status = match self.before(deadline, &connection, answer).await? {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => status,
            };
            if policy != Policy::Login && is_about_token(status.message()) {
                // Boxed: a login is itself a call.
                let renewal = self.renew_token(token, status.message(), &mut renewals);
                if Box::pin(renewal).await? {
                    continue;
                }
            }
            if self.note(&connection, &status, policy) && attempt < ATTEMPTS_MAX {
                let round = attempt / self.inner.pool.len();
                if attempt % self.inner.pool.len() == 0 {
                    // A server that refuses at once must not be asked at once again.
                    let pause = RETRY_PAUSE * round as u32;
                    tokio::time::sleep(pause.min(RETRY_PAUSE_MAX)).await;
                }
                attempt += 1;
                continue;
            }
            return Err(status.into());
        }
    }

    /// Waits for an answer. An endpoint that owes one at the deadline is left: the
    /// next call is another's. Someone else's deadline says nothing of the endpoint.
    pub(crate) async fn before<T>(
        &self,
        deadline: Option<Instant>,
        connection: &Connection,
        answer: impl Future<Output = T>,
    ) -> Result<T, Error> {
        let Some(deadline) = deadline else {
            return Ok(answer.await);
        };
        tokio::time::timeout_at(deadline, answer)
            .await
            .map_err(|_| {
                if !self.inner.on_behalf {
                    self.inner.pool.failed(connection);
                }
                self.unreachable()
            })
    }

    /// Leaves a connection that failed; says whether the call may be repeated.
    fn note(&self, connection: &Connection, status: &Status, policy: Policy) -> bool {
        let reach = reach(status);
        // An endpoint that answered is another's turn next time all the same.
        if reach != Reach::Answered {
            self.inner.pool.failed(connection);
        }
        match (policy, reach) {
            (_, Reach::NotSent) => true,
            (Policy::Read | Policy::Login, Reach::Unknown) => true,
            (Policy::Read | Policy::Login, Reach::Answered) => status.code() == Code::Unavailable,
            (Policy::Write, _) => false,
        }
    }

    /// The deadline error, with what the last connection attempt said.
    pub(crate) fn unreachable(&self) -> Error {
        Error::Deadline {
            last: self.inner.pool.last_error(),
        }
    }

    /// Gives up a connection whose stream broke.
    pub(crate) fn stream_failed(&self, connection: &Connection) {
        self.inner.pool.failed(connection);
    }

    /// After a call with `refused` was refused for its token, with this text: gets a new one,
    /// unless another call has done so meanwhile. Says whether the call may be made again.
    /// `renewals` counts those of the call: from the second on there is a pause before each, and
    /// after [`RENEWALS_MAX`] no more.
    ///
    /// # Errors
    /// What the login said.
    pub(crate) async fn renew_token(
        &self,
        refused: Option<Token>,
        text: &str,
        renewals: &mut u32,
    ) -> Result<bool, Error> {
        if *renewals >= RENEWALS_MAX || self.inner.on_behalf {
            return Ok(false);
        }
        if *renewals > 0 {
            tokio::time::sleep(RETRY_PAUSE * *renewals).await;
        }
        *renewals += 1;
        let Some(credentials) = &self.inner.config.credentials else {
            // Someone known by a certificate has no token: its users or roles have changed in
            // the middle of the call.
            return Ok(text == OLD_AUTH_REVISION);
        };
        let _only = self.inner.login.lock().await;
        if self.token() == refused {
            self.login(credentials).await?;
        }
        Ok(true)
    }
}

/// Whether a refusal is about the token, so that a fresh one may turn it into a success. A call
/// that is refused so had no effect, and writes are repeated as well.
pub(crate) fn is_about_token(text: &str) -> bool {
    matches!(text, INVALID_TOKEN | EMPTY_USER | OLD_AUTH_REVISION)
}
