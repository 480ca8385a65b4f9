//! What all forms of the report say alike.

use crate::{
    checks::{Level, Report, State, Verdict},
    explain,
    facts::{Facts, Live},
};

/// The verdict in a few words.
pub(super) fn verdict(report: &Report) -> &'static str {
    match report.verdict() {
        Verdict::Blocked => "BLOCKED",
        Verdict::Incomplete => "INCOMPLETE",
        Verdict::Warnings => "WARNINGS",
        Verdict::Safe => "SAFE",
    }
}

/// The ids of all that was found or predicted, for `explain`.
pub(super) fn explained(report: &Report) -> Vec<&'static str> {
    let mut ids: Vec<&str> = report
        .findings
        .iter()
        .map(|finding| finding.check)
        .collect();
    ids.extend(report.boots.iter().flat_map(|boot| &boot.explain));
    let has = |id: &&str| ids.contains(id);
    explain::all().map(|entry| entry.id).filter(has).collect()
}

/// The verdict in a sentence.
pub(super) fn sentence(report: &Report) -> String {
    // The same at several members is one thing to repair.
    let count = |level| {
        let of = report.findings.iter().filter(|f| f.level == level);
        let distinct: std::collections::BTreeSet<_> = of.map(|f| (f.check, &f.seen)).collect();
        distinct.len()
    };
    let (blocks, warnings) = (count(Level::Block), count(Level::Warn));
    let unchecked = report
        .checks
        .iter()
        .filter(|check| matches!(check.state, State::Unchecked(_)))
        .count();
    let things = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let found = match (blocks, warnings) {
        (0, 0) => "nothing found".to_owned(),
        (0, w) => things(w, "warning"),
        (b, 0) => things(b, "blocker"),
        (b, w) => format!("{} and {}", things(b, "blocker"), things(w, "warning")),
    };
    let decide = match report.missing.len() {
        0 => "",
        1 => ", one of which decides",
        _ => ", among them some that decide",
    };
    let rest = match unchecked.max(report.missing.len()) {
        0 => String::new(),
        n => format!("; {} could not be made{decide}", things(n, "check")),
    };
    format!("for {}: {found}{rest}", report.target)
}

/// A member's side of the table: version, what the log knows, what the database says.
pub(super) fn columns(facts: &Facts) -> [String; 6] {
    let named = |live: &Live| {
        let version = live.version.as_ref()?.to_string();
        Some(match live.is_pintle {
            Some(true) => format!("{version} (Pintle)"),
            _ => version,
        })
    };
    let version = facts.live.as_ref().and_then(named).unwrap_or_else(|| {
        facts
            .cluster_version()
            .map_or("?".into(), |v| format!("cluster {}.{}", v.major, v.minor))
    });
    let snapshot = facts
        .log
        .as_ref()
        .map_or("-".into(), |log| log.snapshot.index.to_string());
    let commit = match (&facts.log, &facts.live) {
        (Some(log), _) => log.commit.to_string(),
        (None, Some(live)) => live.raft_index.to_string(),
        _ => "-".into(),
    };
    let (revision, size) = facts
        .database
        .as_ref()
        .map_or(("-".into(), "-".into()), |d| {
            (d.revision.to_string(), cli::text::size(d.size))
        });
    let id = facts.id.map_or("?".into(), |id| id.to_string());
    [id, version, snapshot, commit, revision, size]
}

pub(super) const COLUMNS: [&str; 6] =
    ["id", "version", "snapshot", "commit", "revision", "db size"];
