//! Log lines: JSON with etcd's field names, which other programs match on, or
//! text for a person who asks for it. Values are written as they come. A line is made
//! where it is logged, and written by a thread of its own ([`writer`]).

mod journal;
mod line;
mod panics;
mod rotate;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::OnceLock,
};

use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context, prelude::*, registry::LookupSpan};

use self::{
    journal::Journal,
    line::Line,
    rotate::Rotating,
    writer::{Output, Writer, Writers},
};
use crate::config::{LogOutput, Logs};

/// A moment as log lines have it.
pub(crate) fn stamp(moment: OffsetDateTime) -> String {
    moment.format(&STAMP).unwrap_or_default()
}

const STAMP: &[BorrowedFormatItem<'_>] = format_description!(
    "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6][offset_hour sign:mandatory][offset_minute]"
);

enum Sink {
    Stderr,
    Stdout,
    File(File),
    Rotating(Rotating),
    Journal(Journal),
}

impl Sink {
    fn open(output: &LogOutput, logs: &Logs) -> io::Result<Sink> {
        match (output, &logs.rotation) {
            (LogOutput::Stderr, _) => Ok(Sink::Stderr),
            (LogOutput::Stdout, _) => Ok(Sink::Stdout),
            (LogOutput::Journal, _) => Journal::open().map(Sink::Journal),
            (LogOutput::File(path), Some(rotation)) => {
                let opened = Rotating::open(path, rotation).map(Sink::Rotating);
                opened.map_err(|error| unopened(path, &error))
            }
            (LogOutput::File(path), None) => OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(path)
                .map(Sink::File)
                .map_err(|error| unopened(path, &error)),
        }
    }

    /// Writes lines, `text` as one. A line that cannot be written costs none of those after it.
    fn write(&mut self, lines: &[Line], text: &[u8]) -> io::Result<()> {
        match self {
            Sink::Stderr => io::stderr().write_all(text),
            Sink::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(text).and_then(|()| out.flush())
            }
            Sink::File(file) => file.write_all(text),
            Sink::Rotating(file) => {
                let written = lines.iter().map(|line| file.write(line.text.as_bytes()));
                written.fold(Ok(()), io::Result::and)
            }
            Sink::Journal(journal) => {
                let write = |line: &Line| journal.write(&line.level, &line.caller, &line.text);
                lines.iter().map(write).fold(Ok(()), io::Result::and)
            }
        }
    }
}

/// One output, and the text of the lines that go to it at once.
struct Ready {
    sink: Sink,
    text: Vec<u8>,
}

impl Output for Ready {
    fn write(&mut self, lines: &[Line]) {
        self.text.clear();
        for line in lines {
            self.text.extend_from_slice(line.text.as_bytes());
        }
        // A log that cannot be written must not stop the server.
        let _ = self.sink.write(lines, &self.text);
    }
}

fn unopened(path: &Path, error: &io::Error) -> io::Error {
    let text = format!("cannot open the log file {}: {error}", path.display());
    io::Error::new(error.kind(), text)
}

struct Lines {
    writers: Writers,
    json: bool,
    level: Level,
}

/// The queues of this process.
static WRITERS: OnceLock<Writers> = OnceLock::new();

/// Starts logging as the configuration says; a panic ends the process from here on. Once per process.
pub fn start(logs: &Logs) -> io::Result<()> {
    let json = logs.json;
    let start = |output| {
        let text = Vec::new();
        let sink = Sink::open(output, logs)?;
        Writer::start(Ready { sink, text }, move |count| dropped(json, count))
    };
    let writers = logs.outputs.iter().map(start);
    let writers = Writers::new(writers.collect::<io::Result<_>>()?);
    let lines = Lines {
        writers: writers.clone(),
        json,
        level: logs.level,
    };
    tracing_subscriber::registry()
        .with(lines)
        .try_init()
        .map_err(|error| io::Error::other(error.to_string()))?;
    WRITERS.get_or_init(|| writers);
    panics::end_process(flush);
    Ok(())
}

/// Makes sure that what was logged has left the process, unless no one takes it.
pub fn flush() {
    if let Some(writers) = WRITERS.get() {
        writers.flush();
    }
}

