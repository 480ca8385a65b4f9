//! What `--initial-cluster`, `--name` and `--initial-advertise-peer-urls` must
//! look like, alone and together, with etcd's messages. Must never let a
//! cluster through whose members would not find each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{SocketAddr, ToSocketAddrs},
};

use membership::Cluster;

use crate::{
    command::Line,
    failure::{Failure, Outcome},
};

/// Who will be in the restored cluster, and who of them this member is.
#[derive(Debug)]
pub(crate) struct Initial {
    pub(crate) cluster: Cluster,
    pub(crate) local: membership::Member,
}

/// Peer URLs by member name.
type ByName = BTreeMap<String, Vec<String>>;

/// Reads and checks the flags.
pub(crate) fn read(line: &Line) -> Outcome<Initial> {
    let advertised = urls(line.parsed.text("initial-advertise-peer-urls").split(','))?;
    let by_name = by_name(line.parsed.text("initial-cluster"))?;
    let name = line.parsed.text("name");
    let Some(own) = by_name.get(name) else {
        return Err(Failure::error(format_args!(
            "couldn't find local name {name:?} in the initial cluster configuration"
        )));
    };
    let mut seen = BTreeSet::new();
    if !by_name.values().flatten().all(|url| seen.insert(url)) {
        let text = pairs(&by_name);
        return Err(Failure::error(format_args!(
            "initial cluster {text} has duplicate url"
        )));
    }
    same_urls(name, own, &advertised)?;
    let cluster =
        Cluster::from_initial(line.parsed.text("initial-cluster-token"), &pairs(&by_name))
            .map_err(Failure::error)?;
    let local = cluster
        .members()
        .find(|member| member.name == name)
        .cloned();
    let local = local.ok_or_else(|| {
        Failure::error(format_args!(
            "member {name:?} is not in the initial cluster"
        ))
    })?;
    Ok(Initial { cluster, local })
}

/// Checks URLs one by one; gives them sorted.
fn urls<'a>(texts: impl Iterator<Item = &'a str>) -> Outcome<Vec<String>> {
    let mut urls = Vec::new();
    for text in texts {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("", ""));
        match scheme {
            "http" | "https" => {
                let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                if port(host).is_none() {
                    return Err(Failure::error(format_args!(
                        "URL address does not have the form \"host:port\": {text}"
                    )));
                }
                if !path.is_empty() {
                    return Err(Failure::error(format_args!(
                        "URL must not contain a path: {text}"
                    )));
                }
            }
            "unix" | "unixs" => {}
            _ => {
                return Err(Failure::error(format_args!(
                    "URL scheme must be http, https, unix, or unixs: {text}"
                )));
            }
        }
        urls.push(text.to_owned());
    }
    urls.sort_unstable();
    Ok(urls)
}

/// The port after the last colon; a v6 address must be in brackets.
fn port(host: &str) -> Option<&str> {
    let (name, port) = host.rsplit_once(':')?;
    let bare = name.contains(':') && !(name.starts_with('[') && name.ends_with(']'));
    (!bare).then_some(port)
}

fn by_name(text: &str) -> Outcome<ByName> {
    let mut by_name = ByName::new();
    for pair in text.split(',') {
        let (name, url) = pair.trim().split_once('=').unwrap_or((pair, ""));
        by_name
            .entry(name.to_owned())
            .or_default()
            .push(url.to_owned());
    }
    for list in by_name.values_mut() {
        *list = urls(list.iter().map(String::as_str))?;
    }
    Ok(by_name)
}

fn pairs(by_name: &ByName) -> String {
    let pairs: Vec<String> = by_name
        .iter()
        .flat_map(|(name, urls)| urls.iter().map(move |url| format!("{name}={url}")))
        .collect();
    pairs.join(",")
}

/// The URLs that a member tells others must be those by which the others know
/// it; host names may differ if they lead to the same address.
fn same_urls(name: &str, cluster: &[String], advertised: &[String]) -> Outcome<()> {
    let difference = cluster
        .iter()
        .zip(advertised)
        .find(|(a, b)| a != b && !same_place(a, b));
    if cluster.len() == advertised.len() && difference.is_none() {
        return Ok(());
    }
    let missing = |from: &[String], among: &[String], before: &str| -> String {
        let missing: Vec<String> = from
            .iter()
            .filter(|url| !among.contains(url))
            .map(|url| format!("{before}{url}"))
            .collect();
        missing.join(",")
    };
    let own = format!("{name}=");
    let lacking = missing(cluster, advertised, &own);
    if !lacking.is_empty() {
        let detail = match difference {
            Some((a, b)) => format!("resolved urls: {b:?} != {a:?}"),
            None => format!("len({}) != len({})", quoted(advertised), quoted(cluster)),
        };
        return Err(Failure::error(format_args!(
            "--initial-cluster has {lacking} but missing from --initial-advertise-peer-urls={} ({detail})",
            advertised.join(",")
        )));
    }
    let of_name = ByName::from([(name.to_owned(), advertised.to_vec())]);
    Err(Failure::error(format_args!(
        "--initial-advertise-peer-urls has {} but missing from --initial-cluster={}",
        missing(advertised, cluster, ""),
        pairs(&of_name)
    )))
}

/// Texts as Go shows a slice of them.
fn quoted(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", texts.join(" "))
}

/// Whether two URLs have the same scheme and lead to the same address.
fn same_place(a: &str, b: &str) -> bool {
    let address = |url: &str| -> Option<(String, SocketAddr)> {
        let (scheme, host) = url.split_once("://")?;
        Some((scheme.to_owned(), host.to_socket_addrs().ok()?.next()?))
    };
    // etcd leaves this name alone.
    let local = a.contains("//localhost:") || b.contains("//localhost:");
    !local && address(a).is_some_and(|place| address(b) == Some(place))
}
