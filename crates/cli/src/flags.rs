//! Flags as data, and their parser. One [`Flag`] feeds the parser, the help,
//! the completion and the environment variable. The grammar is pflag's, because
//! users have its habits: long flags take two dashes, flags and arguments mix,
//! `--` ends the flags, short ones combine (`-wjson`). It must never let a value
//! through that its kind does not allow.

use std::{collections::BTreeMap, time::Duration};

use crate::text::{parse_bool, parse_duration, parse_int, parse_uint, quote};

/// One flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Behind two dashes.
    pub name: &'static str,
    /// Behind one dash.
    pub short: Option<char>,
    /// What it takes.
    pub kind: Kind,
    /// The default as it would be typed.
    pub default: &'static str,
    /// Whether its command does not run without it.
    pub required: bool,
    /// One line for the help page.
    pub help: &'static str,
}

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing, or `=true`, `=false`.
    Bool,
    /// An `i64`; the prefix (`0x`) says the base.
    Int,
    /// A `u64`; the prefix says the base.
    Uint,
    /// Anything.
    Text,
    /// Separated by commas; given twice, it adds up.
    List,
    /// As Go writes them: `1m30s`.
    Duration,
}

impl Flag {
    /// A flag with a value.
    pub const fn new(
        name: &'static str,
        kind: Kind,
        default: &'static str,
        help: &'static str,
    ) -> Self {
        Self {
            name,
            short: None,
            kind,
            default,
            required: false,
            help,
        }
    }

    /// A flag that is on or off, and off by default.
    pub const fn switch(name: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Bool, "false", help)
    }

    /// The same flag with a short form.
    #[must_use]
    pub const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    /// The same flag, which now must be given.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    fn check(&self, text: &str) -> Result<(), String> {
        match self.kind {
            Kind::Bool => parse_bool(text).map(drop).map_err(|e| e.to_string()),
            Kind::Int => parse_int(text, 0).map(drop).map_err(|e| e.to_string()),
            Kind::Uint => parse_uint(text, 0).map(drop).map_err(|e| e.to_string()),
            Kind::Duration => parse_duration(text).map(drop),
            Kind::Text | Kind::List => Ok(()),
        }
    }
}

/// What a command line said: the values as checked text, and the rest.
#[derive(Debug, Default)]
pub struct Parsed {
    values: BTreeMap<&'static str, String>,
    defaults: BTreeMap<&'static str, &'static str>,
    /// What was no flag, in order.
    pub args: Vec<Vec<u8>>,
    /// How many of `args` stood before `--`, if there was one.
    pub args_before_dash: Option<usize>,
}

/// The name under which [`Parsed`] reports `--help` and `-h`.
pub const HELP: &str = "help";

/// Parses `words`, whose flags must be among `flags`.
///
/// # Errors
/// pflag's words for the first flag that is unknown or has no valid value.
pub fn parse<'a>(
    words: &[Vec<u8>],
    flags: impl Iterator<Item = &'a Flag> + Clone,
) -> Result<Parsed, String> {
    let mut parsed = Parsed::default();
    for flag in flags.clone() {
        parsed.defaults.insert(flag.name, flag.default);
    }
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let text = String::from_utf8_lossy(word);
        if text == "--" {
            parsed.args_before_dash = Some(parsed.args.len());
            parsed.args.extend(words.cloned());
            break;
        }
        if let Some(long) = text.strip_prefix("--") {
            if long.starts_with(['-', '=']) {
                return Err(format!("bad flag syntax: {text}"));
            }
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            let Some(flag) = flags.clone().find(|flag| flag.name == name) else {
                if name == HELP {
                    parsed.values.insert(HELP, "true".into());
                    continue;
                }
                return Err(format!("unknown flag: --{name}"));
            };
            let value = match value {
                Some(value) => value,
                None if flag.kind == Kind::Bool => "true".into(),
                None => {
                    next(&mut words).ok_or_else(|| format!("flag needs an argument: --{name}"))?
                }
            };
            parsed.set(flag, value)?;
        } else if text.len() > 1 && text.starts_with('-') {
            shorts(&text[1..], flags.clone(), &mut words, &mut parsed)?;
        } else {
            parsed.args.push(word.clone());
        }
    }
    Ok(parsed)
}

fn next<'a>(words: &mut impl Iterator<Item = &'a Vec<u8>>) -> Option<String> {
    words
        .next()
        .map(|word| String::from_utf8_lossy(word).into_owned())
}

