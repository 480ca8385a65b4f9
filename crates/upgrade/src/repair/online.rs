//! Repairs the databases of a running cluster of 3.5: a `member update` with the
//! peer URLs that a member has already is a change of the configuration that
//! changes nothing, but makes every member of 3.5.26 and later write that
//! member's record anew and take out whoever was removed. No process restarts.
//!
//! A member that was started with `ETCD_VERIFY=all`, a variable for etcd's own tests,
//! compares all records after each change and ends itself while a second one is stale.
//! No one can be asked from outside whether it was; help and docs say so.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    time::Duration,
};

use membership::cluster::{Member, MemberId};
use semver::Version;

use crate::{
    facts::Facts,
    failure::{Failure, Outcome},
    run::{
        Attempt, CallError, Cluster, Launch, Lock, Named, Purpose, look_around, may_stop, one_look,
        until,
    },
};

/// The first release that writes records anew and takes zombies out on a change.
const SINCE: Version = Version::new(3, 5, 26);
/// Every member applies the change a moment after it was committed.
const APPLIED_WITHIN: Duration = Duration::from_secs(30);
/// How long members that are slow, or do not agree yet after an election, are asked again.
const LOOKS_WITHIN: Duration = Duration::from_secs(30);
/// How long an election, or another run, may hold up a change.
const SETTLES_WITHIN: Duration = Duration::from_secs(60);
/// How long the turn is this repair's: longer than all that it does.
const TURN_SECONDS: u64 = 600;

/// What is wrong, and what is done about it.
pub(crate) struct Plan {
    /// Each thing that is wrong, in words.
    pub(crate) wrong: Vec<String>,
    /// Members that are announced anew.
    updates: Vec<Member>,
}

/// Asks all members and finds what their databases have wrong. Under load one may be slow to
/// answer, and after an election they may list different members for a moment: they are asked
/// again for a while.
///
/// # Errors
/// Not all members answer, or the truth is not certain, or they are too old.
pub(crate) async fn plan(cluster: &impl Cluster, endpoints: &[String]) -> Outcome<Plan> {
    let deadline = cluster.now() + LOOKS_WITHIN;
    until(cluster, deadline, async || {
        let all = match all(cluster, endpoints).await {
            Ok(all) => all,
            Err(attempt) => return attempt,
        };
        match judged(&all) {
            Ok(plan) => Attempt::Done(plan),
            Err(failure) => Attempt::Never(failure),
        }
    })
    .await
}

/// What all members answer, with their databases, if they are of one mind.
async fn all(
    cluster: &impl Cluster,
    endpoints: &[String],
) -> Result<Vec<Facts>, Attempt<Plan, Failure>> {
    let mut all: Vec<Facts> = Vec::new();
    for endpoint in endpoints {
        let facts = match cluster.everything(endpoint).await.told() {
            Ok(facts) => facts,
            Err(why @ CallError::Refused(_)) => return Err(Attempt::Never(Failure::new(why))),
            Err(why) => return Err(Attempt::Again(Failure::new(why))),
        };
        if facts.database.is_none() {
            let why = format!("{}: {}", facts.label, facts.unread.join("; "));
            return Err(Attempt::Again(Failure::new(why)));
        }
        all.push(facts);
    }
    let mut lists = all
        .iter()
        .map(|f| f.live.as_ref().map(|live| &live.members));
    let first = lists.next().flatten();
    if first.is_none_or(Vec::is_empty) || lists.any(|list| list != first) {
        return Err(Attempt::Again(Failure::new(
            "the members do not list the same members; wait, and try again",
        )));
    }
    Ok(all)
}

