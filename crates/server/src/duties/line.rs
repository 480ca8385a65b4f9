//! A change of the line that is under way: this member's part of it.

use std::{rc::Rc, time::Duration};

use line::Kept;
use proto::pintlepb::LineOrder;
use tokio::time::{Instant, sleep};

use super::steady::steady;
use crate::{
    lines::{
        next::{Next, Other, View},
        own, survey,
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
        let (next, is_silent) = next(&rt, kept).await;
        if rt.core.line_kept.get() != kept || rt.core.line_kept.begins() != begins {
            // The others were asked about something else.
            continue;
        }
        stuck = match next {
            Next::Stuck => stuck.or(Some(Instant::now())),
            _ => None,
        };
        let is_over = stuck.is_some_and(|since| since.elapsed() >= GIVE_UP_AFTER);
        if let Err(error) = act(&rt, kept, next, is_over).await {
            tracing::debug!(%error, "a change of the line waits");
        }
        if is_silent {
            sleep(PAUSE).await;
        }
    }
}

/// The next step, and whether a member does not answer.
async fn next(rt: &Rc<Runtime>, kept: Kept) -> (Next, bool) {
    let others = match kept {
        Kept::Change(change) if change.is_up() => {
            let survey = survey::all(rt, &LineOrder::default()).await;
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
        others: &others,
    };
    (view.next(kept), others.contains(&Other::Silent))
}

async fn act(rt: &Rc<Runtime>, kept: Kept, next: Next, is_over: bool) -> Result<(), Status> {
    match next {
        Next::Speak(line) => own::speak(rt, line).await,
        Next::Forget => {
            own::forget(rt, kept).await?;
            tracing::info!(line = %rt.core.line(), "the line is the cluster's");
            Ok(())
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
