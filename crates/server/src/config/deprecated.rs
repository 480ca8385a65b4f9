//! Flags that are about to go: what etcd logs when one is given, by line.

use line::{Choice, Line};

use super::{
    settings::{Note, Settings},
    table::{Id, flag},
};

/// In etcd 3.5, in the order of their names.
const IN_3_5: [Id; 8] = [
    flag!("enable-v2"),
    flag!("experimental-enable-v2v3"),
    flag!("proxy"),
    flag!("proxy-dial-timeout"),
    flag!("proxy-failure-wait"),
    flag!("proxy-read-timeout"),
    flag!("proxy-refresh-interval"),
    flag!("proxy-write-timeout"),
];

/// In etcd 3.6: the name, since when, until when, and what replaces it.
const IN_3_6: [(&str, &str, &str, &str); 17] = [
    (
        "experimental-bootstrap-defrag-threshold-megabytes",
        "v3.6",
        "v3.7",
        "'--bootstrap-defrag-threshold-megabytes'",
    ),
    (
        "experimental-compact-hash-check-enabled",
        "3.6",
        "3.7",
        "'--feature-gates=CompactHashCheck=true'",
    ),
    (
        "experimental-compact-hash-check-time",
        "3.6",
        "3.7",
        "'--compact-hash-check-time'",
    ),
    (
        "experimental-compaction-batch-limit",
        "v3.6",
        "v3.7",
        "'--compaction-batch-limit'",
    ),
    (
        "experimental-compaction-sleep-interval",
        "v3.6",
        "v3.7",
        "'compaction-sleep-interval'",
    ),
    (
        "experimental-corrupt-check-time",
        "v3.6",
        "v3.7",
        "'--corrupt-check-time'",
    ),
    (
        "experimental-distributed-tracing-address",
        "3.6",
        "3.7",
        "--distributed-tracing-address",
    ),
    (
        "experimental-distributed-tracing-instance-id",
        "3.6",
        "3.7",
        "--distributed-tracing-instance-id",
    ),
    (
        "experimental-distributed-tracing-sampling-rate",
        "3.6",
        "3.7",
        "--distributed-tracing-sampling-rate",
    ),
    (
        "experimental-distributed-tracing-service-name",
        "3.6",
        "3.7",
        "--distributed-tracing-service-name",
    ),
    (
        "experimental-downgrade-check-time",
        "v3.6",
        "v3.7",
        "'--downgrade-check-time'",
    ),
    (
        "experimental-enable-distributed-tracing",
        "3.6",
        "3.7",
        "--enable-distributed-tracing",
    ),
    (
        "experimental-memory-mlock",
        "v3.6",
        "v3.7",
        "'--memory-mlock'",
    ),
    (
        "experimental-snapshot-catchup-entries",
        "v3.6",
        "v3.7",
        "'--snapshot-catchup-entries'",
    ),
    (
        "experimental-txn-mode-write-with-shared-buffer",
        "v3.6",
        "v3.7",
        "'--feature-gates=TxnModeWriteWithSharedBuffer=true'",
    ),
    (
        "experimental-warning-apply-duration",
        "v3.6",
        "v3.7",
        "'--warning-apply-duration'",
    ),
    (
        "experimental-watch-progress-notify-interval",
        "v3.6",
        "v3.7",
        "'--watch-progress-notify-interval'",
    ),
];

/// What the settings have of them, as log lines.
///
/// Which line a member speaks shows in its directory, unless it is said: until then the words are
/// those of 3.5.
pub(super) fn notes(settings: &Settings) -> Vec<Note> {
    match Choice::parse(settings.text(flag!("line"))) {
        Some(Choice::Fixed(line)) if line > Line::V3_5 => later(settings, line),
        _ => IN_3_5
            .iter()
            .filter(|id| settings.is_set(**id))
            .map(|id| {
                let name = id.name();
                Note::Deprecated(format!(
                    "--{name} is deprecated in 3.5 and will be decommissioned in 3.6."
                ))
            })
            .collect(),
    }
}

/// From 3.6 on. 3.7 has no experimental flags to warn about.
fn later(settings: &Settings, line: Line) -> Vec<Note> {
    let mut texts = Vec::new();
    if settings.is_set(flag!("max-snapshots")) {
        texts
            .push("--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8.".into());
    }
    if settings.is_set(flag!("v2-deprecation")) {
        texts.push("--v2-deprecation is deprecated and scheduled for removal in v3.8. The default value is enforced, ignoring user input.".into());
    }
    if line == Line::V3_6 {
        let given = IN_3_6.iter().filter(|(name, ..)| settings.has_name(name));
        texts.extend(given.map(|(name, since, until, replacement)| {
            format!("--{name} is deprecated in {since} and will be decommissioned in {until}. Use {replacement} instead.")
        }));
    }
    texts.into_iter().map(Note::Deprecated).collect()
}
