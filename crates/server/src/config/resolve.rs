//! From settings to a [`Config`]: defaults that depend on one another, and
//! etcd's checks in etcd's order with etcd's messages.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use url::Url;

use cli::text::{parse_int, parse_nanoseconds, parse_uint};
use line::{Choice, Line};

use super::{
    AutoCompaction, Config, Discovery, ListenTarget, ListenUrl, Logs, MembershipCheck, discovery,
    error::ParseError,
    gates::Gates,
    security,
    settings::Settings,
    table::{Id, flag},
    traces,
    urls::url_list,
};

/// Checks and resolves.
pub fn resolve(settings: &Settings) -> Result<Config, ParseError> {
    let logs = Logs::resolve(settings)?;
    let gates = Gates::resolve(settings)?;
    refuse_unbuilt(settings)?;
    let listen = |id: Id| listen_urls(id, settings.text(id));
    let listen_peer = listen(flag!("listen-peer-urls"))?;
    let listen_client = listen(flag!("listen-client-urls"))?;
    let listen_client_http = listen(flag!("listen-client-http-urls"))?;
    let listen_metrics = listen(flag!("listen-metrics-urls"))?;
    let advertise_peer = advertise_urls(settings, flag!("initial-advertise-peer-urls"))?;
    let advertise_client = advertise_urls(settings, flag!("advertise-client-urls"))?;

    let name = settings.text(flag!("name")).to_owned();
    let discovery = discovery::resolve(settings)?;
    let initial_cluster = if discovery != Discovery::Static {
        String::new()
    } else if settings.is_set(flag!("initial-cluster")) {
        settings.text(flag!("initial-cluster")).to_owned()
    } else {
        advertise_peer
            .iter()
            .map(|url| format!("{name}={url}"))
            .collect::<Vec<_>>()
            .join(",")
    };
    let join_existing = settings.text(flag!("initial-cluster-state")) == "existing";
    let logger = settings.text(flag!("logger"));
    if !matches!(logger, "zap" | "capnslog") {
        return Err(config(format!("unknown logger option {logger:?}")));
    }

    let heartbeat = settings.uint(flag!("heartbeat-interval"));
    let election = settings.uint(flag!("election-timeout"));
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
    if settings.is_set(flag!("listen-client-urls"))
        && !settings.is_set(flag!("advertise-client-urls"))
    {
        return Err(config(
            "--advertise-client-urls is required when --listen-client-urls is set explicitly",
        ));
    }
    let auto_compaction = auto_compaction(settings)?;
    let lease_checkpoint = gates.on(settings, flag!("experimental-enable-lease-checkpoint"));
    let lease_checkpoint_persist = gates.on(
        settings,
        flag!("experimental-enable-lease-checkpoint-persist"),
    );
    let compact_check = gates.on(settings, flag!("experimental-compact-hash-check-enabled"));
    let check_time = flag!("experimental-compact-hash-check-time");
    if settings.duration(check_time).is_zero() {
        return Err(config(format!(
            "--{} must be >0 (set to 0s)",
            settings.name(check_time)
        )));
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

    let line = Choice::parse(settings.text(flag!("line"))).unwrap_or_default();
    check_stage(settings, line)?;
    let quota = settings.int(flag!("quota-backend-bytes"));
    let batch_limit = settings.int(flag!("backend-batch-limit"));
    let compaction_batch = settings.int(flag!("experimental-compaction-batch-limit"));
    let data_dir = match settings.text(flag!("data-dir")) {
        "" => format!("{name}.etcd"),
        dir => dir.to_owned(),
    };
    let wal_dir = settings.text(flag!("wal-dir"));
    let keepalive = settings.duration(flag!("grpc-keepalive-interval"));
    Ok(Config {
        data_dir: PathBuf::from(data_dir),
        wal_dir: (!wal_dir.is_empty()).then(|| PathBuf::from(wal_dir)),
        name,
        line,
        snapshot_count: settings
            .is_set(flag!("snapshot-count"))
            .then(|| settings.uint(flag!("snapshot-count")))
            .filter(|count| *count > 0),
        snapshot_catchup_entries: settings.uint(flag!("experimental-snapshot-catchup-entries")),
        heartbeat: Duration::from_millis(heartbeat),
        election: Duration::from_millis(election),
        initial_election_tick_advance: settings.bool(flag!("initial-election-tick-advance")),
        pre_vote: settings.bool(flag!("pre-vote")),
        listen_peer,
        listen_client,
        listen_client_http,
        listen_metrics,
        advertise_peer,
        advertise_client,
        initial_cluster,
        discovery,
        initial_cluster_token: settings.text(flag!("initial-cluster-token")).to_owned(),
        join_existing,
        force_new_cluster: settings.bool(flag!("force-new-cluster")),
        initial_corrupt_check: gates.on(settings, flag!("experimental-initial-corrupt-check")),
        corrupt_check_time: Some(settings.duration(flag!("experimental-corrupt-check-time")))
            .filter(|period| !period.is_zero()),
        compact_hash_check_time: Some(
            settings.duration(flag!("experimental-compact-hash-check-time")),
        )
        .filter(|period| compact_check && !period.is_zero()),
        stop_grpc_service_on_defrag: gates
            .on(settings, flag!("experimental-stop-grpc-service-on-defrag")),
        downgrade_check_time: settings.duration(flag!("experimental-downgrade-check-time")),
        max_learners: settings.uint(flag!("max-learners")) as usize,
        membership_check: membership_check(settings)?,
        // etcd 3.5 keeps the keys at every other stage, the last of them included.
        drop_v2_keys: settings.text(flag!("v2-deprecation")) == "write-only-drop-data",
        strict_reconfig_check: settings.bool(flag!("strict-reconfig-check")),
        max_snapshots: settings.uint(flag!("max-snapshots")) as usize,
        max_wals: settings.uint(flag!("max-wals")) as usize,
        quota_backend_bytes: match quota {
            0 => Some(2 << 30),
            n if n < 0 => None,
            n => Some(n as u64),
        },
        backend_batch_interval: match settings.duration(flag!("backend-batch-interval")) {
            d if d.is_zero() => Duration::from_millis(100),
            d => d,
        },
        backend_batch_limit: if batch_limit <= 0 {
            10_000
        } else {
            batch_limit as usize
        },
        max_txn_ops: settings.uint(flag!("max-txn-ops")) as usize,
        max_request_bytes: settings.uint(flag!("max-request-bytes")) as usize,
        max_concurrent_streams: match settings.text(flag!("max-concurrent-streams")) {
            // No bound, as to the library that etcd hands it to.
            "0" => u32::MAX,
            streams => parse_uint(streams, 0)
                .ok()
                .and_then(|streams| u32::try_from(streams).ok())
                .unwrap_or(u32::MAX),
        },
        grpc_keepalive_min_time: settings.duration(flag!("grpc-keepalive-min-time")),
        grpc_keepalive_interval: (!keepalive.is_zero()).then_some(keepalive),
        grpc_keepalive_timeout: settings.duration(flag!("grpc-keepalive-timeout")),
        raft_read_timeout: settings
            .duration(flag!("raft-read-timeout"))
            .max(peer::STALL),
        raft_write_timeout: settings
            .duration(flag!("raft-write-timeout"))
            .max(peer::STALL),
        unsafe_no_fsync: settings.bool(flag!("unsafe-no-fsync")),
        memory_mlock: settings.bool(flag!("experimental-memory-mlock")),
        reuse_port: settings.bool(flag!("socket-reuse-port")),
        reuse_address: settings.bool(flag!("socket-reuse-address")),
        auto_compaction,
        compaction_batch_limit: if compaction_batch <= 0 {
            1000
        } else {
            compaction_batch as usize
        },
        compaction_sleep_interval: match settings
            .duration(flag!("experimental-compaction-sleep-interval"))
        {
            d if d.is_zero() => Duration::from_millis(10),
            d => d,
        },
        watch_progress_interval: settings
            .duration(flag!("experimental-watch-progress-notify-interval"))
            .max(Duration::from_millis(100)),
        tracing: traces::resolve(settings).map_err(config)?,
        enable_pprof: settings.bool(flag!("enable-pprof")),
        warning_apply_duration: settings.duration(flag!("experimental-warning-apply-duration")),
        warning_unary_request_duration: settings
            .duration(flag!("experimental-warning-unary-request-duration")),
        lease_checkpoint,
        lease_checkpoint_persist,
        priority_request: gates.priority_request(),
        feature_gates: gates.states(settings),
        bootstrap_defrag_threshold_mb: settings
            .uint(flag!("experimental-bootstrap-defrag-threshold-megabytes")),
        grpc_gateway: settings.bool(flag!("enable-grpc-gateway")),
        security,
        cors: settings.list(flag!("cors")),
        host_whitelist: settings.list(flag!("host-whitelist")),
        // As in etcd, every other word means basic.
        extensive_metrics: settings.text(flag!("metrics")) == "extensive",
        auth_token: auth_token(settings)?,
        auth_token_ttl: Duration::from_secs(settings.uint(flag!("auth-token-ttl"))),
        bcrypt_cost: bcrypt_cost(settings),
        logs,
        runtimes: settings.uint(flag!("runtimes")) as usize,
    })
}

/// What a setting of an unbuilt subject asks for, where its syntax alone does
/// not tell.
fn refuse_unbuilt(settings: &Settings) -> Result<(), ParseError> {
    let deprecation = settings.text(flag!("v2-deprecation"));
    if settings.bool(flag!("enable-v2")) && deprecation != "not-yet" {
        return Err(config(format!(
            "--enable-v2 and --v2-deprecation={deprecation} are mutually exclusive"
        )));
    }
    Ok(())
}

/// The type of the token and its options, each once as `name=value`; what the options mean is left
/// to the provider of that type.
fn auth_token(settings: &Settings) -> Result<String, ParseError> {
    let text = settings.text(flag!("auth-token"));
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
    let given = settings.uint(flag!("bcrypt-cost"));
    match u32::try_from(given) {
        Ok(cost) if BCRYPT_COSTS.contains(&given) => cost,
        _ => DEFAULT_BCRYPT_COST,
    }
}

fn config(message: impl Into<String>) -> ParseError {
    ParseError::config(message)
}

fn urls(id: Id, value: &str) -> Result<Vec<(String, Url)>, ParseError> {
    url_list(value)
        .map_err(|why| config(format!("unexpected error setting up {}: {why}", id.name())))
}

fn listen_urls(id: Id, value: &str) -> Result<Vec<ListenUrl>, ParseError> {
    urls(id, value)?
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

fn advertise_urls(settings: &Settings, id: Id) -> Result<Vec<String>, ParseError> {
    let mut out: Vec<String> = urls(id, settings.text(id))?
        .into_iter()
        .map(|(text, _)| text)
        .collect();
    out.sort();
    Ok(out)
}

const HOUR_NS: i64 = 3_600_000_000_000;

/// A plain number is hours or revisions, by the mode; anything else is a duration.
fn auto_compaction(settings: &Settings) -> Result<AutoCompaction, ParseError> {
    let mode = settings.text(flag!("auto-compaction-mode"));
    if !matches!(mode, "" | "periodic" | "revision") {
        return Err(config(format!("unknown auto-compaction-mode \"{mode}\"")));
    }
    let text = settings.text(flag!("auto-compaction-retention"));
    let number = parse_int(text, 10).ok().filter(|number| *number >= 0);
    let retention = match (number, mode) {
        (Some(revisions), "revision") => revisions,
        (Some(hours), "periodic") => hours.saturating_mul(HOUR_NS),
        (Some(_), _) => 0,
        (None, _) => parse_nanoseconds(text)
            .map_err(|why| config(format!("error parsing CompactionRetention: {why}")))?,
    };
    match (u64::try_from(retention), mode) {
        (Ok(0), _) => Ok(AutoCompaction::Off),
        (Ok(_), "revision") => Ok(AutoCompaction::Revision(retention)),
        (Ok(nanoseconds), "periodic") => {
            Ok(AutoCompaction::Periodic(Duration::from_nanos(nanoseconds)))
        }
        (Ok(_), _) => Err(config(format!("unsupported compaction mode {mode}"))),
        (Err(_), _) => Err(config(format!(
            "error parsing auto-compaction-retention {text:?}"
        ))),
    }
}

/// From 3.6 on there is no stage before the end of the v2 API.
fn check_stage(settings: &Settings, line: Choice) -> Result<(), ParseError> {
    let flag = flag!("v2-deprecation");
    let is_over = matches!(line, Choice::Fixed(line) if line > Line::V3_5);
    match settings.text(flag) {
        stage @ "not-yet" if is_over && settings.is_set(flag) => Err(ParseError::usage(format!(
            "invalid value {stage:?} for flag -v2-deprecation: invalid value {stage:?}"
        ))),
        _ => Ok(()),
    }
}

fn membership_check(settings: &Settings) -> Result<MembershipCheck, ParseError> {
    match settings.text(flag!("membership-check")) {
        "heal" => Ok(MembershipCheck::Heal),
        "report" => Ok(MembershipCheck::Report),
        "refuse" => Ok(MembershipCheck::Refuse),
        other => Err(config(format!(
            "--membership-check must be heal, report or refuse, not {other:?}"
        ))),
    }
}
