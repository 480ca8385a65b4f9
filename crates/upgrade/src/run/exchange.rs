//! The one place where a member is stopped, and what is looked at before. Nothing is
//! stopped before [`safety::may_stop`] has agreed to the cluster as it is now.

use std::time::Duration;

use cli::interrupt;
use semver::Version;

use super::{
    cluster::Cluster,
    deviation::Deviation,
    driver::{Driver, Launch, Process},
    engine::Engine,
    journal::{Event, Left},
    poll::{self, Attempt, POLL},
    safety::{self, Purpose, Refusal, Seen, View},
    settling::{AGAIN, SILENT, Settling},
    view::{Named, look_around},
};
use crate::{facts::Facts, steps::Step};

/// What may be done to a member.
enum Permit {
    /// To stop and to start it; the cluster as it was seen.
    Exchange(Box<View>),
    /// To start it, if it is down: whether it runs is not known.
    Start,
}

/// Since when looks say that a member may be stopped, and none of them is sure: once is not
/// silent, and twice that long is no more so.
#[derive(Debug, Default)]
struct Unsure(Option<Duration>);

impl Unsure {
    /// Whether one look more, at `now`, is enough. After one that is sure it begins anew.
    fn is_enough(&mut self, is_sure: bool, now: Duration) -> bool {
        if is_sure {
            self.0 = None;
            return true;
        }
        now - *self.0.get_or_insert(now) >= SILENT
    }
}

/// How a member was brought to what it should run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// It was stopped and started, or ran that already.
    Exchange,
    /// It was started alone. If it ran before, it runs what it did.
    Start,
}

