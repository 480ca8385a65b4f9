//! Whether the members run what the journal accounts for. Another run, or a person, may have been
//! at work since this command looked, while it waited for its turn, or between two commands. What
//! was found before is never acted on: it is brought up to date before the first step, compared
//! before every stop, and compared for every member at the end.

use semver::Version;

use super::{
    cluster::Cluster,
    deviation::Deviation,
    driver::{Driver, Launch},
    engine::Engine,
    journal::Event,
    safety::Heading,
};
use crate::{failure::Outcome, steps::Step};

/// What one step makes of a member, and its place in the plan: a swap of its binary, or a change
/// of the line of all.
struct Swap<'a> {
    at: usize,
    from: &'a Version,
    to: &'a Version,
}

/// The swaps of `member` that its answers can tell, and the changes of its line.
fn swaps<'a>(steps: &'a [Step], member: &str) -> Vec<Swap<'a>> {
    let of_member = |(at, step): (usize, &'a Step)| match step {
        Step::Swap {
            member: m,
            from,
            to,
            ..
        } if m == member && from != to => Some(Swap { at, from, to }),
        Step::Line { from, to } => Some(Swap { at, from, to }),
        _ => None,
    };
    steps.iter().enumerate().filter_map(of_member).collect()
}

/// What all members ran, by steps that were found and not planned: one release.
fn found_from(steps: &[Step]) -> Option<(&Version, bool)> {
    steps.iter().find_map(|step| match step {
        Step::Swap {
            from, from_pintle, ..
        } => Some((from, *from_pintle)),
        Step::Line { from, .. } => Some((from, true)),
        _ => None,
    })
}

