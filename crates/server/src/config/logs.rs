//! The logging flags. They are resolved by themselves, before all others, so that
//! what is wrong with the others is logged where the operator looks.

use std::path::PathBuf;

use serde_json::Value;

use super::{error::ParseError, settings::Settings, table::flag};

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOutput {
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
    /// The journal of systemd.
    Journal,
}

/// `--log-rotation-config-json`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Megabytes of a file; 0 for etcd's default of 100.
    pub max_size: u64,
    /// Days that an old file is kept; 0 for ever.
    pub max_age: u32,
    /// Old files that are kept; 0 for all.
    pub max_backups: usize,
    /// Whether names of old files have the local time.
    pub local_time: bool,
    /// Whether old files are compressed.
    pub compress: bool,
}

/// Where and how log lines are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logs {
    /// `--log-level`
    pub level: tracing::Level,
    /// `--log-outputs`
    pub outputs: Vec<LogOutput>,
    /// `--log-format`: JSON lines, or text
    pub json: bool,
    /// How a file is set aside, if it is: `--enable-log-rotation`
    pub rotation: Option<Rotation>,
}

impl Default for Logs {
    fn default() -> Self {
        Logs {
            level: tracing::Level::INFO,
            outputs: vec![LogOutput::Stderr],
            json: true,
            rotation: None,
        }
    }
}

impl Logs {
    /// Checks and resolves.
    ///
    /// # Errors
    /// In etcd's words, with its exit code.
    pub fn resolve(settings: &Settings) -> Result<Logs, ParseError> {
        let outputs = outputs(settings.list(flag!("log-outputs")))?;
        let rotation = match settings.bool(flag!("enable-log-rotation")) {
            true => Some(rotation(
                &outputs,
                settings.text(flag!("log-rotation-config-json")),
            )?),
            false => None,
        };
        Ok(Logs {
            rotation,
            level: match level(settings.text(flag!("log-level")))? {
                _ if settings.bool(flag!("debug")) => tracing::Level::DEBUG,
                level => level,
            },
            // The journal takes lines apart, and they are JSON there whatever else is asked for.
            json: outputs.contains(&LogOutput::Journal)
                || json(settings.text(flag!("log-format")))?,
            outputs,
        })
    }
}

fn level(text: &str) -> Result<tracing::Level, ParseError> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "debug" => tracing::Level::DEBUG,
        "info" | "" => tracing::Level::INFO,
        "warn" | "warning" => tracing::Level::WARN,
        "error" | "dpanic" | "panic" | "fatal" => tracing::Level::ERROR,
        _ => {
            return Err(ParseError::usage(format!(
                "unrecognized level: {text:?}, for flag -log-level"
            )));
        }
    })
}

fn json(format: &str) -> Result<bool, ParseError> {
    match format {
        "" | "json" => Ok(true),
        "console" => Ok(false),
        other => Err(ParseError::config(format!(
            "unknown log format: {other:?}, supported values are json and console"
        ))),
    }
}

const JOURNAL: &str = "systemd/journal";

fn outputs(mut outputs: Vec<String>) -> Result<Vec<LogOutput>, ParseError> {
    outputs.sort();
    outputs.dedup();
    if outputs.is_empty() {
        outputs.push("default".to_owned());
    }
    let several = outputs.len() > 1;
    if several && outputs.iter().any(|output| output == "default") {
        return Err(ParseError::config(
            "multi logoutput for \"default\" is not supported yet",
        ));
    }
    if several && outputs.iter().any(|output| output == JOURNAL) {
        let quoted: Vec<String> = outputs.iter().map(|output| format!("{output:?}")).collect();
        return Err(ParseError::config(format!(
            "running with systemd/journal but other '--log-outputs' values ([{}]) are configured with 'default'; override 'default' value with something else",
            quoted.join(" ")
        )));
    }
    Ok(outputs
        .iter()
        .map(|output| match output.as_str() {
            "default" | "stderr" => LogOutput::Stderr,
            "stdout" => LogOutput::Stdout,
            JOURNAL => LogOutput::Journal,
            path => LogOutput::File(PathBuf::from(path)),
        })
        .collect())
}

/// Reads how one file is rotated.
fn rotation(outputs: &[LogOutput], json: &str) -> Result<Rotation, ParseError> {
    let to_file = |output: &&LogOutput| matches!(output, LogOutput::File(_) | LogOutput::Journal);
    let files = outputs.iter().filter(to_file).count();
    if files > 1 || (files == 0 && outputs.len() == 1) {
        return Err(ParseError::config(
            "--log-outputs requires a single file path when --log-rotate-config-json is defined",
        ));
    }
    let read: Value = serde_json::from_str(json).map_err(|error| {
        ParseError::config(format!("improperly formatted log rotation config: {error}"))
    })?;
    let fields = match read {
        Value::Object(fields) => fields,
        Value::Null => serde_json::Map::new(),
        other => return Err(mistyped(&other, "", "embed.logRotationConfig")),
    };
    let mut rotation = Rotation::default();
    for (name, value) in &fields {
        // Go's names of fields have no case.
        match name.to_ascii_lowercase().as_str() {
            "maxsize" => rotation.max_size = number(name, value)?,
            "maxage" => rotation.max_age = number(name, value)?,
            "maxbackups" => rotation.max_backups = number(name, value)?,
            "localtime" => rotation.local_time = switch(name, value)?,
            "compress" => rotation.compress = switch(name, value)?,
            _ => {}
        }
    }
    Ok(rotation)
}

/// A number; a negative one is none, as to etcd's rotation.
fn number<T: TryFrom<i64> + Default>(name: &str, value: &Value) -> Result<T, ParseError> {
    match value {
        Value::Null => Ok(T::default()),
        value => match value.as_i64() {
            Some(number) => Ok(T::try_from(number).unwrap_or_default()),
            None => Err(mistyped(value, name, "int")),
        },
    }
}

fn switch(name: &str, value: &Value) -> Result<bool, ParseError> {
    match value {
        Value::Null => Ok(false),
        Value::Bool(on) => Ok(*on),
        value => Err(mistyped(value, name, "bool")),
    }
}

/// Go's words for a value of another type.
fn mistyped(value: &Value, name: &str, wanted: &str) -> ParseError {
    let found = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(number) if name.is_empty() || number.as_f64().is_none() => {
            "number".to_owned()
        }
        Value::Number(number) => format!("number {number}"),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    };
    let place = match name {
        "" => "value".to_owned(),
        name => format!("struct field logRotationConfig.Logger.{name}"),
    };
    ParseError::config(format!(
        "invalid log rotation config: json: cannot unmarshal {found} into Go {place} of type {wanted}"
    ))
}
