//! Endpoints from the DNS: the SRV records `_etcd-client-ssl._tcp` and
//! `_etcd-client._tcp` of a domain, asked anew by every command.

use cli::flags::Parsed;
use dns::{Resolver, Srv};

use crate::failure::{EXIT_ERROR, Failure, Outcome};

/// The endpoints of `--discovery-srv`; none without it, or if all were refused.
pub(crate) fn endpoints(parsed: &Parsed) -> Outcome<Vec<String>> {
    let domain = parsed.text("discovery-srv");
    if domain.is_empty() {
        return Ok(Vec::new());
    }
    let failed = |error: String| Failure::new(EXIT_ERROR, error);
    let resolver = Resolver::system().map_err(|error| failed(error.to_string()))?;
    let service_name = parsed.text("discovery-srv-name");
    let look_up = |tls| {
        resolver.srv(
            &dns::service("etcd-client", service_name, tls),
            "tcp",
            domain,
        )
    };
    let found = match (look_up(true), look_up(false)) {
        (Err(secure), Err(plain)) => {
            return Err(failed(format!("dns lookup errors: {secure} and {plain}")));
        }
        (secure, plain) => urls("https", secure)
            .chain(urls("http", plain))
            .collect::<Vec<_>>(),
    };
    if parsed.bool("insecure-discovery") {
        return Ok(found);
    }
    let (secure, plain): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|endpoint| endpoint.starts_with("https://"));
    for endpoint in plain {
        eprintln!("ignoring discovered insecure endpoint {endpoint:?}");
    }
    Ok(secure)
}

/// The name that the certificates must have, if endpoints must be secure.
pub(crate) fn server_name(parsed: &Parsed) -> Option<String> {
    let domain = parsed.text("discovery-srv");
    let secure = !domain.is_empty() && !parsed.bool("insecure-discovery");
    secure.then(|| domain.to_owned())
}

/// With the final dot of the name, as etcdctl shows them.
fn urls(scheme: &'static str, found: Result<Vec<Srv>, dns::Error>) -> impl Iterator<Item = String> {
    let records = found.unwrap_or_default().into_iter();
    records.map(move |record| format!("{scheme}://{}:{}", record.target, record.port))
}
