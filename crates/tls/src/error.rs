//! Files and options that cannot be used. Each text names the file, what is
//! wrong with it and what is expected there.

use std::{io, path::PathBuf};

/// Why an acceptor or a connector could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("cannot read the {what} {}: {source}", path.display())]
    Read {
        /// Its role: certificate, key, trusted CA, revocation list.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("the {what} {} cannot be used: {why}", path.display())]
    Content {
        /// Its role.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, and what is expected.
        why: String,
    },
    /// Certificate and key are not a pair.
    #[error("the key {} does not belong to the certificate {}", key.display(), cert.display())]
    Mismatch {
        /// Certificate file.
        cert: PathBuf,
        /// Key file.
        key: PathBuf,
    },
    /// Options that contradict each other or name what does not exist.
    #[error("{0}")]
    Options(String),
    /// A file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The machine has no trusted CAs of its own, and none were given.
    #[error(
        "no trusted CA was given, and this machine has no certificate store to fall back on: {0}"
    )]
    NoSystemRoots(String),
}

impl Error {
    /// True when a file does not exist, which etcd logs in other words.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}
