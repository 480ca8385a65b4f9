//! The methods of the API by name: what the metrics count, what the transport finds by a path, and
//! what each of them is like. What they do is in [`crate::api`].

use line::{Feature, Line};

use crate::status::{Code, Status, errors};

macro_rules! methods {
    ($($service:literal { $($variant:ident = $name:literal $kind:ident),* $(,)? })*) => {
        /// A method of the API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Method {
            $($(#[doc = concat!("`/", $service, "/", $name, "`")] $variant,)*)*
        }

        impl Method {
            /// Finds a method by its path, `/<package>.<Service>/<Method>`.
            pub fn of(path: &str) -> Option<Method> {
                Some(match path {
                    $($(concat!("/", $service, "/", $name) => Method::$variant,)*)*
                    _ => return None,
                })
            }

            /// The full path.
            pub fn path(self) -> &'static str {
                match self {
                    $($(Method::$variant => concat!("/", $service, "/", $name),)*)*
                }
            }

            /// `unary`, `server_stream` or `bidi_stream`, as etcd's metrics name the kinds.
            pub fn kind(self) -> &'static str {
                match self {
                    $($(Method::$variant => stringify!($kind),)*)*
                }
            }

            /// True if some method of this service exists.
            pub fn has_service(service: &str) -> bool {
                [$($service),*].contains(&service)
            }

            /// Every method.
            pub const ALL: &'static [Method] = &[$($(Method::$variant,)*)*];
        }
    };
}

methods! {
    "etcdserverpb.KV" {
        Range = "Range" unary,
        RangeStream = "RangeStream" server_stream,
        Put = "Put" unary,
        DeleteRange = "DeleteRange" unary,
        Txn = "Txn" unary,
        Compact = "Compact" unary,
    }
    "etcdserverpb.Watch" {
        Watch = "Watch" bidi_stream,
    }
    "etcdserverpb.Lease" {
        LeaseGrant = "LeaseGrant" unary,
        LeaseRevoke = "LeaseRevoke" unary,
        LeaseKeepAlive = "LeaseKeepAlive" bidi_stream,
        LeaseTimeToLive = "LeaseTimeToLive" unary,
        LeaseLeases = "LeaseLeases" unary,
    }
    "etcdserverpb.Cluster" {
        MemberAdd = "MemberAdd" unary,
        MemberRemove = "MemberRemove" unary,
        MemberUpdate = "MemberUpdate" unary,
        MemberList = "MemberList" unary,
        MemberPromote = "MemberPromote" unary,
    }
    "etcdserverpb.Maintenance" {
        Alarm = "Alarm" unary,
        Status = "Status" unary,
        Defragment = "Defragment" unary,
        Hash = "Hash" unary,
        HashKv = "HashKV" unary,
        Snapshot = "Snapshot" server_stream,
        MoveLeader = "MoveLeader" unary,
        Downgrade = "Downgrade" unary,
    }
    "etcdserverpb.Auth" {
        AuthEnable = "AuthEnable" unary,
        AuthDisable = "AuthDisable" unary,
        AuthStatus = "AuthStatus" unary,
        Authenticate = "Authenticate" unary,
        UserAdd = "UserAdd" unary,
        UserGet = "UserGet" unary,
        UserList = "UserList" unary,
        UserDelete = "UserDelete" unary,
        UserChangePassword = "UserChangePassword" unary,
        UserGrantRole = "UserGrantRole" unary,
        UserRevokeRole = "UserRevokeRole" unary,
        RoleAdd = "RoleAdd" unary,
        RoleGet = "RoleGet" unary,
        RoleList = "RoleList" unary,
        RoleDelete = "RoleDelete" unary,
        RoleGrantPermission = "RoleGrantPermission" unary,
        RoleRevokePermission = "RoleRevokePermission" unary,
    }
    "v3lockpb.Lock" {
        Lock = "Lock" unary,
        Unlock = "Unlock" unary,
    }
    "v3electionpb.Election" {
        Campaign = "Campaign" unary,
        Proclaim = "Proclaim" unary,
        Leader = "Leader" unary,
        Observe = "Observe" server_stream,
        Resign = "Resign" unary,
    }
    "pintlepb.Lines" {
        LinesShow = "Show" unary,
        LinesSet = "Set" unary,
    }
    "grpc.health.v1.Health" {
        HealthCheck = "Check" unary,
        HealthWatch = "Watch" server_stream,
    }
}

impl Method {
    /// Whether members of a line have it.
    pub fn is_in(self, line: Line) -> bool {
        match self {
            Method::RangeStream => line.has(Feature::RangeStream),
            _ => true,
        }
    }

    /// True for what Pintle alone has.
    pub fn is_own(self) -> bool {
        matches!(self, Method::LinesShow | Method::LinesSet)
    }

    /// True if the client sends a stream.
    pub fn streams_requests(self) -> bool {
        matches!(self, Method::Watch | Method::LeaseKeepAlive)
    }

    /// True for the services on locks and elections. etcd serves them through a
    /// client of its own, and on that way its errors lose their codes.
    pub fn loses_codes(self) -> bool {
        matches!(
            self,
            Method::Lock
                | Method::Unlock
                | Method::Campaign
                | Method::Proclaim
                | Method::Leader
                | Method::Observe
                | Method::Resign
        )
    }

    /// How its stream ends when the leader is lost and the client asked for one; `None` if it does
    /// not: what it sends is this member's own and all there, and a backup is wanted most then.
    pub fn without_leader(self) -> Option<Status> {
        match self {
            Method::Snapshot | Method::RangeStream => None,
            Method::HealthWatch => Some(Status::fixed(Code::Canceled, "Stream has ended.")),
            _ => Some(errors::NO_LEADER),
        }
    }

    /// True if the answer waits for other clients, for as long as it takes.
    pub fn waits(self) -> bool {
        matches!(self, Method::Lock | Method::Campaign)
    }
}
