//! The commands of etcdutl as data, and what a line asks of them. Must never
//! run anything before the whole line has been understood.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};

use cli::{
    command::{Body, find},
    completion::SHELLS,
    flags::{self, Flag, HELP, Kind, Parsed},
    help::Program,
};

use crate::failure::{Failure, Outcome};

/// One command or group of commands of etcdutl.
pub(crate) type Command = cli::command::Command<Action>;

/// Flags of every command.
pub(crate) const GLOBAL: &[Flag] = &[Flag::new(
    "write-out",
    Kind::Text,
    "simple",
    "set the output format (fields, json, protobuf, simple, table)",
)
.short('w')];

/// The program, as its usage pages show it.
pub(crate) const PROGRAM: Program<Action> = Program {
    name: "etcdutl",
    commands: COMMANDS,
    global: GLOBAL,
};

/// What a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Backup,
    CheckDb,
    CheckV2Store,
    Completion(&'static str),
    Defrag,
    HashKv,
    Migrate,
    SnapshotStatus,
    SnapshotRestore,
    Version,
}

/// All commands, in the order of the help page.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        name: "backup",
        args: "",
        short: "[legacy] offline backup of etcd directory",
        long: "Prefer: `etcdctl snapshot save` instead.",
        flags: BACKUP,
        body: Body::Run(Action::Backup),
    },
    Command {
        name: "check",
        args: "",
        short: "commands for checking properties",
        long: "",
        flags: &[],
        body: Body::Group(&[
            Command::run(
                "db",
                "<filename>",
                "Checks the pages of a database or snapshot file",
                &[],
                Action::CheckDb,
            ),
            Command::run(
                "v2store",
                "",
                "Check custom content in v2store",
                V2_STORE,
                Action::CheckV2Store,
            ),
        ]),
    },
    Command::group(
        "completion",
        "Generate the autocompletion script for the specified shell",
        &{
            const fn shell(at: usize) -> Command {
                let (name, short) = SHELLS[at];
                Command::run(name, "", short, NO_DESCRIPTIONS, Action::Completion(name))
            }
            [shell(0), shell(1), shell(2), shell(3)]
        },
    ),
    Command {
        name: "defrag",
        args: "",
        short: "Defragments the storage of the etcd",
        long: "",
        flags: &[Flag::new(
            "data-dir",
            Kind::Text,
            "",
            "Required. Defragments a data directory not in use by etcd.",
        )
        .required()],
        body: Body::Run(Action::Defrag),
    },
    Command {
        name: "hashkv",
        args: "<filename>",
        short: "Prints the KV history hash of a given file",
        long: "",
        flags: &[Flag::new(
            "rev",
            Kind::Int,
            "0",
            "maximum revision to hash (default: latest revision)",
        )],
        body: Body::Run(Action::HashKv),
    },
    Command::run(
        "migrate",
        "",
        "Migrates schema of etcd data dir files to make them compatible with different etcd version",
        MIGRATE,
        Action::Migrate,
    ),
    Command {
        name: "snapshot",
        args: "",
        short: "Manages etcd node snapshots",
        long: "",
        flags: &[],
        body: Body::Group(&[
            Command {
                name: "restore",
                args: "<filename> --data-dir {output dir} [options]",
                short: "Restores an etcd member snapshot to an etcd directory",
                long: "",
                flags: RESTORE,
                body: Body::Run(Action::SnapshotRestore),
            },
            Command {
                name: "status",
                args: "<filename>",
                short: "Gets backend snapshot status of a given file",
                long: "",
                flags: &[],
                body: Body::Run(Action::SnapshotStatus),
            },
        ]),
    },
    Command {
        name: "version",
        args: "",
        short: "Prints the version of etcdutl",
        long: "",
        flags: &[],
        body: Body::Run(Action::Version),
    },
];

const BACKUP: &[Flag] = &[
    Flag::new("backup-dir", Kind::Text, "", "Path to the backup dir").required(),
    Flag::new(
        "backup-wal-dir",
        Kind::Text,
        "",
        "Path to the backup wal dir",
    ),
    Flag::new("data-dir", Kind::Text, "", "Path to the etcd data dir").required(),
    Flag::new("wal-dir", Kind::Text, "", "Path to the etcd wal dir"),
    Flag::new("with-v3", Kind::Bool, "true", "Backup v3 backend data"),
];

const V2_STORE: &[Flag] = &[
    Flag::new(
        "data-dir",
        Kind::Text,
        "",
        "Required. A data directory not in use by etcd.",
    )
    .required(),
    Flag::new(
        "wal-dir",
        Kind::Text,
        "",
        "Optional. A dedicated WAL directory.",
    ),
];