struct Fields {
    message: String,
    json: serde_json::Map<String, serde_json::Value>,
    level: Option<String>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: serde_json::Value) {
        match field.name() {
            "message" => {
                self.message = match value {
                    serde_json::Value::String(text) => text,
                    other => other.to_string(),
                }
            }
            "level_name" => self.level = value.as_str().map(str::to_owned),
            // The log crate's bridge fields say nothing to an operator.
            name if name.starts_with("log.") => {}
            name => {
                // Go shows `error` fields under that name; raw identifiers lose their mark.
                self.json
                    .insert(name.trim_start_matches("r#").to_owned(), value);
            }
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        // A list or map that was serialized beforehand stays one.
        if (value.starts_with('[') || value.starts_with('{'))
            && let Ok(parsed) = serde_json::from_str(value)
        {
            self.put(field, parsed);
            return;
        }
        self.put(field, value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
}

/// Crates of this project that log, by the names of their libraries.
const OWN: &[&str] = &[
    "auth",
    "consensus",
    "member",
    "peer",
    "proxy",
    "server",
    "tls",
];

impl<S> Layer<S> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        // Libraries speak only when something is wrong.
        let own = metadata.target().starts_with("pintle")
            || OWN.iter().any(|c| {
                metadata.target() == *c || metadata.target().starts_with(&format!("{c}::"))
            });
        *metadata.level() <= self.level && (own || *metadata.level() <= Level::WARN)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields {
            message: String::new(),
            json: serde_json::Map::new(),
            level: None,
        };
        event.record(&mut fields);
        let metadata = event.metadata();
        let level = fields
            .level
            .take()
            .unwrap_or_else(|| metadata.level().as_str().to_ascii_lowercase());
        let caller = match (metadata.file(), metadata.line()) {
            (Some(file), Some(line)) => caller(file, line),
            _ => metadata.target().to_owned(),
        };
        self.writers.push(fields.line(self.json, level, caller));
    }
}

/// The last two parts of a path, and a line.
fn caller(file: &str, line: u32) -> String {
    let mut parts = file.rsplit('/');
    let name = parts.next().unwrap_or(file);
    match parts.next() {
        Some(dir) => format!("{dir}/{name}:{line}"),
        None => format!("{name}:{line}"),
    }
}

/// The line that stands for those that were dropped.
fn dropped(json: bool, count: u64) -> Line {
    let fields = Fields {
        message: format!("{count} log lines were dropped"),
        json: serde_json::Map::new(),
        level: None,
    };
    fields.line(json, "warn".into(), caller(file!(), line!()))
}

impl Fields {
    fn line(self, json: bool, level: String, caller: String) -> Line {
        let stamp = stamp(OffsetDateTime::now_utc()).replace("+0000", "Z");
        let mut line = String::with_capacity(256);
        if json {
            let text = |s: &str| serde_json::Value::from(s).to_string();
            let _ = write!(
                line,
                "{{\"level\":{},\"ts\":{},\"caller\":{},\"msg\":{}",
                text(&level),
                text(&stamp),
                text(&caller),
                text(&self.message)
            );
            for (key, value) in &self.json {
                let _ = write!(line, ",{}:{value}", text(key));
            }
            line.push_str("}\n");
        } else {
            let _ = write!(
                line,
                "{stamp}  {:<5}  {}",
                level.to_ascii_uppercase(),
                self.message
            );
            for (key, value) in &self.json {
                let _ = match value {
                    serde_json::Value::String(text) if !text.contains(' ') => {
                        write!(line, "  {key}={text}")
                    }
                    value => write!(line, "  {key}={value}"),
                };
            }
            line.push('\n');
        }
        Line {
            level,
            caller,
            text: line,
        }
    }
}

/// A size as etcd's log lines print it: decimal units, two significant digits.
pub fn human_bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    if n < 10 {
        return format!("{n} B");
    }
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let value = (value * 10.0 + 0.5).floor() / 10.0;
    if value < 10.0 {
        format!("{value:.1} {}", UNITS[unit])
    } else {
        format!("{value:.0} {}", UNITS[unit])
    }
}
