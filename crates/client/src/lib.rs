//! A client of the etcd API. It holds a connection to each of several endpoints,
//! takes turns among those that answer, retries what may be retried, logs in and renews its token, resumes watches where they stopped
//! and keeps leases alive. It must never send a write twice unless it knows
//! that the first copy was not sent.
//!
//! - [`Endpoint`], [`Config`]: where to and how
//! - [`Client`]: the unary calls, one method each
//! - [`Watcher`], [`Watch`]: events, across lost connections
//! - [`KeepAlive`]: one lease, renewed until it ends
//! - [`SnapshotStream`]: the backend of a member as a stream of blobs
//! - [`Forwarded`]: calls of someone else, as they came
//! - [`Collector`]: spans of the process, to whoever collects traces
//! - [`Error`]: what went wrong, worded as etcd words it

#![forbid(unsafe_code)]

mod cause;
mod client;
mod config;
mod dial;
mod endpoint;
mod error;
mod forward;
mod keepalive;
mod lines;
mod pool;
mod preface;
mod snapshot;
mod traces;
mod unary;
mod watch;

pub use client::Client;
pub use config::{Config, Credentials};
pub use endpoint::{Endpoint, EndpointError};
pub use error::{Code, Error};
pub use forward::{Forward, Forwarded, Raw};
pub use keepalive::KeepAlive;
pub use lines::{has_line, has_line_but_for_silent, has_stopped_short};
pub use snapshot::SnapshotStream;
pub use traces::Collector;
pub use watch::{Watch, Watcher};

/// The end of the half-open range of all keys that start with `prefix`: the
/// prefix with its last byte below 0xff raised by one and all after it cut.
/// An empty prefix, or one of 0xff bytes alone, has no such end and gives
/// `\0`, which the API reads as "to the last key".
#[must_use]
pub fn prefix_end(prefix: &[u8]) -> bytes::Bytes {
    match prefix.iter().rposition(|&byte| byte != 0xff) {
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            end.into()
        }
        None => bytes::Bytes::from_static(b"\0"),
    }
}

#[cfg(test)]
mod tests;
