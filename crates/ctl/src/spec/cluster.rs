//! The commands on members, clusters and their files.

use cli::flags::{Flag, Kind};

use super::action::{Action, Command};

const CLUSTER: Flag = Flag::switch(
    "cluster",
    "ask every member of the cluster, not only --endpoints",
);

pub(super) const ALARM: Command = Command::group(
    "alarm",
    "Alarm related commands",
    &[
        Command::run("disarm", "", "Clears all alarms", &[], Action::AlarmDisarm),
        Command::run("list", "", "Lists the alarms", &[], Action::AlarmList),
    ],
);

pub(super) const DEFRAG: Command = Command::run(
    "defrag",
    "",
    "Gives free space in the members' files back to the disk",
    &[
        CLUSTER,
        Flag::new(
            "data-dir",
            Kind::Text,
            "",
            "a data directory that no member uses, in place of --endpoints (as etcdutl defrag)",
        ),
    ],
    Action::Defrag,
)
.long("A member answers nothing while it defragments: take one after the other.");

pub(super) const ENDPOINT: Command = Command::group(
    "endpoint",
    "Endpoint related commands",
    &[
        Command::run(
            "hashkv",
            "",
            "Prints the hash of the keys and their history, per endpoint",
            &[Flag::new(
                "rev",
                Kind::Int,
                "0",
                "highest revision to hash; 0 for all",
            )],
            Action::EndpointHashKv,
        ),
        Command::run(
            "health",
            "",
            "Checks that each endpoint answers and commits",
            &[],
            Action::EndpointHealth,
        ),
        Command::run(
            "status",
            "",
            "Prints version, size, leader and raft state, per endpoint",
            &[],
            Action::EndpointStatus,
        ),
    ],
)
.flags(&[CLUSTER]);

pub(super) const MOVE_LEADER: Command = Command::run(
    "move-leader",
    "<member id>",
    "Hands leadership to another member",
    &[],
    Action::MoveLeader,
)
.long("The leader must be among --endpoints.");

pub(super) const MEMBER: Command = Command::group("member", "Membership related commands", &[
    Command::run("add", "[options] <member name>", "Adds a member to the cluster", &[
        Flag::switch("learner", "add it as a learner, which has no vote until it is promoted"),
        Flag::new("peer-urls", Kind::Text, "", "peer URLs of the new member, separated by commas"),
    ], Action::MemberAdd)
    .long("Prints the settings with which the new member must be started. Add it first,\nstart it then; in a cluster of one or two nothing commits in between."),
    Command::run("list", "", "Lists the members of the cluster", &[
        Flag::new("consistency", Kind::Text, "l", "l: linearizable, as of now; s: serializable, from the member's own copy"),
    ], Action::MemberList),
    Command::run("promote", "<member id>", "Makes a learner a voting member", &[], Action::MemberPromote),
    Command::run("remove", "<member id>", "Removes a member from the cluster", &[], Action::MemberRemove),
    Command::run("update", "[options] <member id>", "Changes the peer URLs of a member", &[
        Flag::new("peer-urls", Kind::Text, "", "the new peer URLs, separated by commas"),
    ], Action::MemberUpdate),
]);

pub(super) const SNAPSHOT: Command = Command::group("snapshot", "Snapshots of a member's backend", &[
    Command::run("restore", "<filename> [options]", "Makes a data directory from a snapshot (as etcdutl does)", &[], Action::Offline),
    Command::run("save", "<filename>", "Saves the backend of one member to a file", &[], Action::SnapshotSave)
        .long("Writes <filename>.part, checks its SHA-256, syncs it to disk and renames it,\nso that <filename> is either a whole snapshot or not there."),
    Command::run("status", "<filename>", "Prints hash, revision and size of a snapshot file (as etcdutl does)", &[], Action::Offline),
]);

pub(super) const MAKE_MIRROR: Command = Command::run(
    "make-mirror",
    "[options] <destination>",
    "Copies keys to another cluster as they change",
    &[
        Flag::new("dest-cacert", Kind::Text, "", "CA bundle the destination's certificate is verified with"),
        Flag::new("dest-cert", Kind::Text, "", "TLS certificate of the client at the destination"),
        Flag::new("dest-insecure-transport", Kind::Bool, "true", "speak plain text to a destination without a scheme"),
        Flag::new("dest-key", Kind::Text, "", "TLS key of the client at the destination"),
        Flag::new("dest-password", Kind::Text, "", "password of --dest-user, which then holds the name alone"),
        Flag::new("dest-prefix", Kind::Text, "", "prefix at the destination, in place of --prefix"),
        Flag::new("dest-user", Kind::Text, "", "user[:password] at the destination"),
        Flag::new("max-txn-ops", Kind::Uint, "128", "at most this many changes in one transaction at the destination"),
        Flag::switch("no-dest-prefix", "no prefix at the destination"),
        Flag::new("prefix", Kind::Text, "", "copy the keys with this prefix"),
        Flag::new("rev", Kind::Int, "0", "copy only what changes from this revision on; 0 for all keys first"),
    ],
    Action::MakeMirror,
)
.long("Copies what is there, then every change until interrupted; prints the number of\nkeys written every 30 seconds. Leases are not copied.");

const LOAD: Flag = Flag::new(
    "load",
    Kind::Text,
    "s",
    "s(mall), m(edium), l(arge) or xl(arge)",
);
const AUTO_COMPACT: Flag = Flag::switch("auto-compact", "compact when the check is done");
const AUTO_DEFRAG: Flag = Flag::switch(
    "auto-defrag",
    "defragment the endpoints when the check is done",
);

pub(super) const CHECK: Command = Command::group(
    "check",
    "Measures a cluster",
    &[
        Command::run(
            "datascale",
            "[options]",
            "Measures memory for a given amount of data",
            &[
                AUTO_COMPACT,
                AUTO_DEFRAG,
                LOAD,
                Flag::new(
                    "prefix",
                    Kind::Text,
                    "/etcdctl-check-datascale/",
                    "prefix of the keys it writes and deletes",
                ),
            ],
            Action::CheckDatascale,
        )
        .long("Writes to the first of --endpoints and reads that member's /metrics."),
        Command::run(
            "perf",
            "[options]",
            "Measures throughput and latency",
            &[
                AUTO_COMPACT,
                AUTO_DEFRAG,
                LOAD,
                Flag::new(
                    "prefix",
                    Kind::Text,
                    "/etcdctl-check-perf/",
                    "prefix of the keys it writes and deletes",
                ),
            ],
            Action::CheckPerf,
        )
        .long("Writes for a minute at a fixed rate: s 150, m 1000, l 8000, xl 15000 per second."),
    ],
);

pub(super) const LINE: Command = Command::run(
    "line",
    "[set <3.5|3.6|3.7>]",
    "Shows or changes the line of etcd that the members speak (Pintle only)",
    &[],
    Action::Line,
)
.long("Without arguments: the line of each member, the versions of cluster and schema, and what\nkeeps the cluster from the lines above and below.\n`set` takes the cluster to another line while it runs: no member restarts. All members go,\nor none.");

pub(super) const DOWNGRADE: Command = Command::group(
    "downgrade",
    "Downgrade related commands",
    &[
        Command::run(
            "cancel",
            "",
            "Cancels the downgrade under way",
            &[],
            Action::DowngradeCancel,
        ),
        Command::run(
            "enable",
            "<target version>",
            "Starts a downgrade of the cluster",
            &[],
            Action::DowngradeEnable,
        ),
        Command::run(
            "validate",
            "<target version>",
            "Tells whether the cluster could be downgraded",
            &[],
            Action::DowngradeValidate,
        ),
    ],
);
