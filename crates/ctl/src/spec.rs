//! The commands of etcdctl as data: names, arguments, flags, help. The parser,
//! the help pages and the "did you mean" lines all read this table, which
//! stands in the order in which etcdctl registers its commands.

use crate::flags::{Flag, Kind};

/// One command or group of commands.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) name: &'static str,
    /// The arguments, as the usage line shows them.
    pub(crate) args: &'static str,
    /// One line for the list of commands.
    pub(crate) short: &'static str,
    /// What a person wants to know beyond that; may be empty.
    pub(crate) long: &'static str,
    pub(crate) flags: &'static [Flag],
    pub(crate) body: Body,
}

#[derive(Debug)]
pub(crate) enum Body {
    /// Flags of a group are flags of all its commands.
    Group(&'static [Command]),
    Run(Action),
    /// A command of etcdctl that is refused by name. The text says what to
    /// use meanwhile.
    NotBuilt(&'static str),
}

/// The commands that run.
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
    Watch,
    Version,
    LeaseGrant,
    LeaseRevoke,
    LeaseTimeToLive,
    LeaseList,
    LeaseKeepAlive,
    MemberList,
    SnapshotSave,
}

const fn run(
    name: &'static str,
    args: &'static str,
    short: &'static str,
    flags: &'static [Flag],
    action: Action,
) -> Command {
    Command {
        name,
        args,
        short,
        long: "",
        flags,
        body: Body::Run(action),
    }
}

const fn group(name: &'static str, short: &'static str, of: &'static [Command]) -> Command {
    Command {
        name,
        args: "<subcommand>",
        short,
        long: "",
        flags: &[],
        body: Body::Group(of),
    }
}

const fn not_built(name: &'static str, short: &'static str) -> Command {
    Command {
        name,
        args: "",
        short,
        long: "",
        flags: &[],
        body: Body::NotBuilt("use the etcdctl of etcd 3.5 for it meanwhile"),
    }
}

const fn offline(name: &'static str, short: &'static str) -> Command {
    Command {
        body: Body::NotBuilt("it works on files, so it has moved to etcdutl"),
        ..not_built(name, short)
    }
}

impl Command {
    const fn long(mut self, long: &'static str) -> Self {
        self.long = long;
        self
    }

    const fn flags(mut self, flags: &'static [Flag]) -> Self {
        self.flags = flags;
        self
    }

    /// The commands of a group; none for others.
    pub(crate) fn children(&self) -> &'static [Command] {
        match self.body {
            Body::Group(children) => children,
            _ => &[],
        }
    }
}

/// Flags every command takes.
pub(crate) const GLOBAL: &[Flag] = &[
    Flag::new(
        "endpoints",
        Kind::List,
        "127.0.0.1:2379",
        "members to talk to: host:port, http://host:port or unix:///path, separated by commas",
    ),
    Flag::switch("debug", "show the settings in effect on stderr"),
    Flag::new(
        "write-out",
        Kind::Text,
        "simple",
        "output format: simple, json, fields, table or protobuf",
    )
    .short('w'),
    Flag::switch(
        "hex",
        "print keys and values (and member ids in JSON) in hexadecimal",
    ),
    Flag::new(
        "dial-timeout",
        Kind::Duration,
        "2s",
        "limit for opening one connection",
    ),
    Flag::new(
        "command-timeout",
        Kind::Duration,
        "5s",
        "limit for a command; streams (watch, keep-alive, snapshot) are not limited",
    ),
    Flag::new(
        "keepalive-time",
        Kind::Duration,
        "2s",
        "interval of connection pings",
    ),
    Flag::new(
        "keepalive-timeout",
        Kind::Duration,
        "6s",
        "how long a ping may stay unanswered",
    ),
    Flag::new(
        "insecure-transport",
        Kind::Bool,
        "true",
        "speak plain text to endpoints without a scheme",
    ),
    Flag::new(
        "insecure-discovery",
        Kind::Bool,
        "true",
        "accept SRV records that name plain text endpoints",
    ),
    Flag::switch(
        "insecure-skip-tls-verify",
        "do not verify the server's certificate",
    ),
    Flag::new("cert", Kind::Text, "", "TLS certificate of the client"),
    Flag::new("key", Kind::Text, "", "TLS key of the client"),
    Flag::new(
        "cacert",
        Kind::Text,
        "",
        "CA bundle the server's certificate is verified with",
    ),
    Flag::new(
        "user",
        Kind::Text,
        "",
        "user[:password]; asks for the password when it is left out",
    ),
    Flag::new(
        "password",
        Kind::Text,
        "",
        "password of --user, which then holds the name alone",
    ),
    Flag::new(
        "discovery-srv",
        Kind::Text,
        "",
        "domain whose SRV records name the endpoints",
    )
    .short('d'),
    Flag::new(
        "discovery-srv-name",
        Kind::Text,
        "",
        "service name within --discovery-srv",
    ),
];

