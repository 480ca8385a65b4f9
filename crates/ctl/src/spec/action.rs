//! What the commands of etcdctl do, one action each.

/// One command or group of commands of etcdctl.
pub(crate) type Command = cli::command::Command<Action>;

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Get,
    Put,
    Del,
    Txn,
    Compaction,
    AlarmDisarm,
    AlarmList,
    Defrag,
    EndpointHealth,
    EndpointStatus,
    EndpointHashKv,
    MoveLeader,
    Watch,
    Version,
    LeaseGrant,
    LeaseRevoke,
    LeaseTimeToLive,
    LeaseList,
    LeaseKeepAlive,
    MemberAdd,
    MemberRemove,
    MemberUpdate,
    MemberList,
    MemberPromote,
    SnapshotSave,
    /// A command on files: etcdutl runs it, under the same names.
    Offline,
    MakeMirror,
    Lock,
    Elect,
    AuthEnable,
    AuthDisable,
    AuthStatus,
    UserAdd,
    UserDelete,
    UserGet,
    UserList,
    UserPasswd,
    UserGrantRole,
    UserRevokeRole,
    RoleAdd,
    RoleDelete,
    RoleGet,
    RoleList,
    RoleGrantPermission,
    RoleRevokePermission,
    CheckPerf,
    CheckDatascale,
    DowngradeValidate,
    DowngradeEnable,
    DowngradeCancel,
    /// The line of the cluster: Pintle's own.
    Line,
    /// The completion script for this shell.
    Completion(&'static str),
}
