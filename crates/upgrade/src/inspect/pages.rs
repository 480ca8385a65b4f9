//! What a member tells over HTTP/1.1 on its client URL: its command line and its
//! measures; and the certificates that it shows. Whatever does not come is left
//! out: a check that needs it says so.

use std::{collections::BTreeMap, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::access::Access;
use crate::facts::{Certificate, Live};

/// Pages longer than this are not of etcd.
const PAGE_MAX: u64 = 8 << 20;
/// Reads that the latency is taken from.
const READS: u32 = 20;

/// Host and port of a URL, and whether it is secure.
pub(crate) fn parts(endpoint: &str) -> Option<(String, bool)> {
    let (scheme, rest) = endpoint.split_once("://").unwrap_or(("", endpoint));
    let address = rest.split('/').next()?;
    let (host, port) = address.rsplit_once(':')?;
    (!host.is_empty() && port.parse::<u16>().is_ok())
        .then(|| (address.to_owned(), matches!(scheme, "https" | "unixs")))
}

/// Fills in what the pages of `endpoint` tell, and the certificates of its client
/// URL and of `peer_urls`.
pub(super) async fn fill(access: &Access, endpoint: &str, peer_urls: &[String], live: &mut Live) {
    let limit = access.command_timeout;
    if let Some(text) = page(access, endpoint, "/debug/vars").await {
        live.command_line = command_line(&text);
    }
    if let Some(text) = page(access, endpoint, "/metrics").await {
        live.metrics = measures(&text);
        live.is_pintle = Some(shows_pintle(&text));
    }
    if let Some((address, true)) = reached(access, endpoint)
        && let Some(found) = shown(access, &address, limit).await
    {
        live.certificates.push(named(
            format!("the client URL {endpoint}"),
            &address,
            &found,
        ));
    }
    for url in peer_urls {
        if let Some((address, true)) = parts(url)
            && let Some(found) = shown(access, &address, limit).await
        {
            live.certificates
                .push(named(format!("the peer URL {url}"), &address, &found));
        }
    }
    // A learner answers no reads.
    if !live.is_learner
        && let Ok(client) = access.client(endpoint).await
    {
        let mut took = Vec::new();
        for _ in 0..READS {
            let began = std::time::Instant::now();
            let request = proto::etcdserverpb::RangeRequest {
                key: b"pintle-upgrade".as_slice().into(),
                ..Default::default()
            };
            if client.range(request).await.is_err() {
                break;
            }
            took.push(began.elapsed().as_secs_f64());
        }
        took.sort_by(f64::total_cmp);
        if let (Some(middle), Some(last)) = (took.get(took.len() / 2), took.last()) {
            live.metrics.insert("read_p50_seconds".into(), *middle);
            live.metrics.insert("read_max_seconds".into(), *last);
        }
    }
}

/// The cluster version that `/version` of a member tells.
pub(crate) async fn cluster_version(access: &Access, endpoint: &str) -> Option<semver::Version> {
    let text = page(access, endpoint, "/version").await?;
    let page: serde_json::Value = serde_json::from_str(&text).ok()?;
    semver::Version::parse(page.get("etcdcluster")?.as_str()?).ok()
}

/// Whether the member at `endpoint` is Pintle, by its measures; `None` where it shows none.
pub(crate) async fn is_pintle(access: &Access, endpoint: &str) -> Option<bool> {
    let text = page(access, endpoint, "/metrics").await?;
    Some(shows_pintle(&text))
}

fn shows_pintle(metrics: &str) -> bool {
    metrics.contains("\npintle_version")
}

/// When the process of a member was started, as it shows that: two that differ are of two
/// processes. Whole seconds may be of both.
pub(crate) async fn started_at(access: &Access, endpoint: &str) -> Option<String> {
    let text = page(access, endpoint, "/metrics").await?;
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix("process_start_time_seconds "))?;
    value.contains('.').then(|| value.to_owned())
}

/// Host and port of a client URL, and whether it is reached by TLS: one without a
/// scheme is as the flags say.
fn reached(access: &Access, endpoint: &str) -> Option<(String, bool)> {
    let (address, secure) = parts(endpoint)?;
    let by_default = access.tls_by_default && !endpoint.contains("://");
    Some((address, secure || by_default))
}

/// How soon a proxy closes a connection that leads nowhere.
const CLOSED_WITHIN: Duration = Duration::from_millis(300);

