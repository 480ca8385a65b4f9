//! What names a lease.

use std::fmt;

/// The id of a lease: chosen by the client, or by the server that took the
/// request before it went into the log. Zero is no lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

impl fmt::Display for LeaseId {
    /// 16 hexadecimal digits, as etcdctl prints them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
