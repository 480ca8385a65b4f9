//! Whose turn it is: a key in the cluster itself, under a lease, together with the lock on
//! the journal. Two runs, from wherever they were started, must never have a member
//! stopped at the same time. A run that was killed takes its own turn up again, by
//! the id in its state folder; one that never comes back loses it when the lease ends.

use std::time::Duration;

use super::{
    cluster::{Cluster, Lock},
    deviation::Deviation,
    driver::Driver,
    engine::{Engine, LAST_LOOK, Stop},
    journal::Left,
    poll::{self, Attempt},
    rollback::came_from,
};
use crate::steps::Step;

/// In the place of a member: the run finds what there is to do.
const FINDING: &str = "*";

impl<D: Driver, C: Cluster> Engine<'_, D, C> {
    /// Whether one run drives all members. It holds its turn to its end, where runs
    /// on several nodes hand it on from member to member.
    pub(super) fn drives_all(&self) -> bool {
        let members = self.driver.members();
        members.iter().all(|m| self.driver.manages(&m.name))
    }

    /// Takes the turn before anything is found, where one run drives all members: another run may
    /// change what was found while this one waits. Runs on several nodes share the turn, and
    /// compare before every stop. Where the cluster gives no turn, that is judged later.
    ///
    /// # Errors
    /// Another run has it for too long.
    pub(crate) async fn first_turn(&self) -> Result<(), Stop> {
        if self.only_here || !self.drives_all() || !self.view().await.serves() {
            return Ok(());
        }
        let turn = self.wait_for_turn(FINDING, self.patience, |_| Attempt::Done(()));
        match turn.await {
            Ok(()) => Ok(()),
            Err(why) => Err(self.deviated("wait for the turn".into(), why).await),
        }
    }

    /// Gives the turn back where nothing is done with it; not what a killed command of this run
    /// has left, with a member that it may not have finished with. Who waits for it waits for its
    /// lease where that takes too long.
    pub(crate) async fn leave(&self) {
        // Without a plan no killed command has begun anything.
        if self.is_turn_new.get() || self.journal.plan().is_none() {
            let _ = self.cluster.within(LAST_LOOK, self.end_turn()).await;
        }
    }

    /// The same after a signal between two members, where this run is done with every one that it
    /// has begun with, and with what all of them do together.
    pub(crate) async fn leave_between(&self) {
        let is_done_with = |(name, _): &(String, String)| self.journal.left(name) == Left::Alone;
        if self.endpoints().iter().all(is_done_with) && !self.may_go_on_alone() {
            let _ = self.cluster.within(LAST_LOOK, self.end_turn()).await;
        }
    }

    /// Whether the members may have a change in hand that continues without this run: no other may
    /// stop one of them meanwhile.
    fn may_go_on_alone(&self) -> bool {
        let steps = self.journal.plan().map_or(&[][..], |(steps, _)| steps);
        let is_of_all = |at: usize| match &steps[at] {
            Step::Line { .. } => true,
            Step::Settle { to } => came_from(steps, at, to).is_some(),
            _ => false,
        };
        let is_under_way = (0..steps.len())
            .any(|at| is_of_all(at) && self.journal.has_begun(at) && !self.journal.is_done(at));
        is_under_way || self.goes_on.get()
    }

    /// Takes the turn for `member`, when no other run has it.
    ///
    /// # Errors
    /// Another has it for too long, or the cluster does not answer.
    pub(super) async fn take_turn(&self, member: &str) -> Result<(), Deviation> {
        let limit = match self.only_here || self.drives_all() {
            true => self.patience,
            false => self.others,
        };
        self.wait_for_turn(member, limit, Attempt::Again).await
    }

    /// Waits for the turn for `what`, and does what `failed` says where no member gives it.
    async fn wait_for_turn(
        &self,
        what: &str,
        limit: Duration,
        failed: impl Fn(Deviation) -> Attempt<(), Deviation>,
    ) -> Result<(), Deviation> {
        // Longer than a stop, a start and the look afterwards may take.
        let seconds = self.patience.as_secs().saturating_mul(3) + 300;
        let run = self.journal.id();
        let value = format!("{what} {run}");
        let deadline = self.cluster.now() + limit;
        let mut was_said = false;
        poll::until(self.cluster, deadline, async || {
            let holder = match self.lock_at_any(what, &value, run, seconds).await {
                Ok(Lock::Ours { was_held }) => {
                    self.is_turn_new.set(self.is_turn_new.get() || !was_held);
                    return Attempt::Done(());
                }
                Ok(Lock::Of(holder)) => holder,
                Err(why) => return failed(why),
            };
            let whose = match holder.split(' ').next().unwrap_or_default() {
                FINDING => "its plan",
                whose => whose,
            };
            if !was_said && !whose.is_empty() {
                was_said = true;
                (self.say)(&format!("        waiting: another run is at work on {whose}"));
            }
            Attempt::Again(Deviation::Seen(format!(
                "it is the turn of {whose}: another run has not finished with it; finish it there first. \
                 Where there is none any more, its lease ends in at most {seconds} s, or: etcdctl del pintle-upgrade/turn"
            )))
        })
        .await
    }

    /// Asks the members one after the other, `member` last: it may be about to stop.
    async fn lock_at_any(
        &self,
        member: &str,
        value: &str,
        run: &str,
        seconds: u64,
    ) -> Result<Lock, Deviation> {
        let mut endpoints = self.endpoints();
        let is_silent = |name: &str| self.awaited.borrow().is_silent(name);
        endpoints.sort_by_key(|(name, _)| (is_silent(name), name == member));
        let mut last = Deviation::from("there are no members");
        for (name, endpoint) in endpoints {
            match self.cluster.lock(&endpoint, value, run, seconds).await {
                Ok(lock) => return Ok(lock),
                Err(e) => last = Deviation::from(e).at(&format!("{name}: the lock in the cluster")),
            }
        }
        Err(last)
    }

    /// Hands the turn on, where others wait for it between two members.
    pub(super) async fn give_turn_back(&self) {
        if !self.drives_all() {
            self.end_turn().await;
        }
    }

    /// Gives the turn back. Where that fails the lease ends it.
    pub(crate) async fn end_turn(&self) {
        for (name, endpoint) in self.endpoints() {
            if self.awaited.borrow().is_given_up(&name) {
                continue;
            }
            if self
                .cluster
                .unlock(&endpoint, self.journal.id())
                .await
                .is_ok()
            {
                return;
            }
        }
    }
}
