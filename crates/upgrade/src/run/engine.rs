//! The machine that goes through the steps.

use std::{collections::BTreeSet, time::Duration};

use cli::interrupt;
use membership::cluster::Member;
use proto::etcdserverpb as api;
use semver::Version;

use super::{Driver, Journal, Step, driver::Managed, journal::Event, look};
use crate::{
    checks::{self, Given, Level},
    facts::Facts,
    failure::{Failure, Outcome},
    inspect::{self, Access},
    plan::{self, Plan, Wishes},
    target::{PINTLE_SPEAKS, Target},
};

/// Why a run ended before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It could not begin, or its journal could not be written.
    Failed(Failure),
    /// A step deviated. The cluster serves; the journal knows where it stands.
    Deviated {
        /// The step in words.
        step: String,
        /// What was seen.
        why: String,
    },
    /// Another node is next; in words.
    Others(String),
    /// A signal came, which this is in words. No step is half done.
    Asked(&'static str),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failed(failure)
    }
}

/// Why a step is not done.
enum Pause {
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

/// A member's name, or its id where it has none yet.
fn shown(member: &Member) -> String {
    match member.name.as_str() {
        "" => member.id.to_string(),
        name => name.to_owned(),
    }
}

/// Whether the next release believes databases that stale records may be in.
fn enters_from_3_5(facts: &[Facts], target: &Target) -> bool {
    let mut versions = facts
        .iter()
        .filter_map(|f| f.live.as_ref()?.version.as_ref());
    target.minor() > 5 && versions.all(|version| version.minor == 5)
}

/// Reads may become slower by this before that is a deviation, if they also take
/// longer than [`SLOW`].
const SLOWER: u32 = 10;
const SLOW: Duration = Duration::from_millis(50);

/// A run.
pub(crate) struct Engine<'a, D> {
    pub(crate) driver: &'a mut D,
    pub(crate) access: &'a Access,
    pub(crate) journal: Journal,
    /// Limit for a member to come back.
    pub(crate) patience: Duration,
    /// Limit for the members of other nodes to follow.
    pub(crate) others: Duration,
    /// Whether it ends where it would wait for the members of other nodes.
    pub(crate) only_here: bool,
    /// What reads took before anything was changed.
    pub(crate) baseline: Option<Duration>,
    /// Told about every step.
    pub(crate) say: &'a dyn Fn(&str),
}

