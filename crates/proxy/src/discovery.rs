//! Members of a cluster from the SRV records `_etcd-client-ssl._tcp` and `_etcd-client._tcp` of a
//! domain. It blocks: there is nothing else to do yet.

use std::net::{TcpStream, ToSocketAddrs as _};

use cli::flags::Parsed;
use dns::{Resolver, Srv};

use crate::goes::{self, join_host_port};

/// One member that a record names.
pub(crate) struct Found {
    /// As a URL.
    pub(crate) endpoint: String,
    pub(crate) record: Srv,
}

/// What `--discovery-srv` finds; nothing without it.
///
/// # Errors
/// Neither record can be had, in etcd's words.
pub(crate) fn members(flags: &Parsed) -> Result<Vec<Found>, String> {
    let domain = flags.text("discovery-srv");
    if domain.is_empty() {
        return Ok(Vec::new());
    }
    let found = ask(domain, flags.text("discovery-srv-name"))?;
    tracing::info!(
        "srv-server" = domain,
        endpoints = shown(&found),
        "discovered cluster from SRV"
    );
    if flags.bool("insecure-discovery") {
        return Ok(found);
    }
    tracing::info!(
        "srv-server" = domain,
        endpoints = shown(&found),
        "validating discovered SRV endpoints"
    );
    let mut faults = Vec::new();
    let valid: Vec<Found> = found
        .into_iter()
        .filter(|found| match check(&found.endpoint) {
            Ok(()) => true,
            Err(fault) => {
                faults.push(fault);
                false
            }
        })
        .collect();
    if faults.is_empty() {
        tracing::info!(
            "srv-server" = domain,
            endpoints = shown(&valid),
            "using validated discovered SRV endpoints"
        );
    } else {
        tracing::warn!(
            "srv-server" = domain,
            endpoints = shown(&valid),
            error = faults.join(","),
            "failed to validate discovered endpoints"
        );
    }
    Ok(valid)
}

fn ask(domain: &str, service_name: &str) -> Result<Vec<Found>, String> {
    let resolver = Resolver::system().map_err(|error| error.to_string())?;
    let look_up = |tls| {
        let service = dns::service("etcd-client", service_name, tls);
        resolver.srv(&service, "tcp", domain)
    };
    let found = |scheme: &'static str, records: Vec<Srv>| {
        records.into_iter().map(move |record| Found {
            endpoint: format!("{scheme}://{}", join_host_port(&record.target, record.port)),
            record,
        })
    };
    match (look_up(true), look_up(false)) {
        (Err(secure), Err(plain)) => Err(format!("dns lookup errors: {secure} and {plain}")),
        (secure, plain) => Ok(found("https", secure.unwrap_or_default())
            .chain(found("http", plain.unwrap_or_default()))
            .collect()),
    }
}

/// A member must speak TLS and must be there.
fn check(endpoint: &str) -> Result<(), String> {
    let Some(address) = endpoint.strip_prefix("https://") else {
        return Err(format!("{endpoint:?} is insecure"));
    };
    let reached = address.to_socket_addrs().and_then(|mut addresses| {
        let first = addresses.next();
        let first = first.ok_or_else(|| std::io::Error::other("no such host"))?;
        TcpStream::connect(first)
    });
    reached.map(drop).map_err(|error| {
        let why = goes::system("connect", &error);
        format!("{endpoint:?} failed to dial (dial tcp {address}: {why})")
    })
}

/// A list for a log line.
fn shown(found: &[Found]) -> String {
    let endpoints: Vec<&str> = found.iter().map(|found| found.endpoint.as_str()).collect();
    serde_json::Value::from(endpoints).to_string()
}
