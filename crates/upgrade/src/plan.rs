//! The shortest way of versions that is safe from here: no minor skipped, each
//! entered from a patch that may lead there, one member at a time, the leader
//! last, and a snapshot on disk before 3.7.

use std::collections::BTreeSet;

use semver::Version;
use serde::Serialize;

use crate::{
    facts::Facts,
    target::{self, Target},
};

/// One thing to do.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// The release that this step leads to.
    pub version: String,
    /// The member that restarts, empty for the cluster.
    pub member: String,
    /// In words.
    pub what: String,
    /// Why it is there.
    pub why: String,
}

/// The way.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Releases, from the present one on, in words.
    pub path: Vec<String>,
    /// The same as versions.
    #[serde(skip)]
    pub versions: Vec<Version>,
    /// What to do, in order.
    pub steps: Vec<Step>,
    /// Flags that must change, by release and flag: what instead.
    pub flags: Vec<(String, String, String)>,
}

impl Plan {
    /// The way from what the members run to `target`, by releases of `available` where
    /// that names any of a minor version.
    ///
    /// # Errors
    /// No source says what they run, or the way leads back.
    pub fn make(members: &[Facts], target: &Target, available: &[Version]) -> Result<Plan, String> {
        let running: BTreeSet<Version> = members
            .iter()
            .filter_map(|facts| facts.live.as_ref()?.version.clone())
            .collect();
        let of_files = || members.iter().filter_map(Facts::cluster_version).max();
        let Some(now) = running.first().cloned().or_else(of_files) else {
            return Err("no source says which version the members run".into());
        };
        let best = |minor: u64| {
            let floor = target::floor(minor).unwrap_or(Version::new(3, minor, 0));
            let fit = available
                .iter()
                .filter(|v| v.minor == minor && **v >= floor);
            fit.max().cloned().unwrap_or_else(|| target::newest(minor))
        };
        let patch_known = !running.is_empty();
        if target.version < now && target.minor() < now.minor {
            return Err(format!(
                "{target} is older than {now}: that is a way back, see `pintle upgrade rollback`"
            ));
        }
        let mut path = vec![now.clone()];
        let mut minor = now.minor;
        while minor < target.minor() {
            let here = path.last().cloned().unwrap_or_else(|| now.clone());
            let low = target::floor(minor).is_some_and(|floor| here < floor);
            if low || (!patch_known && here == now) {
                path.push(best(minor));
            }
            minor += 1;
            path.push(match minor == target.minor() {
                true => target.version.clone(),
                false => best(minor),
            });
        }
        if path.last() != Some(&target.version) {
            path.push(target.version.clone());
        }
        path.dedup();
        let mut plan = Plan {
            path: path.iter().map(ToString::to_string).collect(),
            versions: path.clone(),
            steps: Vec::new(),
            flags: Vec::new(),
        };
        if let Some(last) = plan.path.last_mut()
            && target.is_pintle
        {
            *last = target.to_string();
        }
        plan.fill(members, &path, target);
        Ok(plan)
    }

    fn fill(&mut self, members: &[Facts], path: &[Version], target: &Target) {
        let order = order(members);
        self.push(
            "",
            "",
            "take a backup and verify it: pintle upgrade backup",
            "the way back from the last step",
        );
        for hop in path.windows(2) {
            let [from, to] = hop else { continue };
            let name = match to == &target.version && target.is_pintle {
                true => target.to_string(),
                false => format!("etcd {to}"),
            };
            let version = to.to_string();
            if from.minor == 6 && to.minor == 7 {
                self.push(
                    &version,
                    "",
                    "on each member: restart once with --snapshot-count=1, write a key, restart as usual",
                    "3.7 panics on raw v2 records behind the newest snapshot, which 3.5 left in the log",
                );
            }
            let anchor = from.minor != to.minor && order.len() > 2;
            for (at, (member, leads)) in order.iter().enumerate() {
                let last = at + 1 == order.len();
                if last && *leads && order.len() > 1 {
                    self.push(
                        &version,
                        member,
                        "move-leader to a member that was upgraded",
                        "the leader restarts last, and not as leader",
                    );
                }
                if last && anchor {
                    self.push(
                        &version,
                        member,
                        &format!("let the others soak on {name} while {member} stays on {from}: as long as it does, the cluster version stays and every binary may be put back"),
                        "the rollback anchor",
                    );
                }
                self.push(
                    &version,
                    member,
                    &format!("stop {member}, start {name} on the same data directory, wait until it is healthy and published"),
                    if last { "last, because it leads or anchors" } else { "one at a time" },
                );
            }
            self.push(
                &version,
                "",
                &format!("pintle upgrade check --target {to}: members, copies and hashes again"),
                "before the next step",
            );
        }
    }

    fn push(&mut self, version: &str, member: &str, what: &str, why: &str) {
        self.steps.push(Step {
            version: version.to_owned(),
            member: member.to_owned(),
            what: what.to_owned(),
            why: why.to_owned(),
        });
    }
}

/// Members in the order of their restarts, the leader last, with whether they lead.
fn order(members: &[Facts]) -> Vec<(String, bool)> {
    let mut order: Vec<(String, bool)> = members
        .iter()
        .map(|facts| {
            let leads = facts
                .live
                .as_ref()
                .is_some_and(|live| facts.id.is_some_and(|id| id.0 == live.leader));
            (facts.label.clone(), leads)
        })
        .collect();
    order.sort_by_key(|(_, leads)| *leads);
    order
}