/// Whether something takes connections at `endpoint`, and keeps them: a proxy without the
/// member it stands for closes them. What is no address is no reason to think that nothing
/// does.
///
/// # Errors
/// Nothing does.
pub(crate) async fn knock(access: &Access, endpoint: &str) -> std::io::Result<()> {
    let Some((address, _)) = reached(access, endpoint) else {
        return Ok(());
    };
    let mut stream = timeout(access.dial_timeout, TcpStream::connect(&address)).await??;
    // A member waits for its client to speak first.
    match timeout(CLOSED_WITHIN, stream.read(&mut [0; 1])).await {
        Ok(Ok(0)) => Err(std::io::ErrorKind::ConnectionAborted.into()),
        Ok(Err(error)) => Err(error),
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}

/// The page at `path` of the client URL `endpoint`.
async fn page(access: &Access, endpoint: &str, path: &str) -> Option<String> {
    let (address, secure) = reached(access, endpoint)?;
    let ask = async {
        let plain = TcpStream::connect(&address).await.ok()?;
        match (secure, &access.probe) {
            (false, _) => get(plain, &address, path).await,
            (true, Some(connector)) => {
                let host = address.rsplit_once(':')?.0;
                get(connector.secure(host, plain).await.ok()?, &address, path).await
            }
            (true, None) => None,
        }
    };
    timeout(access.command_timeout, ask).await.ok()?
}

/// The first bytes of an HTTP/2 client: its preface and empty settings.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The head of an HTTP/2 frame, and the type of the one that a server begins with.
const FRAME_BYTES: usize = 9;
const SETTINGS: u8 = 4;
/// How soon after the handshake a server says that it does not take the client's certificate.
const REFUSED_WITHIN: Duration = Duration::from_millis(500);

/// What is wrong with TLS at an endpoint that takes connections; `None` where nothing
/// is, or where nothing takes them.
pub(super) async fn tls_trouble(access: &Access, endpoint: &str) -> Option<String> {
    let (address, secure) = reached(access, endpoint)?;
    let host = address.rsplit_once(':')?.0;
    let limit = access.dial_timeout;
    let plain = timeout(limit, TcpStream::connect(&address))
        .await
        .ok()?
        .ok()?;
    let options = tls::ClientOptions {
        skip_verify: !secure,
        alpn: vec![b"h2".to_vec()],
        ..tls::ClientOptions::default()
    };
    let connector = match &access.tls {
        Some(connector) if secure => connector.clone(),
        _ => match tls::Connector::new(options) {
            Ok(connector) => std::sync::Arc::new(connector),
            Err(error) => return secure.then(|| format!("TLS: {error}")),
        },
    };
    let outcome = timeout(limit, connector.secure(host, plain)).await.ok()?;
    if !secure {
        return outcome
            .is_ok()
            .then(|| "it speaks TLS, and was asked without: name it with https://".into());
    }
    let mut stream = match outcome {
        Ok(stream) => stream,
        Err(error) if is_of_tls(&error) => return Some(format!("TLS: {error}")),
        // A member that ends closes its connections too.
        Err(error) => {
            let is_plain = speaks_plainly(&address, limit).await;
            return is_plain
                .then(|| format!("TLS: {error}: it speaks no TLS: name it with http://"));
        }
    };
    // In TLS 1.3 a server refuses the client's certificate only after the handshake. What it
    // says of that is lost where the client goes on writing.
    let first = timeout(REFUSED_WITHIN.min(limit), stream.read(&mut [0; 1])).await;
    let answer = match first {
        Ok(answer) => answer,
        Err(_) => {
            stream.write_all(HELLO).await.ok()?;
            timeout(limit, stream.read(&mut [0; 1])).await.ok()?
        }
    };
    match answer {
        Err(error) if is_of_tls(&error) => Some(format!("TLS: {}", tls::describe(&error))),
        _ => None,
    }
}

/// Whether the two sides did not come to terms, where others only lost their connection.
fn is_of_tls(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::InvalidData
}

/// Whether something at `address` answers HTTP/2 without TLS.
async fn speaks_plainly(address: &str, limit: Duration) -> bool {
    let ask = async {
        let mut plain = TcpStream::connect(address).await.ok()?;
        plain.write_all(HELLO).await.ok()?;
        let mut header = [0; FRAME_BYTES];
        plain.read_exact(&mut header).await.ok()?;
        // It begins with its settings.
        Some(header[3] == SETTINGS)
    };
    matches!(timeout(limit, ask).await, Ok(Some(true)))
}

/// One GET; `None` unless the answer is 200 and whole.
async fn get<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    address: &str,
    path: &str,
) -> Option<String> {
    // HTTP/1.0: the end of the answer is the end of the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    // TLS may end without a farewell.
    let _ = stream.take(PAGE_MAX).read_to_end(&mut answer).await;
    let text = String::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    head.split(' ')
        .nth(1)
        .is_some_and(|code| code == "200")
        .then(|| body.to_owned())
}

/// The certificate that a server shows, trusted or not.
async fn shown(access: &Access, address: &str, limit: Duration) -> Option<tls::Leaf> {
    let look = async {
        let connector = access.probe.as_ref()?;
        let host = address.rsplit_once(':')?.0;
        let plain = TcpStream::connect(address).await.ok()?;
        let stream = connector.secure(host, plain).await.ok()?;
        let chain = stream.get_ref().1.peer_certificates()?;
        tls::Leaf::parse(chain.first()?)
    };
    timeout(limit, look).await.ok()?
}

