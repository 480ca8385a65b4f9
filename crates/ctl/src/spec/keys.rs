//! The commands on keys and leases.

use cli::flags::{Flag, Kind};

use super::action::{Action, Command};

const PREFIX: Flag = Flag::switch("prefix", "all keys that start with <key>");
const FROM_KEY: Flag = Flag::switch("from-key", "all keys from <key> on, in byte order");

pub(crate) const GET: Command = Command::run(
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
        Flag::new(
            "min-create-rev",
            Kind::Int,
            "0",
            "only keys created at this revision or later",
        ),
        Flag::new(
            "max-create-rev",
            Kind::Int,
            "0",
            "only keys created at this revision or before",
        ),
        Flag::new(
            "min-mod-rev",
            Kind::Int,
            "0",
            "only keys changed at this revision or later",
        ),
        Flag::new(
            "max-mod-rev",
            Kind::Int,
            "0",
            "only keys changed at this revision or before",
        ),
    ],
    Action::Get,
)
.long("With range_end, the keys from <key> up to but not including range_end.");

pub(crate) const PUT: Command = Command::run("put", "[options] <key> [value]", "Writes a key", &[
    Flag::new("lease", Kind::Text, "0", "id of the lease to attach the key to, in hexadecimal"),
    Flag::switch("prev-kv", "print the key and value from before"),
    Flag::switch("ignore-value", "keep the value, change only the lease"),
    Flag::switch("ignore-lease", "keep the lease, change only the value"),
], Action::Put)
.long("Without a value it is read from stdin, to its end:\n    etcdctl put config < config.yaml\nA key or value that starts with a dash goes after two dashes:\n    etcdctl put -- -key -value");

pub(crate) const DEL: Command = Command::run(
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

pub(crate) const WATCH: Command = Command::run("watch", "[options] [key] [range_end] [-- command args...]", "Prints changes of keys as they happen", &[
    Flag::switch("interactive", "read watch and progress commands from stdin").short('i'),
    PREFIX,
    Flag::new("rev", Kind::Int, "0", "start with the events of this revision; 0 for new ones only"),
    Flag::switch("prev-kv", "print the key and value from before each event"),
    Flag::switch("progress-notify", "print the revision reached now and then while nothing happens"),
], Action::Watch)
.long("Without a key it is taken from ETCDCTL_WATCH_KEY (and ETCDCTL_WATCH_RANGE_END).\nWith a command, runs it for each event, with ETCD_WATCH_REVISION,\nETCD_WATCH_EVENT_TYPE, ETCD_WATCH_KEY and ETCD_WATCH_VALUE in its environment.\nA lost connection is resumed at the next endpoint without losing events.\n\nLines of the interactive mode:\n    watch [options] <key> [range_end] [-- command args...]\n    progress");

pub(super) const TXN: Command = Command::run("txn", "[options]", "Runs comparisons and requests from stdin as one transaction", &[
        Flag::switch("interactive", "show what is expected next").short('i'),
    ], Action::Txn)
    .long("Three blocks, each ended by an empty line: comparisons, requests if all hold,\nrequests otherwise.\n    comparison:  <target>(\"<key>\") <op> \"<value>\"\n        target:  c[reate], m[od], ver[sion], val[ue] or lease;  op: =, !=, <, >\n    request:     get, put or del with their options, quoted as in a shell\nExample:\n    mod(\"k\") > \"0\"\n\n    put k \"new\"\n\n    get k\n");

pub(super) const COMPACTION: Command = Command::run(
    "compaction",
    "[options] <revision>",
    "Drops history before a revision",
    &[Flag::switch(
        "physical",
        "wait until the old revisions are gone from disk",
    )],
    Action::Compaction,
);

pub(super) const LEASE: Command = Command::group(
    "lease",
    "Lease related commands",
    &[
        Command::run(
            "grant",
            "<ttl in seconds>",
            "Creates a lease",
            &[],
            Action::LeaseGrant,
        ),
        Command::run(
            "keep-alive",
            "[options] <lease id>",
            "Renews a lease until it ends",
            &[Flag::switch("once", "renew it once and end")],
            Action::LeaseKeepAlive,
        ),
        Command::run("list", "", "Lists the leases", &[], Action::LeaseList),
        Command::run(
            "revoke",
            "<lease id>",
            "Ends a lease and deletes its keys",
            &[],
            Action::LeaseRevoke,
        ),
        Command::run(
            "timetolive",
            "[options] <lease id>",
            "Prints the remaining time of a lease",
            &[Flag::switch("keys", "print the attached keys as well")],
            Action::LeaseTimeToLive,
        ),
    ],
);

pub(super) const LOCK: Command = Command::run(
    "lock",
    "[options] <lock name> [-- command args...]",
    "Acquires a named lock",
    &[Flag::new("ttl", Kind::Int, "10", "seconds after which the lock is free when this program is gone")],
    Action::Lock,
)
.long("Waits for the lock and holds it until interrupted. With a command, runs it under\nthe lock and ends with its exit code; ETCD_LOCK_KEY and ETCD_LOCK_REV are in its\nenvironment. A command with options of its own goes after two dashes.");

pub(super) const ELECT: Command = Command::run(
    "elect",
    "[options] <election name> [proposal]",
    "Takes part in or observes an election",
    &[Flag::switch(
        "listen",
        "print the proposal of each leader instead of standing for election",
    )
    .short('l')],
    Action::Elect,
)
.long("Waits to be elected, prints key and proposal, and leads until interrupted.");
