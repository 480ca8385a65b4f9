//! The way back. From the journal of a run; where there is none, from what the
//! members answer, written down as the journal that a run to here would have left.
//! It looks at everything that it needs before it stops anything, and every kind of
//! step that can be half done has an undo here.

use std::ops::RangeInclusive;

use cli::interrupt;
use semver::Version;

use super::{
    cluster::{Answer, Cluster},
    deviation::Deviation,
    downgrade,
    driver::{Driver, Launch, Process},
    engine::{Engine, Stop},
    exchange::By,
    found::{self, Way},
    journal::Event,
    lines, look,
    poll::{self, Attempt},
    safety::{self, Heading, Purpose, Seen, Voter},
};
use crate::{
    facts::Facts,
    failure::{Failure, Outcome},
    steps::Step,
    target::Target,
};

/// What is said where a rollback had nothing to do.
pub(crate) const NOTHING_TO_TAKE_BACK: &str =
    "there was nothing to do: what the journal lists was taken back, or never begun";

/// What a command would meet.
#[derive(Debug, Default)]
pub(crate) struct Outlook {
    /// For a person.
    pub(crate) lines: Vec<String>,
    /// Whether it would stop no member as the cluster is now.
    pub(crate) is_refused: bool,
}

/// The release of the minor version from which the step at `at` settled on that of `to`; none
/// where it stayed within one.
pub(super) fn came_from<'s>(steps: &'s [Step], at: usize, to: &Version) -> Option<&'s Version> {
    let from = steps[..at].iter().rev().find_map(|step| match step {
        Step::Swap { from, .. } => Some(from),
        _ => None,
    });
    from.filter(|from| from.minor != to.minor)
}

