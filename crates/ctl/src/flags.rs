//! Flags as data, and their parser. One [`Flag`] feeds the parser, the help
//! and the environment variable. The grammar is pflag's, because users have
//! its habits: long flags take two dashes, flags and arguments mix, `--` ends
//! the flags, short ones combine (`-wjson`).

use std::{collections::BTreeMap, time::Duration};

use crate::text::{parse_bool, parse_duration, parse_int, quote};

/// One flag.
#[derive(Debug)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) short: Option<char>,
    pub(crate) kind: Kind,
    /// The default as it would be typed.
    pub(crate) default: &'static str,
    pub(crate) help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int,
    Text,
    /// Separated by commas; given twice, it adds up.
    List,
    Duration,
}

impl Flag {
    pub(crate) const fn new(
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
            help,
        }
    }

    pub(crate) const fn switch(name: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Bool, "false", help)
    }

    pub(crate) const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    fn check(&self, text: &str) -> Result<(), String> {
        match self.kind {
            Kind::Bool => parse_bool(text).map(drop).map_err(|e| e.to_string()),
            Kind::Int => parse_int(text, 0).map(drop).map_err(|e| e.to_string()),
            Kind::Duration => parse_duration(text).map(drop),
            Kind::Text | Kind::List => Ok(()),
        }
    }
}

/// What a command line said: the values as checked text, and the rest.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    values: BTreeMap<&'static str, String>,
    defaults: BTreeMap<&'static str, &'static str>,
    /// What was no flag, in order.
    pub(crate) args: Vec<Vec<u8>>,
    /// How many of `args` stood before `--`, if there was one.
    pub(crate) args_before_dash: Option<usize>,
}

/// The name under which [`Parsed`] reports `--help` and `-h`.
pub(crate) const HELP: &str = "help";

/// Parses `words`, whose flags must be among `flags`.
pub(crate) fn parse<'a>(
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
    pub(crate) fn supply(&mut self, flag: &Flag, value: String) -> Result<(), String> {
        self.set(flag, value)
    }

    /// Whether the command line had this flag.
    pub(crate) fn given(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The value, or the default. A name outside the table reads as empty.
    pub(crate) fn text(&self, name: &str) -> &str {
        match self.values.get(name) {
            Some(value) => value,
            None => self.defaults.get(name).copied().unwrap_or_default(),
        }
    }

    pub(crate) fn bool(&self, name: &str) -> bool {
        parse_bool(self.text(name)).unwrap_or_default()
    }

    pub(crate) fn int(&self, name: &str) -> i64 {
        parse_int(self.text(name), 0).unwrap_or_default()
    }

    pub(crate) fn duration(&self, name: &str) -> Duration {
        parse_duration(self.text(name)).unwrap_or_default()
    }

    pub(crate) fn list(&self, name: &str) -> Vec<&str> {
        match self.text(name) {
            "" => Vec::new(),
            text => text.split(',').collect(),
        }
    }
}
