//! What a request to the store can be refused for. The server turns each into
//! etcd's code and text; nothing here knows gRPC.

use std::path::PathBuf;

/// Why a request failed. Nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The revision asked for is below the compacted one.
    #[error("mvcc: required revision has been compacted")]
    Compacted,
    /// The requested revision is later than the current one.
    #[error("mvcc: required revision is a future revision")]
    FutureRev,
    /// `ignore_value` or `ignore_lease` names a key that is not there, or an
    /// operation of a transaction is empty.
    #[error("key not found")]
    KeyNotFound,
    /// A branch that runs has an empty operation, on which etcd ends. No request
    /// brings one in: whoever finds it in the log must not go on.
    #[error("a transaction has an empty operation")]
    EmptyOperation,
    /// A put names a lease that does not exist.
    #[error("requested lease not found")]
    LeaseNotFound,
    /// The key of a request is empty.
    #[error("key is not provided")]
    EmptyKey,
    /// `ignore_value` together with a value.
    #[error("value is provided")]
    ValueProvided,
    /// `ignore_lease` together with a lease.
    #[error("lease is provided")]
    LeaseProvided,
    /// More operations in one transaction than the server allows.
    #[error("too many operations in txn request")]
    TooManyOps,
    /// One branch of a transaction changes a key twice.
    #[error("duplicate key given in txn request")]
    DuplicateKey,
    /// `sort_order` or `sort_target` is none of the known ones.
    #[error("invalid sort option")]
    InvalidSortOption,
    /// A range in pieces is to be sorted.
    #[error("RangeStream does not support custom sort orders")]
    StreamSorted,
    /// A range in pieces is to be filtered.
    #[error("RangeStream does not support revision filters")]
    StreamFiltered,
    /// The database file contradicts itself or cannot be read.
    #[error(transparent)]
    Database(#[from] bolt::Error),
    /// A record of the bucket `key` is not what the format says.
    #[error("bucket key, revision {revision}: {what}; run a check of the database file")]
    Corrupt {
        /// The revision of the record, as `main/sub`.
        revision: crate::Revision,
        /// What is wrong.
        what: &'static str,
    },
    /// The store is being stopped.
    #[error("the store is stopped")]
    Stopped,
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The database file contradicts itself or cannot be read.
    #[error(transparent)]
    Database(#[from] bolt::Error),
    /// A record of the file is not what the format says.
    #[error(
        "{path}: bucket {bucket}, key {key}: {what}; restore the file from a snapshot, or let the member rejoin its cluster"
    )]
    Corrupt {
        /// The database file.
        path: PathBuf,
        /// The bucket.
        bucket: &'static str,
        /// The key of the record, in hex.
        key: String,
        /// What is wrong.
        what: &'static str,
    },
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}
