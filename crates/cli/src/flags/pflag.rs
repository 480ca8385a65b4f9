//! pflag's grammar, because users of etcdctl have its habits: long flags take two dashes, flags and
//! arguments mix, `--` ends the flags, short ones combine (`-wjson`).

use super::{
    flag::{Flag, HELP, Kind},
    parsed::Parsed,
};
use crate::near::suggestion;

/// How the reason begins that names an unknown flag.
const UNKNOWN: &str = "unknown flag: --";

/// Parses `words`, whose flags must be among `flags`.
///
/// # Errors
/// pflag's words for the first flag that is unknown or has no valid value.
pub fn parse<'a>(
    words: &[Vec<u8>],
    flags: impl Iterator<Item = &'a Flag> + Clone,
) -> Result<Parsed, String> {
    let mut parsed = Parsed::of(flags.clone());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let text = String::from_utf8_lossy(word);
        if text == "--" {
            parsed.args_before_dash = Some(parsed.args.len());
            parsed.args.extend(words.cloned());
            break;
        }
        if let Some(name) = text.strip_prefix("--") {
            long(name, flags.clone(), &mut words, &mut parsed)?;
        } else if text.len() > 1 && text.starts_with('-') {
            shorts(&text[1..], flags.clone(), &mut words, &mut parsed)?;
        } else {
            parsed.args.push(word.clone());
        }
    }
    Ok(parsed)
}

/// `reason`, with the flags that may have been meant where it is that one is unknown. etcd's own
/// programs do not offer any.
pub fn with_suggestion<'a>(reason: String, flags: impl Iterator<Item = &'a Flag>) -> String {
    let near = reason
        .strip_prefix(UNKNOWN)
        .map(|name| suggestion(name, "--", flags.map(|flag| flag.name)));
    reason.clone() + &near.unwrap_or_default()
}

fn next<'a>(words: &mut impl Iterator<Item = &'a Vec<u8>>) -> Option<String> {
    words
        .next()
        .map(|word| String::from_utf8_lossy(word).into_owned())
}

/// Parses a flag after two dashes.
fn long<'a, 'w>(
    word: &str,
    mut flags: impl Iterator<Item = &'a Flag>,
    words: &mut impl Iterator<Item = &'w Vec<u8>>,
    parsed: &mut Parsed,
) -> Result<(), String> {
    if word.starts_with(['-', '=']) {
        return Err(format!("bad flag syntax: --{word}"));
    }
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (word, None),
    };
    let Some(flag) = flags.find(|flag| flag.name == name) else {
        if name == HELP {
            parsed.set_help();
            return Ok(());
        }
        return Err(format!("{UNKNOWN}{name}"));
    };
    let value = match value {
        Some(value) => value,
        None if flag.kind == Kind::Bool => "true".into(),
        None => next(words).ok_or_else(|| format!("flag needs an argument: --{name}"))?,
    };
    parsed.set(flag, &value)
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
                parsed.set_help();
                continue;
            }
            return Err(format!("unknown shorthand flag: '{short}' in -{cluster}"));
        };
        let value = if let Some(value) = rest.strip_prefix('=') {
            Some(value.to_owned())
        } else if flag.kind == Kind::Bool {
            parsed.set(flag, "true")?;
            continue;
        } else if rest.is_empty() {
            next(words)
        } else {
            Some(rest.to_owned())
        };
        let value =
            value.ok_or_else(|| format!("flag needs an argument: '{short}' in -{cluster}"))?;
        return parsed.set(flag, &value);
    }
    Ok(())
}

/// The words without the flags among `flags` and without their values; what follows `--` stays.
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
