//! The checks P1 to P25. Each looks at what its sources gave and says one of
//! three things: passed, found something, or could not be made. A check that
//! lacks its source never counts as passed.

mod cluster;
mod deciding;
mod files;
mod membership_copies;
mod settings;
mod surroundings;
#[cfg(test)]
mod tests;

use serde::Serialize;
pub(crate) use settings::{flag_name, not_yet};

use crate::{
    exit,
    facts::{Certificate, Facts},
    predict::{self, Prediction},
    target::Target,
};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The upgrade may go on; somebody should know.
    Warn,
    /// The upgrade must not begin.
    Block,
}

/// Something that a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which check.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// At which member, empty for the cluster.
    pub member: String,
    /// What was seen.
    pub seen: String,
    /// Why it matters.
    pub why: String,
    /// The shortest safe way out.
    pub fix: String,
}

/// What became of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "reason", rename_all = "lowercase")]
pub enum State {
    /// It was made and found nothing.
    Passed,
    /// It found something; see the findings.
    Found,
    /// Its source is not there, in words.
    Unchecked(String),
}

/// One check.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// `P1` to `P25`.
    pub id: &'static str,
    /// What it looks for.
    pub title: &'static str,
    /// What became of it.
    #[serde(flatten)]
    pub state: State,
}

/// What a start of the target does to one member.
#[derive(Clone, Debug, Serialize)]
pub struct Boot {
    /// Which member.
    pub member: String,
    /// What happens.
    #[serde(flatten)]
    pub prediction: Prediction,
}

/// What is asked of the checks, beside the members.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Endpoints that did not answer, each with the reason.
    pub silent: Vec<(String, String)>,
    /// Flags with which the members run, if a manifest or command line was shown.
    pub flags: Option<Vec<String>>,
    /// A backup that was verified: where, and how it came out.
    pub backup: Option<(String, Result<String, String>)>,
    /// Hashes of all keys at one revision, by member, or why there are none.
    pub hashes: Option<Result<Vec<(String, u32)>, String>>,
    /// Learners that the target allows.
    pub learners_max: usize,
    /// Whether what goes with the backup says how to restore it for caches.
    pub restore_is_planned: bool,
    /// Certificate files: of the client, and those that a manifest names.
    pub certificates: Vec<Certificate>,
    /// The time, in seconds since 1970.
    pub now: i64,
    /// API servers, from their manifests.
    pub api_servers: Vec<ApiServer>,
    /// An image and how its verification came out.
    pub image: Option<(String, Result<String, String>)>,
}

/// The time, in seconds since 1970.
pub fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}

/// What the manifest of an API server says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiServer {
    /// Where it lies.
    pub path: String,
    /// The Kubernetes minor version in the tag of its image.
    pub minor: Option<u64>,
    /// `--etcd-servers`.
    pub etcd_servers: Vec<String>,
}

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

/// A check that decides and was not made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// Which.
    pub check: &'static str,
    /// What it looks for.
    pub title: &'static str,
    /// What it lacks, and so how it is made.
    pub lacks: String,
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

/// Collects what one check finds.
struct Case<'a> {
    members: &'a [Facts],
    target: &'a Target,
    given: &'a Given,
    id: &'static str,
    findings: Vec<Finding>,
}

impl Case<'_> {
    fn find(
        &mut self,
        level: Level,
        member: impl Into<String>,
        seen: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.findings.push(Finding {
            check: self.id,
            level,
            member: member.into(),
            seen: seen.into(),
            why: why.into(),
            fix: fix.into(),
        });
    }
}

/// A check: `Ok` when it was made, `Err` with what it lacks.
type Run = fn(&mut Case<'_>) -> Result<(), String>;

const ALL: [(&str, &str, Run); 25] = [
    (
        "P1",
        "every member answers, one leader, nobody behind",
        cluster::answers,
    ),
    ("P2", "one minor version at a time", cluster::minors),
    (
        "P3",
        "patch releases that the next minor may follow",
        cluster::floors,
    ),
    (
        "P4",
        "no voter is a learner in the database",
        membership_copies::learners,
    ),
    (
        "P5",
        "the same members in every copy",
        membership_copies::ids,
    ),
    (
        "P6",
        "the same records in every copy",
        membership_copies::records,
    ),
    (
        "P7",
        "no member counts as removed",
        membership_copies::removed,
    ),
    (
        "P8",
        "learners that the target sees at boot",
        files::learners_at_boot,
    ),
    (
        "P9",
        "no keys of API version 2 in the snapshot",
        files::v2_keys,
    ),
    (
        "P10",
        "no foreign v2 requests in the log",
        files::v2_requests,
    ),
    (
        "P11",
        "no v2 requests at all in the log, for 3.7",
        files::v2_at_all,
    ),
    ("P12", "flags that the target knows", settings::flags),
    ("P13", "no auth on the way from 3.4 to 3.5", settings::auth),
    (
        "P14",
        "no alarms, room in quota and on disk",
        settings::room,
    ),
    ("P15", "the same keys on every member", cluster::hashes),
    ("P16", "a backup that can be restored", settings::backup),
    (
        "P17",
        "a restore that clients do not see as the past",
        settings::restore,
    ),
    (
        "P18",
        "a quorum without one member, nothing pending",
        cluster::headroom,
    ),
    (
        "P19",
        "certificates that outlast the upgrade",
        surroundings::certificates,
    ),
    ("P20", "a baseline to compare with", surroundings::baseline),
    (
        "P21",
        "other clients of this cluster",
        surroundings::clients,
    ),
    (
        "P22",
        "the API servers fit the target",
        surroundings::api_servers,
    ),
    ("P23", "the image is the pinned one", surroundings::image),
    ("P24", "the log and its snapshots are whole", files::log),
    (
        "P25",
        "the database is not behind the snapshot",
        files::consistent_index,
    ),
];

/// Makes all checks.
pub fn run(target: Target, members: Vec<Facts>, given: &Given) -> Report {
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
    for (id, title, run) in ALL {
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
            Ok(()) => State::Passed,
            Err(lacks) => State::Unchecked(lacks),
        };
        findings.append(&mut case.findings);
        checks.push(Check { id, title, state });
    }
    let boots: Vec<Boot> = members
        .iter()
        .filter_map(|facts| {
            Some(Boot {
                member: facts.label.clone(),
                prediction: predict::boot(facts, target)?,
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
                fix: "do not start it there; `pintle upgrade repair --data-dir DIR` shows what can be mended".into(),
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
