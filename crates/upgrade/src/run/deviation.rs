//! Why a step is not done.

use super::{cluster::CallError, safety::Refusal};
use crate::failure::Failure;

/// What is not as it should be. The run stops there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Deviation {
    /// Of a member or the cluster, human-readable.
    #[error("{0}")]
    Seen(String),
    /// A member must not be stopped.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A call to a member failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A file or a command failed.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl From<String> for Deviation {
    fn from(seen: String) -> Deviation {
        Deviation::Seen(seen)
    }
}

impl From<&str> for Deviation {
    fn from(seen: &str) -> Deviation {
        Deviation::Seen(seen.to_owned())
    }
}

impl Deviation {
    /// The same, with where it was seen in front.
    pub(super) fn at(self, place: &str) -> Deviation {
        Deviation::Seen(format!("{place}: {self}"))
    }
}
