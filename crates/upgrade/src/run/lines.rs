//! The step in which members that run Pintle change their line: asked of one of them, done by all,
//! watched here. No process is stopped, and whoever asked may go away: the members finish it, or
//! take it back, by themselves. So an interrupted step is looked at, and asked for once more.

use std::time::Duration;

use client::{has_line, has_stopped_short};
use proto::pintlepb::{Finding, MemberLine, ShowResponse};
use semver::Version;

use super::{
    cluster::Cluster,
    deviation::Deviation,
    driver::Driver,
    engine::Engine,
    look,
    poll::{self, Attempt},
    safety::Refusal,
    settling::Settling,
};
use crate::hops::line_of;

/// The turn in the cluster is that of the line, and of no member.
const TURN: &str = "line";
/// How long after the last member has forgotten a change the cluster may take to show its end.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// Whether what was found may pass: a member is starting, an election or a downgrade ends.
fn may_pass(finding: &Finding) -> bool {
    matches!(finding.kind.as_str(), "undecided" | "down" | "downgrade")
}

/// What keeps a cluster from a line, in the members' own words.
pub(super) fn refusal(line: &str, findings: &[Finding]) -> Option<Refusal> {
    let said = findings.iter().map(|finding| match finding.name.as_str() {
        "" => finding.text.clone(),
        name => format!("{name} {}", finding.text),
    });
    let said: Vec<String> = said.collect();
    (!said.is_empty()).then(|| Refusal::Line {
        line: line.to_owned(),
        findings: said.join("; "),
    })
}

/// How far the members are, for a person.
fn progress(state: &ShowResponse, line: &str) -> String {
    let members = state.members.iter().filter(|m| !m.pintle.is_empty());
    let speaks = |m: &&MemberLine| m.release.starts_with(&format!("{line}."));
    let (there, all) = (members.clone().filter(speaks).count(), members.count());
    let version = Version::parse(&state.cluster_version);
    let version = version.map_or_else(|_| "not known".into(), |version| line_of(&version));
    let silent = state.members.iter().filter(|m| !m.answers);
    let silent: Vec<&str> = silent.map(|m| m.name.as_str()).collect();
    let silent = match silent.is_empty() {
        true => String::new(),
        false => format!("; {} does not answer", silent.join(", ")),
    };
    format!("{there} of {all} members at line {line}, cluster version {version}{silent}")
}

/// What the members say of their lines, and of the way to `target` if one is named: whoever
/// answers first speaks for all.
///
/// # Errors
/// None that runs Pintle answers; the last reason.
async fn shown(
    cluster: &impl Cluster,
    endpoints: &[(String, String)],
    target: &str,
) -> Result<(String, ShowResponse), Deviation> {
    let mut last = Deviation::from("there are no members");
    for (name, endpoint) in endpoints {
        match cluster.lines(endpoint, target).await {
            Ok(state) => return Ok((endpoint.clone(), state)),
            Err(why) => last = Deviation::from(why).at(&format!("{name}: its line")),
        }
    }
    Err(last)
}

/// What keeps the cluster from the line of `to` as it is now. Where no member can be asked, that.
pub(super) async fn kept_from(
    cluster: &impl Cluster,
    endpoints: &[(String, String)],
    to: &Version,
) -> Option<Refusal> {
    let line = line_of(to);
    match shown(cluster, endpoints, &line).await {
        Ok((_, state)) if has_line(&state, &line) => None,
        Ok((_, state)) => refusal(&line, &state.findings),
        Err(why) => Some(Refusal::Line {
            line,
            findings: why.to_string(),
        }),
    }
}

