//! A change of the line that is under way: this member's part of it.

use std::{rc::Rc, time::Duration};

use line::Kept;
use proto::pintlepb::{LineOrder, line_order::Action};
use tokio::time::{Instant, sleep};

use super::steady::steady;
use crate::{
    lines::{
        next::{Next, Other, View},
        own, set,
        survey::{self, Survey},
    },
    runtime::Runtime,
    status::Status,
};

/// Between two looks at the others.
const PERIOD: Duration = Duration::from_millis(200);
/// Between two looks while one of them does not answer.
const PAUSE: Duration = Duration::from_secs(2);
/// A change for which a member is not ready, and says so, is given up after this long. The others
/// have by then heard of it, if whoever began it has told all.
const GIVE_UP_AFTER: Duration = Duration::from_secs(20);

/// Makes the change, or gives it up.
pub(super) async fn follow_change(rt: Rc<Runtime>) {
    let mut rounds = steady(PERIOD);
    let mut stuck: Option<Instant> = None;
    let mut begins = 0;
    loop {
        rounds.tick().await;
        let kept = rt.core.line_kept.get();
        let now = rt.core.line_kept.begins();
        if std::mem::replace(&mut begins, now) != now {
            // Begun again: whoever did has as long as the first one.
            stuck = None;
        }
        if kept == Kept::Nothing {
            stuck = None;
            continue;
        }
        let survey = survey_for(&rt, kept).await;
        let (next, is_silent) = next(&rt, kept, &survey);
        if rt.core.line_kept.get() != kept || rt.core.line_kept.begins() != begins {
            // The others were asked about something else.
            continue;
        }
        stuck = match next {
            // What is gone on with is not stuck for long.
            Next::Stuck | Next::Resume => stuck.or(Some(Instant::now())),
            _ => None,
        };
        let is_over = stuck.is_some_and(|since| since.elapsed() >= GIVE_UP_AFTER);
        let mut waits = is_silent;
        if let Err(error) = act(&rt, kept, next, is_over).await {
            waits |= next == Next::Resume;
            tracing::debug!(%error, "a change of the line waits");
        }
        waits |= !bring_along(&rt, kept, &survey).await;
        if waits {
            sleep(PAUSE).await;
        }
    }
}

/// What the others say, where they are waited for.
async fn survey_for(rt: &Rc<Runtime>, kept: Kept) -> Survey {
    match kept {
        Kept::Change(_) => survey::all(rt, &LineOrder::default()).await,
        _ => Survey::default(),
    }
}

/// Has members follow a change that the log has decided: those that joined since, or were started
/// anew, do not know of it, and the downgrade would wait for them. False if one does not.
async fn bring_along(rt: &Rc<Runtime>, kept: Kept, survey: &Survey) -> bool {
    let Kept::Change(change) = kept else {
        return true;
    };
    let cluster = rt.core.state.cluster.load_full();
    if !change.is_decided(cluster.downgrade()) {
        return true;
    }
    let order = set::order(Action::Begin, Some(change));
    let mut follow = true;
    for member in survey.left_behind(change) {
        if let Some(member) = cluster.member(member.id) {
            follow &= survey::one(rt, member, &order).await.findings.is_empty();
        }
    }
    follow
}

/// The next step, and whether a member does not answer.
fn next(rt: &Rc<Runtime>, kept: Kept, survey: &Survey) -> (Next, bool) {
    let others: Vec<_> = match kept {
        Kept::Change(change) => {
            let others = survey.members.iter().filter(|m| m.id != rt.core.member_id);
            others.map(|member| Other::of(member, change)).collect()
        }
        _ => Vec::new(),
    };
    let cluster = rt.core.state.cluster.load();
    let view = View {
        line: rt.core.line(),
        version: cluster.version(),
        downgrade: cluster.downgrade(),
        is_resumed: rt.core.line_kept.is_resumed(),
        others: &others,
    };
    (view.next(kept), others.contains(&Other::Silent))
}

async fn act(rt: &Rc<Runtime>, kept: Kept, next: Next, is_over: bool) -> Result<(), Status> {
    match next {
        Next::Speak(line) => own::speak(rt, line).await,
        Next::Resume => match kept {
            Kept::Change(change) if !is_over => own::resume(rt, change).await,
            _ => own::give_up(rt).await,
        },
        Next::Forget => {
            own::forget(rt, kept).await?;
            tracing::info!(line = %rt.core.line(), "the line is the cluster's");
            Ok(())
        }
        Next::GiveUp => {
            tracing::info!("gave up a change of the line that no other member is in");
            own::give_up(rt).await
        }
        Next::Stuck if is_over => {
            tracing::warn!(
                line = %rt.core.line(),
                "gave up a change of the line for which not all members are ready"
            );
            own::give_up(rt).await
        }
        Next::Wait | Next::Stuck => Ok(()),
    }
}
