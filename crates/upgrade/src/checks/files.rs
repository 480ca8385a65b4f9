//! What only the files of a member that does not run can tell.

use super::{
    case::{Case, Lacks},
    finding::Level,
};
use crate::{
    facts::{Facts, Log},
    predict::{self, Outcome},
    steps::{FLUSH_BY_HAND, FLUSH_FLAG},
};

/// Why a check of files was not made.
const NO_FILES: &str = "only files show it: name with --data-dir the directory of each member, or a copy of it; next to --endpoints it may be that of a running member";

fn fresh_snapshot() -> String {
    format!(
        "start this member once more on its present release with {FLUSH_FLAG}, make as many entries and one more ({FLUSH_BY_HAND}), \
         start it again as usual; or let `pintle upgrade repair --data-dir DIR` write a fresh snapshot"
    )
}

fn with_log(members: &[Facts]) -> Result<Vec<(&Facts, &Log)>, Lacks> {
    let found: Vec<_> = members
        .iter()
        .filter_map(|facts| Some((facts, facts.log.as_ref()?)))
        .collect();
    if found.is_empty() {
        return Err(NO_FILES.into());
    }
    Ok(found)
}

/// Which members were asked and show no log: of them the check says nothing.
fn all_have_logs(members: &[Facts]) -> Result<(), Lacks> {
    let with_log: Vec<_> = members
        .iter()
        .filter(|facts| facts.log.is_some())
        .filter_map(|facts| facts.id)
        .collect();
    let lacking: Vec<&str> = members
        .iter()
        .filter(|facts| facts.live.is_some())
        .filter(|facts| !facts.id.is_some_and(|id| with_log.contains(&id)))
        .map(|facts| facts.label.as_str())
        .collect();
    match lacking.is_empty() {
        true => Ok(()),
        false => Err(format!("not looked at: {}; {NO_FILES}", lacking.join(", ")).into()),
    }
}

/// The target does not come to this gate.
fn gate(case: &Case<'_>, minors: std::ops::RangeInclusive<u64>) -> bool {
    !case.target.is_pintle && minors.contains(&case.target.minor())
}

pub(super) fn learners_at_boot(case: &mut Case<'_>) -> Result<(), Lacks> {
    if !gate(case, 6..=8) {
        return Ok(());
    }
    let heals = match case.target.minor() {
        6 => ", and the promotions are not in the newest .snap",
        _ => "",
    };
    for (facts, _) in with_log(case.members)? {
        let Some(prediction) = predict::boot(facts, case.target) else {
            return Err(format!("the database of {} could not be read", facts.label).into());
        };
        if prediction.outcome == Outcome::Refuses && prediction.text == predict::TOO_MANY_LEARNERS {
            let snapshot = facts.log.as_ref().map_or(0, |log| log.snapshot.index);
            case.find(
                Level::Block,
                &facts.label,
                format!(
                    "the database takes more than one voter for a learner{heals} (index {snapshot})"
                ),
                format!(
                    "{} will end with `{}`",
                    case.target,
                    predict::TOO_MANY_LEARNERS
                ),
                "bring every member to the newest 3.5, then restart each one once more, or let `pintle upgrade repair --data-dir DIR` repair the directory",
            );
        }
    }
    Ok(())
}

pub(super) fn v2_keys(case: &mut Case<'_>) -> Result<(), Lacks> {
    // Pintle's line 3.6 refuses them as well.
    if case.target.minor() != 6 {
        return Ok(());
    }
    for (facts, log) in with_log(case.members)? {
        if !log.v2_keys.is_empty() {
            case.find(
                Level::Block,
                &facts.label,
                format!(
                    "the newest .snap (index {}) holds keys of API version 2: {}",
                    log.snapshot.index,
                    log.v2_keys.join(", ")
                ),
                format!("{} will refuse with `{}`", case.target, predict::V2_CONTENT),
                "if no one needs them: `pintle upgrade repair --data-dir DIR --drop-v2`; \
                 or delete them through the v2 API of 3.5 with --enable-v2 and take a fresh snapshot",
            );
        }
    }
    all_have_logs(case.members)
}

pub(super) fn v2_requests(case: &mut Case<'_>) -> Result<(), Lacks> {
    if case.target.minor() != 6 {
        return Ok(());
    }
    for (facts, log) in with_log(case.members)? {
        let foreign: Vec<_> = log.v2_records.iter().filter(|r| !r.is_membership).collect();
        if let Some(first) = foreign.first() {
            case.find(
                Level::Block,
                &facts.label,
                format!(
                    "{} v2 requests in the log after the newest snapshot, the first at index {}: {}",
                    foreign.len(),
                    first.index,
                    first.what
                ),
                format!("{} will end with `{}`", case.target, predict::V2_LOG),
                fresh_snapshot(),
            );
        }
    }
    all_have_logs(case.members)
}

pub(super) fn v2_at_all(case: &mut Case<'_>) -> Result<(), Lacks> {
    if !gate(case, 7..=8) {
        return Ok(());
    }
    for (facts, log) in with_log(case.members)? {
        if let Some(first) = log.v2_records.first() {
            case.find(
                Level::Block,
                &facts.label,
                format!(
                    "{} raw v2 records in the log after the newest snapshot record (index {}), the first at index {}: {}",
                    log.v2_records.len(),
                    log.snapshot.index,
                    first.index,
                    first.what
                ),
                format!(
                    "{} cannot read them and will panic with `{}`",
                    case.target,
                    predict::NOT_V3
                ),
                fresh_snapshot(),
            );
        }
    }
    all_have_logs(case.members)
}

pub(super) fn log(case: &mut Case<'_>) -> Result<(), Lacks> {
    for (facts, log) in with_log(case.members)? {
        for gap in &log.gaps {
            case.find(
                Level::Block,
                &facts.label,
                gap,
                "a start that needs this file fails",
                "do not upgrade this member; if the others are sound, remove it and add it again empty",
            );
        }
        for path in &log.leftovers {
            case.find(
                Level::Warn,
                &facts.label,
                format!("{} was left over from a received snapshot", path.display()),
                "a member that lost power while it received a snapshot leaves this (etcd#22340)",
                "start the member once on its present release, so that it clears or uses the file",
            );
        }
    }
    Ok(())
}

pub(super) fn consistent_index(case: &mut Case<'_>) -> Result<(), Lacks> {
    for (facts, log) in with_log(case.members)? {
        let Some(database) = &facts.database else {
            if facts.in_use {
                continue;
            }
            case.find(
                Level::Block,
                &facts.label,
                match facts.unread.is_empty() {
                    true => "has no database".to_owned(),
                    false => facts.unread.join("; "),
                },
                "a member does not start from a database that cannot be read, and nothing about its copy of the membership is known",
                "start the member on its present release; if it refuses too, remove it and add it again empty, or restore a backup",
            );
            continue;
        };
        for damage in &database.damage {
            case.find(
                Level::Block,
                &facts.label,
                format!("{}: {damage}", database.path.display()),
                "the database contradicts its own format",
                "do not start a member from it; remove the member and add it again empty, or restore a backup",
            );
        }
        if database.consistent_index < log.snapshot.index {
            case.find(
                Level::Block,
                &facts.label,
                format!(
                    "the database ends at index {}, the newest snapshot is at index {}",
                    database.consistent_index, log.snapshot.index
                ),
                "etcd refuses with `database file (...) does not match with snapshot` (etcd#17146)",
                "start the member on its present release; if it refuses too, remove it and add it again empty",
            );
        }
    }
    Ok(())
}
