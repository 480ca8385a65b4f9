//! How the members are run: flags, auth, room, backups.

use super::{
    case::{Case, Lacks},
    finding::Level,
};

/// Flags that are gone from a minor version on, with what to do.
const GONE: [(u64, &str, &str); 19] = [
    (
        7,
        "experimental-enable-lease-checkpoint-persist",
        "--feature-gates=LeaseCheckpointPersist=true",
    ),
    (6, "enable-v2", "leave it out"),
    (6, "experimental-enable-v2v3", "leave it out"),
    (6, "proxy", "leave it out"),
    (6, "proxy-failure-wait", "leave it out"),
    (6, "proxy-refresh-interval", "leave it out"),
    (6, "proxy-dial-timeout", "leave it out"),
    (6, "proxy-write-timeout", "leave it out"),
    (6, "proxy-read-timeout", "leave it out"),
    (5, "debug", "--log-level=debug"),
    (5, "log-output", "--log-outputs"),
    (5, "log-package-levels", "--log-level"),
    (
        7,
        "discovery",
        "--discovery-token with --discovery-endpoints",
    ),
    (7, "discovery-proxy", "leave it out"),
    (
        7,
        "experimental-initial-corrupt-check",
        "--feature-gates=InitialCorruptCheck=true",
    ),
    (
        7,
        "experimental-compact-hash-check-enabled",
        "--feature-gates=CompactHashCheck=true",
    ),
    (
        7,
        "experimental-enable-lease-checkpoint",
        "--feature-gates=LeaseCheckpoint=true",
    ),
    (
        7,
        "experimental-stop-grpc-service-on-defrag",
        "--feature-gates=StopGRPCServiceOnDefrag=true",
    ),
    (
        7,
        "experimental-txn-mode-write-with-shared-buffer",
        "--feature-gates=TxnModeWriteWithSharedBuffer=true",
    ),
];

/// Flags that begin with a minor version: those that the release before ends at
/// with "flag provided but not defined". 3.7 has none that 3.6 does not know.
const BEGIN: [(u64, &[&str]); 2] = [
    (
        5,
        &[
            "backend-bbolt-freelist-type",
            "client-cert-file",
            "client-key-file",
            "enable-log-rotation",
            "experimental-bootstrap-defrag-threshold-megabytes",
            "experimental-compact-hash-check-enabled",
            "experimental-compact-hash-check-time",
            "experimental-compaction-sleep-interval",
            "experimental-distributed-tracing-address",
            "experimental-distributed-tracing-instance-id",
            "experimental-distributed-tracing-sampling-rate",
            "experimental-distributed-tracing-service-name",
            "experimental-downgrade-check-time",
            "experimental-enable-distributed-tracing",
            "experimental-max-learners",
            "experimental-memory-mlock",
            "experimental-stop-grpc-service-on-defrag",
            "experimental-txn-mode-write-with-shared-buffer",
            "listen-client-http-urls",
            "log-rotation-config-json",
            "peer-client-cert-file",
            "peer-client-key-file",
            "raft-read-timeout",
            "raft-write-timeout",
            "self-signed-cert-validity",
            "socket-reuse-address",
            "socket-reuse-port",
            "tls-max-version",
            "tls-min-version",
            "v2-deprecation",
        ],
    ),
    (
        6,
        &[
            "bootstrap-defrag-threshold-megabytes",
            "compact-hash-check-time",
            "compaction-batch-limit",
            "compaction-sleep-interval",
            "corrupt-check-time",
            "discovery-cacert",
            "discovery-cert",
            "discovery-dial-timeout",
            "discovery-endpoints",
            "discovery-insecure-skip-tls-verify",
            "discovery-insecure-transport",
            "discovery-keepalive-time",
            "discovery-keepalive-timeout",
            "discovery-key",
            "discovery-password",
            "discovery-request-timeout",
            "discovery-token",
            "discovery-user",
            "distributed-tracing-address",
            "distributed-tracing-instance-id",
            "distributed-tracing-sampling-rate",
            "distributed-tracing-service-name",
            "downgrade-check-time",
            "enable-distributed-tracing",
            "feature-gates",
            "log-format",
            "max-learners",
            "memory-mlock",
            "peer-skip-client-san-verification",
            "snapshot-catchup-entries",
            "warning-apply-duration",
            "warning-unary-request-duration",
            "watch-progress-notify-interval",
        ],
    ),
];

/// The first of the flags in `words` that a minor version does not know yet.
pub(crate) fn not_yet(words: &[String], minor: u64) -> Option<&str> {
    words
        .iter()
        .filter_map(|word| flag_name(word))
        .find(|name| {
            let mut later = BEGIN.iter().filter(|(since, _)| *since > minor);
            later.any(|(_, names)| names.contains(name))
        })
}

/// What must become of a flag for a minor version, if it is gone there.
pub(crate) fn replacement(flag: &str, minor: u64) -> Option<String> {
    let known = GONE
        .iter()
        .find(|(since, name, _)| *name == flag && minor >= *since);
    if let Some((_, _, instead)) = known {
        return Some((*instead).to_owned());
    }
    let plain = flag.strip_prefix("experimental-").filter(|_| minor >= 7)?;
    Some(format!("--{plain}"))
}

/// The name of a flag word, `--name=value` or `--name`.
pub(crate) fn flag_name(word: &str) -> Option<&str> {
    let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    Some(name.split('=').next().unwrap_or(name)).filter(|n| !n.is_empty())
}

