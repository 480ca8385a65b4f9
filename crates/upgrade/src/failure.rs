//! Why a command ends without an answer. Must never hide the file or the member
//! at fault.

use std::{fmt, io, path::Path};

use crate::exit;

/// A message for a person, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String, i32);

impl std::error::Error for Failure {}

pub(crate) type Outcome<T> = Result<T, Failure>;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Failure {
    pub(crate) fn new(message: impl fmt::Display) -> Failure {
        Failure(message.to_string(), exit::ERROR)
    }

    /// A signal ended the work at a point where nothing is half done.
    pub(crate) fn interrupted(why: &str) -> Failure {
        Failure(
            format!("{why}; nothing was left half done"),
            exit::INTERRUPTED,
        )
    }

    /// The exit code.
    pub(crate) fn code(&self) -> i32 {
        self.1
    }

    pub(crate) fn io(op: &str, path: &Path, error: &io::Error) -> Failure {
        Failure::new(format!("{op} {}: {error}", path.display()))
    }
}

impl From<crate::inspect::Error> for Failure {
    fn from(error: crate::inspect::Error) -> Failure {
        Failure::new(error)
    }
}
