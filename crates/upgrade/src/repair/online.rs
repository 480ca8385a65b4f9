//! Mends the databases of a running cluster of 3.5: a `member update` with the
//! peer URLs that a member has already is a change of the configuration that
//! changes nothing, but makes every member of 3.5.26 and later write that
//! member's record anew and take out whoever was removed. No process restarts.
//!
//! A member that was started with `ETCD_VERIFY=all`, a variable for etcd's own tests,
//! compares all records after each change and ends itself while a second one is stale.
//! Nobody can be asked from outside whether it was; help and docs say so.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use membership::cluster::{Member, MemberId};
use proto::etcdserverpb::MemberUpdateRequest;
use semver::Version;

use crate::{
    facts::Facts,
    failure::{Failure, Outcome},
    inspect::{self, Access},
};

/// The first release that writes records anew and takes zombies out on a change.
const SINCE: Version = Version::new(3, 5, 26);
/// Every member applies the change a moment after it was committed.
const APPLIED_WITHIN: Duration = Duration::from_secs(30);

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
pub(crate) async fn plan(access: &Access, endpoints: &[String]) -> Outcome<Plan> {
    let mut all: Vec<Facts> = Vec::new();
    for endpoint in endpoints {
        all.push(inspect::live(access, endpoint).await?);
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
                     mend the directories of stopped members with --data-dir",
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
                    "{} runs {version}; 3.5.26 to the last 3.5 mend their databases while they run. Others: see `pintle upgrade check`, or mend stopped members with --data-dir",
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
    pub(crate) async fn carry_out(self, access: &Access, endpoints: &[String]) -> Outcome<()> {
        let first = endpoints
            .first()
            .ok_or_else(|| Failure::new("no endpoint"))?;
        for member in &self.updates {
            let client = access.client(first).await?;
            let request = MemberUpdateRequest {
                id: member.id.0,
                peer_ur_ls: member.peer_urls.clone(),
            };
            client
                .member_update(request)
                .await
                .map_err(|e| Failure::new(format!("member update {}: {e}", member.id)))?;
        }
        let deadline = Instant::now() + APPLIED_WITHIN;
        loop {
            let left = plan(access, endpoints).await?.wrong;
            let Some(one) = left.first() else {
                return Ok(());
            };
            if Instant::now() >= deadline {
                return Err(Failure::new(format!(
                    "{} databases are still wrong after {APPLIED_WITHIN:?}: {one}",
                    left.len()
                )));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}
