//! The checks P1 to P25. Each looks at what its sources gave and says one of
//! three things: passed, found something, or could not be made. A check that
//! lacks its source never counts as passed.

mod case;
mod cluster;
mod deciding;
mod files;
mod finding;
mod given;
mod membership_copies;
mod settings;
mod surroundings;
#[cfg(test)]
mod tests;

use case::{Case, Lacks};
pub use finding::{Boot, Check, Finding, Level, Missing, State};
pub use given::{ApiServer, Given, NotCompared, Unverified, now};
pub(crate) use settings::{flag_name, not_yet};

use crate::{
    exit, explain,
    facts::{Facts, cluster_version},
    predict,
    target::Target,
};

/// The result of all checks.
#[derive(Debug)]
pub struct Report {
    /// Where the way leads.
    pub target: Target,
    /// Who was looked at.
    pub members: Vec<Facts>,
    /// Every check, in the order of its number.
    pub checks: Vec<Check>,
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
    /// What the target does at boot, for members whose files were read.
    pub boots: Vec<Boot>,
    /// What was not made of that which decides how a start of the target ends.
    pub missing: Vec<Missing>,
}

/// What all of it comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that decides was looked at, and nothing was found.
    Safe,
    /// The same, with warnings.
    Warnings,
    /// Nothing blocks as far as was looked, which was not far enough.
    Incomplete,
    /// The upgrade must not begin.
    Blocked,
}

impl Report {
    /// The worst level found.
    pub fn worst(&self) -> Option<Level> {
        self.findings.iter().map(|finding| finding.level).max()
    }

    /// The verdict.
    pub fn verdict(&self) -> Verdict {
        match self.worst() {
            Some(Level::Block) => Verdict::Blocked,
            _ if !self.missing.is_empty() => Verdict::Incomplete,
            Some(Level::Warn) => Verdict::Warnings,
            None => Verdict::Safe,
        }
    }

    /// The verdict as an exit code.
    pub fn exit_code(&self) -> i32 {
        match self.verdict() {
            Verdict::Safe => exit::OK,
            Verdict::Blocked => exit::STOPPED,
            Verdict::Warnings => exit::RESERVED,
            Verdict::Incomplete => exit::INCOMPLETE,
        }
    }
}

/// A check: `Ok` when it was made, `Err` with what it lacks.
type Run = fn(&mut Case<'_>) -> Result<(), Lacks>;

/// Each check by its id; `explain` has the rest of it, in the same order.
const ALL: [(&str, Run); explain::CHECKS.len()] = [
    ("P1", cluster::answers),
    ("P2", cluster::minors),
    ("P3", cluster::floors),
    ("P4", membership_copies::learners),
    ("P5", membership_copies::ids),
    ("P6", membership_copies::records),
    ("P7", membership_copies::removed),
    ("P8", files::learners_at_boot),
    ("P9", files::v2_keys),
    ("P10", files::v2_requests),
    ("P11", files::v2_at_all),
    ("P12", settings::flags),
    ("P13", settings::auth),
    ("P14", settings::room),
    ("P15", cluster::hashes),
    ("P16", settings::backup),
    ("P17", settings::restore),
    ("P18", cluster::headroom),
    ("P19", surroundings::certificates),
    ("P20", surroundings::baseline),
    ("P21", surroundings::clients),
    ("P22", surroundings::api_servers),
    ("P23", surroundings::image),
    ("P24", files::log),
    ("P25", files::consistent_index),
];

/// The ids of the checks that are made.
#[cfg(test)]
pub(crate) fn ids() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(id, _)| *id)
}

/// Makes all checks.
pub fn run(target: Target, members: Vec<Facts>, given: &Given) -> Report {
    let target = target.on(cluster_version(&members).as_ref());
    let seen = look(&target, &members, given);
    Report {
        target,
        members,
        checks: seen.checks,
        findings: seen.findings,
        boots: seen.boots,
        missing: seen.missing,
    }
}

/// What the checks say of members.
pub(crate) struct Seen {
    checks: Vec<Check>,
    pub(crate) findings: Vec<Finding>,
    boots: Vec<Boot>,
    pub(crate) missing: Vec<Missing>,
}

/// Makes all checks, of members that are of further use.
pub(crate) fn look(target: &Target, members: &[Facts], given: &Given) -> Seen {
    let mut checks = Vec::new();
    let mut findings = Vec::new();
    for ((id, run), entry) in ALL.iter().zip(&explain::CHECKS) {
        let mut case = Case {
            members,
            target,
            given,
            id,
            findings: Vec::new(),
        };
        let outcome = run(&mut case);
        let state = match outcome {
            _ if !case.findings.is_empty() => State::Found,
            Ok(()) if !deciding::matters(id, members, target) => State::Unneeded,
            Ok(()) => State::Passed,
            Err(Lacks(lacks)) => State::Unchecked(lacks),
        };
        findings.append(&mut case.findings);
        checks.push(Check {
            id,
            title: entry.title,
            state,
        });
    }
    let boots: Vec<Boot> = members
        .iter()
        .filter_map(|facts| {
            let prediction = predict::boot(facts, target)?;
            Some(Boot {
                member: facts.label.clone(),
                explain: explain::of_boot(&prediction),
                prediction,
            })
        })
        .collect();
    unexplained(&boots, target, &mut findings);
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    let missing = deciding::missing(&checks, members, target);
    Seen {
        checks,
        findings,
        boots,
        missing,
    }
}

/// A start that fails blocks, also where no check says why.
fn unexplained(boots: &[Boot], target: &Target, findings: &mut Vec<Finding>) {
    for boot in boots {
        let fails = boot.prediction.outcome != predict::Outcome::Starts;
        let blocks = |f: &Finding| f.level == Level::Block;
        if fails && !findings.iter().any(blocks) {
            findings.push(Finding {
                check: "P8",
                level: Level::Block,
                member: boot.member.clone(),
                seen: format!("{target} does not start on this directory"),
                why: boot.prediction.text.clone(),
                fix: "do not start it there; `pintle upgrade repair --data-dir DIR` shows what can be repaired".into(),
            });
        }
    }
}

/// Flags among `words` that are gone by minor version `minor`: the first release
/// without them, the flag, and what to set instead.
pub fn changes(words: &[String], minor: u64) -> Vec<(String, String, String)> {
    let names = words.iter().filter_map(|word| flag_name(word));
    names
        .filter_map(|name| {
            let (at, instead) =
                (4..=minor).find_map(|m| Some((m, settings::replacement(name, m)?)))?;
            Some((format!("3.{at}"), name.to_owned(), instead))
        })
        .collect()
}
