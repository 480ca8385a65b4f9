//! What is to be run after each command, from how it ended. Where only the operator knows a flag of
//! it, its page is what comes next.

use std::path::Path;

use cli::flags::Parsed;

use crate::{
    checks::{Level, Missing, Report, Verdict},
    exit,
    facts::Facts,
    next_command::Next,
    plan::Plan,
    run::Managed,
};

/// What `repair` corrects in a directory.
const REPAIRED: [&str; 8] = ["P4", "P5", "P6", "P7", "P8", "P9", "P10", "P11"];
/// What the path of a plan resolves.
const PLANNED: [&str; 2] = ["P2", "P3"];

pub(super) fn after_check(parsed: &Parsed, report: &Report) -> Next {
    let blocks = report.findings.iter().filter(|f| f.level == Level::Block);
    let blockers: Vec<&str> = blocks.map(|finding| finding.check).collect();
    let is_any_of = |ids: &[&str]| blockers.iter().any(|id| ids.contains(id));
    match report.verdict() {
        Verdict::Incomplete => look_further("check", parsed, &report.members, &report.missing),
        Verdict::Blocked if is_any_of(&REPAIRED) && is_offline(parsed) => {
            Next::of("repair", parsed)
        }
        Verdict::Blocked if is_any_of(&PLANNED) && has_members(parsed) => Next::of("plan", parsed),
        Verdict::Blocked => Next::explain(blockers),
        Verdict::Safe | Verdict::Warnings if has_members(parsed) => Next::of("plan", parsed),
        Verdict::Safe | Verdict::Warnings => Next::of("rehearse", parsed).help(),
    }
}

pub(super) fn after_plan(
    parsed: &Parsed,
    members: &[Facts],
    plan: &Plan,
    lacking: &[Missing],
) -> Next {
    if !plan.blocked.is_empty() {
        return Next::explain(plan.blocked.iter().map(|finding| finding.check));
    }
    if !lacking.is_empty() {
        return look_further("plan", parsed, members, lacking);
    }
    match (plan.steps.is_empty(), parsed.list("endpoints").first()) {
        (true, _) => Next::of("check", parsed),
        (false, Some(endpoint)) => Next::of("backup", parsed)
            .with("endpoints", endpoint)
            .with("out", "backup"),
        (false, None) => Next::of("rehearse", parsed).help(),
    }
}

pub(super) fn after_backup(parsed: &Parsed, database: &Path) -> Next {
    Next::of("rehearse", parsed)
        .with("backup", &database.display().to_string())
        .help()
}

/// After a rehearsal that stopped the same comes once more, when the cause is gone.
pub(super) fn after_rehearse(parsed: &Parsed, code: i32) -> Next {
    match code {
        exit::OK => Next::of("run", parsed).without("scratch").help(),
        _ => Next::of("rehearse", parsed),
    }
}

/// After a run or a rollback, `name`: when it is done, the look that verifies it; or else the same
/// again. `runs` is what the members run when it is done, if that is known.
pub(super) fn after_steps(
    name: &str,
    parsed: &Parsed,
    members: &[Managed],
    runs: Option<&str>,
    code: i32,
) -> Next {
    match (code, runs) {
        (exit::OK, _) if parsed.bool("dry-run") => Next::of(name, parsed).without("dry-run"),
        (exit::OK, Some(runs)) => look_at_all(parsed, members, runs),
        (exit::OK, None) => Next::of("check", parsed).help(),
        _ => Next::of(name, parsed),
    }
}

/// After a rollback `to` a release that binaries are not the way to: never the same again, but the
/// look that finds what is wrong.
pub(super) fn after_refusal(parsed: &Parsed, members: &[Managed], to: &str) -> Next {
    look_at_all(parsed, members, to)
}

pub(super) fn after_repair(parsed: &Parsed, is_unchanged: bool) -> Next {
    match is_unchanged {
        true => Next::of("repair", parsed).with("yes", "true"),
        false => Next::of("check", parsed).help(),
    }
}

pub(super) fn after_explain(parsed: &Parsed) -> Next {
    match parsed.args.is_empty() {
        true => Next::explain(["P1"]),
        false => Next::of("check", parsed).help(),
    }
}

fn look_at_all(parsed: &Parsed, members: &[Managed], target: &str) -> Next {
    let all: Vec<&str> = members.iter().map(|m| m.endpoint.as_str()).collect();
    Next::of("check", parsed)
        .with("target", target)
        .with("endpoints", &all.join(","))
}

/// The same command with the directories that members name and that are here; or else what the
/// checks are that were not made.
fn look_further(name: &str, parsed: &Parsed, members: &[Facts], lacking: &[Missing]) -> Next {
    let lines = members.iter().filter_map(|facts| facts.live.as_ref());
    let mut dirs: Vec<&str> = lines
        .filter_map(|live| own_directory(live.command_line.as_ref()?))
        .filter(|dir| Path::new(dir).join("member").is_dir())
        .collect();
    dirs.sort_unstable();
    dirs.dedup();
    match dirs.is_empty() || parsed.given("data-dir") {
        true => Next::explain(lacking.iter().map(|missing| missing.check)),
        false => Next::of(name, parsed).with("data-dir", &dirs.join(",")),
    }
}

/// The data directory that a member's command line names.
fn own_directory(words: &[String]) -> Option<&str> {
    let at = words
        .iter()
        .position(|word| word.starts_with("--data-dir"))?;
    match words[at].strip_prefix("--data-dir=") {
        Some(dir) => Some(dir),
        None => words.get(at + 1).map(String::as_str),
    }
}

fn is_offline(parsed: &Parsed) -> bool {
    parsed.given("data-dir") && !parsed.given("endpoints")
}

/// Whether members or their directories are named, and not only files of theirs.
fn has_members(parsed: &Parsed) -> bool {
    parsed.given("data-dir") || parsed.given("endpoints")
}
