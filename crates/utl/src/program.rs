//! From a command line to an exit code. Must never print an answer and fail.

use std::io::Write;

use cli::{command::Body, completion};

use crate::{
    backup, check, command,
    command::{Action, COMMANDS, GLOBAL, Line, PROGRAM},
    defrag,
    failure::{Failure, Outcome},
    hashkv, migrate, snapshot, v2store,
};

/// The etcd whose etcdutl this is.
const VERSION: &str = "3.5.30";
/// Its API.
const API_VERSION: &str = "3.5";

/// Runs with the words behind the program's name.
pub(crate) fn run(words: &[String]) -> i32 {
    let print = |answer: &str| {
        std::io::stdout()
            .write_all(answer.as_bytes())
            .map_err(|e| Failure::error(format_args!("write stdout: {e}")))
    };
    match answer(words).and_then(|answer| print(&answer)) {
        Ok(()) => 0,
        Err(failure) => {
            // The failure is the news; a closed stdout adds nothing to it.
            let _ = print(&failure.answer);
            eprintln!("{}Error: {}", failure.before, failure.message);
            failure.code
        }
    }
}

/// What the words are answered by.
pub(crate) fn answer(words: &[String]) -> Outcome<String> {
    let line = match command::read(words) {
        Ok(line) => line,
        Err(misread) => {
            // Cobra says it, shows the usage, and the program says it again.
            let page = match misread.show_usage {
                true => PROGRAM.usage(&misread.path),
                false => "Run 'etcdutl --help' for usage.".into(),
            };
            let before = format!("Error: {}\n{page}\n", misread.message);
            return Err(Failure {
                before,
                ..Failure::error(misread.message)
            });
        }
    };
    if let Some(topic) = &line.no_topic {
        // No answer, but no failure either.
        eprint!("Unknown help topic [`{topic}`]\n{}", PROGRAM.usage(&[]));
        return Ok(String::new());
    }
    match line.path.last().map(|command| &command.body) {
        Some(Body::Run(action)) if !line.help => act(*action, &line),
        _ => Ok(PROGRAM.usage(&line.path)),
    }
}

fn act(action: Action, line: &Line) -> Outcome<String> {
    match action {
        Action::Backup => backup::run(line),
        Action::CheckDb => check::db(line),
        Action::CheckV2Store => v2store::check(line),
        Action::Completion(shell) => {
            Ok(completion::script(shell, "etcdutl", COMMANDS, GLOBAL).unwrap_or_default())
        }
        Action::Defrag => defrag::run(line),
        Action::HashKv => hashkv::run(line),
        Action::Migrate => migrate::run(line),
        Action::SnapshotStatus => snapshot::status::run(line),
        Action::SnapshotRestore => snapshot::restore::run(line),
        Action::Version => Ok(format!(
            "etcdutl version: {VERSION}\nAPI version: {API_VERSION}\nPintle version: {}\n",
            env!("CARGO_PKG_VERSION")
        )),
    }
}