/// What the databases of `all` members have wrong.
fn judged(all: &[Facts]) -> Outcome<Plan> {
    let truth = certain(all)?;
    let mut plan = Plan {
        wrong: Vec::new(),
        updates: Vec::new(),
    };
    let mut stale: BTreeSet<MemberId> = BTreeSet::new();
    let mut zombies = false;
    for facts in all {
        let Some(database) = &facts.database else {
            continue;
        };
        let records = &database.members.members;
        for member in &truth {
            match records.iter().find(|record| record.id == member.id) {
                Some(record) if record == member => {}
                Some(record) => {
                    let what = match record.is_learner && !member.is_learner {
                        true => "is still a learner",
                        false => "is stale",
                    };
                    plan.wrong.push(format!(
                        "database of {}: {} ({}) {what}",
                        facts.label, member.name, member.id
                    ));
                    stale.insert(member.id);
                }
                None => {
                    plan.wrong.push(format!(
                        "database of {}: {} ({}) is missing",
                        facts.label, member.name, member.id
                    ));
                    stale.insert(member.id);
                }
            }
        }
        for record in records {
            if !truth.iter().any(|member| member.id == record.id) {
                plan.wrong.push(format!(
                    "database of {}: {} {} was removed and is still there",
                    facts.label, record.id, record.name
                ));
                zombies = true;
            }
        }
        for id in &database.members.removed {
            if let Some(member) = truth.iter().find(|member| member.id == *id) {
                return Err(Failure::new(format!(
                    "the database of {} takes {} ({id}), who lives, for removed; no running member takes that back: \
                     repair the directories of stopped members with --data-dir",
                    facts.label, member.name
                )));
            }
        }
    }
    // Any change takes zombies out.
    if zombies && stale.is_empty() {
        stale.extend(truth.iter().find(|m| !m.is_learner).map(|m| m.id));
    }
    plan.updates = truth
        .into_iter()
        .filter(|member| stale.contains(&member.id))
        .collect();
    if let Some(learner) = plan.updates.iter().find(|member| member.is_learner) {
        return Err(Failure::new(format!(
            "{} ({}) is a learner: announced anew, releases up to 3.5.30 would list it as a voter; promote or remove it first",
            learner.name, learner.id
        )));
    }
    Ok(plan)
}

/// The members, as all of them list them, if they repair their databases.
fn certain(all: &[Facts]) -> Outcome<Vec<Member>> {
    let mut truth: Option<&Vec<Member>> = None;
    for facts in all {
        let live = facts
            .live
            .as_ref()
            .ok_or_else(|| Failure::new(format!("{} does not answer", facts.label)))?;
        match &live.version {
            Some(version) if *version >= SINCE && version.minor == 5 => {}
            version => {
                let version = version
                    .as_ref()
                    .map_or("an unknown release".into(), Version::to_string);
                return Err(Failure::new(format!(
                    "{} runs {version}; 3.5.26 to the last 3.5 repair their databases while they run. Others: see `pintle upgrade check`, or repair stopped members with --data-dir",
                    facts.label
                )));
            }
        }
        truth = Some(&live.members);
    }
    let truth = truth.cloned().unwrap_or_default();
    let asked: BTreeSet<_> = all.iter().filter_map(|facts| facts.id).collect();
    let missing = truth.iter().find(|member| !asked.contains(&member.id));
    match missing {
        Some(member) => Err(Failure::new(format!(
            "{} ({}) was not asked; name the endpoints of all members, or pass --cluster",
            member.name, member.id
        ))),
        None => Ok(truth),
    }
}

impl Plan {
    /// What will be done, in words.
    pub(crate) fn actions(&self) -> Vec<String> {
        self.updates
            .iter()
            .map(|member| {
                format!(
                    "member update {} --peer-urls={} (which {} has already)",
                    member.id,
                    member.peer_urls.join(","),
                    member.name
                )
            })
            .collect()
    }
}

/// Repairs what is wrong when the turn is had: no other run may have a member stopped while the
/// members are changed, and what was found before is found anew.
///
/// # Errors
/// Another run is at work, a change was refused, or a database is still wrong after a while.
pub(crate) async fn carry_out(cluster: &impl Cluster, endpoints: &[String]) -> Outcome<()> {
    let run = format!("{:016x}", RandomState::new().build_hasher().finish());
    // What keeps it from a change keeps it from the turn: an alarm, no quorum.
    may_lose_any(cluster, endpoints).await?;
    take_turn(cluster, endpoints, &run).await?;
    let outcome = repaired(cluster, endpoints).await;
    for endpoint in endpoints {
        // Where that fails at all of them its lease ends it.
        if cluster.unlock(endpoint, &run).await.is_ok() {
            break;
        }
    }
    outcome
}

