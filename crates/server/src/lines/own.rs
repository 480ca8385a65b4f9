//! What this member answers when it is asked for its line, and what it does when it is told.

use std::{rc::Rc, time::Duration};

use line::{Change, Choice, Feature, Kept, Line};
use member::{Command, Outcome, apply::Look, open};
use membership::{Disagreement, disagreement, v3store};
use proto::{
    etcdserverpb::AlarmType,
    pintlepb::{Finding, LineAnswer, LineOrder, MemberLine, line_order::Action},
};
use tokio::time::{Instant, sleep};

use super::findings::of_cluster;
use crate::{
    runtime::{Runtime, blocking},
    status::{Code, Status, errors},
    submit::mixed_up,
    version::PINTLE,
};

/// How long the machine, or a snapshot, may take. Members wait a little longer for the answer.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Between two looks at a snapshot under way.
const POLL: Duration = Duration::from_millis(20);
/// Attempts to read the database as of an entry at which the membership has not changed.
const ATTEMPTS: usize = 8;

/// Carries out an order, and says how this member is then.
pub async fn obey(rt: &Rc<Runtime>, order: &LineOrder) -> LineAnswer {
    let mut findings = match carry_out(rt, order).await {
        Ok(findings) => findings,
        Err(error) => vec![of_cluster("failed", error.to_string())],
    };
    let member = describe(rt);
    for finding in &mut findings {
        finding.member_id = member.id;
        finding.name.clone_from(&member.name);
    }
    LineAnswer {
        member: Some(member),
        findings,
    }
}

/// This member as others are shown it.
pub fn describe(rt: &Rc<Runtime>) -> MemberLine {
    let core = &rt.core;
    let cluster = core.state.cluster.load();
    let own = cluster.member(core.member_id);
    let change = core.line_kept.change();
    MemberLine {
        id: core.member_id,
        name: own.map_or_else(String::new, |own| own.name.clone()),
        is_learner: own.is_some_and(|own| own.is_learner),
        answers: true,
        release: core.line().release().to_owned(),
        pintle: PINTLE.to_owned(),
        change: change.map_or_else(String::new, |change| change.to_string()),
        cluster_version: cluster
            .version()
            .map_or_else(String::new, ToString::to_string),
        storage_version: core.state.storage_version.load().to_string(),
        is_resumed: core.line_kept.is_resumed(),
    }
}

async fn carry_out(rt: &Rc<Runtime>, order: &LineOrder) -> Result<Vec<Finding>, Status> {
    let target = Line::parse(&order.target);
    match (Action::try_from(order.action), target) {
        (Ok(Action::Ask), None) => Ok(Vec::new()),
        (Ok(Action::Ask), Some(target)) => against(rt, target).await,
        (Ok(Action::Prepare), Some(target)) => prepare(rt, target).await,
        (Ok(Action::Begin), Some(to)) => match Line::parse(&order.from) {
            Some(from) => begin(rt, Change { from, to }).await,
            None => Err(unknown_order()),
        },
        (Ok(Action::GiveUp), to) => {
            let named = to.zip(Line::parse(&order.from));
            let named = named.map(|(to, from)| Kept::Change(Change { from, to }));
            // What was begun by another one meanwhile is not its to give up.
            if named.is_none_or(|named| named == rt.core.line_kept.get()) {
                give_up(rt).await?;
            }
            Ok(Vec::new())
        }
        _ => Err(unknown_order()),
    }
}

fn unknown_order() -> Status {
    Status::fixed(
        Code::InvalidArgument,
        "pintle: this order is not known here",
    )
}

