//! The order of revisions against real time. What had been seen by anybody
//! before a call began is there for it; what a call saw had been asked for
//! before the call ended. It must never compare times of two clocks.

use std::collections::BTreeMap;

use super::{
    Findings, Kind, Timeline,
    writes::{self, Writer, Writers},
};
use crate::history::{Call, History, Op, Outcome, Us};

/// Someone knew at `at` that `revision` exists.
#[derive(Clone, Debug)]
struct Sight {
    at: Us,
    revision: i64,
    what: String,
}

pub(super) fn check(
    history: &History,
    timeline: &Timeline,
    writers: &Writers,
    found: &mut Findings,
) {
    let sights = sights(history);
    let floors = running_max(&sights);
    for op in &history.ops {
        let Outcome::Ok { revision, body } = &op.outcome else {
            continue;
        };
        let is_linearizable = !matches!(
            op.call,
            Call::Get {
                serializable: true,
                ..
            } | Call::KeepAlive { .. }
        );
        let Some(floor) = floor(&floors, &sights, op.invoke).filter(|_| is_linearizable) else {
            continue;
        };
        let (kind, least) = match writes::wrote(&op.call, body) {
            true => (Kind::ReorderedWrite, floor.revision + 1),
            false => (Kind::StaleRead, floor.revision),
        };
        if *revision < least {
            found.add(
                kind,
                format!(
                    "{op:?} began after revision {} was known from {}",
                    floor.revision, floor.what
                ),
            );
        }
    }
    unanswered(history, writers, &floors, &sights, found);
    future(history, timeline, writers, &sights, found);
    per_process(history, found);
}

/// A write without an answer still takes effect after it was asked for.
fn unanswered(
    history: &History,
    writers: &Writers,
    floors: &[usize],
    sights: &[Sight],
    found: &mut Findings,
) {
    for (revision, writer) in writers {
        let Writer::Op(at) = writer else { continue };
        let op = &history.ops[*at];
        if !matches!(op.outcome, Outcome::Unknown(_)) || matches!(op.call, Call::Delete { .. }) {
            continue;
        }
        if let Some(floor) = floor(floors, sights, op.invoke)
            && *revision <= floor.revision
        {
            found.add(
                Kind::ReorderedWrite,
                format!(
                    "revision {revision}, {op:?}, began after revision {} was known from {}",
                    floor.revision, floor.what
                ),
            );
        }
    }
}

fn sights(history: &History) -> Vec<Sight> {
    let mut sights = Vec::new();
    for op in &history.ops {
        if let Outcome::Ok { revision, .. } = op.outcome {
            let what = format!("client {} ({:?})", op.client, op.call);
            sights.push(Sight {
                at: op.returned,
                revision,
                what,
            });
        }
    }
    for watcher in &history.watchers {
        for message in watcher.segments.iter().flat_map(|s| &s.messages) {
            let what = watcher.name.clone();
            sights.push(Sight {
                at: message.at,
                revision: message.revision,
                what,
            });
        }
    }
    sights.sort_by_key(|s| s.at);
    sights
}

/// For every sight, the index of the highest one up to it.
fn running_max(sights: &[Sight]) -> Vec<usize> {
    let mut best = 0;
    sights
        .iter()
        .enumerate()
        .map(|(at, sight)| {
            if sight.revision > sights[best].revision {
                best = at;
            }
            best
        })
        .collect()
}

/// The highest sight strictly before a time.
fn floor<'a>(floors: &[usize], sights: &'a [Sight], before: Us) -> Option<&'a Sight> {
    let count = sights.partition_point(|s| s.at < before);
    Some(&sights[*floors.get(count.checked_sub(1)?)?])
}

/// No one sees a write before it is asked for.
fn future(
    history: &History,
    timeline: &Timeline,
    writers: &Writers,
    sights: &[Sight],
    found: &mut Findings,
) {
    // The latest beginning among the writers up to each revision.
    let mut begun: BTreeMap<i64, (Us, i64)> = BTreeMap::new();
    let mut latest = (0, 0);
    for revision in timeline.changes.keys() {
        if let Some(Writer::Op(at)) = writers.get(revision) {
            latest = latest.max((history.ops[*at].invoke, *revision));
        }
        begun.insert(*revision, latest);
    }
    for sight in sights {
        let upto = begun.range(..=sight.revision).next_back();
        if let Some((_, (invoke, revision))) = upto
            && *invoke > sight.at
        {
            found.add(
                Kind::FromFuture,
                format!("revision {revision} was begun after {} saw it", sight.what),
            );
        }
    }
}

/// What one process has answered it does not take back, serializable reads included.
fn per_process(history: &History, found: &mut Findings) {
    let mut processes: BTreeMap<(usize, u32), Vec<(&Op, i64)>> = BTreeMap::new();
    for op in &history.ops {
        if let Outcome::Ok { revision, .. } = op.outcome
            && op.starts.0 == op.starts.1
        {
            let process = processes.entry((op.place, op.starts.0)).or_default();
            process.push((op, revision));
        }
    }
    for ops in processes.values_mut() {
        let mut ended = ops.clone();
        ended.sort_by_key(|(op, _)| op.returned);
        ops.sort_by_key(|(op, _)| op.invoke);
        let mut before: Option<(&Op, i64)> = None;
        let mut ended = ended.into_iter().peekable();
        for (op, revision) in ops {
            while let Some(next) = ended.next_if(|(other, _)| other.returned < op.invoke) {
                if before.is_none_or(|(_, highest)| next.1 > highest) {
                    before = Some(next);
                }
            }
            if let Some((other, highest)) = before
                && *revision < highest
            {
                found.add(Kind::WentBack, format!("{op:?} after {other:?}"));
            }
        }
    }
}
