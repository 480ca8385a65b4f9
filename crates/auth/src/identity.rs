//! Who asks.

use bytes::Bytes;

/// The user that administers the cluster, and the role that lets it.
pub const ROOT: &str = "root";

/// Who asks, as the header of a request names it. The default is no one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The name of the user, any bytes; empty without one.
    pub user: Bytes,
    /// The auth revision at which the user was authenticated; 0 without a user.
    pub revision: u64,
}
