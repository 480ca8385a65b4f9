//! The machine that goes through the steps.

use std::{cell::RefCell, collections::BTreeSet, time::Duration};

use cli::interrupt;
use semver::Version;

use super::{
    Driver, Journal, Step,
    cluster::Cluster,
    driver::{Launch, Managed},
    journal::Event,
    look,
    safety::{self, Purpose},
    settling::Settling,
};
use crate::{
    checks::{self, Finding, Given, Level},
    failure::{Failure, Outcome},
    plan,
    target::Target,
};

/// Why a run ended before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It could not begin, or its journal could not be written.
    Failed(Failure),
    /// A step deviated. The journal knows where it stands.
    Deviated {
        /// The step in words.
        step: String,
        /// What was seen.
        why: String,
        /// Whether the cluster serves: asked, not assumed.
        state: String,
    },
    /// Another node is next; in words.
    Others(String),
    /// A signal came. No member is between its stop and its start.
    Asked {
        /// Its human-readable name.
        signal: &'static str,
        /// Whether the cluster serves: asked, not assumed.
        state: String,
    },
    /// A second signal came while this member was stopped.
    Cut(String),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failed(failure)
    }
}

/// Why a step is not done.
pub(super) enum Pause {
    /// Another node is next; in words.
    Others(String),
    /// What was seen.
    Deviated(String),
}

impl From<String> for Pause {
    fn from(why: String) -> Pause {
        Pause::Deviated(why)
    }
}

/// Reads may become slower by this before that is a deviation, if they also take
/// longer than [`SLOW`].
const SLOWER: u32 = 10;
const SLOW: Duration = Duration::from_millis(50);

/// With this flag a member writes a snapshot after a few keys.
pub(super) const SNAPSHOT_AT_ONCE: &str = "--snapshot-count=1";
/// The snapshot is written beside the requests.
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(300);

/// Whether a check may pass a moment later: an election ends, a member catches up, a
/// stream of a database that broke off is begun again.
fn may_pass(finding: &Finding) -> bool {
    matches!(finding.check, "P1" | "P18")
}

/// A run.
pub(crate) struct Engine<'a, D, C> {
    pub(crate) driver: &'a mut D,
    pub(crate) cluster: &'a C,
    pub(crate) journal: Journal,
    /// Limit for a member to come back.
    pub(crate) patience: Duration,
    /// Limit for the members of other nodes to follow.
    pub(crate) others: Duration,
    /// Whether it ends where it would wait for the members of other nodes.
    pub(crate) only_here: bool,
    /// What reads took before anything was changed.
    pub(crate) baseline: Option<Duration>,
    /// Voters and endpoints that were waited for in vain.
    pub(crate) given_up: RefCell<BTreeSet<String>>,
    /// Told about every step.
    pub(crate) say: &'a dyn Fn(&str),
}

