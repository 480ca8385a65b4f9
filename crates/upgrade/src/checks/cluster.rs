//! What the members answer, compared with each other.

use std::collections::BTreeSet;

use membership::cluster::Member;
use semver::Version;

use super::{
    case::{Case, Lacks},
    finding::Level,
};
use crate::{
    facts::{Facts, Live},
    target::{floor, newest, unknown},
};

const NOT_LIVE: &str = "needs running members: run it with --endpoints";

/// Entries that a member may be behind.
const LAG_MAX: u64 = 1000;

fn live(members: &[Facts]) -> Vec<(&Facts, &Live)> {
    members
        .iter()
        .filter_map(|facts| Some((facts, facts.live.as_ref()?)))
        .collect()
}

pub(super) fn answers(case: &mut Case<'_>) -> Result<(), Lacks> {
    let live = live(case.members);
    let down = down(case.members, &case.given.silent);
    for (member, why) in &down.silent {
        case.find(
            Level::Block,
            member,
            format!("does not answer: {why}"),
            "a cluster with a member down has no member to spare during an upgrade",
            "see whether it runs and can be reached from here, start it if it does not, then check again",
        );
    }
    if live.is_empty() {
        return match case.given.silent.is_empty() {
            true => Err(NOT_LIVE.into()),
            false => Ok(()),
        };
    }
    let clusters: BTreeSet<_> = case.members.iter().filter_map(|f| f.cluster).collect();
    if clusters.len() > 1 {
        let ids: Vec<String> = clusters.iter().map(ToString::to_string).collect();
        case.find(
            Level::Block,
            "",
            format!(
                "the endpoints belong to different clusters: {}",
                ids.join(", ")
            ),
            "they must be upgraded one cluster at a time",
            "name the endpoints of one cluster",
        );
        return Ok(());
    }
    let leaders: BTreeSet<u64> = live.iter().map(|(_, l)| l.leader).collect();
    if leaders.len() > 1 || leaders.contains(&0) {
        case.find(
            Level::Block,
            "",
            "the members do not agree on one leader",
            "there is an election, or a partition",
            "wait for a leader and check again",
        );
    }
    let terms: BTreeSet<u64> = live.iter().map(|(_, l)| l.term).collect();
    if terms.len() > 1 {
        case.find(
            Level::Block,
            "",
            "the members are in different raft terms",
            "there is an election, or a partition",
            "wait for it to end and check again",
        );
    }
    let newest = live.iter().map(|(_, l)| l.raft_index).max().unwrap_or(0);
    for (facts, live) in &live {
        let behind = newest.saturating_sub(live.applied);
        if behind > LAG_MAX {
            case.find(
                Level::Block,
                &facts.label,
                format!("is {behind} entries behind"),
                "a member that catches up cannot stand in for the one that restarts",
                "wait until it has caught up",
            );
        }
        for error in &live.errors {
            case.find(
                Level::Block,
                &facts.label,
                format!("says of itself: {error}"),
                "a sick member does not survive a restart of another",
                "see to that first",
            );
        }
    }
    for member in down.unasked {
        case.find(
            Level::Block,
            member,
            "a member of the cluster that was not looked at",
            "what is not seen is not checked",
            "name its endpoint too, or pass --cluster",
        );
    }
    for facts in case.members.iter().filter(|f| f.live.is_some()) {
        for what in &facts.unread {
            case.findings.push(super::finding::Finding {
                check: case.id,
                level: Level::Block,
                member: facts.label.clone(),
                seen: format!("could not be read: {what}"),
                why: "what is not seen is not checked".into(),
                fix: "see to that, then check again".into(),
            });
        }
    }
    Ok(())
}

/// Members that did not answer, and those that no one asked.
struct Down {
    /// Name, or endpoint where no one knows the name, and why.
    silent: Vec<(String, String)>,
    unasked: Vec<String>,
}

