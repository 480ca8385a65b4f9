//! The one place where a member is stopped, and what is looked at before. Nothing is
//! stopped before [`safety::may_stop`] has agreed to the cluster as it is now.

use std::time::Duration;

use cli::interrupt;
use semver::Version;

use super::{
    cluster::{Answer, Cluster},
    deviation::Deviation,
    driver::{Driver, Launch},
    engine::Engine,
    journal::{Event, Left},
    poll::{self, Attempt, POLL},
    safety::{self, Purpose, View},
    settling::{AGAIN, SILENT, Settling},
    view::{Named, look_around},
};
use crate::{facts::Facts, steps::Step};

/// How long to wait for a member that can have no leader yet.
const NO_QUORUM: Duration = Duration::from_secs(10);
/// Why none is stopped after one that did not come up.
const CUT_OFF: &str = ", and no member takes connections from here, so whether the others run is not known; see that this node reaches their client URLs, or start them by hand";

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
        look_around(self.cluster, &named, planned, self.journal.height()).await
    }

    /// Waits until the cluster has settled, and `member` may be stopped and started by
    /// `launch`.
    ///
    /// # Errors
    /// It may not, after all patience or for good.
    async fn clear(
        &self,
        member: &str,
        launch: &Launch,
        purpose: Purpose,
    ) -> Result<View, Deviation> {
        let deadline = self.cluster.now() + self.patience;
        let mut settling = Settling::until(deadline);
        let mut silent_since = None;
        loop {
            let facts = self.known_of(member, launch, purpose).await;
            // The last thing that is looked at.
            let view = self.view().await;
            if self.is_settling(&view, &mut settling).await {
                continue;
            }
            match safety::may_stop(&view, member, launch, purpose, facts.as_ref()) {
                Ok(()) => {
                    let now = self.cluster.now();
                    let silent = now - *silent_since.get_or_insert(now);
                    if view.is_up(member) || view.rest(member) >= view.quorum() || silent >= SILENT
                    {
                        return Ok(view);
                    }
                    self.cluster.sleep(AGAIN).await;
                }
                Err(refusal) if !refusal.may_pass() || self.cluster.now() >= deadline => {
                    return Err(refusal.into());
                }
                Err(refusal) => {
                    silent_since = None;
                    self.say_waiting(&refusal.to_string(), &mut settling);
                    self.cluster.sleep(POLL).await;
                }
            }
        }
    }

    /// What tells whether a release starts on what the member has: its database while it
    /// runs, its directory when it does not.
    async fn known_of(&self, member: &str, launch: &Launch, purpose: Purpose) -> Option<Facts> {
        let managed = self.of(member).ok()?;
        match self.version_of(&managed.endpoint).await {
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
    ) -> Result<(), Deviation> {
        let outcome = self.try_exchange(member, launch, purpose, shows).await;
        let Err(why) = outcome else { return Ok(()) };
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
    ) -> Result<(), Deviation> {
        self.driver.ready_for(member, launch)?;
        let seen = self.clear(member, launch, purpose).await?;
        // A cluster that does not serve has no turns to take.
        if seen.serves() {
            self.take_turn(member).await?;
            if shows && self.has(member, launch).await {
                return Ok(());
            }
        }
        self.driver.prepare(member, launch)?;
        let seen = self.clear(member, launch, purpose).await?;
        // What was begun before a signal is finished; no further member is stopped.
        if let Some(signal) = interrupt::is_asked()
            && !self.driver.is_in_hand(member)
        {
            return Err(format!("{signal}: {member} is not stopped").into());
        }
        // One that runs after all is left as it is, and one that is down needs no more.
        if purpose == Purpose::BringBack
            && self.journal.left(member) == Left::Alone
            && self.may_be_cut_off(&seen).await
        {
            self.driver.start(member, launch).await?;
            self.given_up.borrow_mut().remove(member);
            return Ok(());
        }
        let stopping = Event::Stopping {
            member: member.to_owned(),
            cluster: seen.cluster_version.unwrap_or(Version::new(3, 0, 0)),
        };
        self.journal.write(stopping)?;
        self.driver.stop(member).await?;
        // From here on nothing keeps the member from its start, not even a full disk.
        let noted = self.journal.write(Event::Starting {
            member: member.to_owned(),
            release: launch.version.clone(),
        });
        self.driver.start(member, launch).await?;
        self.given_up.borrow_mut().remove(member);
        noted.map_err(|e| Deviation::Seen(format!("{member} was started; {e}")))
    }

    /// Starts the members again that do not answer, each with the release that the
    /// journal says it runs. Those that an interrupted step has in hand are left to it.
    /// One that cannot be started keeps no other from it: together they may be a quorum.
    ///
    /// # Errors
    /// One could not be started: the first of them.
    pub(super) async fn bring_back(&mut self, steps: &[Step]) -> Result<(), Deviation> {
        let mut outcome = Ok(());
        for managed in self.driver.members() {
            if !self.driver.manages(&managed.name) {
                continue;
            }
            let Some(launch) = self.expected(steps, &managed.name) else {
                continue;
            };
            if self.is_silent(&managed.name).await? {
                let started = self.start_again(&managed.name, &launch).await;
                outcome = outcome.and(started);
            }
        }
        outcome
    }

    /// Starts a member that does not answer with the release it ran.
    ///
    /// # Errors
    /// It could not be started, or does not come up.
    pub(super) async fn start_again(
        &mut self,
        member: &str,
        launch: &Launch,
    ) -> Result<(), Deviation> {
        (self.say)(&format!(
            "{member} does not answer: start it again with {}",
            launch.version
        ));
        let endpoint = self.of(member)?.endpoint;
        self.exchange(member, launch, Purpose::BringBack, true)
            .await?;
        self.comes_up(member, &endpoint).await
    }

    /// Waits until a member answers. Without a quorum none does, and the next one that
    /// is started may make one: there it is not waited for as long, unless this node may be
    /// cut off from all of them, where the next one would be one too many.
    pub(super) async fn comes_up(&self, member: &str, endpoint: &str) -> Result<(), Deviation> {
        let began = self.cluster.now();
        let mut lost_since = None;
        poll::until(self.cluster, began + self.patience, async || {
            let mut why = match self.cluster.answers(endpoint).await {
                Answer::Told(_) => return Attempt::Done(()),
                Answer::Silent(_) => String::new(),
                Answer::Refused(why) => format!(": it refuses this client: {why}"),
            };
            let view = self.view().await;
            let now = self.cluster.now();
            // Who refuses this client may serve.
            match view.serves() || view.refusing().is_some() {
                true => lost_since = None,
                false => _ = lost_since.get_or_insert(now),
            }
            if lost_since.is_some_and(|since| now - since >= NO_QUORUM.min(self.patience)) {
                if !self.may_be_cut_off(&view).await {
                    return Attempt::Done(());
                }
                why = CUT_OFF.to_owned();
            }
            Attempt::Again(Deviation::Seen(format!("{member} does not come up{why}")))
        })
        .await
    }

    /// What `member` should run by the journal; nothing while a step has it in hand.
    fn expected(&self, steps: &[Step], member: &str) -> Option<Launch> {
        let mut launch = None;
        for (at, step) in steps.iter().enumerate() {
            let is_half_done = self.journal.has_begun(at) && !self.journal.is_done(at);
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
                Step::Flush { member: m, .. } if m == member && is_half_done => return None,
                Step::Heal { .. } if is_half_done => return None,
                _ => {}
            }
        }
        launch
    }
}
