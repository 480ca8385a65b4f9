//! `--auth-token=jwt,pub-key=…,priv-key=…,sign-method=…,ttl=…`.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use super::{
    jwt::Jwt,
    keys::{self, KeyError},
    method::Method,
};

const TTL_DEFAULT: Duration = Duration::from_secs(300);
const KNOWN: [&str; 4] = ["sign-method", "pub-key", "priv-key", "ttl"];
/// No key is larger; another file given by mistake is not read to its end.
const KEY_MAX: u64 = 1 << 20;

/// Why `--auth-token` is not taken. The texts are etcd's.
#[derive(Debug, thiserror::Error)]
pub enum OptionError {
    /// An unknown kind, or settings that cannot be read.
    #[error("auth: invalid auth options")]
    Invalid,
    /// No key is given.
    #[error("auth: missing key data")]
    MissingKey,
    /// The keys are not of one pair.
    #[error("auth: public and private keys don't match")]
    KeyMismatch,
    /// A key cannot be used.
    #[error("{0}")]
    Key(String),
}

pub(super) type Settings<'a> = BTreeMap<&'a str, &'a str>;

/// The kind of token, and its settings.
pub(super) fn split(option: &str) -> Result<(&str, Settings<'_>), OptionError> {
    let mut parts = option.split(',');
    let kind = parts.next().unwrap_or_default();
    let mut settings = Settings::new();
    for part in parts {
        let Some((name, value)) = part.split_once('=').filter(|(_, v)| !v.contains('=')) else {
            tracing::error!(option, "invalid token option");
            return Err(OptionError::Invalid);
        };
        if settings.insert(name, value).is_some() {
            tracing::error!(option, "duplicate-parameter" = name, "invalid token option");
            return Err(OptionError::Invalid);
        }
    }
    Ok((kind, settings))
}

pub(super) fn jwt(settings: &Settings<'_>) -> Result<Jwt, OptionError> {
    let failed = |error: String| {
        tracing::error!(error, "problem loading JWT options");
        OptionError::Invalid
    };
    let ttl = match setting(settings, "ttl") {
        "" => TTL_DEFAULT,
        text => cli::text::parse_duration(text).map_err(failed)?,
    };
    let public = read(setting(settings, "pub-key")).map_err(failed)?;
    let private = read(setting(settings, "priv-key")).map_err(failed)?;
    let method = Method::parse(setting(settings, "sign-method"))
        .ok_or_else(|| failed("auth: invalid auth signature method".to_owned()))?;
    let unknown: Vec<&str> = settings
        .keys()
        .copied()
        .filter(|name| !KNOWN.contains(name))
        .collect();
    if !unknown.is_empty() {
        tracing::warn!(keys = ?unknown, "unknown JWT options");
    }
    let key = keys::load(method, &public, &private).map_err(|error| match error {
        KeyError::Missing => OptionError::MissingKey,
        KeyError::Mismatch => OptionError::KeyMismatch,
        KeyError::Unusable(why) => OptionError::Key(why),
    })?;
    Ok(Jwt::new(method, key, ttl))
}

fn setting<'a>(settings: &Settings<'a>, name: &str) -> &'a str {
    settings.get(name).copied().unwrap_or_default()
}

/// A key file; nothing without one.
fn read(path: &str) -> Result<Vec<u8>, String> {
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let failed = |error: std::io::Error| format!("open {path}: {error}");
    let meta = fs::metadata(Path::new(path)).map_err(failed)?;
    if !meta.is_file() || meta.len() > KEY_MAX {
        return Err(format!("open {path}: it is no regular file of a key"));
    }
    fs::read(path).map_err(failed)
}
