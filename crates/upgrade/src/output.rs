//! What goes to standard output and standard error.

use std::io::Write as _;

use cli::flags::Parsed;

use crate::failure::{Failure, Outcome};

/// A line for people. A terminal that is gone must not end what is under way.
pub(crate) fn warn(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

pub(crate) fn print(text: &str) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|e| Failure::new(format!("write stdout: {e}")))
}

pub(crate) fn say(text: &str) {
    // A closed stdout must not stop a run half way.
    let _ = print(&format!("{text}\n"));
}

/// Whether `-w json` was asked for.
pub(crate) fn as_json(parsed: &Parsed) -> Outcome<bool> {
    match parsed.text("write-out") {
        "json" => Ok(true),
        "table" | "simple" => Ok(false),
        other => Err(Failure::new(format!(
            "unsupported output format {other:?}; there are table and json"
        ))),
    }
}

/// Columns of the terminal.
pub(crate) fn width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    columns.unwrap_or(100).clamp(60, 160)
}

/// Breaks a text into lines of at most `width` columns less `indent`; a word that
/// is longer is a line of its own.
pub(crate) fn wrap(text: &str, width: usize, indent: usize) -> Vec<String> {
    let room = width.saturating_sub(indent).max(30);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= room {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
