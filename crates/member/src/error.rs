//! Why a member does not start, and why one that runs must stop.

use std::{fmt::Display, io, path::Path};

/// Why a member cannot start, or put a snapshot in place. One text: what is wrong, where, what
/// to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

impl Error {
    /// An error from its text.
    pub fn new(text: impl Into<String>) -> Error {
        Error(text.into())
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error(error.to_string())
    }
}

/// Adds where it happened.
pub trait At<T> {
    /// The error with what was tried before it, and the path after that.
    ///
    /// # Errors
    /// Whatever it was called on failed with.
    fn at(self, what: &str, path: &Path) -> Result<T, Error>;
}

impl<T, E: Display> At<T> for Result<T, E> {
    fn at(self, what: &str, path: &Path) -> Result<T, Error> {
        self.map_err(|error| Error(format!("{what} {}: {error}", path.display())))
    }
}

/// Why a running member must stop before it does anything else: going on would skip an entry or
/// acknowledge what is not durable.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {error}")]
pub struct Fatal {
    /// What could not be done; the message of the log line.
    pub what: &'static str,
    /// Why.
    pub error: String,
}

impl Fatal {
    /// From what could not be done and the reason.
    pub fn new(what: &'static str, error: &dyn Display) -> Fatal {
        Fatal {
            what,
            error: error.to_string(),
        }
    }
}
