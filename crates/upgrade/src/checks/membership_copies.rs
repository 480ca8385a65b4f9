//! The copies of the membership, compared with each other. The truth is what the
//! present release believes: the v2 store and the log up to 3.5, raft's own
//! configuration after that.

use std::collections::BTreeSet;

use membership::cluster::{Member, MemberId};

use super::{
    case::{Case, Lacks},
    finding::Level,
};
use crate::facts::{Database, Facts, Log, Ruler};

const NO_DATABASE: &str = "needs the database of each member: leave --no-databases out (--scratch names a folder with room), or name directories with --data-dir";

/// One member's database and what it must agree with.
struct Pair<'a> {
    facts: &'a Facts,
    database: &'a Database,
    /// The members by the truth as of that database.
    truth: Vec<Member>,
    /// Whether the truth also knows names and client URLs.
    has_records: bool,
    removed: BTreeSet<MemberId>,
    source: &'static str,
}

fn pairs<'a>(case: &Case<'a>) -> Result<Vec<Pair<'a>>, Lacks> {
    let mut found = Vec::new();
    for facts in case.members {
        let Some(database) = &facts.database else {
            continue;
        };
        if let Some(pair) = pair(facts, database) {
            found.push(pair);
        }
    }
    if found.is_empty() {
        all_known(case)?;
        return Err(match case.members.iter().any(|m| m.database.is_some()) {
            true => "a database alone has one copy of the membership; needs the whole directory, or the running member".into(),
            false => NO_DATABASE.into(),
        });
    }
    Ok(found)
}

fn pair<'a>(facts: &'a Facts, database: &'a Database) -> Option<Pair<'a>> {
    if let Some(log) = &facts.log {
        let known = log.at_database.as_ref().unwrap_or(&log.now);
        let mut truth: Vec<Member> = known.members().cloned().collect();
        let ruler = log.ruler(database);
        if ruler == Ruler::Unknown {
            return None;
        }
        if let Ruler::Raft(counted) = ruler {
            let learns = |m: &Member| counted.learners.contains(&m.id.0);
            truth.retain(|m| counted.voters.contains(&m.id.0) || learns(m));
            truth.iter_mut().for_each(|m| m.is_learner = learns(m));
        }
        return Some(Pair {
            facts,
            database,
            truth,
            has_records: true,
            removed: known.removed().collect(),
            source: match ruler {
                Ruler::Tree => "the v2 store and the log",
                _ => "raft's configuration",
            },
        });
    }
    let live = facts.live.as_ref()?;
    let believes_database = live.version.as_ref().is_some_and(|v| v.minor >= 6);
    if believes_database {
        // Its member list is the very copy in question; raft's configuration is not.
        let state = database.members.conf_state.as_ref()?;
        let voters = state.voters.iter().map(|id| (*id, false));
        let learners = state.learners.iter().map(|id| (*id, true));
        let truth = voters.chain(learners).map(|(id, is_learner)| Member {
            id: MemberId(id),
            is_learner,
            ..Member::default()
        });
        return Some(Pair {
            facts,
            database,
            truth: truth.collect(),
            has_records: false,
            removed: BTreeSet::new(),
            source: "raft's configuration",
        });
    }
    (!live.members.is_empty()).then(|| Pair {
        facts,
        database,
        truth: live.members.clone(),
        has_records: true,
        removed: BTreeSet::new(),
        source: "the member list",
    })
}

/// Whether the database of every member could be compared with what rules.
///
/// # Errors
/// Of some it is not known what did when they were written; what to do.
fn all_known(case: &Case<'_>) -> Result<(), Lacks> {
    let is_open = |facts: &&Facts| match (&facts.log, &facts.database) {
        (Some(log), Some(database)) => log.ruler(database) == Ruler::Unknown,
        _ => false,
    };
    let open: Vec<&str> = case
        .members
        .iter()
        .filter(is_open)
        .map(|f| f.label.as_str())
        .collect();
    match open.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "the log of {} does not say who counted at the index of its database: start it on its present release, and check again while it runs, or after it was stopped in good order",
            open.join(", ")
        )
        .into()),
    }
}

impl Pair<'_> {
    fn of_truth(&self, id: MemberId) -> Option<&Member> {
        self.truth.iter().find(|m| m.id == id)
    }

    fn name(&self, id: MemberId) -> String {
        match self.of_truth(id).filter(|m| !m.name.is_empty()) {
            Some(member) => format!("{} ({id})", member.name),
            None => id.to_string(),
        }
    }
}