impl<D: Driver, C: Cluster> Engine<'_, D, C> {
    /// Looks at every member and judges how all of them come to run `to`.
    ///
    /// # Errors
    /// The endpoints are not those of the members that the file names.
    pub(crate) async fn find(&self, to: &Target) -> Outcome<Way> {
        let mut members = Vec::new();
        for (name, endpoint) in self.endpoints() {
            let facts = match self.hear(&name, true).await {
                Answer::Told(facts) => Some(facts),
                Answer::Silent(_) => None,
                Answer::Refused(why) => return Err(Failure::new(why)),
            };
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
            let (pintle, process) = match facts {
                Some(_) => (self.cluster.is_pintle(&endpoint).await, Process::Runs),
                None => (None, self.process_of(&name).await),
            };
            members.push(found::Member {
                name,
                facts,
                pintle,
                process,
            });
        }
        let databases = members
            .iter()
            .filter_map(|m| m.facts.as_ref()?.database.as_ref());
        let revision = databases.map(|d| d.revision).min().unwrap_or(1);
        let mut hashes = Vec::new();
        for (name, endpoint) in self.endpoints() {
            let answers = |m: &found::Member| m.name == name && m.facts.is_some();
            // Who has compacted that revision, or is silent, is not compared.
            if members.iter().any(answers)
                && let Ok(hash) = self.cluster.hash(&endpoint, revision).await
            {
                hashes.push((name, hash));
            }
        }
        let known = members.iter().filter_map(|m| m.facts.as_ref());
        let cluster = known.filter_map(Facts::cluster_version).max();
        found::judge(&members, &hashes, &to.on(cluster.as_ref()))
    }

    /// Writes the journal that a run through `steps` would have left.
    ///
    /// # Errors
    /// A member could not be started with its release, or the journal cannot be written.
    pub(crate) fn adopt(&mut self, steps: Vec<Step>, cluster: String) -> Outcome<()> {
        self.ready_back(&steps, |_| true)?;
        self.journal.write(Event::Found { steps, cluster })
    }

    /// Whether all is there that taking `steps` back needs: binary, image, manifest.
    fn ready_back(&self, steps: &[Step], is_begun: impl Fn(usize) -> bool) -> Outcome<()> {
        let begun = steps.iter().enumerate().filter(|(at, _)| is_begun(*at));
        for (_, step) in begun {
            let (member, launch) = match step {
                Step::Swap {
                    member,
                    from,
                    from_pintle,
                    ..
                } => (member, Launch::back(from, *from_pintle)),
                Step::Flush { member, version } => (member, Launch::back(version, false)),
                _ => continue,
            };
            if self.driver.manages(member) {
                self.driver.ready_for(member, &launch)?;
            }
        }
        Ok(())
    }

    /// Whether the way back can be gone, as far as that can be seen before anything
    /// stops.
    ///
    /// # Errors
    /// The journal is of another cluster or about other releases, something that a start
    /// needs is missing, or the answers are of several clusters.
    pub(crate) async fn may_go_back(&self, steps: &[Step]) -> Outcome<()> {
        self.is_about_this(steps).await?;
        self.ready_back(steps, |at| self.journal.has_begun(at))
    }

    /// What the cluster is in, and what would keep the first member from being taken
    /// back, for who only looks.
    pub(crate) async fn outlook(&self, steps: &[Step]) -> Outlook {
        let view = self.known_view().await;
        let mut outlook = Outlook {
            lines: vec![view.state()],
            is_refused: false,
        };
        let is_found = self.journal.plan().is_none();
        let is_begun = |at: &usize| is_found || self.journal.has_begun(*at);
        let mut begun = (0..steps.len()).rev().filter(is_begun);
        let acts = |step: &&Step| matches!(step, Step::Swap { .. } | Step::Line { .. });
        let (member, launch) = match begun.find_map(|at| steps.get(at).filter(acts)) {
            Some(Step::Swap {
                member,
                from,
                from_pintle,
                ..
            }) => (member, Launch::back(from, *from_pintle)),
            Some(Step::Line { from, .. }) => {
                let refusal = lines::kept_from(self.cluster, &self.endpoints(), from).await;
                outlook.is_refused = refusal.is_some();
                let refusal = refusal.map(|refusal| format!("as it is now: {refusal}"));
                outlook.lines.extend(refusal);
                return outlook;
            }
            _ => return outlook,
        };
        match safety::may_stop(&view, member, &launch, Purpose::Back, None) {
            Ok(()) => {}
            Err(safety::Refusal::Above { cluster, .. }) => outlook.lines.push(format!(
                "the cluster version is {cluster}: it is taken down first, for which all members must answer"
            )),
            Err(refusal) => {
                outlook.is_refused = true;
                outlook.lines.push(format!("as it is now: {refusal}"));
            }
        }
        outlook
    }

    /// Takes members back to what they ran before. Those that do not answer are first;
    /// of the others the last one. Where the cluster version has followed it is taken
    /// down before, if that can be done.
    ///
    /// # Errors
    /// A deviation, or a way back that leads over a backup alone.
    pub(crate) async fn rollback(&mut self) -> Result<(), Stop> {
        self.first_turn().await?;
        let steps = match self.all_to_undo().await {
            Ok(steps) => steps,
            Err(why) => {
                self.leave().await;
                return Err(why.into());
            }
        };
        let outcome = self.undo_all(&steps).await;
        if self.view().await.serves() {
            self.end_turn().await;
        }
        outcome
    }

    /// The steps of the journal, brought up to date with what the members run.
    ///
    /// # Errors
    /// The way back cannot be gone, or the journal cannot be written.
    pub(crate) async fn all_to_undo(&mut self) -> Outcome<Vec<Step>> {
        self.take_stock(Heading::Back).await?;
        let Some((steps, _)) = self.journal.plan() else {
            return Err(Failure::new(
                "the journal has no plan; there is nothing to take back",
            ));
        };
        let steps = steps.to_vec();
        self.may_go_back(&steps).await?;
        Ok(steps)
    }

    /// Puts the journal of a rollback that is done aside. Returns what there is to say of it.
    ///
    /// # Errors
    /// The journal cannot be renamed.
    pub(crate) fn close(&self) -> Outcome<&'static str> {
        self.journal.retire()?;
        let undone = self.journal.undone();
        let is_any = undone.iter().any(|(steps, at)| self.takes_back(steps, *at));
        Ok(match is_any {
            true => "taken back",
            false => NOTHING_TO_TAKE_BACK,
        })
    }

    /// Whether undoing the step changes anything from here.
    fn takes_back(&self, steps: &[Step], at: usize) -> bool {
        match &steps[at] {
            Step::Check { .. } | Step::MoveLeader { .. } => false,
            Step::Swap { member, .. } | Step::Flush { member, .. } => self.driver.manages(member),
            Step::Settle { to } => came_from(steps, at, to).is_some(),
            Step::Heal { .. } | Step::Line { .. } => true,
        }
    }

    async fn undo_all(&mut self, steps: &[Step]) -> Result<(), Stop> {
        // With them there is more of a quorum; without them perhaps enough of one.
        if let Err(why) = self.bring_back(steps, Heading::Back).await {
            (self.say)(&format!("        {why}"));
        }
        while let Some(at) = self.next_back(steps).await {
            if let Some(signal) = interrupt::is_asked() {
                return Err(self.asked(signal).await);
            }
            let step = &steps[at];
            let words = match step {
                Step::Swap { member, from, .. } => format!("take {member} back to {from}"),
                _ => format!("take back: {}", step.words()),
            };
            if let Err(why) = self.undo(steps, at).await {
                let stopped = Event::Stopped {
                    at,
                    why: why.to_string(),
                };
                // What went wrong is said in any case.
                let _ = self.journal.write(stopped);
                return Err(self.deviated(words, why).await);
            }
            self.journal.write(Event::Undone { at })?;
        }
        match self.at_rest(steps).await {
            Ok(()) => Ok(()),
            Err(why) => Err(self.deviated("see the cluster at rest".into(), why).await),
        }
    }

    /// The steps of the last hop that has begun, to the last one that has.
    pub(super) fn last_hop(&self, steps: &[Step]) -> Option<RangeInclusive<usize>> {
        let last = (0..steps.len())
            .rev()
            .find(|at| self.journal.has_begun(*at))?;
        let first = steps[..=last]
            .iter()
            .rposition(|step| matches!(step, Step::Check { .. }))
            .unwrap_or(0);
        Some(first..=last)
    }

    /// The step that is taken back next: of the last hop the members that do not answer,
    /// then from the end.
    async fn next_back(&self, steps: &[Step]) -> Option<usize> {
        let begun = |at: &usize| self.journal.has_begun(*at);
        let hop = self.last_hop(steps)?;
        let last = *hop.end();
        // What the whole cluster has gone through goes before its members.
        if matches!(steps[last], Step::Settle { .. } | Step::Heal { .. }) {
            return Some(last);
        }
        for at in hop.rev().filter(begun) {
            if let Step::Swap { member, .. } = &steps[at]
                && self.driver.manages(member)
                && let Ok(managed) = self.of(member)
                && self.is_silent(&managed.name).await == Ok(true)
            {
                return Some(at);
            }
        }
        Some(last)
    }

    async fn undo(&mut self, steps: &[Step], at: usize) -> Result<(), Deviation> {
        match &steps[at] {
            Step::Check { .. } | Step::MoveLeader { .. } => Ok(()),
            Step::Line { from, .. } => self.undo_line(from).await,
            Step::Settle { to } => match came_from(steps, at, to) {
                Some(from) => self.take_down(steps, from).await,
                None => Ok(()),
            },
            Step::Heal { version } => self.undo_heal(at, version).await,
            Step::Flush { member, version } => {
                self.undo_flush(at, &steps[at], member, version).await
            }
            Step::Swap { member, .. } if !self.driver.manages(member) => {
                (self.say)(&format!(
                    "{member} is taken back by a rollback on its own node"
                ));
                Ok(())
            }
            Step::Swap {
                member,
                from,
                from_pintle,
                to,
                ..
            } => {
                // This command has started it already, and waited for it.
                let failure = self.awaited.borrow().failure(member).map(Deviation::from);
                if let Some(why) = failure
                    && self.is_silent(member).await?
                {
                    return Err(why);
                }
                if from.minor != to.minor {
                    self.take_down(steps, from).await?;
                }
                (self.say)(&steps[at].back_in_words());
                let launch = Launch::back(from, *from_pintle);
                let note = self
                    .roll_back_member(member, &launch, steps[at].shows())
                    .await?;
                (self.say)(&format!("        {note}"));
                Ok(())
            }
        }
    }

    /// A member that a restart was interrupted at comes back on its release.
    async fn undo_heal(&mut self, at: usize, version: &Version) -> Result<(), Deviation> {
        if self.journal.is_done(at) {
            return Ok(());
        }
        for managed in self.driver.members() {
            if self.driver.manages(&managed.name)
                && self.journal.was_stopped_in(at, &managed.name)
                && self.is_silent(&managed.name).await?
            {
                let launch = Launch::back(version, false);
                self.have_again(&managed.name, &launch).await?;
            }
        }
        Ok(())
    }

    /// A member that a flush was interrupted at is stopped, or runs with the flag of the
    /// flush: it comes back with its own flags.
    async fn undo_flush(
        &mut self,
        at: usize,
        step: &Step,
        member: &str,
        version: &Version,
    ) -> Result<(), Deviation> {
        if self.journal.is_done(at)
            || !self.driver.manages(member)
            || !self.journal.was_stopped_in(at, member)
        {
            return Ok(());
        }
        let runs = self.heard_version(member).await;
        if let Some(runs) = runs.filter(|runs| runs != version) {
            (self.say)(&format!(
                "{member} runs {runs}: who brought it there has restarted it"
            ));
            return Ok(());
        }
        (self.say)(&step.back_in_words());
        let launch = Launch::back(version, false);
        let note = self.roll_back_member(member, &launch, false).await?;
        (self.say)(&format!("        {note}"));
        Ok(())
    }

    /// Takes the cluster version down to that of `from`, where it is above: before that
    /// no member starts with the older release.
    async fn take_down(&mut self, steps: &[Step], from: &Version) -> Result<(), Deviation> {
        let view = self.settled().await;
        let Some(cluster) = view.cluster_version else {
            return Err(
                "the cluster version is not known: no member answers, and no directory can be read"
                    .into(),
            );
        };
        if cluster.minor <= from.minor && view.downgrade.is_none() {
            return Ok(());
        }
        // The members would not be stopped after it.
        if let Some((member, kind)) = view.alarms.first() {
            let (member, kind) = (member.clone(), kind.clone());
            return Err(safety::Refusal::Alarm { member, kind }.into());
        }
        // The storage follows the cluster version a moment later.
        let height = cluster.minor.max(from.minor + 1);
        if height < downgrade::FROM || height != from.minor + 1 {
            return Err(format!(
                "the cluster version is {}.{}, and only restoring the backup as a new cluster goes back from there to 3.{}",
                cluster.major, cluster.minor, from.minor
            )
            .into());
        }
        // While a downgrade is under way it is down already, and not the storage of all.
        let is_above = cluster.minor > from.minor;
        self.all_answer(steps, from.minor).await?;
        if is_above {
            self.no_stranger_is_silent().await?;
            (self.say)(&format!(
                "the cluster version is {}.{}: take it down to 3.{} first",
                cluster.major, cluster.minor, from.minor
            ));
        }
        let endpoints = self.endpoints();
        let limit = self.patience;
        self.goes_on.set(true);
        let note = downgrade::enable(self.cluster, &endpoints, from.minor, limit).await?;
        self.goes_on.set(false);
        if is_above {
            (self.say)(&format!("        {note}"));
        }
        Ok(())
    }

    /// The storage of every member goes down, so every one must answer. Who does not is
    /// started with the release that it went to: the older one does not start yet. Who
    /// was taken back by an earlier attempt, and crashed, stays there.
    async fn all_answer(&mut self, steps: &[Step], below: u64) -> Result<(), Deviation> {
        for managed in self.driver.members() {
            if !self.is_silent(&managed.name).await? {
                continue;
            }
            let name = &managed.name;
            let launch = steps
                .iter()
                .enumerate()
                .rev()
                .find_map(|(at, step)| match step {
                    Step::Swap {
                        member,
                        from,
                        from_pintle,
                        to,
                        pintle,
                    } if member == name && to.minor == below + 1 => {
                        Some(match self.journal.has_begun(at) {
                            true => Launch::of(to, *pintle),
                            false => Launch::back(from, *from_pintle),
                        })
                    }
                    _ => None,
                });
            match launch {
                Some(launch) if self.driver.manages(name) => {
                    self.have_again(name, &launch).await?;
                }
                _ => {
                    return Err(format!(
                        "{name} does not answer, and the storage of every member must go down first; if it does not run, start it with the release that it ran, and try again"
                    )
                    .into());
                }
            }
        }
        Ok(())
    }

    /// A downgrade ends when the versions of all members are known, also of those that the file
    /// does not name: one that was added and never started keeps it from its end.
    async fn no_stranger_is_silent(&self) -> Result<(), Deviation> {
        let view = self.view().await;
        let is_stranger = |v: &&Voter| v.seen == Seen::Silent && self.of(&v.name).is_err();
        match view.voters.iter().find(is_stranger) {
            Some(Voter { name, .. }) => Err(format!(
                "{name} is a voter of the member list, is not in the file of members, and does not answer: a downgrade would not end; start it, or take it off the list with `etcdctl member remove`, and try again"
            )
            .into()),
            None => Ok(()),
        }
    }

    async fn roll_back_member(
        &mut self,
        member: &str,
        launch: &Launch,
        shows: bool,
    ) -> Result<String, Deviation> {
        if shows && self.has(member, launch).await {
            return Ok(format!("{member} runs {} already", launch.version));
        }
        let by = self.exchange(member, launch, Purpose::Back, shows).await?;
        self.comes_up(member).await?;
        if shows && by == By::Exchange {
            self.is_replaced(member, launch).await?;
        }
        self.give_turn_back().await;
        let all = match self.first_silent().await? {
            Some(silent) => Err(Deviation::Seen(format!("{silent} does not answer"))),
            None => look::once(self.cluster, &self.endpoints()).await,
        };
        Ok(match all {
            Ok(seen) => format!("healthy; leader {}", seen.leader),
            Err(why) => format!("started; of the cluster: {why}"),
        })
    }

    /// Waits until `member`, if it answers, runs what it was started with. Commands that return
    /// before their work is done leave the old process answering for a while, and that is no
    /// member that the next one may be stopped beside.
    async fn is_replaced(&self, member: &str, launch: &Launch) -> Result<(), Deviation> {
        let managed = self.of(member)?;
        let deadline = self.cluster.now() + self.patience;
        let mut is_old = false;
        poll::until(self.cluster, deadline, async || {
            if self.runs(member, launch).await {
                return Attempt::Done(());
            }
            match self.version_of(&managed).await {
                Some(version) => {
                    is_old = true;
                    Attempt::Again(Deviation::Seen(format!(
                        "{member} still runs {version}: what stops and starts it has not replaced its process"
                    )))
                }
                // How long it may be silent was judged before; its old process was not.
                None if !is_old => Attempt::Done(()),
                None => Attempt::Again(Deviation::Seen(format!("{member} does not come up"))),
            }
        })
        .await
    }

    /// Waits until all members that are driven from here run what they ran before, also those
    /// that were left alone, and the cluster is as it should be: "taken back" is said of nothing
    /// less.
    async fn at_rest(&self, steps: &[Step]) -> Result<(), Deviation> {
        let endpoints = self.endpoints();
        let has_moved = self.has_moved();
        if let Some(silent) = self.first_silent().await? {
            return Err(format!("{silent} does not answer").into());
        }
        let seen = self
            .sees(&endpoints, self.patience, |seen| {
                for (name, version) in &seen.versions {
                    let before = self.before(steps, name);
                    let Some(before) = before.filter(|_| self.driver.manages(name)) else {
                        continue;
                    };
                    if before.version != *version {
                        // Others have moved it, and this journal no one.
                        if !has_moved {
                            continue;
                        }
                        return Err(format!(
                            "{name} runs {version}, not {}, and the journal here has nothing left to take back; with another --state, `rollback --to` takes back what the members answer",
                            before.version
                        )
                        .into());
                    }
                    if !self.driver.is_in_place(name, &before) {
                        return Err(
                            format!("{name} runs, and its manifest is not in its place").into()
                        );
                    }
                }
                Ok(())
            })
            .await?;
        if has_moved {
            let left = self.left_alone(steps, &seen.versions);
            left.iter().for_each(|line| (self.say)(line));
        }
        downgrade::finished(self.cluster, &endpoints, self.patience).await
    }
}
