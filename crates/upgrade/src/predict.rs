//! What a release does with a directory when it starts on it: the rules of each
//! release, followed on paper. It names etcd's own words for a refusal.

use std::collections::BTreeSet;

use membership::cluster::{Cluster, Member, MemberId};
use semver::Version;
use serde::Serialize;

use crate::{
    facts::{Database, Facts, Log, Ruler},
    target::Target,
};

/// How a start ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It serves.
    Starts,
    /// It ends with an error.
    Refuses,
    /// It panics.
    Panics,
    /// It runs and does not serve, or makes others end.
    Stalls,
}

/// What will happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Prediction {
    /// Whether it starts.
    pub outcome: Outcome,
    /// The words by which it does not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// Members whose records it corrects.
    pub healed: Vec<String>,
    /// Members that come back from the dead.
    pub zombies: Vec<String>,
    /// Voters that it lists as learners.
    pub learners: Vec<String>,
    /// What cannot be foreseen from what was read, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unsure: Vec<String>,
}

impl Prediction {
    fn starts() -> Prediction {
        Prediction {
            outcome: Outcome::Starts,
            text: String::new(),
            healed: Vec::new(),
            zombies: Vec::new(),
            learners: Vec::new(),
            unsure: Vec::new(),
        }
    }

    fn fails(outcome: Outcome, text: impl Into<String>) -> Prediction {
        Prediction {
            outcome,
            text: text.into(),
            ..Prediction::starts()
        }
    }
}

/// How 3.6 refuses users' keys of API version 2 in the snapshot.
pub const V2_CONTENT: &str =
    "detected disallowed custom content in v2store for stage --v2-deprecation=write-only";
/// How 3.6 ends on a v2 request in the log.
pub const V2_LOG: &str = "detected disallowed v2 WAL for stage --v2-deprecation=write-only";
/// How 3.6 refuses more learners than allowed.
pub const TOO_MANY_LEARNERS: &str = "membership: too many learner members in cluster";
/// How 3.7 ends on a raw v2 request in the log.
pub const NOT_V3: &str = "unmarshal should never fail";
/// How Pintle refuses, at line 3.7, members that raft does not count.
pub const OTHER_VOTES: &str = "the members in the database are not those that the log counts";
/// How Pintle refuses a line that the cluster would have to skip one for.
pub const SKIPS: &str = "is more than one minor version above the cluster";
/// How a release refuses a cluster that is newer.
pub const DOWNGRADE: &str =
    "invalid downgrade; server version is lower than determined cluster version";
/// The same of 3.4 and older.
pub const DOWNGRADE_OLD: &str = "cluster cannot be downgraded";

/// How the others tell a member that it is in their list of removed ones.
pub const REMOVED: &str = "the member has been permanently removed from the cluster";
/// What becomes of members of 3.4 next to a 3.6.
pub const ENDS_3_4: &str = "the other members, of 3.4, panic on what it writes";
/// What 3.5.26 may do to members that it takes for zombies.
pub const EXPELS: &str = "it takes living members for removed ones";

/// Why zombies and stale learners are not predicted.
const NOT_COMPARED: &str =
    "whether the database has members that raft does not: the log does not reach its index";

/// Every way in which a start was predicted to fail.
#[cfg(test)]
pub(crate) const TEXTS: [&str; 10] = [
    V2_CONTENT,
    V2_LOG,
    TOO_MANY_LEARNERS,
    NOT_V3,
    OTHER_VOTES,
    SKIPS,
    DOWNGRADE,
    DOWNGRADE_OLD,
    REMOVED,
    ENDS_3_4,
];

/// Learners that a cluster may have, unless `--max-learners` says otherwise.
const LEARNERS_MAX: usize = 1;

/// What `target` does when it starts on the member that `facts` describe;
/// `None` if the files of that member were not read.
pub fn boot(facts: &Facts, target: &Target) -> Option<Prediction> {
    let (log, database) = (facts.log.as_ref()?, facts.database.as_ref()?);
    if let Some(refusal) = too_old(facts, target) {
        return Some(refusal);
    }
    let mut prediction = match target.is_pintle {
        true => too_new(facts, target).unwrap_or_else(|| pintle(log, database, target)),
        false => etcd(log, database, target),
    };
    let is_open = target.minor() >= 6 && log.ruler(database) == Ruler::Unknown;
    if prediction.outcome == Outcome::Starts && is_open {
        prediction.unsure.push(NOT_COMPARED.into());
    }
    Some(prediction)
}

