//! How a run begins: with a plan from what runs now, or with the one in its journal,
//! if that still is about this cluster.

use std::collections::BTreeSet;

use membership::cluster::Member;
use semver::Version;

use super::{
    cluster::{Answer, Cluster},
    driver::{Driver, Launch},
    engine::Engine,
    lines,
    rollback::Outlook,
    safety::{self, Heading, Purpose, Refusal, View},
};
use crate::{
    facts::{Facts, cluster_version},
    failure::{Failure, Outcome},
    plan::{Plan, Wishes},
    steps::{FLUSH_FLAG, Step},
    target::Target,
};

/// What the operator allows beyond the ordinary.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Allow {
    /// Members go to an older patch than the one they run.
    pub(crate) lower_patch: bool,
    /// Members get the release that they run once more: a new build of it.
    pub(crate) new_build: bool,
}

/// A member's name, or its id where it has none yet.
fn shown(member: &Member) -> String {
    match member.name.as_str() {
        "" => member.id.to_string(),
        name => name.to_owned(),
    }
}

/// What keeps a member's answer from being one that a plan can be made of.
fn silence(facts: &Facts) -> Option<String> {
    let live = facts.live.as_ref()?;
    if live.leader == 0 {
        return Some("it knows no leader".into());
    }
    live.members.is_empty().then(|| match facts.unread.first() {
        Some(why) => why.clone(),
        None => "it lists no members".to_owned(),
    })
}

/// Members that the cluster lists and none of `facts` is of.
fn unnamed(facts: &[Facts]) -> Vec<String> {
    let members = facts.iter().filter_map(|f| f.live.as_ref());
    let mut lacking: Vec<String> = members
        .flat_map(|live| &live.members)
        .filter(|member| facts.iter().all(|f| f.id != Some(member.id)))
        .map(shown)
        .collect();
    lacking.sort();
    lacking.dedup();
    lacking
}

/// Whether the next release believes databases that stale records may be in.
fn enters_from_3_5(facts: &[Facts], target: &Target) -> bool {
    let mut versions = facts
        .iter()
        .filter_map(|f| f.live.as_ref()?.version.as_ref());
    target.minor() > 5 && versions.all(|version| version.minor == 5)
}

