//! What a rollback may do where no journal tells what was done: judged from what the
//! members answer. Binaries go back on the directories as they are, or not at all.

use std::collections::BTreeSet;

use semver::Version;

use super::downgrade;
use crate::{
    facts::{Facts, Hash, Live},
    failure::{Failure, Outcome},
    steps::Step,
    target::{PINTLE_SPEAKS, Target},
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

const QUORUM_LOST: &str = "bring members back on their own directories until one leads: an intact log is worth more than any backup. \
    If none can be had, restore the backup as a new cluster; --force-new-cluster is the last resort, and `pintle upgrade check` belongs behind it";
const STRANGERS: &str = "a member that was removed may have come back, which no rollback repairs: see whether it lives; if not, \
    `member remove` takes it out. If it lives, name it in the file of members";
const CORRUPT: &str = "never take a cluster back for that: remove this member, clear its directory, and add it again; the others carry on";
const NO_WAY_DOWN: &str =
    "from there only restoring the backup goes back: restore it as a new cluster";

/// A member as it was found.
pub(super) struct Member {
    /// Its name in the file of members.
    pub(super) name: String,
    /// What it answers, if it does.
    pub(super) facts: Option<Facts>,
    /// Whether it is Pintle, if it tells.
    pub(super) pintle: Option<bool>,
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
    let to = &target.version;
    let answers: Vec<(&str, &Facts, &Live)> = members
        .iter()
        .filter_map(|member| {
            let facts = member.facts.as_ref()?;
            Some((member.name.as_str(), facts, facts.live.as_ref()?))
        })
        .collect();
    let silent: Vec<&str> = members
        .iter()
        .map(|member| member.name.as_str())
        .filter(|name| !answers.iter().any(|(n, _, _)| n == name))
        .collect();
    let otherwise = |found: String, instead: &str| {
        Ok(Way::Otherwise {
            found,
            instead: instead.to_owned(),
        })
    };
    if !answers.iter().any(|(_, _, live)| live.leader != 0) {
        let count = answers.len();
        return otherwise(
            format!(
                "{count} of {} members answer, and none knows a leader",
                members.len()
            ),
            QUORUM_LOST,
        );
    }
    let clusters: BTreeSet<String> = answers
        .iter()
        .filter_map(|(_, facts, _)| Some(facts.cluster?.to_string()))
        .collect();
    let [cluster] = &clusters.into_iter().collect::<Vec<_>>()[..] else {
        return Err(Failure::new("the endpoints belong to different clusters"));
    };
    for (_, _, live) in &answers {
        let stranger = live
            .members
            .iter()
            .find(|listed| !members.iter().any(|m| m.name == listed.name));
        if let Some(stranger) = stranger {
            return otherwise(
                format!(
                    "the cluster lists {} {}, which the file of members does not name",
                    stranger.id, stranger.name
                ),
                STRANGERS,
            );
        }
        if let Some((id, kind)) = live.alarms.iter().find(|(_, kind)| kind == "CORRUPT") {
            let name = live.members.iter().find(|m| m.id == *id);
            let name = name.map_or("a member", |m| m.name.as_str());
            return otherwise(format!("{name} ({id}) has the alarm {kind}"), CORRUPT);
        }
    }
    // Compacted at different revisions, they cannot be compared.
    let apart = hashes.iter().enumerate().find_map(|(at, (a, one))| {
        let mut others = hashes[..at].iter();
        let differs = |h: &Hash| h.compacted == one.compacted && h.hash != one.hash;
        others.find(|(_, h)| differs(h)).map(|(b, _)| (b, a))
    });
    if let Some((a, b)) = apart {
        return otherwise(
            format!("{a} and {b} have different keys at one revision"),
            CORRUPT,
        );
    }
    let mut running = Vec::new();
    for (name, facts, live) in &answers {
        let Some(version) = &live.version else {
            return otherwise(
                format!("{name} does not report its version"),
                "see what it is, then try again",
            );
        };
        if version < to {
            return otherwise(
                format!("{name} runs {version}, which is older than {to}"),
                "--to names the release that all of them ran before; `pintle upgrade run` goes forward",
            );
        }
        let leads = facts.id.is_some_and(|id| id.0 == live.leader);
        running.push((!leads, *name, version));
    }
    // Taken back from the end: the leader is the last.
    running.sort();
    let newest = running
        .iter()
        .map(|(_, _, version)| *version)
        .max()
        .unwrap_or(to);
    let versions = answers
        .iter()
        .filter_map(|(_, _, live)| live.cluster_version.as_ref());
    let Some(cluster_version) = versions.max() else {
        return otherwise(
            "no member reports the cluster version".into(),
            "see that /version on the client URLs can be asked, then try again",
        );
    };
    // While a downgrade is under way the cluster version is down before the storage is.
    let storage = answers
        .iter()
        .filter_map(|(_, _, live)| minor_of(&live.storage_version));
    let height = storage.max().unwrap_or(0).max(cluster_version.minor);
    // Who does not tell whether it is Pintle may be either where the versions are the same.
    let is = |name: &str| members.iter().find(|m| m.name == name)?.pintle;
    let is_there = |name: &str, version: &Version| {
        version == to && (is(name) == Some(target.is_pintle) || *version != PINTLE_SPEAKS)
    };
    let mut steps: Vec<Step> = running
        .iter()
        .filter(|(_, name, version)| !is_there(name, version))
        .map(|(_, name, version)| (*name, *version))
        // They have failed to start, most likely: first back, before any that serves.
        .chain(silent.iter().map(|name| (*name, newest)))
        .map(|(member, version)| Step::Swap {
            member: member.to_owned(),
            from: to.clone(),
            from_pintle: target.is_pintle,
            to: version.clone(),
            pintle: false,
        })
        .collect();
    if steps.is_empty() {
        return Ok(Way::Nothing);
    }
    let mut found: Vec<String> = running
        .iter()
        .map(|(_, name, version)| match is(name) {
            Some(true) => format!("{name} runs pintle {version}"),
            _ => format!("{name} runs {version}"),
        })
        .collect();
    found.extend(silent.iter().map(|name| format!("{name} does not answer")));
    found.sort();
    found.push(format!("cluster version 3.{}", cluster_version.minor));
    let found = found.join(", ");
    if height > to.minor {
        if height > to.minor + 1 {
            return otherwise(
                found,
                &format!(
                    "a downgrade goes one minor version at a time: --to a release of 3.{}",
                    height - 1
                ),
            );
        }
        if height < downgrade::FROM {
            return otherwise(found, NO_WAY_DOWN);
        }
        if !silent.is_empty() {
            return otherwise(
                found,
                "the cluster version has followed, so the storage of every member must go down first: bring the silent one back on the release of the others, then try again",
            );
        }
        steps.push(Step::Settle {
            to: Version::new(3, height, 0),
        });
    }
    Ok(Way::Steps {
        found,
        steps,
        cluster: cluster.clone(),
    })
}

/// The minor version in a storage version, as in `3.6.0`.
fn minor_of(storage: &str) -> Option<u64> {
    Version::parse(storage).ok().map(|version| version.minor)
}
