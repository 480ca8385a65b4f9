//! From a command line to an exit code: find the command, read its flags, run it.

use std::io::Write as _;

use cli::{
    command::{Body, find},
    flags::{self, HELP},
};

use crate::{
    command::{Action, COMMANDS},
    gateway, grpc, help,
};

/// Whether a command line of the server names a proxy.
pub fn is_proxy(args: &[String]) -> bool {
    let first = args.first().map(String::as_str);
    first.is_some_and(|first| COMMANDS.iter().any(|command| command.name == first))
}

/// Runs a proxy with these arguments, its name first; returns the process's exit code.
pub fn main(args: &[String]) -> i32 {
    let words = args.iter().map(|word| word.clone().into_bytes()).collect();
    let found = match find("etcd", COMMANDS, &[], words) {
        Ok(found) => found,
        Err(message) => return refuse(&message, ""),
    };
    let own = found.path.iter().flat_map(|command| command.flags);
    let parsed = match flags::parse(&found.words, own) {
        Ok(parsed) => parsed,
        Err(message) => return refuse(&message, &help::usage(&found.path)),
    };
    match found.path.last().map(|command| &command.body) {
        Some(Body::Run(action)) if !parsed.bool(HELP) => match action {
            Action::Gateway => gateway::start(&parsed),
            Action::GrpcProxy => grpc::start(&parsed),
        },
        _ => print(&help::page(&found.path)),
    }
}

/// cobra reports a mistake, shows the usage, and etcd reports it again.
fn refuse(message: &str, usage: &str) -> i32 {
    eprint!("Error: {message}\n{usage}\n{message}");
    1
}

/// Writes to standard output; a reader that has seen enough is no failure.
fn print(text: &str) -> i32 {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => 1,
        _ => 0,
    }
}
