//! From settings to a [`Config`]: defaults that depend on one another, and
//! etcd's checks in etcd's order with etcd's messages.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use url::Url;

use super::{
    AutoCompaction, Config, Discovery, ListenTarget, ListenUrl, Logs, MembershipCheck, discovery,
    gates::Gates,
    parse::ParseError,
    security,
    settings::{Settings, parse_bool, parse_duration},
};

/// Checks and resolves.
pub fn resolve(settings: &Settings) -> Result<Config, ParseError> {
    let logs = Logs::resolve(settings)?;
    let gates = Gates::resolve(settings)?;
    refuse_unbuilt(settings)?;
    let listen = |name| listen_urls(name, settings.get(name));
    let listen_peer = listen("listen-peer-urls")?;
    let listen_client = listen("listen-client-urls")?;
    let listen_client_http = listen("listen-client-http-urls")?;
    let listen_metrics = listen("listen-metrics-urls")?;
    let advertise_peer = advertise_urls(
        "initial-advertise-peer-urls",
        settings.get("initial-advertise-peer-urls"),
    )?;
    let advertise_client = advertise_urls(
        "advertise-client-urls",
        settings.get("advertise-client-urls"),
    )?;

    let name = settings.get("name").to_owned();
    let discovery = discovery::resolve(settings)?;
    let initial_cluster = if discovery != Discovery::Static {
        String::new()
    } else if settings.is_set("initial-cluster") {
        settings.get("initial-cluster").to_owned()
    } else {
        advertise_peer
            .iter()
            .map(|url| format!("{name}={url}"))
            .collect::<Vec<_>>()
            .join(",")
    };
    let join_existing = settings.get("initial-cluster-state") == "existing";
    if settings.get("logger") != "zap" {
        return Err(config(format!(
            "unknown logger option {:?}",
            settings.get("logger")
        )));
    }

    let heartbeat = uint(settings, "heartbeat-interval");
    let election = uint(settings, "election-timeout");
    if heartbeat == 0 {
        return Err(config("--heartbeat-interval must be >0 (set to 0ms)"));
    }
    if election == 0 {
        return Err(config("--election-timeout must be >0 (set to 0ms)"));
    }
    if heartbeat.saturating_mul(5) > election {
        return Err(config(format!(
            "--election-timeout[{election}ms] should be at least as 5 times as --heartbeat-interval[{heartbeat}ms]"
        )));
    }
    if election > 50_000 {
        return Err(config(format!(
            "--election-timeout[{election}ms] is too long, and should be set less than 50000ms"
        )));
    }
    if settings.is_set("listen-client-urls") && !settings.is_set("advertise-client-urls") {
        return Err(config(
            "--advertise-client-urls is required when --listen-client-urls is set explicitly",
        ));
    }
    let auto_compaction = auto_compaction(settings)?;
    let lease_checkpoint = gates.on(settings, "experimental-enable-lease-checkpoint");
    let lease_checkpoint_persist =
        gates.on(settings, "experimental-enable-lease-checkpoint-persist");
    let compact_check = gates.on(settings, "experimental-compact-hash-check-enabled");
    if compact_check && duration(settings, "experimental-compact-hash-check-time").is_zero() {
        return Err(config(
            "--experimental-compact-hash-check-time must be >0 (set to 0s)",
        ));
    }
    if lease_checkpoint_persist && !lease_checkpoint {
        return Err(config(
            "setting experimental-enable-lease-checkpoint-persist requires experimental-enable-lease-checkpoint",
        ));
    }

    let security = security::resolve(settings)?;
    security.check_urls(
        &listen_client,
        &listen_client_http,
        &listen_metrics,
        &listen_peer,
    )?;

    let quota = int(settings, "quota-backend-bytes");
    let batch_limit = int(settings, "backend-batch-limit");
    let compaction_batch = int(settings, "experimental-compaction-batch-limit");
    let data_dir = match settings.get("data-dir") {
        "" => format!("{name}.etcd"),
        dir => dir.to_owned(),
    };
    let wal_dir = settings.get("wal-dir");
    let keepalive = duration(settings, "grpc-keepalive-interval");
    Ok(Config {
        data_dir: PathBuf::from(data_dir),
        wal_dir: (!wal_dir.is_empty()).then(|| PathBuf::from(wal_dir)),
        name,
        snapshot_count: match uint(settings, "snapshot-count") {
            0 => 100_000,
            n => n,
        },
        snapshot_catchup_entries: uint(settings, "experimental-snapshot-catchup-entries"),
        heartbeat: Duration::from_millis(heartbeat),
        election: Duration::from_millis(election),
        initial_election_tick_advance: boolean(settings, "initial-election-tick-advance"),
        pre_vote: boolean(settings, "pre-vote"),
        listen_peer,
        listen_client,
        listen_client_http,
        listen_metrics,
        advertise_peer,
        advertise_client,
        initial_cluster,
        discovery,
        initial_cluster_token: settings.get("initial-cluster-token").to_owned(),
        join_existing,
        force_new_cluster: boolean(settings, "force-new-cluster"),
        initial_corrupt_check: gates.on(settings, "experimental-initial-corrupt-check"),
        corrupt_check_time: Some(duration(settings, "experimental-corrupt-check-time"))
            .filter(|period| !period.is_zero()),
        compact_hash_check_time: Some(duration(settings, "experimental-compact-hash-check-time"))
            .filter(|period| compact_check && !period.is_zero()),
        stop_grpc_service_on_defrag: gates.on(settings, "experimental-stop-grpc-service-on-defrag"),
        downgrade_check_time: duration(settings, "experimental-downgrade-check-time"),
        max_learners: uint(settings, "max-learners") as usize,
        membership_check: membership_check(settings)?,
        drop_v2_keys: drop_v2_keys(settings)?,
        strict_reconfig_check: boolean(settings, "strict-reconfig-check"),
        max_snapshots: uint(settings, "max-snapshots") as usize,
        max_wals: uint(settings, "max-wals") as usize,
        quota_backend_bytes: match quota {
            0 => Some(2 << 30),
            n if n < 0 => None,
            n => Some(n as u64),
        },
        backend_batch_interval: match duration(settings, "backend-batch-interval") {
            d if d.is_zero() => Duration::from_millis(100),
            d => d,
        },
        backend_batch_limit: if batch_limit <= 0 {
            10_000
        } else {
            batch_limit as usize
        },
        max_txn_ops: uint(settings, "max-txn-ops") as usize,
        max_request_bytes: uint(settings, "max-request-bytes") as usize,
        max_concurrent_streams: match uint(settings, "max-concurrent-streams") {
            // No bound, as to the library that etcd hands it to.
            0 => u32::MAX,
            streams => u32::try_from(streams).unwrap_or(u32::MAX),
        },
        grpc_keepalive_interval: (!keepalive.is_zero()).then_some(keepalive),
        grpc_keepalive_timeout: duration(settings, "grpc-keepalive-timeout"),
        reuse_port: boolean(settings, "socket-reuse-port"),
        reuse_address: boolean(settings, "socket-reuse-address"),
        auto_compaction,
        compaction_batch_limit: if compaction_batch <= 0 {
            1000
        } else {
            compaction_batch as usize
        },
        compaction_sleep_interval: match duration(
            settings,
            "experimental-compaction-sleep-interval",
        ) {
            d if d.is_zero() => Duration::from_millis(10),
            d => d,
        },
        watch_progress_interval: duration(settings, "experimental-watch-progress-notify-interval")
            .max(Duration::from_millis(100)),
        warning_apply_duration: duration(settings, "experimental-warning-apply-duration"),
        lease_checkpoint,
        lease_checkpoint_persist,
        bootstrap_defrag_threshold_mb: uint(
            settings,
            "experimental-bootstrap-defrag-threshold-megabytes",
        ),
        grpc_gateway: boolean(settings, "enable-grpc-gateway"),
        security,
        cors: list(settings.get("cors")),
        host_whitelist: list(settings.get("host-whitelist")),
        extensive_metrics: match settings.get("metrics") {
            "basic" => false,
            "extensive" => true,
            other => {
                return Err(config(format!(
                    "unknown --metrics {other:?}: basic or extensive"
                )));
            }
        },
        auth_token: auth_token(settings)?,
        auth_token_ttl: Duration::from_secs(uint(settings, "auth-token-ttl")),
        bcrypt_cost: bcrypt_cost(settings),
        logs,
        runtimes: uint(settings, "runtimes") as usize,
    })
}

