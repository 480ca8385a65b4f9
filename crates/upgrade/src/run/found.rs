//! What a rollback may do where no journal tells what was done: judged from what the
//! members answer. Binaries go back on the directories as they are, or not at all.

use std::collections::BTreeSet;

use line::Line;
use semver::Version;

use super::{downgrade, driver::Process, safety};
use crate::{
    facts::{Facts, Hash, Live},
    failure::{Failure, Outcome},
    steps::Step,
    target::{Target, is_of_pintle},
};

/// The way back from what was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// All members run that release.
    Nothing,
    /// Steps to be taken back, the last one first.
    Steps {
        /// What was found, in words.
        found: String,
        /// As a run to here would have done them.
        steps: Vec<Step>,
        /// The id of the cluster.
        cluster: String,
    },
    /// Not by putting binaries back.
    Otherwise {
        /// What was found, in words.
        found: String,
        /// What to do, in words.
        instead: String,
    },
}

/// All members are known: those that do not answer do not run.
const QUORUM_LOST: &str = "start the others on their own directories; bring members back on their own directories until one leads: an intact log is worth more than any backup. \
    If none can be had, restore the backup as a new cluster; --force-new-cluster is the last resort, and run `pintle upgrade check` after it";
const NO_LEADER: &str = "all of them run: see in their logs why none leads, and whether they reach one another's peer URLs";
const STRANGERS: &str = "a member that was removed may have come back, which no rollback repairs: see whether it lives; if not, \
    `member remove` takes it out. If it lives, name it in the file of members";
const CORRUPT: &str = "never take a cluster back for that: remove this member, clear its directory, and add it again; the others carry on";
const NO_WAY_DOWN: &str =
    "from there only the backup goes back: with all members stopped, restore it as a new cluster";

/// A member as it was found.
pub(super) struct Member {
    /// Its name in the file of members.
    pub(super) name: String,
    /// What it answers, if it does.
    pub(super) facts: Option<Facts>,
    /// Whether it is Pintle, if it tells.
    pub(super) pintle: Option<bool>,
    /// What is known of its process.
    pub(super) process: Process,
}

/// Judges how `members` come to run `target` again. `hashes` are of one revision.
///
/// # Errors
/// The members are not of one cluster.
pub(super) fn judge(
    members: &[Member],
    hashes: &[(String, Hash)],
    target: &Target,
) -> Outcome<Way> {
    let found = Found::of(members);
    if !found.answers.iter().any(|(_, _, live)| live.leader != 0) {
        let (count, all) = (found.answers.len(), members.len());
        return otherwise(
            format!("{count} of {all} members answer, and none knows a leader"),
            &found.way_to_leader(),
        );
    }
    let cluster = found.cluster()?;
    if let Some((found, instead)) = found.trouble().or_else(|| apart(hashes)) {
        return otherwise(found, instead);
    }
    let running = match found.running(&target.version) {
        Ok(running) => running,
        Err((found, instead)) => return otherwise(found, instead),
    };
    let versions = found.answers.iter();
    let versions = versions.filter_map(|(_, _, live)| live.cluster_version.as_ref());
    let Some(version) = versions.max() else {
        return otherwise(
            "no member reports the cluster version",
            "see that /version on the client URLs can be asked, then try again",
        );
    };
    let lines = found.lines(version, &target.version);
    let mut steps = match lines.is_empty() {
        true => found.steps(&running, target),
        false => found.back_to_etcd(&running, target),
    };
    if steps.is_empty() && lines.is_empty() {
        return Ok(Way::Nothing);
    }
    let words = found.words(&running, version);
    match found.descent(version, &target.version) {
        _ if !lines.is_empty() => steps.extend(lines),
        Err(instead) => return otherwise(words, &instead),
        Ok(Some(to)) => steps.push(Step::Settle { to }),
        Ok(None) => {}
    }
    Ok(Way::Steps {
        found: words,
        steps,
        cluster,
    })
}

fn otherwise(found: impl Into<String>, instead: &str) -> Outcome<Way> {
    Ok(Way::Otherwise {
        found: found.into(),
        instead: instead.to_owned(),
    })
}

/// Members whose keys differ, and what to do. Compacted at different revisions, they cannot
/// be compared.
fn apart(hashes: &[(String, Hash)]) -> Option<(String, &'static str)> {
    let (a, b) = hashes.iter().enumerate().find_map(|(at, (a, one))| {
        let mut others = hashes[..at].iter();
        let differs = |h: &Hash| h.compacted == one.compacted && h.hash != one.hash;
        others.find(|(_, h)| differs(h)).map(|(b, _)| (b, a))
    })?;
    let found = format!("{a} and {b} have different keys at one revision");
    Some((found, CORRUPT))
}

