//! The grammar of Go's `flag` package, which the etcd server has: one dash or two, values after `=`
//! or as the next word, switches with `=` alone, and nothing after the first word that is no flag.

use std::fmt;

use super::{
    flag::{Flag, Kind},
    value::{Invalid, Value},
};
use crate::text::quote;

/// What a table of flags has under a name.
pub trait Entry {
    /// How its value is read.
    fn flag(&self) -> &Flag;

    /// Whether a value is taken only after `=`, whatever the kind.
    fn stands_alone(&self) -> bool {
        self.flag().kind == Kind::Bool
    }
}

/// One flag as a line has it.
#[derive(Debug)]
pub struct Given<T> {
    /// What the table has under the name.
    pub entry: T,
    /// Its value.
    pub value: Value,
}

/// A line as it was read.
#[derive(Debug)]
pub struct Line<T> {
    /// Its flags in order.
    pub flags: Vec<Given<T>>,
    /// The first word that is no flag; it ends the flags.
    pub stray: Option<String>,
}

/// Why a line cannot be read. Its text is Go's.
#[derive(Debug, PartialEq, Eq)]
pub enum UsageError {
    /// The line asks for help.
    Help,
    /// Dashes without a name.
    Syntax(String),
    /// A name that the table does not have.
    Undefined(String),
    /// The last flag has no value.
    NeedsArgument(String),
    /// A value that the flag does not take.
    Invalid {
        /// The flag as it was called.
        name: String,
        /// What it takes.
        kind: Kind,
        /// The text that is no value.
        text: String,
        /// Why not.
        reason: Invalid,
    },
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UsageError::Help => f.write_str("flag: help requested"),
            UsageError::Syntax(word) => write!(f, "bad flag syntax: {word}"),
            UsageError::Undefined(name) => write!(f, "flag provided but not defined: -{name}"),
            UsageError::NeedsArgument(name) => write!(f, "flag needs an argument: -{name}"),
            UsageError::Invalid {
                name,
                kind,
                text,
                reason,
            } => {
                let (text, reason) = (quote(text.as_bytes()), short(reason));
                match kind {
                    Kind::Bool => write!(f, "invalid boolean value {text} for -{name}: {reason}"),
                    _ => write!(f, "invalid value {text} for flag -{name}: {reason}"),
                }
            }
        }
    }
}

/// Go's `flag` keeps of a number's error only what class it is of.
pub fn short(reason: &Invalid) -> &str {
    match reason {
        Invalid::Syntax(_) => "parse error",
        Invalid::Range(_) => "value out of range",
        Invalid::Choice(why) => why,
    }
}

/// Reads a line with the table that `find` looks into.
///
/// # Errors
/// Go's own, for the first word that is wrong.
pub fn parse<T: Entry>(
    words: &[String],
    find: impl Fn(&str) -> Option<T>,
) -> Result<Line<T>, UsageError> {
    let mut flags = Vec::new();
    let mut words = words.iter();
    let stray = loop {
        let Some(word) = words.next() else {
            break None;
        };
        let Some(body) = word.strip_prefix('-').filter(|body| !body.is_empty()) else {
            break Some(word.clone());
        };
        if body == "-" {
            break words.next().cloned();
        }
        let body = body.strip_prefix('-').unwrap_or(body);
        if body.starts_with(['-', '=']) {
            return Err(UsageError::Syntax(word.clone()));
        }
        let (name, text) = match body.split_once('=') {
            Some((name, text)) => (name, Some(text)),
            None => (body, None),
        };
        let Some(entry) = find(name) else {
            return Err(match name {
                "h" | "help" => UsageError::Help,
                name => UsageError::Undefined(name.to_owned()),
            });
        };
        let text = match text {
            Some(text) => text,
            None if entry.stands_alone() => "true",
            None => words
                .next()
                .ok_or_else(|| UsageError::NeedsArgument(name.to_owned()))?,
        };
        let value = entry
            .flag()
            .read(text)
            .map_err(|reason| UsageError::Invalid {
                name: name.to_owned(),
                kind: entry.flag().kind,
                text: text.to_owned(),
                reason,
            })?;
        flags.push(Given { entry, value });
    };
    Ok(Line { flags, stray })
}