async fn take_turn(cluster: &impl Cluster, endpoints: &[String], run: &str) -> Outcome<()> {
    let value = format!("repair {run}");
    let deadline = cluster.now() + SETTLES_WITHIN;
    until(cluster, deadline, async || {
        let mut last = Failure::new("no endpoint");
        for endpoint in endpoints {
            match cluster.lock(endpoint, &value, run, TURN_SECONDS).await {
                Ok(Lock::Ours { .. }) => return Attempt::Done(()),
                Ok(Lock::Of(holder)) => {
                    let whose = holder.split(' ').next().unwrap_or_default();
                    return Attempt::Again(Failure::new(format!(
                        "another run is at work, on {whose}: finish it first, then repair; nothing was changed"
                    )));
                }
                Err(why) => last = Failure::new(format!("{endpoint}: the turn: {why}")),
            }
        }
        Attempt::Again(last)
    })
    .await
}

async fn repaired(cluster: &impl Cluster, endpoints: &[String]) -> Outcome<()> {
    let plan = plan(cluster, endpoints).await?;
    if plan.updates.is_empty() {
        return Ok(());
    }
    may_lose_any(cluster, endpoints).await?;
    for member in &plan.updates {
        announce(cluster, endpoints, member).await?;
    }
    let deadline = cluster.now() + APPLIED_WITHIN;
    until(cluster, deadline, async || {
        let left = match self::plan(cluster, endpoints).await {
            Ok(plan) => plan.wrong,
            Err(failure) => return Attempt::Again(failure),
        };
        match left.first() {
            None => Attempt::Done(()),
            Some(one) => Attempt::Again(Failure::new(format!(
                "{} databases are still wrong after {APPLIED_WITHIN:?}: {one}",
                left.len()
            ))),
        }
    })
    .await
}

/// Announces a member by whichever member takes the change. An answer may be lost, or there may
/// be an election: done twice it does no more than once.
async fn announce(cluster: &impl Cluster, endpoints: &[String], member: &Member) -> Outcome<()> {
    let deadline = cluster.now() + SETTLES_WITHIN;
    until(cluster, deadline, async || {
        let mut last = Failure::new("no endpoint");
        for endpoint in endpoints {
            match cluster.announce(endpoint, member).await {
                Ok(()) => return Attempt::Done(()),
                Err(why) => last = Failure::new(format!("member update {}: {why}", member.id)),
            }
        }
        Attempt::Again(last)
    })
    .await
}

/// A member that was started with `ETCD_VERIFY=all` may end itself at a change. Of none
/// it is known whether it was, so each one must be one that could be stopped.
async fn may_lose_any(cluster: &impl Cluster, endpoints: &[String]) -> Outcome<()> {
    let mut named = Vec::new();
    let mut runs = Vec::new();
    for endpoint in endpoints {
        let deadline = cluster.now() + SETTLES_WITHIN;
        let facts = until(cluster, deadline, async || {
            Attempt::from(cluster.answers(endpoint).await.told().map_err(Failure::new))
        })
        .await?;
        runs.extend(
            facts
                .live
                .and_then(|live| live.version)
                .map(|version| (facts.label.clone(), version)),
        );
        named.push(Named {
            name: facts.label,
            endpoint: endpoint.clone(),
            directory: None,
        });
    }
    let deadline = cluster.now() + SETTLES_WITHIN;
    until(cluster, deadline, async || {
        let view = look_around(cluster, &named, one_look, None, None).await;
        let refusal = runs.iter().find_map(|(member, version)| {
            let launch = Launch::of(version, false);
            may_stop(&view, member, &launch, Purpose::Again, None).err()
        });
        match refusal {
            None => Attempt::Done(()),
            Some(refusal) if refusal.may_pass() => Attempt::Again(Failure::new(refusal)),
            Some(refusal) => Attempt::Never(Failure::new(refusal)),
        }
    })
    .await
}