/// What the members answer, and who answers nothing.
struct Found<'a> {
    members: &'a [Member],
    answers: Vec<(&'a str, &'a Facts, &'a Live)>,
    silent: Vec<&'a str>,
}

/// Whether it does not lead, the name, and the version that it runs.
type Running<'a> = (bool, &'a str, &'a Version);

impl<'a> Found<'a> {
    fn of(members: &'a [Member]) -> Found<'a> {
        let answers: Vec<(&str, &Facts, &Live)> = members
            .iter()
            .filter_map(|member| {
                let facts = member.facts.as_ref()?;
                Some((member.name.as_str(), facts, facts.live.as_ref()?))
            })
            .collect();
        let names = members.iter().map(|member| member.name.as_str());
        let is_silent = |name: &&str| !answers.iter().any(|(n, _, _)| n == name);
        Found {
            members,
            silent: names.filter(is_silent).collect(),
            answers,
        }
    }

    /// What to do where none that answers knows a leader. No way leads over a backup where a
    /// process may run.
    fn way_to_leader(&self) -> String {
        let silent = self.members.iter().filter(|m| m.facts.is_none());
        let is_there = |m: &&Member| m.process != Process::Ended;
        let mut out = silent.clone().filter(is_there).peekable();
        match (out.peek().is_some(), silent.count()) {
            (true, _) => safety::out_of_reach(out.map(|m| (m.name.as_str(), m.process))),
            (false, 0) => NO_LEADER.to_owned(),
            (false, _) => QUORUM_LOST.to_owned(),
        }
    }

    /// The one cluster of all members that answer.
    fn cluster(&self) -> Outcome<String> {
        let clusters: BTreeSet<String> = self
            .answers
            .iter()
            .filter_map(|(_, facts, _)| Some(facts.cluster?.to_string()))
            .collect();
        let mut clusters = clusters.into_iter();
        match (clusters.next(), clusters.next()) {
            (Some(cluster), None) => Ok(cluster),
            _ => Err(Failure::new("the endpoints belong to different clusters")),
        }
    }

    /// A member that no file names, or an alarm for which no binary goes back; and what to do.
    fn trouble(&self) -> Option<(String, &'static str)> {
        self.answers.iter().find_map(|(_, _, live)| {
            let mut listed = live.members.iter();
            let is_named = |name: &str| self.members.iter().any(|m| m.name == name);
            if let Some(stranger) = listed.find(|listed| !is_named(&listed.name)) {
                let (id, name) = (stranger.id, &stranger.name);
                let found = format!(
                    "the cluster lists {id} {name}, which the file of members does not name"
                );
                return Some((found, STRANGERS));
            }
            let (id, kind) = live.alarms.iter().find(|(_, kind)| kind == "CORRUPT")?;
            let name = live.members.iter().find(|m| m.id == *id);
            let name = name.map_or("a member", |m| m.name.as_str());
            Some((format!("{name} ({id}) has the alarm {kind}"), CORRUPT))
        })
    }

    /// What runs, in the order in which it goes back from the end: the leader is the last.
    ///
    /// # Errors
    /// A member that no binary goes back from to `to`, and what to do.
    fn running(&self, to: &Version) -> Result<Vec<Running<'a>>, (String, &'static str)> {
        let mut running = Vec::new();
        for (name, facts, live) in &self.answers {
            let Some(version) = &live.version else {
                let found = format!("{name} does not report its version");
                return Err((found, "see what it is, then try again"));
            };
            // What Pintle answers is of its line, and no patch.
            let is_older = match self.is_pintle(name) {
                Some(true) => version.minor < to.minor,
                _ => version < to,
            };
            if is_older {
                return Err((
                    format!("{name} runs {version}, which is older than {to}"),
                    "--to names the release that all of them ran before; `pintle upgrade run` goes forward",
                ));
            }
            let leads = facts.id.is_some_and(|id| id.0 == live.leader);
            running.push((!leads, *name, version));
        }
        running.sort();
        Ok(running)
    }

    /// Whether a member is Pintle, if it tells.
    fn is_pintle(&self, name: &str) -> Option<bool> {
        self.members.iter().find(|m| m.name == name)?.pintle
    }