fn named(what: String, address: &str, leaf: &tls::Leaf) -> Certificate {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Certificate::of(what, leaf, Some(host))
}

/// `cmdline` of Go's expvar page.
fn command_line(text: &str) -> Option<Vec<String>> {
    let page: serde_json::Value = serde_json::from_str(text).ok()?;
    let words = page.get("cmdline")?.as_array()?;
    words.iter().map(|w| Some(w.as_str()?.to_owned())).collect()
}

/// Measures that are kept as they are.
const KEPT: [&str; 7] = [
    "etcd_server_leader_changes_seen_total",
    "etcd_server_slow_apply_total",
    "etcd_server_proposals_failed_total",
    "etcd_server_proposals_pending",
    "etcd_server_slow_read_indexes_total",
    "etcd_mvcc_db_total_size_in_use_in_bytes",
    "process_resident_memory_bytes",
];
/// Histograms of which the 99th percentile is kept, under a short name.
const HISTOGRAMS: [(&str, &str); 3] = [
    (
        "etcd_disk_wal_fsync_duration_seconds",
        "wal_fsync_p99_seconds",
    ),
    (
        "etcd_disk_backend_commit_duration_seconds",
        "backend_commit_p99_seconds",
    ),
    (
        "etcd_network_peer_round_trip_time_seconds",
        "peer_round_trip_p99_seconds",
    ),
];
/// Requests by the version that a client says it has.
const CLIENTS: &str = "etcd_server_client_requests_total{client_api_version=\"";

/// The measures that a comparison afterwards needs, out of a page of Prometheus.
pub(crate) fn measures(text: &str) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    let mut buckets: BTreeMap<&str, BTreeMap<u64, f64>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let Ok(value) = value.parse::<f64>() else {
            continue;
        };
        let name = series.split('{').next().unwrap_or(series);
        if KEPT.contains(&name) {
            found.insert(name.to_owned(), value);
        } else if let Some(rest) = series.strip_prefix(CLIENTS) {
            let version = rest.split('"').next().unwrap_or_default();
            *found
                .entry(format!("client_api_version {version}"))
                .or_insert(0.0) += value;
        } else if let Some((histogram, short)) = HISTOGRAMS
            .iter()
            .find(|(h, _)| name.strip_prefix(h) == Some("_bucket"))
        {
            let _ = histogram;
            let bound = series
                .split("le=\"")
                .nth(1)
                .and_then(|b| b.split('"').next());
            let bound = match bound {
                Some("+Inf") => f64::INFINITY,
                Some(bound) => bound.parse().unwrap_or(f64::NAN),
                None => f64::NAN,
            };
            if bound > 0.0 {
                // One histogram per peer counts together. Positive floats order as their bits.
                let counts = buckets.entry(short).or_default();
                *counts.entry(bound.to_bits()).or_insert(0.0) += value;
            }
        }
    }
    for (short, counts) in buckets {
        let total = counts.values().copied().fold(0.0, f64::max);
        let p99 = counts.iter().find(|(_, count)| **count >= 0.99 * total);
        if let Some((bound, _)) = p99.filter(|_| total > 0.0) {
            found.insert(short.to_owned(), f64::from_bits(*bound));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP x\netcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.001\"} 98\n\
        etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.002\"} 99\n\
        etcd_disk_wal_fsync_duration_seconds_bucket{le=\"+Inf\"} 100\n\
        etcd_server_leader_changes_seen_total 3\n\
        etcd_server_client_requests_total{client_api_version=\"3.5\",type=\"unary\"} 5\n\
        etcd_server_client_requests_total{client_api_version=\"3.5\",type=\"stream\"} 2\nbroken\nx NaNo\n";

    #[test]
    fn a_page_of_measures_gives_percentiles_and_clients() {
        let found = measures(PAGE);
        assert_eq!(found.get("wal_fsync_p99_seconds"), Some(&0.002));
        assert_eq!(
            found.get("etcd_server_leader_changes_seen_total"),
            Some(&3.0)
        );
        assert_eq!(found.get("client_api_version 3.5"), Some(&7.0));
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn the_command_line_is_what_expvar_says() {
        let words = command_line("{\"cmdline\": [\"etcd\",\"--name\",\"a\"], \"memstats\": {}}");
        assert_eq!(words.map(|w| w.len()), Some(3));
        assert_eq!(command_line("<html>"), None);
        assert_eq!(command_line("{\"cmdline\": [1]}"), None);
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn no_page_panics(text in "\\PC*") {
            let _ = measures(&text);
            let _ = measures(&format!("{PAGE}{text}"));
            let _ = command_line(&text);
        }
    }
}
