//! The logging flags. They are resolved by themselves, before all others, so that
//! what is wrong with the others is logged where the operator looks.

use std::path::PathBuf;

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
}

impl Default for Logs {
    fn default() -> Self {
        Logs {
            level: tracing::Level::INFO,
            outputs: vec![LogOutput::Stderr],
            json: true,
        }
    }
}

impl Logs {
    /// Checks and resolves.
    ///
    /// # Errors
    /// In etcd's words, with its exit code.
    pub fn resolve(settings: &Settings) -> Result<Logs, ParseError> {
        Ok(Logs {
            level: match level(settings.text(flag!("log-level")))? {
                _ if settings.bool(flag!("debug")) => tracing::Level::DEBUG,
                level => level,
            },
            outputs: outputs(settings.list(flag!("log-outputs")))?,
            json: match settings.text(flag!("log-format")) {
                "" | "json" => true,
                "console" => false,
                other => {
                    return Err(ParseError::config(format!(
                        "unknown log format: {other:?}, supported values are json and console"
                    )));
                }
            },
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

fn outputs(outputs: Vec<String>) -> Result<Vec<LogOutput>, ParseError> {
    if outputs.len() > 1 && outputs.iter().any(|o| o == "default") {
        return Err(ParseError::config(
            "multi logoutput for \"default\" is not supported yet",
        ));
    }
    Ok(outputs
        .iter()
        .map(|output| match output.as_str() {
            "default" | "stderr" => LogOutput::Stderr,
            "stdout" => LogOutput::Stdout,
            path => LogOutput::File(PathBuf::from(path)),
        })
        .collect())
}
