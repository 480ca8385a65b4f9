//! The commands of etcdutl as data, and how a command line is read against
//! them: as Go's cobra and pflag do it, since scripts rely on both. Must never
//! run anything before the whole line has been understood.

/// A flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) short: Option<char>,
    pub(crate) kind: Kind,
    pub(crate) default: &'static str,
    pub(crate) required: bool,
    pub(crate) help: &'static str,
}

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Switch,
    Unsigned,
    Signed,
}

const fn flag(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag {
        name,
        short: None,
        kind,
        default,
        required: false,
        help,
    }
}

const fn required(name: &'static str, kind: Kind, help: &'static str) -> Flag {
    Flag {
        name,
        short: None,
        kind,
        default: "",
        required: true,
        help,
    }
}

/// Flags of every command.
pub(crate) const GLOBAL: &[Flag] = &[Flag {
    short: Some('w'),
    ..flag(
        "write-out",
        Kind::Text,
        "simple",
        "set the output format (fields, json, protobuf, simple, table)",
    )
}];

/// A command or a group of commands.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) name: &'static str,
    /// Arguments, as the usage line shows them.
    pub(crate) args: &'static str,
    pub(crate) short: &'static str,
    pub(crate) flags: &'static [Flag],
    pub(crate) body: Body,
}

#[derive(Debug)]
pub(crate) enum Body {
    Group(&'static [Command]),
    Run(Action),
}

/// What a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    CheckDb,
    Defrag,
    HashKv,
    SnapshotStatus,
    SnapshotRestore,
    Version,
}

/// All commands, in the order of the help page.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        name: "check",
        args: "",
        short: "commands for checking properties",
        flags: &[],
        body: Body::Group(&[Command {
            name: "db",
            args: " <filename>",
            short: "Checks the pages of a database or snapshot file",
            flags: &[],
            body: Body::Run(Action::CheckDb),
        }]),
    },
    Command {
        name: "defrag",
        args: "",
        short: "Defragments the storage of the etcd",
        flags: &[required(
            "data-dir",
            Kind::Text,
            "Required. Defragments a data directory not in use by etcd.",
        )],
        body: Body::Run(Action::Defrag),
    },
    Command {
        name: "hashkv",
        args: " <filename>",
        short: "Prints the KV history hash of a given file",
        flags: &[flag(
            "rev",
            Kind::Signed,
            "0",
            "maximum revision to hash (default: latest revision)",
        )],
        body: Body::Run(Action::HashKv),
    },
    Command {
        name: "snapshot",
        args: "",
        short: "Manages etcd node snapshots",
        flags: &[],
        body: Body::Group(&[
            Command {
                name: "restore",
                args: " <filename> --data-dir {output dir} [options]",
                short: "Restores an etcd member snapshot to an etcd directory",
                flags: RESTORE,
                body: Body::Run(Action::SnapshotRestore),
            },
            Command {
                name: "status",
                args: " <filename>",
                short: "Gets backend snapshot status of a given file",
                flags: &[],
                body: Body::Run(Action::SnapshotStatus),
            },
        ]),
    },
    Command {
        name: "version",
        args: "",
        short: "Prints the version of etcdutl",
        flags: &[],
        body: Body::Run(Action::Version),
    },
];