/// Each member that is down once, under its name where the others list its URL.
fn down(members: &[Facts], silent: &[(String, String)]) -> Down {
    let answered: BTreeSet<_> = members
        .iter()
        .filter(|facts| facts.live.is_some())
        .filter_map(|facts| facts.id)
        .collect();
    let mut lacking: Vec<Member> = Vec::new();
    for member in members
        .iter()
        .filter_map(|f| f.live.as_ref())
        .flat_map(|l| &l.members)
    {
        if !answered.contains(&member.id) && lacking.iter().all(|m| m.id != member.id) {
            lacking.push(member.clone());
        }
    }
    let name = |member: &Member| match member.name.as_str() {
        "" => member.id.to_string(),
        name => name.to_owned(),
    };
    let address = |url: &str| {
        url.split_once("://")
            .map_or(url, |(_, rest)| rest)
            .to_owned()
    };
    let mut down = Down {
        silent: Vec::new(),
        unasked: Vec::new(),
    };
    let mut unknown = 0;
    for (endpoint, why) in silent {
        let at = lacking.iter().position(|member| {
            let mut urls = member.client_urls.iter().chain(&member.peer_urls);
            urls.any(|url| address(url) == address(endpoint))
        });
        let label = match at {
            Some(at) => name(&lacking.remove(at)),
            None => {
                unknown += 1;
                endpoint.clone()
            }
        };
        down.silent.push((label, why.clone()));
    }
    // One that was asked under another address than it advertises.
    down.unasked = lacking.iter().skip(unknown).map(name).collect();
    down
}

pub(super) fn minors(case: &mut Case<'_>) -> Result<(), Lacks> {
    let live = live(case.members);
    let versions: BTreeSet<&Version> = live
        .iter()
        .filter_map(|(_, l)| l.version.as_ref())
        .collect();
    let minors: BTreeSet<u64> = versions.iter().map(|v| v.minor).collect();
    let to = case.target.minor();
    if minors.len() > 1 && minors.iter().all(|minor| *minor == to || minor + 1 == to) {
        let behind: Vec<&str> = live
            .iter()
            .filter(|(_, l)| l.version.as_ref().is_some_and(|v| v.minor < to))
            .map(|(facts, _)| facts.label.as_str())
            .collect();
        case.find(
            Level::Warn,
            "",
            format!("an upgrade to 3.{to} is half done: {} still to go", behind.join(", ")),
            "until all members run the same minor version the cluster version stays",
            "`pintle upgrade plan` and `run` with this target finish it, `rollback --to` takes it back",
        );
        return Ok(());
    }
    if minors.len() > 1 {
        let shown: Vec<String> = versions.iter().map(ToString::to_string).collect();
        case.find(
            Level::Block,
            "",
            format!(
                "the members run different minor versions: {}",
                shown.join(", ")
            ),
            "an upgrade is under way or was left half done",
            "finish it, or take it back, before the next one",
        );
        return Ok(());
    }
    let of_files = || {
        let versions = case.members.iter().filter_map(Facts::cluster_version);
        versions.map(|v| v.minor).max()
    };
    let Some(from) = minors.first().copied().or_else(of_files) else {
        return Err("no source says which version the cluster has".into());
    };
    if to > from + 1 {
        let mut steps: Vec<String> = (from + 1..to).map(|m| newest(m).to_string()).collect();
        steps.push(case.target.to_string());
        case.find(
            Level::Block,
            "",
            format!("the cluster is at 3.{from}, the target at 3.{to}"),
            "etcd goes one minor version at a time; 3.7 panics on a log that 3.5 wrote",
            format!("go {}", steps.join(", then ")),
        );
    }
    if to < from {
        case.find(
            Level::Block,
            "",
            format!("the cluster is at 3.{from}, the target at 3.{to}"),
            "that is a way back, which needs `downgrade enable` first, one minor version at a time",
            "see pintle upgrade rollback",
        );
    }
    Ok(())
}

