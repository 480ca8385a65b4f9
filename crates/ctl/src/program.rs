//! From a command line to an exit code: find the command, read its flags, run
//! it, say how it ended.

use std::io::Write;

use crate::{
    endpoint,
    failure::{EXIT_ERROR, EXIT_IO, Failure, Outcome},
    flags::{self, Flag, HELP, Kind, Parsed},
    global::Global,
    help, kv, lease, maintenance, member, snapshot,
    spec::{Action, Body, COMMANDS, Command, GLOBAL},
    txn, watch,
};

/// The version of etcd whose etcdctl this is.
const ETCDCTL_VERSION: &str = "3.5.30";
const API_VERSION: &str = "3.5";
/// A command this close to what was typed is offered, as cobra does.
const SUGGESTION_DISTANCE: usize = 2;

/// Runs the program; errors end up on stderr.
pub(crate) fn run(words: Vec<Vec<u8>>) -> i32 {
    match dispatch(words) {
        Ok(()) => 0,
        Err(failure) => {
            if let Some(message) = failure.message {
                eprintln!("Error: {message}");
            }
            if let Some(hint) = failure.hint {
                eprintln!("{hint}");
            }
            failure.code
        }
    }
}

fn dispatch(mut words: Vec<Vec<u8>>) -> Outcome {
    let path = find(&mut words)?;
    let names: Vec<_> = path.iter().map(|command| command.name).collect();
    let called = ["etcdctl"]
        .iter()
        .chain(&names)
        .copied()
        .collect::<Vec<_>>()
        .join(" ");
    if let Some(Body::NotBuilt(instead)) = path.last().map(|command| &command.body) {
        if words.iter().any(|word| word == b"--help" || word == b"-h") {
            return page(&help::command(&path));
        }
        let message = format!("{called} is not built yet");
        return Err(Failure::new(EXIT_ERROR, message).with_hint(*instead));
    }
    let flags = GLOBAL
        .iter()
        .chain(path.iter().flat_map(|command| command.flags));
    let mut parsed = flags::parse(&words, flags).map_err(|reason| {
        Failure::new(EXIT_ERROR, reason).with_hint(format!("Run '{called} --help' for usage."))
    })?;
    let Some(command) = path.last() else {
        return page(&help::program());
    };
    if parsed.bool(HELP) {
        return page(&help::command(&path));
    }
    match command.body {
        Body::Group(_) | Body::NotBuilt(_) => page(&help::command(&path)),
        Body::Run(action) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| Failure::new(EXIT_ERROR, format!("no runtime: {error}")))?;
            let outcome = runtime.block_on(act(action, &mut parsed));
            // A thread may be blocked on stdin; it must not hold up the end.
            runtime.shutdown_background();
            outcome
        }
    }
}

async fn act(action: Action, parsed: &mut Parsed) -> Outcome {
    match action {
        Action::Version => version(),
        Action::Get => kv::get(parsed).await,
        Action::Put => kv::put(parsed).await,
        Action::Del => kv::del(parsed).await,
        Action::Txn => txn::run(parsed).await,
        Action::Compaction => maintenance::compaction(parsed).await,
        Action::AlarmDisarm => maintenance::alarm_disarm(parsed).await,
        Action::AlarmList => maintenance::alarm_list(parsed).await,
        Action::Defrag => maintenance::defrag(parsed).await,
        Action::EndpointHealth => endpoint::health(parsed).await,
        Action::EndpointStatus => endpoint::status(parsed).await,
        Action::EndpointHashKv => endpoint::hash_kv(parsed).await,
        Action::Watch => watch::run(parsed).await,
        Action::LeaseGrant => lease::grant(parsed).await,
        Action::LeaseRevoke => lease::revoke(parsed).await,
        Action::LeaseTimeToLive => lease::time_to_live(parsed).await,
        Action::LeaseList => lease::list(parsed).await,
        Action::LeaseKeepAlive => lease::keep_alive(parsed).await,
        Action::MemberList => member::list(parsed).await,
        Action::SnapshotSave => snapshot::save(parsed).await,
    }
}