const MIGRATE: &[Flag] = &[
    Flag::new("data-dir", Kind::Text, "", "Path to the etcd data dir").required(),
    Flag::switch(
        "force",
        "Ignore migration failure and forcefully override storage version. Not recommended.",
    ),
    Flag::new(
        "target-version",
        Kind::Text,
        "",
        "Target etcd version to migrate contents of data dir. Minimal value 3.5. Format \"X.Y\" for example 3.6.",
    )
    .required(),
];

const RESTORE: &[Flag] = &[
    Flag::new(
        "bump-revision",
        Kind::Uint,
        "0",
        "How much to increase the latest revision after restore",
    ),
    Flag::new(
        "data-dir",
        Kind::Text,
        "",
        "Path to the output data directory",
    )
    .required(),
    Flag::new(
        "initial-advertise-peer-urls",
        Kind::Text,
        "http://localhost:2380",
        "List of this member's peer URLs to advertise to the rest of the cluster",
    ),
    Flag::new(
        "initial-cluster",
        Kind::Text,
        "default=http://localhost:2380",
        "Initial cluster configuration for restore bootstrap",
    ),
    Flag::new(
        "initial-cluster-token",
        Kind::Text,
        "etcd-cluster",
        "Initial cluster token for the etcd cluster during restore bootstrap",
    ),
    Flag::new(
        "initial-memory-map-size",
        Kind::Uint,
        "10737418240",
        "Initial memory map size of the database in bytes. It uses the default value if not defined or defined to 0",
    ),
    Flag::new(
        "mark-compacted",
        Kind::Bool,
        "false",
        "Mark the latest revision after restore as the point of scheduled compaction (required if --bump-revision > 0, disallowed otherwise)",
    ),
    Flag::new(
        "name",
        Kind::Text,
        "default",
        "Human-readable name for this member",
    ),
    Flag::new(
        "skip-hash-check",
        Kind::Bool,
        "false",
        "Ignore snapshot integrity hash value (required if copied from data directory)",
    ),
    Flag::new(
        "wal-dir",
        Kind::Text,
        "",
        "Path to the WAL directory (use --data-dir if none given)",
    ),
];

const NO_DESCRIPTIONS: &[Flag] = &[Flag::switch(
    "no-descriptions",
    "disable completion descriptions",
)];

/// A command line that was understood.
#[derive(Debug)]
pub(crate) struct Line {
    /// From the group down to the command; empty for the program itself.
    pub(crate) path: Vec<&'static Command>,
    pub(crate) parsed: Parsed,
    /// Whether it asks for the page of the path, and not for the command.
    pub(crate) help: bool,
    /// A word after `help` that names no command.
    pub(crate) no_topic: Option<String>,
    /// What is wrong with a word that names no command of its group.
    pub(crate) stray: Option<String>,
}

/// A command line that was not understood, and the command that it names.
#[derive(Debug)]
pub(crate) struct Misread {
    pub(crate) path: Vec<&'static Command>,
    pub(crate) message: String,
    /// Cobra shows the usage page, except for a command that does not exist.
    pub(crate) show_usage: bool,
}

/// Reads a command line.
pub(crate) fn read(program: &str, words: &[String]) -> Result<Line, Misread> {
    let words = words.iter().map(|word| word.clone().into_bytes()).collect();
    let found = find(program, COMMANDS, GLOBAL, words).map_err(|message| Misread {
        path: Vec::new(),
        message,
        show_usage: false,
    })?;
    let path = found.path;
    let own = path.last().map_or(&[][..], |command| command.flags);
    let mut line = Line {
        path,
        parsed: Parsed::default(),
        help: found.asks_help,
        no_topic: found.no_topic,
        stray: found.stray,
    };
    if line.help {
        return Ok(line);
    }
    let misread = |path, message| Misread {
        path,
        message,
        show_usage: true,
    };
    match flags::parse(&found.words, own.iter().chain(GLOBAL)) {
        Ok(parsed) => line.parsed = parsed,
        Err(message) => return Err(misread(line.path, message)),
    }
    line.help = line.parsed.bool(HELP);
    match line.parsed.missing(own.iter()) {
        Some(message) if !line.help => Err(misread(line.path, message)),
        _ => Ok(line),
    }
}

/// The one argument that a command takes.
pub(crate) fn one_argument<'a>(line: &'a Line, command: &str) -> Outcome<&'a Path> {
    match &line.parsed.args[..] {
        [one] => Ok(Path::new(OsStr::from_bytes(one))),
        _ => Err(Failure::arguments(format_args!(
            "{command} requires exactly one argument"
        ))),
    }
}
