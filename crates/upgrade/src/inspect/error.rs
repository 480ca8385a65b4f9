//! Why something cannot be read.

use std::{io, path::PathBuf};

/// Why something cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no member here.
    #[error("{path}: {why}")]
    NotAMember {
        /// What was given.
        path: PathBuf,
        /// What it lacks.
        why: String,
    },
    /// A server holds the database.
    #[error(
        "{0} is in use by a running member; check a running member with --endpoints, or a copy of its directory"
    )]
    InUse(PathBuf),
    /// A file could not be read.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A database that cannot be understood.
    #[error("{path}: {source}")]
    Database {
        /// Which.
        path: PathBuf,
        /// Why.
        source: bolt::Error,
    },
    /// A log that cannot be understood.
    #[error("{0}")]
    Log(#[from] wal::Error),
    /// Something answers there, but not to this client: what is wrong is the way in
    /// which it is asked, not the member.
    #[error("{endpoint}: {why}")]
    Refused {
        /// Where.
        endpoint: String,
        /// Why.
        why: String,
    },
    /// A member that could not be asked.
    #[error("{endpoint}: {why}")]
    Unreachable {
        /// Where.
        endpoint: String,
        /// Why.
        why: String,
    },
}
