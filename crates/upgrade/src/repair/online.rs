//! Repairs the databases of a running cluster of 3.5: a `member update` with the
//! peer URLs that a member has already is a change of the configuration that
//! changes nothing, but makes every member of 3.5.26 and later write that
//! member's record anew and take out whoever was removed. No process restarts.
//!
//! A member that was started with `ETCD_VERIFY=all`, a variable for etcd's own tests,
//! compares all records after each change and ends itself while a second one is stale.
//! No one can be asked from outside whether it was; help and docs say so.

use std::{collections::BTreeSet, time::Duration};

use membership::cluster::{Member, MemberId};
use semver::Version;

use crate::{
    facts::Facts,
    failure::{Failure, Outcome},
    run::{Attempt, Cluster, Launch, Named, Purpose, look_around, may_stop, one_look, until},
};

/// The first release that writes records anew and takes zombies out on a change.
const SINCE: Version = Version::new(3, 5, 26);
/// Every member applies the change a moment after it was committed.
const APPLIED_WITHIN: Duration = Duration::from_secs(30);
/// How long an election, or a member that was slow for a moment, may take.
const SETTLES_WITHIN: Duration = Duration::from_secs(15);

/// What is wrong, and what is done about it.
pub(crate) struct Plan {
    /// Each thing that is wrong, in words.
    pub(crate) wrong: Vec<String>,
    /// Members that are announced anew.
    updates: Vec<Member>,
}

/// Asks all members and finds what their databases have wrong.
///
/// # Errors
/// Not all members answer, or the truth is not certain, or they are too old.
pub(crate) async fn plan(cluster: &impl Cluster, endpoints: &[String]) -> Outcome<Plan> {
    let mut all: Vec<Facts> = Vec::new();
    for endpoint in endpoints {
        all.push(
            cluster
                .everything(endpoint)
                .await
                .told()
                .map_err(Failure::new)?,
        );
    }
    let truth = certain(&all)?;
    let mut plan = Plan {
        wrong: Vec::new(),
        updates: Vec::new(),
    };
    let mut stale: BTreeSet<MemberId> = BTreeSet::new();
    let mut zombies = false;
    for facts in &all {
        let Some(database) = &facts.database else {
            return Err(Failure::new(format!(
                "{}: {}",
                facts.label,
                facts.unread.join("; ")
            )));
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

/// The members, if all of them say the same.
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
        if **truth.get_or_insert(&live.members) != live.members {
            return Err(Failure::new(
                "the members do not list the same members; wait, and try again",
            ));
        }
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

    /// Does it, and looks until every database is as it should be.
    ///
    /// # Errors
    /// A change was refused, or a database is still wrong after a while.
    pub(crate) async fn carry_out(
        self,
        cluster: &impl Cluster,
        endpoints: &[String],
    ) -> Outcome<()> {
        may_lose_any(cluster, endpoints).await?;
        let first = endpoints
            .first()
            .ok_or_else(|| Failure::new("no endpoint"))?;
        for member in &self.updates {
            let answer = cluster.announce(first, member).await;
            answer.map_err(|why| Failure::new(format!("member update {}: {why}", member.id)))?;
        }
        let deadline = cluster.now() + APPLIED_WITHIN;
        until(cluster, deadline, async || {
            let left = match plan(cluster, endpoints).await {
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
}

/// A member that was started with `ETCD_VERIFY=all` may end itself at a change. Of none
/// it is known whether it was, so each one must be one that could be stopped.
async fn may_lose_any(cluster: &impl Cluster, endpoints: &[String]) -> Outcome<()> {
    let mut named = Vec::new();
    let mut runs = Vec::new();
    for endpoint in endpoints {
        let facts = cluster
            .answers(endpoint)
            .await
            .told()
            .map_err(Failure::new)?;
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
