//! The step that checks the way to the next release.

use std::time::Duration;

use semver::Version;

use super::{cluster::Cluster, driver::Driver, engine::Engine, look, settling::Settling};
use crate::{
    checks::{self, Finding, Given, Level},
    target::Target,
};

/// Whether a check may pass a moment later: an election ends, a member catches up, a
/// stream of a database that broke off is begun again.
fn may_pass(finding: &Finding) -> bool {
    matches!(finding.check, "P1" | "P18")
}

const POLL: Duration = Duration::from_millis(300);

impl<D: Driver, C: Cluster> Engine<'_, D, C> {
    pub(super) async fn check(&mut self, to: &Version) -> Result<String, String> {
        let endpoints = self.endpoints();
        let before = look::until(self.cluster, &endpoints, self.patience, |_| Ok(())).await?;
        self.baseline.get_or_insert(before.latency);
        let target = Target::parse(&to.to_string())?;
        let deadline = self.cluster.now() + self.patience;
        let mut wait = Settling::until(deadline);
        let blocks = loop {
            let blocks = self.blocks(&target, deadline).await?;
            match blocks.iter().find(|finding| may_pass(finding)) {
                Some(finding) if self.cluster.now() < deadline => {
                    let what = format!("{} {}", finding.member, finding.seen);
                    self.say_waiting(what.trim_start(), &mut wait);
                    self.cluster.sleep(POLL).await;
                }
                _ => break blocks,
            }
        };
        // The flags of now are not those of the next start: a manifest is edited, and
        // commands are told the release.
        let (flags, others): (Vec<_>, Vec<_>) = blocks.iter().partition(|f| f.check == "P12");
        if !self.driver.edits_flags() {
            for finding in flags {
                (self.say)(&format!(
                    "        see that the start command gives other flags: {} {}; {}",
                    finding.member, finding.seen, finding.fix
                ));
            }
        }
        let block = others.first();
        if let Some(finding) = block {
            return Err(format!(
                "{} {} {}; {}",
                finding.check, finding.member, finding.seen, finding.fix
            ));
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
        deadline: Duration,
    ) -> Result<Vec<Finding>, String> {
        let mut members = Vec::new();
        for (name, endpoint) in &self.endpoints() {
            // Another node may be restarting its member just now.
            let mut facts = loop {
                match self.cluster.everything(endpoint).await.told() {
                    Ok(facts) => break facts,
                    Err(_) if self.cluster.now() < deadline => self.cluster.sleep(POLL).await,
                    Err(why) => return Err(why),
                }
            };
            facts.label.clone_from(name);
            members.push(facts);
        }
        self.cluster.moments(&mut members).await;
        let given = Given {
            now: checks::now(),
            ..Given::default()
        };
        let mut findings = checks::run(target.clone(), members, &given).findings;
        findings.retain(|finding| finding.level == Level::Block);
        Ok(findings)
    }
}
