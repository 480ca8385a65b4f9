//! How members are reached: one client for each, and what a failure to reach one means.

use std::{path::PathBuf, sync::Arc, time::Duration};

use client::{Client, Config, Credentials, Endpoint};
use proto::etcdserverpb as api;

use super::error::Error;

/// How members are reached.
#[derive(Clone, Debug)]
pub struct Access {
    /// TLS, if any.
    pub tls: Option<Arc<tls::Connector>>,
    /// Endpoints without a scheme are secure.
    pub tls_by_default: bool,
    /// Who asks.
    pub credentials: Option<Credentials>,
    /// Limit for a connection.
    pub dial_timeout: Duration,
    /// Limit for one question.
    pub command_timeout: Duration,
    /// The same without verification, for HTTP/1.1: to look at certificates and pages.
    pub probe: Option<Arc<tls::Connector>>,
    /// Where databases are streamed to; `None` asks for none.
    pub scratch: Option<PathBuf>,
    /// Walk the pages of those databases.
    pub pages: bool,
    /// Bytes per second at which databases are streamed, 0 for as fast as they come.
    pub stream_rate: u64,
    /// The revision up to which the keys of streamed databases are hashed, 0 for none.
    pub hash_at: i64,
}

impl Access {
    /// A client on one endpoint alone.
    ///
    /// # Errors
    /// The endpoint cannot be understood, or the login failed.
    pub async fn client(&self, endpoint: &str) -> Result<Client, Error> {
        let parsed = Endpoint::parse(endpoint).map_err(|e| unreachable(endpoint, &e.into()))?;
        let mut config = Config::new(vec![parsed]);
        config.dial_timeout = self.dial_timeout;
        config.command_timeout = Some(self.command_timeout);
        config.credentials = self.credentials.clone();
        config.tls = self.tls.clone();
        config.tls_by_default = self.tls_by_default;
        Client::connect(config)
            .await
            .map_err(|e| unreachable(endpoint, &e))
    }

    /// A client on one member, and its status.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn greet(&self, endpoint: &str) -> Result<(Client, api::StatusResponse), Error> {
        let client = self.client(endpoint).await?;
        let status = client
            .status(api::StatusRequest {})
            .await
            .map_err(|e| unreachable(endpoint, &e))?;
        Ok((client, status))
    }
}

/// Why `endpoint` did not answer; where no connection came about, also why not.
pub(super) fn unreachable(endpoint: &str, error: &client::Error) -> Error {
    let why = match error {
        client::Error::Deadline { last: Some(last) } => {
            let last = last.strip_prefix(&format!("{endpoint}: ")).unwrap_or(last);
            format!("{error}: {last}")
        }
        _ if error.is("etcdserver: user name is empty") => {
            format!("{error}: give a user with --user or ETCDCTL_USER")
        }
        _ => error.to_string(),
    };
    let endpoint = endpoint.into();
    match answers(error) {
        true => Error::Refused { endpoint, why },
        false => Error::Unreachable { endpoint, why },
    }
}

/// Whether a member that runs said this, or the endpoint names none.
fn answers(error: &client::Error) -> bool {
    use client::Code;
    match error {
        client::Error::Endpoint(_) => true,
        client::Error::Status { code, message } => {
            matches!(
                code,
                Code::InvalidArgument
                    | Code::Unauthenticated
                    | Code::PermissionDenied
                    | Code::FailedPrecondition
                    | Code::Unimplemented
            ) && message.starts_with("etcdserver")
        }
        _ => false,
    }
}
