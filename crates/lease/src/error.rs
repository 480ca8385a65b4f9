//! Errors for the caller. The server maps [`Error`] to etcd's own text.

/// Why a call on the lessor had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No such lease, or the id is zero.
    #[error("requested lease not found")]
    NotFound,
    /// A lease with this id was granted before and not revoked.
    #[error("lease already exists")]
    Exists,
    /// The TTL is above [`crate::MAX_TTL_SECS`].
    #[error("too large lease TTL")]
    TtlTooLarge,
    /// Only the leader's lessor renews leases.
    #[error("not a primary lessor")]
    NotPrimary,
    /// The lease is over and its revocation is under way. The answer to a
    /// renewal must wait until the revocation is applied (then it is
    /// [`Error::NotFound`]) or the leader changes ([`Error::NotPrimary`]).
    #[error("lease expired, its revocation is under way")]
    Expired,
}

/// Why the leases of a database file could not be taken up.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The file could not be read.
    #[error("reading bucket `lease`: {0}")]
    Read(#[from] bolt::Error),
    /// A record is no `leasepb.Lease`.
    #[error(
        "bucket `lease`, record 0x{key}: not a lease ({reason}); the database file is damaged: \
         check it with `etcdutl check`; remove this member from the cluster and add it again; if \
         it is the only one, restore a backup"
    )]
    Corrupt {
        /// The record's key in hexadecimal, at most 32 bytes of it.
        key: String,
        /// What the decoder said.
        reason: String,
    },
    /// A record has lease id zero, which no grant can have made.
    #[error(
        "bucket `lease`, record 0x{key}: lease id 0; the database file is damaged: remove this \
         member from the cluster and add it again; if it is the only one, restore a backup"
    )]
    NoId {
        /// The record's key in hexadecimal, at most 32 bytes of it.
        key: String,
    },
}

impl RecoverError {
    /// Renders a record key for a message, whatever its length.
    pub(crate) fn hex(key: &[u8]) -> String {
        key.iter().take(32).map(|b| format!("{b:02x}")).collect()
    }
}
