//! The shortest path of versions that is safe from here: no minor skipped, each
//! entered from a patch that may lead there, one member at a time, the leader
//! last, and a snapshot on disk before 3.7. The steps are those that `run` carries
//! out; here they are also written for people who carry them out by hand.

use std::collections::BTreeSet;

use line::Line;
use semver::Version;
use serde::Serialize;

pub use self::words::Step;
use self::words::Words;
use crate::{
    checks::{self, Finding, Given, Level, Missing, Seen},
    estimate::Estimate,
    facts::Facts,
    hops::{self, Hop, How, Start, line_of},
    steps::{Member, Step as Machine, along},
    target::{self, Target},
};

mod words;

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
    /// A member is ahead of the cluster, and lines go up from where that is.
    #[error(
        "a member runs etcd {ahead}, and the cluster version is {}: an upgrade is half done. Finish it, or take it back, first: lines go up from there",
        line_of(cluster)
    )]
    HalfDone {
        /// The newest release of etcd that a member runs.
        ahead: Version,
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

/// The path and its steps.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Releases, from the present one on, in words.
    pub path: Vec<String>,
    /// The oldest release that a member runs.
    #[serde(skip)]
    from: Version,
    /// The same without the present one, as what is to be done.
    #[serde(skip)]
    pub(crate) hops: Vec<Hop>,
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
    /// What it costs.
    pub estimate: Estimate,
    /// The other way to the same minor version, where there is one, and what that costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other: Option<Other>,
}

/// Another plan, as far as it is compared with this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Other {
    /// Its target.
    pub target: String,
    /// Its path.
    pub path: Vec<String>,
    /// What it costs.
    pub estimate: Estimate,
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
        let is_pintle = |facts: &Facts| wishes.pintles.contains(&facts.label);
        let all_pintle = members.iter().all(is_pintle);
        let mut target = target.on(Some(&cluster));
        if all_pintle {
            target = target.of_pintles();
        }
        if let Some(ahead) = running.last().filter(|v| v.minor > target.minor()) {
            return Err(Error::Back {
                target,
                ahead: ahead.clone(),
            });
        }
        is_ahead(members, &target, &cluster, wishes)?;
        let mut order = order(members, &now, wishes);
        let patch_known = !running.is_empty();
        if !patch_known {
            // Files tell the cluster version and no patch: it may equal the target by chance.
            order.iter_mut().for_each(|member| member.anew = true);
        }
        let start = Start {
            now: &now,
            patch_known,
            cluster: &cluster,
            all_pintle,
            available: wishes.available,
        };
        let hops = whole(&start, &target, &order);
        // That of Pintle is of its line, and no patch that it has all of.
        let etcds = order.iter().filter(|member| !member.pintle);
        let etcds = etcds.map(|member| member.runs.clone()).collect();
        may_go(&hops, &etcds, wishes.allow_lower_patch)?;
        let stale = stale(members);
        let machine = along(&now, &hops, &order, !stale.is_empty());
        let mut path = vec![match patch_known {
            true => shown(&now, all_pintle),
            false => format!("{}.{}.x", now.major, now.minor),
        }];
        path.extend(hops.iter().map(Hop::words));
        let steps = match machine.is_empty() {
            true => Vec::new(),
            false => Words::new(members, &order, stale).all(&machine, &hops, patch_known, &path),
        };
        Ok(Plan {
            path,
            from: now,
            estimate: Estimate::of(&machine),
            hops,
            steps,
            machine,
            flags: Vec::new(),
            blocked: Vec::new(),
            other: None,
        })
    }

    /// Compares it with the other way to its minor version: by binaries of etcd, or by Pintle and
    /// its lines. Over less than two minor versions both restart each member once.
    pub(crate) fn compare(&mut self, members: &[Facts], target: &Target, wishes: &Wishes<'_>) {
        let rises = |hop: &Hop| hop.to.minor >= self.from.minor + 2;
        let all_pintle = members.iter().all(|m| wishes.pintles.contains(&m.label));
        let Some(last) = self.hops.last().filter(|hop| rises(hop) && !all_pintle) else {
            return;
        };
        let other = match target.is_pintle {
            true => Some(Target::etcd(target::newest(last.to.minor))),
            false => Line::of(&last.to).map(Target::pintle_at),
        };
        let plan = other.and_then(|other| {
            let plan = Plan::make(members, &other, wishes).ok()?;
            Some((other, plan))
        });
        self.other = plan.map(|(other, plan)| Other {
            target: other.given,
            path: plan.path,
            estimate: plan.estimate,
        });
    }

    /// Makes the checks for the next release. Where something blocks that no step of the
    /// plan resolves, the plan has no steps any more.
    pub(crate) fn check(&mut self, members: &[Facts], given: &Given) -> Option<Seen> {
        let next = self.hops.first()?;
        let is_line = next.how == How::Line;
        let given = Given {
            no_restarts: is_line,
            ..given.clone()
        };
        let mut seen = checks::look(&next.target(), members, &given);
        if is_line {
            seen.missing.retain(|missing| !is_asked_of_members(missing));
        }
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

/// Whether the members themselves look at that before they change their line: only the log tells
/// of API version 2, and it is theirs.
fn is_asked_of_members(missing: &Missing) -> bool {
    matches!(missing.check, "P9" | "P10")
}

/// What members run, in words.
fn shown(version: &Version, pintle: bool) -> String {
    match pintle {
        true => format!("pintle (etcd {version})"),
        false => version.to_string(),
    }
}

/// Lines go up from the cluster version, so no member of etcd may be ahead of it.
fn is_ahead(
    members: &[Facts],
    target: &Target,
    cluster: &Version,
    wishes: &Wishes<'_>,
) -> Result<(), Error> {
    let entry = hops::entry(cluster, target);
    if !target.is_pintle || entry.minor() == target.minor() {
        return Ok(());
    }
    let etcds = members
        .iter()
        .filter(|f| !wishes.pintles.contains(&f.label));
    let versions = etcds.filter_map(|facts| facts.live.as_ref()?.version.clone());
    match versions.filter(|v| v.minor > entry.minor()).max() {
        Some(ahead) => Err(Error::HalfDone {
            ahead,
            cluster: cluster.clone(),
        }),
        None => Ok(()),
    }
}

/// The hops to the target, with the one that brings its program to members that run its release
/// already.
fn whole(start: &Start<'_>, target: &Target, order: &[Member]) -> Vec<Hop> {
    let mut hops = hops::hops(start, target);
    if hops.iter().any(|hop| hop.how != How::Line) {
        return hops;
    }
    let (to, how) = match target.is_pintle {
        true => (hops::entry(start.cluster, target).version, How::Pintle),
        false => (target.version.clone(), How::Etcd),
    };
    let needs = |m: &Member| match target.is_pintle {
        true => m.anew || !m.pintle,
        false => m.anew || m.pintle || m.runs != target.version,
    };
    if order.iter().any(needs) {
        hops.insert(0, Hop { to, how });
    }
    hops
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

/// Whether every release of the path may be started on the members of `running`.
fn may_go(hops: &[Hop], running: &BTreeSet<Version>, allow_lower_patch: bool) -> Result<(), Error> {
    // Pintle is another program; only its files and protocol have that version.
    for Hop { to, .. } in hops.iter().filter(|hop| hop.how == How::Etcd) {
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
