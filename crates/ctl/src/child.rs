//! A command that runs on behalf of `watch` or `lock`. It inherits stdout and
//! stderr, and reads nothing.

use std::{
    ffi::OsStr,
    io,
    os::unix::{ffi::OsStrExt, process::ExitStatusExt},
    process::{Command, ExitStatus, Stdio},
};

use cli::text::quote;

/// What a shell reports for a program that was killed.
const EXIT_KILLED: i32 = 255;

/// The signals programs end by, as Go names them.
const SIGNALS: [(i32, &str); 8] = [
    (1, "hangup"),
    (2, "interrupt"),
    (3, "quit"),
    (6, "aborted"),
    (9, "killed"),
    (11, "segmentation fault"),
    (13, "broken pipe"),
    (15, "terminated"),
];

/// How a command failed.
pub(crate) struct Trouble {
    /// Its exit code, if it ran.
    pub(crate) code: Option<i32>,
    /// For a person.
    pub(crate) why: String,
}

/// Runs `words` with these variables set and waits for its end; blocks.
pub(crate) fn run(words: &[Vec<u8>], env: &[(&str, String)]) -> Result<(), Trouble> {
    let [program, args @ ..] = words else {
        return Ok(());
    };
    let status = Command::new(OsStr::from_bytes(program))
        .args(args.iter().map(|arg| OsStr::from_bytes(arg)))
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Trouble {
            code: Some(status.code().unwrap_or(EXIT_KILLED)),
            why: exit_text(status),
        }),
        Err(error) => Err(Trouble {
            code: None,
            why: match error.kind() {
                io::ErrorKind::NotFound => format!(
                    "exec: {}: executable file not found in $PATH",
                    quote(program)
                ),
                _ => error.to_string(),
            },
        }),
    }
}

fn exit_text(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => match SIGNALS.iter().find(|(number, _)| *number == signal) {
            Some((_, name)) => format!("signal: {name}"),
            None => format!("signal: {signal}"),
        },
        (None, None) => status.to_string(),
    }
}
