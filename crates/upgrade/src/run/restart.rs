//! Restarts on the same release: for a snapshot, and for records in the databases.

use std::collections::BTreeSet;

use semver::Version;

use super::{
    cluster::Cluster,
    deviation::Deviation,
    driver::{Driver, Launch},
    engine::{Engine, Pause},
    poll::{self, Attempt},
    safety::Purpose,
};
use crate::{
    plan,
    steps::{FLUSH_ENTRIES, FLUSH_FLAG},
};

/// Entries that are proposed at once: the log takes a batch of them with one sync.
const BATCH: usize = 100;

impl<D: Driver, C: Cluster> Engine<'_, D, C> {
    /// Restarts a member on the release that it runs.
    pub(super) async fn restart(
        &mut self,
        member: &str,
        launch: &Launch,
    ) -> Result<String, Deviation> {
        let mut others = self.endpoints();
        others.retain(|(name, _)| name != member);
        if !others.is_empty() {
            // Those that stay must carry the cluster.
            self.sees(&others, self.patience, |_| Ok(())).await?;
        }
        self.exchange(member, launch, Purpose::Again, false).await?;
        let endpoints = self.endpoints();
        let seen = self.sees(&endpoints, self.patience, |_| Ok(())).await?;
        self.give_turn_back().await;
        Ok(format!("restarted; leader {}", seen.leader))
    }

    /// Has a member write a snapshot that is behind nothing which was in its log before.
    pub(super) async fn flush(
        &mut self,
        member: &str,
        version: &Version,
    ) -> Result<String, Deviation> {
        let mut once = Launch::of(version, false);
        once.flags.push(FLUSH_FLAG);
        self.restart(member, &once).await?;
        let outcome = match self.make_entries(member).await {
            Ok(()) => self.restart(member, &Launch::of(version, false)).await,
            Err(why) => Err(why),
        };
        outcome.map_err(|why| {
            Deviation::Seen(format!(
                "{why}; {member} may run with {FLUSH_FLAG} now: the same command, or a rollback, restarts it with its own flags"
            ))
        })
    }

    /// Enough entries for a snapshot to become due, and one batch more: 3.6 writes the
    /// snapshot between two batches that it applies, so it is on disk before those are
    /// answered.
    async fn make_entries(&self, member: &str) -> Result<(), Deviation> {
        let managed = self.of(member)?;
        let deadline = self.cluster.now() + self.patience;
        for _ in 0..FLUSH_ENTRIES / BATCH as u64 + 2 {
            // Made twice they are no more than once.
            poll::until(self.cluster, deadline, async || {
                Attempt::from(self.cluster.make_entries(&managed.endpoint, BATCH).await)
            })
            .await?;
        }
        Ok(())
    }

    /// Members whose record is stale in some database, by name. Another node may be
    /// restarting its member just now: one that does not answer is asked again.
    pub(super) async fn stale(&self) -> Result<BTreeSet<String>, Deviation> {
        let deadline = self.cluster.now() + self.patience;
        poll::until(self.cluster, deadline, async || {
            Attempt::from(self.stale_now().await)
        })
        .await
    }

    pub(super) async fn stale_now(&self) -> Result<BTreeSet<String>, Deviation> {
        let mut all = Vec::new();
        for (_, endpoint) in self.endpoints() {
            let facts = self.cluster.everything(&endpoint).await.told()?;
            if facts.database.is_none() {
                return Err(facts.unread.join("; ").into());
            }
            all.push(facts);
        }
        Ok(plan::stale(&all))
    }

    pub(super) async fn heal(&mut self, version: &Version) -> Result<String, Pause> {
        // One that an interrupted attempt has stopped comes back first.
        let launch = Launch::of(version, false);
        for (member, _) in self.endpoints() {
            if self.driver.manages(&member) && !self.has(&member, &launch).await {
                self.restart(&member, &launch).await?;
            }
        }
        let stale = self.stale().await?;
        // One after the other, also where runs on several nodes do it.
        for member in &stale {
            let here = self.driver.manages(member);
            if here {
                self.restart(member, &launch).await?;
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
            let deadline = self.cluster.now() + limit;
            poll::until(self.cluster, deadline, async || match self.stale().await {
                Ok(stale) if stale.contains(member) => Attempt::Again(Deviation::Seen(format!(
                    "the record of {member} is still stale"
                ))),
                Ok(_) => Attempt::Done(()),
                Err(why) => Attempt::Never(why),
            })
            .await?;
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
}
