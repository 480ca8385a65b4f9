//! The flags of `grpc-proxy start`, checked in etcd's order and words.

use std::{path::PathBuf, sync::Arc, time::Duration};

use ::client::{Client, Config, Endpoint};
use cli::flags::Parsed;
use server::transport::Limits;
use tls::{ClientOptions, Connector, Identity, Options, Protocol, Version};

use crate::discovery;

/// Until a connection to a member is open.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// What a member may send before a client has taken it: on a stream, and on all of a connection. A
/// client that does not read a stream must not hold up the others: more of the first fit into the
/// second than streams are passed on.
const WINDOWS: (u32, u32) = (1 << 20, 512 << 20);
/// Streams of members that are passed on at a time.
pub(super) const STREAMS_MAX: usize = 256;
const _: () = assert!(STREAMS_MAX as u32 * WINDOWS.0 < WINDOWS.1);

/// Refuses flags that do not go together.
///
/// # Errors
/// In etcd's words.
pub(super) fn check(flags: &Parsed) -> Result<(), String> {
    let (prefix, ttl) = (flags.text("resolver-prefix"), flags.int("resolver-ttl"));
    if !prefix.is_empty() && ttl < 1 {
        return Err(format!("invalid resolver-ttl {ttl}"));
    }
    if prefix.is_empty() && ttl > 0 {
        return Err(format!("invalid resolver-prefix {prefix:?}"));
    }
    if !prefix.is_empty() && flags.text("advertise-client-url").is_empty() {
        return Err("invalid advertise-client-url \"\"".to_owned());
    }
    if flags.bool("auto-tls") && flags.uint("self-signed-cert-validity") == 0 {
        return Err("selfSignedCertValidity is invalid,it should be greater than 0".to_owned());
    }
    let (min, max) = (flags.text("tls-min-version"), flags.text("tls-max-version"));
    let version = |name: &str, text: &str| {
        Version::parse(text).map_err(|why| format!("{name} is invalid: {why}"))
    };
    let lowest = version("tls-min-version", min)?;
    let highest = version("tls-max-version", max)?;
    if highest.is_some() && lowest > highest {
        return Err(format!(
            "min version ({min}) is greater than max version ({max})"
        ));
    }
    if lowest == Some(Version::Tls13) && !flags.list("listen-cipher-suites").is_empty() {
        return Err("cipher suites cannot be configured when only TLS1.3 is enabled".to_owned());
    }
    Ok(())
}

fn path(flags: &Parsed, name: &str) -> Option<PathBuf> {
    let text = flags.text(name);
    (!text.is_empty()).then(|| PathBuf::from(text))
}

/// A pair of files; both, or neither.
fn identity(cert: Option<PathBuf>, key: Option<PathBuf>) -> Result<Option<Identity>, String> {
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some(Identity { cert, key })),
        (None, None) => Ok(None),
        (cert, key) => {
            let shown = |path: Option<PathBuf>| path.unwrap_or_default().display().to_string();
            Err(format!(
                "KeyFile and CertFile must both be present[key: {}, cert: {}]",
                shown(key),
                shown(cert)
            ))
        }
    }
}

/// How clients are served; `None` in plain text.
///
/// # Errors
/// What cannot be used.
pub(super) fn listening(flags: &Parsed) -> Result<Option<Options>, String> {
    let given = ["trusted-ca-file", "cert-file", "key-file"];
    let is_given = given.iter().any(|name| !flags.text(name).is_empty());
    if !is_given && !flags.bool("auto-tls") {
        return Ok(None);
    }
    let suites: Vec<String> = flags
        .list("listen-cipher-suites")
        .into_iter()
        .map(str::to_owned)
        .collect();
    let protocol = Protocol::parse(
        flags.text("tls-min-version"),
        flags.text("tls-max-version"),
        &suites,
    )?;
    let base = Options {
        crl: path(flags, "client-crl-file"),
        protocol,
        ..Options::default()
    };
    if is_given {
        return Ok(Some(Options {
            identity: identity(path(flags, "cert-file"), path(flags, "key-file"))?,
            trusted_ca: path(flags, "trusted-ca-file"),
            ..base
        }));
    }
    let dir = PathBuf::from(flags.text("data-dir")).join("fixtures/proxy");
    let hosts = [flags.text("listen-addr").to_owned()];
    let years = flags.uint("self-signed-cert-validity");
    let made = tls::self_signed(&dir, &hosts, years).map_err(|error| error.to_string())?;
    Ok(Some(Options {
        identity: Some(made),
        self_signed: true,
        ..base
    }))
}