const PREFIX: Flag = Flag::switch("prefix", "all keys that start with <key>");
const FROM_KEY: Flag = Flag::switch("from-key", "all keys from <key> on, in byte order");
const CLUSTER: Flag = Flag::switch(
    "cluster",
    "ask every member of the cluster, not only --endpoints",
);

pub(crate) const GET: Command = run(
    "get",
    "<key> [range_end]",
    "Gets the key or a range of keys",
    &[
        Flag::new(
            "consistency",
            Kind::Text,
            "l",
            "l: linearizable, as of now; s: serializable, from the member's own copy",
        ),
        Flag::new("order", Kind::Text, "", "ASCEND or DESCEND"),
        Flag::new(
            "sort-by",
            Kind::Text,
            "",
            "CREATE, KEY, MODIFY, VALUE or VERSION",
        ),
        Flag::new("limit", Kind::Int, "0", "at most this many keys; 0 for all"),
        PREFIX,
        FROM_KEY,
        Flag::new(
            "rev",
            Kind::Int,
            "0",
            "read the store as of this revision; 0 for now",
        ),
        Flag::switch("keys-only", "leave the values out"),
        Flag::switch(
            "count-only",
            "only the number of keys (with --write-out=fields)",
        ),
        Flag::switch(
            "print-value-only",
            "print values without keys (with the simple format)",
        ),
    ],
    Action::Get,
)
.long("With range_end, the keys from <key> up to but not including range_end.");

pub(crate) const PUT: Command = run("put", "[options] <key> [value]", "Writes a key", &[
    Flag::new("lease", Kind::Text, "0", "id of the lease to attach the key to, in hexadecimal"),
    Flag::switch("prev-kv", "print the key and value from before"),
    Flag::switch("ignore-value", "keep the value, change only the lease"),
    Flag::switch("ignore-lease", "keep the lease, change only the value"),
], Action::Put)
.long("Without a value it is read from stdin, to its end:\n    etcdctl put config < config.yaml\nA key or value that starts with a dash goes behind two dashes:\n    etcdctl put -- -key -value");

pub(crate) const DEL: Command = run(
    "del",
    "[options] <key> [range_end]",
    "Deletes the key or a range of keys",
    &[
        PREFIX,
        Flag::switch("prev-kv", "print the deleted keys and values"),
        FROM_KEY,
        Flag::switch("range", "confirm that two arguments are meant as a range"),
    ],
    Action::Del,
)
.long("With range_end, deletes the keys from <key> up to but not including range_end.");

pub(crate) const WATCH: Command = run("watch", "[options] [key] [range_end] [-- command args...]", "Prints changes of keys as they happen", &[
    Flag::switch("interactive", "read watch and progress commands from stdin").short('i'),
    PREFIX,
    Flag::new("rev", Kind::Int, "0", "start with the events of this revision; 0 for new ones only"),
    Flag::switch("prev-kv", "print the key and value from before each event"),
    Flag::switch("progress-notify", "print the revision reached now and then while nothing happens"),
], Action::Watch)
.long("Without a key it is taken from ETCDCTL_WATCH_KEY (and ETCDCTL_WATCH_RANGE_END).\nWith a command, runs it for each event, with ETCD_WATCH_REVISION,\nETCD_WATCH_EVENT_TYPE, ETCD_WATCH_KEY and ETCD_WATCH_VALUE in its environment.\nA lost connection is resumed at the next endpoint without losing events.\n\nLines of the interactive mode:\n    watch [options] <key> [range_end] [-- command args...]\n    progress");

