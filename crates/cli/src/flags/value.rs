//! A text as the value of a flag, read once.

use std::{fmt, time::Duration};

use super::flag::{Flag, Kind, Values};
use crate::text::{self, parse_bool, parse_float, parse_int, parse_nanoseconds, parse_uint};

/// A value that its flag allows: as it was typed, and as it is read.
#[derive(Clone, Debug)]
pub struct Value {
    text: String,
    read: Read,
}

/// A value as its kind reads it.
#[derive(Clone, Debug, PartialEq)]
enum Read {
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    /// In nanoseconds.
    Duration(i64),
    Array(Vec<String>),
    Text,
}

/// Two spellings of one value are equal.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.read == other.read && (self.read != Read::Text || self.text == other.text)
    }
}

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
            Kind::Float => Read::Float(parse_float(text)?),
            Kind::Duration => Read::Duration(parse_nanoseconds(text).map_err(Invalid::Syntax)?),
            Kind::Array => Read::Array(vec![text.to_owned()]),
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
        let nothing = || Value {
            text: self.default.to_owned(),
            read: match self.kind {
                Kind::Bool => Read::Bool(false),
                Kind::Int => Read::Int(0),
                Kind::Uint => Read::Uint(0),
                Kind::Float => Read::Float(0.0),
                Kind::Duration => Read::Duration(0),
                Kind::Array => Read::Array(Vec::new()),
                Kind::Text | Kind::List => Read::Text,
            },
        };
        match (self.kind, self.default) {
            (Kind::Array, "") => nothing(),
            (_, default) => self.read(default).unwrap_or_else(|_| nothing()),
        }
    }
}

impl Value {
    /// Adds another value of a list or an array.
    pub(super) fn add(&mut self, more: &Value) {
        self.text.push(',');
        self.text.push_str(&more.text);
        if let (Read::Array(all), Read::Array(more)) = (&mut self.read, &more.read) {
            all.extend_from_slice(more);
        }
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
            _ => 0,
        }
    }

    /// A [`Kind::Uint`], or an [`Kind::Int`] that is not negative.
    pub fn uint(&self) -> u64 {
        match self.read {
            Read::Uint(value) => value,
            Read::Int(value) => u64::try_from(value).unwrap_or(0),
            _ => 0,
        }
    }

    /// A [`Kind::Float`].
    pub fn float(&self) -> f64 {
        match self.read {
            Read::Float(value) => value,
            _ => 0.0,
        }
    }

    /// A [`Kind::Duration`]; a negative one is none, for nothing here has a use for the past.
    pub fn duration(&self) -> Duration {
        match self.read {
            Read::Duration(nanoseconds) => {
                Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0))
            }
            _ => Duration::ZERO,
        }
    }

    /// What is between the commas of a [`Kind::List`]; every text of a [`Kind::Array`].
    pub fn list(&self) -> Vec<&str> {
        match (&self.read, self.text.as_str()) {
            (Read::Array(texts), _) => texts.iter().map(String::as_str).collect(),
            (_, "") => Vec::new(),
            (_, text) => text.split(',').collect(),
        }
    }
}