/// What a contradiction means for the target: those that believe the database must
/// not start on it; the others are the way to heal it.
fn grave(case: &Case<'_>) -> Level {
    match case.target.reads_database() {
        true => Level::Block,
        false => Level::Warn,
    }
}

pub(super) fn learners(case: &mut Case<'_>) -> Result<(), Lacks> {
    let grave = grave(case);
    for pair in pairs(case)? {
        for record in &pair.database.members.members {
            let Some(truth) = pair.of_truth(record.id) else {
                continue;
            };
            let name = pair.name(record.id);
            if record.is_learner && !truth.is_learner {
                case.find(
                    grave,
                    &pair.facts.label,
                    format!(
                        "the database has {name} as a learner; by {} it is a voter",
                        pair.source
                    ),
                    "its promotion was never written there (etcd#19557, 3.5.1 to 3.5.19); 3.6 and later believe the database",
                    format!(
                        "when every member runs 3.5.26 or later, restart {name} once more: its publication rewrites the record at members that already run such a release. \
                         Or, on a stopped member: pintle upgrade repair --data-dir DIR"
                    ),
                );
            }
            if !record.is_learner && truth.is_learner {
                case.find(
                    grave,
                    &pair.facts.label,
                    format!(
                        "the database takes {name} for a voter; by {} it is a learner",
                        pair.source
                    ),
                    "3.7 builds its voters from the database, so that a learner would count for the quorum",
                    "promote or remove the learner before the upgrade, then check again",
                );
            }
        }
    }
    all_known(case)
}

pub(super) fn ids(case: &mut Case<'_>) -> Result<(), Lacks> {
    let grave = grave(case);
    for pair in pairs(case)? {
        zombies(case, &pair, grave);
        unlisted(case, &pair, grave);
        unreadable(case, &pair, grave);
        if let Some(log) = &pair.facts.log {
            other_quorum(case, &pair, log);
            other_conf_state(case, &pair, log);
        }
    }
    all_known(case)
}

/// Members of the database that the truth does not have.
fn zombies(case: &mut Case<'_>, pair: &Pair<'_>, grave: Level) {
    for record in &pair.database.members.members {
        if pair.of_truth(record.id).is_some() {
            continue;
        }
        let known = match pair.removed.contains(&record.id) {
            true => "was removed",
            false => "is unknown to",
        };
        let urls = record.peer_urls.join(",");
        case.find(
            grave,
            &pair.facts.label,
            match known {
                "was removed" => format!(
                    "a zombie: member {} {} ({urls}) was removed and is still in the database",
                    record.id, record.name
                ),
                _ => format!(
                    "a zombie: member {} {} ({urls}) is in the database and not in {}",
                    record.id, record.name, pair.source
                ),
            },
            "3.6 lists it again, and in 3.7 it counts for the quorum (etcd#20967)",
            "bring every member to 3.5.26 or later and restart each once: that removes it from the database. \
             Or, on a stopped member: pintle upgrade repair --data-dir DIR",
        );
    }
}

/// Members that the database lacks.
fn unlisted(case: &mut Case<'_>, pair: &Pair<'_>, grave: Level) {
    let listed: BTreeSet<MemberId> = pair.database.members.members.iter().map(|m| m.id).collect();
    for member in &pair.truth {
        if !listed.contains(&member.id) {
            case.find(
                grave,
                &pair.facts.label,
                format!(
                    "member {} is in {} and not in the database",
                    pair.name(member.id),
                    pair.source
                ),
                "3.6 and later would not know it",
                "restart that member on the newest 3.5, so that it publishes itself; then check again",
            );
        }
    }
}

/// Records that no release understands.
fn unreadable(case: &mut Case<'_>, pair: &Pair<'_>, grave: Level) {
    for record in &pair.database.members.unreadable {
        case.find(
            grave,
            &pair.facts.label,
            format!(
                "bucket {}, key {:?} cannot be understood: {}",
                record.bucket,
                String::from_utf8_lossy(&record.key),
                record.why
            ),
            "3.6 and later fail on it",
            "pintle upgrade repair --data-dir DIR on the stopped member",
        );
    }
}

