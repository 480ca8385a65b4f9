//! From a command line to an exit code. Must never print an answer and fail.

use std::io::Write;

use cli::{command::Body, completion, flags, help::Program};

use crate::{
    backup, check, command,
    command::{Action, COMMANDS, GLOBAL, Line, Misread, PROGRAM},
    defrag,
    failure::{Failure, Outcome},
    hashkv, migrate, snapshot, v2store,
};

/// The etcd whose etcdutl this is.
const VERSION: &str = "3.5.30";
/// Its API.
const API_VERSION: &str = "3.5";

/// The name that the program was called by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Called {
    /// As etcdutl: everything is as there, and so is what it says twice.
    Etcdutl,
    PintleUtl,
}

impl Called {
    pub(crate) fn by(name: &str) -> Called {
        match name {
            "pintle utl" => Called::PintleUtl,
            _ => Called::Etcdutl,
        }
    }

    fn program(self) -> Program<Action> {
        let name = match self {
            Called::Etcdutl => "etcdutl",
            Called::PintleUtl => "pintle utl",
        };
        Program { name, ..PROGRAM }
    }

    /// A line that was not understood.
    fn refuse(self, misread: Misread) -> Failure {
        let program = self.program();
        let message = misread.message;
        if self == Called::PintleUtl {
            let names: String = misread
                .path
                .iter()
                .map(|c| format!(" {}", c.name))
                .collect();
            let own = misread.path.iter().flat_map(|command| command.flags);
            let message = flags::with_suggestion(message, own.chain(GLOBAL));
            let hint = format!("Run '{}{names} --help' for usage.", program.name);
            return Failure::error(format_args!("{message}\n{hint}"));
        }
        // Cobra says it, shows the usage, and the program says it again.
        let page = match misread.show_usage {
            true => program.usage(&misread.path),
            false => "Run 'etcdutl --help' for usage.".into(),
        };
        Failure {
            before: format!("Error: {message}\n{page}\n"),
            ..Failure::error(message)
        }
    }
}

/// Runs with the arguments after the program's name.
pub(crate) fn run(called: Called, words: &[String]) -> i32 {
    let print = |answer: &str| {
        std::io::stdout()
            .write_all(answer.as_bytes())
            .map_err(|e| Failure::error(format_args!("write stdout: {e}")))
    };
    match answer(called, words).and_then(|answer| print(&answer)) {
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
pub(crate) fn answer(called: Called, words: &[String]) -> Outcome<String> {
    let program = called.program();
    if words.first().is_some_and(|word| word == "--version") {
        return Ok(version());
    }
    let line = match command::read(program.name, words) {
        Ok(line) => line,
        Err(misread) => return Err(called.refuse(misread)),
    };
    if let Some(topic) = &line.no_topic {
        // No answer, but no failure either.
        eprint!("Unknown help topic [`{topic}`]\n{}", program.usage(&[]));
        return Ok(String::new());
    }
    if let Some(message) = line.stray.clone().filter(|_| called == Called::PintleUtl) {
        let (path, show_usage) = (line.path, false);
        return Err(called.refuse(Misread {
            path,
            message,
            show_usage,
        }));
    }
    match line.path.last().map(|command| &command.body) {
        Some(Body::Run(action)) if !line.help => act(*action, &line),
        _ => Ok(program.usage(&line.path)),
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
        Action::Version => Ok(version()),
    }
}

fn version() -> String {
    format!(
        "etcdutl version: {VERSION}\nAPI version: {API_VERSION}\nPintle version: {}\n",
        env!("CARGO_PKG_VERSION")
    )
}
