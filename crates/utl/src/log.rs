//! Log lines on stderr in the form etcdutl writes them: time, level, place,
//! message, fields as JSON, tabs between. Must never go to stdout, which holds
//! the answer.

use std::{fmt::Write as _, io::Write as _};

use serde_json::Value;
use time::{OffsetDateTime, macros::format_description};

/// Writes a line of level `info`.
pub(crate) fn info(place: &str, message: &str, fields: &[(&str, Value)]) {
    write("info", place, message, fields);
}

/// Writes a line of level `warn`.
pub(crate) fn warn(place: &str, message: &str, fields: &[(&str, Value)]) {
    write("warn", place, message, fields);
}

/// Writes a line of level `error`.
pub(crate) fn error(place: &str, message: &str, fields: &[(&str, Value)]) {
    write("error", place, message, fields);
}

fn write(level: &str, place: &str, message: &str, fields: &[(&str, Value)]) {
    let now = OffsetDateTime::now_utc();
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    let mut line = now.format(&format).unwrap_or_default();
    let _ = write!(line, "\t{level}\t{place}\t{message}");
    for (i, (name, value)) in fields.iter().enumerate() {
        let before = if i == 0 { "\t{" } else { ", " };
        let _ = write!(line, "{before}{name:?}: {value}");
    }
    line.push_str(if fields.is_empty() { "\n" } else { "}\n" });
    // A closed stderr is no reason to stop.
    let _ = std::io::stderr().write_all(line.as_bytes());
}