/// Keeps that a change is under way. What follows is the duty's.
async fn begin(rt: &Rc<Runtime>, change: Change) -> Result<Vec<Finding>, Status> {
    if !change.is_one_step() {
        return Ok(vec![of_cluster(
            "too_far",
            "a cluster goes one minor version at a time",
        )]);
    }
    if let Some(fixed) = fixed_elsewhere(rt, change.to) {
        return Ok(vec![fixed]);
    }
    let version = rt.core.state.cluster.load().version().cloned();
    let line = version.as_ref().and_then(Line::of);
    if line != Some(change.from) && line != Some(change.to) {
        return Ok(vec![of_cluster(
            "moved",
            "the cluster version has changed meanwhile: try again",
        )]);
    }
    let core = rt.core.clone();
    let other = blocking(move || core.line_kept.begin(change, version.as_ref()))
        .await?
        .map_err(unwritten)?;
    if let Some(other) = other {
        return Ok(vec![of_cluster(
            "in_change",
            format!(
                "is on its way to {} from {}: ask with `line`, and try again when that is over",
                other.to, other.from
            ),
        )]);
    }
    tracing::info!(from = %change.from, to = %change.to, "the line of the cluster is to change");
    Ok(Vec::new())
}

/// Forgets a change, unless the cluster has decided on it. A member that speaks another line than
/// the cluster has goes back to it.
///
/// # Errors
/// What the cluster has decided is not known, the file cannot be removed, or the machine does not
/// answer: the change is kept.
pub async fn give_up(rt: &Rc<Runtime>) -> Result<(), Status> {
    let kept = rt.core.line_kept.get();
    if let Kept::Change(change) = kept
        && !change.is_up()
    {
        // The downgrade may be in the log and not yet here.
        tokio::time::timeout(TIMEOUT, rt.linearizable())
            .await
            .unwrap_or(Err(errors::TIMEOUT))?;
        if change.is_decided(rt.core.state.cluster.load().downgrade()) {
            return Ok(());
        }
    }
    let version = rt.core.state.cluster.load().version().and_then(Line::of);
    let is_in_change = matches!(kept, Kept::Change(_));
    // In a change also where this line is spoken: another one may be waiting in the queue.
    if let Some(line) = version.filter(|line| is_in_change || *line != rt.core.line()) {
        speak(rt, line).await?;
    }
    match kept {
        // Decided while the machine was asked: the duty continues it.
        Kept::Change(change) if change.is_decided(rt.core.state.cluster.load().downgrade()) => {
            Ok(())
        }
        Kept::Change(_) => forget(rt, kept).await,
        _ => Ok(()),
    }
}

/// Keeps nothing any more, if this is what was kept.
///
/// # Errors
/// The file cannot be removed, or the database not be written.
pub async fn forget(rt: &Rc<Runtime>, kept: Kept) -> Result<(), Status> {
    let core = rt.core.clone();
    let forget = move || {
        // What was applied within the change is not applied anew after it, without the change.
        core.backend().commit_now().map_err(unwritten)?;
        core.line_kept.forget(kept).map_err(unwritten)
    };
    blocking(forget).await?
}

fn unwritten(error: impl std::fmt::Display) -> Status {
    Status::new(Code::Internal, error.to_string())
}

/// Continues the change that was found in the file at the start: others are in it, too.
///
/// # Errors
/// Something keeps this member from the line by now.
pub async fn resume(rt: &Rc<Runtime>, change: Change) -> Result<(), Status> {
    let begins = rt.core.line_kept.begins();
    let found = prepare(rt, change.to).await?;
    match found.into_iter().next() {
        Some(finding) => Err(Status::new(Code::FailedPrecondition, finding.text)),
        None => {
            // Given up, or begun anew meanwhile: that counts.
            if rt.core.line_kept.change() == Some(change) && rt.core.line_kept.begins() == begins {
                rt.core.line_kept.resume();
            }
            Ok(())
        }
    }
}

/// Asks the machine to speak a line.
///
/// # Errors
/// It does not fit as of the last entry.
pub async fn speak(rt: &Rc<Runtime>, line: Line) -> Result<(), Status> {
    // It may be what keeps the member from the line.
    rt.core.raft.apply.push(Command::SnapshotIfBlocking);
    rt.ask_machine(|waiter| Command::Speak(line, waiter), TIMEOUT)
        .await
        .map(drop)
}

async fn look(rt: &Rc<Runtime>) -> Result<Look, Status> {
    match rt.ask_machine(Command::Look, TIMEOUT).await? {
        Outcome::Look(look) => Ok(*look),
        _ => Err(mixed_up()),
    }
}

