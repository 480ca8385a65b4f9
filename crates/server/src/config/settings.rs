//! Settings as given, before they are checked against each other, and the syntax
//! of their values. What is worth a log line is noted until logging is up.

use std::{collections::BTreeMap, path::PathBuf};

use super::{
    flags::{self, Found, Kind},
    resolve::url_list,
    unbuilt::Other,
};

/// Settings by flag.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settings {
    values: BTreeMap<&'static str, Given>,
    /// The configuration file, if one was read.
    pub file: Option<PathBuf>,
    /// Lines to log once logging is up.
    pub notes: Vec<Note>,
}

/// A value, and which of the flag's names it was given under.
#[derive(Debug, PartialEq, Eq)]
struct Given {
    value: String,
    name: &'static str,
}

/// Something about the settings that an operator wants to find in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A variable was used; a secret's value is masked.
    Variable {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// An `ETCD_*` variable that is no flag's: name, `=` and value.
    UnknownVariable(String),
    /// A variable that etcd's own programs own.
    SpecialVariable {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// A key of the file that is no flag's.
    UnknownKey(String),
    /// The file that was read.
    File(PathBuf),
    /// A flag that etcd dropped long ago.
    Dropped(&'static str),
    /// A setting that is accepted although its subject is not built.
    Unbuilt {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// What that means.
        effect: &'static str,
    },
}

impl Note {
    /// Writes the line.
    pub fn log(&self) {
        match self {
            Note::Variable { name, value } => tracing::info!(
                "variable-name" = name.as_str(),
                "variable-value" = value.as_str(),
                "recognized and used environment variable"
            ),
            Note::UnknownVariable(both) => tracing::warn!(
                "environment-variable" = both.as_str(),
                "unrecognized environment variable"
            ),
            Note::SpecialVariable { name, value } => tracing::warn!(
                key = name.as_str(),
                value = value.as_str(),
                "cannot set special environment variable"
            ),
            Note::UnknownKey(key) => tracing::info!(
                key = key.as_str(),
                "unknown key in the configuration file is ignored"
            ),
            Note::File(path) => tracing::info!(
                path = %path.display(),
                "loaded server configuration, other configuration command line flags and environment variables will be ignored if provided"
            ),
            Note::Dropped(name) => {
                tracing::warn!("flag-name" = name, "flag is no longer supported - ignoring")
            }
            Note::Unbuilt {
                name,
                value,
                effect,
            } => tracing::warn!(
                setting = name,
                value = value.as_str(),
                effect = effect,
                "setting is accepted, but not built into this version of Pintle"
            ),
        }
    }
}

impl Settings {
    /// The value of a flag: given, or its default.
    pub fn get(&self, name: &'static str) -> &str {
        match self.values.get(name) {
            Some(given) => &given.value,
            None => flags::find(name).map_or("", |flag| flag.default),
        }
    }

    /// True if it was given somewhere.
    pub fn is_set(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Takes a value in, or says what is wrong with it. The last one of a name
    /// counts; two names of one flag are one too many.
    pub(super) fn set(&mut self, found: &Found, value: String) -> Result<(), String> {
        let flag = found.flag;
        check(flag.kind, &value)?;
        if let Some(before) = self.values.get(flag.name)
            && before.name != found.name
        {
            let newer = if before.name == flag.name {
                found.name
            } else {
                before.name
            };
            return Err(format!(
                "cannot set --{} and --{newer} at the same time, please use --{newer} only",
                flag.name
            ));
        }
        if let Some(unbuilt) = found.unbuilt
            && !flag.kind.same(&value, flag.default)
        {
            match unbuilt.other {
                Other::Refused => return Err(NOT_BUILT.to_owned()),
                Other::Idle => {}
                Other::Warned(effect) => self.notes.push(Note::Unbuilt {
                    name: found.name,
                    value: value.clone(),
                    effect,
                }),
            }
        }
        let name = found.name;
        self.values.insert(flag.name, Given { value, name });
        Ok(())
    }

    /// Takes in the value of a setting that only the file has.
    pub(super) fn set_file_only(&mut self, name: &'static str, value: String) {
        self.values.insert(name, Given { value, name });
    }

    /// Adds what `other` has; its notes come first.
    pub(super) fn extend(&mut self, mut other: Settings) {
        self.values.append(&mut other.values);
        other.notes.append(&mut self.notes);
        self.notes = other.notes;
    }
}

/// Why a value of an unbuilt flag is refused.
const NOT_BUILT: &str = "etcd has this, but it is not built into this version of Pintle; start without it, or stay with etcd";

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
        Kind::OneOf(words) if words.contains(&value) => true,
        Kind::OneOf(_) => return Err("invalid value".to_owned()),
        Kind::Text => true,
    };
    if ok {
        Ok(())
    } else {
        Err("parse error".to_owned())
    }
}