impl<D: Driver, C: Cluster> Engine<'_, D, C> {
    /// Brings the journal up to date with what the members run, before the first step: who was
    /// taken back since is taken forward once more, who was taken forward goes back too.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(super) async fn take_stock(&mut self, heading: Heading) -> Outcome<()> {
        let releases = self.view().await.releases;
        let Some((steps, _)) = self.journal.plan() else {
            return Ok(());
        };
        let steps = steps.to_vec();
        let is_about_all = self.is_about_all(&steps);
        for (member, runs) in &releases {
            match heading {
                Heading::Forward => self.do_again(&steps, member, runs)?,
                Heading::Back if is_about_all && self.manages_member(member) => {
                    self.undo_too(&steps, member, runs)?;
                }
                // Taken back by a rollback on its own node, or not at all.
                Heading::Back => {}
            }
        }
        match heading {
            Heading::Back if self.journal.is_found() => self.find_more(&steps, &releases),
            _ => Ok(()),
        }
    }

    /// Whether a rollback of this journal is about the cluster as a whole: it has brought a member
    /// or the line forward, or `rollback --to` named what all are to run. One that has only looked
    /// takes back nothing that others did.
    fn is_about_all(&self, steps: &[Step]) -> bool {
        let moves = |step: &Step| matches!(step, Step::Swap { .. } | Step::Line { .. });
        let mut steps = steps.iter().enumerate();
        self.journal.is_found() || steps.any(|(at, s)| moves(s) && self.journal.has_begun(at))
    }

    /// Whether this journal has ever moved a member or the line, also what was taken back since.
    pub(super) fn has_moved(&self) -> bool {
        let moves = |step: &Step| matches!(step, Step::Swap { .. } | Step::Line { .. });
        let begun = self.journal.ever_begun();
        self.journal.is_found() || begun.iter().any(|(steps, at)| moves(&steps[*at]))
    }

    /// Swaps that are done by the journal, and not by what the member runs.
    fn do_again(&mut self, steps: &[Step], member: &str, runs: &Version) -> Outcome<()> {
        let swaps = swaps(steps, member);
        let done = swaps.iter().filter(|swap| self.journal.is_done(swap.at));
        let lost: Vec<usize> = done
            .rev()
            .take_while(|swap| swap.to != runs)
            .map(|swap| swap.at)
            .collect();
        let Some(first) = lost.last().copied() else {
            return Ok(());
        };
        // One that is neither is ahead, or the journal knows nothing of it.
        if !swaps
            .iter()
            .any(|swap| swap.at == first && swap.from == runs)
        {
            return Ok(());
        }
        (self.say)(&format!(
            "{member} runs {runs} again: it is taken forward once more"
        ));
        // What the whole cluster was seen to have come to is to be seen once more.
        let is_seen = |step: &Step| matches!(step, Step::Settle { .. } | Step::Heal { .. });
        let seen = (first..steps.len()).filter(|at| is_seen(&steps[*at]));
        let again = lost.into_iter().chain(seen);
        let again: Vec<usize> = again.filter(|at| self.journal.is_done(*at)).collect();
        for at in again {
            self.journal.write(Event::Undone { at })?;
        }
        Ok(())
    }

    /// Swaps that have not begun by the journal, and are done by what the member runs.
    fn undo_too(&mut self, steps: &[Step], member: &str, runs: &Version) -> Outcome<()> {
        let swaps = swaps(steps, member);
        let Some(last) = swaps.iter().rposition(|swap| swap.to == runs) else {
            return Ok(());
        };
        let is_new = |swap: &&Swap<'_>| !self.journal.has_begun(swap.at);
        let more: Vec<usize> = swaps[..=last].iter().filter(is_new).map(|s| s.at).collect();
        if more.is_empty() {
            return Ok(());
        }
        (self.say)(&format!(
            "{member} runs {runs}, and not by this journal: it is taken back too"
        ));
        for at in more {
            let note = format!("found: {runs}");
            self.journal.write(Event::Begin { at })?;
            self.journal.write(Event::Done { at, note })?;
        }
        Ok(())
    }

    /// Members that a rollback did not find above the release that all ran, and that are now.
    fn find_more(&mut self, steps: &[Step], releases: &[(String, Version)]) -> Outcome<()> {
        let Some((from, from_pintle)) = found_from(steps) else {
            return Ok(());
        };
        let is_new = |(member, runs): &&(String, Version)| {
            runs > from && swaps(steps, member).is_empty() && self.manages_member(member)
        };
        let more: Vec<Step> = releases
            .iter()
            .filter(is_new)
            .map(|(member, runs)| Step::Swap {
                member: member.clone(),
                from: from.clone(),
                from_pintle,
                to: runs.clone(),
                pintle: false,
            })
            .collect();
        if more.is_empty() {
            return Ok(());
        }
        for step in &more {
            if let Step::Swap { member, to, .. } = step {
                (self.say)(&format!("{member} runs {to} now: it is taken back too"));
            }
        }
        let left = steps.iter().enumerate();
        let left = left.filter(|(at, _)| self.journal.has_begun(*at));
        let cluster = self.journal.plan().map_or("", |(_, id)| id).to_owned();
        let left = left.map(|(_, step)| step.clone());
        let steps = more.into_iter().chain(left).collect();
        self.adopt(steps, cluster)
    }

    fn manages_member(&self, member: &str) -> bool {
        self.of(member).is_ok() && self.driver.manages(member)
    }

    /// Compares what the members run with what this command has found and done. `releases` are
    /// those of members that answer.
    ///
    /// # Errors
    /// One runs something else.
    pub(super) fn is_as_found(
        &self,
        releases: &[(String, Version)],
        heading: Heading,
    ) -> Result<(), Deviation> {
        let steps = self.journal.plan().map_or(&[][..], |(steps, _)| steps);
        for (member, runs) in releases.iter().filter(|(m, _)| self.manages_member(m)) {
            let wanted = self.accounted(steps, member, heading);
            if let Some(wanted) = wanted.first().filter(|_| !wanted.contains(&runs)) {
                return Err(Deviation::Seen(format!(
                    "{member} runs {runs}, and should run {wanted}: another run has been at work since this one looked; the same command looks anew"
                )));
            }
        }
        Ok(())
    }

    /// What `member` may run by the journal; empty where that is anything.
    fn accounted<'s>(&self, steps: &'s [Step], member: &str, heading: Heading) -> Vec<&'s Version> {
        let swaps = swaps(steps, member);
        let Some(first) = swaps.first() else {
            let is_known = heading == Heading::Back && self.journal.is_found();
            let from = found_from(steps).filter(|_| is_known);
            return from.map(|(from, _)| from).into_iter().collect();
        };
        match heading {
            // One that is ahead of its step was taken there by another run, to the same end.
            Heading::Forward => {
                let done = swaps.iter().rposition(|swap| self.journal.is_done(swap.at));
                let ahead = done.map(|done| swaps[done..].iter().map(|swap| swap.to).collect());
                ahead.unwrap_or_default()
            }
            Heading::Back => {
                let begun = swaps.iter().filter(|s| self.journal.has_begun(s.at));
                let begun: Vec<&Version> = begun.flat_map(|s| [s.from, s.to]).collect();
                match begun.is_empty() {
                    true => vec![first.from],
                    false => begun,
                }
            }
        }
    }

    /// Members that this way back left alone, and that run another release than those that it
    /// took back: they ran it before.
    pub(super) fn left_alone(&self, steps: &[Step], releases: &[(String, Version)]) -> Vec<String> {
        let Some((from, _)) = found_from(steps) else {
            return Vec::new();
        };
        let others = releases.iter().filter(|(member, runs)| {
            swaps(steps, member).is_empty() && runs != from && self.manages_member(member)
        });
        others
            .map(|(member, runs)| format!("{member} runs {runs}, as it did before this run"))
            .collect()
    }

    /// What `member` ran before the steps, if it is known.
    pub(super) fn before(&self, steps: &[Step], member: &str) -> Option<Launch> {
        let own = steps.iter().find_map(|step| step.before(member));
        let found = found_from(steps).filter(|_| self.journal.is_found());
        let (version, pintle) = own.or(found)?;
        Some(Launch::back(version, pintle))
    }
}