/// What a setting of an unbuilt subject asks for, where its syntax alone does
/// not tell.
fn refuse_unbuilt(settings: &Settings) -> Result<(), ParseError> {
    let deprecation = settings.get("v2-deprecation");
    if boolean(settings, "enable-v2") && deprecation != "not-yet" {
        return Err(config(format!(
            "--enable-v2 and --v2-deprecation={deprecation} are mutually exclusive"
        )));
    }
    Ok(())
}

/// The type of the token and its options, each once as `name=value`; what the options mean is left
/// to the provider of that type.
fn auth_token(settings: &Settings) -> Result<String, ParseError> {
    let text = settings.get("auth-token");
    let mut options = text.split(',');
    let kind = options.next().unwrap_or_default();
    let mut names = std::collections::BTreeSet::new();
    let well_formed = options.all(|option| {
        option
            .split_once('=')
            .is_some_and(|(name, value)| !value.contains('=') && names.insert(name))
    });
    if well_formed && matches!(kind, "" | "simple" | "jwt") {
        Ok(text.to_owned())
    } else {
        Err(config("auth: invalid auth options"))
    }
}

/// bcrypt's own bounds.
const BCRYPT_COSTS: std::ops::RangeInclusive<u64> = 4..=31;
const DEFAULT_BCRYPT_COST: u32 = 10;

