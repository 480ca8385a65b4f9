//! What a call can end with. The wording is the contract: scripts and people
//! match on the texts that etcd's Go client prints, so known errors show their
//! bare description and all others the `rpc error: ...` form (docs/design/commands.md).

use std::fmt;

use thiserror::Error as ThisError;

pub use tonic::Code;

use crate::{EndpointError, cause::root};

/// Descriptions that begin like etcd's own but are not in the Go client's list
/// of known errors, so it shows them with their code (docs/design/commands.md).
const UNLISTED: [&str; 4] = [
    "etcdserver: permission not given",
    "etcdserver: watch canceled",
    "etcdserver: request canceled",
    "etcdserver: invalid client api version",
];

/// Why a call failed.
#[derive(Clone, Debug, ThisError)]
pub enum Error {
    /// The client was built without a usable endpoint.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The command timeout passed. `last` is what the last connection attempt
    /// said, if there was one: it names the endpoint and the cause.
    #[error("context deadline exceeded")]
    Deadline {
        /// The last connection error, if any.
        last: Option<String>,
    },
    /// The server, or the transport on its behalf, answered with a status.
    #[error("{}", StatusText(*code, message))]
    Status {
        /// gRPC code.
        code: Code,
        /// The description, without code.
        message: String,
    },
    /// A stream ended before it had delivered everything.
    #[error("the server ended the {0} stream early")]
    StreamEnded(&'static str),
}

impl Error {
    pub(crate) fn status(code: Code, message: impl Into<String>) -> Self {
        Self::Status {
            code,
            message: message.into(),
        }
    }

    /// The description and code a status carried, if this is one.
    #[must_use]
    pub fn as_status(&self) -> Option<(Code, &str)> {
        match self {
            Self::Status { code, message } => Some((*code, message)),
            _ => None,
        }
    }

    /// The description a status carried, or nothing.
    pub(crate) fn text(&self) -> &str {
        self.as_status().map_or("", |(_, text)| text)
    }

    /// True when the other side gave the call up as it does at a deadline: without a
    /// status, by an HTTP/2 reset with the code CANCEL (in the words of h2), or because
    /// what was proposed had not come back by then.
    pub(crate) fn ends_a_deadline(&self) -> bool {
        self.as_status().is_some_and(|(_, text)| {
            text.ends_with("stream no longer needed") || text == "etcdserver: request timed out"
        })
    }

    /// True when the server said exactly `description`.
    #[must_use]
    pub fn is(&self, description: &str) -> bool {
        self.as_status()
            .is_some_and(|(_, text)| text == description)
    }
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        if status.code() == Code::DeadlineExceeded || timed_out_here(&status) {
            return Self::Deadline { last: None };
        }
        // A status that this side made of a broken connection; tonic leaves its
        // code unknown, gRPC calls it unavailable.
        if let Some(cause) = std::error::Error::source(&status) {
            let message = format!("{}: {}", status.message(), root(cause));
            return Self::status(Code::Unavailable, message);
        }
        Self::status(status.code(), status.message())
    }
}

/// True when this side's own timer ended the call; tonic calls that cancelled.
fn timed_out_here(status: &tonic::Status) -> bool {
    std::iter::successors(std::error::Error::source(status), |error| error.source())
        .any(|error| error.is::<tonic::TimeoutExpired>())
}

struct StatusText<'a>(Code, &'a str);

impl fmt::Display for StatusText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(code, text) = *self;
        if text.starts_with("etcdserver: ") && !UNLISTED.contains(&text) {
            return f.write_str(text);
        }
        write!(
            f,
            "rpc error: code = {} desc = {text}",
            proto::codes::NAMES[code as usize]
        )
    }
}