impl<D: Driver, C: Cluster> Engine<'_, D, C> {
    /// The cluster as it is now.
    pub(crate) async fn view(&self) -> View {
        let members = self.endpoints().into_iter();
        let named: Vec<Named> = members
            .map(|(name, endpoint)| Named {
                directory: self.driver.directory(&name),
                name,
                endpoint,
            })
            .collect();
        let planned = self.journal.plan().map(|(_, id)| id.to_owned());
        let began = self.cluster.now();
        let limit = |member: &str| self.awaited.borrow().limit(member, began, self.patience);
        let height = self.height();
        let view = look_around(self.cluster, &named, limit, planned, height).await;
        let now = self.cluster.now();
        let was_asked = |name: &str| !limit(name).is_zero();
        let asked: Vec<bool> = view.voters.iter().map(|v| was_asked(&v.name)).collect();
        let mut awaited = self.awaited.borrow_mut();
        for (voter, was_asked) in view.voters.iter().zip(asked) {
            match &voter.seen {
                Seen::Silent => {
                    awaited.silent(&voter.name, began);
                    if was_asked {
                        awaited.asked(&voter.name, now);
                    }
                }
                Seen::Serves | Seen::Answers => awaited.heard(&voter.name),
                Seen::Refuses(_) => {}
            }
        }
        drop(awaited);
        view
    }

    /// The highest that the cluster version can be by the journal, where no member answers:
    /// never above what a member runs that was not stopped.
    fn height(&self) -> Option<Version> {
        let steps = self.journal.plan().map_or(&[][..], |(steps, _)| steps);
        let steps = steps.iter().enumerate();
        let lowest = steps.filter_map(|(at, step)| match step {
            Step::Swap { member, from, .. }
                if !self.journal.is_done(at) && !self.journal.was_stopped_in(at, member) =>
            {
                Some(Version::new(from.major, from.minor, 0))
            }
            _ => None,
        });
        let height = self.journal.height()?;
        Some(
            lowest
                .min()
                .map_or(height.clone(), |lowest| lowest.min(height)),
        )
    }

    /// The cluster as it is now, with what is known of the processes of members that do not answer.
    pub(super) async fn known_view(&self) -> View {
        let view = self.view().await;
        self.known(view).await
    }

    /// `view`, with what is known of the processes of members that do not answer.
    pub(super) async fn known(&self, mut view: View) -> View {
        view.not_up = self.awaited.borrow().not_up();
        for voter in view.voters.iter_mut().filter(|v| v.seen == Seen::Silent) {
            voter.process = self.process_of(&voter.name).await;
        }
        if let [only] = &view.voters[..]
            && self.journal.left(&only.name) != Left::Alone
        {
            view.alone_in_hand = Some(only.name.clone());
        }
        view
    }

    /// What is known of the process of a member without asking it: by the operator's own
    /// command, else by the lock on its database.
    pub(super) async fn process_of(&self, member: &str) -> Process {
        match self.driver.process(member).await {
            Process::Unknown => match self.driver.directory(member) {
                Some(directory) => self.cluster.process_in(&directory),
                None => Process::Unknown,
            },
            known => known,
        }
    }

    /// Waits until the cluster has settled, and `member` may be stopped and started by
    /// `launch`, or started alone.
    ///
    /// # Errors
    /// It may not, after all patience or for good.
    async fn clear(
        &self,
        member: &str,
        launch: &Launch,
        purpose: Purpose,
        unsure: &mut Unsure,
    ) -> Result<Permit, Deviation> {
        let latest = self.cluster.now() + self.patience;
        let mut settling = Settling::until(latest);
        loop {
            let facts = self.known_of(member, launch, purpose).await;
            // The last thing that is looked at.
            let view = self.known_view().await;
            if self.is_settling(&view, &mut settling).await {
                continue;
            }
            let now = self.cluster.now();
            let facts = facts.as_ref();
            let (permit, is_sure) = match safety::may_stop(&view, member, launch, purpose, facts) {
                Ok(()) => {
                    let is_sure = view.is_up(member) || view.rest(member) >= view.quorum();
                    (Permit::Exchange(Box::new(view)), is_sure)
                }
                Err(Refusal::CutOff { .. } | Refusal::NotUp { .. })
                    if !view.is_up(member)
                        && !view.is_known_to_run(member)
                        && !self.driver.replaces(member, launch) =>
                {
                    safety::may_start(&view, member, launch, purpose, facts)?;
                    // It takes nothing from one that runs.
                    let since = self.awaited.borrow_mut().silent(member, now);
                    (Permit::Start, now - since >= SILENT)
                }
                Err(refusal) => {
                    let deadline = self.deadline(view.voters.iter(), latest);
                    if !refusal.may_pass() || now >= deadline {
                        return Err(refusal.into());
                    }
                    *unsure = Unsure::default();
                    self.say_waiting(&refusal.to_string(), &mut settling);
                    self.cluster.sleep(POLL).await;
                    continue;
                }
            };
            if unsure.is_enough(is_sure, now) {
                return Ok(permit);
            }
            self.cluster.sleep(AGAIN).await;
        }
    }

    /// What tells whether a release starts on what the member has: its database while it
    /// runs, its directory when it does not.
    async fn known_of(&self, member: &str, launch: &Launch, purpose: Purpose) -> Option<Facts> {
        let managed = self.of(member).ok()?;
        match self.version_of(&managed).await {
            // It runs what it will run again.
            Some(_) if purpose.is_same_release() => None,
            Some(version) if version.minor == launch.version.minor => None,
            Some(_) => self.cluster.everything(&managed.endpoint).await.told().ok(),
            None => self.cluster.files(&self.driver.directory(member)?),
        }
    }

    /// Stops `member` and starts it by `launch`, if that may be done now; nothing where
    /// another run has done it while this one waited for its turn and `shows` is true.
    ///
    /// # Errors
    /// It may not be done, or failed. What the stop took out is put back then.
    pub(super) async fn exchange(
        &mut self,
        member: &str,
        launch: &Launch,
        purpose: Purpose,
        shows: bool,
    ) -> Result<By, Deviation> {
        let outcome = self.try_exchange(member, launch, purpose, shows).await;
        let why = match outcome {
            Ok(by) => return Ok(by),
            Err(why) => why,
        };
        Err(match self.driver.restore(member) {
            Ok(false) => why,
            Ok(true) => format!("{why}; what was taken out is back in its place").into(),
            Err(e) => format!("{why}; AND WHAT WAS TAKEN OUT COULD NOT BE PUT BACK: {e}").into(),
        })
    }

    async fn try_exchange(
        &mut self,
        member: &str,
        launch: &Launch,
        purpose: Purpose,
        shows: bool,
    ) -> Result<By, Deviation> {
        self.driver.ready_for(member, launch)?;
        let mut unsure = Unsure::default();
        let first = self.clear(member, launch, purpose, &mut unsure).await?;
        // A cluster that does not serve has no turns to take.
        if let Permit::Exchange(seen) = &first
            && seen.serves()
        {
            self.take_turn(member).await?;
            if shows && self.has(member, launch).await {
                return Ok(By::Exchange);
            }
        }
        self.driver.prepare(member, launch)?;
        let before = match first {
            Permit::Exchange(_) if !shows => self.started_at(member).await,
            // What it answers tells.
            _ => None,
        };
        let permit = self.clear(member, launch, purpose, &mut unsure).await?;
        // What was begun before a signal is finished; no further member is stopped.
        if let Some(signal) = interrupt::is_asked()
            && !self.driver.is_in_hand(member)
        {
            return Err(format!("{signal}: {member} is not stopped").into());
        }
        let Permit::Exchange(seen) = permit else {
            self.driver.start(member, launch).await?;
            self.note_started(member);
            return Ok(By::Start);
        };
        if let Some(heading) = purpose.heading() {
            self.is_as_found(&seen.releases, heading)?;
        }
        // One that is known not to run is not taken down by its stop.
        let is_taken_down = !seen.has_ended(member);
        let stopping = Event::Stopping {
            member: member.to_owned(),
            cluster: seen.cluster_version.unwrap_or(Version::new(3, 0, 0)),
        };
        self.journal.write(stopping)?;
        if is_taken_down {
            self.awaited.borrow_mut().taken_down(member);
        }
        self.driver.stop(member).await?;
        // From here on nothing keeps the member from its start, not even a full disk.
        let noted = self.journal.write(Event::Starting {
            member: member.to_owned(),
            release: launch.version.clone(),
        });
        self.driver.start(member, launch).await?;
        self.note_started(member);
        if let Some(before) = before {
            self.is_another(member, &before).await?;
        }
        noted.map_err(|e| Deviation::Seen(format!("{member} was started; {e}")))?;
        Ok(By::Exchange)
    }

    /// When the process of `member` was started, if it runs and shows that.
    async fn started_at(&self, member: &str) -> Option<String> {
        let managed = self.of(member).ok()?;
        self.cluster.started_at(&managed.endpoint).await
    }

    /// Waits until `member`, if it answers, does so from another process than the one that was
    /// started at `before`: commands may return before their work is done, or do nothing.
    async fn is_another(&self, member: &str, before: &str) -> Result<(), Deviation> {
        let deadline = self.cluster.now() + self.patience;
        poll::until(self.cluster, deadline, async || {
            match self.started_at(member).await {
                Some(now) if now == before => Attempt::Again(Deviation::Seen(format!(
                    "{member} still runs as it did: what stops and starts it has not restarted it"
                ))),
                // We wait for one that is down as for any that was started.
                _ => Attempt::Done(()),
            }
        })
        .await
    }

    fn note_started(&self, member: &str) {
        let now = self.cluster.now();
        self.awaited.borrow_mut().started(member, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_counted_anew_after_a_look_that_was_sure() {
        let at = Duration::from_secs;
        let mut unsure = Unsure::default();
        assert!(!unsure.is_enough(false, at(0)));
        assert!(unsure.is_enough(true, at(1)));
        // It has waited for its turn.
        assert!(!unsure.is_enough(false, at(60)));
        assert!(unsure.is_enough(false, at(60) + SILENT));
        assert!(unsure.is_enough(false, at(61) + SILENT));
    }
}
