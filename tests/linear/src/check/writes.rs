//! Who made each change: an acknowledged call names its revision, a call
//! without an answer is known by its value, the end of a lease by its keys. It
//! must never let one call account for two changes.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Findings, Kind, Timeline, timeline::Change};
use crate::history::{Body, Call, Event, History, Op, Outcome, Step};

/// What made a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writer {
    /// The call of this index.
    Op(usize),
    /// The end of this lease.
    Lease(i64),
}

/// The writer of every revision that has one.
pub(super) type Writers = BTreeMap<i64, Writer>;

pub(super) fn check(history: &History, timeline: &Timeline, found: &mut Findings) -> Writers {
    let mut writers = acknowledged(history, timeline, found);
    let mut by_value: HashMap<&str, usize> = HashMap::new();
    for (at, op) in history.ops.iter().enumerate() {
        for value in values(&op.call) {
            by_value.insert(value, at);
        }
    }
    let mut seen: HashSet<&str> = HashSet::new();
    let mut deletes = Vec::new();
    for (revision, change) in &timeline.changes {
        for event in &change.events {
            if let Event::Put(kv, _) = event
                && !seen.insert(&kv.value)
            {
                found.add(
                    Kind::DoubledWrite,
                    format!("{kv:?} at revision {revision} again"),
                );
            }
        }
        if writers.contains_key(revision) {
            continue;
        }
        let value = change.events.iter().find_map(|e| match e {
            Event::Put(kv, _) => Some(kv.value.as_str()),
            Event::Delete { .. } => None,
        });
        match value {
            None => deletes.push((*revision, change)),
            Some(value) => match by_value.get(value) {
                None => found.add(
                    Kind::FromNowhere,
                    format!("revision {revision}: {:?}", change.events),
                ),
                Some(at) => {
                    let op = &history.ops[*at];
                    match &op.outcome {
                        Outcome::Failed(why) => found.add(
                            Kind::RefusedWrite,
                            format!("revision {revision}, refused with {why:?}: {:?}", op.call),
                        ),
                        // The doubled value is reported where it was seen again.
                        Outcome::Ok { .. } => {}
                        Outcome::Unknown(_) => {
                            matches(op, *revision, change, timeline, found);
                        }
                    }
                    writers.insert(*revision, Writer::Op(*at));
                }
            },
        }
    }
    explain_deletes(history, timeline, deletes, &mut writers, found);
    writers
}

/// Each acknowledged write is at the revision it names.
fn acknowledged(history: &History, timeline: &Timeline, found: &mut Findings) -> Writers {
    let mut writers = Writers::new();
    for (at, op) in history.ops.iter().enumerate() {
        let Outcome::Ok { revision, body } = &op.outcome else {
            continue;
        };
        if !wrote(&op.call, body) {
            continue;
        }
        match timeline.changes.get(revision) {
            None => found.add(Kind::LostWrite, format!("revision {revision}: {op:?}")),
            Some(change) => matches(op, *revision, change, timeline, found),
        }
        if let Some(Writer::Op(other)) = writers.insert(*revision, Writer::Op(at)) {
            found.add(
                Kind::SharedRevision,
                format!("revision {revision}: {op:?} and {:?}", history.ops[other]),
            );
        }
    }
    writers
}

/// Whether an acknowledged call made a revision.
pub(super) fn wrote(call: &Call, body: &Body) -> bool {
    match (call, body) {
        (Call::Put { .. }, _) => true,
        (Call::Delete { .. }, Body::Delete(count, _)) => *count > 0,
        (Call::Txn { .. }, Body::Txn(_, bodies)) => bodies.iter().any(|b| match b {
            Body::Put(_) => true,
            Body::Delete(count, _) => *count > 0,
            _ => false,
        }),
        _ => false,
    }
}

