//! Every answer against the store at the revision it names. It must never
//! accept an answer for being true at some other revision.

use super::{Findings, Kind, Timeline, writes};
use crate::history::{Body, Call, History, Op, Outcome};

pub(super) fn check(history: &History, timeline: &Timeline, found: &mut Findings) {
    for op in &history.ops {
        if let Outcome::Ok { revision, body } = &op.outcome
            && let Some((kind, expected)) = differs(op, *revision, body, timeline)
        {
            found.add(kind, format!("{op:?}: {expected}"));
        }
    }
    compacted(history, found);
}

/// What the answer should have been, if it is another.
fn differs(op: &Op, revision: i64, body: &Body, timeline: &Timeline) -> Option<(Kind, String)> {
    let wrong = |expected: Body| {
        let text = format!("the store answers {expected:?}");
        (expected != *body).then_some((Kind::WrongAnswer, text))
    };
    match &op.call {
        Call::Put { key, .. } => wrong(Body::Put(timeline.at(key, revision - 1).cloned())),
        Call::Delete { key } => {
            // One that found nothing made no revision: it names the state it saw.
            let before = match body {
                Body::Delete(0, _) => revision,
                _ => revision - 1,
            };
            let prev = timeline.range(Some(key), before);
            wrong(Body::Delete(prev.len() as i64, prev))
        }
        Call::Get {
            key,
            revision: past,
            ..
        } => {
            let at = if *past > 0 { *past } else { revision };
            wrong(Body::Range(timeline.range(key.as_deref(), at)))
        }
        Call::Txn {
            compares,
            then,
            otherwise,
        } => {
            let before = match writes::wrote(&op.call, body) {
                true => revision - 1,
                false => revision,
            };
            let mut store = timeline.store(writes::keys(&op.call), before);
            let holds = store.holds(compares);
            let steps = if holds { then } else { otherwise };
            let expected = Body::Txn(holds, store.branch(steps, revision).0);
            let text = format!("the store answers {expected:?}");
            (expected != *body).then_some((Kind::BrokenTxn, text))
        }
        Call::Revoke { lease } => {
            let left = timeline.on_lease(*lease, revision);
            let text = format!("keys left on the lease: {left:?}");
            (!left.is_empty()).then_some((Kind::PartialExpiry, text))
        }
        Call::Grant { .. } | Call::KeepAlive { .. } | Call::Compact { .. } => None,
    }
}

/// No linearizable read of a revision below one whose compaction had ended.
fn compacted(history: &History, found: &mut Findings) {
    let ended: Vec<(u64, i64)> = history
        .ops
        .iter()
        .filter_map(|op| match (&op.call, &op.outcome) {
            (Call::Compact { revision }, Outcome::Ok { .. }) => Some((op.returned, *revision)),
            _ => None,
        })
        .collect();
    for op in &history.ops {
        let Call::Get {
            serializable: false,
            revision,
            ..
        } = op.call
        else {
            continue;
        };
        let answered = matches!(op.outcome, Outcome::Ok { .. });
        let gone = |(at, floor): &&(u64, i64)| *at < op.invoke && revision < *floor;
        if answered
            && revision > 0
            && let Some((_, floor)) = ended.iter().find(gone)
        {
            found.add(
                Kind::CompactedRead,
                format!("{op:?} after compaction of {floor}"),
            );
        }
    }
}
