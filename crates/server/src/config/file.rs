//! The configuration file: YAML, with the names of flags as keys and a few
//! sections. It replaces flags and variables.

use std::path::PathBuf;

use super::{
    flags::{self, Kind},
    parse::ParseError,
    security,
    settings::{Note, Settings},
};

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
            (
                "skip-client-san-verification",
                "peer-skip-client-san-verification",
            ),
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
        let (Some(text), Some(found)) = (value.and_then(scalar_or_list), flags::lookup(name))
        else {
            continue;
        };
        let text = in_flag_syntax(found.flag.kind, text);
        settings
            .set(&found, text)
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

/// Reads the configuration file.
pub(super) fn read(path: PathBuf) -> Result<Settings, ParseError> {
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
        read_key(&mut settings, key, value)
            .map_err(|why| ParseError::config(format!("{shown}: {why}")))?;
    }
    settings.notes.push(Note::File(path.clone()));
    settings.file = Some(path);
    Ok(settings)
}

fn read_key(settings: &mut Settings, key: &str, value: &yaml_serde::Value) -> Result<(), String> {
    if let Some((section, keys)) = SECTIONS.iter().find(|(name, _)| *name == key) {
        return match value {
            yaml_serde::Value::Mapping(values) => read_section(settings, section, keys, values),
            _ => Ok(()),
        };
    }
    if key == "discovery-config" {
        return read_discovery(settings, value);
    }
    // The file has its own name for this one.
    let name = match key {
        "experimental-snapshot-catch-up-entries" => "experimental-snapshot-catchup-entries",
        key => key,
    };
    let Some(found) = flags::lookup(name) else {
        settings.notes.push(Note::UnknownKey(key.to_owned()));
        return Ok(());
    };
    let Some(text) = scalar_or_list(value) else {
        return Ok(());
    };
    let kind = found.flag.kind;
    if text.is_empty() && kind.empty_is_missing() {
        return Ok(());
    }
    let text = in_flag_syntax(kind, text);
    settings
        .set(&found, text.clone())
        .map_err(|error| format!("{key}: invalid value \"{text}\": {error}"))
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
        match flags::lookup(to) {
            Some(found) => settings
                .set(&found, text)
                .map_err(|why| format!("{section}.{from}: {why}"))?,
            None => settings.set_file_only(to, text),
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
