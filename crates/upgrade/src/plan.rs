//! The shortest path of versions that is safe from here: no minor skipped, each
//! entered from a patch that may lead there, one member at a time, the leader
//! last, and a snapshot on disk before 3.7. The steps are those that `run` carries
//! out; here they are also written for people who carry them out by hand.

use std::collections::BTreeSet;

use semver::Version;
use serde::Serialize;

use crate::{
    checks::{self, Finding, Given, Level, Seen},
    facts::Facts,
    steps::{FLUSH_BY_HAND, FLUSH_FLAG, Member, Step as Machine, along},
    target::{self, Target},
};

/// Why there is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// What the members run is not known.
    #[error("no source says which version the members run")]
    NoVersion,
    /// The target is older than what a member runs.
    #[error("{target} is older than {ahead}: that is a way back, see `pintle upgrade rollback`")]
    Back {
        /// The target.
        target: Target,
        /// The newest release that a member runs.
        ahead: Version,
    },
    /// Pintle starts at the line of its cluster.
    #[error(
        "{target}: members that become Pintle keep the line of their cluster, which is at {}.{}; name pintle, or bring the cluster to 3.{} first",
        cluster.major, cluster.minor, target.minor()
    )]
    AboveTheCluster {
        /// The target.
        target: Target,
        /// The cluster version.
        cluster: Version,
    },
    /// A release on it loses data.
    #[error(
        "etcd {release} is known to lose or corrupt data: {bug}; name a later release of 3.{}, as {}",
        release.minor,
        target::newest(release.minor)
    )]
    LosesData {
        /// The release.
        release: Version,
        /// The bug, by its name.
        bug: &'static str,
    },
    /// A member would go to an older patch.
    #[error(
        "{to} is an older patch than {now}, which members run: it lacks the fixes since. Name {now} or a later one, or pass --allow-lower-patch"
    )]
    LowerPatch {
        /// What a member runs.
        now: Version,
        /// The older patch.
        to: Version,
    },
}

/// One thing to do.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// What kind of step: `backup`, `start-all`, `check`, `restart`, `move-leader`, `soak`,
    /// `swap`, `flush`, `settle`.
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

/// The path and its steps.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Releases, from the present one on, in words.
    pub path: Vec<String>,
    /// The same as versions.
    #[serde(skip)]
    pub versions: Vec<Version>,
    /// What to do, in order.
    pub steps: Vec<Step>,
    /// The same as a machine does it.
    #[serde(skip)]
    pub(crate) machine: Vec<Machine>,
    /// Flags that must change, by release and flag: what instead.
    pub flags: Vec<(String, String, String)>,
    /// What blocks the next release and no step of this plan resolves. With any of it
    /// there are no steps.
    pub blocked: Vec<Finding>,
    #[serde(skip)]
    target: Target,
}

/// What a plan is made for, apart from the target.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes<'a> {
    /// Releases that may be used; the newest known ones where it names none of a minor.
    pub(crate) available: &'a [Version],
    /// Members that are Pintle now.
    pub(crate) pintles: BTreeSet<String>,
    /// Whether the order of members is that of their names, whoever leads.
    pub(crate) by_name: bool,
    /// Members that get the release once more where all run it: a new build of it.
    pub(crate) anew: BTreeSet<String>,
    /// Whether members may go to an older patch than the one they run.
    pub(crate) allow_lower_patch: bool,
}

