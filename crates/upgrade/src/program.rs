//! From a command line to an exit code.

use cli::interrupt;
use serde_json::json;

use crate::{
    command, commands, exit,
    failure::Failure,
    output::{self, print, warn},
};

pub(crate) fn run(words: &[String]) -> i32 {
    // A program of its own, with commands and exit codes of its own.
    if let Some((_, words)) = words
        .split_first()
        .filter(|(first, _)| *first == command::IMAGE.0)
    {
        return image::main(words);
    }
    let line = match command::read(words) {
        Ok(line) => line,
        Err(message) => {
            warn(&format!("Error: {message}"));
            return exit::ERROR;
        }
    };
    if let Some(page) = line.page {
        return print(&page).map_or_else(fail, |()| 0);
    }
    if let Err(failure) = output::choose_form(&line.parsed) {
        return fail(failure);
    }
    interrupt::exit_with(exit::INTERRUPTED);
    interrupt::listen();
    let outcome = match line.action {
        Some(action) => commands::run(action, &line.parsed),
        None => Ok(exit::OK),
    };
    outcome.unwrap_or_else(fail)
}

fn fail(failure: Failure) -> i32 {
    warn(&format!("Error: {failure}"));
    if output::lines_are_json() {
        let error = json!({
            "time": output::time(),
            "error": failure.to_string(),
            "exitCode": failure.code(),
        });
        // What cannot be written to is not told so.
        let _ = print(&format!("{error}\n"));
    }
    failure.code()
}
