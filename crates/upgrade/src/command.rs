//! The commands of `pintle upgrade` as data, and their help.

use std::fmt::Write as _;

use cli::{
    command::{Body, find},
    flags::{self, Flag, HELP, Kind, Parsed},
};

use crate::{environment, exit};

pub(crate) type Command = cli::command::Command<Action>;

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Check,
    Plan,
    Rehearse,
    Backup,
    Run,
    Rollback,
    Repair,
    Explain,
}

pub(crate) const GLOBAL: &[Flag] = &[Flag::new(
    "write-out",
    Kind::Text,
    "table",
    "how results are written: table or json",
)
.short('w')];

const TARGET: Flag = Flag::new(
    "target",
    Kind::Text,
    "",
    "where the upgrade goes: an etcd version (3.6.14), kubernetes:1.34, or pintle (pintle:3.6 for one line)",
)
.required();

const ENDPOINTS: Flag = Flag::new(
    "endpoints",
    Kind::List,
    "",
    "client URLs of all members, separated by commas",
);
const CLUSTER: Flag = Flag::switch("cluster", "ask all members that the first endpoint lists");
const CACERT: Flag = Flag::new(
    "cacert",
    Kind::Text,
    "",
    "verify certificates of members by this CA bundle",
);
const CERT: Flag = Flag::new("cert", Kind::Text, "", "show this client certificate");
const KEY: Flag = Flag::new("key", Kind::Text, "", "key of the client certificate");
const SKIP_VERIFY: Flag = Flag::switch(
    "insecure-skip-tls-verify",
    "do not verify certificates of members (for tests)",
);
const USER: Flag = Flag::new("user", Kind::Text, "", "log in as user:password");
const PASSWORD: Flag = Flag::new("password", Kind::Text, "", "password, if --user has none");
const DIAL: Flag = Flag::new(
    "dial-timeout",
    Kind::Duration,
    "2s",
    "limit for a connection",
);
const COMMAND: Flag = Flag::new(
    "command-timeout",
    Kind::Duration,
    "5s",
    "limit for one question to a member, streams excluded",
);
const STREAM_RATE: Flag = Flag::new(
    "stream-rate",
    Kind::Uint,
    "16",
    "MiB per second at which databases are streamed from members (0: as fast as they come)",
);
const SCRATCH: Flag = Flag::new(
    "scratch",
    Kind::Text,
    "",
    "folder for the databases that members stream (default: the system's temporary folder)",
);

/// The flags of a command that asks members: its own before and after the `;`, and
/// between them how members are reached.
macro_rules! asking {
    [$($before:expr),*; $($after:expr),* $(,)?] => {
        &[
            $($before,)*
            CACERT, CERT, KEY, SKIP_VERIFY, USER, PASSWORD, DIAL, COMMAND, STREAM_RATE,
            $($after,)*
        ]
    };
}

const DATA_DIR: Flag = Flag::new(
    "data-dir",
    Kind::List,
    "",
    "data directories of members that do not run, or copies of them",
);
const WAL_DIR: Flag = Flag::new(
    "wal-dir",
    Kind::Text,
    "",
    "a WAL directory outside the data directory",
);
const NO_DATABASES: Flag = Flag::switch("no-databases", "do not stream databases from members");
const SNAPSHOT: Flag = Flag::new("snapshot", Kind::List, "", "snapshot or database files");

const CHECK: &[Flag] = asking![
    TARGET,
    ENDPOINTS,
    CLUSTER;
    DATA_DIR,
    WAL_DIR,
    SNAPSHOT,
    SCRATCH,
    NO_DATABASES,
    Flag::switch("no-pages", "do not walk the pages of databases"),
    Flag::new(
        "manifest",
        Kind::Text,
        "",
        "a static pod manifest of etcd, whose flags are checked",
    ),
    Flag::new(
        "kube-manifest",
        Kind::List,
        "",
        "static pod manifests of API servers",
    ),
    Flag::new(
        "image",
        Kind::Text,
        "",
        "the image to be deployed: an archive or an OCI layout, compared with --digest",
    ),
    Flag::new(
        "digest",
        Kind::Text,
        "",
        "the pinned digest of --image, as sha256:...",
    ),
    Flag::new(
        "backup",
        Kind::Text,
        "",
        "the backup to go back to, which is verified",
    ),
    Flag::new(
        "html",
        Kind::Text,
        "",
        "also write the report as a page to this file",
    ),
];

