//! What all members of a run share, and what passes between them.

use std::sync::Arc;

use proto::raftpb as pb;

use crate::{oracle::Oracle, plant::Plant};

/// Shortest TTL in seconds.
pub const MIN_TTL: i64 = 1;
/// Ticks of an election; a tick is 100 ms.
pub const ELECTION_TICKS: usize = 10;
/// Length of a tick in us.
pub const TICK_US: u64 = 100_000;

/// What all members of a run share.
pub struct Shared {
    /// The judge.
    pub oracle: Oracle,
    /// The broken rule, if one is.
    pub plant: Option<Plant>,
    /// Virtual time in us.
    pub now_us: u64,
    /// Entries between two snapshots.
    pub snapshot_count: u64,
    /// Members ask before they disturb a leader.
    pub pre_vote: bool,
    /// Entries kept in memory before a snapshot.
    pub catch_up: u64,
    /// Next id of a request that a member makes by itself.
    pub next_request: u64,
}

impl Shared {
    pub(crate) fn broken(&self, plant: Plant) -> bool {
        self.plant == Some(plant)
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.now_us / 1000
    }
}

/// A message under way, with the database if it is a snapshot.
#[derive(Clone, Debug)]
pub struct Wire {
    /// As raft has it.
    pub message: pb::Message,
    /// The database that goes with a snapshot.
    pub db: Option<Arc<Vec<u8>>>,
}
