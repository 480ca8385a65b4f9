//! Why a watch was not made or ended, as `cancel_reason` says it. A compacted
//! start has no reason text, only `compact_revision`.

/// The start revision is negative.
pub const NEGATIVE_START: &str = "etcdserver: mvcc: required revision has been compacted";
/// The end of the range is not above its start.
pub const EMPTY_RANGE: &str = "mvcc: watcher range is empty";
/// The stream has a watch with this id.
pub const DUPLICATE_ID: &str = "mvcc: duplicate watch ID provided on the WatchStream";