impl Plan {
    /// The path from what the members run to `target`.
    ///
    /// # Errors
    /// No source says what they run, or the path leads back, or over a release that is
    /// known to lose data.
    pub(crate) fn make(
        members: &[Facts],
        target: &Target,
        wishes: &Wishes<'_>,
    ) -> Result<Plan, Error> {
        let running: BTreeSet<Version> = members
            .iter()
            .filter_map(|facts| facts.live.as_ref()?.version.clone())
            .collect();
        let of_files = || members.iter().filter_map(Facts::cluster_version).max();
        let Some(now) = running.first().cloned().or_else(of_files) else {
            return Err(Error::NoVersion);
        };
        let cluster = of_files().unwrap_or_else(|| now.clone());
        let target = &target.on(Some(&cluster));
        if target.is_pintle && target.minor() > cluster.minor.max(5) {
            return Err(Error::AboveTheCluster {
                target: target.clone(),
                cluster,
            });
        }
        if let Some(ahead) = running.last().filter(|v| v.minor > target.minor()) {
            return Err(Error::Back {
                target: target.clone(),
                ahead: ahead.clone(),
            });
        }
        let mut order = order(members, &now, wishes);
        let patch_known = !running.is_empty();
        if !patch_known {
            // Files tell the cluster version and no patch: it may equal the target by chance.
            order.iter_mut().for_each(|member| member.anew = true);
        }
        let mut versions = path(&now, patch_known, target, wishes.available);
        let is_other =
            |m: &Member| m.anew || m.runs != target.version || m.pintle != target.is_pintle;
        if versions.len() == 1 && order.iter().any(is_other) {
            versions.push(target.version.clone());
        }
        // That of Pintle is of its line, and no patch that it has all of.
        let etcds = order.iter().filter(|member| !member.pintle);
        let etcds = etcds.map(|member| member.runs.clone()).collect();
        may_go(&versions, &etcds, target, wishes.allow_lower_patch)?;
        let stale = stale(members);
        let machine = along(&versions, &order, target.is_pintle, !stale.is_empty());
        let mut path: Vec<String> = versions.iter().map(ToString::to_string).collect();
        if !patch_known && let Some(first) = path.first_mut() {
            *first = format!("{}.{}.x", now.major, now.minor);
        }
        if target.is_pintle
            && path.len() > 1
            && let Some(last) = path.last_mut()
        {
            *last = target.to_string();
        }
        let steps = match machine.is_empty() {
            true => Vec::new(),
            false => Words::new(members, &order, stale, target.is_pintle).all(
                &machine,
                patch_known,
                &path,
            ),
        };
        Ok(Plan {
            path,
            versions,
            steps,
            machine,
            flags: Vec::new(),
            blocked: Vec::new(),
            target: target.clone(),
        })
    }

    /// The release that the first hop leads to, if there is one.
    fn next(&self) -> Option<Target> {
        let next = self.versions.get(1)?;
        match self.versions.len() {
            2 => Some(self.target.clone()),
            _ => Target::parse(&next.to_string()).ok(),
        }
    }

    /// Makes the checks for the next release. Where something blocks that no step of the
    /// plan resolves, the plan has no steps any more.
    pub(crate) fn check(&mut self, members: &[Facts], given: &Given) -> Option<Seen> {
        let seen = checks::look(&self.next()?, members, given);
        let blocks = seen.findings.iter().filter(|f| f.level == Level::Block);
        self.blocked = blocks.filter(|f| !self.resolves(f)).cloned().collect();
        if !self.blocked.is_empty() {
            self.steps.clear();
            self.machine.clear();
        }
        Some(seen)
    }

    /// Takes in what keeps the first member from being stopped as the cluster is now. The
    /// plan has no steps any more then.
    pub(crate) fn block(&mut self, finding: Finding) {
        self.blocked.push(finding);
        self.steps.clear();
        self.machine.clear();
    }

    /// Whether a step of this plan does away with what was found.
    fn resolves(&self, finding: &Finding) -> bool {
        let heals = matches!(self.machine.first(), Some(Machine::Heal { .. }));
        let flushes = self
            .machine
            .iter()
            .any(|s| matches!(s, Machine::Flush { .. }));
        match finding.check {
            "P4" | "P5" | "P8" => heals,
            "P11" => flushes,
            // Of the flags the plan speaks itself.
            "P12" => true,
            _ => false,
        }
    }
}