impl<D: Driver, C: Cluster> Engine<'_, D, C> {
    /// The steps to go: of the journal, or new ones, which with `write` are put there.
    /// Whatever they need is looked at before anything stops.
    ///
    /// # Errors
    /// The journal is for something else, or a step could not be made.
    pub(crate) async fn begin(
        &mut self,
        target: &Target,
        allow: Allow,
        write: bool,
    ) -> Outcome<Vec<Step>> {
        let known = self.journal.plan().map(|(steps, _)| steps.to_vec());
        let steps = match known {
            Some(steps) => {
                self.leads_to(&steps, target)?;
                self.is_about_this(&steps).await?;
                (self.say)("going on with the plan in the journal");
                steps
            }
            None => {
                let (steps, cluster) = self.steps(target, allow).await?;
                self.ready(&steps)?;
                // A run with nothing to do leaves no journal: a rollback takes back the one before.
                if write && !steps.is_empty() {
                    self.journal.begin(steps.clone(), cluster)?;
                }
                steps
            }
        };
        self.ready(&steps)?;
        Ok(steps)
    }

    /// Every start of every step that is not done.
    fn ready(&self, steps: &[Step]) -> Outcome<()> {
        for (at, step) in steps.iter().enumerate() {
            if self.journal.is_done(at) {
                continue;
            }
            match step {
                Step::Swap {
                    member, to, pintle, ..
                } => self.driver.ready_for(member, &Launch::of(to, *pintle))?,
                Step::Flush { member, version } if self.driver.manages(member) => {
                    let mut once = Launch::of(version, false);
                    once.flags.push(FLUSH_FLAG);
                    self.driver.ready_for(member, &once)?;
                    self.driver.ready_for(member, &Launch::of(version, false))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the plan in the journal leads where the command line does.
    fn leads_to(&self, steps: &[Step], target: &Target) -> Outcome<()> {
        let last = steps.iter().rev().find_map(Step::leads_to);
        let mut target = target.on(last.map(|(to, _)| to));
        if steps.iter().any(|step| matches!(step, Step::Line { .. })) && last.is_some_and(|l| l.1) {
            target = target.of_pintles();
        }
        match last {
            Some((to, pintle)) if (to, pintle) != (&target.version, target.is_pintle) => {
                let program = if pintle { "pintle " } else { "" };
                Err(Failure::new(format!(
                    "{}: the journal here leads to {program}{to}, not to {target}: finish it with that --target, take it back with `pintle upgrade rollback`, or name another --state",
                    self.journal.dir().display()
                )))
            }
            _ => Ok(()),
        }
    }

    /// Whether the journal is about the cluster that answers, and about what runs there.
    ///
    /// # Errors
    /// It is of another cluster, or a member runs what no step of it has started.
    pub(crate) async fn is_about_this(&self, steps: &[Step]) -> Outcome<()> {
        let state = self.journal.dir().display();
        let planned = self.journal.plan().map_or("", |(_, cluster)| cluster);
        for (name, endpoint) in self.endpoints() {
            let Answer::Told(facts) = self.ask(&name, &endpoint).await else {
                continue;
            };
            let is = facts.cluster.map(|id| id.to_string()).unwrap_or_default();
            if is != planned {
                return Err(Failure::new(format!(
                    "{state}: the journal here is of cluster {planned}, and {name} at {endpoint} is of cluster {is}; name another --state, or the right file of members"
                )));
            }
            let version = facts.live.and_then(|live| live.version);
            if let Some(version) = version.filter(|version| !is_known(steps, &name, version)) {
                return Err(Failure::new(format!(
                    "{state}: {name} runs {version}, which the journal here knows nothing of: someone has changed it since. Name another --state, and for a rollback with --to what all members ran before"
                )));
            }
        }
        Ok(())
    }

    /// The steps from what runs now to `target`, by asking the members.
    pub(crate) async fn steps(
        &self,
        target: &Target,
        allow: Allow,
    ) -> Outcome<(Vec<Step>, String)> {
        let mut facts = self.ask_all(false).await?;
        let listed = facts
            .iter()
            .filter_map(|f| f.live.as_ref())
            .map(|l| l.members.len())
            .max()
            .unwrap_or(0);
        let lacking = unnamed(&facts);
        if !lacking.is_empty() || listed != facts.len() {
            return Err(Failure::new(format!(
                "the cluster has {listed} members, and the file of members names {} of them; all are needed: {} is not there",
                facts.len(),
                lacking.join(", ")
            )));
        }
        let clusters: BTreeSet<String> = facts
            .iter()
            .filter_map(|f| f.cluster.map(|c| c.to_string()))
            .collect();
        let [cluster] = &clusters.into_iter().collect::<Vec<_>>()[..] else {
            return Err(Failure::new("the endpoints belong to different clusters"));
        };
        let target = &target.on(cluster_version(&facts).as_ref());
        let mut pintles = BTreeSet::new();
        for (name, endpoint) in self.endpoints() {
            if self.cluster.is_pintle(&endpoint).await == Some(true) {
                pintles.insert(name);
            }
        }
        let launch = Launch::of(&target.version, target.is_pintle);
        let is_new = |name: &String| allow.new_build || !self.driver.is_same_build(name, &launch);
        let names = self.endpoints().into_iter().map(|(name, _)| name);
        let anew = names.filter(is_new).collect();
        let available = self.driver.available();
        let wishes = Wishes {
            available: &available,
            pintles,
            // The runs on several nodes must come to the same order, whoever leads when
            // each of them begins.
            by_name: !facts.iter().all(|f| self.driver.manages(&f.label)),
            anew,
            allow_lower_patch: allow.lower_patch,
        };
        if enters_from_3_5(&facts, target) {
            facts = self.ask_all(true).await?;
        }
        let plan = Plan::make(&facts, target, &wishes).map_err(Failure::new)?;
        Ok((plan.machine, cluster.clone()))
    }

    /// What every member tells, by the name that the file gives it; with its database.
    async fn ask_all(&self, with_databases: bool) -> Outcome<Vec<Facts>> {
        let mut facts: Vec<Facts> = Vec::new();
        for (name, endpoint) in self.endpoints() {
            let mut one = self.heard(&name, with_databases).await?;
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

    /// What a member tells that a plan can be made of. Without a leader it answers for itself and
    /// lists no members, its own name among them.
    ///
    /// # Errors
    /// It does not come to that; what this leaves of the cluster, and what to do.
    async fn heard(&self, name: &str, with_databases: bool) -> Outcome<Facts> {
        for is_last in [false, true] {
            let why = match self.hear(name, with_databases).await.told() {
                Ok(facts) => match silence(&facts) {
                    None => return Ok(facts),
                    Some(why) => why,
                },
                Err(why) => why.to_string(),
            };
            // There may be an election.
            let view = self.settled().await;
            if is_last || !view.serves() {
                return Err(Failure::new(format!(
                    "{name}: {why}; {}. Nothing was done: start {name} if it does not run, or correct its endpoint in the file of members, then run the same command again",
                    view.state()
                )));
            }
        }
        Err(Failure::new(format!("{name}: no answer")))
    }

    /// The downgrade that is under way: with it nothing is as it should be, whatever the
    /// members run.
    pub(crate) async fn pending_downgrade(&self) -> Option<Refusal> {
        let to = self.view().await.downgrade?;
        Some(Refusal::Downgrade { to })
    }

    /// What a run through `steps` would meet, for who only looks: the journal stays in memory, and
    /// is brought up to date as a run does it.
    ///
    /// # Errors
    /// A member refuses this client.
    pub(crate) async fn outlook_ahead(&mut self, steps: &[Step]) -> Outcome<Outlook> {
        self.journal.stay_in_memory();
        self.take_stock(Heading::Forward).await?;
        let mut outlook = Outlook::default();
        for name in self.to_bring_back(steps).await? {
            outlook
                .lines
                .push(format!("{name} does not answer: it is started first"));
        }
        let waits = !outlook.lines.is_empty();
        // Once they are back it may be another cluster.
        let passes = |refusal: &Refusal| {
            waits && (refusal.may_pass() || matches!(refusal, Refusal::Line { .. }))
        };
        let refusal = self.first_refusal(steps).await;
        if let Some(refusal) = refusal.filter(|refusal| !passes(refusal)) {
            outlook.is_refused = true;
            outlook.lines.push(format!("as it is now: {refusal}"));
        }
        Ok(outlook)
    }

    /// What [`safety::may_stop`] says of the first stop of a plan, without waiting: for
    /// who only shows the plan.
    async fn first_refusal(&self, steps: &[Step]) -> Option<Refusal> {
        let steps = steps.iter().enumerate();
        let left = steps.filter(|(at, _)| !self.journal.is_done(*at));
        let left = left.map(|(_, step)| step);
        let view = self.known_view().await;
        refusal(self.cluster, &self.endpoints(), &view, left).await
    }
}

/// What [`safety::may_stop`] says of the first stop of `steps`, as the cluster is now; or what
/// the members say, where they change their line before.
pub(crate) async fn refusal<'a>(
    cluster: &impl Cluster,
    endpoints: &[(String, String)],
    view: &View,
    mut steps: impl Iterator<Item = &'a Step>,
) -> Option<Refusal> {
    let acts = |step: &&Step| {
        let acts = matches!(step, Step::Flush { .. });
        acts || step.leads_to().is_some()
    };
    let (member, launch, purpose) = match steps.find(acts)? {
        Step::Line { to, .. } => return lines::kept_from(cluster, endpoints, to).await,
        Step::Swap {
            member, to, pintle, ..
        } => (member, Launch::of(to, *pintle), Purpose::Forward),
        Step::Flush { member, version } => (member, Launch::of(version, false), Purpose::Again),
        _ => return None,
    };
    safety::may_stop(view, member, &launch, purpose, None).err()
}

/// Whether a step takes `member` to `version` or from there. One that no step names, as
/// it was found where it should be, runs what others come from or go to.
fn is_known(steps: &[Step], member: &str, version: &Version) -> bool {
    let mut lines = steps.iter().filter_map(|step| match step {
        Step::Line { from, to } => Some([from, to]),
        _ => None,
    });
    if lines.any(|releases| releases.contains(&version)) {
        return true;
    }
    let swaps = steps.iter().filter_map(|step| match step {
        Step::Swap {
            member, from, to, ..
        } => Some((member, [from, to])),
        _ => None,
    });
    let is_named = swaps.clone().any(|(name, _)| name == member);
    swaps
        .filter(|(name, _)| !is_named || *name == member)
        .any(|(_, releases)| releases.contains(&version))
}
