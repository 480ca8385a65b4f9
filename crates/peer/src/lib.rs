//! etcd's peer protocol: how raft's messages, and whole databases, travel
//! between members over HTTP/1.1. Decides nothing: what arrives goes to the
//! [`Host`], what is to be sent comes from it.
//!
//! | module | what it is |
//! |---|---|
//! | [`codec`] | the two stream formats, bytes to messages and back |
//! | [`headers`] | what a request must carry, and who is refused |
//! | [`dial`] | connections to other members |
//! | [`ask`] | single questions to another member |
//! | [`probe`] | is a member well, how far is it |
//! | `host` | what the transport knows of its member, and what it asks of it |
//! | `shared` | what all tasks of the transport know |
//! | `channel` | one other member: its streams, its pipeline, whether it is there |
//! | `reader`, `pipeline`, `snapshot` | the tasks behind it |
//! | `queue`, `outlet` | what waits for a stream that a member opened, and that stream |
//! | `incoming`, `body` | requests of other members, and their answers |
//!
//! Every other member has two streams that it opened to us, which carry what we
//! send, and two that we opened to it, which carry what it sends. What finds no
//! stream goes by single requests. Queues are bounded; what does not fit is
//! dropped and raft is told.

#![forbid(unsafe_code)]
// What comes back to its owner, a message or a whole answer, is as large as it is.
#![allow(clippy::result_large_err)]

pub mod ask;
mod body;
mod cause;
mod channel;
pub mod codec;
pub mod dial;
pub mod headers;
mod host;
mod incoming;
mod outlet;
mod pipeline;
pub mod probe;
mod queue;
mod reader;
mod round_trips;
mod shared;
mod snapshot;
mod transport;

pub use body::Body;
pub use dial::{Connect, NoTls, Securing, Stream};
pub use host::{Config, Host, OutgoingSnapshot, STALL};
pub use round_trips::{ROUND_TRIP_BUCKETS, RoundTrips};
pub use transport::{PeerStatus, Transport};
