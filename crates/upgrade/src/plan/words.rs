//! The steps of a plan, written for people who carry them out by hand.

use std::collections::BTreeSet;

use semver::Version;
use serde::Serialize;

use crate::{
    facts::Facts,
    hops::{Hop, How, line_of},
    steps::{FLUSH_BY_HAND, FLUSH_FLAG, Member, Step as Machine},
};

/// One thing to do.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// What kind of step: `backup`, `start-all`, `check`, `restart`, `move-leader`, `soak`,
    /// `swap`, `flush`, `settle`, `line`.
    pub action: &'static str,
    /// The release that this step leads to.
    pub version: String,
    /// The member that restarts, empty for the cluster.
    pub member: String,
    /// In words.
    pub what: String,
    /// Why it is there.
    pub why: String,
}

/// Steps written for people.
pub(super) struct Words {
    /// Members in the order of their restarts.
    order: Vec<String>,
    /// Whose records are stale now.
    stale: BTreeSet<String>,
    /// Whether that is known.
    databases: bool,
    steps: Vec<Step>,
}

impl Words {
    pub(super) fn new(members: &[Facts], order: &[Member], stale: BTreeSet<String>) -> Words {
        Words {
            order: order.iter().map(|m| m.name.clone()).collect(),
            stale,
            databases: members.iter().all(|facts| facts.database.is_some()),
            steps: Vec::new(),
        }
    }

    fn push(&mut self, action: &'static str, version: &str, member: &str, what: String, why: &str) {
        self.steps.push(Step {
            action,
            version: version.to_owned(),
            member: member.to_owned(),
            what,
            why: why.to_owned(),
        });
    }

    pub(super) fn all(
        mut self,
        machine: &[Machine],
        hops: &[Hop],
        running: bool,
        path: &[String],
    ) -> Vec<Step> {
        self.push(
            "backup",
            "",
            "",
            "take a backup and verify it: pintle upgrade backup".into(),
            "the way back from the last step",
        );
        if !running {
            let first = path.first().map_or("", String::as_str);
            self.push(
                "start-all",
                first,
                "",
                format!("start every member on the release that it ran last ({first})"),
                "what follows is done one member at a time, in a cluster that serves",
            );
        }
        let mut next = hops.iter();
        for (at, step) in machine.iter().enumerate() {
            match step {
                Machine::Check { .. } => self.check(next.next()),
                step => self.step(step, &machine[..at], running),
            }
        }
        self.steps
    }

    fn check(&mut self, hop: Option<&Hop>) {
        let Some(hop) = hop else { return };
        let target = match hop.how {
            How::Pintle => "pintle".to_owned(),
            _ => hop.target().given,
        };
        let accept = match hop.how {
            // Of API version 2, which the log alone tells of, the members answer themselves.
            How::Line => "with 4 or 5, if you accept its warnings",
            _ => "with 4, if you accept its warnings",
        };
        self.push(
            "check",
            &target,
            "",
            format!(
                "pintle upgrade check --target {target}: go on if it exits with 0; {accept}; with any other code stop here"
            ),
            "before the next step",
        );
    }

    fn step(&mut self, step: &Machine, before: &[Machine], running: bool) {
        match step {
            Machine::Check { .. } => {}
            Machine::Line { from, to } => self.push(
                "line",
                &to.to_string(),
                "",
                format!(
                    "pintle ctl line set {}: it ends when the cluster is there; then compare members and hashes",
                    line_of(to)
                ),
                &format!(
                    "all members change their line, and none restarts; `line set {}` takes it back",
                    line_of(from)
                ),
            ),
            Machine::MoveLeader { member } => self.push(
                "move-leader",
                "",
                member,
                format!("if {member} leads: etcdctl move-leader to a member that was upgraded"),
                "the leader restarts last, and not as leader",
            ),
            Machine::Flush { member, version } => self.push(
                "flush",
                &version.to_string(),
                member,
                format!(
                    "restart {member} (etcd {version}) with {FLUSH_FLAG}, make as many entries and one more at it ({FLUSH_BY_HAND}), wait for a new .snap, restart it as usual"
                ),
                "3.7 panics on raw v2 records after the newest snapshot, which 3.5 left in the log",
            ),
            Machine::Swap {
                member,
                from,
                from_pintle,
                to,
                pintle,
            } => {
                let name = |version: &Version, pintle: bool| match pintle {
                    true => format!("pintle (etcd {version})"),
                    false => format!("etcd {version}"),
                };
                let (new, old) = (name(to, *pintle), match running {
                    true => name(from, *from_pintle),
                    false => format!("3.{}", from.minor),
                });
                let is_last = self.order.last() == Some(member);
                if is_last && from.minor != to.minor && self.order.len() > 2 {
                    self.push(
                        "soak",
                        &to.to_string(),
                        member,
                        format!(
                            "let the others soak on {new} while {member} stays on {old}: as long as it does, the cluster version stays and every binary may be put back"
                        ),
                        "the rollback anchor",
                    );
                }
                self.push(
                    "swap",
                    &to.to_string(),
                    member,
                    format!(
                        "stop {member} ({old}), start {new} on the same data directory, wait until it is healthy and published"
                    ),
                    if is_last { "last, because it leads or anchors" } else { "one at a time" },
                );
            }
            Machine::Settle { to } => self.push(
                "settle",
                &to.to_string(),
                "",
                format!(
                    "wait until every member reports cluster version {}.{} (/version), then compare members and hashes",
                    to.major, to.minor
                ),
                "the hop is over",
            ),
            Machine::Heal { version } => self.heal(version, before),
        }
    }

    /// Those restart once more whose publication was not applied by a release that
    /// corrects records: all that were not the last to move.
    fn heal(&mut self, version: &Version, before: &[Machine]) {
        let moved: Vec<&String> = before
            .iter()
            .filter_map(|step| match step {
                Machine::Swap { member, .. } => Some(member),
                _ => None,
            })
            .collect();
        let last = moved.last().map(|m| (*m).clone());
        let again: Vec<String> = match &last {
            _ if self.databases && self.stale.is_empty() => Vec::new(),
            None => self
                .order
                .iter()
                .filter(|m| self.stale.contains(*m))
                .cloned()
                .collect(),
            Some(last) => self.order.iter().filter(|m| *m != last).cloned().collect(),
        };
        for member in again {
            self.push(
                "restart",
                &version.to_string(),
                &member,
                format!(
                    "restart {member} once more on etcd {version}, wait until it is healthy and published"
                ),
                "its record is stale in some database; its publication is written there only by members that run such a release",
            );
        }
    }
}
