//! The configuration file: YAML, with the names of flags as keys and a few
//! sections. It replaces flags and variables.

use std::path::PathBuf;

use cli::flags::{Kind, go};
use yaml_serde::{Mapping, Value};

use super::{
    error::ParseError,
    settings::{Note, Settings},
    table::{self, Found},
};

/// Reads the configuration file.
pub(super) fn read(path: PathBuf) -> Result<Settings, ParseError> {
    let shown = path.display();
    let text = std::fs::read_to_string(&path).map_err(|error| {
        ParseError::config(format!(
            "cannot read the configuration file {shown}: {error}"
        ))
    })?;
    let root: Value = yaml_serde::from_str(&text).map_err(|error| {
        ParseError::config(format!(
            "the configuration file {shown} is not valid YAML: {error}"
        ))
    })?;
    let mut settings = Settings::default();
    let empty = Mapping::new();
    let map = match &root {
        Value::Mapping(map) => map,
        Value::Null => &empty,
        _ => {
            return Err(ParseError::config(format!(
                "the configuration file {shown} is not a map of settings"
            )));
        }
    };
    let mut known = Vec::new();
    for id in table::ids() {
        for (path, name) in id.setting().paths() {
            known.push(path[0]);
            if let Some(value) = at(map, &path) {
                take(&mut settings, &Found { id, name }, value).map_err(|why| {
                    ParseError::config(format!("{shown}: {}: {why}", path.join(".")))
                })?;
            }
        }
    }
    let unknown = map
        .keys()
        .filter_map(Value::as_str)
        .filter(|key| !known.iter().any(|known| known.eq_ignore_ascii_case(key)));
    let notes = unknown.map(|key| Note::UnknownKey(key.to_owned()));
    settings.notes.extend(notes);
    settings.notes.push(Note::File(path.clone()));
    settings.file = Some(path);
    Ok(settings)
}

/// The value under nested keys, which etcd reads in any case.
fn at<'a>(map: &'a Mapping, path: &[&str]) -> Option<&'a Value> {
    let (key, rest) = path.split_first()?;
    let (_, value) = map.iter().find(|(found, _)| {
        found
            .as_str()
            .is_some_and(|found| found.eq_ignore_ascii_case(key))
    })?;
    match (rest, value) {
        ([], value) => Some(value),
        (rest, Value::Mapping(section)) => at(section, rest),
        _ => None,
    }
}

fn take(settings: &mut Settings, found: &Found, value: &Value) -> Result<(), String> {
    let setting = found.id.setting();
    let Some(text) = scalar_or_list(value) else {
        return Ok(());
    };
    if text.is_empty() && setting.empty_is_missing() {
        return Ok(());
    }
    let text = in_flag_syntax(setting.flag.kind, text);
    let invalid = |why: &str| format!("invalid value \"{text}\": {why}");
    let value = setting.flag.read(&text);
    let value = value.map_err(|reason| invalid(go::short(&reason)))?;
    settings.set(found, value).map_err(|why| invalid(&why))
}

/// Durations are plain nanoseconds in the file.
fn in_flag_syntax(kind: Kind, text: String) -> String {
    if kind == Kind::Duration && text.parse::<i64>().is_ok() {
        format!("{text}ns")
    } else {
        text
    }
}

/// A value as a flag would be given it.
fn scalar_or_list(value: &Value) -> Option<String> {
    match value {
        Value::Sequence(items) => Some(
            items
                .iter()
                .filter_map(scalar)
                .collect::<Vec<_>>()
                .join(","),
        ),
        other => scalar(other),
    }
}

fn scalar(value: &Value) -> Option<String> {
    Some(match value {
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => n.to_string(),
        Value::String(s) => s.clone(),
        _ => return None,
    })
}