fn etcd(log: &Log, database: &Database, target: &Target) -> Prediction {
    match target.minor() {
        4 => Prediction::starts(),
        5 if target.version == Version::new(3, 5, 0) => from_database(log, database),
        5 if target.version >= Version::new(3, 5, 26) => expelling(log, database),
        5 => Prediction::starts(),
        6 => six(log, database, target),
        _ => seven(log, database),
    }
}

/// Members in the database that the truth does not have, and voters that it
/// takes for learners.
fn differences(truth: &Cluster, database: &[Member]) -> (Vec<MemberId>, Vec<MemberId>) {
    apart(
        database,
        |id| truth.member(id).is_some(),
        |id| truth.member(id).is_some_and(|t| !t.is_learner),
    )
}

/// The same by the best truth there is; none where there is no truth.
fn differences_in(log: &Log, database: &Database) -> (Vec<MemberId>, Vec<MemberId>) {
    let records = &database.members.members;
    let counted = match log.ruler(database) {
        Ruler::Tree => return differences(&log.now, records),
        Ruler::Unknown => return (Vec::new(), Vec::new()),
        Ruler::Raft(counted) => counted,
    };
    let votes = |id: MemberId| counted.voters.contains(&id.0);
    apart(
        records,
        |id| votes(id) || counted.learners.contains(&id.0),
        votes,
    )
}

fn apart(
    database: &[Member],
    is_member: impl Fn(MemberId) -> bool,
    votes: impl Fn(MemberId) -> bool,
) -> (Vec<MemberId>, Vec<MemberId>) {
    let ids = |is_wrong: &dyn Fn(&Member) -> bool| {
        let wrong = database.iter().filter(|m| is_wrong(m));
        wrong.map(|m| m.id).collect()
    };
    (
        ids(&|m| !is_member(m.id)),
        ids(&|m| m.is_learner && votes(m.id)),
    )
}

fn hex(ids: impl IntoIterator<Item = MemberId>) -> Vec<String> {
    ids.into_iter().map(|id| id.to_string()).collect()
}

/// The guards against going back.
fn too_old(facts: &Facts, target: &Target) -> Option<Prediction> {
    let downgrade = facts
        .log
        .as_ref()
        .and_then(|log| log.now.downgrade().map(str::to_owned));
    let allowed = downgrade
        .and_then(|to| Version::parse(&to).ok())
        .is_some_and(|to| to.minor == target.minor());
    let cluster = facts.cluster_version()?;
    let newer = (cluster.major, cluster.minor) > (target.version.major, target.version.minor);
    // Pintle counts every version that is in its files: one that was lowered in the log, too.
    (newer && (target.is_pintle || !allowed)).then(|| {
        let text = if target.minor() <= 4 {
            DOWNGRADE_OLD
        } else {
            DOWNGRADE
        };
        Prediction::fails(Outcome::Refuses, text)
    })
}

/// 3.5.0 believes the database, and writes into it the promotions that it replays.
fn from_database(log: &Log, database: &Database) -> Prediction {
    let (zombies, mut learners) = differences(&log.now, &database.members.members);
    learners.retain(|id| log.promotions.iter().all(|(_, promoted)| promoted != id));
    Prediction {
        zombies: hex(zombies),
        learners: hex(learners),
        ..Prediction::starts()
    }
}

/// A line of Pintle is the one of the cluster, or the one above.
fn too_new(facts: &Facts, target: &Target) -> Option<Prediction> {
    let cluster = facts.cluster_version()?;
    let skips = target.minor() > 5 && cluster.minor + 1 < target.minor();
    skips.then(|| Prediction::fails(Outcome::Refuses, SKIPS))
}

/// At line 3.5, and where no member of 3.6 has ruled, the v2 store and the log are the truth:
/// Pintle writes it into the other copies. From there on it corrects promotions alone.
fn pintle(log: &Log, database: &Database, target: &Target) -> Prediction {
    let has_v2_api = target.minor() <= 5;
    if !has_v2_api && !log.v2_keys.is_empty() {
        return Prediction::fails(Outcome::Refuses, V2_CONTENT);
    }
    if !has_v2_api && log.v2_records.iter().any(|r| !r.is_membership) {
        return Prediction::fails(Outcome::Refuses, V2_LOG);
    }
    let members = &database.members.members;
    let is_ruled_by_tree = has_v2_api || database.storage_version.is_none();
    let (zombies, learners) = match is_ruled_by_tree {
        true => differences(&log.now, members),
        false => differences_in(log, database),
    };
    if is_ruled_by_tree {
        let healed: BTreeSet<MemberId> = zombies.into_iter().chain(learners).collect();
        return Prediction {
            healed: hex(healed),
            ..Prediction::starts()
        };
    }
    let is_learner = |m: &Member| m.is_learner && !learners.contains(&m.id);
    let ids = |learner: bool| {
        let members = members.iter().filter(|m| is_learner(m) == learner);
        members.map(|m| m.id.0).collect::<BTreeSet<u64>>()
    };
    let set = |ids: &[u64]| ids.iter().copied().collect::<BTreeSet<u64>>();
    let counted = &log.conf_state;
    if target.minor() >= 7
        && (ids(false) != set(&counted.voters) || ids(true) != set(&counted.learners))
    {
        return Prediction::fails(Outcome::Refuses, OTHER_VOTES);
    }
    Prediction {
        healed: hex(learners),
        zombies: hex(zombies),
        ..Prediction::starts()
    }
}

