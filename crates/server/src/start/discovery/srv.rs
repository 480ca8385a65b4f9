//! Founders from SRV records. A record names a host and a port; which of them
//! is this member is found by comparing addresses with the peer URLs it
//! advertises. The others go by numbers until they say their names.

use dns::{Resolver, Srv};

use member::Error;

use crate::config::Config;

/// `--initial-cluster` as the DNS has it.
pub(super) fn initial_cluster(
    config: &Config,
    domain: &str,
    service_name: &str,
) -> Result<String, Error> {
    let resolver = Resolver::system().map_err(setting_up)?;
    let mut found = Vec::new();
    let mut failures = Vec::new();
    // Both are asked: members may be listed under either.
    for (tls, scheme) in [(true, "https"), (false, "http")] {
        let service = dns::service("etcd-server", service_name, tls);
        let answer = resolver
            .srv(&service, "tcp", domain)
            .map_err(|error| error.to_string())
            .and_then(|records| members(&records, scheme, &service, config, &place));
        let (members, error) = match answer {
            Ok(members) => (members, String::new()),
            Err(error) => (
                Vec::new(),
                format!("error querying DNS SRV records for _{service} {error}"),
            ),
        };
        tracing::info!(
            "service-scheme" = scheme,
            "service-name" = service,
            "server-name" = config.name,
            "discovery-srv" = domain,
            "advertise-peer-urls" = config.advertise_peer.join(","),
            "found-cluster" = members.join(","),
            error = error,
            "get cluster for {} SRV",
            dns::service("etcd-server", "", tls)
        );
        found.extend(members);
        failures.extend(Some(error).filter(|error| !error.is_empty()));
    }
    let failures = failures.join("; ");
    if !failures.is_empty() {
        tracing::warn!(error = failures, "failed to resolve during SRV discovery");
    }
    if found.is_empty() {
        return Err(setting_up(failures));
    }
    for node in &found {
        tracing::info!(
            node = node.as_str(),
            "got bootstrap from DNS for etcd-server"
        );
    }
    let own = format!("{}=", config.name);
    if !found.iter().any(|node| node.starts_with(&own)) {
        return Err(setting_up(format!(
            "cannot find local etcd member {:?} in SRV records",
            config.name
        )));
    }
    Ok(found.join(","))
}

fn setting_up(error: impl std::fmt::Display) -> Error {
    Error(format!("error setting up initial cluster: {error}"))
}

fn place(authority: &str) -> Result<std::net::SocketAddr, String> {
    dns::endpoint(authority).map_err(|error| error.to_string())
}

/// `name=url` for each record whose host is known; `place` says where a
/// `host:port` leads. An error only if there is none.
pub(super) fn members<P: PartialEq>(
    records: &[Srv],
    scheme: &str,
    service: &str,
    config: &Config,
    place: &impl Fn(&str) -> Result<P, String>,
) -> Result<Vec<String>, String> {
    let advertised = config
        .advertise_peer
        .iter()
        .map(|url| {
            let authority = url.split_once("://").map_or("", |(_, rest)| rest);
            Ok((url, place(authority)?))
        })
        .collect::<Result<Vec<_>, String>>()?;
    let mut members = Vec::new();
    let mut numbers = 0..;
    let mut failure = String::new();
    for record in records {
        let (host, port) = (record.target.trim_end_matches('.'), record.port);
        let there = match place(&format!("{host}:{port}")) {
            Ok(there) => there,
            Err(error) => {
                failure = error;
                continue;
            }
        };
        let own = advertised.iter().find(|(_, place)| *place == there);
        let url = format!("{scheme}://{host}:{port}");
        match own {
            Some((expected, _)) if !expected.starts_with(&format!("{scheme}://")) => {
                failure = format!(
                    "bootstrap at {url} from DNS for {service} has scheme mismatch with expected peer {expected}"
                );
            }
            Some(_) => members.push(format!("{}={url}", config.name)),
            None => members.extend(numbers.next().map(|n: u32| format!("{n}={url}"))),
        }
    }
    if members.is_empty() {
        return Err(failure);
    }
    Ok(members)
}