impl<D: Driver, C: Cluster> Engine<'_, D, C> {
    /// Brings all members to the line of `to`, and looks at what came of it.
    ///
    /// # Errors
    /// The members refuse, do not get there, or something is not as it should be then.
    pub(super) async fn set_line(&mut self, to: &Version) -> Result<String, Deviation> {
        let endpoints = self.endpoints();
        let before = self.sees(&endpoints, self.patience, |_| Ok(())).await?;
        self.take_turn(TURN).await?;
        self.goes_on.set(true);
        self.go_to_line(to).await?;
        let seen = self
            .sees(&endpoints, self.patience, |seen| is_at_line(seen, to))
            .await
            .map_err(|why| why.at(&format!("at line {}", line_of(to))))?;
        self.goes_on.set(false);
        seen.has_members_of(&before)?;
        self.give_turn_back().await;
        Ok(format!(
            "line {} everywhere, storage too, hashes equal; leader {}, reads take {:.1} ms",
            line_of(to),
            seen.leader,
            seen.latency.as_secs_f64() * 1e3
        ))
    }

    /// Has the members change their line, and waits until all have.
    async fn go_to_line(&self, to: &Version) -> Result<(), Deviation> {
        let line = line_of(to);
        let deadline = self.cluster.now() + self.patience;
        let mut wait = Settling::until(deadline);
        let is_there = poll::until(self.cluster, deadline, async || {
            self.ask_for_line(&line, &mut wait).await
        });
        if !is_there.await? {
            self.arrives(&line).await?;
        }
        Ok(())
    }

    /// Asks for the change, if it is not made yet: whether it is. Asked once more, one that is
    /// under way is brought on.
    async fn ask_for_line(&self, line: &str, wait: &mut Settling) -> Attempt<bool, Deviation> {
        let endpoints = self.endpoints();
        let (endpoint, mut findings) = match shown(self.cluster, &endpoints, line).await {
            Ok((_, state)) if has_line(&state, line) => return Attempt::Done(true),
            Ok((endpoint, state)) => (endpoint, state.findings),
            Err(why) => return Attempt::Again(why),
        };
        if findings.is_empty() {
            findings = match self.cluster.set_line(&endpoint, line).await {
                Ok(findings) => findings,
                // The members may be on their way all the same: the next look says so.
                Err(why) => return Attempt::Again(why.into()),
            };
        }
        let Some(refusal) = refusal(line, &findings) else {
            return Attempt::Done(false);
        };
        match findings.iter().all(may_pass) {
            true => {
                self.say_waiting(&refusal.to_string(), wait);
                Attempt::Again(refusal.into())
            }
            false => Attempt::Never(refusal.into()),
        }
    }

    /// Waits until all members have the line, and says how far they are.
    async fn arrives(&self, line: &str) -> Result<(), Deviation> {
        let endpoints = self.endpoints();
        let deadline = self.cluster.now() + self.patience;
        let mut wait = Settling::until(deadline);
        let mut rests_since = None;
        poll::until(self.cluster, deadline, async || {
            let state = match shown(self.cluster, &endpoints, "").await {
                Ok((_, state)) => state,
                Err(why) => return Attempt::Again(why),
            };
            if has_line(&state, line) {
                return Attempt::Done(());
            }
            let how_far = progress(&state, line);
            self.say_waiting(&how_far, &mut wait);
            let now = self.cluster.now();
            if has_stopped_short(&state, line) {
                if now - *rests_since.get_or_insert(now) >= ENDS_WITHIN {
                    return Attempt::Never(Deviation::Seen(format!(
                        "the members have taken the change back: {how_far}"
                    )));
                }
            } else {
                rests_since = None;
            }
            Attempt::Again(Deviation::Seen(format!(
                "the members are not at line {line} yet, and go on by themselves: {how_far}"
            )))
        })
        .await
    }

    /// Takes the line back to that of `from`. A member that does not answer was started before.
    ///
    /// # Errors
    /// As [`Engine::set_line`].
    pub(super) async fn undo_line(&mut self, from: &Version) -> Result<(), Deviation> {
        let line = line_of(from);
        let endpoints = self.endpoints();
        if let Ok((_, state)) = shown(self.cluster, &endpoints, "").await
            && has_line(&state, &line)
        {
            return Ok(());
        }
        if let Some(silent) = self.first_silent().await? {
            return Err(format!(
                "{silent} does not answer, and all members change their line together; start it, and try again"
            )
            .into());
        }
        (self.say)(&format!("take the line back to {line}, no member restarts"));
        let note = self.set_line(from).await?;
        (self.say)(&format!("        {note}"));
        Ok(())
    }
}

/// Whether all members answer `to`, and the cluster version is there.
fn is_at_line(seen: &look::Seen, to: &Version) -> Result<(), Deviation> {
    let other = seen.versions.iter().find(|(_, version)| version != to);
    if let Some((name, version)) = other {
        return Err(format!("{name} runs {version}, not {to}").into());
    }
    match (&seen.cluster, &seen.downgrade) {
        (_, Some(to)) => Err(Refusal::Downgrade { to: to.clone() }.into()),
        (Some(cluster), None) if cluster.minor == to.minor => Ok(()),
        (Some(cluster), None) => {
            Err(format!("the cluster version is still {}", line_of(cluster)).into())
        }
        (None, None) => Err("no member reports the cluster version".into()),
    }
}
