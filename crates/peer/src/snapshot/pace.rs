//! What both directions of a snapshot keep to.

/// Pieces of a database that may lie between disk and socket.
pub(super) const PIECES: usize = 4;

/// A line of progress after so many bytes.
pub(super) const PROGRESS: u64 = 256 << 20;