const RESTORE: &[Flag] = &[
    flag(
        "bump-revision",
        Kind::Unsigned,
        "0",
        "How much to increase the latest revision after restore",
    ),
    required("data-dir", Kind::Text, "Path to the output data directory"),
    flag(
        "initial-advertise-peer-urls",
        Kind::Text,
        "http://localhost:2380",
        "List of this member's peer URLs to advertise to the rest of the cluster",
    ),
    flag(
        "initial-cluster",
        Kind::Text,
        "default=http://localhost:2380",
        "Initial cluster configuration for restore bootstrap",
    ),
    flag(
        "initial-cluster-token",
        Kind::Text,
        "etcd-cluster",
        "Initial cluster token for the etcd cluster during restore bootstrap",
    ),
    flag(
        "initial-memory-map-size",
        Kind::Unsigned,
        "10737418240",
        "Initial memory map size of the database in bytes. It uses the default value if not defined or defined to 0",
    ),
    flag(
        "mark-compacted",
        Kind::Switch,
        "false",
        "Mark the latest revision after restore as the point of scheduled compaction (required if --bump-revision > 0, disallowed otherwise)",
    ),
    flag(
        "name",
        Kind::Text,
        "default",
        "Human-readable name for this member",
    ),
    flag(
        "skip-hash-check",
        Kind::Switch,
        "false",
        "Ignore snapshot integrity hash value (required if copied from data directory)",
    ),
    flag(
        "wal-dir",
        Kind::Text,
        "",
        "Path to the WAL directory (use --data-dir if none given)",
    ),
];

/// A command line that was understood.
#[derive(Debug)]
pub(crate) struct Line {
    /// From the group down to the command; empty for the program itself.
    pub(crate) path: Vec<&'static Command>,
    pub(crate) args: Vec<String>,
    values: Vec<(Flag, String)>,
    pub(crate) help: bool,
}

/// A command line that was not understood, and the command it speaks of.
#[derive(Debug)]
pub(crate) struct Misread {
    pub(crate) path: Vec<&'static Command>,
    pub(crate) message: String,
    /// Cobra shows the usage page, except for a command that does not exist.
    pub(crate) show_usage: bool,
}

impl Line {
    /// The value of a flag: the last one given, or its default.
    pub(crate) fn text(&self, name: &str) -> &str {
        let given = self.values.iter().rev().find(|(flag, _)| flag.name == name);
        match given {
            Some((_, value)) => value,
            None => self
                .flags()
                .find(|flag| flag.name == name)
                .map_or("", |flag| flag.default),
        }
    }

    /// The value of a flag that takes a number; checked when it was read.
    pub(crate) fn number<N: std::str::FromStr + Default>(&self, name: &str) -> N {
        self.text(name).parse().unwrap_or_default()
    }

    pub(crate) fn switch(&self, name: &str) -> bool {
        parse_bool(self.text(name)).unwrap_or(false)
    }

    fn flags(&self) -> impl Iterator<Item = &'static Flag> {
        flags_of(&self.path)
    }
}

fn flags_of(path: &[&'static Command]) -> impl Iterator<Item = &'static Flag> + use<> {
    let own = path.last().map_or(&[][..], |command| command.flags);
    own.iter().chain(GLOBAL)
}

/// Reads a command line.
pub(crate) fn read(words: &[String]) -> Result<Line, Misread> {
    let path = find(words);
    let mut line = Line {
        path,
        args: Vec::new(),
        values: Vec::new(),
        help: false,
    };
    let mut names = line.path.len();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let done = if word == "--" {
            line.args.extend(rest.by_ref().cloned());
            Ok(())
        } else if let Some(long) = word.strip_prefix("--") {
            long_flag(&mut line, long, &mut rest)
        } else if word.len() > 1 && word.starts_with('-') {
            short_flags(&mut line, word, &mut rest)
        } else if names > 0 {
            names -= 1;
            Ok(())
        } else {
            line.args.push(word.clone());
            Ok(())
        };
        if let Err(message) = done {
            return Err(Misread {
                path: line.path,
                message,
                show_usage: true,
            });
        }
    }
    if line.help {
        return Ok(line);
    }
    match line.path.last() {
        None => match line.args.first() {
            Some(word) => {
                let message = unknown(word);
                Err(Misread {
                    path: Vec::new(),
                    message,
                    show_usage: false,
                })
            }
            None => Ok(line),
        },
        Some(command) => {
            let missing: Vec<String> = command
                .flags
                .iter()
                .filter(|flag| flag.required && !line.values.iter().any(|(f, _)| f == *flag))
                .map(|flag| format!("{:?}", flag.name))
                .collect();
            if missing.is_empty() {
                return Ok(line);
            }
            let message = format!("required flag(s) {} not set", missing.join(", "));
            Err(Misread {
                path: line.path,
                message,
                show_usage: true,
            })
        }
    }
}

/// The command that the words name, flags and their values set aside.
fn find(words: &[String]) -> Vec<&'static Command> {
    let mut path: Vec<&'static Command> = Vec::new();
    let mut among = COMMANDS;
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        if word == "--" {
            break;
        }
        if word.starts_with('-') {
            // A flag before the command can only be a global one.
            if word == "-w" || word == "--write-out" {
                rest.next();
            }
            continue;
        }
        let Some(command) = among.iter().find(|command| command.name == *word) else {
            break;
        };
        path.push(command);
        match command.body {
            Body::Group(commands) => among = commands,
            Body::Run(_) => break,
        }
    }
    path
}

