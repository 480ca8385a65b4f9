//! Which checks decide how a start of the target ends. Without one of them no one
//! can say that it is safe: a check that was not made must never read as passed.

use std::collections::BTreeSet;

use membership::cluster::MemberId;

use super::finding::{Check, Missing, State};
use crate::{facts::Facts, target::Target};

/// What decides and was not made.
pub(super) fn missing(checks: &[Check], members: &[Facts], target: &Target) -> Vec<Missing> {
    let decides = |check: &&Check| decides(check.id, members, target);
    let mut missing: Vec<Missing> = checks
        .iter()
        .filter(decides)
        .filter_map(|check| match &check.state {
            State::Unchecked(lacks) => Some(Missing {
                check: check.id,
                title: check.title,
                lacks: lacks.clone(),
            }),
            _ => None,
        })
        .collect();
    let unseen = unseen(members);
    if !unseen.is_empty() {
        missing.push(Missing {
            check: "P1",
            title: checks.first().map_or("", |check| check.title),
            lacks: format!(
                "nothing was read of {}: name the --data-dir of every member",
                unseen.join(", ")
            ),
        });
    }
    missing
}

/// Whether a start of `target` depends on what this check looks at.
fn decides(id: &str, members: &[Facts], target: &Target) -> bool {
    let online = members.iter().any(|facts| facts.live.is_some());
    let enters = |minor: u64| !target.is_pintle && target.minor() == minor;
    match id {
        // How far apart the releases are, and what every copy says of the membership.
        "P2" | "P4" | "P5" | "P7" => true,
        // Running members are asked for releases, flags and health; directories have none.
        "P1" | "P3" | "P12" | "P14" => online,
        "P15" => online && members.len() > 1,
        // Online P4 stands for it: no voter is a learner in any database.
        "P8" => !online,
        // Only files tell of requests and keys of API version 2.
        "P9" | "P10" => target.minor() == 6,
        "P11" => enters(7),
        _ => false,
    }
}

/// Whether what this check looks for matters to a start of `target`: where it does not, nothing
/// is read for it.
pub(super) fn matters(id: &str, members: &[Facts], target: &Target) -> bool {
    let enters = |minors: std::ops::RangeInclusive<u64>| {
        !target.is_pintle && minors.contains(&target.minor())
    };
    let from_3_4 = || {
        let versions = members.iter().filter_map(Facts::cluster_version);
        versions.into_iter().any(|version| version.minor == 4)
    };
    match id {
        "P8" => enters(6..=8),
        "P9" | "P10" => target.minor() == 6,
        "P11" => enters(7..=8),
        "P13" => target.minor() == 5 && from_3_4(),
        _ => true,
    }
}

/// Members that the files know and no source shows. Running members are asked for
/// theirs by P1.
fn unseen(members: &[Facts]) -> Vec<String> {
    if members.iter().any(|facts| facts.live.is_some()) {
        return Vec::new();
    }
    let seen: BTreeSet<MemberId> = members.iter().filter_map(|facts| facts.id).collect();
    let listed = members.iter().filter_map(|facts| facts.log.as_ref());
    let listed = listed.flat_map(|log| log.now.members());
    let unseen: BTreeSet<String> = listed
        .filter(|member| !seen.contains(&member.id))
        .map(|member| match member.name.as_str() {
            "" => member.id.to_string(),
            name => name.to_owned(),
        })
        .collect();
    unseen.into_iter().collect()
}