/// The values a call may write.
fn values(call: &Call) -> Vec<&str> {
    match call {
        Call::Put { value, .. } => vec![value],
        Call::Txn {
            then, otherwise, ..
        } => then
            .iter()
            .chain(otherwise)
            .filter_map(|s| match s {
                Step::Put(_, value) => Some(value.as_str()),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// The keys a transaction touches.
pub(super) fn keys(call: &Call) -> Vec<&str> {
    match call {
        Call::Put { key, .. } | Call::Delete { key } => vec![key],
        Call::Txn {
            compares,
            then,
            otherwise,
        } => {
            let steps = then.iter().chain(otherwise).map(|s| match s {
                Step::Put(key, _) | Step::Delete(key) | Step::Get(key) => key.as_str(),
            });
            compares
                .iter()
                .map(|c| c.key.as_str())
                .chain(steps)
                .collect()
        }
        _ => Vec::new(),
    }
}

/// The change is exactly what the call does to the state before it.
fn matches(op: &Op, revision: i64, change: &Change, timeline: &Timeline, found: &mut Findings) {
    let mut store = timeline.store(keys(&op.call), revision - 1);
    let (expected, kind) = match &op.call {
        Call::Put { key, value, lease } => (
            vec![store.put(key, value, *lease, revision)],
            Kind::LostWrite,
        ),
        Call::Delete { key } => (
            store.delete(key, revision).into_iter().collect(),
            Kind::LostWrite,
        ),
        Call::Txn {
            compares,
            then,
            otherwise,
        } => {
            let steps = if store.holds(compares) {
                then
            } else {
                otherwise
            };
            (store.branch(steps, revision).1, Kind::BrokenTxn)
        }
        _ => return,
    };
    // Order inside a revision is the branch's for every watcher; prev and counters
    // are compared where the order was replayed.
    let short = |events: &[Event]| -> Vec<(String, Option<String>)> {
        let mut short: Vec<_> = events
            .iter()
            .map(|e| match e {
                Event::Put(kv, _) => (kv.key.clone(), Some(format!("{} {:x}", kv.value, kv.lease))),
                Event::Delete { key, .. } => (key.clone(), None),
            })
            .collect();
        short.sort();
        short
    };
    if short(&expected) != short(&change.events) {
        found.add(
            kind,
            format!(
                "revision {revision} is {:?}, not {expected:?} of {op:?}",
                change.events
            ),
        );
    }
}

/// Deletes that no acknowledged call names: a lease's end takes exactly its keys;
/// else each is one call without an answer, begun before the delete was seen.
fn explain_deletes(
    history: &History,
    timeline: &Timeline,
    deletes: Vec<(i64, &Change)>,
    writers: &mut Writers,
    found: &mut Findings,
) {
    let mut open: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, op) in history.ops.iter().enumerate() {
        if let (Call::Delete { key }, Outcome::Unknown(_)) = (&op.call, &op.outcome) {
            open.entry(key).or_default().push(at);
        }
    }
    for calls in open.values_mut() {
        // The earliest first: what it can explain, a later one may not.
        calls.sort_by_key(|at| history.ops[*at].invoke);
    }
    for (revision, change) in deletes {
        let leases: HashSet<i64> = change
            .events
            .iter()
            .map(|e| timeline.at(e.key(), revision - 1).map_or(0, |kv| kv.lease))
            .collect();
        let lease = leases
            .iter()
            .next()
            .copied()
            .filter(|l| leases.len() == 1 && *l != 0);
        if let Some(lease) = lease {
            let mut taken: Vec<&str> = change.events.iter().map(Event::key).collect();
            taken.sort_unstable();
            let on = timeline.on_lease(lease, revision - 1);
            if taken != on {
                found.add(
                    Kind::PartialExpiry,
                    format!("revision {revision} took {taken:?} of lease {lease:x} with {on:?}"),
                );
            }
            writers.insert(revision, Writer::Lease(lease));
            continue;
        }
        let explained = match change.events.as_slice() {
            [Event::Delete { key, .. }] => open.get_mut(key.as_str()).and_then(|calls| {
                let fits = calls
                    .iter()
                    .position(|at| history.ops[*at].invoke <= change.seen)?;
                Some(calls.remove(fits))
            }),
            _ => None,
        };
        match explained {
            Some(at) => {
                writers.insert(revision, Writer::Op(at));
            }
            None => found.add(
                Kind::FromNowhere,
                format!("revision {revision}: {:?}", change.events),
            ),
        }
    }
}
