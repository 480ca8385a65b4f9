//! Waiting before judging. One look proves nothing: a killed run may have started a member
//! a moment before, an election may be under way, a machine may be slow. A member is taken
//! for one that does not serve only after it had its time.

use std::time::Duration;

use futures_util::future::join_all;
use semver::Version;

use super::{
    cluster::{Answer, CallError, Cluster},
    deviation::Deviation,
    driver::Driver,
    engine::Engine,
    journal::Left,
    look,
    poll::{self, Attempt, POLL},
    safety::{Seen, View, Voter},
};
use crate::{
    facts::Facts,
    failure::{Failure, Outcome},
};

/// How long a member must not answer before it is taken for one that does not run: it
/// may be slow for some seconds.
pub(super) const SILENT: Duration = Duration::from_secs(6);
/// How often it is asked meanwhile.
pub(super) const AGAIN: Duration = Duration::from_secs(1);

/// One wait for the cluster to settle.
pub(super) struct Settling {
    deadline: Duration,
    /// What was last said to be waited for.
    said: String,
}

impl Settling {
    /// A wait that ends at `deadline`.
    pub(super) fn until(deadline: Duration) -> Settling {
        Settling {
            deadline,
            said: String::new(),
        }
    }
}

impl<D: Driver, C: Cluster> Engine<'_, D, C> {
    /// Whether `view` may be the one of a cluster that is about to serve with more voters
    /// than it shows. Waits a moment then, for the caller to look again.
    pub(super) async fn is_settling(&self, view: &View, wait: &mut Settling) -> bool {
        let awaited = self.awaited(view).await;
        if awaited.is_empty() {
            return false;
        }
        if self.cluster.now() >= self.deadline(awaited.iter().copied(), wait.deadline) {
            let mut known = self.awaited.borrow_mut();
            awaited.iter().for_each(|voter| known.give_up(&voter.name));
            return false;
        }
        let shown: Vec<String> = awaited.into_iter().map(shown).collect();
        self.say_waiting(&shown.join(", "), wait);
        self.cluster.sleep(POLL).await;
        true
    }

    /// When those of `voters` that do not serve have had their time: each since it was first
    /// asked in vain, and none longer than until `latest`.
    pub(super) fn deadline<'v>(
        &self,
        voters: impl Iterator<Item = &'v Voter>,
        latest: Duration,
    ) -> Duration {
        let known = self.awaited.borrow();
        let left = voters.filter(|voter| !voter.serves());
        let ends = left.map(|voter| known.deadline(&voter.name, self.patience));
        let last = ends.map(|end| end.unwrap_or(latest)).max();
        last.unwrap_or(latest).min(latest)
    }

    /// Says once what we wait for.
    pub(super) fn say_waiting(&self, what: &str, wait: &mut Settling) {
        if wait.said != what {
            wait.said = what.to_owned();
            (self.say)(&format!("        waiting: {what}"));
        }
    }

    /// The voters that do not serve and may come to, if with them there can be a quorum.
    async fn awaited<'v>(&self, view: &'v View) -> Vec<&'v Voter> {
        let mut awaited = Vec::new();
        let mut lost = 0;
        for voter in view.voters.iter().filter(|voter| !voter.serves()) {
            match self.may_come(voter).await {
                true => awaited.push(voter),
                false => lost += 1,
            }
        }
        if view.voters.len() - lost < view.quorum() {
            awaited.clear();
        }
        awaited
    }

    /// Whether a voter may come to serve by itself.
    async fn may_come(&self, voter: &Voter) -> bool {
        if self.awaited.borrow().is_given_up(&voter.name) {
            return false;
        }
        match self.journal.left(&voter.name) {
            Left::Starting => true,
            Left::Stopped | Left::Failed => false,
            Left::Alone if voter.seen != Seen::Silent => true,
            Left::Alone => match self.of(&voter.name) {
                Ok(managed) => self.cluster.listens(&managed.endpoint).await,
                Err(_) => false,
            },
        }
    }

    /// The cluster, when it serves or does not come to.
    pub(super) async fn settled(&self) -> View {
        let mut wait = Settling::until(self.cluster.now() + self.patience);
        loop {
            let view = self.view().await;
            if view.serves() || !self.is_settling(&view, &mut wait).await {
                return self.known(view).await;
            }
        }
    }

    /// What `member` answers, if it does within some seconds. One that takes connections
    /// has more time: it is starting, or its machine is slow. One that had its time in vain,
    /// and was not started since, has none.
    pub(super) async fn hear(&self, member: &str, with_database: bool) -> Answer<Facts> {
        let endpoint = match self.of(member) {
            Ok(managed) => managed.endpoint,
            Err(why) => return Answer::Silent(why.0),
        };
        loop {
            let began = self.cluster.now();
            let mut answer = self.ask(member, &endpoint).await;
            if with_database && matches!(answer, Answer::Told(_)) {
                answer = self.cluster.everything(&endpoint).await;
            }
            if matches!(answer, Answer::Told(_)) || self.awaited.borrow().is_given_up(member) {
                return answer;
            }
            let since = self.awaited.borrow_mut().silent(member, began);
            let now = self.cluster.now();
            if now - since >= SILENT {
                if now - since >= self.patience || !self.cluster.listens(&endpoint).await {
                    self.awaited.borrow_mut().give_up(member);
                    return answer;
                }
                if self.awaited.borrow_mut().is_news(member) {
                    (self.say)(&format!("        waiting: {member} does not answer yet"));
                }
            }
            self.cluster.sleep(AGAIN).await;
        }
    }

    /// Whether `member` has answered nothing for a while.
    ///
    /// # Errors
    /// Something answers, and refuses this client.
    pub(super) async fn is_silent(&self, member: &str) -> Result<bool, CallError> {
        match self.hear(member, false).await {
            Answer::Told(_) => Ok(false),
            Answer::Silent(_) => Ok(true),
            Answer::Refused(why) => Err(CallError::Refused(why)),
        }
    }

    /// The first member that has answered nothing for a while.
    ///
    /// # Errors
    /// One refuses this client.
    pub(super) async fn first_silent(&self) -> Result<Option<String>, CallError> {
        for (name, _) in self.endpoints() {
            if self.is_silent(&name).await? {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Looks until all `endpoints` are as they should be and `also` agrees; says what it
    /// waits for.
    ///
    /// # Errors
    /// What was not as it should be, when `limit` was over.
    pub(super) async fn sees(
        &self,
        endpoints: &[(String, String)],
        limit: Duration,
        also: impl Fn(&look::Seen) -> Result<(), Deviation>,
    ) -> Result<look::Seen, Deviation> {
        let began = self.cluster.now();
        let deadline = began + limit;
        let mut wait = Settling::until(deadline);
        let seen = poll::until(self.cluster, deadline, async || {
            let left = deadline.saturating_sub(self.cluster.now()).max(SILENT);
            let look = look::once(self.cluster, endpoints);
            let seen = match self.cluster.within(left, look).await {
                Some(seen) => seen.and_then(|seen| also(&seen).map(|()| seen)),
                None => Err("not all members answer".into()),
            };
            if let Err(why) = &seen
                && self.cluster.now() - began >= SILENT
            {
                self.say_waiting(&why.to_string(), &mut wait);
            }
            Attempt::from(seen)
        })
        .await?;
        let mut awaited = self.awaited.borrow_mut();
        endpoints.iter().for_each(|(name, _)| awaited.heard(name));
        Ok(seen)
    }

    /// The members that do not answer.
    ///
    /// # Errors
    /// One refuses this client.
    pub(crate) async fn silent(&self) -> Outcome<Vec<String>> {
        let mut silent = Vec::new();
        for (name, _) in self.endpoints() {
            if self.is_silent(&name).await.map_err(Failure::new)? {
                silent.push(name);
            }
        }
        Ok(silent)
    }

    /// The version that the member answers within some seconds.
    pub(super) async fn heard_version(&self, member: &str) -> Option<Version> {
        self.hear(member, false).await.told().ok()?.live?.version
    }

    /// Asks every member, before anything is judged. Of one that refuses this client nothing
    /// is known, and a wrong flag makes all of them refuse.
    ///
    /// # Errors
    /// One refuses.
    pub(crate) async fn is_let_in(&self) -> Outcome<()> {
        let endpoints = self.endpoints();
        let asked = endpoints
            .iter()
            .map(|(name, endpoint)| self.ask(name, endpoint));
        for ((name, endpoint), answer) in endpoints.iter().zip(join_all(asked).await) {
            let refused = match answer {
                // A learner answers no reads, and no one does without a leader.
                Answer::Told(facts)
                    if facts
                        .live
                        .as_ref()
                        .is_some_and(|l| l.is_learner || l.leader == 0) =>
                {
                    continue;
                }
                Answer::Told(_) => match self.cluster.read(endpoint).await {
                    Answer::Refused(why) => why,
                    Answer::Told(_) | Answer::Silent(_) => continue,
                },
                Answer::Silent(_) => continue,
                Answer::Refused(why) => why,
            };
            return Err(Failure::new(format!(
                "{name} answers, and refuses this client, so nothing was done: {refused}; give the TLS files and the user with which every member answers"
            )));
        }
        Ok(())
    }
}

fn shown(voter: &Voter) -> String {
    let name = &voter.name;
    match &voter.seen {
        Seen::Silent => format!("{name} does not answer yet"),
        Seen::Refuses(why) => format!("{name} refuses this client: {why}"),
        Seen::Answers | Seen::Serves => format!("{name} answers, and does not serve yet"),
    }
}