pub(super) fn floors(case: &mut Case<'_>) -> Result<(), Lacks> {
    let target = case.target;
    if !target.is_pintle && target.minor() == 6 && target.version < Version::new(3, 6, 4) {
        case.find(
            Level::Block,
            "",
            format!("the target is {}", target.version),
            "3.6.0 to 3.6.3 panic when they replay the promotion of a member that is not in the snapshot (etcd#20340)",
            format!("take {}", newest(6)),
        );
    }
    if target.is_pre_release() {
        case.find(
            Level::Warn,
            "",
            format!("etcd {} is a pre-release", target.version),
            "it is 3.7.0 but for its number: it lacks what 3.7.1 to 3.7.3 fixed, and what it writes the release after it need not read",
            "for a cluster that may be lost; `pintle upgrade rollback` takes it back to 3.7 by a downgrade",
        );
    }
    if let Some(newest) = unknown(target) {
        case.find(
            Level::Warn,
            "",
            format!(
                "etcd {} is not known here: the newest 3.{} that is, is {newest}",
                target.version, newest.minor
            ),
            "there may be no such release, and what a newer one changes was not looked at",
            "see whether the number is right; of a release newer than this tool read the notes",
        );
    }
    let live = live(case.members);
    let versions: Vec<_> = live
        .iter()
        .filter_map(|(f, l)| Some((f.label.clone(), l.version.clone()?)))
        .collect();
    if versions.is_empty() {
        return Err(
            "the files do not say which patch release wrote them; run it with --endpoints too"
                .into(),
        );
    }
    for (label, version) in versions {
        if target.is_pintle || version.minor + 1 != target.minor() {
            continue;
        }
        if let Some(floor) = floor(version.minor)
            && version < floor
        {
            case.find(
                Level::Block,
                label,
                format!("runs {version}"),
                format!(
                    "before 3.{} every member must run {floor} or later: older ones leave stale learners and zombies in the database",
                    target.minor()
                ),
                format!(
                    "bring every member to {} first, restart each, then check again",
                    newest(version.minor)
                ),
            );
        }
    }
    Ok(())
}

pub(super) fn hashes(case: &mut Case<'_>) -> Result<(), Lacks> {
    match &case.given.hashes {
        None => Err("compares members; fewer than two were read".into()),
        Some(Err(why)) => Err(Lacks(why.to_string())),
        Some(Ok(hashes)) => {
            let distinct: BTreeSet<u32> = hashes.iter().map(|(_, hash)| *hash).collect();
            if distinct.len() > 1 {
                let shown: Vec<String> = hashes.iter().map(|(m, h)| format!("{m}: {h}")).collect();
                case.find(
                    Level::Block,
                    "",
                    format!("the keys differ at the same revision ({})", shown.join(", ")),
                    "members have diverged (etcd#13766 and others); an upgrade makes it permanent",
                    "find the odd one out, remove it and add it again empty; then disarm the CORRUPT alarm",
                );
            }
            Ok(())
        }
    }
}

pub(super) fn headroom(case: &mut Case<'_>) -> Result<(), Lacks> {
    let Some((truth, _)) = case.members.iter().find_map(Facts::truth) else {
        return Err("no source says who the members are".into());
    };
    let voters = truth.iter().filter(|m| !m.is_learner).count();
    for learner in truth.iter().filter(|m| m.is_learner) {
        case.find(
            Level::Block,
            if learner.name.is_empty() {
                learner.id.to_string()
            } else {
                learner.name.clone()
            },
            "is a learner: promote or remove it first",
            "a join is under way; 3.6 counts it against the learners that are allowed",
            "etcdctl member promote, or member remove, then check again",
        );
    }
    if case.given.no_restarts {
        // Nothing is taken from the quorum.
    } else if voters == 1 {
        case.find(
            Level::Warn,
            "",
            "the cluster has one voter",
            "it does not serve while that one restarts",
            "expect a pause of some seconds, or add members first",
        );
    } else if voters == 2 {
        case.find(
            Level::Block,
            "",
            "the cluster has two voters",
            "neither can restart without the quorum being lost",
            "add a third member first",
        );
    }
    let downgrade = case.members.iter().find_map(|facts| {
        let log = facts
            .log
            .as_ref()
            .and_then(|l| l.now.downgrade().map(str::to_owned));
        let database = || match &facts.database.as_ref()?.members.downgrade {
            membership::cluster::Downgrade::To(to) => Some(to.clone()),
            _ => None,
        };
        log.or_else(database)
    });
    if let Some(to) = downgrade {
        case.find(
            Level::Block,
            "",
            format!("a downgrade to {to} is under way"),
            "members of a higher version are refused until it ends",
            "finish it, or `downgrade cancel`",
        );
    }
    Ok(())
}
