//! Where the releases of etcd differ in what they check, as data. A member speaks one line; what
//! another line needs is a row here and not a branch elsewhere.

use line::Line;

/// A release of etcd that changed what is checked. Later patch releases of the 3.6 and 3.7 lines
/// follow the same rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    /// 3.5.21, and 3.6.0 in the log.
    V3_5_21,
    /// 3.5.30, 3.6.11.
    V3_5_30,
    /// 3.5.33, 3.6.14, 3.7.1.
    V3_5_33,
}

impl Release {
    /// The one of a line.
    #[must_use]
    pub const fn of(line: Line) -> Release {
        match line {
            Line::V3_5 => Release::V3_5_30,
            Line::V3_6 | Line::V3_7 => Release::V3_5_33,
        }
    }
}

/// What is checked when an entry is applied. Members of one cluster must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Transactions within a transaction are looked into.
    pub checks_nested: bool,
    /// A put in a transaction is checked for its lease and its previous value too.
    pub checks_all_of_puts_in_txn: bool,
}

impl Rules {
    /// The rules of a release.
    #[must_use]
    pub const fn of(release: Release) -> Rules {
        let since_30 = !matches!(release, Release::V3_5_21);
        Rules {
            checks_nested: since_30,
            checks_all_of_puts_in_txn: since_30,
        }
    }
}

/// What a method asks of its caller while authentication is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: whoever can connect may call it.
    Nothing,
    /// A valid user.
    User,
    /// The role root.
    Root,
    /// A valid token if there is one; the service checks the keys that the request names.
    Keys,
    /// A valid token if there is one; the entry is checked when it is applied.
    Entry,
    /// The service is a client of this server: what it calls is checked with the same token.
    Inner,
}

/// A method, by its path, and its need from each release on.
pub struct Method {
    /// `/package.Service/Method`.
    pub path: &'static str,
    needs: [Need; 3],
}

impl Method {
    /// What it asks for in a release.
    #[must_use]
    pub const fn need(&self, release: Release) -> Need {
        self.needs[release as usize]
    }
}

const fn always(path: &'static str, need: Need) -> Method {
    Method {
        path,
        needs: [need; 3],
    }
}

const fn since(path: &'static str, before: Need, at_30: Need, at_33: Need) -> Method {
    Method {
        path,
        needs: [before, at_30, at_33],
    }
}

/// Every method of every service on the client port.
pub const METHODS: &[Method] = {
    use Need::{Entry, Inner, Keys, Nothing, Root, User};
    &[
        always("/etcdserverpb.KV/Range", Keys),
        always("/etcdserverpb.KV/RangeStream", Keys),
        always("/etcdserverpb.KV/Put", Keys),
        always("/etcdserverpb.KV/DeleteRange", Keys),
        always("/etcdserverpb.KV/Txn", Keys),
        since("/etcdserverpb.KV/Compact", Entry, Root, Root),
        always("/etcdserverpb.Watch/Watch", Keys),
        since("/etcdserverpb.Lease/LeaseGrant", Entry, User, User),
        since("/etcdserverpb.Lease/LeaseRevoke", Keys, Keys, Keys),
        since("/etcdserverpb.Lease/LeaseKeepAlive", Nothing, Keys, Keys),
        always("/etcdserverpb.Lease/LeaseTimeToLive", Keys),
        since("/etcdserverpb.Lease/LeaseLeases", Nothing, Keys, Keys),
        always("/etcdserverpb.Cluster/MemberAdd", Root),
        always("/etcdserverpb.Cluster/MemberRemove", Root),
        always("/etcdserverpb.Cluster/MemberUpdate", Root),
        since("/etcdserverpb.Cluster/MemberList", Nothing, User, User),
        always("/etcdserverpb.Cluster/MemberPromote", Root),
        // Listing alarms asks for less, see the service.
        since("/etcdserverpb.Maintenance/Alarm", Entry, Keys, Keys),
        since("/etcdserverpb.Maintenance/Status", Nothing, Root, User),
        always("/etcdserverpb.Maintenance/Defragment", Root),
        always("/etcdserverpb.Maintenance/Hash", Root),
        always("/etcdserverpb.Maintenance/HashKV", Root),
        always("/etcdserverpb.Maintenance/Snapshot", Root),
        since("/etcdserverpb.Maintenance/MoveLeader", Nothing, Root, Root),
        since("/etcdserverpb.Maintenance/Downgrade", Nothing, Root, Root),
        always("/etcdserverpb.Auth/AuthEnable", Entry),
        always("/etcdserverpb.Auth/AuthDisable", Entry),
        always("/etcdserverpb.Auth/AuthStatus", Entry),
        always("/etcdserverpb.Auth/Authenticate", Nothing),
        always("/etcdserverpb.Auth/UserAdd", Entry),
        always("/etcdserverpb.Auth/UserGet", Entry),
        always("/etcdserverpb.Auth/UserList", Entry),
        always("/etcdserverpb.Auth/UserDelete", Entry),
        always("/etcdserverpb.Auth/UserChangePassword", Entry),
        always("/etcdserverpb.Auth/UserGrantRole", Entry),
        always("/etcdserverpb.Auth/UserRevokeRole", Entry),
        always("/etcdserverpb.Auth/RoleAdd", Entry),
        always("/etcdserverpb.Auth/RoleGet", Entry),
        always("/etcdserverpb.Auth/RoleList", Entry),
        always("/etcdserverpb.Auth/RoleDelete", Entry),
        always("/etcdserverpb.Auth/RoleGrantPermission", Entry),
        always("/etcdserverpb.Auth/RoleRevokePermission", Entry),
        always("/v3lockpb.Lock/Lock", Inner),
        always("/v3lockpb.Lock/Unlock", Inner),
        always("/v3electionpb.Election/Campaign", Inner),
        always("/v3electionpb.Election/Proclaim", Inner),
        always("/v3electionpb.Election/Leader", Inner),
        always("/v3electionpb.Election/Observe", Inner),
        always("/v3electionpb.Election/Resign", Inner),
        // Not of etcd: the line of the cluster.
        always("/pintlepb.Lines/Show", Root),
        always("/pintlepb.Lines/Set", Root),
        always("/grpc.health.v1.Health/Check", Nothing),
        always("/grpc.health.v1.Health/Watch", Nothing),
    ]
};

/// The need of a method; `None` for one that is not in the table, which must not be served.
#[must_use]
pub fn need(path: &str, release: Release) -> Option<Need> {
    METHODS
        .iter()
        .find(|method| method.path == path)
        .map(|method| method.need(release))
}