/// All commands, in etcdctl's order.
pub(crate) const COMMANDS: &[Command] = &[
    GET,
    PUT,
    DEL,
    run("txn", "[options]", "Runs comparisons and requests from stdin as one transaction", &[
        Flag::switch("interactive", "show what is expected next").short('i'),
    ], Action::Txn)
    .long("Three blocks, each ended by an empty line: comparisons, requests if all hold,\nrequests otherwise.\n    comparison:  <target>(\"<key>\") <op> \"<value>\"\n        target:  c[reate], m[od], ver[sion], val[ue] or lease;  op: =, !=, <, >\n    request:     get, put or del with their options, quoted as in a shell\nExample:\n    mod(\"k\") > \"0\"\n\n    put k \"new\"\n\n    get k\n"),
    run("compaction", "[options] <revision>", "Drops history before a revision", &[
        Flag::switch("physical", "wait until the old revisions are gone from disk"),
    ], Action::Compaction),
    group("alarm", "Alarm related commands", &[
        run("disarm", "", "Clears all alarms", &[], Action::AlarmDisarm),
        run("list", "", "Lists the alarms", &[], Action::AlarmList),
    ]),
    run("defrag", "", "Gives free space in the members' files back to the disk", &[
        CLUSTER,
        Flag::new("data-dir", Kind::Text, "", "(moved to etcdutl defrag)"),
    ], Action::Defrag)
    .long("A member answers nothing while it defragments: take one after the other."),
    group("endpoint", "Endpoint related commands", &[
        run("hashkv", "", "Prints the hash of the keys and their history, per endpoint", &[
            Flag::new("rev", Kind::Int, "0", "highest revision to hash; 0 for all"),
        ], Action::EndpointHashKv),
        run("health", "", "Checks that each endpoint answers and commits", &[], Action::EndpointHealth),
        run("status", "", "Prints version, size, leader and raft state, per endpoint", &[], Action::EndpointStatus),
    ])
    .flags(&[CLUSTER]),
    not_built("move-leader", "Hands leadership to another member"),
    WATCH,
    run("version", "", "Prints the version of etcdctl", &[], Action::Version),
    group("lease", "Lease related commands", &[
        run("grant", "<ttl in seconds>", "Creates a lease", &[], Action::LeaseGrant),
        run("keep-alive", "[options] <lease id>", "Renews a lease until it ends", &[
            Flag::switch("once", "renew it once and end"),
        ], Action::LeaseKeepAlive),
        run("list", "", "Lists the leases", &[], Action::LeaseList),
        run("revoke", "<lease id>", "Ends a lease and deletes its keys", &[], Action::LeaseRevoke),
        run("timetolive", "[options] <lease id>", "Prints the remaining time of a lease", &[
            Flag::switch("keys", "print the attached keys as well"),
        ], Action::LeaseTimeToLive),
    ]),
    group("member", "Membership related commands", &[
        not_built("add", "Adds a member to the cluster"),
        run("list", "", "Lists the members of the cluster", &[], Action::MemberList),
        not_built("promote", "Makes a learner a voting member"),
        not_built("remove", "Removes a member from the cluster"),
        not_built("update", "Changes the peer URLs of a member"),
    ]),
    group("snapshot", "Snapshots of a member's backend", &[
        offline("restore", "Makes a data directory from a snapshot (in etcdutl)"),
        run("save", "<filename>", "Saves the backend of one member to a file", &[], Action::SnapshotSave)
            .long("Writes <filename>.part, checks its SHA-256, syncs it to disk and renames it,\nso that <filename> is either a whole snapshot or not there."),
        offline("status", "Prints hash, revision and size of a snapshot file (in etcdutl)"),
    ]),
    not_built("make-mirror", "Copies keys to another cluster as they change"),
    not_built("lock", "Acquires a named lock"),
    not_built("elect", "Takes part in or observes an election"),
    group("auth", "Enables or disables authentication", &[
        not_built("disable", "Disables authentication"),
        not_built("enable", "Enables authentication"),
        not_built("status", "Prints whether authentication is on"),
    ]),
    group("user", "User related commands", &[
        not_built("add", "Adds a user"),
        not_built("delete", "Deletes a user"),
        not_built("get", "Prints the roles of a user"),
        not_built("grant-role", "Grants a role to a user"),
        not_built("list", "Lists the users"),
        not_built("passwd", "Changes the password of a user"),
        not_built("revoke-role", "Takes a role from a user"),
    ]),
    group("role", "Role related commands", &[
        not_built("add", "Adds a role"),
        not_built("delete", "Deletes a role"),
        not_built("get", "Prints the permissions of a role"),
        not_built("grant-permission", "Grants keys to a role"),
        not_built("list", "Lists the roles"),
        not_built("revoke-permission", "Takes keys from a role"),
    ]),
    group("check", "Measures a cluster", &[
        not_built("datascale", "Measures memory for a given amount of data"),
        not_built("perf", "Measures throughput and latency"),
    ]),
    not_built("completion", "Writes a completion script for a shell"),
];
