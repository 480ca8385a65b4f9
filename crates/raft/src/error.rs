//! What the node cannot take, by what its owner can do about it.

/// An event the node cannot take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The log, the configuration or the settings do not allow a start.
    #[error("consensus: {0}")]
    Start(String),
    /// No correct member sends this; it was dropped and nothing changed.
    #[error("consensus: dropped a message of kind {kind} from member {from:x}: {why}")]
    Message {
        /// Sender's member id, as far as the message can be believed.
        from: u64,
        /// etcd's number of the message type.
        kind: i32,
        /// What is wrong with it.
        why: String,
    },
    /// The leader knows entries to be durable here which this log does not
    /// have. The member must stop: it would vote with a log it has lost.
    #[error(
        "consensus: tocommit({commit}) is out of range [lastIndex({last_index})]. Was the raft log corrupted, truncated, or lost?"
    )]
    LogLost {
        /// What the leader says is committed here.
        commit: u64,
        /// Where this log ends.
        last_index: u64,
    },
    /// The core refused it.
    #[error("consensus: {0}")]
    Core(String),
}

/// Why a proposal was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// There is no one to propose to.
    #[error("no leader")]
    NoLeader,
    /// Refused for now: too much is uncommitted, or a transfer is under way.
    #[error("proposal dropped")]
    Dropped,
    /// This node does not lead the term that the proposal was made for.
    #[error("not the leader of the term")]
    NotLeader,
}
