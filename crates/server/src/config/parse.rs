//! From argument vector, environment and YAML file to one map of settings.
//! Precedence is etcd's: a configuration file replaces everything else; without
//! one a flag and its variable must not both be set.

use std::{collections::BTreeMap, path::PathBuf};

use super::{
    flags::{self, Kind, NOT_BUILT},
    resolve::url_list,
    security,
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
}

impl ParseError {
    pub(super) fn usage(message: impl Into<String>) -> ParseError {
        ParseError {
            message: message.into(),
            exit_code: 2,
        }
    }

    pub(super) fn config(message: impl Into<String>) -> ParseError {
        ParseError {
            message: message.into(),
            exit_code: 1,
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

/// Settings as given, before they are checked against each other.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settings {
    values: BTreeMap<&'static str, String>,
    /// The configuration file, if one was read.
    pub file: Option<PathBuf>,
    /// Lines to log once logging is up: message, and a name and value.
    pub notes: Vec<(&'static str, String, String)>,
}

impl Settings {
    /// The value of a flag: given, or its default.
    pub fn get(&self, name: &'static str) -> &str {
        match self.values.get(name) {
            Some(value) => value,
            None => flags::find(name).map_or("", |flag| flag.default),
        }
    }

    /// True if it was given somewhere.
    pub fn is_set(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    fn set(&mut self, flag: &'static flags::Flag, value: String) -> Result<(), String> {
        check(flag.kind, &value)?;
        self.values.insert(flag.name, value);
        Ok(())
    }
}

/// Go's `strconv.ParseBool`.
pub(super) fn parse_bool(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Go's duration syntax: a sign, then numbers each with a unit.
pub(super) fn parse_duration(value: &str) -> Option<i64> {
    let (sign, mut rest) = match value.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, value.strip_prefix('+').unwrap_or(value)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut nanos = 0.0f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_len = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        nanos += number
            * match &rest[..unit_len] {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return None,
            };
        rest = &rest[unit_len..];
    }
    (nanos < i64::MAX as f64).then_some((sign * nanos) as i64)
}

/// The syntax of one value. A flag that fails here is a usage error (code 2); a
/// check of [`super::resolve`] is a configuration error (code 1), as in etcd.
fn check(kind: Kind, value: &str) -> Result<(), String> {
    let ok = match kind {
        Kind::Bool => parse_bool(value).is_some(),
        Kind::Int => value.parse::<i64>().is_ok(),
        Kind::Uint | Kind::Millis => value.parse::<u64>().is_ok(),
        Kind::Duration => parse_duration(value).is_some(),
        Kind::Urls => return url_list(value).map(drop),
        Kind::State if matches!(value, "new" | "existing") => true,
        Kind::State => return Err("it must be new or existing".to_owned()),
        Kind::Text => true,
    };
    if ok {
        Ok(())
    } else {
        Err("parse error".to_owned())
    }
}

/// Reads a command line (without the program's name) and an environment.
pub fn parse(args: &[String], env: &[(String, String)]) -> Result<Parsed, ParseError> {
    let mut given = Settings::default();
    let mut config_file = None;
    let mut args = args.iter().peekable();
    while let Some(arg) = args.next() {
        let Some(body) = arg
            .strip_prefix("--")
            .or_else(|| arg.strip_prefix('-'))
            .filter(|b| !b.is_empty())
        else {
            return Err(ParseError::config(format!("'{arg}' is not a valid flag")));
        };
        let (name, mut value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (body, None),
        };
        match name {
            "h" | "help" => return Ok(Parsed::Help),
            "version" => {
                if value.as_deref().is_none_or(|v| parse_bool(v) == Some(true)) {
                    return Ok(Parsed::Version);
                }
                continue;
            }
            "config-file" => {
                config_file = Some(match value.or_else(|| args.next().cloned()) {
                    Some(path) => path,
                    None => return Err(ParseError::usage("flag needs an argument: -config-file")),
                });
                continue;
            }
            _ => {}
        }
        let Some(flag) = flags::find(name) else {
            return Err(unknown(name));
        };
        if value.is_none() {
            value = if flag.kind == Kind::Bool {
                Some("true".to_owned())
            } else {
                args.next().cloned()
            };
        }
        let Some(value) = value else {
            return Err(ParseError::usage(format!(
                "flag needs an argument: -{name}"
            )));
        };
        given.set(flag, value.clone()).map_err(|error| {
            ParseError::usage(match flag.kind {
                Kind::Bool => format!("invalid boolean value \"{value}\" for -{name}: {error}"),
                _ => format!("invalid value \"{value}\" for flag -{name}: {error}"),
            })
        })?;
    }

    let mut from_env = Settings::default();
    for (key, value) in env.iter().filter(|(key, _)| key.starts_with("ETCD_")) {
        if key == "ETCD_CONFIG_FILE" {
            config_file.get_or_insert_with(|| value.clone());
            continue;
        }
        if key == "ETCD_VERSION" || key == "ETCD_UNSUPPORTED_ARCH" || key == "ETCD_VERIFY" {
            continue;
        }
        let flag = flags::FLAGS
            .iter()
            .flat_map(|g| g.flags)
            .find(|f| flags::env_name(f.name) == *key);
        match flag {
            Some(flag) => {
                from_env.set(flag, value.clone()).map_err(|error| {
                    ParseError::config(format!("invalid value \"{value}\" for {key}: {error}"))
                })?;
                from_env.notes.push((
                    "recognized and used environment variable",
                    key.clone(),
                    if SECRETS.contains(&flag.name) {
                        MASK.to_owned()
                    } else {
                        value.clone()
                    },
                ));
            }
            None if NOT_BUILT.iter().any(|name| flags::env_name(name) == *key) => {
                return Err(ParseError::config(format!(
                    "environment variable {key}: this etcd setting is not built into this version of Pintle"
                )));
            }
            None => given.notes.push((
                "unrecognized environment variable",
                key.clone(),
                value.clone(),
            )),
        }
    }

    if let Some(path) = config_file {
        let mut settings = read_file(path.into())?;
        settings.notes.append(&mut given.notes);
        return Ok(Parsed::Serve(settings));
    }
    for (name, value) in from_env.values {
        if given.values.contains_key(name) {
            return Err(ParseError::config(format!(
                "conflicting environment variable \"{}\" is shadowed by corresponding command-line flag (either unset environment variable or disable flag)",
                flags::env_name(name)
            )));
        }
        given.values.insert(name, value);
    }
    given.notes.append(&mut from_env.notes);
    Ok(Parsed::Serve(given))
}

fn unknown(name: &str) -> ParseError {
    if NOT_BUILT.contains(&name) {
        ParseError::usage(format!(
            "flag -{name} is etcd's, but it is not built into this version of Pintle; start without it, or stay with etcd"
        ))
    } else {
        ParseError::usage(format!("flag provided but not defined: -{name}"))
    }
}

/// Sections of the file: their name, and the flag that each of their keys stands for.
const SECTIONS: &[(&str, &[(&str, &str)])] = &[
    (
        "client-transport-security",
        &[
            ("cert-file", "cert-file"),
            ("key-file", "key-file"),
            ("client-cert-file", "client-cert-file"),
            ("client-key-file", "client-key-file"),
            ("client-cert-auth", "client-cert-auth"),
            ("trusted-ca-file", "trusted-ca-file"),
            ("auto-tls", "auto-tls"),
            // Only the file can ask for it.
            ("allowed-cn", security::CLIENT_ALLOWED_CN),
            ("allowed-hostname", "client-cert-allowed-hostname"),
        ],
    ),
    (
        "peer-transport-security",
        &[
            ("cert-file", "peer-cert-file"),
            ("key-file", "peer-key-file"),
            ("client-cert-file", "peer-client-cert-file"),
            ("client-key-file", "peer-client-key-file"),
            ("client-cert-auth", "peer-client-cert-auth"),
            ("trusted-ca-file", "peer-trusted-ca-file"),
            ("auto-tls", "peer-auto-tls"),
            ("allowed-cn", "peer-cert-allowed-cn"),
            ("allowed-hostname", "peer-cert-allowed-hostname"),
        ],
    ),
    (
        "socket-options",
        &[
            ("reuse-port", "socket-reuse-port"),
            ("reuse-address", "socket-reuse-address"),
        ],
    ),
];

/// Keys of the section `discovery-config`, which is nested.
const DISCOVERY_SECTION: &[(&[&str], &str)] = &[
    (&["token"], "discovery-token"),
    (&["client", "endpoints"], "discovery-endpoints"),
    (&["client", "dial-timeout"], "discovery-dial-timeout"),
    (&["client", "request-timeout"], "discovery-request-timeout"),
    (&["client", "keepalive-time"], "discovery-keepalive-time"),
    (
        &["client", "keepalive-timeout"],
        "discovery-keepalive-timeout",
    ),
    (&["client", "secure", "cert"], "discovery-cert"),
    (&["client", "secure", "key"], "discovery-key"),
    (&["client", "secure", "cacert"], "discovery-cacert"),
    (
        &["client", "secure", "insecure-transport"],
        "discovery-insecure-transport",
    ),
    (
        &["client", "secure", "insecure-skip-tls-verify"],
        "discovery-insecure-skip-tls-verify",
    ),
    (&["client", "auth", "username"], "discovery-user"),
    (&["client", "auth", "password"], "discovery-password"),
];

fn read_discovery(settings: &mut Settings, section: &yaml_serde::Value) -> Result<(), String> {
    for (path, name) in DISCOVERY_SECTION {
        let value = path.iter().try_fold(section, |at, key| at.get(*key));
        let (Some(text), Some(flag)) = (value.and_then(scalar_or_list), flags::find(name)) else {
            continue;
        };
        settings
            .set(flag, in_flag_syntax(flag.kind, text))
            .map_err(|why| format!("discovery-config.{}: {why}", path.join(".")))?;
    }
    Ok(())
}

/// Durations are plain nanoseconds in the file.
fn in_flag_syntax(kind: Kind, text: String) -> String {
    if kind == Kind::Duration && text.parse::<i64>().is_ok() {
        format!("{text}ns")
    } else {
        text
    }
}

fn read_file(path: PathBuf) -> Result<Settings, ParseError> {
    let shown = path.display();
    let text = std::fs::read_to_string(&path).map_err(|error| {
        ParseError::config(format!(
            "cannot read the configuration file {shown}: {error}"
        ))
    })?;
    let root: yaml_serde::Value = yaml_serde::from_str(&text).map_err(|error| {
        ParseError::config(format!(
            "the configuration file {shown} is not valid YAML: {error}"
        ))
    })?;
    let mut settings = Settings::default();
    let empty = yaml_serde::Mapping::new();
    let map = match &root {
        yaml_serde::Value::Mapping(map) => map,
        yaml_serde::Value::Null => &empty,
        _ => {
            return Err(ParseError::config(format!(
                "the configuration file {shown} is not a map of settings"
            )));
        }
    };
    for (key, value) in map {
        let Some(key) = key.as_str() else { continue };
        if let Some((section, keys)) = SECTIONS.iter().find(|(name, _)| *name == key) {
            if let yaml_serde::Value::Mapping(values) = value {
                read_section(&mut settings, section, keys, values)
                    .map_err(|why| ParseError::config(format!("{shown}: {why}")))?;
            }
            continue;
        }
        if key == "discovery-config" {
            read_discovery(&mut settings, value)
                .map_err(|why| ParseError::config(format!("{shown}: {why}")))?;
            continue;
        }
        // The file has its own name for this one.
        let name = if key == "experimental-snapshot-catch-up-entries" {
            "experimental-snapshot-catchup-entries"
        } else {
            key
        };
        let Some(flag) = flags::find(name) else {
            if NOT_BUILT.contains(&name) && !is_zero(value) {
                return Err(ParseError::config(format!(
                    "{shown}: {key}: this etcd setting is not built into this version of Pintle"
                )));
            }
            settings.notes.push((
                "unknown key in the configuration file is ignored",
                key.to_owned(),
                String::new(),
            ));
            continue;
        };
        let Some(text) = scalar_or_list(value) else {
            continue;
        };
        // etcd takes an empty state in the file for a missing one.
        if flag.kind == Kind::State && text.is_empty() {
            continue;
        }
        let text = in_flag_syntax(flag.kind, text);
        settings.set(flag, text.clone()).map_err(|error| {
            ParseError::config(format!("{shown}: {key}: invalid value \"{text}\": {error}"))
        })?;
    }
    settings.notes.push((
        "loaded server configuration, other configuration command line flags and environment variables will be ignored if provided",
        "path".to_owned(),
        path.display().to_string(),
    ));
    settings.file = Some(path);
    Ok(settings)
}

fn read_section(
    settings: &mut Settings,
    section: &str,
    keys: &[(&str, &'static str)],
    values: &yaml_serde::Mapping,
) -> Result<(), String> {
    for (from, to) in keys {
        let Some(text) = values.get(*from).and_then(scalar_or_list) else {
            continue;
        };
        match flags::find(to) {
            Some(flag) => settings
                .set(flag, text)
                .map_err(|why| format!("{section}.{from}: {why}"))?,
            None => drop(settings.values.insert(to, text)),
        }
    }
    Ok(())
}

/// A value as a flag would be given it.
fn scalar_or_list(value: &yaml_serde::Value) -> Option<String> {
    match value {
        yaml_serde::Value::Sequence(items) => Some(
            items
                .iter()
                .filter_map(scalar)
                .collect::<Vec<_>>()
                .join(","),
        ),
        other => scalar(other),
    }
}

fn scalar(value: &yaml_serde::Value) -> Option<String> {
    Some(match value {
        yaml_serde::Value::Bool(b) => b.to_string(),
        yaml_serde::Value::Number(n) => n.to_string(),
        yaml_serde::Value::String(s) => s.clone(),
        _ => return None,
    })
}

fn is_zero(value: &yaml_serde::Value) -> bool {
    match value {
        yaml_serde::Value::Null | yaml_serde::Value::Bool(false) => true,
        yaml_serde::Value::String(s) => s.is_empty() || s == "0" || s == "off" || s == "not-yet",
        yaml_serde::Value::Number(n) => n.as_f64() == Some(0.0),
        yaml_serde::Value::Sequence(s) => s.is_empty(),
        yaml_serde::Value::Mapping(m) => m.is_empty(),
        _ => false,
    }
}
