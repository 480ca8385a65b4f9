//! What lies around the cluster: certificates, measures to compare with, other
//! clients, API servers, the image.

use super::{
    case::{Case, Lacks},
    finding::Level,
};
use crate::{facts::Certificate, target};

const DAY: i64 = 24 * 3600;
/// A certificate that ends sooner does not outlast the upgrade.
const BLOCK_BEFORE: i64 = DAY;
/// One that ends sooner should be renewed first.
const WARN_BEFORE: i64 = 30 * DAY;

pub(super) fn certificates(case: &mut Case<'_>) -> Result<(), Lacks> {
    let mut all: Vec<(String, Certificate)> = Vec::new();
    let mut asked = false;
    for facts in case.members {
        if let Some(live) = &facts.live {
            asked = true;
            let found = live.certificates.iter().cloned();
            all.extend(found.map(|one| (facts.label.clone(), one)));
        }
    }
    let files = case.given.certificates.iter().cloned();
    all.extend(files.map(|one| (String::new(), one)));
    if all.is_empty() && !asked {
        return Err("needs --endpoints, or --manifest with readable certificate files".into());
    }
    for (member, one) in one_by_one(all) {
        let (why, fix) = match one.of_client {
            true => (
                "once it has expired, members refuse this client, and whoever else shows it",
                "issue this client a new certificate before the upgrade",
            ),
            false => (
                "a member that restarts with an expired certificate does not come back",
                "renew it first, for instance by `kubeadm certs renew`, and restart what uses it",
            ),
        };
        let Some(end) = one.not_after else {
            case.find(
                Level::Warn,
                &member,
                format!("{}: the end of its certificate cannot be read", one.what),
                why,
                fix,
            );
            continue;
        };
        let left = end - case.given.now;
        let level = match left {
            left if left < BLOCK_BEFORE => Some(Level::Block),
            left if left < WARN_BEFORE => Some(Level::Warn),
            _ => None,
        };
        if let Some(level) = level {
            let when = match left {
                left if left < 0 => format!("expired {} days ago", -left / DAY),
                left if left < 2 * DAY => format!("expires in {} hours", left / 3600),
                left => format!("expires in {} days", left / DAY),
            };
            case.find(
                level,
                &member,
                format!("{}: its certificate {when}", one.what),
                why,
                fix,
            );
        }
        if let Some(digest) = one.weak_digest {
            case.find(
                Level::Warn,
                &member,
                format!("{}: its certificate is signed with {digest}", one.what),
                "releases built with Go 1.18 or later, and Pintle, take such signatures from no CA",
                "issue it anew, signed with SHA-256",
            );
        }
        if one.covers == Some(false) {
            case.find(
                Level::Warn,
                &member,
                format!(
                    "{}: its certificate is for {}",
                    one.what,
                    match one.names.is_empty() {
                        true => "no name at all".to_owned(),
                        false => one.names.join(", "),
                    }
                ),
                "clients and members that verify names refuse it; newer releases do not look at the common name",
                "issue it with the host among its alternative names",
            );
        }
    }
    Ok(())
}

/// Each certificate once, with all that show it: the members, and on which of their URLs or in
/// which file.
fn one_by_one(all: Vec<(String, Certificate)>) -> Vec<(String, Certificate)> {
    let mut found: Vec<(Vec<String>, Vec<String>, Certificate)> = Vec::new();
    let add = |to: &mut Vec<String>, text: String| {
        if !text.is_empty() && !to.contains(&text) {
            to.push(text);
        }
    };
    for (member, one) in all {
        let nameless = |one: &Certificate| Certificate {
            what: String::new(),
            ..one.clone()
        };
        let known = found
            .iter()
            .position(|(.., other)| nameless(other) == nameless(&one));
        let at = known.unwrap_or_else(|| {
            found.push((Vec::new(), Vec::new(), one.clone()));
            found.len() - 1
        });
        if let Some((members, places, _)) = found.get_mut(at) {
            add(members, member);
            add(places, one.what);
        }
    }
    let whole = |(members, places, one): (Vec<String>, Vec<String>, Certificate)| {
        let what = places.join(", ");
        (members.join(", "), Certificate { what, ..one })
    };
    found.into_iter().map(whole).collect()
}

pub(super) fn baseline(case: &mut Case<'_>) -> Result<(), Lacks> {
    let live = case.members.iter().filter_map(|f| f.live.as_ref());
    match live.into_iter().any(|live| !live.metrics.is_empty()) {
        true => Ok(()),
        false => Err("needs running members that show /metrics on their client URL".into()),
    }
}

/// Prefixes that Kubernetes itself writes, and this tool.
const OURS: [&str; 3] = ["/registry", "compact_rev_key", "pintle-upgrade"];
/// The oldest client library that 3.5 and later were tested with.
const OLDEST_CLIENT: (u64, u64) = (3, 3);