/// What keeps this member from a line, after it has taken the snapshot that is needed.
async fn prepare(rt: &Rc<Runtime>, target: Line) -> Result<Vec<Finding>, Status> {
    let _alone = rt.core.line_kept.preparing.lock().await;
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let look = look(rt).await?;
        if !look.blocks_newer_release && !look.is_held_up[target as usize] {
            return against(rt, target).await;
        }
        if Instant::now() >= deadline {
            return Ok(vec![of_cluster(
                "log",
                format!(
                    "its log has entries that {target} does not read, and the snapshot that leaves them behind was not \
                     written in time: try again when its disk is less busy"
                ),
            )]);
        }
        for command in [Command::SnapshotIfBlocking, Command::SnapshotFor(target)] {
            rt.core.raft.apply.push(command);
        }
        sleep(POLL).await;
    }
}

/// A flag with which the member would not start again at a line.
fn fixed_elsewhere(rt: &Rc<Runtime>, target: Line) -> Option<Finding> {
    let Choice::Fixed(line) = rt.core.config.line else {
        return None;
    };
    let text = format!(
        "was started with --line={line}, which would not let it start again at {target}: restart it without that flag first"
    );
    (line != target).then(|| of_cluster("flag", text))
}

/// What keeps this member from a line: what would keep one from starting at it on these files.
async fn against(rt: &Rc<Runtime>, target: Line) -> Result<Vec<Finding>, Status> {
    let (look, disagreements) = compare(rt).await?;
    let mut found = Vec::new();
    if !look.is_caught_up {
        found.push(of_cluster(
            "behind",
            "still applies its log anew: try again in a moment",
        ));
    }
    found.extend(fixed_elsewhere(rt, target));
    for one in disagreements.iter().filter(|one| open::is_serious(one)) {
        found.push(of_cluster(
            one.kind(),
            format!(
                "the copies of its membership disagree: {one}; restart it with --membership-check=heal, or see `pintle upgrade \
                 repair`, first"
            ),
        ));
    }
    if look.cluster.disputed().next().is_some() {
        found.push(of_cluster(
            "disputed_vote",
            "the releases in the cluster disagree about the vote of a member: try again in a moment",
        ));
    }
    if look.has_v2_keys && !target.has(Feature::V2Requests) {
        found.push(of_cluster(
            "v2_keys",
            format!(
                "has keys of API version 2, which {target} has no place for: restart it with \
                 --v2-deprecation=write-only-drop-data, which keeps a copy, first"
            ),
        ));
    }
    let alarms = rt.core.state.alarms.read().all();
    let mut kinds: Vec<i32> = alarms.iter().map(|alarm| alarm.alarm).collect();
    kinds.sort_unstable();
    kinds.dedup();
    found.extend(kinds.into_iter().map(of_alarm));
    Ok(found)
}

/// The lines differ in what they refuse while an alarm is raised, and the members change theirs at
/// different entries.
pub fn of_alarm(alarm: i32) -> Finding {
    match AlarmType::try_from(alarm) {
        Ok(AlarmType::Corrupt) => of_cluster(
            "corrupt",
            "the alarm CORRUPT is raised: the members do not hold the same keys",
        ),
        Ok(AlarmType::Nospace) => of_cluster(
            "nospace",
            "the alarm NOSPACE is raised: make space, and clear it with `alarm disarm`, first",
        ),
        _ => of_cluster(
            "alarm",
            format!("the alarm {alarm} is raised: clear it with `alarm disarm` first"),
        ),
    }
}

/// The members in memory, and what the copies in the database say otherwise, as of one entry.
async fn compare(rt: &Rc<Runtime>) -> Result<(Look, Vec<Disagreement>), Status> {
    for _ in 0..ATTEMPTS {
        let before = look(rt).await?;
        let backend = rt.core.backend();
        let read = move || {
            backend.commit_now()?;
            v3store::read(&backend.snapshot()?)
        };
        let view = blocking(read)
            .await?
            .map_err(|error| Status::new(Code::Internal, error.to_string()))?;
        if look(rt).await?.generation == before.generation {
            let found = disagreement::find(&before.cluster, &before.conf_state, &view);
            return Ok((before, found));
        }
    }
    Err(Status::fixed(
        Code::Unavailable,
        "pintle: the membership changes all the time: try again in a moment",
    ))
}
