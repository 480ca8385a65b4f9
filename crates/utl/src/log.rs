//! Log lines on stderr in the form etcdutl writes them: time, level, place,
//! message, fields as JSON, tabs between. Must never go to stdout, which holds
//! the answer.

use std::{fmt::Write as _, io::Write as _};

use serde_json::Value;
use time::{OffsetDateTime, macros::format_description};

/// Writes a line of level `info`.
pub(crate) fn info(place: &str, message: &str, fields: &[(&str, Value)]) {
    let now = OffsetDateTime::now_utc();
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    let mut line = now.format(&format).unwrap_or_default();
    let _ = write!(line, "\tinfo\t{place}\t{message}\t{{");
    for (i, (name, value)) in fields.iter().enumerate() {
        let comma = if i == 0 { "" } else { ", " };
        let _ = write!(line, "{comma}{name:?}: {value}");
    }
    line.push_str("}\n");
    // A closed stderr is no reason to stop.
    let _ = std::io::stderr().write_all(line.as_bytes());
}