/// How members are dialled; `None` by the CAs of this machine, where a URL says https.
///
/// # Errors
/// What cannot be used.
fn dialling(flags: &Parsed) -> Result<Option<Arc<Connector>>, String> {
    let (cert, key) = (path(flags, "cert"), path(flags, "key"));
    let (ca, skip_verify) = (
        path(flags, "cacert"),
        flags.bool("insecure-skip-tls-verify"),
    );
    if cert.is_none() && key.is_none() && ca.is_none() && !skip_verify {
        return Ok(None);
    }
    if let Some(cert) = &cert {
        refuse_common_name(cert)?;
    }
    if skip_verify {
        tracing::warn!(
            "--insecure-skip-tls-verify was given, this grpc proxy process skips authentication of etcd server TLS certificates. This option should be enabled only for testing purposes."
        );
    }
    let shown = Options {
        identity: identity(cert.clone(), key.clone())?,
        trusted_ca: ca.clone(),
        ..Options::default()
    };
    tracing::info!("tls-info" = shown.describe(), "gRPC proxy client TLS");
    let options = ClientOptions {
        identity: shown.identity,
        trusted_ca: ca,
        skip_verify,
        alpn: vec![b"h2".to_vec()],
        ..ClientOptions::default()
    };
    let connector = Connector::new(options).map_err(|error| error.to_string())?;
    Ok(Some(Arc::new(connector)))
}

/// A certificate with a name would make every client of the proxy that user.
fn refuse_common_name(cert: &std::path::Path) -> Result<(), String> {
    let leaves = tls::leaves(cert).map_err(|error| error.to_string())?;
    match leaves.first().map(|leaf| leaf.common_name.as_str()) {
        None | Some("") => Ok(()),
        Some(name) => Err(format!(
            "cert has non empty Common Name ({name}): {}",
            cert.display()
        )),
    }
}

fn endpoints(texts: &[String]) -> Result<Vec<Endpoint>, String> {
    let parsed = texts.iter().map(|text| Endpoint::parse(text));
    parsed
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())
}

/// A size in bytes; a negative one is none.
fn bytes(flags: &Parsed, name: &str) -> usize {
    match usize::try_from(flags.int(name)) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(bytes) => bytes,
    }
}

/// The client of the cluster. It connects with the first call.
///
/// # Errors
/// What cannot be used.
pub(super) async fn upstream(flags: &Parsed) -> Result<Client, String> {
    let found = discovery::members(flags)?;
    let texts: Vec<String> = match found.is_empty() {
        true => flags
            .list("endpoints")
            .into_iter()
            .map(str::to_owned)
            .collect(),
        false => found.into_iter().map(|found| found.endpoint).collect(),
    };
    let tls = dialling(flags)?;
    let config = Config {
        dial_timeout: DIAL_TIMEOUT,
        command_timeout: None,
        keepalive_time: flags.duration("dial-keepalive-time"),
        keepalive_timeout: flags.duration("dial-keepalive-timeout"),
        keepalive_while_idle: flags.bool("permit-without-stream"),
        max_send_bytes: bytes(flags, "max-send-bytes"),
        max_recv_bytes: bytes(flags, "max-recv-bytes"),
        windows: Some(WINDOWS),
        tls_by_default: tls.is_some(),
        tls,
        ..Config::new(endpoints(&texts)?)
    };
    Client::connect(config)
        .await
        .map_err(|error| error.to_string())
}

/// A client of this proxy itself, by the address that it tells clients; `None` without one.
///
/// # Errors
/// What cannot be used.
pub(super) async fn own(
    flags: &Parsed,
    options: Option<&Options>,
    limit: Duration,
) -> Result<Option<Client>, String> {
    let address = flags.text("advertise-client-url");
    if address.is_empty() {
        return Ok(None);
    }
    let connector = options.map(|options| {
        Connector::new(ClientOptions {
            alpn: vec![b"h2".to_vec()],
            ..options.dialling()
        })
    });
    let tls = connector.transpose().map_err(|error| error.to_string())?;
    let config = Config {
        command_timeout: Some(limit),
        tls_by_default: tls.is_some(),
        tls: tls.map(Arc::new),
        ..Config::new(endpoints(&[address.to_owned()])?)
    };
    let client = Client::connect(config)
        .await
        .map_err(|error| error.to_string())?;
    tracing::info!(
        "grpcProxyAdvertiseClientURL" = address,
        "create proxy client"
    );
    Ok(Some(client))
}

/// What clients may do on a connection.
pub(super) fn limits(flags: &Parsed) -> Limits {
    let interval = flags.duration("grpc-keepalive-interval");
    let streams = u32::try_from(flags.uint("max-concurrent-streams")).unwrap_or(u32::MAX);
    Limits {
        streams,
        ping_interval: (!interval.is_zero()).then_some(interval),
        ping_timeout: flags.duration("grpc-keepalive-timeout"),
        ping_min_time: Some(flags.duration("grpc-keepalive-min-time")),
    }
}
