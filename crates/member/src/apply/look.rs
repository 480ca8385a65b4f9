//! What decides whether a member could go to another line, for whoever asks between two entries.

use line::Line;
use membership::Cluster;
use proto::raftpb::ConfState;

/// What decides whether a member could go to another line, as of one entry.
#[derive(Clone, Debug)]
pub struct Look {
    /// The members, as they are applied.
    pub cluster: Cluster,
    /// The votes that raft counts.
    pub conf_state: ConfState,
    /// Changes with what a `.snap` holds: what is read of the database later belongs to this look
    /// if it is still the same then.
    pub generation: u64,
    /// The line of the database's schema.
    pub schema: Line,
    /// The tree has keys that users stored by API version 2.
    pub has_v2_keys: bool,
    /// A raw request of the v2 API is in the log after the newest snapshot that is on disk, or may
    /// be: one is being written.
    pub blocks_newer_release: bool,
    /// For each line, whether an entry after the newest snapshot asks for a newer reader.
    pub is_held_up: [bool; Line::ALL.len()],
    /// All that the database holds is applied anew.
    pub is_caught_up: bool,
}