fn long_flag<'a>(
    line: &mut Line,
    long: &str,
    rest: &mut impl Iterator<Item = &'a String>,
) -> Result<(), String> {
    let (name, value) = match long.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (long, None),
    };
    if name == "help" {
        line.help = value.is_none_or(|value| parse_bool(&value).unwrap_or(true));
        return Ok(());
    }
    let Some(flag) = line.flags().find(|flag| flag.name == name).copied() else {
        return Err(format!("unknown flag: --{name}"));
    };
    let value = match (value, flag.kind) {
        (Some(value), _) => value,
        (None, Kind::Switch) => "true".into(),
        (None, _) => rest
            .next()
            .cloned()
            .ok_or_else(|| format!("flag needs an argument: --{name}"))?,
    };
    set(line, flag, value)
}

fn short_flags<'a>(
    line: &mut Line,
    word: &str,
    rest: &mut impl Iterator<Item = &'a String>,
) -> Result<(), String> {
    let letters = &word[1..];
    let Some(letter) = letters.chars().next() else {
        return Ok(());
    };
    if letter == 'h' {
        line.help = true;
        return Ok(());
    }
    let Some(flag) = line
        .flags()
        .find(|flag| flag.short == Some(letter))
        .copied()
    else {
        return Err(format!("unknown shorthand flag: {letter:?} in {word}"));
    };
    let joined = &letters[letter.len_utf8()..];
    let value = if joined.is_empty() {
        rest.next()
            .cloned()
            .ok_or_else(|| format!("flag needs an argument: {letter:?} in {word}"))?
    } else {
        joined.strip_prefix('=').unwrap_or(joined).to_owned()
    };
    set(line, flag, value)
}

fn set(line: &mut Line, flag: Flag, value: String) -> Result<(), String> {
    let wrong = match flag.kind {
        Kind::Text => None,
        Kind::Switch => parse_bool(&value).is_none().then_some("ParseBool"),
        Kind::Unsigned => value.parse::<u64>().is_err().then_some("ParseUint"),
        Kind::Signed => value.parse::<i64>().is_err().then_some("ParseInt"),
    };
    match wrong {
        None => {
            line.values.push((flag, value));
            Ok(())
        }
        Some(parser) => {
            let Flag { name, .. } = flag;
            Err(format!(
                "invalid argument {value:?} for \"--{name}\" flag: \
                 strconv.{parser}: parsing {value:?}: invalid syntax"
            ))
        }
    }
}

/// The words that Go takes for a truth value.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn unknown(word: &str) -> String {
    let close: String = COMMANDS
        .iter()
        .filter(|command| {
            distance(word, command.name) <= 2 || command.name.starts_with(&word.to_lowercase())
        })
        .map(|command| format!("\t{}\n", command.name))
        .collect();
    let hint = if close.is_empty() {
        String::new()
    } else {
        format!("\n\nDid you mean this?\n{close}")
    };
    format!("unknown command {word:?} for \"etcdutl\"{hint}")
}

/// Edits that turn one word into the other, capitals aside.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(x != y))
                .min(above + 1)
                .min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}
