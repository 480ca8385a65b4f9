//! What the transport is told of its member, and what it needs of it.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use line::Spoken;
use proto::raftpb::Message;

use crate::dial::Connect;

/// A connection between members on which nothing can be written, or nothing comes,
/// for this long is dead; etcd's. Snapshots are given more.
pub const STALL: Duration = Duration::from_secs(5);

/// Who this member is, and how it speaks.
pub struct Config {
    /// This member's id.
    pub member_id: u64,
    /// Its cluster's id.
    pub cluster_id: u64,
    /// The line of etcd whose release it announces, which changes while it runs.
    pub spoken: Spoken,
    /// Where others reach it.
    pub advertise_peer_urls: Vec<String>,
    /// A connection may take this long and a second to come about.
    pub election_timeout: Duration,
    /// A connection from which nothing comes for this long is given up.
    pub read_timeout: Duration,
    /// A connection that takes nothing for this long is given up.
    pub write_timeout: Duration,
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
