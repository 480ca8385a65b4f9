//! What a client is told when a call fails: a gRPC code and etcd's exact text.
//! Clients match on the text, so every text lives in this one table. Nothing
//! here decides *when* a call fails.

use std::borrow::Cow;

use line::{Feature, Line};

/// A gRPC status code, by its number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// 0
    Ok = 0,
    /// 1
    Canceled = 1,
    /// 2
    Unknown = 2,
    /// 3
    InvalidArgument = 3,
    /// 4
    DeadlineExceeded = 4,
    /// 5
    NotFound = 5,
    /// 7
    PermissionDenied = 7,
    /// 8
    ResourceExhausted = 8,
    /// 9
    FailedPrecondition = 9,
    /// 11
    OutOfRange = 11,
    /// 12
    Unimplemented = 12,
    /// 13
    Internal = 13,
    /// 14
    Unavailable = 14,
    /// 15
    DataLoss = 15,
    /// 16
    Unauthenticated = 16,
}

impl Code {
    /// The name as Go prints it, which `/metrics` and log lines use.
    pub fn name(self) -> &'static str {
        proto::codes::NAMES[usize::from(self as u8)]
    }

    /// The HTTP status the JSON gateway answers with.
    pub fn http(self) -> u16 {
        match self {
            Code::Ok => 200,
            Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => 400,
            Code::Unauthenticated => 401,
            Code::PermissionDenied => 403,
            Code::NotFound => 404,
            Code::Canceled => 408,
            Code::ResourceExhausted => 429,
            Code::Unknown | Code::Internal | Code::DataLoss => 500,
            Code::Unimplemented => 501,
            Code::Unavailable => 503,
            Code::DeadlineExceeded => 504,
        }
    }
}

/// A failed call: code and message as they go on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The gRPC code.
    pub code: Code,
    /// The description, byte for byte etcd's where etcd has one.
    pub message: Cow<'static, str>,
}

impl Status {
    /// A status from its parts.
    pub const fn fixed(code: Code, message: &'static str) -> Status {
        Status {
            code,
            message: Cow::Borrowed(message),
        }
    }

    /// What a cluster is not capable of yet, and what a learner does not serve, as a line says it.
    #[must_use]
    pub fn precondition(self, line: Line) -> Status {
        Status {
            code: if line.has(Feature::FailedPreconditions) {
                Code::FailedPrecondition
            } else {
                self.code
            },
            ..self
        }
    }

    /// What becomes of an error of authentication that etcd returns as it is.
    pub fn unmapped(error: auth::Error) -> Status {
        Status::new(Code::Unknown, error.to_string())
    }

    /// A status with a text made at run time.
    pub fn new(code: Code, message: impl Into<String>) -> Status {
        Status {
            code,
            message: Cow::Owned(message.into()),
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.message)
    }
}

macro_rules! table {
    ($($name:ident = $code:ident $text:literal;)*) => {
        $(
            #[doc = concat!("`", $text, "`")]
            pub const $name: Status = Status::fixed(Code::$code, $text);
        )*
    };
}

/// etcd's errors, by the name of the situation.
pub mod errors {
    use super::{Code, Status};

