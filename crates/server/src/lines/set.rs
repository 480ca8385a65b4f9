//! A change of the line, from the question to its begin. All members are ready, or none has
//! changed anything: whoever is asked looks at all of them first.

use std::rc::Rc;

use line::{Change, Line, change::leads_to};
use proto::pintlepb::{Finding, LineOrder, MemberLine, line_order::Action};
use semver::Version;

use super::{
    findings::{of_cluster, of_member},
    judge::judge,
    survey::{self, Survey},
};
use crate::{api::downgrade, runtime::Runtime, status::Status};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// A downgrade under way is given up first.
    pub cancels: bool,
    /// The change that the members are to make; `None` if they are to give one up.
    pub change: Option<Change>,
    /// The downgrade is yet to begin.
    pub enables: bool,
}

impl Plan {
    /// The way of a cluster to `target`, from which nothing keeps it.
    pub fn of(survey: &Survey, target: Line) -> Option<Plan> {
        let line = Line::of(survey.version.as_ref()?)?;
        let downgrade = survey.target_of_downgrade();
        let finishes = downgrade == Some(target);
        let from = match finishes && line == target {
            // Lowered already; the members are to follow.
            true => Line::ALL.into_iter().find(|above| *above > target)?,
            false => line,
        };
        Some(Plan {
            cancels: downgrade.is_some() && !finishes,
            change: (from != target).then_some(Change { from, to: target }),
            enables: target < line && !finishes,
        })
    }
}

/// An order to a member.
pub fn order(action: Action, change: Option<Change>) -> LineOrder {
    let word = |line: fn(Change) -> Line| change.map_or_else(String::new, |c| line(c).to_string());
    LineOrder {
        action: action as i32,
        target: word(|change| change.to),
        from: word(|change| change.from),
        ..LineOrder::default()
    }
}

/// What each member says of itself, and what keeps the cluster from `target`.
pub async fn show(rt: &Rc<Runtime>, target: Option<Line>) -> Survey {
    let question = LineOrder {
        target: target.map_or_else(String::new, |line| line.to_string()),
        ..order(Action::Ask, None)
    };
    let mut survey = survey::all(rt, &question).await;
    if let Some(target) = target {
        let mut findings = judge(&survey, target);
        findings.append(&mut survey.findings);
        survey.findings = findings;
    }
    survey
}

/// Begins the change to `target`, or says what keeps the cluster from it. What is half done is
/// finished, or taken back.
///
/// # Errors
/// The downgrade cannot begin, or end. The members give the change up by themselves, unless the
/// downgrade begins after all.
pub async fn set(rt: &Rc<Runtime>, target: Line) -> Result<Vec<Finding>, Status> {
    let _alone = rt.core.line_kept.setting.lock().await;
    if let Err(error) = rt.linearizable().await {
        return Ok(vec![of_cluster(
            "quorum",
            format!("no quorum of the members answers ({error}): start those that are down first"),
        )]);
    }
    let survey = show(rt, None).await;
    let mut found = judge(&survey, target);
    let Some(plan) = Plan::of(&survey, target).filter(|_| found.is_empty()) else {
        return Ok(found);
    };
    if plan.change.is_some() {
        let prepared = survey::all(rt, &order(Action::Prepare, plan.change)).await;
        found = lost(&survey, &prepared);
        found.extend(prepared.findings);
    }
    if !found.is_empty() {
        return Ok(found);
    }
    if plan.cancels {
        downgrade::cancel(rt).await?;
    }
    if plan.change.is_none() {
        return Ok(all_give_up(rt, None).await);
    }
    let begun = survey::all(rt, &order(Action::Begin, plan.change)).await;
    found = lost(&survey, &begun);
    found.extend(begun.findings);
    if !found.is_empty() {
        all_give_up(rt, plan.change).await;
        return Ok(found);
    }
    if plan.enables
        && let Err(error) = downgrade::enable(rt, target).await
    {
        // Another one may have begun it, or this one's entry be committed late: the members are on
        // their way then, and whoever gave up now would be left behind. If not, they see it.
        rt.linearizable().await?;
        let cluster = rt.core.state.cluster.load();
        if !is_on_its_way(cluster.version(), cluster.downgrade(), target) {
            return Err(error);
        }
    }
    Ok(Vec::new())
}

/// Whether the cluster is lowered to a line, or is to be.
pub fn is_on_its_way(version: Option<&Version>, downgrade: Option<&str>, target: Line) -> bool {
    version.and_then(Line::of) == Some(target) || leads_to(downgrade, target)
}

/// The members that answered before, and now do not, or not as Pintle: what they would say against
/// a change is not known, nor whether they are in it.
pub fn lost(before: &Survey, after: &Survey) -> Vec<Finding> {
    let was_pintle = |id| {
        let mut before = before.members.iter();
        before.any(|member| member.id == id && !member.pintle.is_empty())
    };
    let is_lost =
        |member: &&MemberLine| !member.answers || member.pintle.is_empty() && was_pintle(member.id);
    let lost = after.members.iter().filter(is_lost);
    lost.map(|member| {
        of_member(
            member,
            "down",
            "does not answer any more: see that it runs, and try again",
        )
    })
    .collect()
}

/// Has all members forget a change, or whichever they are in.
async fn all_give_up(rt: &Rc<Runtime>, change: Option<Change>) -> Vec<Finding> {
    let given_up = survey::all(rt, &order(Action::GiveUp, change)).await;
    given_up.findings
}
