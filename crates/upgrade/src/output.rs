//! What goes to standard output and standard error.

use std::{
    io::Write,
    sync::atomic::{AtomicBool, Ordering},
};

use cli::flags::Parsed;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    failure::{Failure, Outcome},
    next_command::Next,
};

/// A line for people. A terminal that is gone must not end what is under way.
pub(crate) fn warn(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

pub(crate) fn print(text: &str) -> Outcome<()> {
    write(&mut std::io::stdout().lock(), text)
        .map_err(|e| Failure::new(format!("write stdout: {e}")))
}

fn write(out: &mut impl Write, text: &str) -> std::io::Result<()> {
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// The largest number that every reader of JSON has exactly: 2^53.
const EXACT_MAX: u64 = 1 << 53;

/// A value as one line of JSON. Numbers that some readers would round are strings.
pub(crate) fn json_line(mut value: Value) -> String {
    let mut open = vec![&mut value];
    while let Some(value) = open.pop() {
        match value {
            Value::Array(list) => open.extend(list),
            Value::Object(fields) => open.extend(fields.values_mut()),
            Value::Number(number) => {
                let size = number.as_u64().or(number.as_i64().map(i64::unsigned_abs));
                if size.is_some_and(|size| size > EXACT_MAX) {
                    *value = Value::String(number.to_string());
                }
            }
            _ => {}
        }
    }
    format!("{value}\n")
}

/// Whether lines of progress are JSON objects; set once, from the command line.
static LINES_AS_JSON: AtomicBool = AtomicBool::new(false);

/// Reads `-w` for the lines that a command will say.
pub(crate) fn choose_form(parsed: &Parsed) -> Outcome<()> {
    LINES_AS_JSON.store(as_json(parsed)?, Ordering::Relaxed);
    Ok(())
}

pub(crate) fn lines_are_json() -> bool {
    LINES_AS_JSON.load(Ordering::Relaxed)
}

/// One line of progress, or with `-w json` one event.
pub(crate) fn say(text: &str) {
    // A closed stdout must not stop a run half way.
    let _ = match lines_are_json() {
        true => print(&format!("{}\n", json!({ "time": time(), "said": text }))),
        false => print(&format!("{text}\n")),
    };
}

/// The last line of a command that says its progress: what comes next.
/// Returns `code`: it is that of the work, whoever is left to read of it.
pub(crate) fn finish(code: i32, next: &Next) -> i32 {
    end(&mut std::io::stdout().lock(), code, next)
}

fn end(out: &mut impl Write, code: i32, next: &Next) -> i32 {
    let text = match lines_are_json() {
        true => format!(
            "{}\n",
            json!({ "time": time(), "exitCode": code, "next": next.line() })
        ),
        false => format!("\n{}", next.text()),
    };
    let _ = write(out, &text);
    code
}

/// The time as reports have it: RFC 3339, of UTC.
pub(crate) fn time() -> String {
    let now = OffsetDateTime::now_utc();
    let now = now.replace_nanosecond(0).unwrap_or(now);
    now.format(&Rfc3339).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit;

    /// A standard output whose reader is gone.
    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_exit_code_is_that_of_the_work_also_where_no_one_reads_of_it() {
        let next = Next::explain(["P1"]);
        for code in [exit::OK, exit::STOPPED, exit::INTERRUPTED] {
            assert_eq!(end(&mut Closed, code, &next), code);
            let mut out = Vec::new();
            assert_eq!(end(&mut out, code, &next), code);
            assert!(String::from_utf8_lossy(&out).ends_with("explain P1\n"));
        }
    }
}