/// The releases from `now` to the target.
fn path(now: &Version, patch_known: bool, target: &Target, available: &[Version]) -> Vec<Version> {
    let best = |minor: u64| {
        let floor = target::floor(minor).unwrap_or(Version::new(3, minor, 0));
        let fit = available
            .iter()
            .filter(|v| v.minor == minor && **v >= floor);
        fit.max().cloned().unwrap_or_else(|| target::newest(minor))
    };
    let mut path = vec![now.clone()];
    let mut minor = now.minor;
    while minor < target.minor() {
        let here = path.last().cloned().unwrap_or_else(|| now.clone());
        let low = target::floor(minor).is_some_and(|floor| here < floor);
        if low || (!patch_known && here == *now) {
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
    path
}

/// Members in the order of their restarts.
fn order(members: &[Facts], now: &Version, wishes: &Wishes<'_>) -> Vec<Member> {
    let mut order: Vec<(bool, Member)> = members
        .iter()
        .map(|facts| {
            let version = facts.live.as_ref().and_then(|live| live.version.clone());
            let member = Member {
                name: facts.label.clone(),
                runs: version.unwrap_or_else(|| now.clone()),
                pintle: wishes.pintles.contains(&facts.label),
                anew: wishes.anew.contains(&facts.label),
            };
            (leads(facts) && !wishes.by_name, member)
        })
        .collect();
    order.sort_by(|(a, m), (b, n)| (a, &m.name).cmp(&(b, &n.name)));
    order.into_iter().map(|(_, member)| member).collect()
}

fn leads(facts: &Facts) -> bool {
    let leader = facts.live.as_ref().map(|live| live.leader);
    facts.id.is_some_and(|id| Some(id.0) == leader)
}

/// Members whose record some database has otherwise than the truth, by name, and those
/// that keep a record of someone who is gone: a restart corrects it.
pub(crate) fn stale(members: &[Facts]) -> BTreeSet<String> {
    let mut stale = BTreeSet::new();
    for facts in members {
        let (Some(database), Some((truth, _))) = (&facts.database, facts.truth()) else {
            continue;
        };
        // From 3.6 on the member list is the database.
        if facts
            .live
            .as_ref()
            .and_then(|l| l.version.as_ref())
            .is_some_and(|v| v.minor > 5)
        {
            continue;
        }
        let records = &database.members.members;
        for member in &truth {
            if records.iter().find(|r| r.id == member.id) != Some(member) {
                stale.insert(member.name.clone());
            }
        }
        if records.iter().any(|r| truth.iter().all(|m| m.id != r.id)) {
            stale.insert(facts.label.clone());
        }
    }
    stale
}

/// Steps written for people.
struct Words {
    /// Members in the order of their restarts.
    order: Vec<String>,
    /// Whose records are stale now.
    stale: BTreeSet<String>,
    /// Whether that is known.
    databases: bool,
    /// Whether the last release is Pintle.
    last_is_pintle: bool,
    steps: Vec<Step>,
}

impl Words {
    fn new(
        members: &[Facts],
        order: &[Member],
        stale: BTreeSet<String>,
        last_is_pintle: bool,
    ) -> Words {
        Words {
            order: order.iter().map(|m| m.name.clone()).collect(),
            stale,
            databases: members.iter().all(|facts| facts.database.is_some()),
            last_is_pintle,
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

    fn all(mut self, machine: &[Machine], running: bool, path: &[String]) -> Vec<Step> {
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
        for (at, step) in machine.iter().enumerate() {
            self.step(step, machine, at, running);
        }
        self.steps
    }

    fn step(&mut self, step: &Machine, all: &[Machine], at: usize, running: bool) {
        let (before, after) = (&all[..at], &all[at + 1..]);
        let later = after.iter().any(|s| matches!(s, Machine::Check { .. }));
        match step {
            Machine::Check { to } => self.push(
                "check",
                &to.to_string(),
                "",
                format!(
                    "pintle upgrade check --target {}: go on if it exits with 0; with 4, if you accept its warnings; with any other code stop here",
                    if self.last_is_pintle && !later { "pintle".to_owned() } else { to.to_string() }
                ),
                "before the next step",
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

/// Whether every release of the path may be started on the members of `running`.
fn may_go(
    path: &[Version],
    running: &BTreeSet<Version>,
    target: &Target,
    allow_lower_patch: bool,
) -> Result<(), Error> {
    for (at, to) in path.iter().enumerate() {
        let is_now = at == 0;
        // Pintle is another program; only its files and protocol have that version.
        if is_now || (target.is_pintle && at + 1 == path.len()) {
            continue;
        }
        if let Some(bug) = target::loses_data(to) {
            return Err(Error::LosesData {
                release: to.clone(),
                bug,
            });
        }
        let newer = running
            .iter()
            .filter(|now| now.minor == to.minor && *now > to);
        if let Some(now) = newer.max()
            && !allow_lower_patch
        {
            return Err(Error::LowerPatch {
                now: now.clone(),
                to: to.clone(),
            });
        }
    }
    Ok(())
}