    table! {
        EMPTY_KEY = InvalidArgument "etcdserver: key is not provided";
        KEY_NOT_FOUND = InvalidArgument "etcdserver: key not found";
        VALUE_PROVIDED = InvalidArgument "etcdserver: value is provided";
        LEASE_PROVIDED = InvalidArgument "etcdserver: lease is provided";
        TOO_MANY_OPS = InvalidArgument "etcdserver: too many operations in txn request";
        DUPLICATE_KEY = InvalidArgument "etcdserver: duplicate key given in txn request";
        INVALID_SORT_OPTION = InvalidArgument "etcdserver: invalid sort option";
        INVALID_CLIENT_API_VERSION = InvalidArgument "etcdserver: invalid client api version";
        STREAM_SORTED = Unimplemented "RangeStream does not support custom sort orders";
        STREAM_FILTERED = Unimplemented "RangeStream does not support revision filters";
        COMPACTED = OutOfRange "etcdserver: mvcc: required revision has been compacted";
        FUTURE_REV = OutOfRange "etcdserver: mvcc: required revision is a future revision";
        NO_SPACE = ResourceExhausted "etcdserver: mvcc: database space exceeded";
        LEASE_NOT_FOUND = NotFound "etcdserver: requested lease not found";
        LEASE_EXISTS = FailedPrecondition "etcdserver: lease already exists";
        LEASE_TTL_TOO_LARGE = OutOfRange "etcdserver: too large lease TTL";
        WATCH_CANCELED = Canceled "etcdserver: watch canceled";
        REQUEST_TOO_LARGE = InvalidArgument "etcdserver: request is too large";
        // etcd's own table misses the code of this one, so it leaves as Unknown.
        TOO_MANY_REQUESTS = Unknown "etcdserver: too many requests";
        NO_LEADER = Unavailable "etcdserver: no leader";
        NOT_LEADER = FailedPrecondition "etcdserver: not leader";
        LEADER_CHANGED = Unavailable "etcdserver: leader changed";
        STOPPED = Unavailable "etcdserver: server stopped";
        TIMEOUT = Unavailable "etcdserver: request timed out";
        TIMEOUT_WAIT_APPLIED = Unavailable "etcdserver: request timed out, waiting for the applied index took too long";
        CORRUPT = DataLoss "etcdserver: corrupt cluster";
        MEMBER_NOT_FOUND = NotFound "etcdserver: member not found";
        BAD_MEMBER_URLS = InvalidArgument "etcdserver: given member URLs are invalid";
        PEER_URL_EXISTS = FailedPrecondition "etcdserver: Peer URLs already exists";
        // As with too many requests: the code is lost in etcd's own table.
        NOT_ENOUGH_STARTED = Unknown "etcdserver: re-configuration failed due to not enough started members";
        NOT_A_LEARNER = FailedPrecondition "etcdserver: can only promote a learner member";
        VOTE_DISPUTED = FailedPrecondition "etcdserver: the members do not agree about which of them are learners; try again, or remove the learner and add it anew";
        BAD_TRANSFEREE = FailedPrecondition "etcdserver: bad leader transferee";
        MEMBER_EXISTS = FailedPrecondition "etcdserver: member ID already exist";
        TOO_MANY_LEARNERS = FailedPrecondition "etcdserver: too many learner members in cluster";
        LEARNER_NOT_READY = FailedPrecondition "etcdserver: can only promote a learner member which is in sync with leader";
        UNHEALTHY = Unavailable "etcdserver: unhealthy cluster";
        NOT_FOR_LEARNER = Unavailable "etcdserver: rpc not supported for learner";
        TIMEOUT_LEADER_FAIL = Unavailable "etcdserver: request timed out, possibly due to previous leader failure";
        TIMEOUT_CONNECTION_LOST = Unavailable "etcdserver: request timed out, possibly due to connection lost";
        TIMEOUT_LEADER_TRANSFER = Unknown "etcdserver: request timed out, leader transfer took too long";
        NOT_PRIMARY = Unknown "not a primary lessor";
        WRONG_DOWNGRADE_FORMAT = InvalidArgument "etcdserver: wrong downgrade target version format";
        INVALID_DOWNGRADE_TARGET = InvalidArgument "etcdserver: invalid downgrade target version";
        CLUSTER_VERSION_UNAVAILABLE = Unavailable "etcdserver: cluster version not found during downgrade";
        DOWNGRADE_IN_PROCESS = FailedPrecondition "etcdserver: cluster has a downgrade job in progress";
        NO_INFLIGHT_DOWNGRADE = FailedPrecondition "etcdserver: no inflight downgrade job";
        // The services on locks and elections give their errors no code.
        LOCK_SESSION_EXPIRED = Unknown "mutex: session is expired";
        ELECTION_SESSION_EXPIRED = Unknown "election: session is expired";
        ELECTION_NOT_LEADER = Unknown "election: not leader";
        ELECTION_NO_LEADER = Unknown "election: no leader";
        MISSING_LEADER_KEY = Unknown "\"leader\" field must be provided";
        REQUEST_CANCELED = Canceled "context canceled";
        DEADLINE_EXCEEDED = DeadlineExceeded "context deadline exceeded";
    }
}