/// Resolves the global flags; the last step before anything is sent.
pub(crate) fn global(parsed: &mut Parsed) -> Outcome<Global> {
    Global::resolve(parsed)
}

fn version() -> Outcome {
    print_all(
        format!(
            "etcdctl version: {ETCDCTL_VERSION}\nAPI version: {API_VERSION}\nPintle version: {}\n",
            env!("CARGO_PKG_VERSION")
        )
        .as_bytes(),
    )
}

fn page(text: &str) -> Outcome {
    print_all(text.as_bytes())
}

/// Writes to stdout and flushes.
pub(crate) fn print_all(bytes: &[u8]) -> Outcome {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::new(EXIT_IO, format!("writing to stdout: {error}")))
}

/// Walks down the commands, taking their names out of `words`.
fn find(words: &mut Vec<Vec<u8>>) -> Outcome<Vec<&'static Command>> {
    let mut path: Vec<&'static Command> = Vec::new();
    let mut choices = COMMANDS;
    let mut asks_help = false;
    loop {
        let flags: Vec<&Flag> = GLOBAL
            .iter()
            .chain(path.iter().flat_map(|command| command.flags))
            .collect();
        let Some(at) = first_argument(words, &flags) else {
            break;
        };
        let name = String::from_utf8_lossy(&words[at]).into_owned();
        if path.is_empty() && name == HELP && !asks_help {
            words.remove(at);
            asks_help = true;
            continue;
        }
        match choose(&name, choices) {
            Some(command) => {
                words.remove(at);
                path.push(command);
                choices = command.children();
                if choices.is_empty() {
                    break;
                }
            }
            None if asks_help && path.is_empty() => {
                eprintln!("Unknown help topic [`{name}`]");
                break;
            }
            None if path.is_empty() => return Err(unknown(&name)),
            // An unknown word in a group shows the group.
            None => break,
        }
    }
    if asks_help {
        words.clear();
        words.push(b"--help".to_vec());
    }
    Ok(path)
}

/// A command by its name or by a beginning that fits it alone.
fn choose(name: &str, choices: &'static [Command]) -> Option<&'static Command> {
    if let Some(exact) = choices.iter().find(|command| command.name == name) {
        return Some(exact);
    }
    let mut fitting = choices
        .iter()
        .filter(|command| command.name.starts_with(name));
    match (fitting.next(), fitting.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

/// The place of the first word that is neither a flag nor a flag's value.
fn first_argument(words: &[Vec<u8>], flags: &[&Flag]) -> Option<usize> {
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let text = String::from_utf8_lossy(word);
        if text == "--" {
            return None;
        }
        let takes_next = if let Some(long) = text.strip_prefix("--") {
            let flag = flags.iter().find(|flag| flag.name == long);
            !long.contains('=') && long != HELP && flag.is_none_or(|f| f.kind != Kind::Bool)
        } else if let Some(short) = text.strip_prefix('-') {
            let mut letters = short.chars();
            match (letters.next(), letters.next()) {
                // A lone dash names no command, as in cobra.
                (None, _) => false,
                (Some('h'), None) => false,
                (Some(letter), None) => flags
                    .iter()
                    .find(|flag| flag.short == Some(letter))
                    .is_none_or(|flag| flag.kind != Kind::Bool),
                _ => false,
            }
        } else {
            return Some(at);
        };
        at += if takes_next { 2 } else { 1 };
    }
    None
}

fn unknown(name: &str) -> Failure {
    let near: Vec<_> = COMMANDS
        .iter()
        .map(|command| command.name)
        .filter(|command| {
            command.starts_with(name) || distance(name, command) <= SUGGESTION_DISTANCE
        })
        .collect();
    let mut message = format!("unknown command \"{name}\" for \"etcdctl\"");
    if !near.is_empty() {
        message += "\n\nDid you mean this?\n\t";
        message += &near.join("\n\t");
        message.push('\n');
    }
    Failure::new(EXIT_ERROR, message).with_hint("Run 'etcdctl --help' for usage.")
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let change = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