const PLAN: &[Flag] = asking![
    TARGET,
    ENDPOINTS,
    CLUSTER;
    DATA_DIR,
    WAL_DIR,
    SCRATCH,
    NO_DATABASES,
    Flag::new(
        "manifest",
        Kind::Text,
        "",
        "a static pod manifest of etcd: shows it as it must become",
    ),
    Flag::new(
        "available",
        Kind::List,
        "",
        "releases that may be used on the way (default: the newest known of each minor)",
    ),
    ALLOW_LOWER,
    NEW_BUILD,
];

const MEMBERS: Flag = Flag::new(
    "members",
    Kind::Text,
    "",
    "file that names members, their endpoints, and how they are stopped and started",
)
.required();
const STATE: Flag = Flag::new(
    "state",
    Kind::Text,
    "pintle-upgrade",
    "folder of the journal, by which a run continues or goes back",
);
const PATIENCE: Flag = Flag::new(
    "patience",
    Kind::Duration,
    "2m",
    "limit for a member to come back",
);

const DRY_RUN: Flag = Flag::switch("dry-run", "print every action, do none");

/// Lets members go to an older patch of the minor version that they run.
pub(crate) const ALLOW_LOWER: Flag = Flag::switch(
    "allow-lower-patch",
    "let members go to an older patch release than the one they run",
);

/// Puts a new build of the release in that members run.
pub(crate) const NEW_BUILD: Flag = Flag::switch(
    "new-build",
    "put the target in once more where all members run that version: a new build of it",
);

/// Leaves members of other nodes to runs there.
pub(crate) const ONLY_HERE: Flag = Flag::switch(
    "only-this-node",
    "change manifests of this node only, and stop where another node is next",
);

const RUN: &[Flag] = asking![
    TARGET,
    MEMBERS,
    STATE,
    PATIENCE,
    ONLY_HERE,
    Flag::new(
        "others",
        Kind::Duration,
        "1h",
        "limit for members of other nodes to follow, where only some are driven from here",
    );
    SCRATCH,
    ALLOW_LOWER,
    NEW_BUILD,
    DRY_RUN,
];

const ROLLBACK: &[Flag] = asking![
    MEMBERS,
    STATE,
    PATIENCE,
    ONLY_HERE,
    Flag::new(
        "to",
        Kind::Text,
        "",
        "the release that all members ran before, where there is no journal of a run",
    );
    DRY_RUN,
];

const REHEARSE: &[Flag] = &[
    TARGET,
    Flag::new(
        "from",
        Kind::Text,
        "",
        "the release that the cluster runs now",
    )
    .required(),
    DATA_DIR,
    Flag::new(
        "backup",
        Kind::Text,
        "",
        "the backup to rebuild the cluster from, where the directories cannot be reached",
    ),
    Flag::new(
        "binary",
        Kind::List,
        "",
        "binaries as VERSION=PATH, for every release on the way; pintle=PATH for Pintle",
    )
    .required(),
    Flag::new("members-count", Kind::Uint, "3", "members to rebuild"),
    PATIENCE,
    Flag::new(
        "scratch",
        Kind::Text,
        "",
        "folder to rebuild it in (default: the system's temporary folder)",
    ),
];

const BACKUP: &[Flag] = asking![
    ENDPOINTS;
    Flag::new(
        "out",
        Kind::Text,
        "",
        "folder for the backup and its manifest",
    )
    .required(),
];

