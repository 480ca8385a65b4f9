//! The terminal: passwords without echo, and stdout written whole.

use std::io::{self, BufRead, IsTerminal, Write};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::failure::{EXIT_IO, Failure, Outcome};

/// Asks for a password, without showing it when stdin is a terminal; otherwise
/// reads one line of stdin.
pub(crate) fn ask_password(prompt: &str) -> Outcome<String> {
    let failed = |error: io::Error| Failure::new(EXIT_IO, format!("reading the password: {error}"));
    print!("{prompt}");
    io::stdout().flush().map_err(failed)?;
    let stdin = io::stdin();
    let mut line = String::new();
    if stdin.is_terminal() {
        let before = tcgetattr(&stdin).map_err(|error| failed(error.into()))?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Flush, &silent).map_err(|error| failed(error.into()))?;
        let read = stdin.lock().read_line(&mut line);
        // The echo comes back whatever happened to the line.
        let restored = tcsetattr(&stdin, OptionalActions::Flush, &before);
        read.map_err(failed)?;
        restored.map_err(|error| failed(error.into()))?;
    } else {
        stdin.lock().read_line(&mut line).map_err(failed)?;
    }
    println!();
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// The first word of the first line of stdin; empty if there is none.
pub(crate) fn first_word() -> Outcome<String> {
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    read.map_err(|error| Failure::new(EXIT_IO, format!("reading the password: {error}")))?;
    Ok(line
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned())
}

/// Writes to stdout and flushes.
pub(crate) fn print_all(bytes: &[u8]) -> Outcome {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::new(EXIT_IO, format!("writing to stdout: {error}")))
}
