//! What a failpoint does, in gofail's language: terms with `->` between them, the first one whose
//! conditions hold is done.
//!
//! ```text
//! <terms>  :: <term> ( "->" <term> )*
//! <term>   :: ( <percent> "%" | <count> "*" )* <action> [ "(" <value> ")" ]
//! <action> :: "off" | "return" | "sleep" | "panic" | "print"
//! ```

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::OnceLock,
    time::Duration,
};

/// Reads a duration in Go's words; `None` for what is none.
pub type ParseDuration = fn(&str) -> Option<Duration>;

/// The parser belongs to a crate above this one, so the program brings it along.
static PARSE_DURATION: OnceLock<ParseDuration> = OnceLock::new();

/// What is done at a failpoint.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Off,
    /// The place fails with this text.
    Return(String),
    Sleep(Duration),
    Panic,
    Print,
}

#[derive(Debug, PartialEq)]
enum Condition {
    /// Holds this often.
    Count(u64),
    /// Holds with this probability.
    Chance(f64),
}

#[derive(Debug, PartialEq)]
struct Term {
    conditions: Vec<Condition>,
    action: Action,
}

/// What a failpoint is set to.
#[derive(Debug, PartialEq)]
pub(crate) struct Terms {
    text: String,
    chain: Vec<Term>,
    executed: u64,
}

impl Terms {
    /// Reads terms; `None` for what are none.
    pub(crate) fn parse(text: &str) -> Option<Terms> {
        let chain = text.split("->").map(term).collect::<Option<Vec<_>>>()?;
        Some(Terms {
            text: text.to_owned(),
            chain,
            executed: 0,
        })
    }

    /// As they were written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// How often one of them was done.
    pub(crate) fn executed(&self) -> u64 {
        self.executed
    }

    /// What is to be done this time.
    pub(crate) fn next(&mut self) -> Action {
        let next = self.chain.iter_mut().find_map(|term| {
            let holds = term.conditions.iter_mut().all(Condition::holds);
            holds.then(|| term.action.clone())
        });
        self.executed += u64::from(next.is_some());
        next.unwrap_or(Action::Off)
    }
}

impl Condition {
    fn holds(&mut self) -> bool {
        match self {
            Condition::Count(left) => {
                let holds = *left > 0;
                *left = left.saturating_sub(1);
                holds
            }
            // A hasher's keys are the one randomness of the standard library.
            Condition::Chance(chance) => {
                let drawn = RandomState::new().hash_one(()) >> 11;
                (drawn as f64) < *chance * (1u64 << 53) as f64
            }
        }
    }
}

fn term(mut text: &str) -> Option<Term> {
    let mut conditions = Vec::new();
    while text.starts_with(|c: char| c.is_ascii_digit()) {
        let end = text.find(['%', '*'])?;
        let (number, sign) = (&text[..end], &text[end..=end]);
        conditions.push(match sign {
            "*" => Condition::Count(number.parse().ok()?),
            _ => Condition::Chance(number.parse::<f64>().ok()? / 100.0),
        });
        text = &text[end + 1..];
    }
    let (name, value) = match text.split_once('(') {
        Some((name, rest)) => (name, rest.strip_suffix(')')?),
        None => (text, ""),
    };
    let action = match name {
        "off" => Action::Off,
        "return" => Action::Return(unquoted(value)?.to_owned()),
        "sleep" => Action::Sleep(pause(value)?),
        "panic" => Action::Panic,
        "print" => Action::Print,
        _ => return None,
    };
    Some(Term { conditions, action })
}

/// The text of a value: quoted, or a number or a truth value as it is.
fn unquoted(value: &str) -> Option<&str> {
    match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"'),
        None => Some(value),
    }
}

/// Milliseconds, or a duration in Go's words.
fn pause(value: &str) -> Option<Duration> {
    if let Ok(ms) = value.parse() {
        return Some(Duration::from_millis(ms));
    }
    let parse = PARSE_DURATION.get()?;
    unquoted(value).and_then(parse)
}

/// Reads durations with `parse` from here on.
pub(crate) fn parse_durations_with(parse: ParseDuration) {
    // Set before: by the same program, to the same parser.
    let _ = PARSE_DURATION.set(parse);
}
