//! From argument vector, environment and YAML file to one map of settings.
//! Precedence is etcd's: a configuration file replaces everything else; without
//! one a flag and its variable must not both be set.

use super::{
    file, flags,
    flags::Kind,
    settings::{Note, Settings, parse_bool},
    unbuilt::DROPPED,
};

/// Flags whose values have no place in a log.
const SECRETS: &[&str] = &["discovery-user", "discovery-password"];
const MASK: &str = "***";

/// A command line as it may be logged.
pub fn without_secrets(args: &[String]) -> Vec<String> {
    let mut out: Vec<String> = Vec::with_capacity(args.len());
    let mut masked = false;
    for arg in args {
        if std::mem::take(&mut masked) {
            out.push(MASK.to_owned());
            continue;
        }
        let body = arg.trim_start_matches('-');
        let name = body.split('=').next().unwrap_or_default();
        let secret = arg.starts_with('-') && SECRETS.contains(&name);
        match arg.split_once('=') {
            Some((flag, _)) if secret => out.push(format!("{flag}={MASK}")),
            _ => {
                masked = secret;
                out.push(arg.clone());
            }
        }
    }
    out
}

/// Why a command line could not be read, and the exit code that etcd gives.
#[derive(Debug, PartialEq, Eq)]
pub struct ParseError {
    /// For standard error.
    pub message: String,
    /// 2 for usage, 1 for configuration.
    pub exit_code: i32,
    /// The variable that says what a flag says as well, if that is the error.
    pub conflict: Option<String>,
}

impl ParseError {
    pub(super) fn usage(message: impl Into<String>) -> ParseError {
        ParseError {
            message: message.into(),
            exit_code: 2,
            conflict: None,
        }
    }

    pub(super) fn config(message: impl Into<String>) -> ParseError {
        ParseError {
            message: message.into(),
            exit_code: 1,
            conflict: None,
        }
    }

    /// etcd takes an empty variable for a conflict as well.
    fn conflict(variable: String) -> ParseError {
        ParseError {
            message: format!(
                "conflicting environment variable \"{variable}\" is shadowed by corresponding command-line flag (either unset environment variable or disable flag)"
            ),
            exit_code: 1,
            conflict: Some(variable),
        }
    }
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Print the help text.
    Help,
    /// Print the version.
    Version,
    /// Serve with these settings.
    Serve(Settings),
}

/// Reads a command line (without the program's name) and an environment.
pub fn parse(args: &[String], env: &[(String, String)]) -> Result<Parsed, ParseError> {
    let line = match read_line(args)? {
        Line::Done(parsed) => return Ok(parsed),
        Line::Settings(line) => line,
    };
    let from_env = env.iter().find(|(key, _)| key == "ETCD_CONFIG_FILE");
    let config_file = line
        .config_file
        .or_else(|| from_env.map(|(_, path)| path.clone()));
    if let Some(path) = config_file.filter(|path| !path.is_empty()) {
        let mut settings = file::read(path.into())?;
        settings.notes.extend(line.settings.notes);
        return Ok(Parsed::Serve(settings));
    }
    let mut settings = line.settings;
    let variables = read_env(&settings, env)?;
    settings.extend(variables);
    Ok(Parsed::Serve(settings))
}

/// A command line that was read.
enum Line {
    /// There is nothing to serve.
    Done(Parsed),
    Settings(Flags),
}

#[derive(Default)]
struct Flags {
    settings: Settings,
    config_file: Option<String>,
}

fn read_line(args: &[String]) -> Result<Line, ParseError> {
    let mut line = Flags::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let Some(body) = arg
            .strip_prefix("--")
            .or_else(|| arg.strip_prefix('-'))
            .filter(|b| !b.is_empty())
        else {
            return Err(ParseError::config(format!("'{arg}' is not a valid flag")));
        };
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (body, None),
        };
        match name {
            "h" | "help" => return Ok(Line::Done(Parsed::Help)),
            "version" => {
                if value.as_deref().is_none_or(|v| parse_bool(v) == Some(true)) {
                    return Ok(Line::Done(Parsed::Version));
                }
            }
            "config-file" => {
                line.config_file = Some(argument(name, value, &mut args)?);
            }
            _ => match DROPPED.iter().find(|dropped| **dropped == name) {
                Some(name) => line.settings.notes.push(Note::Dropped(name)),
                None => set_flag(&mut line.settings, name, value, &mut args)?,
            },
        }
    }
    Ok(Line::Settings(line))
}

fn argument(
    name: &str,
    value: Option<String>,
    rest: &mut std::slice::Iter<'_, String>,
) -> Result<String, ParseError> {
    value
        .or_else(|| rest.next().cloned())
        .ok_or_else(|| ParseError::usage(format!("flag needs an argument: -{name}")))
}

fn set_flag(
    settings: &mut Settings,
    name: &str,
    value: Option<String>,
    rest: &mut std::slice::Iter<'_, String>,
) -> Result<(), ParseError> {
    let Some(found) = flags::lookup(name) else {
        return Err(ParseError::usage(format!(
            "flag provided but not defined: -{name}"
        )));
    };
    let kind = found.flag.kind;
    let value = match value {
        None if kind == Kind::Bool => "true".to_owned(),
        value => argument(name, value, rest)?,
    };
    settings.set(&found, value.clone()).map_err(|error| {
        ParseError::usage(match kind {
            Kind::Bool => format!("invalid boolean value \"{value}\" for -{name}: {error}"),
            _ => format!("invalid value \"{value}\" for flag -{name}: {error}"),
        })
    })
}

/// Reads the variables; `line` is what the flags say.
fn read_env(line: &Settings, env: &[(String, String)]) -> Result<Settings, ParseError> {
    let mut settings = Settings::default();
    for (key, value) in env.iter().filter(|(key, _)| key.starts_with("ETCD_")) {
        match key.as_str() {
            "ETCD_VERSION" => {
                if !value.is_empty() {
                    let (name, value) = (key.clone(), value.clone());
                    settings.notes.push(Note::SpecialVariable { name, value });
                }
                continue;
            }
            "ETCD_CONFIG_FILE" | "ETCD_UNSUPPORTED_ARCH" | "ETCD_VERIFY" => continue,
            _ => {}
        }
        let name = flags::names().find(|name| flags::env_name(name) == *key);
        let Some(found) = name.and_then(flags::lookup) else {
            let both = format!("{key}={value}");
            settings.notes.push(Note::UnknownVariable(both));
            continue;
        };
        if line.is_set(found.flag.name) {
            return Err(ParseError::conflict(key.clone()));
        }
        // Helm charts and unit files name every variable; an empty one is none.
        if value.is_empty() {
            continue;
        }
        settings.set(&found, value.clone()).map_err(|error| {
            ParseError::config(format!("invalid value \"{value}\" for {key}: {error}"))
        })?;
        let shown = if SECRETS.contains(&found.flag.name) {
            MASK
        } else {
            value
        };
        settings.notes.push(Note::Variable {
            name: key.clone(),
            value: shown.to_owned(),
        });
    }
    Ok(settings)
}