/// Parses a cluster of short flags, without its dash.
fn shorts<'a, 'w>(
    cluster: &str,
    flags: impl Iterator<Item = &'a Flag> + Clone,
    words: &mut impl Iterator<Item = &'w Vec<u8>>,
    parsed: &mut Parsed,
) -> Result<(), String> {
    let mut rest = cluster;
    while let Some(short) = rest.chars().next() {
        rest = &rest[short.len_utf8()..];
        let Some(flag) = flags.clone().find(|flag| flag.short == Some(short)) else {
            if short == 'h' {
                parsed.values.insert(HELP, "true".into());
                continue;
            }
            return Err(format!("unknown shorthand flag: '{short}' in -{cluster}"));
        };
        let value = if let Some(value) = rest.strip_prefix('=') {
            Some(value.to_owned())
        } else if flag.kind == Kind::Bool {
            parsed.set(flag, "true".into())?;
            continue;
        } else if rest.is_empty() {
            next(words)
        } else {
            Some(rest.to_owned())
        };
        let value =
            value.ok_or_else(|| format!("flag needs an argument: '{short}' in -{cluster}"))?;
        return parsed.set(flag, value);
    }
    Ok(())
}

impl Parsed {
    fn set(&mut self, flag: &Flag, value: String) -> Result<(), String> {
        flag.check(&value).map_err(|reason| {
            let name = match flag.short {
                Some(short) => format!("-{short}, --{}", flag.name),
                None => format!("--{}", flag.name),
            };
            let value = quote(value.as_bytes());
            format!("invalid argument {value} for \"{name}\" flag: {reason}")
        })?;
        match self.values.get_mut(flag.name) {
            Some(list) if flag.kind == Kind::List => {
                list.push(',');
                list.push_str(&value);
            }
            _ => {
                self.values.insert(flag.name, value);
            }
        }
        Ok(())
    }

    /// Takes a value from elsewhere (the environment) for a flag not given.
    ///
    /// # Errors
    /// pflag's words for a value that its kind does not allow.
    pub fn supply(&mut self, flag: &Flag, value: String) -> Result<(), String> {
        self.set(flag, value)
    }

    /// What is wrong when flags that must be given are missing, in cobra's words.
    pub fn missing<'a>(&self, flags: impl Iterator<Item = &'a Flag>) -> Option<String> {
        let missing: Vec<String> = flags
            .filter(|flag| flag.required && !self.given(flag.name))
            .map(|flag| format!("{:?}", flag.name))
            .collect();
        let names = missing.join(", ");
        (!names.is_empty()).then(|| format!("required flag(s) {names} not set"))
    }

    /// Whether the command line had this flag.
    pub fn given(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The value, or the default. A name outside the table reads as empty.
    pub fn text(&self, name: &str) -> &str {
        match self.values.get(name) {
            Some(value) => value,
            None => self.defaults.get(name).copied().unwrap_or_default(),
        }
    }

    /// The arguments as text.
    pub fn words(&self) -> Vec<String> {
        let text = |word: &Vec<u8>| String::from_utf8_lossy(word).into_owned();
        self.args.iter().map(text).collect()
    }

    /// The value of a [`Kind::Bool`].
    pub fn bool(&self, name: &str) -> bool {
        parse_bool(self.text(name)).unwrap_or_default()
    }

    /// The value of a [`Kind::Int`].
    pub fn int(&self, name: &str) -> i64 {
        parse_int(self.text(name), 0).unwrap_or_default()
    }

    /// The value of a [`Kind::Uint`].
    pub fn uint(&self, name: &str) -> u64 {
        parse_uint(self.text(name), 0).unwrap_or_default()
    }

    /// The value of a [`Kind::Duration`].
    pub fn duration(&self, name: &str) -> Duration {
        parse_duration(self.text(name)).unwrap_or_default()
    }

    /// The values of a [`Kind::List`].
    pub fn list(&self, name: &str) -> Vec<&str> {
        match self.text(name) {
            "" => Vec::new(),
            text => text.split(',').collect(),
        }
    }
}

/// The words without the flags among `flags` and without their values; what is
/// behind `--` stays.
pub fn without(words: &[Vec<u8>], flags: &[Flag]) -> Vec<Vec<u8>> {
    let mut kept = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let text = String::from_utf8_lossy(word);
        if text == "--" {
            kept.push(word.clone());
            kept.extend(words.cloned());
            break;
        }
        let (name, has_value) = match text.split_once('=') {
            Some((name, _)) => (name, true),
            None => (&*text, false),
        };
        let found = flags.iter().find(|flag| {
            name.strip_prefix("--") == Some(flag.name)
                || flag.short.is_some_and(|c| name == format!("-{c}"))
        });
        match found {
            Some(flag) if flag.kind != Kind::Bool && !has_value => drop(words.next()),
            Some(_) => {}
            None => kept.push(word.clone()),
        }
    }
    kept
}
