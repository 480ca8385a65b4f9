//! What does not fit a cluster.

use crate::id::MemberId;

/// What does not fit the cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Text that should name members does not.
    #[error("{0}")]
    Malformed(String),
    /// There is no such member.
    #[error("member {0} is unknown")]
    Unknown(MemberId),
    /// The member was removed; its id never comes back.
    #[error("member {0} has been removed")]
    Removed(MemberId),
}