const REPAIR: &[Flag] = asking![
    DATA_DIR,
    WAL_DIR,
    ENDPOINTS,
    CLUSTER;
    SCRATCH,
    Flag::switch("yes", "carry the changes out, instead of only showing them"),
    Flag::switch("drop-v2", "give up users' keys of API version 2"),
];

/// The name of the commands on images, which `crates/image` reads, and what they do.
pub(crate) const IMAGE: (&str, &str) = ("image", "Compares an image with a pinned digest");

/// All commands.
pub(crate) const COMMANDS: &[Command] = &[
    Command::run(
        "check",
        "--target VERSION (--endpoints ... | --data-dir ... | --snapshot ...)",
        "Reports what blocks an upgrade",
        CHECK,
        Action::Check,
    )
    .long(
        "Looks at every copy of the membership and at everything else that has stranded clusters, and\n\
         predicts what the target does at boot. Online each member streams its own database into a\n\
         temporary file; offline the log is replayed in memory. Nothing is changed.\n\n\
         SAFE needs every check that decides how a start of the target ends. Where one lacks its\n\
         source the verdict is INCOMPLETE, and the report says how the check is made: of a running\n\
         member the log is read too where --data-dir names its directory next to --endpoints.",
    ),
    Command::run(
        "plan",
        "--target VERSION (--endpoints ... | --data-dir ...)",
        "Shows the shortest safe path of versions, step by step",
        PLAN,
        Action::Plan,
    )
    .long(
        "Prints the steps that `run` would carry out. First the checks for the next release are made:\n\
         where one blocks that no step of the plan resolves, there is no plan. Made again after any\n\
         step, or in a cluster where an upgrade was left half done, it shows what is still to do.",
    ),
    Command::run(
        "backup",
        "--endpoints ... --out DIR",
        "Takes a backup and shows that it can be restored",
        BACKUP,
        Action::Backup,
    ),
    Command::run(
        "rehearse",
        "--target VERSION --from VERSION (--data-dir DIR,... | --backup FILE) --binary VERSION=PATH",
        "Walks the plan on a copy of the cluster, on loopback",
        REHEARSE,
        Action::Rehearse,
    )
    .long(
        "Rebuilds the cluster in a scratch folder, starts it with the release it runs now, and walks\n\
         the path to the target with the given binaries, looking after every step. With --data-dir of\n\
         every member (stopped, or copies) it is the cluster as it is, but for addresses: ids, log and\n\
         databases are the same. From a backup it is a new cluster, into whose databases the sick\n\
         records of the backup are planted. It says which was done. Nothing touches the live cluster.",
    ),
    Command::run(
        "run",
        "--target VERSION --members FILE",
        "Carries the plan out, one member at a time",
        RUN,
        Action::Run,
    )
    .long(
        "The file of members is YAML or JSON:\n\n\
         \x20 members:\n\
         \x20   - name: n1\n\
         \x20     endpoint: https://10.0.0.1:2379\n\
         \x20     stop: ssh n1 systemctl stop etcd\n\
         \x20     start: ssh n1 start-etcd $VERSION $EXTRA_FLAGS\n\
         \x20 binaries:            # optional: path for each release, given as $BINARY\n\
         \x20   3.6.14: /opt/etcd-3.6.14/etcd\n\n\
         Commands get MEMBER, VERSION, BINARY and EXTRA_FLAGS. `data_dir` of a member, if it can be\n\
         read from here, says what it can be started with when it does not answer. Where the kubelet runs the members\n\
         (kubeadm), the file names their manifests and the images, each with its digest:\n\n\
         \x20 driver: static-pod\n\
         \x20 members:\n\
         \x20   - name: cp1\n\
         \x20     endpoint: https://10.0.0.1:2379\n\
         \x20     manifest: /etc/kubernetes/manifests/etcd.yaml   # on this node\n\
         \x20   - name: cp2\n\
         \x20     endpoint: https://10.0.0.2:2379\n\
         \x20     manifest: /etc/kubernetes/manifests/etcd.yaml   # where `reach` leads\n\
         \x20     reach: ssh cp2 --                               # runs `sh -s` there\n\
         \x20 images:\n\
         \x20   3.6.14: registry.example/etcd:3.6.14-0@sha256:...\n\n\
         A member without a manifest is left to its own node: the same command is started on every\n\
         node, in a journal of its own, and each waits for the others in the order of their names.\n\
         With --only-this-node it does not wait: it ends where another node is next, says which, and\n\
         continues when it is started again. The manifest as it was is kept under --state with its\n\
         SHA-256, and `rollback` puts it back, byte for byte.\n\n\
         The run stops at the first deviation with the cluster still serving. Killed at any point,\n\
         the same command continues; `pintle upgrade rollback` goes back. A signal ends it where every\n\
         member runs; a second one at once, and then it says which member is stopped.",
    ),
    Command::run(
        "rollback",
        "--members FILE (--state DIR | --to VERSION)",
        "Takes an upgrade back: every member to what it ran before, on the same directory",
        ROLLBACK,
        Action::Rollback,
    )
    .long(
        "The journal under --state says what each member ran. Where there is none, because someone\n\
         else did the upgrade, --to names the release, and what the members answer decides:\n\n\
         \x20 a new binary does not start, or old and new are mixed    binaries back, one by one\n\
         \x20 all new, the cluster version has followed, 3.6 or 3.7    a downgrade, then the same\n\
         \x20 the same, 3.5 or two minor versions down                 stops: the backup, or in steps\n\
         \x20 a corrupt member, an unknown member, no leader           stops: what to do instead\n\n\
         Old raft state is never put back: a directory that was copied before the upgrade must not\n\
         join a cluster that continued without it. Killed at any point, the same command continues.",
    ),
    Command::run(
        "repair",
        "(--data-dir DIR | --endpoints ...) [--yes]",
        "Repairs the membership in the files of stopped members, or in running ones",
        REPAIR,
        Action::Repair,
    )
    .long(
        "Writes the copies of the membership in the database anew from the v2 store and the log, and\n\
         clears the log of what 3.6 and 3.7 cannot read. Shows the changes first; --yes carries them\n\
         out and keeps a copy of every file it changes. Refuses when the truth is not certain. A\n\
         second run finds nothing to do.\n\n\
         With --endpoints of all members of a cluster of 3.5.26 or a later 3.5, the records in their\n\
         databases are written anew while they run: each member that is stale is announced with the\n\
         peer URLs that it has already. Not for members started with ETCD_VERIFY=all: those end\n\
         themselves at any change of the membership while two of their records are stale.",
    ),
    Command::run(
        "explain",
        "[ID... | TEXT]",
        "Explains a check or a prediction: what it means, what etcd does, the fix",
        &[],
        Action::Explain,
    )
    .long(
        "Without an argument it lists all. IDs are those that `check` prints, P4 or B1. TEXT is an\n\
         error that etcd printed, whole or in part, such as \"too many learner members in cluster\"; or\n\
         words to look for. Asks no member and reads no file.",
    ),
];

