//! A text as the value of a flag, read once.

use std::{fmt, time::Duration};

use super::flag::{Flag, Kind, Values};
use crate::text::{self, parse_bool, parse_int, parse_nanoseconds, parse_uint};

/// A value that its flag allows: as it was typed, and as it is read.
#[derive(Clone, Debug)]
pub struct Value {
    text: String,
    read: Read,
}

/// A value as its kind reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    Bool(bool),
    Int(i64),
    Uint(u64),
    /// In nanoseconds.
    Duration(i64),
    Text,
}

/// Two spellings of one value are equal.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.read == other.read && (self.read != Read::Text || self.text == other.text)
    }
}

impl Eq for Value {}

/// Why a text is no value of a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// Not written as its kind is written; with what the kind's own parser says.
    Syntax(String),
    /// Larger than its kind can be; with what the kind's own parser says.
    Range(String),
    /// Not among the values of this flag.
    Choice(String),
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Invalid::Syntax(why) | Invalid::Range(why) | Invalid::Choice(why)) = self;
        f.write_str(why)
    }
}

impl From<text::ParseError> for Invalid {
    fn from(error: text::ParseError) -> Self {
        if error.is_out_of_range() {
            Invalid::Range(error.to_string())
        } else {
            Invalid::Syntax(error.to_string())
        }
    }
}

impl Flag {
    /// Reads a value of this flag.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(&self, text: &str) -> Result<Value, Invalid> {
        let read = match self.kind {
            Kind::Bool => Read::Bool(parse_bool(text)?),
            Kind::Int => Read::Int(parse_int(text, 0)?),
            Kind::Uint => Read::Uint(parse_uint(text, 0)?),
            Kind::Duration => Read::Duration(parse_nanoseconds(text).map_err(Invalid::Syntax)?),
            Kind::Text | Kind::List => Read::Text,
        };
        match self.values {
            Values::Any => {}
            Values::OneOf(words) if words.contains(&text) => {}
            Values::OneOf(_) => return Err(Invalid::Choice("invalid value".to_owned())),
            Values::Checked(check) => check(text).map_err(Invalid::Choice)?,
        }
        let text = text.to_owned();
        Ok(Value { text, read })
    }

    /// The value where none is given: what the definition says, or nothing where that is empty.
    pub fn default_value(&self) -> Value {
        self.read(self.default).unwrap_or_else(|_| Value {
            text: self.default.to_owned(),
            read: match self.kind {
                Kind::Bool => Read::Bool(false),
                Kind::Int => Read::Int(0),
                Kind::Uint => Read::Uint(0),
                Kind::Duration => Read::Duration(0),
                Kind::Text | Kind::List => Read::Text,
            },
        })
    }
}

impl Value {
    /// Adds another value of a list.
    pub(super) fn add(&mut self, more: &Value) {
        self.text.push(',');
        self.text.push_str(&more.text);
    }

    /// As it was typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a switch is on; nothing else is.
    pub fn bool(&self) -> bool {
        self.read == Read::Bool(true)
    }

    /// An [`Kind::Int`] or [`Kind::Uint`] as a signed number.
    pub fn int(&self) -> i64 {
        match self.read {
            Read::Int(value) => value,
            Read::Uint(value) => i64::try_from(value).unwrap_or(i64::MAX),
            Read::Bool(_) | Read::Duration(_) | Read::Text => 0,
        }
    }

    /// A [`Kind::Uint`], or an [`Kind::Int`] that is not negative.
    pub fn uint(&self) -> u64 {
        match self.read {
            Read::Uint(value) => value,
            Read::Int(value) => u64::try_from(value).unwrap_or(0),
            Read::Bool(_) | Read::Duration(_) | Read::Text => 0,
        }
    }

    /// A [`Kind::Duration`]; a negative one is none, for nothing here has a use for the past.
    pub fn duration(&self) -> Duration {
        match self.read {
            Read::Duration(nanoseconds) => {
                Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0))
            }
            Read::Bool(_) | Read::Int(_) | Read::Uint(_) | Read::Text => Duration::ZERO,
        }
    }

    /// What is between the commas.
    pub fn list(&self) -> Vec<&str> {
        match self.text.as_str() {
            "" => Vec::new(),
            text => text.split(',').collect(),
        }
    }
}
