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
//! | `channel` | one other member: its streams, its pipeline, whether it is there |
//! | `reader`, `pipeline`, `snapshot` | the tasks behind it |
//! | `outlet` | a stream that a member opened, for what we send |
//! | `incoming`, `body` | requests of other members, and their answers |
//!
//! Every other member has two streams that it opened to us, which carry what we
//! send, and two that we opened to it, which carry what it sends. What finds no
//! stream goes by single requests. Queues are bounded; what does not fit is
//! dropped and raft is told.

// What comes back to its owner, a message or a whole answer, is as large as it is.
#![allow(clippy::result_large_err)]

pub mod ask;
mod body;
mod channel;
pub mod codec;
pub mod dial;
pub mod headers;
mod incoming;
mod outlet;
mod pipeline;
pub mod probe;
mod reader;
mod snapshot;
mod transport;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use proto::raftpb::Message;

pub use body::Body;
pub use dial::{Connect, NoTls, Securing, Stream};
pub use probe::{ROUND_TRIP_BUCKETS, RoundTrips};
pub use transport::{PeerStatus, Transport};

/// A connection between members on which nothing can be written, or nothing comes,
/// for this long is dead; etcd's. Snapshots are given more.
pub const STALL: Duration = Duration::from_secs(5);

/// Who this member is, and how it speaks.
pub struct Config {
    /// This member's id.
    pub member_id: u64,
    /// Its cluster's id.
    pub cluster_id: u64,
    /// Its etcd version, like `3.5.30`.
    pub server_version: String,
    /// Where others reach it.
    pub advertise_peer_urls: Vec<String>,
    /// A connection may take this long and a second to come about.
    pub election_timeout: Duration,
    /// Where received databases go.
    pub snap_dir: PathBuf,
    /// How https URLs are dialled.
    pub connect: Arc<dyn Connect>,
}

/// What the transport needs of the member. Called on the transport's thread,
/// except where it says otherwise; nothing here may wait for a disk.
pub trait Host: Send + Sync + 'static {
    /// Takes a raft message that the protocol's checks let through.
    fn step(&self, message: Message);
    /// True if the member was removed from the cluster.
    fn is_removed(&self, id: u64) -> bool;
    /// A message to the member could not be delivered.
    fn report_unreachable(&self, id: u64);
    /// A snapshot sent to the member arrived, or did not.
    fn report_snapshot(&self, id: u64, arrived: bool);
    /// Another member says that this one was removed.
    fn removed(&self);
    /// The content of a snapshot message that is about to be sent. Called on a
    /// thread that may wait.
    ///
    /// # Errors
    /// The database cannot be read; the snapshot is reported as not arrived.
    fn open_snapshot(&self, message: Message) -> io::Result<OutgoingSnapshot>;
}

/// A snapshot on its way out.
pub struct OutgoingSnapshot {
    /// The message with its snapshot filled in.
    pub message: Message,
    /// The database as of the same index.
    pub database: Box<dyn io::Read + Send>,
    /// Its length in bytes.
    pub database_len: u64,
}
