//! What can go wrong, by what a caller can do about it. Errors name the page and the file offset where bytes are at
//! fault; they never contain user data.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::id::PageId;

/// Failures of this crate. Cloning is cheap, so that a sticky failure can be handed to every later caller.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused an operation on the file.
    #[error("database {path}: {op} failed: {source}")]
    Io {
        /// The file, or `<memory>` for a disk without a path.
        path: PathBuf,
        /// What was tried, for people, with the offset where one applies.
        op: String,
        /// The system's own error.
        source: Arc<io::Error>,
    },
    /// Another process holds the file lock and did not release it in time.
    #[error(
        "database {path} is locked by another process (waited {waited:?}); stop the server or tool that uses it, or work on a copy"
    )]
    Locked {
        /// The file.
        path: PathBuf,
        /// How long the lock was tried for.
        waited: Duration,
    },
    /// Neither meta page is valid, so the file is no database of this format or its head is destroyed.
    #[error("{path} is not a usable bbolt database: {why}")]
    NotADatabase {
        /// The file.
        path: PathBuf,
        /// What was found instead.
        why: String,
    },
    /// The meta page counts more pages than the file has.
    #[error(
        "database {path} is truncated: its meta page expects {expected} bytes, the file has {found}; restore it from a copy or a snapshot"
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// High-water mark times page size.
        expected: u64,
        /// Length of the file in bytes.
        found: u64,
    },
    /// A page contradicts the format.
    #[error("database page {page} (file offset {offset:#x}): {what}")]
    Corrupt {
        /// The page at fault.
        page: PageId,
        /// Offset in the file, in bytes, of the page or of the element at fault.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// The database was opened for reading only.
    #[error("the database was opened for reading only")]
    ReadOnly,
    /// An earlier commit failed; what the disk holds is unknown, so nothing more is written.
    #[error(
        "the database takes no more writes since a commit failed: {0}; restart on a healthy disk"
    )]
    Failed(Arc<Error>),
    /// The named bucket does not exist.
    #[error("bucket not found: {0:?}")]
    BucketNotFound(String),
    /// A key was found where a bucket was expected, or the reverse.
    #[error("incompatible value: {0:?} is {1}")]
    IncompatibleValue(String, &'static str),
    /// Empty keys and empty bucket names cannot be stored.
    #[error("key required")]
    KeyRequired,
    /// Keys are at most [`crate::MAX_KEY_SIZE`] bytes.
    #[error("key too large: {0} bytes, at most 32768")]
    KeyTooLarge(usize),
    /// Values are at most [`crate::MAX_VALUE_SIZE`] bytes.
    #[error("value too large: {0} bytes, at most 2147483646")]
    ValueTooLarge(usize),
    /// Writing an image to its destination failed.
    #[error("writing the image failed after {at} bytes: {source}")]
    Output {
        /// Bytes handed over before.
        at: u64,
        /// The destination's own error.
        source: Arc<io::Error>,
    },
}

impl Error {
    /// True for damage in the file itself, as opposed to an error of the system or a misuse.
    pub fn is_corruption(&self) -> bool {
        match self {
            Error::NotADatabase { .. } | Error::Truncated { .. } | Error::Corrupt { .. } => true,
            Error::Failed(inner) => inner.is_corruption(),
            _ => false,
        }
    }
}

/// A name or key as a message shows it: text where it is text, hex otherwise, cut at 64 bytes.
pub(crate) fn show(name: &[u8]) -> String {
    let cut = &name[..name.len().min(64)];
    match std::str::from_utf8(cut) {
        Ok(text) if text.chars().all(|c| !c.is_control()) => text.to_owned(),
        _ => cut.iter().map(|b| format!("{b:02x}")).collect(),
    }
}