/// Whether raft counts by other members than the v2 store has.
fn other_quorum(case: &mut Case<'_>, pair: &Pair<'_>, log: &Log) {
    let raft: BTreeSet<MemberId> = log
        .conf_state
        .voters
        .iter()
        .chain(&log.conf_state.learners)
        .map(|id| MemberId(*id))
        .collect();
    let tree: BTreeSet<MemberId> = log.now.members().map(|m| m.id).collect();
    for id in raft.symmetric_difference(&tree) {
        case.find(
            Level::Block,
            &pair.facts.label,
            match raft.contains(id) {
                true => format!("raft counts member {id}, which the v2 store does not have"),
                false => format!("raft does not count member {id}, which the v2 store has"),
            },
            "the quorum is not the one that the member list shows",
            "do not upgrade; remove the member through the API and add it again, or restore from a backup",
        );
    }
}

/// Whether the configuration in the database is another one than raft's.
fn other_conf_state(case: &mut Case<'_>, pair: &Pair<'_>, log: &Log) {
    let stored = pair.database.members.conf_state.as_ref();
    let is_current = pair.database.consistent_index == log.commit;
    if let Some(stored) = stored.filter(|_| is_current) {
        let sorted = |ids: &[u64]| ids.iter().copied().collect::<BTreeSet<_>>();
        if sorted(&stored.voters) != sorted(&log.conf_state.voters)
            || sorted(&stored.learners) != sorted(&log.conf_state.learners)
        {
            case.find(
                Level::Warn,
                &pair.facts.label,
                "the raft configuration stored in the database (meta/confState) is not the one raft uses",
                "only tools read it up to 3.6; it is a sign that the database came from elsewhere",
                "it is rewritten by the next membership change, and by pintle upgrade repair",
            );
        }
    }
}

pub(super) fn records(case: &mut Case<'_>) -> Result<(), Lacks> {
    let grave = grave(case);
    let pairs = pairs(case)?;
    if pairs.iter().all(|pair| !pair.has_records) {
        return Err("a running 3.6 or 3.7 has these records in the database alone".into());
    }
    for pair in pairs.iter().filter(|pair| pair.has_records) {
        for record in &pair.database.members.members {
            let Some(truth) = pair.of_truth(record.id) else {
                continue;
            };
            let name = pair.name(record.id);
            if record.peer_urls != truth.peer_urls {
                case.find(
                    grave,
                    &pair.facts.label,
                    format!(
                        "{name} has the peer URLs {} in {} and {} in the database",
                        truth.peer_urls.join(","),
                        pair.source,
                        record.peer_urls.join(",")
                    ),
                    "3.6 and later dial what the database says",
                    format!(
                        "member update {} --peer-urls={}",
                        record.id,
                        truth.peer_urls.join(",")
                    ),
                );
            }
            let published = !truth.name.is_empty();
            if published && (record.name != truth.name || record.client_urls != truth.client_urls) {
                case.find(
                    Level::Warn,
                    &pair.facts.label,
                    format!(
                        "{name} is recorded in the database as {:?} with client URLs [{}]; by {} it is {:?} with [{}]",
                        record.name,
                        record.client_urls.join(","),
                        pair.source,
                        truth.name,
                        truth.client_urls.join(",")
                    ),
                    "3.5.1 to 3.5.19 never refreshed these records; 3.6 lists what stands there until the member publishes itself",
                    format!("when every member runs 3.5.20 or later, restart {name} once more"),
                );
            }
        }
    }
    Ok(())
}

pub(super) fn removed(case: &mut Case<'_>) -> Result<(), Lacks> {
    let grave = grave(case);
    for pair in pairs(case)? {
        for id in &pair.database.members.removed {
            if pair.of_truth(*id).is_some() {
                case.find(
                    grave,
                    &pair.facts.label,
                    format!("{} lives and counts as removed in the database", pair.name(*id)),
                    "3.5 does not read that; the first member of 3.6 tells it that it was removed, and it ends",
                    "pintle upgrade repair --data-dir DIR on the stopped member",
                );
            }
        }
    }
    // 3.5.26 and later, on what 3.4 left.
    if !case.target.is_pintle
        && case.target.minor() == 5
        && case.target.version >= semver::Version::new(3, 5, 26)
    {
        for facts in case.members {
            let Some(log) = facts.log.as_ref().filter(|log| !log.expelled.is_empty()) else {
                continue;
            };
            let ids: Vec<String> = log.expelled.iter().map(ToString::to_string).collect();
            case.find(
                Level::Block,
                &facts.label,
                format!(
                    "the database has members {} at an index where the log does not have them yet",
                    ids.join(", ")
                ),
                format!(
                    "{} takes them for zombies and marks them as removed; the first 3.6 then ends them",
                    case.target
                ),
                "write one key to the cluster on its present release, and check again",
            );
        }
    }
    Ok(())
}