    /// The swaps that have led here. Those that are silent have failed to start, most likely:
    /// they go back first, before any that serves.
    fn steps(&self, running: &[Running<'_>], target: &Target) -> Vec<Step> {
        let to = &target.version;
        // Who does not tell whether it is Pintle may be either where the versions are the same.
        let is_there = |name: &str, version: &Version| {
            let is = self.is_pintle(name) == Some(target.is_pintle);
            version == to && (is || !is_of_pintle(version))
        };
        let versions = running.iter().map(|(_, _, version)| *version);
        let newest = versions.max().unwrap_or(to);
        running
            .iter()
            .filter(|(_, name, version)| !is_there(name, version))
            .map(|(_, name, version)| (*name, *version))
            .chain(self.silent.iter().map(|name| (*name, newest)))
            .map(|(member, version)| Step::Swap {
                member: member.to_owned(),
                from: to.clone(),
                from_pintle: target.is_pintle,
                to: version.clone(),
                pintle: false,
            })
            .collect()
    }

    /// Whether all members run Pintle, as far as they answer.
    fn is_all_pintle(&self) -> bool {
        let mut names = self.answers.iter().map(|(name, _, _)| *name);
        names.all(|name| self.is_pintle(name) == Some(true))
    }

    /// The changes of the line that have led here, where all members run Pintle: they go back by
    /// them, and no binary has to.
    fn lines(&self, cluster_version: &Version, to: &Version) -> Vec<Step> {
        let (Some(_), true) = (Line::of(to), self.is_all_pintle() && self.silent.is_empty()) else {
            return Vec::new();
        };
        // One that was left half done shows in what members answer alone.
        let answered = self.answers.iter();
        let answered = answered.filter_map(|(_, _, live)| live.version.as_ref());
        let spoken = answered.map(|version| version.minor).max().unwrap_or(0);
        let height = self.height(cluster_version).max(spoken);
        let releases = Line::ALL.into_iter().map(Line::release_version);
        let releases: Vec<Version> = releases
            .filter(|release| (to.minor..=height).contains(&release.minor))
            .collect();
        let hops = releases.windows(2);
        hops.filter_map(|hop| match hop {
            [from, to] => Some(Step::Line {
                from: from.clone(),
                to: to.clone(),
            }),
            _ => None,
        })
        .collect()
    }

    /// The swaps from etcd to Pintle that were before those; none where they stay Pintle.
    fn back_to_etcd(&self, running: &[Running<'_>], target: &Target) -> Vec<Step> {
        let Some(line) = Line::of(&target.version).filter(|_| !target.is_pintle) else {
            return Vec::new();
        };
        let swap = |(_, name, _): &Running<'_>| Step::Swap {
            member: (*name).to_owned(),
            from: target.version.clone(),
            from_pintle: false,
            to: line.release_version(),
            pintle: true,
        };
        running.iter().map(swap).collect()
    }

    fn words(&self, running: &[Running<'_>], cluster_version: &Version) -> String {
        let mut found: Vec<String> = running
            .iter()
            .map(|(_, name, version)| match self.is_pintle(name) {
                Some(true) => format!("{name} runs pintle {version}"),
                _ => format!("{name} runs {version}"),
            })
            .collect();
        let silent = self.silent.iter();
        found.extend(silent.map(|name| format!("{name} does not answer")));
        found.sort();
        found.push(format!("cluster version 3.{}", cluster_version.minor));
        found.join(", ")
    }

    /// The minor version that the files of the members may be of. While a downgrade is under way
    /// the cluster version is down before the storage is.
    fn height(&self, cluster_version: &Version) -> u64 {
        let storage = self.answers.iter();
        let storage = storage.filter_map(|(_, _, live)| minor_of(&live.storage_version));
        storage.max().unwrap_or(0).max(cluster_version.minor)
    }

    /// The cluster version that must go down first, if it has followed.
    ///
    /// # Errors
    /// It cannot; what to do.
    fn descent(&self, cluster_version: &Version, to: &Version) -> Result<Option<Version>, String> {
        let height = self.height(cluster_version);
        if height <= to.minor {
            return Ok(None);
        }
        if self.is_all_pintle() && !self.silent.is_empty() {
            return Err(
                "all members change their line together: bring the silent one back, then try again"
                    .into(),
            );
        }
        if height > to.minor + 1 {
            return Err(format!(
                "a downgrade goes one minor version at a time: --to a release of 3.{}",
                height - 1
            ));
        }
        if height < downgrade::FROM {
            return Err(NO_WAY_DOWN.into());
        }
        match self.silent.is_empty() {
            true => Ok(Some(Version::new(3, height, 0))),
            false => Err("the cluster version has followed, so the storage of every member must go down first: bring the silent one back on the release of the others, then try again".into()),
        }
    }
}

/// The minor version in a storage version, as in `3.6.0`.
fn minor_of(storage: &str) -> Option<u64> {
    Version::parse(storage).ok().map(|version| version.minor)
}
