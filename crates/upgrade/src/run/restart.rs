//! Restarts on the same release: for a snapshot, and for records in the databases.

use std::{collections::BTreeSet, time::Duration};

use semver::Version;

use super::{
    cluster::Cluster,
    deviation::Deviation,
    driver::{Driver, Launch},
    engine::{Engine, Pause},
    look,
    poll::{self, Attempt},
    safety::Purpose,
};
use crate::plan;

/// With this flag a member writes a snapshot after a few keys.
pub(super) const SNAPSHOT_AT_ONCE: &str = "--snapshot-count=1";
/// The snapshot is written beside the requests.
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(1);

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
            look::until(self.cluster, &others, self.patience, |_| Ok(())).await?;
        }
        self.exchange(member, launch, Purpose::Again, false).await?;
        let endpoints = self.endpoints();
        let seen = look::until(self.cluster, &endpoints, self.patience, |_| Ok(())).await?;
        self.give_turn_back().await;
        Ok(format!("restarted; leader {}", seen.leader))
    }

    /// Enough entries for a snapshot to become due.
    pub(super) async fn write_keys(&self, member: &str) -> Result<(), Deviation> {
        let managed = self.of(member)?;
        let deadline = self.cluster.now() + self.patience;
        // Written twice they are no more than once.
        poll::until(self.cluster, deadline, async || {
            Attempt::from(self.cluster.write(&managed.endpoint).await)
        })
        .await?;
        self.cluster.sleep(SNAPSHOT_WITHIN).await;
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
        for (member, endpoint) in self.endpoints() {
            if self.driver.manages(&member) && !self.has(&member, &endpoint, &launch).await {
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
