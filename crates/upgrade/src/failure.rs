//! Why a command ends without an answer. Must never hide the file or the member
//! at fault.

use std::{fmt, io, path::Path};

/// A message for a person. The exit code is 1.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

pub(crate) type Outcome<T> = Result<T, Failure>;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Failure {
    pub(crate) fn new(message: impl fmt::Display) -> Failure {
        Failure(message.to_string())
    }

    pub(crate) fn io(op: &str, path: &Path, error: &io::Error) -> Failure {
        Failure(format!("{op} {}: {error}", path.display()))
    }
}

impl From<crate::inspect::Error> for Failure {
    fn from(error: crate::inspect::Error) -> Failure {
        Failure(error.to_string())
    }
}