impl From<mvcc::Error> for Status {
    fn from(error: mvcc::Error) -> Status {
        use errors::*;
        match error {
            mvcc::Error::Compacted => COMPACTED,
            mvcc::Error::FutureRev => FUTURE_REV,
            mvcc::Error::KeyNotFound => KEY_NOT_FOUND,
            mvcc::Error::LeaseNotFound => LEASE_NOT_FOUND,
            mvcc::Error::EmptyKey => EMPTY_KEY,
            mvcc::Error::ValueProvided => VALUE_PROVIDED,
            mvcc::Error::LeaseProvided => LEASE_PROVIDED,
            mvcc::Error::TooManyOps => TOO_MANY_OPS,
            mvcc::Error::DuplicateKey => DUPLICATE_KEY,
            mvcc::Error::InvalidSortOption => INVALID_SORT_OPTION,
            mvcc::Error::StreamSorted => STREAM_SORTED,
            mvcc::Error::StreamFiltered => STREAM_FILTERED,
            other => Status::new(Code::Internal, other.to_string()),
        }
    }
}

impl From<auth::Error> for Status {
    fn from(error: auth::Error) -> Status {
        use auth::Error::*;
        let (code, text) = match error {
            RootUserNotExist => (Code::FailedPrecondition, "root user does not exist"),
            RootRoleNotExist => (
                Code::FailedPrecondition,
                "root user does not have root role",
            ),
            UserAlreadyExist => (Code::FailedPrecondition, "user name already exists"),
            UserEmpty => (Code::InvalidArgument, "user name is empty"),
            UserNotFound => (Code::FailedPrecondition, "user name not found"),
            RoleAlreadyExist => (Code::FailedPrecondition, "role name already exists"),
            RoleNotFound => (Code::FailedPrecondition, "role name not found"),
            RoleEmpty => (Code::InvalidArgument, "role name is empty"),
            PermissionNotGiven => (Code::InvalidArgument, "permission not given"),
            AuthFailed => (
                Code::InvalidArgument,
                "authentication failed, invalid user ID or password",
            ),
            PermissionDenied => (Code::PermissionDenied, "permission denied"),
            RoleNotGranted => (Code::FailedPrecondition, "role is not granted to the user"),
            PermissionNotGranted => (
                Code::FailedPrecondition,
                "permission is not granted to the role",
            ),
            AuthNotEnabled => (Code::FailedPrecondition, "authentication is not enabled"),
            AuthOldRevision => (Code::InvalidArgument, "revision of auth store is old"),
            InvalidAuthToken => (Code::Unauthenticated, "invalid auth token"),
            InvalidAuthMgmt => (Code::InvalidArgument, "invalid auth management"),
            // etcd's table does not have these.
            NoPasswordUser | VerifyOnly | InvalidKey | NameTooLong => {
                return Status::unmapped(error);
            }
        };
        Status::new(code, format!("etcdserver: {text}"))
    }
}

impl From<lease::Error> for Status {
    fn from(error: lease::Error) -> Status {
        use errors::*;
        match error {
            lease::Error::NotFound => LEASE_NOT_FOUND,
            lease::Error::Exists => LEASE_EXISTS,
            lease::Error::TtlTooLarge => LEASE_TTL_TOO_LARGE,
            lease::Error::NotPrimary => NOT_PRIMARY,
            other => Status::new(Code::Unknown, other.to_string()),
        }
    }
}
