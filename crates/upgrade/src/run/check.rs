//! The step that checks the way to the next release.

use std::time::Duration;

use semver::Version;

use super::{
    cluster::Cluster,
    deviation::Deviation,
    driver::Driver,
    engine::Engine,
    poll::{self, Attempt},
    settling::Settling,
};
use crate::{
    checks::{self, Finding, Given, Level},
    hops::{Hop, How},
    target::Target,
};

/// Whether a check may pass a moment later: an election ends, a member catches up, a
/// stream of a database that broke off is begun again.
fn may_pass(finding: &Finding) -> bool {
    matches!(finding.check, "P1" | "P18")
}

impl<D: Driver, C: Cluster> Engine<'_, D, C> {
    pub(super) async fn check(&mut self, to: &Version, line: bool) -> Result<String, Deviation> {
        let endpoints = self.endpoints();
        let before = self.sees(&endpoints, self.patience, |_| Ok(())).await?;
        self.baseline.get_or_insert(before.latency);
        let how = if line { How::Line } else { How::Etcd };
        let target = Hop {
            to: to.clone(),
            how,
        }
        .target();
        let deadline = self.cluster.now() + self.patience;
        let mut wait = Settling::until(deadline);
        let found = poll::until(self.cluster, deadline, async || {
            let blocks = match self.blocks(&target, line, deadline).await {
                Ok(blocks) => blocks,
                Err(why) => return Attempt::Never(Err(why)),
            };
            match blocks.iter().find(|finding| may_pass(finding)) {
                Some(finding) => {
                    let what = format!("{} {}", finding.member, finding.seen);
                    self.say_waiting(what.trim_start(), &mut wait);
                    Attempt::Again(Ok(blocks))
                }
                None => Attempt::Done(blocks),
            }
        });
        // What has not passed blocks.
        let blocks = found.await.or_else(|last| last)?;
        // The flags of now are not those of the next start: a manifest is edited, and
        // commands are told the release.
        let (flags, others): (Vec<_>, Vec<_>) = blocks.iter().partition(|f| f.check == "P12");
        if !line && !self.driver.edits_flags() {
            for finding in flags {
                (self.say)(&format!(
                    "        see that the start command has other flags: {} {}; {}",
                    finding.member, finding.seen, finding.fix
                ));
            }
        }
        let block = others.first();
        if let Some(finding) = block {
            return Err(format!(
                "{} {} {}; {}",
                finding.check, finding.member, finding.seen, finding.fix
            )
            .into());
        }
        Ok(format!(
            "nothing blocks; leader {}, reads take {:.1} ms",
            before.leader,
            before.latency.as_secs_f64() * 1e3
        ))
    }

    /// What blocks the way to `target`, by the databases of all members.
    pub(super) async fn blocks(
        &self,
        target: &Target,
        no_restarts: bool,
        deadline: Duration,
    ) -> Result<Vec<Finding>, Deviation> {
        let mut members = Vec::new();
        for (name, endpoint) in &self.endpoints() {
            // Another node may be restarting its member just now.
            let mut facts = poll::until(self.cluster, deadline, async || {
                Attempt::from(self.cluster.everything(endpoint).await.told())
            })
            .await?;
            facts.label.clone_from(name);
            members.push(facts);
        }
        self.cluster.moments(&mut members).await;
        let given = Given {
            now: checks::now(),
            no_restarts,
            ..Given::default()
        };
        let mut findings = checks::run(target.clone(), members, &given).findings;
        findings.retain(|finding| finding.level == Level::Block);
        Ok(findings)
    }
}