pub(super) fn flags(case: &mut Case<'_>) -> Result<(), Lacks> {
    // No member starts.
    if case.given.no_restarts {
        return Ok(());
    }
    let live = case.members.iter().filter_map(|f| {
        let words = f.live.as_ref()?.command_line.clone()?;
        Some((f.label.clone(), words))
    });
    let mut lines: Vec<(String, Vec<String>)> = live.collect();
    if let Some(flags) = &case.given.flags {
        lines.push((String::new(), flags.clone()));
    }
    if lines.is_empty() {
        return Err("needs the flags: show the static pod manifest with --manifest".into());
    }
    for (label, words) in lines {
        for name in words.iter().filter_map(|word| flag_name(word)) {
            if let Some(instead) = replacement(name, case.target.minor()) {
                case.find(
                    Level::Block,
                    &label,
                    format!("--{name} is set"),
                    format!("3.{} does not start with it", case.target.minor()),
                    format!("instead: {instead} (and the variable ETCD_* of the same name)"),
                );
            }
        }
    }
    let silent = |facts: &&crate::facts::Facts| {
        let live = facts.live.as_ref();
        live.is_some_and(|live| live.command_line.is_none())
    };
    match case.members.iter().find(silent) {
        Some(facts) if case.given.flags.is_none() => Err(format!(
            "{} does not show its flags (/debug/vars): show the static pod manifest with --manifest",
            facts.label
        )
        .into()),
        _ => Ok(()),
    }
}

pub(super) fn auth(case: &mut Case<'_>) -> Result<(), Lacks> {
    if case.target.minor() != 5 {
        return Ok(());
    }
    let from_4 = case
        .members
        .iter()
        .filter_map(crate::facts::Facts::cluster_version)
        .any(|v| v.minor == 4);
    if !from_4 {
        return Ok(());
    }
    let mut databases = case.members.iter().filter_map(|f| f.database.as_ref());
    if databases.clone().next().is_none() {
        return Err("only a database shows whether auth is enabled".into());
    }
    if databases.any(|database| database.auth_enabled) {
        case.find(
            Level::Block,
            "",
            "auth is enabled",
            "a rolling upgrade from 3.4 to 3.5 with auth is not supported: the log has another form (etcd#11943)",
            "disable auth for the upgrade, or stop all members and start them all on 3.5",
        );
    }
    Ok(())
}

/// Share of the quota above which an upgrade does not begin.
const QUOTA_SHARE: f64 = 0.8;
/// Share of free pages above which a defragmentation is advised.
const FREE_SHARE: f64 = 0.5;
/// Smaller databases are not worth one.
const WORTH_BYTES: u64 = 64 << 20;

pub(super) fn room(case: &mut Case<'_>) -> Result<(), Lacks> {
    let mut looked = false;
    for facts in case.members {
        let live_alarms = facts.live.as_ref().map(|l| &l.alarms);
        let Some(alarms) = live_alarms.or(facts.database.as_ref().map(|d| &d.alarms)) else {
            continue;
        };
        looked = true;
        for (member, alarm) in alarms {
            case.find(
                Level::Block,
                &facts.label,
                format!("alarm {alarm} of member {member}"),
                "an alarm restricts what the cluster takes",
                match alarm.as_str() {
                    "NOSPACE" => "compact, defragment one member at a time, then alarm disarm",
                    _ => "find the corrupt member first; see P15",
                },
            );
        }
        if let Some(live) = &facts.live
            && live.quota > 0
            && live.db_size as f64 > QUOTA_SHARE * live.quota as f64
        {
            case.find(
                Level::Block,
                &facts.label,
                format!(
                    "the database has {} of {} bytes of its quota",
                    live.db_size, live.quota
                ),
                "it may run full in the middle of the upgrade",
                "compact and defragment, or raise --quota-backend-bytes",
            );
        }
        if let Some(database) = &facts.database
            && database.size > WORTH_BYTES
            && (database.size - database.in_use.min(database.size)) as f64
                > FREE_SHARE * database.size as f64
        {
            case.find(
                Level::Warn,
                &facts.label,
                format!(
                    "{} of the database's {} are free pages",
                    cli::text::size(database.size - database.in_use),
                    cli::text::size(database.size)
                ),
                "a member that joins downloads them all",
                "defragment one member at a time, never while one catches up",
            );
        }
    }
    match looked {
        true => Ok(()),
        false => Err("no source shows alarms".into()),
    }
}

pub(super) fn backup(case: &mut Case<'_>) -> Result<(), Lacks> {
    match &case.given.backup {
        None => Err(
            "no backup was shown; make one with `pintle upgrade backup` and show it with --backup"
                .into(),
        ),
        Some((_, Ok(_))) => Ok(()),
        Some((path, Err(why))) => {
            let (path, why) = (path.clone(), why.clone());
            case.find(
                Level::Block,
                "",
                format!("the backup {path}: {why}"),
                "without a sound backup there is no way back from the last step",
                "pintle upgrade backup",
            );
            Ok(())
        }
    }
}

pub(super) fn restore(case: &mut Case<'_>) -> Result<(), Lacks> {
    if case.given.backup.is_none() {
        return Err("no backup was shown".into());
    }
    if !case.given.restore_is_planned {
        case.find(
            Level::Warn,
            "",
            "no plan for a restore is next to the backup",
            "a restore as it is takes revisions back: the caches of API servers and controllers see the past and do not notice",
            "restore with --bump-revision 1000000000 --mark-compacted, as the manifest of `pintle upgrade backup` says, and restart the API servers",
        );
    }
    Ok(())
}