/// Why a command line is not understood, human-readable.
#[derive(Debug, thiserror::Error)]
#[error("{why}\nRun 'pintle upgrade{command} --help' for usage.")]
pub(crate) struct UsageError {
    why: String,
    /// The command that the line is about, after a space; empty for none.
    command: String,
}

impl UsageError {
    fn new(command: Option<&Command>, why: impl Into<String>) -> UsageError {
        UsageError {
            why: why.into(),
            command: command.map_or(String::new(), |command| format!(" {}", command.name)),
        }
    }
}

/// A command line that was understood.
pub(crate) struct Line {
    pub(crate) action: Option<Action>,
    pub(crate) parsed: Parsed,
    /// The page to show instead.
    pub(crate) page: Option<String>,
}

/// Reads a command line.
pub(crate) fn read(words: &[String]) -> Result<Line, UsageError> {
    let shown = |page| Line {
        action: None,
        parsed: Parsed::default(),
        page: Some(page),
    };
    if words.first().is_some_and(|word| word == "--version") {
        return Ok(shown(version()));
    }
    let words = words.iter().map(|word| word.clone().into_bytes()).collect();
    let found = find("pintle upgrade", COMMANDS, GLOBAL, words)
        .map_err(|why| UsageError::new(None, why))?;
    let own = found.path.last().copied();
    let page = |own| shown(page(own));
    let misread = |why| UsageError::new(own, why);
    let Some(command) = own.filter(|_| !found.asks_help) else {
        return Ok(page(own));
    };
    let known = command.flags.iter().chain(GLOBAL);
    let mut parsed = flags::parse(&found.words, known.clone())
        .map_err(|reason| misread(flags::with_suggestion(reason, known)))?;
    if parsed.bool(HELP) {
        return Ok(page(own));
    }
    environment::supply(command.flags, &mut parsed, environment::value)
        .map_err(|why| misread(why.to_string()))?;
    if let Some(missing) = parsed.missing(command.flags.iter()) {
        return Err(misread(missing));
    }
    let action = match command.body {
        Body::Run(action) => Some(action),
        Body::Group(_) => None,
    };
    if !parsed.args.is_empty() && action != Some(Action::Explain) {
        let words = parsed.words().join(" ");
        return Err(misread(format!(
            "{} takes no arguments, but was given: {words}",
            command.name
        )));
    }
    Ok(Line {
        action,
        parsed,
        page: None,
    })
}