impl<D: Driver> Engine<'_, D> {
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

    /// The steps from what runs now to `target`, by asking the members.
    pub(crate) async fn steps(&self, target: &Target) -> Outcome<(Vec<Step>, String)> {
        let quick = Access {
            scratch: None,
            ..self.access.clone()
        };
        let mut facts = self.ask_all(&quick).await?;
        let listed = facts
            .iter()
            .filter_map(|f| f.live.as_ref())
            .map(|l| l.members.len())
            .max()
            .unwrap_or(0);
        if listed != facts.len() {
            return Err(Failure::new(format!(
                "the cluster has {listed} members and {} of them have commands; all are needed",
                facts.len()
            )));
        }
        let clusters: BTreeSet<String> = facts
            .iter()
            .filter_map(|f| f.cluster.map(|c| c.to_string()))
            .collect();
        let [cluster] = &clusters.into_iter().collect::<Vec<_>>()[..] else {
            return Err(Failure::new("the endpoints belong to different clusters"));
        };
        let mut pintles = BTreeSet::new();
        for (name, endpoint) in self.endpoints() {
            if inspect::is_pintle(self.access, &endpoint).await == Some(true) {
                pintles.insert(name);
            }
        }
        let available = self.driver.available();
        let wishes = Wishes {
            available: &available,
            pintles,
            // The runs on several nodes must come to the same order, whoever leads when
            // each of them begins.
            by_name: !facts.iter().all(|f| self.driver.manages(&f.label)),
            anew: true,
        };
        if enters_from_3_5(&facts, target) {
            facts = self.ask_all(self.access).await?;
        }
        let plan = Plan::make(&facts, target, &wishes).map_err(Failure::new)?;
        Ok((plan.machine, cluster.clone()))
    }

    /// What every member tells, by the name that the file gives it.
    async fn ask_all(&self, access: &Access) -> Outcome<Vec<Facts>> {
        let mut facts: Vec<Facts> = Vec::new();
        for (name, endpoint) in self.endpoints() {
            let mut one = inspect::live(access, &endpoint).await?;
            let members = one.live.iter().flat_map(|live| &live.members);
            let learner = match one.live.as_ref().is_some_and(|live| live.is_learner) {
                true => Some(name.clone()),
                false => members.filter(|m| m.is_learner).map(shown).next(),
            };
            if let Some(learner) = learner {
                return Err(Failure::new(format!(
                    "{learner} is a learner: promote or remove it first"
                )));
            }
            if one.label != name {
                return Err(Failure::new(format!(
                    "the member at {endpoint} is called {:?}, not {name:?}",
                    one.label
                )));
            }
            one.label = name;
            facts.push(one);
        }
        Ok(facts)
    }

    /// Goes through all steps that are not done. With `until` it ends after that one.
    pub(crate) async fn run(&mut self) -> Result<(), Stop> {
        let Some((steps, _)) = self.journal.plan() else {
            return Err(Failure::new("the journal has no plan").into());
        };
        let steps = steps.to_vec();
        for (at, step) in steps.iter().enumerate() {
            if self.journal.is_done(at) {
                continue;
            }
            if let Some(signal) = interrupt::is_asked() {
                return Err(Stop::Asked(signal));
            }
            (self.say)(&format!("[{}/{}] {}", at + 1, steps.len(), step.words()));
            if let Some(text) = self.turn_of_others(&steps, at).await {
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
                    return Err(Stop::Deviated {
                        step: step.words(),
                        why,
                    });
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
                self.restart(member, version, &["--snapshot-count=1"])
                    .await?;
                self.write_keys(member).await?;
                self.restart(member, version, &[]).await
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
        let before = look::until(self.access, &endpoints, self.patience, |_| Ok(())).await?;
        self.baseline.get_or_insert(before.latency);
        let mut members = Vec::new();
        for (name, endpoint) in &endpoints {
            // Another node may be restarting its member just now.
            let deadline = std::time::Instant::now() + self.patience;
            let mut facts = loop {
                match inspect::live(self.access, endpoint).await {
                    Ok(facts) => break facts,
                    Err(_) if std::time::Instant::now() < deadline => {
                        tokio::time::sleep(Duration::from_millis(300)).await;
                    }
                    Err(e) => return Err(e.to_string()),
                }
            };
            facts.label.clone_from(name);
            members.push(facts);
        }
        inspect::moments(self.access, &mut members).await;
        let target = Target::parse(&to.to_string())?;
        let report = checks::run(
            target,
            members,
            &Given {
                now: checks::now(),
                ..Given::default()
            },
        );
        // The flags of now are not those of the next start: a manifest is edited, and
        // commands are told the release.
        let (flags, others): (Vec<_>, Vec<_>) = report
            .findings
            .iter()
            .filter(|f| f.level == Level::Block)
            .partition(|f| f.check == "P12");
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

    async fn move_leader(&self, member: &str) -> Result<String, String> {
        let endpoints = self.endpoints();
        let seen = look::until(self.access, &endpoints, self.patience, |_| Ok(())).await?;
        if seen.leader != member {
            return Ok(format!("{} leads already", seen.leader));
        }
        let (mut from, mut to) = (String::new(), 0);
        for (name, endpoint) in &endpoints {
            if name == member {
                from.clone_from(endpoint);
            } else if to == 0 {
                let asked = self.access.greet(endpoint).await;
                let (_, status) = asked.map_err(|e| e.to_string())?;
                to = status.header.unwrap_or_default().member_id;
            }
        }
        if to == 0 {
            return Ok("there is nobody else".into());
        }
        let client = self.access.client(&from).await.map_err(|e| e.to_string())?;
        client
            .move_leader(api::MoveLeaderRequest { target_id: to })
            .await
            .map_err(|e| format!("move-leader: {e}"))?;
        let seen = look::until(self.access, &endpoints, self.patience, |seen| {
            match seen.leader == member {
                true => Err(format!("{member} still leads")),
                false => Ok(()),
            }
        })
        .await?;
        Ok(format!("{} leads", seen.leader))
    }

    /// Whether the member answers with this version already, and is Pintle or not.
    pub(super) async fn runs(&self, endpoint: &str, version: &Version, pintle: bool) -> bool {
        let asked = self.access.greet(endpoint).await;
        if !asked.is_ok_and(|(_, status)| status.version == version.to_string()) {
            return false;
        }
        match inspect::is_pintle(self.access, endpoint).await {
            Some(is) => is == pintle,
            // Without a look at its measures that one version may be either.
            None => *version != PINTLE_SPEAKS,
        }
    }

    /// Whether the member answers with this version or a later one.
    async fn runs_at_least(&self, endpoint: &str, version: &Version) -> bool {
        let asked = self.access.greet(endpoint).await.ok();
        let now = asked.and_then(|(_, status)| Version::parse(&status.version).ok());
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
        // A step that was interrupted may be past its end.
        let is_there = shows && self.runs(&managed.endpoint, to, pintle).await;
        let others: Vec<_> = endpoints
            .iter()
            .filter(|(name, _)| name != member)
            .cloned()
            .collect();
        let before = match others.is_empty() {
            true => None,
            // Those that stay must carry the cluster.
            false => Some(look::until(self.access, &others, self.patience, |_| Ok(())).await?),
        };
        if !is_there && !self.driver.manages(member) {
            return self.follow(member, to).await;
        }
        if !is_there {
            self.take_turn(member).await?;
            if before.as_ref().is_some_and(|seen| seen.leader.is_empty()) {
                // None of the others leads.
                self.move_leader(member).await?;
            }
            self.driver.stop(member).await.map_err(|f| f.0)?;
            self.driver
                .start(member, to, pintle, &[])
                .await
                .map_err(|f| f.0)?;
        }
        let seen = look::until(self.access, &endpoints, self.patience, |seen| {
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
        self.give_turn_back(member).await;
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
        let seen = look::until(self.access, &endpoints, self.others, |seen| {
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

    async fn restart(
        &mut self,
        member: &str,
        version: &Version,
        flags: &[&str],
    ) -> Result<String, String> {
        let mut others = self.endpoints();
        others.retain(|(name, _)| name != member);
        if !others.is_empty() {
            // Those that stay must carry the cluster.
            look::until(self.access, &others, self.patience, |_| Ok(())).await?;
        }
        self.take_turn(member).await?;
        self.driver.stop(member).await.map_err(|f| f.0)?;
        self.driver
            .start(member, version, false, flags)
            .await
            .map_err(|f| f.0)?;
        let endpoints = self.endpoints();
        let seen = look::until(self.access, &endpoints, self.patience, |_| Ok(())).await?;
        self.give_turn_back(member).await;
        Ok(format!("restarted; leader {}", seen.leader))
    }

    /// Enough entries for a snapshot to become due.
    async fn write_keys(&self, member: &str) -> Result<(), String> {
        let managed = self.of(member).map_err(|f| f.0)?;
        let client = self
            .access
            .client(&managed.endpoint)
            .await
            .map_err(|e| e.to_string())?;
        for _ in 0..3 {
            let key = b"pintle-upgrade".as_slice();
            let put = api::PutRequest {
                key: key.into(),
                value: b"flush".as_slice().into(),
                ..Default::default()
            };
            client.put(put).await.map_err(|e| e.to_string())?;
        }
        let delete = api::DeleteRangeRequest {
            key: b"pintle-upgrade".as_slice().into(),
            ..Default::default()
        };
        client
            .delete_range(delete)
            .await
            .map_err(|e| e.to_string())?;
        // The snapshot is written beside the requests.
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(())
    }

    /// Members whose record is stale in some database, by name. Another node may be
    /// restarting its member just now: one that does not answer is asked again.
    async fn stale(&self) -> Result<BTreeSet<String>, String> {
        let deadline = std::time::Instant::now() + self.patience;
        loop {
            match self.stale_now().await {
                Err(_) if std::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn stale_now(&self) -> Result<BTreeSet<String>, String> {
        let mut all = Vec::new();
        for (_, endpoint) in self.endpoints() {
            let facts = inspect::live(self.access, &endpoint)
                .await
                .map_err(|e| e.to_string())?;
            if facts.database.is_none() {
                return Err(facts.unread.join("; "));
            }
            all.push(facts);
        }
        Ok(plan::stale(&all))
    }

    async fn heal(&mut self, version: &Version) -> Result<String, Pause> {
        // One that an interrupted attempt has stopped comes back first.
        for (member, endpoint) in self.endpoints() {
            if self.driver.manages(&member) && !self.runs(&endpoint, version, false).await {
                self.restart(&member, version, &[]).await?;
            }
        }
        let stale = self.stale().await?;
        // One after the other, also where runs on several nodes do it.
        for member in &stale {
            let here = self.driver.manages(member);
            if here {
                self.restart(member, version, &[]).await?;
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
            let deadline = std::time::Instant::now() + limit;
            while self.stale().await?.contains(member) {
                if std::time::Instant::now() >= deadline {
                    return Err(Pause::Deviated(format!(
                        "the record of {member} is still stale"
                    )));
                }
                tokio::time::sleep(Duration::from_millis(300)).await;
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
        let seen = look::until(self.access, &endpoints, limit, |seen| {
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
