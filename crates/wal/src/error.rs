//! What can go wrong with the log and its snapshots, sorted by what the caller
//! can do about it. Every message names the file, and where bytes are at
//! fault, the offset.

use std::{io, path::PathBuf, sync::Arc};

/// An error of the log or of a `.snap` file.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The operating system refused an operation.
    #[error("cannot {op} {path}: {source}{}", advice(source), path = path.display())]
    Io {
        /// What was attempted, as a verb: `open`, `write`, `sync`.
        op: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// Another process, or another part of this one, holds the segment.
    #[error(
        "{path} is locked by another process: a server is using this data directory; stop it first",
        path = path.display()
    )]
    Locked {
        /// The segment whose lock was refused.
        path: PathBuf,
    },
    /// The directory holds no log, or none that reaches back to the wanted
    /// snapshot.
    #[error("no log segment for snapshot index {index} in {dir}", dir = dir.display())]
    NotFound {
        /// The log's directory.
        dir: PathBuf,
        /// Index of the snapshot from which reading was to start.
        index: u64,
    },
    /// A log is already there.
    #[error("{dir} already holds a log", dir = dir.display())]
    Exists {
        /// The log's directory.
        dir: PathBuf,
    },
    /// The segment numbers have a hole: a file was removed by hand, or lost.
    #[error(
        "log segments in {dir} are not consecutive: after sequence {before:#x} comes {after:#x}; \
         a segment is missing",
        dir = dir.display()
    )]
    MissingSegment {
        /// The log's directory.
        dir: PathBuf,
        /// Sequence number before the hole.
        before: u64,
        /// Sequence number after the hole.
        after: u64,
    },
    /// Bytes that a sync had made durable do not read back as they were
    /// written. Nothing was changed on disk.
    #[error(
        "{path} is damaged at offset {offset}: {damage}; nothing was changed. Restore this member \
         from a snapshot, or remove it from the cluster and add it again",
        path = path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Offset in bytes of the frame (in the log) or of the file's start.
        offset: u64,
        /// What is wrong there.
        damage: Damage,
    },
    /// The last segment ends in a write that was interrupted, and the caller
    /// did not allow its repair.
    #[error("{path} ends in a torn write at offset {offset}", path = path.display())]
    Torn {
        /// The last segment.
        path: PathBuf,
        /// Offset in bytes of the first frame that is not whole.
        offset: u64,
    },
    /// The log speaks of another snapshot at that index.
    #[error(
        "{path}: the snapshot at index {index} has term {found} in the log, but term {wanted} was asked for",
        path = path.display()
    )]
    SnapshotMismatch {
        /// The segment holding the record.
        path: PathBuf,
        /// Index of the snapshot.
        index: u64,
        /// Term asked for.
        wanted: u64,
        /// Term in the log.
        found: u64,
    },
    /// The log holds no record of the snapshot from which reading was to start.
    #[error("the log in {dir} has no record of a snapshot at index {index}", dir = dir.display())]
    SnapshotNotFound {
        /// The log's directory.
        dir: PathBuf,
        /// Index of the snapshot.
        index: u64,
    },
    /// Between the snapshot from which reading was to start and a later one, the log has entries
    /// that the later one, received from a leader, took the place of.
    #[error(
        "the log in {dir} does not reach back from the snapshot at index {received}, which was \
         received from a leader, to the one at index {index}: what is in between was replaced; \
         remove this member from the cluster and add it again; if it is the only one, restore a backup",
        dir = dir.display()
    )]
    Replaced {
        /// The log's directory.
        dir: PathBuf,
        /// Index of the snapshot from which reading was to start.
        index: u64,
        /// Index of the one received.
        received: u64,
    },
    /// A snapshot record without its voters would be of no use to etcd 3.5.
    #[error("the record of the snapshot at index {index} lacks its conf_state")]
    NoConfState {
        /// Index of the snapshot.
        index: u64,
    },
    /// An entry would leave a hole in the log.
    #[error("entry {index} cannot follow entry {last} in the log")]
    NotNext {
        /// Index of the last entry.
        last: u64,
        /// Index of the one refused.
        index: u64,
    },
    /// An earlier error ended the use of this log: what the last sync left on
    /// disk is unknown, so nothing may be acknowledged any more.
    #[error("the log takes no more writes after an earlier error: {first}")]
    Failed {
        /// The first error.
        first: Arc<str>,
    },
}

/// What is wrong with some bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The bytes do not have the checksum that was stored with them.
    #[error("checksum {found:08x} where {stored:08x} is stored")]
    Checksum {
        /// The stored checksum.
        stored: u32,
        /// The checksum of the bytes found.
        found: u32,
    },
    /// The length field disagrees with the record behind it, or with the file.
    #[error("length field {field:#x} does not fit the record behind it")]
    Length {
        /// The length field as found.
        field: u64,
    },
    /// The length field is zero, yet its sector goes on.
    #[error("length field is zero in front of data")]
    ZeroLength,
    /// The bytes are no message of the expected kind.
    #[error("not a {what}: {detail}")]
    Message {
        /// The kind expected.
        what: &'static str,
        /// What the parser said.
        detail: String,
    },
    /// A record type that etcd does not know.
    #[error("unknown record type {0}")]
    RecordType(i64),
    /// The segment's checksum record does not continue the segment before.
    #[error(
        "the segment starts from checksum {stored:08x}, the one before ended at {found:08x}: \
         the end of that segment is missing or changed"
    )]
    Chain {
        /// The value this segment starts from.
        stored: u32,
        /// The value reached by reading the segments before.
        found: u32,
    },
    /// A segment does not begin with a checksum record.
    #[error("the segment does not begin with a checksum record")]
    NoHead,
    /// Two metadata records differ: segments of two logs were mixed.
    #[error("metadata differs from the metadata before: segments of two logs are mixed")]
    Metadata,
    /// No metadata record was found.
    #[error("the log has no metadata record")]
    NoMetadata,
    /// An entry does not follow the entries before it.
    #[error("entry {found} where {expected} was the highest possible")]
    Gap {
        /// Highest index that could follow.
        expected: u64,
        /// Index found.
        found: u64,
    },
    /// The file is empty, or says of itself that it holds nothing.
    #[error("the file is empty")]
    Empty,
}

impl Error {
    /// Wraps what the operating system said about `path`.
    pub(crate) fn io(op: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io {
            op,
            path: path.into(),
            source: Arc::new(source),
        }
    }

    /// Whether a full disk (or quota) is the cause.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_full(source))
    }

    /// The system's own error, if the system refused an operation.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io { source, .. } => Some(source.kind()),
            _ => None,
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        _ if is_full(error) => "; free space on that disk",
        io::ErrorKind::PermissionDenied => "; the user of this process must own the data directory",
        io::ErrorKind::ReadOnlyFilesystem => "; the file system is mounted read-only",
        _ => "",
    }
}
