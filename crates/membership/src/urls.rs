//! Peer URLs as etcd takes them: what is one, and how `--initial-cluster`
//! lists them. Never resolves a name.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Error;

/// Checks one URL. Gives it as etcd keeps it: without blanks around it, the scheme in small letters.
pub fn parse(text: &str) -> Result<String, Error> {
    let text = text.trim();
    let refuse = |why: &str| Err(Error::Malformed(format!("{why}: {text}")));
    let (scheme, rest) = text.split_once("://").unwrap_or(("", ""));
    let scheme = scheme.to_ascii_lowercase();
    match scheme.as_str() {
        "http" | "https" => {
            let host = rest.find(['/', '?', '#']).map_or(rest, |end| &rest[..end]);
            let Some(port) = port(host) else {
                return refuse("URL address does not have the form \"host:port\"");
            };
            if !port.bytes().all(|b| b.is_ascii_digit()) {
                return refuse("URL has an invalid port");
            }
            if rest[host.len()..].starts_with('/') {
                return refuse("URL must not contain a path");
            }
        }
        "unix" | "unixs" => {}
        _ => return refuse("URL scheme must be http, https, unix, or unixs"),
    }
    Ok(format!("{scheme}://{rest}"))
}

/// What stands behind the last colon; a v6 address must be in brackets.
fn port(host: &str) -> Option<&str> {
    let (name, port) = host.rsplit_once(':')?;
    let bare_v6 = name.contains(':') && !(name.starts_with('[') && name.ends_with(']'));
    (!bare_v6).then_some(port)
}

/// Reads `name=url,…`, a name repeated for each of its URLs. The URLs of a name come sorted.
pub fn by_name(text: &str) -> Result<BTreeMap<String, Vec<String>>, Error> {
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pair in text.split(',').filter(|pair| !pair.is_empty()) {
        let (name, url) = pair.split_once('=').unwrap_or((pair, ""));
        names.entry(name.to_owned()).or_default().push(parse(url)?);
    }
    let mut seen = BTreeSet::new();
    let unique = names.values().flatten().all(|url| seen.insert(url));
    if !unique {
        let pairs: Vec<String> = names
            .iter()
            .flat_map(|(name, urls)| urls.iter().map(move |url| format!("{name}={url}")))
            .collect();
        return Err(Error::Malformed(format!(
            "initial cluster {} has duplicate url",
            pairs.join(",")
        )));
    }
    names.values_mut().for_each(|urls| urls.sort_unstable());
    Ok(names)
}
