//! Brings members back that do not answer: each is started once, with the release that it
//! should run, and has its time. One that cannot be started keeps no other from it: together
//! they may be a quorum. The same member is never started twice for one silence.

use std::time::Duration;

use super::{
    cluster::{Answer, Cluster},
    deviation::Deviation,
    driver::{Driver, Launch, Process},
    engine::Engine,
    exchange::By,
    journal::Event,
    poll::{self, Attempt, POLL},
    safety::{Heading, Purpose, Seen},
    settling::{SILENT, Settling},
};
use crate::{failure::Outcome, steps::Step};

/// How long to wait for a member that can have no leader yet.
const NO_QUORUM: Duration = Duration::from_secs(10);
/// What is said of a member that was started in vain.
const NOT_UP: &str = "does not come up";
/// What is said of a member that was started where none answers.
const CUT_OFF: &str = "is not reached from here, and no member answers from here, so whether they run is not known; see that this node reaches their client URLs";

/// What a member is started with that does not answer.
enum Start {
    /// What it ran.
    Same(Launch),
    /// What it ran before the step at this place, which it takes back.
    Back { at: usize, launch: Launch },
}

impl<D: Driver, C: Cluster> Engine<'_, D, C> {
    /// Starts the members that do not answer. Those that an interrupted step has in hand are
    /// left to it, but for one that `heading` leads straight back.
    ///
    /// # Errors
    /// One could not be started, or does not come up: the first of them.
    pub(super) async fn bring_back(
        &mut self,
        steps: &[Step],
        heading: Heading,
    ) -> Result<(), Deviation> {
        let members = self.driver.members().into_iter().map(|m| m.name);
        let mut left: Vec<String> = members.filter(|m| self.driver.manages(m)).collect();
        let mut outcome = Ok(());
        loop {
            let (refused, failed) = self.start_each(steps, &left, heading).await?;
            outcome = outcome.and(failed);
            // What was not known before, the others say when they are back.
            if refused.len() == left.len() || refused.is_empty() {
                let first = refused.into_iter().next();
                return outcome.and(first.map_or(Ok(()), |(_, why)| Err(why)));
            }
            left = refused.into_iter().map(|(name, _)| name).collect();
        }
    }

    /// The members that a run through `steps` starts before it continues.
    ///
    /// # Errors
    /// One refuses this client.
    pub(super) async fn to_bring_back(&self, steps: &[Step]) -> Outcome<Vec<String>> {
        let mut silent = Vec::new();
        if (0..steps.len()).any(|at| self.journal.has_begun(at)) {
            silent = self.silent().await?;
        }
        silent.retain(|name| self.driver.manages(name) && self.expected(steps, name).is_some());
        Ok(silent)
    }

    /// Starts those of `members` that do not answer. Returns those that may not be started as
    /// the cluster is now, with the reason, and the first failure of the others.
    async fn start_each(
        &mut self,
        steps: &[Step],
        members: &[String],
        heading: Heading,
    ) -> Result<(Vec<(String, Deviation)>, Result<(), Deviation>), Deviation> {
        let (mut refused, mut outcome) = (Vec::new(), Ok(()));
        let mut started = Vec::new();
        for name in members {
            if !self.is_silent(name).await? {
                continue;
            }
            let Some(start) = self.start_of(steps, name, heading).await else {
                continue;
            };
            let start = self.as_far_as_seen(steps, name, start).await;
            match self.start_silent(steps, name, &start).await {
                Ok(by) => started.push((name, start, by)),
                Err(why @ Deviation::Refused(_)) => refused.push((name.clone(), why)),
                Err(why) => {
                    self.awaited.borrow_mut().failed(name, why.to_string());
                    outcome = outcome.and(Err(why));
                }
            }
        }
        let names: Vec<&str> = started.iter().map(|(name, ..)| name.as_str()).collect();
        let silent = self.all_up(&names).await;
        let is_cut_off = !silent.is_empty() && self.view().await.is_cut_off();
        for (name, start, by) in &started {
            if silent.contains(name) {
                let why = match is_cut_off {
                    true => format!("{name} is not reached from here"),
                    false => format!("{name} {NOT_UP}"),
                };
                self.awaited.borrow_mut().failed(name, why.clone());
                outcome = outcome.and(Err(why.into()));
            } else if let Start::Back { at, launch } = start {
                self.note_back(steps, *at, name, launch, *by).await?;
            }
        }
        Ok((refused, outcome))
    }

    /// What a member that does not answer should be started with.
    async fn start_of(&self, steps: &[Step], member: &str, heading: Heading) -> Option<Start> {
        if heading == Heading::Back
            && let Some(hop) = self.last_hop(steps)
        {
            for at in hop.rev() {
                match &steps[at] {
                    Step::Swap {
                        member: m,
                        from,
                        from_pintle,
                        ..
                    } if m == member
                        && self.journal.has_begun(at)
                        && self.needs_no_descent(from.minor).await =>
                    {
                        let launch = Launch::back(from, *from_pintle);
                        return Some(Start::Back { at, launch });
                    }
                    // It comes back with its own flags.
                    Step::Flush { member: m, version }
                        if m == member && self.is_half_done(at, member) =>
                    {
                        let launch = Launch::back(version, false);
                        return Some(Start::Back { at, launch });
                    }
                    _ => {}
                }
            }
        }
        // What others have moved since is not to be taken back by a start either.
        if heading == Heading::Back && !self.has_moved() && !self.is_as_before(steps).await {
            return None;
        }
        self.expected(steps, member).map(Start::Same)
    }

    /// Whether the members that answer run what they ran before the steps.
    async fn is_as_before(&self, steps: &[Step]) -> bool {
        let releases = self.view().await.releases;
        releases.iter().all(|(name, runs)| {
            let before = self.before(steps, name);
            before.is_none_or(|before| before.version == *runs)
        })
    }

    /// Whether a release of `3.minor` starts as the cluster version is.
    async fn needs_no_descent(&self, minor: u64) -> bool {
        let view = self.view().await;
        let height = view.cluster_version.filter(|_| view.downgrade.is_none());
        height.is_some_and(|height| height.minor <= minor)
    }

    /// What to start `member` with in place of `start`: where no member answers, one that may run
    /// is not taken back unseen. It is started with what it has, and taken back once it answers.
    async fn as_far_as_seen(&self, steps: &[Step], member: &str, start: Start) -> Start {
        let Start::Back { at, launch } = &start else {
            return start;
        };
        let Step::Swap { to, pintle, .. } = &steps[*at] else {
            return start;
        };
        let has = Launch::of(to, *pintle);
        let may_be_ended = self.driver.replaces(member, launch)
            && !self.driver.replaces(member, &has)
            && self.process_of(member).await == Process::Unknown;
        if !may_be_ended {
            return start;
        }
        let view = self.known_view().await;
        match view.is_cut_off() && view.alone_in_hand.is_none() {
            true => Start::Same(has),
            false => start,
        }
    }

    async fn start_silent(
        &mut self,
        steps: &[Step],
        member: &str,
        start: &Start,
    ) -> Result<By, Deviation> {
        let by = match start {
            Start::Same(launch) => self.start_again(member, launch).await?,
            Start::Back { at, launch } => {
                let step = &steps[*at];
                (self.say)(&format!(
                    "{member} does not answer: {}",
                    step.back_in_words()
                ));
                self.exchange(member, launch, Purpose::Back, step.shows())
                    .await?
            }
        };
        // The one that is only started may be seen to run when the others do.
        if by == By::Exchange {
            self.comes_up(member).await?;
        }
        Ok(by)
    }

    /// Starts a member that does not answer with the release it ran.
    ///
    /// # Errors
    /// It could not be started.
    async fn start_again(&mut self, member: &str, launch: &Launch) -> Result<By, Deviation> {
        (self.say)(&format!(
            "{member} does not answer: start it again with {}",
            launch.version
        ));
        self.exchange(member, launch, Purpose::BringBack, true)
            .await
    }

    /// The same, and waits for it; nothing where this command has done so in vain.
    ///
    /// # Errors
    /// It could not be started, or does not come up.
    pub(super) async fn have_again(
        &mut self,
        member: &str,
        launch: &Launch,
    ) -> Result<(), Deviation> {
        if let Some(why) = self.awaited.borrow().failure(member) {
            return Err(why.into());
        }
        self.start_again(member, launch).await?;
        self.comes_up(member).await
    }

    /// Notes that a member that answers again was taken back by its start.
    async fn note_back(
        &mut self,
        steps: &[Step],
        at: usize,
        member: &str,
        launch: &Launch,
        by: By,
    ) -> Outcome<()> {
        // One that was only started may have run all the time.
        if by == By::Exchange || (steps[at].shows() && self.has(member, launch).await) {
            self.journal.write(Event::Undone { at })?;
            (self.say)(&format!("        {member} runs {}", launch.version));
        }
        Ok(())
    }

    /// Waits until all of `members`, which were just started, answer. Returns those that do not
    /// come to: where there can be no quorum none of them does.
    async fn all_up(&self, members: &[&str]) -> Vec<String> {
        let began = self.cluster.now();
        let mut wait = Settling::until(began + self.patience);
        loop {
            let mut silent = Vec::new();
            for member in members {
                let Ok(managed) = self.of(member) else {
                    continue;
                };
                if !matches!(self.ask(member, &managed.endpoint).await, Answer::Told(_)) {
                    silent.push((*member).to_owned());
                }
            }
            let waited = self.cluster.now() - began;
            if silent.is_empty()
                || waited >= self.patience
                || (waited >= NO_QUORUM && !self.can_have_quorum().await)
            {
                return silent;
            }
            if waited >= SILENT {
                self.say_waiting(&format!("{} to come up", silent.join(", ")), &mut wait);
            }
            self.cluster.sleep(POLL).await;
        }
    }

    /// Whether so many voters answer or take connections that they may be a quorum.
    async fn can_have_quorum(&self) -> bool {
        let view = self.view().await;
        let mut there = 0;
        for voter in &view.voters {
            let is_there = match (&voter.seen, self.of(&voter.name)) {
                (Seen::Silent, Ok(managed)) => self.cluster.listens(&managed.endpoint).await,
                (Seen::Silent, Err(_)) => false,
                _ => true,
            };
            there += usize::from(is_there);
        }
        there >= view.quorum()
    }

    /// Waits until a member answers that was started. Without a quorum none does, and the
    /// next one that is started may make one: there it is not waited for as long, unless this
    /// node may be cut off from all of them, and none of the others is known not to run.
    pub(super) async fn comes_up(&self, member: &str) -> Result<(), Deviation> {
        let endpoint = self.of(member)?.endpoint;
        let began = self.cluster.now();
        let deadline = began + self.patience;
        let mut wait = Settling::until(deadline);
        let mut lost_since = None;
        poll::until(self.cluster, deadline, async || {
            let mut why = match self.ask(member, &endpoint).await {
                Answer::Told(_) => return Attempt::Done(()),
                Answer::Silent(_) => NOT_UP.to_owned(),
                Answer::Refused(why) => format!("{NOT_UP}: it refuses this client: {why}"),
            };
            let view = self.view().await;
            let now = self.cluster.now();
            // Who refuses this client may serve.
            match view.serves() || view.refusing().is_some() {
                true => lost_since = None,
                false => _ = lost_since.get_or_insert(now),
            }
            if lost_since.is_some_and(|since| now - since >= NO_QUORUM.min(self.patience)) {
                if !view.is_cut_off() || self.known(view).await.has_one_ended(member) {
                    return Attempt::Done(());
                }
                why = CUT_OFF.to_owned();
            }
            if now - began >= SILENT {
                self.say_waiting(&format!("{member} to come up"), &mut wait);
            }
            Attempt::Again(Deviation::Seen(format!("{member} {why}")))
        })
        .await
    }

    /// Whether the step at `at` was interrupted after it stopped `member`.
    fn is_half_done(&self, at: usize, member: &str) -> bool {
        self.journal.has_begun(at)
            && !self.journal.is_done(at)
            && self.journal.was_stopped_in(at, member)
    }

    /// What `member` should run by the journal; nothing while a step has it in hand.
    fn expected(&self, steps: &[Step], member: &str) -> Option<Launch> {
        let mut launch = None;
        for (at, step) in steps.iter().enumerate() {
            let is_half_done = self.is_half_done(at, member);
            match step {
                Step::Swap {
                    member: m,
                    from,
                    from_pintle,
                    to,
                    pintle,
                } if m == member => {
                    if is_half_done {
                        return None;
                    }
                    if self.journal.is_done(at) {
                        launch = Some(Launch::of(to, *pintle));
                    } else {
                        launch.get_or_insert(Launch::back(from, *from_pintle));
                    }
                }
                // It comes back at the line that it finds: never below the highest of the two.
                Step::Line { from, to } => {
                    let launch = launch.get_or_insert(Launch::back(from, true));
                    if self.journal.has_begun(at) && launch.pintle {
                        launch.version.clone_from(to);
                    }
                }
                Step::Flush { member: m, .. } if m == member && is_half_done => return None,
                Step::Heal { .. } if is_half_done => return None,
                _ => {}
            }
        }
        launch
    }
}
