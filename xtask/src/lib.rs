//! The rules of this repository that no compiler knows, as functions that find
//! what breaks them; `tests/` runs each on the repository. It must never change
//! a file, and never need more than the toolchain.
//!
//! - [`errors`]: functions that fail with a bare text
//! - [`floors`]: a crate imports from floors below its own only
//! - [`imports`]: no file of a crate imports itself through others
//! - [`functions`]: how long functions are
//! - [`pages`]: references to pages, and how wide pages are
//! - [`source`]: Rust files as syntax trees
//! - [`words`]: words that this field does not use
//! - [`workspace`]: the crates and the files of the repository

#![forbid(unsafe_code)]

use std::{
    fmt,
    path::{Path, PathBuf},
};

pub mod errors;
pub mod floors;
pub mod functions;
pub mod imports;
pub mod pages;
pub mod source;
pub mod words;
pub mod workspace;

/// A file that cannot be checked.
#[derive(Debug)]
pub struct Error {
    path: PathBuf,
    reason: String,
}

impl Error {
    fn new(path: &Path, reason: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            reason: reason.into(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.reason)
    }
}

impl std::error::Error for Error {}
