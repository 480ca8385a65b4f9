//! The way forward: goes through the steps of a plan that are not done.

use std::time::Duration;

use cli::interrupt;
use semver::Version;

use super::{
    cluster::Cluster,
    deviation::Deviation,
    driver::{Driver, Launch},
    engine::{Engine, Pause, Stop},
    journal::Event,
    poll::{self, Attempt},
    safety::{Heading, Purpose, Refusal},
};
use crate::{failure::Failure, steps::Step};

/// Reads may become slower by this before that is a deviation, if they also take
/// longer than [`SLOW`].
const SLOWER: u32 = 10;
const SLOW: Duration = Duration::from_millis(50);

impl<D: Driver, C: Cluster> Engine<'_, D, C> {
    /// Goes through all steps that are not done. With `until` it ends after that one.
    pub(crate) async fn run(&mut self) -> Result<(), Stop> {
        let Some((steps, _)) = self.journal.plan() else {
            return Err(Failure::new("the journal has no plan").into());
        };
        let steps = steps.to_vec();
        let outcome = match self.take_stock(Heading::Forward).await {
            Ok(()) => self.go_through(&steps).await,
            Err(why) => Err(why.into()),
        };
        if !matches!(outcome, Err(Stop::Failed(_))) || self.view().await.serves() {
            self.end_turn().await;
        }
        outcome
    }

    async fn go_through(&mut self, steps: &[Step]) -> Result<(), Stop> {
        if (0..steps.len()).any(|at| self.journal.has_begun(at))
            && let Err(why) = self.bring_back(steps, Heading::Forward).await
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
            if let Err(why) = self.journal.write(Event::Begin { at }) {
                return Err(self.deviated(step.words(), why.into()).await);
            }
            match self.step(step).await {
                Ok(note) => {
                    (self.say)(&format!("        {note}"));
                    if let Err(why) = self.journal.write(Event::Done { at, note }) {
                        return Err(self.deviated(step.words(), why.into()).await);
                    }
                }
                Err(Pause::Others(text)) => return Err(Stop::Others(text)),
                Err(Pause::Deviated(why)) => {
                    let stopped = Event::Stopped {
                        at,
                        why: why.to_string(),
                    };
                    // What went wrong is said in any case.
                    let _ = self.journal.write(stopped);
                    return Err(self.deviated(step.words(), why).await);
                }
            }
        }
        match self.is_there_still().await {
            Ok(()) => Ok(()),
            Err(why) => Err(self.deviated("see the cluster at rest".into(), why).await),
        }
    }

    /// Waits until every member runs what this run has brought it to, also those of its first
    /// steps: "done" is said of nothing less.
    async fn is_there_still(&self) -> Result<(), Deviation> {
        let endpoints = self.endpoints();
        let seen = self.sees(&endpoints, self.patience, |seen| {
            self.is_as_found(&seen.versions, Heading::Forward)
        });
        seen.await.map(drop)
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
        if self.driver.manages(member) || self.runs_at_least(member, hop).await {
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
            Step::Check { to, line } => self.check(to, *line).await,
            Step::Line { to, .. } => self.set_line(to).await,
            Step::Swap {
                member, to, pintle, ..
            } => self.swap(member, to, *pintle, step.shows()).await,
            Step::MoveLeader { member } | Step::Flush { member, .. }
                if !self.driver.manages(member) =>
            {
                Ok(format!("left to the run on the node of {member}"))
            }
            Step::MoveLeader { member } => self.move_leader(member).await,
            Step::Flush { member, version } => self.flush(member, version).await,
            Step::Settle { to } => self.settle(to).await,
        };
        note.map_err(Pause::from)
    }

    /// Slower reads than before anything was changed are a deviation.
    fn as_fast_as_before(&self, now: Duration) -> Result<(), Deviation> {
        match self.baseline {
            Some(before) if now > SLOW && now > before * SLOWER => Err(format!(
                "reads take {:.1} ms and took {:.1} ms before",
                now.as_secs_f64() * 1e3,
                before.as_secs_f64() * 1e3
            )
            .into()),
            _ => Ok(()),
        }
    }

    async fn swap(
        &mut self,
        member: &str,
        to: &Version,
        pintle: bool,
        shows: bool,
    ) -> Result<String, Deviation> {
        let endpoints = self.endpoints();
        let launch = Launch::of(to, pintle);
        // A step that was interrupted may be past its end.
        let is_there = shows && self.has(member, &launch).await;
        let others: Vec<_> = endpoints
            .iter()
            .filter(|(name, _)| name != member)
            .cloned()
            .collect();
        let before = match others.is_empty() {
            true => None,
            // Those that stay must carry the cluster.
            false => Some(self.sees(&others, self.patience, |_| Ok(())).await?),
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
        let seen = self
            .sees(&endpoints, self.patience, |seen| {
                let is = seen.versions.iter().find(|(name, _)| name == member);
                match is {
                    Some((_, version)) if version == to => self.as_fast_as_before(seen.latency),
                    Some((_, version)) => Err(format!("{member} runs {version}, not {to}").into()),
                    None => Err(format!("{member} is not there").into()),
                }
            })
            .await
            .map_err(|why| why.at(&format!("after the start of {to}")))?;
        if let Some(before) = before {
            seen.has_members_of(&before)?;
        }
        self.give_turn_back().await;
        Ok(format!(
            "healthy, published, hashes equal; leader {}, reads take {:.1} ms",
            seen.leader,
            seen.latency.as_secs_f64() * 1e3
        ))
    }

    /// Waits for a member of another node, which the run there takes forward.
    async fn follow(&self, member: &str, to: &Version) -> Result<String, Deviation> {
        (self.say)(&format!(
            "        waiting for {member} on its own node, up to {:?}: start the same command there",
            self.others
        ));
        let endpoints = self.endpoints();
        let seen = self.sees(&endpoints, self.others, |seen| {
            let is = seen.versions.iter().find(|(name, _)| name == member);
            match is {
                Some((_, version)) if version >= to => Ok(()),
                Some((_, version)) => Err(format!(
                    "{member} still runs {version}; start the same command on its node, and here again"
                )
                .into()),
                None => Err(format!("{member} is not there").into()),
            }
        })
        .await?;
        Ok(format!("{member} has followed; leader {}", seen.leader))
    }

    async fn settle(&self, to: &Version) -> Result<String, Deviation> {
        let endpoints = self.endpoints();
        let elsewhere = endpoints.iter().any(|(name, _)| !self.driver.manages(name));
        let limit = if elsewhere {
            self.others
        } else {
            self.patience
        };
        let seen = self
            .sees(&endpoints, limit, |seen| {
                match (&seen.cluster, &seen.downgrade) {
                    (Some(cluster), _) if cluster.minor == to.minor => Ok(()),
                    (_, Some(to)) => Err(Refusal::Downgrade { to: to.clone() }.into()),
                    (Some(cluster), None) => Err(format!(
                        "the cluster version is still {}.{}",
                        cluster.major, cluster.minor
                    )
                    .into()),
                    // 3.4 does not write it into the database.
                    (None, None) => Ok(()),
                }
            })
            .await?;
        Ok(format!("{} members, hashes equal", seen.members.len()))
    }

    pub(super) async fn move_leader(&self, member: &str) -> Result<String, Deviation> {
        let endpoints = self.endpoints();
        let seen = self.sees(&endpoints, self.patience, |_| Ok(())).await?;
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
            return Ok("there is no one else".into());
        }
        // One that is too slow to take over in time is asked again.
        let deadline = self.cluster.now() + self.patience;
        poll::until(self.cluster, deadline, async || {
            let moved = self.cluster.move_leader(&from, to).await;
            let left = deadline.saturating_sub(self.cluster.now());
            let limit = if moved.is_ok() { left } else { Duration::ZERO };
            let seen = self.sees(&endpoints, limit, |seen| match seen.leader == member {
                true => Err(format!("{member} still leads").into()),
                false => Ok(()),
            });
            match (seen.await, moved) {
                (Ok(seen), _) => Attempt::Done(format!("{} leads", seen.leader)),
                (Err(_), Err(why)) => Attempt::Again(why.into()),
                (Err(why), Ok(())) => Attempt::Never(why),
            }
        })
        .await
    }

    /// Whether the member answers with this version or a later one.
    async fn runs_at_least(&self, member: &str, version: &Version) -> bool {
        let now = self.heard_version(member).await;
        now.is_some_and(|now| now >= *version)
    }
}
