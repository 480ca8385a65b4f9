//! Renewal of leases: once, or for as long as someone listens. A renewal that
//! cannot be sent is tried on the next endpoint until the lease must have
//! expired; it never reports a lease as alive without the server's word.

use std::time::Duration;

use proto::etcdserverpb as api;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout_at},
};
use tonic::Code;

use crate::{Client, Error, client::is_about_token};

/// A lease is renewed after this part of its time to live, so that two
/// renewals may fail before it expires.
const RENEWALS_PER_TTL: u32 = 3;
/// Pause before the next endpoint is tried.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// What the Go client says of a lease the server does not know.
const LEASE_NOT_FOUND: &str = "etcdserver: requested lease not found";

impl Client {
    /// Renews lease `id` once, under the command timeout.
    ///
    /// # Errors
    /// `etcdserver: requested lease not found` when the server knows no such
    /// lease, otherwise what the call said.
    pub async fn keep_alive_once(&self, id: i64) -> Result<api::LeaseKeepAliveResponse, Error> {
        self.limited(async {
            let mut new_tokens = 0;
            loop {
                let connection = self.connection().await;
                let token = self.token();
                match self.renew(&connection, id).await {
                    Ok(response) if response.ttl <= 0 => {
                        return Err(Error::status(Code::NotFound, LEASE_NOT_FOUND));
                    }
                    Err(error) if transient(&error) => {
                        self.stream_failed(&connection);
                        tokio::time::sleep(RETRY_PAUSE).await;
                    }
                    Err(error) if is_refused_for_token(&error) => {
                        let renewal = self.renew_token(token, error.text(), &mut new_tokens);
                        if !renewal.await? {
                            return Err(error);
                        }
                    }
                    result => return result,
                }
            }
        })
        .await
    }

    async fn renew(
        &self,
        connection: &crate::pool::Connection,
        id: i64,
    ) -> Result<api::LeaseKeepAliveResponse, Error> {
        let once = futures_util::stream::iter([api::LeaseKeepAliveRequest { id }]);
        let mut stream = api::lease_client::LeaseClient::new(connection.channel.clone())
            .lease_keep_alive(self.request(once))
            .await?
            .into_inner();
        stream
            .message()
            .await?
            .ok_or(Error::StreamEnded("keep-alive"))
    }

    /// Keeps lease `id` alive until the returned handle is dropped.
    #[must_use]
    pub fn keep_alive(&self, id: i64) -> KeepAlive {
        let (renewals, responses) = mpsc::channel(1);
        let task = tokio::spawn(keep(self.clone(), id, renewals));
        KeepAlive { responses, task }
    }
}

/// A lease being renewed in the background; dropping it stops that.
pub struct KeepAlive {
    responses: mpsc::Receiver<Result<api::LeaseKeepAliveResponse, Error>>,
    task: tokio::task::JoinHandle<()>,
}

impl KeepAlive {
    /// The next renewal as the server confirmed it. `None` once the lease has
    /// expired or was revoked.
    ///
    /// # Errors
    /// A refusal that no repetition cures; `None` follows.
    pub async fn message(&mut self) -> Result<Option<api::LeaseKeepAliveResponse>, Error> {
        self.responses.recv().await.transpose()
    }
}

impl Drop for KeepAlive {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn is_refused_for_token(error: &Error) -> bool {
    is_about_token(error.text())
}

fn transient(error: &Error) -> bool {
    match error {
        Error::StreamEnded(_) => true,
        Error::Status { code, .. } => matches!(code, Code::Unavailable | Code::Internal),
        Error::Endpoint(_) | Error::Deadline { .. } => false,
    }
}

async fn keep(
    client: Client,
    id: i64,
    renewals: mpsc::Sender<Result<api::LeaseKeepAliveResponse, Error>>,
) {
    // Until the first answer the dial timeout stands in for the unknown TTL.
    let mut expires = Instant::now()
        + client
            .config()
            .command_timeout
            .unwrap_or(client.config().dial_timeout);
    let mut new_tokens = 0;
    let mut answered = false;
    loop {
        let token = client.token();
        let attempt = async {
            let connection = client.connection().await;
            // Half of the time that is left: the other half is for another endpoint.
            let half = Instant::now() + expires.saturating_duration_since(Instant::now()) / 2;
            let renewal = client.renew(&connection, id);
            let result = client.before(Some(half), &connection, renewal).await;
            let result = result.unwrap_or(Err(Error::StreamEnded("keep-alive")));
            if result.as_ref().is_err_and(transient) {
                client.stream_failed(&connection);
            }
            result
        };
        let outcome = match timeout_at(expires, attempt).await {
            Ok(outcome) => outcome,
            // No one could be asked: an old lease has run out by now.
            Err(_) if answered => return,
            Err(_) => Err(client.unreachable()),
        };
        match outcome {
            Ok(response) if response.ttl <= 0 => return,
            Ok(response) => {
                let ttl = Duration::from_secs(response.ttl.unsigned_abs());
                answered = true;
                new_tokens = 0;
                let now = Instant::now();
                expires = now + ttl;
                if renewals.send(Ok(response)).await.is_err() {
                    return;
                }
                sleep_until(now + ttl / RENEWALS_PER_TTL).await;
            }
            Err(error) if transient(&error) && Instant::now() < expires => {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            Err(error) if is_refused_for_token(&error) => {
                let renewal = client.renew_token(token, error.text(), &mut new_tokens);
                let end = match renewal.await {
                    Ok(true) => continue,
                    Ok(false) => error,
                    Err(of_login) => of_login,
                };
                let _ = renewals.send(Err(end)).await;
                return;
            }
            Err(error) => {
                let _ = renewals.send(Err(error)).await;
                return;
            }
        }
    }
}