pub(super) fn clients(case: &mut Case<'_>) -> Result<(), Lacks> {
    let mut looked = false;
    for facts in case.members {
        if let Some(database) = &facts.database
            && !database.writers.is_empty()
        {
            looked = true;
            let kubernetes = database.writers.contains_key("/registry");
            let others: Vec<&str> = database
                .writers
                .keys()
                .map(String::as_str)
                .filter(|prefix| kubernetes && !OURS.contains(prefix))
                .collect();
            if !others.is_empty() {
                case.find(
                    Level::Warn,
                    &facts.label,
                    format!("others than Kubernetes keep keys here: {}", others.join(", ")),
                    "they feel restarts and the new release, too, and a restore takes them back as well",
                    "find out who they are, and that their client libraries fit the target",
                );
            }
        }
        if let Some(live) = &facts.live {
            let versions = live.metrics.keys();
            let versions: Vec<&str> = versions
                .filter_map(|name| name.strip_prefix("client_api_version "))
                .collect();
            looked |= !versions.is_empty();
            let old: Vec<&str> = versions
                .into_iter()
                .filter(|version| {
                    let mut parts = version.split('.').map(str::parse::<u64>);
                    match (parts.next(), parts.next()) {
                        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < OLDEST_CLIENT,
                        _ => false,
                    }
                })
                .collect();
            if !old.is_empty() {
                case.find(
                    Level::Warn,
                    &facts.label,
                    format!("clients say that they are of version {}", old.join(", ")),
                    "such libraries are older than any that the target was tested with",
                    "update them first",
                );
            }
        }
    }
    match looked {
        true => Ok(()),
        false => Err("needs a database with keys, or running members".into()),
    }
}

pub(super) fn api_servers(case: &mut Case<'_>) -> Result<(), Lacks> {
    if case.given.api_servers.is_empty() {
        return Err("show the manifests of the API servers with --kube-manifest".into());
    }
    let urls: Vec<String> = case
        .members
        .iter()
        .filter_map(|facts| facts.live.as_ref())
        .flat_map(|live| &live.members)
        .flat_map(|member| member.client_urls.iter().cloned())
        .collect();
    for server in case.given.api_servers.clone() {
        let local = |url: &str| url.contains("127.0.0.1") || url.contains("localhost");
        let strange: Vec<&str> = server
            .etcd_servers
            .iter()
            .map(String::as_str)
            .filter(|url| !urls.is_empty() && !local(url) && !urls.iter().any(|u| u == url))
            .collect();
        if !strange.is_empty() {
            case.find(
                Level::Warn,
                "",
                format!(
                    "{} names {}, which no member advertises",
                    server.path,
                    strange.join(", ")
                ),
                "an API server that asks a member that is gone fails when the others restart",
                "set --etcd-servers to the client URLs of the members, or to the local one",
            );
        }
        if let [one] = &server.etcd_servers[..]
            && !local(one)
            && urls.len() > 1
        {
            case.find(
                Level::Warn,
                "",
                format!("{} names one member only: {one}", server.path),
                "the API server is without etcd while that member restarts",
                "name all members in --etcd-servers",
            );
        }
        let Some(minor) = server.minor else { continue };
        if let Some(deploys) = target::kubernetes_deploys(minor)
            && deploys.minor < case.target.minor()
            && !case.target.is_pintle
        {
            case.find(
                Level::Warn,
                "",
                format!(
                    "{} runs Kubernetes 1.{minor}, which goes with etcd 3.{}",
                    server.path, deploys.minor
                ),
                "Kubernetes was not tested with the newer one at that version",
                format!(
                    "stay with the newest 3.{} until the API servers are upgraded",
                    deploys.minor
                ),
            );
        }
        // Kubernetes 1.31 and later read consistently from caches.
        let floor = semver::Version::new(3, 5, 13);
        if minor >= 31 && case.target.version < floor {
            case.find(
                Level::Warn,
                "",
                format!("Kubernetes 1.{minor} and etcd {}", case.target.version),
                "before 3.5.13 progress notifications are not reliable: consistent reads from caches fall back",
                "choose 3.5.13 or later",
            );
        }
    }
    Ok(())
}

pub(super) fn image(case: &mut Case<'_>) -> Result<(), Lacks> {
    match case.given.image.clone() {
        None => Err("name the image and its digest with --image and --digest".into()),
        Some((_, Ok(_))) => Ok(()),
        Some((path, Err(why))) => {
            case.find(
                Level::Block,
                "",
                format!("{path}: {why}"),
                "a node that starts another image than the tested one is the outage that was planned against",
                "fetch the image anew, by its digest",
            );
            Ok(())
        }
    }
}
