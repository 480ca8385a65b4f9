//! Errors for the caller. The server maps [`Error`] to etcd's text for clients; the text
//! here is the one of etcd's own log, and of the calls whose errors etcd does not map.

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Authentication cannot be enabled without the user root.
    #[error("auth: root user does not exist")]
    RootUserNotExist,
    /// Nor without its role.
    #[error("auth: root user does not have root role")]
    RootRoleNotExist,
    /// The user is there already.
    #[error("auth: user already exists")]
    UserAlreadyExist,
    /// A name is missing, or a request comes from no one.
    #[error("auth: user name is empty")]
    UserEmpty,
    /// There is no such user.
    #[error("auth: user not found")]
    UserNotFound,
    /// The role is there already.
    #[error("auth: role already exists")]
    RoleAlreadyExist,
    /// There is no such role.
    #[error("auth: role not found")]
    RoleNotFound,
    /// The name of a role is missing.
    #[error("auth: role name is empty")]
    RoleEmpty,
    /// A permission is missing in the request.
    #[error("auth: permission not given")]
    PermissionNotGiven,
    /// Unknown user or wrong password.
    #[error("auth: authentication failed, invalid user ID or password")]
    AuthFailed,
    /// The user has no password.
    #[error("auth: authentication failed, password was given for no password user")]
    NoPasswordUser,
    /// The user may not do this.
    #[error("auth: permission denied")]
    PermissionDenied,
    /// The user does not have the role.
    #[error("auth: role is not granted to the user")]
    RoleNotGranted,
    /// The role does not have the permission.
    #[error("auth: permission is not granted to the role")]
    PermissionNotGranted,
    /// There is nothing to authenticate for.
    #[error("auth: authentication is not enabled")]
    AuthNotEnabled,
    /// Users or roles have changed since the user was authenticated.
    #[error("auth: revision in header is old")]
    AuthOldRevision,
    /// The token is unknown, expired or forged.
    #[error("auth: invalid auth token")]
    InvalidAuthToken,
    /// What root needs must not be taken away; a permission must have a valid range.
    #[error("auth: invalid auth management")]
    InvalidAuthMgmt,
    /// This member has only a public key.
    #[error("auth: token signing attempted with verify-only key")]
    VerifyOnly,
    /// The token could not be signed.
    #[error("key is invalid")]
    InvalidKey,
    /// A name is longer than a key of the database can be. It ends every etcd that applies it.
    #[error("auth: the name is longer than a key of the database can be")]
    NameTooLong,
}

/// Why the users and roles of a database file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The file could not be read.
    #[error("reading the auth buckets: {0}")]
    Read(#[from] bolt::Error),
    /// A record is not what its bucket holds.
    #[error(
        "bucket `{bucket}`, record {key:?}: {reason}; the database file is damaged: restore this \
         member from a snapshot or from its peers"
    )]
    Corrupt {
        /// The bucket.
        bucket: &'static str,
        /// The key of the record.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}