fn version() -> String {
    format!("pintle upgrade {}\n", env!("CARGO_PKG_VERSION"))
}

/// The help page of a command, or of all.
fn page(command: Option<&Command>) -> String {
    let mut out = String::new();
    match command {
        None => {
            out.push_str(
                "Check, plan and run upgrades of an etcd or Pintle cluster.\n\n\
                 Usage: pintle upgrade <COMMAND> [FLAGS]\n\nCommands:\n",
            );
            for command in COMMANDS {
                let _ = writeln!(out, "  {:<8} {}", command.name, command.short);
            }
            let _ = writeln!(out, "  {:<8} {}", IMAGE.0, IMAGE.1);
            out.push_str("\n  pintle upgrade <COMMAND> --help shows the flags of a command.\n\n");
            out.push_str(&exit::page());
        }
        Some(command) => {
            let _ = write!(
                out,
                "{}.\n\nUsage: pintle upgrade {} {}\n\n",
                command.short, command.name, command.args
            );
            if !command.long.is_empty() {
                let _ = write!(out, "{}\n\n", command.long);
            }
            out.push_str("Flags:\n");
            let rows: Vec<(String, &Flag)> = command
                .flags
                .iter()
                .chain(GLOBAL)
                .map(|flag| {
                    let short = flag.short.map_or("    ".to_owned(), |c| format!("-{c}, "));
                    let value = match flag.kind {
                        Kind::Bool => "",
                        Kind::List => " LIST",
                        Kind::Duration => " DURATION",
                        _ => " VALUE",
                    };
                    (format!("  {short}--{}{value}", flag.name), flag)
                })
                .collect();
            let width = rows.iter().map(|(left, _)| left.len()).max().unwrap_or(0);
            for (left, flag) in rows {
                let default = match (flag.kind, flag.default) {
                    (Kind::Bool, _) | (_, "") => String::new(),
                    (_, default) => format!(" (default {default})"),
                };
                let _ = writeln!(out, "{left:width$}  {}{default}", flag.help);
            }
            if command.flags.iter().any(|flag| flag.name == "cacert") {
                out.push_str(
                    "\nThe variables of etcdctl count too: --endpoints as ETCDCTL_ENDPOINTS, --user as\nETCDCTL_USER, and so on for TLS and timeouts.\n",
                );
            }
            let _ = write!(out, "\n{}", exit::page());
        }
    }
    out
}
