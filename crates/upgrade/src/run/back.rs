//! The way back. From the journal of a run; where there is none, from what the
//! members answer, written down as the journal that a run to here would have left.

use cli::interrupt;
use semver::Version;

use super::{
    Driver, Engine, Step, Stop, downgrade,
    found::{self, Way},
    journal::Event,
    look,
};
use crate::{
    failure::{Failure, Outcome},
    inspect,
    target::Target,
};

impl<D: Driver> Engine<'_, D> {
    /// Looks at every member and judges how all of them come to run `to`.
    ///
    /// # Errors
    /// The endpoints are not those of the members that the file names.
    pub(crate) async fn find(&self, to: &Target) -> Outcome<Way> {
        let mut members = Vec::new();
        for (name, endpoint) in self.endpoints() {
            let facts = inspect::live(self.access, &endpoint).await.ok();
            // Without a leader it does not list itself, and has no name.
            if let Some(facts) = &facts
                && facts.label != name
                && facts.label != endpoint
            {
                return Err(Failure::new(format!(
                    "the member at {endpoint} is called {:?}, not {name:?}",
                    facts.label
                )));
            }
            let pintle = inspect::is_pintle(self.access, &endpoint).await;
            members.push(found::Member {
                name,
                facts,
                pintle,
            });
        }
        let databases = members
            .iter()
            .filter_map(|m| m.facts.as_ref()?.database.as_ref());
        let revision = databases.map(|d| d.revision).min().unwrap_or(1);
        let mut hashes = Vec::new();
        for (name, endpoint) in self.endpoints() {
            // Who has compacted that revision, or is silent, is not compared.
            if let Ok(hash) = inspect::hash(self.access, &endpoint, revision).await {
                hashes.push((name, hash));
            }
        }
        found::judge(&members, &hashes, to)
    }

    /// Writes the journal that a run through `steps` would have left.
    ///
    /// # Errors
    /// A member could not be started with its release, or the journal cannot be written.
    pub(crate) fn adopt(&mut self, steps: Vec<Step>, cluster: String) -> Outcome<()> {
        for step in &steps {
            if let Step::Swap {
                member,
                from,
                from_pintle,
                ..
            } = step
            {
                self.driver.ready_for(member, from, *from_pintle)?;
            }
        }
        self.journal.write(Event::Found { steps, cluster })
    }

    /// Takes members back to what they ran before, the last one first. Where the
    /// cluster version has followed it is taken down before, if that can be done.
    ///
    /// # Errors
    /// A deviation, or a way back that leads over a backup alone.
    pub(crate) async fn roll_back(&mut self) -> Result<(), Stop> {
        let Some((steps, _)) = self.journal.plan() else {
            return Err(
                Failure::new("the journal has no plan; there is nothing to take back").into(),
            );
        };
        let steps = steps.to_vec();
        for (at, step) in steps.iter().enumerate().rev() {
            if !self.journal.has_begun(at) {
                continue;
            }
            if let Some(signal) = interrupt::is_asked() {
                return Err(Stop::Asked(signal));
            }
            match step {
                Step::Settle { to } if self.journal.is_done(at) => {
                    let earlier = steps[..at].iter().rev().find_map(|s| match s {
                        Step::Swap { from, .. } => Some(from.minor),
                        _ => None,
                    });
                    if earlier == Some(to.minor) {
                        self.journal.write(Event::Undone { at })?;
                        continue;
                    }
                    if let Some(minor) = earlier
                        && to.minor >= downgrade::FROM
                        && minor + 1 == to.minor
                    {
                        (self.say)(&format!(
                            "the cluster version is {}.{}: take it down to 3.{minor} first",
                            to.major, to.minor
                        ));
                        let endpoints = self.endpoints();
                        let limit = self.patience;
                        let done = downgrade::enable(self.access, &endpoints, minor, limit).await;
                        match done {
                            Ok(note) => (self.say)(&format!("        {note}")),
                            Err(why) => {
                                return Err(Stop::Deviated {
                                    step: format!("take the cluster version down to 3.{minor}"),
                                    why,
                                });
                            }
                        }
                        self.journal.write(Event::Undone { at })?;
                        continue;
                    }
                    return Err(Stop::Deviated {
                        step: "take the members back".into(),
                        why: format!(
                            "the cluster version is {}.{}, which has no way down; restore the backup as a new cluster",
                            to.major, to.minor
                        ),
                    });
                }
                Step::Swap { member, .. } if !self.driver.manages(member) => {
                    (self.say)(&format!(
                        "{member} is taken back by a rollback on its own node"
                    ));
                    self.journal.write(Event::Undone { at })?;
                }
                Step::Swap {
                    member,
                    from,
                    from_pintle,
                    to,
                    ..
                } => {
                    let endpoints = self.endpoints();
                    let moved = match look::once(self.access, &endpoints).await {
                        Ok(seen) => seen.cluster.is_some_and(|c| c.minor > from.minor),
                        Err(_) => false,
                    };
                    if moved && from.minor != to.minor {
                        return Err(Stop::Deviated {
                            step: format!("take {member} back to {from}"),
                            why: format!(
                                "the cluster version has moved beyond 3.{}; etcdctl downgrade enable 3.{} first",
                                from.minor, from.minor
                            ),
                        });
                    }
                    (self.say)(&step.back_in_words());
                    match self
                        .take_back(member, from, *from_pintle, step.shows())
                        .await
                    {
                        Ok(note) => (self.say)(&format!("        {note}")),
                        Err(why) => {
                            return Err(Stop::Deviated {
                                step: format!("take {member} back to {from}"),
                                why,
                            });
                        }
                    }
                    self.journal.write(Event::Undone { at })?;
                }
                _ => self.journal.write(Event::Undone { at })?,
            }
        }
        let endpoints = self.endpoints();
        let over = downgrade::finished(self.access, &endpoints, self.patience).await;
        over.map_err(|why| Stop::Deviated {
            step: "see the cluster at rest".into(),
            why,
        })
    }

    async fn take_back(
        &mut self,
        member: &str,
        from: &Version,
        pintle: bool,
        shows: bool,
    ) -> Result<String, String> {
        let managed = self.of(member).map_err(|f| f.0)?;
        if shows && self.runs(&managed.endpoint, from, pintle).await {
            return Ok(format!("{member} runs {from} already"));
        }
        let others: Vec<_> = self.endpoints();
        let others: Vec<_> = others.into_iter().filter(|(n, _)| n != member).collect();
        // A cluster that does not answer has no turns to take.
        if look::once(self.access, &others).await.is_ok() {
            self.take_turn(member).await?;
        }
        self.driver.stop(member).await.map_err(|f| f.0)?;
        self.driver
            .put_back(member, from, pintle)
            .await
            .map_err(|f| f.0)?;
        let endpoints = self.endpoints();
        let only: Vec<_> = endpoints
            .iter()
            .filter(|(name, _)| name == member)
            .cloned()
            .collect();
        // Others may be down; this one must come back.
        look::until(self.access, &only, self.patience, |_| Ok(())).await?;
        self.give_turn_back(member).await;
        let all = look::once(self.access, &endpoints).await;
        Ok(match all {
            Ok(seen) => format!("healthy; leader {}", seen.leader),
            Err(why) => format!("healthy; of the cluster: {why}"),
        })
    }
}