/// From 3.5.26 on zombies are taken out of the database, and living members whom it
/// has too early are taken for such.
fn expelling(log: &Log, database: &Database) -> Prediction {
    let (zombies, _) = differences(&log.now, &database.members.members);
    let mut healed: Vec<MemberId> = zombies;
    healed.extend(&log.expelled);
    healed.sort();
    let mut prediction = Prediction {
        healed: hex(healed),
        ..Prediction::starts()
    };
    if !log.expelled.is_empty() {
        prediction.unsure.push(format!(
            "{EXPELS} ({}), and a later 3.6 will tell them so",
            hex(log.expelled.iter().copied()).join(", ")
        ));
    }
    prediction
}

fn six(log: &Log, database: &Database, target: &Target) -> Prediction {
    let is_old = target.version < Version::new(3, 6, 3);
    if !log.v2_keys.is_empty() || (is_old && log.v2_auth) {
        return Prediction::fails(Outcome::Refuses, V2_CONTENT);
    }
    let cluster = log
        .now
        .version()
        .or(database.members.cluster_version.as_ref());
    if cluster.is_some_and(|v| v.minor < 5) {
        return Prediction::fails(Outcome::Stalls, ENDS_3_4);
    }
    let members = &database.members.members;
    let empty = Cluster::default();
    let at_snapshot = log.at_snapshot.as_ref().unwrap_or(&empty);
    // Before the log is replayed, what the snapshot shows as promoted is corrected.
    let heals_at_boot = target.version >= Version::new(3, 6, 0);
    let (mut healed, mut stale) = (Vec::new(), Vec::new());
    for member in members.iter().filter(|m| m.is_learner) {
        let promoted = at_snapshot.member(member.id).is_some_and(|m| !m.is_learner);
        if heals_at_boot && promoted {
            healed.push(member.id);
        } else {
            stale.push(member.id);
        }
    }
    if stale.len() > LEARNERS_MAX {
        return Prediction::fails(Outcome::Refuses, TOO_MANY_LEARNERS);
    }
    if log.v2_records.iter().any(|r| !r.is_membership) {
        return Prediction::fails(Outcome::Panics, V2_LOG);
    }
    let mut removed = database.members.removed.iter();
    if removed.any(|id| log.now.member(*id).is_some()) {
        return Prediction::fails(Outcome::Stalls, REMOVED);
    }
    // The replay carries promotions out again, whatever the index.
    let (zombies, learners) = differences_in(log, database);
    let replayed: BTreeSet<MemberId> = log.promotions.iter().map(|(_, id)| *id).collect();
    let mut shown = Vec::new();
    for id in learners {
        if healed.contains(&id) {
            continue;
        }
        if replayed.contains(&id) {
            healed.push(id);
        } else {
            shown.push(id);
        }
    }
    healed.sort();
    let mut prediction = Prediction {
        healed: hex(healed),
        zombies: hex(zombies),
        learners: hex(shown),
        ..Prediction::starts()
    };
    if target.version < Version::new(3, 6, 4) && !log.promotions.is_empty() {
        prediction.unsure.push(
            "up to 3.6.3 the replay of a promotion may panic with `failed to nodeToMember` (etcd#20340)"
                .into(),
        );
    }
    prediction
}

fn seven(log: &Log, database: &Database) -> Prediction {
    if !log.v2_records.is_empty() {
        return Prediction::fails(Outcome::Panics, NOT_V3);
    }
    // It counts them as 3.6 does, and corrects none from a snapshot.
    let members = &database.members.members;
    if members.iter().filter(|m| m.is_learner).count() > LEARNERS_MAX {
        return Prediction::fails(Outcome::Refuses, TOO_MANY_LEARNERS);
    }
    let (zombies, learners) = differences_in(log, database);
    let mut prediction = Prediction {
        zombies: hex(zombies.iter().copied()),
        learners: hex(learners),
        ..Prediction::starts()
    };
    if !zombies.is_empty() {
        prediction
            .unsure
            .push("in 3.7 a member that comes back also counts for the quorum".into());
    }
    prediction
}