impl<D: Driver, C: Cluster> Engine<'_, D, C> {
    pub(super) fn endpoints(&self) -> Vec<(String, String)> {
        let members = self.driver.members();
        members.into_iter().map(|m| (m.name, m.endpoint)).collect()
    }

    pub(super) fn of(&self, member: &str) -> Outcome<Managed> {
        let found = self.driver.members().into_iter().find(|m| m.name == member);
        found.ok_or_else(|| {
            Failure::new(format!(
                "member {member} has no place in the file of members"
            ))
        })
    }

    /// Goes through all steps that are not done. With `until` it ends after that one.
    pub(crate) async fn run(&mut self) -> Result<(), Stop> {
        let Some((steps, _)) = self.journal.plan() else {
            return Err(Failure::new("the journal has no plan").into());
        };
        let steps = steps.to_vec();
        let outcome = self.go_through(&steps).await;
        if !matches!(outcome, Err(Stop::Failed(_))) || self.view().await.serves() {
            self.end_turn().await;
        }
        outcome
    }

    /// A stop, with what the cluster says of itself when it had the time to settle. After a
    /// signal there is no such time.
    pub(super) async fn deviated(&self, step: String, why: String) -> Stop {
        if let Some(signal) = interrupt::is_asked() {
            (self.say)(&format!("        {why}"));
            return self.asked(signal).await;
        }
        let state = self.settled().await.state();
        Stop::Deviated { step, why, state }
    }

    /// A stop by a signal, with what the cluster says of itself.
    pub(crate) async fn asked(&self, signal: &'static str) -> Stop {
        let state = self.view().await.state();
        Stop::Asked { signal, state }
    }

    async fn go_through(&mut self, steps: &[Step]) -> Result<(), Stop> {
        if (0..steps.len()).any(|at| self.journal.has_begun(at))
            && let Err(why) = self.bring_back(steps).await
        {
            let step = "bring back the members that were stopped".to_owned();
            return Err(self.deviated(step, why).await);
        }
        for (at, step) in steps.iter().enumerate() {
            if self.journal.is_done(at) {
                continue;
            }
            if let Some(signal) = interrupt::is_asked() {
                return Err(self.asked(signal).await);
            }
            (self.say)(&format!("[{}/{}] {}", at + 1, steps.len(), step.words()));
            if let Some(text) = self.turn_of_others(steps, at).await {
                return Err(Stop::Others(text));
            }
            self.journal.write(Event::Begin { at })?;
            match self.step(step).await {
                Ok(note) => {
                    (self.say)(&format!("        {note}"));
                    self.journal.write(Event::Done { at, note })?;
                }
                Err(Pause::Others(text)) => return Err(Stop::Others(text)),
                Err(Pause::Deviated(why)) => {
                    self.journal.write(Event::Stopped {
                        at,
                        why: why.clone(),
                    })?;
                    return Err(self.deviated(step.words(), why).await);
                }
            }
        }
        Ok(())
    }

    /// Which nodes are next and in what order, where this one may not go on.
    async fn turn_of_others(&self, steps: &[Step], at: usize) -> Option<String> {
        if !self.only_here {
            return None;
        }
        let Step::Swap {
            member, to: hop, ..
        } = &steps[at]
        else {
            return None;
        };
        let managed = self.of(member).ok()?;
        if self.driver.manages(member) || self.runs_at_least(&managed.endpoint, hop).await {
            return None;
        }
        let mut order = Vec::new();
        for step in &steps[at..] {
            let Step::Swap { member, to, .. } = step else {
                continue;
            };
            if to == hop {
                order.push(match self.driver.manages(member) {
                    true => format!("{member} (this node)"),
                    false => member.clone(),
                });
            }
        }
        let rest = steps[at..].iter().any(|step| match step {
            Step::Swap { to, .. } => to != hop,
            _ => false,
        });
        let then = if rest {
            "; then here again, for the next release"
        } else {
            "; then here again, for the last look"
        };
        Some(format!(
            "{member} is next on the way to {hop}. Start the same command on each node in this order: {}{then}. The journal knows what is done",
            order.join(", ")
        ))
    }

    async fn step(&mut self, step: &Step) -> Result<String, Pause> {
        let note = match step {
            Step::Heal { version } => return self.heal(version).await,
            Step::Check { to } => self.check(to).await,
            Step::Swap {
                member, to, pintle, ..
            } => self.swap(member, to, *pintle, step.shows()).await,
            Step::MoveLeader { member } | Step::Flush { member, .. }
                if !self.driver.manages(member) =>
            {
                Ok(format!("left to the run on the node of {member}"))
            }
            Step::MoveLeader { member } => self.move_leader(member).await,
            Step::Flush { member, version } => {
                let mut once = Launch::of(version, false);
                once.flags.push(SNAPSHOT_AT_ONCE);
                self.restart(member, &once).await?;
                self.write_keys(member).await?;
                self.restart(member, &Launch::of(version, false)).await
            }
            Step::Settle { to } => self.settle(to).await,
        };
        note.map_err(Pause::from)
    }

    /// Slower reads than before anything was changed are a deviation.
    fn as_fast_as_before(&self, now: Duration) -> Result<(), String> {
        match self.baseline {
            Some(before) if now > SLOW && now > before * SLOWER => Err(format!(
                "reads take {:.1} ms and took {:.1} ms before",
                now.as_secs_f64() * 1e3,
                before.as_secs_f64() * 1e3
            )),
            _ => Ok(()),
        }
    }

    async fn check(&mut self, to: &Version) -> Result<String, String> {
        let endpoints = self.endpoints();
        let before = look::until(self.cluster, &endpoints, self.patience, |_| Ok(())).await?;
        self.baseline.get_or_insert(before.latency);
        let target = Target::parse(&to.to_string())?;
        let deadline = self.cluster.now() + self.patience;
        let mut wait = Settling::until(deadline);
        let blocks = loop {
            let blocks = self.blocks(&target, deadline).await?;
            match blocks.iter().find(|finding| may_pass(finding)) {
                Some(finding) if self.cluster.now() < deadline => {
                    let what = format!("{} {}", finding.member, finding.seen);
                    self.say_waiting(what.trim_start(), &mut wait);
                    self.cluster.sleep(POLL).await;
                }
                _ => break blocks,
            }
        };
        // The flags of now are not those of the next start: a manifest is edited, and
        // commands are told the release.
        let (flags, others): (Vec<_>, Vec<_>) = blocks.iter().partition(|f| f.check == "P12");
        if !self.driver.edits_flags() {
            for finding in flags {
                (self.say)(&format!(
                    "        see that the start command gives other flags: {} {}; {}",
                    finding.member, finding.seen, finding.fix
                ));
            }
        }
        let block = others.first();
        if let Some(finding) = block {
            return Err(format!(
                "{} {} {}; {}",
                finding.check, finding.member, finding.seen, finding.fix
            ));
        }
        Ok(format!(
            "nothing blocks; leader {}, reads take {:.1} ms",
            before.leader,
            before.latency.as_secs_f64() * 1e3
        ))
    }

    /// What blocks the way to `target`, by the databases of all members.
    async fn blocks(&self, target: &Target, deadline: Duration) -> Result<Vec<Finding>, String> {
        let mut members = Vec::new();
        for (name, endpoint) in &self.endpoints() {
            // Another node may be restarting its member just now.
            let mut facts = loop {
                match self.cluster.everything(endpoint).await.told() {
                    Ok(facts) => break facts,
                    Err(_) if self.cluster.now() < deadline => self.cluster.sleep(POLL).await,
                    Err(why) => return Err(why),
                }
            };
            facts.label.clone_from(name);
            members.push(facts);
        }
        self.cluster.moments(&mut members).await;
        let given = Given {
            now: checks::now(),
            ..Given::default()
        };
        let mut findings = checks::run(target.clone(), members, &given).findings;
        findings.retain(|finding| finding.level == Level::Block);
        Ok(findings)
    }

    pub(super) async fn move_leader(&self, member: &str) -> Result<String, String> {
        let endpoints = self.endpoints();
        let seen = look::until(self.cluster, &endpoints, self.patience, |_| Ok(())).await?;
        if seen.leader != member {
            return Ok(format!("{} leads already", seen.leader));
        }
        let (mut from, mut to) = (String::new(), 0);
        for (name, endpoint) in &endpoints {
            if name == member {
                from.clone_from(endpoint);
            } else if to == 0 {
                let facts = self.cluster.answers(endpoint).await.told()?;
                to = facts.id.map_or(0, |id| id.0);
            }
        }
        if to == 0 {
            return Ok("there is nobody else".into());
        }
        // One that is too slow to take over in time is asked again.
        let deadline = self.cluster.now() + self.patience;
        loop {
            let moved = self.cluster.move_leader(&from, to).await;
            let left = deadline.saturating_sub(self.cluster.now());
            let limit = if moved.is_ok() { left } else { Duration::ZERO };
            let seen = look::until(self.cluster, &endpoints, limit, |seen| {
                match seen.leader == member {
                    true => Err(format!("{member} still leads")),
                    false => Ok(()),
                }
            });
            match (seen.await, moved) {
                (Ok(seen), _) => return Ok(format!("{} leads", seen.leader)),
                (Err(_), Err(_)) if self.cluster.now() < deadline => {
                    self.cluster.sleep(POLL).await;
                }
                (Err(_), Err(why)) | (Err(why), Ok(())) => return Err(why),
            }
        }
    }

    /// Whether the member runs what `launch` starts already.
    pub(super) async fn runs(&self, endpoint: &str, launch: &Launch) -> bool {
        let Some(version) = self.heard_version(endpoint).await else {
            return false;
        };
        version == launch.version
            && safety::is_there(&version, self.cluster.is_pintle(endpoint).await, launch)
    }

    /// Whether the member runs that, and would run it again.
    pub(super) async fn has(&self, member: &str, endpoint: &str, launch: &Launch) -> bool {
        self.runs(endpoint, launch).await && self.driver.is_in_place(member, launch)
    }

    /// What the member answers as its version.
    pub(super) async fn version_of(&self, endpoint: &str) -> Option<Version> {
        self.cluster
            .answers(endpoint)
            .await
            .told()
            .ok()?
            .live?
            .version
    }

    /// Whether the member answers with this version or a later one.
    async fn runs_at_least(&self, endpoint: &str, version: &Version) -> bool {
        let now = self.heard_version(endpoint).await;
        now.is_some_and(|now| now >= *version)
    }

    async fn swap(
        &mut self,
        member: &str,
        to: &Version,
        pintle: bool,
        shows: bool,
    ) -> Result<String, String> {
        let managed = self.of(member).map_err(|f| f.0)?;
        let endpoints = self.endpoints();
        let launch = Launch::of(to, pintle);
        // A step that was interrupted may be past its end.
        let is_there = shows && self.has(member, &managed.endpoint, &launch).await;
        let others: Vec<_> = endpoints
            .iter()
            .filter(|(name, _)| name != member)
            .cloned()
            .collect();
        let before = match others.is_empty() {
            true => None,
            // Those that stay must carry the cluster.
            false => Some(look::until(self.cluster, &others, self.patience, |_| Ok(())).await?),
        };
        if !is_there && !self.driver.manages(member) {
            return self.follow(member, to).await;
        }
        if !is_there {
            if before.as_ref().is_some_and(|seen| seen.leader.is_empty()) {
                // None of the others leads.
                self.move_leader(member).await?;
            }
            self.exchange(member, &launch, Purpose::Forward, shows)
                .await?;
        }
        let seen = look::until(self.cluster, &endpoints, self.patience, |seen| {
            let is = seen.versions.iter().find(|(name, _)| name == member);
            match is {
                Some((_, version)) if version == to => self.as_fast_as_before(seen.latency),
                Some((_, version)) => Err(format!("{member} runs {version}, not {to}")),
                None => Err(format!("{member} is not there")),
            }
        })
        .await
        .map_err(|why| format!("after the start of {to}: {why}"))?;
        if let Some(before) = before
            && before.members != seen.members
        {
            return Err(format!(
                "the member list was {:?} and is {:?}",
                before.members, seen.members
            ));
        }
        self.give_turn_back().await;
        Ok(format!(
            "healthy, published, hashes equal; leader {}, reads take {:.1} ms",
            seen.leader,
            seen.latency.as_secs_f64() * 1e3
        ))
    }

    /// Waits for a member of another node, which the run there takes forward.
    async fn follow(&self, member: &str, to: &Version) -> Result<String, String> {
        (self.say)(&format!(
            "        waiting for {member} on its own node, up to {:?}: start the same command there",
            self.others
        ));
        let endpoints = self.endpoints();
        let seen = look::until(self.cluster, &endpoints, self.others, |seen| {
            let is = seen.versions.iter().find(|(name, _)| name == member);
            match is {
                Some((_, version)) if version >= to => Ok(()),
                Some((_, version)) => Err(format!(
                    "{member} still runs {version}; start the same command on its node, and here again"
                )),
                None => Err(format!("{member} is not there")),
            }
        })
        .await?;
        Ok(format!("{member} has followed; leader {}", seen.leader))
    }

    /// Restarts a member on the release that it runs.
    async fn restart(&mut self, member: &str, launch: &Launch) -> Result<String, String> {
        let mut others = self.endpoints();
        others.retain(|(name, _)| name != member);
        if !others.is_empty() {
            // Those that stay must carry the cluster.
            look::until(self.cluster, &others, self.patience, |_| Ok(())).await?;
        }
        self.exchange(member, launch, Purpose::Again, false).await?;
        let endpoints = self.endpoints();
        let seen = look::until(self.cluster, &endpoints, self.patience, |_| Ok(())).await?;
        self.give_turn_back().await;
        Ok(format!("restarted; leader {}", seen.leader))
    }

    /// Enough entries for a snapshot to become due.
    async fn write_keys(&self, member: &str) -> Result<(), String> {
        let managed = self.of(member).map_err(|f| f.0)?;
        let deadline = self.cluster.now() + self.patience;
        // Written twice they are no more than once.
        while let Err(why) = self.cluster.write(&managed.endpoint).await {
            if self.cluster.now() >= deadline {
                return Err(why);
            }
            self.cluster.sleep(POLL).await;
        }
        self.cluster.sleep(SNAPSHOT_WITHIN).await;
        Ok(())
    }

    /// Members whose record is stale in some database, by name. Another node may be
    /// restarting its member just now: one that does not answer is asked again.
    async fn stale(&self) -> Result<BTreeSet<String>, String> {
        let deadline = self.cluster.now() + self.patience;
        loop {
            match self.stale_now().await {
                Err(_) if self.cluster.now() < deadline => self.cluster.sleep(POLL).await,
                outcome => return outcome,
            }
        }
    }

    async fn stale_now(&self) -> Result<BTreeSet<String>, String> {
        let mut all = Vec::new();
        for (_, endpoint) in self.endpoints() {
            let facts = self.cluster.everything(&endpoint).await.told()?;
            if facts.database.is_none() {
                return Err(facts.unread.join("; "));
            }
            all.push(facts);
        }
        Ok(plan::stale(&all))
    }

    async fn heal(&mut self, version: &Version) -> Result<String, Pause> {
        // One that an interrupted attempt has stopped comes back first.
        let launch = Launch::of(version, false);
        for (member, endpoint) in self.endpoints() {
            if self.driver.manages(&member) && !self.has(&member, &endpoint, &launch).await {
                self.restart(&member, &launch).await?;
            }
        }
        let stale = self.stale().await?;
        // One after the other, also where runs on several nodes do it.
        for member in &stale {
            let here = self.driver.manages(member);
            if here {
                self.restart(member, &launch).await?;
            } else if self.only_here {
                return Err(Pause::Others(format!(
                    "the record of {member} is stale in some database: start the same command on its node, and then here again"
                )));
            } else {
                (self.say)(&format!(
                    "        waiting for {member}, which restarts on its own node, up to {:?}",
                    self.others
                ));
            }
            let limit = if here { self.patience } else { self.others };
            // The publication is applied a moment after the start.
            let deadline = self.cluster.now() + limit;
            while self.stale().await?.contains(member) {
                if self.cluster.now() >= deadline {
                    return Err(Pause::Deviated(format!(
                        "the record of {member} is still stale"
                    )));
                }
                self.cluster.sleep(POLL).await;
            }
        }
        if stale.is_empty() {
            return Ok("no record is stale".into());
        }
        let names: Vec<String> = stale.into_iter().collect();
        Ok(format!(
            "the records of {} are current everywhere",
            names.join(", ")
        ))
    }

    async fn settle(&self, to: &Version) -> Result<String, String> {
        let endpoints = self.endpoints();
        let elsewhere = endpoints.iter().any(|(name, _)| !self.driver.manages(name));
        let limit = if elsewhere {
            self.others
        } else {
            self.patience
        };
        let seen = look::until(self.cluster, &endpoints, limit, |seen| {
            match &seen.cluster {
                Some(cluster) if cluster.minor == to.minor => Ok(()),
                Some(cluster) => Err(format!(
                    "the cluster version is still {}.{}",
                    cluster.major, cluster.minor
                )),
                // 3.4 does not write it into the database.
                None => Ok(()),
            }
        })
        .await?;
        Ok(format!("{} members, hashes equal", seen.members.len()))
    }
}