fn bcrypt_cost(settings: &Settings) -> u32 {
    let given = uint(settings, "bcrypt-cost");
    match u32::try_from(given) {
        Ok(cost) if BCRYPT_COSTS.contains(&given) => cost,
        _ => DEFAULT_BCRYPT_COST,
    }
}

pub(super) fn config(message: impl Into<String>) -> ParseError {
    ParseError::config(message)
}

// The parser has checked the syntax of every value, so these cannot fail.
pub(super) fn uint(settings: &Settings, name: &'static str) -> u64 {
    settings.get(name).parse().unwrap_or_default()
}

fn int(settings: &Settings, name: &'static str) -> i64 {
    settings.get(name).parse().unwrap_or_default()
}

pub(super) fn boolean(settings: &Settings, name: &'static str) -> bool {
    parse_bool(settings.get(name)).unwrap_or_default()
}

pub(super) fn duration(settings: &Settings, name: &'static str) -> Duration {
    Duration::from_nanos(
        parse_duration(settings.get(name))
            .unwrap_or_default()
            .max(0) as u64,
    )
}

pub(super) fn list(value: &str) -> Vec<String> {
    value
        .split(',')
        .map(str::trim)
        .filter(|s| !s.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Checks one URL by etcd's rules: a scheme, `host:port`, no path, not even `/`; or a unix socket.
///
/// # Errors
/// What is wrong, in etcd's words where it has them.
pub fn check_url(text: &str) -> Result<Url, String> {
    let text = text.trim();
    let (scheme, authority) = text.split_once("://").unwrap_or(("", ""));
    if !matches!(scheme, "http" | "https" | "unix" | "unixs") {
        return Err(format!(
            "URL scheme must be http, https, unix, or unixs: {text}"
        ));
    }
    let url = Url::parse(text).map_err(|error| format!("parse {text:?}: {error}"))?;
    // Url drops a port that is the scheme's default; the text still shows it.
    // A unix socket has a path in its place.
    if scheme.starts_with("unix") {
        return Ok(url);
    }
    if !authority.contains(':') {
        return Err(format!(
            "URL address does not have the form \"host:port\": {text}"
        ));
    }
    if authority.contains('/') {
        return Err(format!("URL must not contain a path: {text}"));
    }
    Ok(url)
}

/// Reads comma-separated URLs. Gives each as it is written and as it parses.
pub(super) fn url_list(value: &str) -> Result<Vec<(String, Url)>, String> {
    list(value)
        .into_iter()
        .map(|text| check_url(&text).map(|url| (text, url)))
        .collect()
}

fn urls(name: &str, value: &str) -> Result<Vec<(String, Url)>, ParseError> {
    url_list(value).map_err(|why| config(format!("unexpected error setting up {name}: {why}")))
}

fn listen_urls(name: &str, value: &str) -> Result<Vec<ListenUrl>, ParseError> {
    urls(name, value)?
        .into_iter()
        .map(|(text, url)| {
            let secure = matches!(url.scheme(), "https" | "unixs");
            let target = if url.scheme().starts_with("unix") {
                let path = text.split_once("://").map_or("", |(_, path)| path);
                ListenTarget::Unix(PathBuf::from(path))
            } else {
                let host = url
                    .host_str()
                    .unwrap_or_default()
                    .trim_start_matches('[')
                    .trim_end_matches(']');
                let ip: IpAddr = if host == "localhost" {
                    IpAddr::from([127, 0, 0, 1])
                } else {
                    host.parse()
                        .map_err(|_| config(format!("expected IP in URL for binding ({text})")))?
                };
                ListenTarget::Tcp(SocketAddr::new(
                    ip,
                    url.port_or_known_default().unwrap_or(80),
                ))
            };
            Ok(ListenUrl {
                url: text,
                target,
                secure,
            })
        })
        .collect()
}

fn advertise_urls(name: &str, value: &str) -> Result<Vec<String>, ParseError> {
    let mut out: Vec<String> = urls(name, value)?
        .into_iter()
        .map(|(text, _)| text)
        .collect();
    out.sort();
    Ok(out)
}

fn auto_compaction(settings: &Settings) -> Result<AutoCompaction, ParseError> {
    let retention = settings.get("auto-compaction-retention");
    match settings.get("auto-compaction-mode") {
        "periodic" => {
            let nanos = match retention.parse::<i64>() {
                // A bare number is hours.
                Ok(hours) => hours.checked_mul(3_600_000_000_000),
                Err(_) => parse_duration(retention),
            };
            match nanos {
                Some(0) => Ok(AutoCompaction::Off),
                Some(n) if n > 0 => Ok(AutoCompaction::Periodic(Duration::from_nanos(n as u64))),
                _ => Err(config(format!(
                    "error parsing auto-compaction-retention {retention:?}"
                ))),
            }
        }
        "revision" => match retention.parse::<i64>() {
            Ok(0) => Ok(AutoCompaction::Off),
            Ok(n) if n > 0 => Ok(AutoCompaction::Revision(n)),
            _ => Err(config(format!(
                "error parsing auto-compaction-retention {retention:?}"
            ))),
        },
        other => Err(config(format!("unknown auto-compaction-mode \"{other}\""))),
    }
}

fn membership_check(settings: &Settings) -> Result<MembershipCheck, ParseError> {
    match settings.get("membership-check") {
        "heal" => Ok(MembershipCheck::Heal),
        "report" => Ok(MembershipCheck::Report),
        "refuse" => Ok(MembershipCheck::Refuse),
        other => Err(config(format!(
            "--membership-check must be heal, report or refuse, not {other:?}"
        ))),
    }
}

fn drop_v2_keys(settings: &Settings) -> Result<bool, ParseError> {
    match settings.get("v2-deprecation") {
        "not-yet" | "write-only" | "write-only-skip-check" => Ok(false),
        "write-only-drop-data" => Ok(true),
        other => Err(config(format!(
            "--v2-deprecation must be not-yet, write-only, write-only-skip-check or write-only-drop-data, not {other:?}"
        ))),
    }
}
