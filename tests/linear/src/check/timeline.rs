//! The one order of all changes, as watchers of everything told it, and the
//! store at every revision. It must never fill in what no one told.

use std::collections::BTreeMap;

use super::{Findings, Kind};
use crate::{
    history::{Event, History, Kv, Outcome, Us},
    model::Store,
};

/// One revision.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its events.
    pub events: Vec<Event>,
    /// When anybody first knew of it.
    pub seen: Us,
}

/// All revisions of a run.
#[derive(Debug, Default)]
pub struct Timeline {
    /// By revision. A new store is at revision 1, so the first change is 2.
    pub changes: BTreeMap<i64, Change>,
    versions: BTreeMap<String, Vec<(i64, Option<Kv>)>>,
    /// Keys put on a lease: `(revision, key)` by lease.
    attached: BTreeMap<i64, Vec<(i64, String)>>,
    /// The newest revision that any answer names.
    pub top: i64,
}

impl Timeline {
    pub(super) fn of(history: &History, found: &mut Findings) -> Timeline {
        let mut timeline = Timeline::default();
        for watcher in &history.watchers {
            for message in watcher.segments.iter().flat_map(|s| &s.messages) {
                timeline.top = timeline.top.max(message.revision);
                if watcher.key.is_some() {
                    continue;
                }
                for (revision, events) in by_revision(&message.events) {
                    timeline.top = timeline.top.max(revision);
                    let change = timeline.changes.entry(revision).or_insert_with(|| Change {
                        events: events.clone(),
                        seen: message.at,
                    });
                    change.seen = change.seen.min(message.at);
                    if change.events != events {
                        found.add(
                            Kind::Disagreement,
                            format!(
                                "{} tells revision {revision} as {events:?}, another as {:?}",
                                watcher.name, change.events
                            ),
                        );
                    }
                }
            }
        }
        for op in &history.ops {
            if let Outcome::Ok { revision, .. } = op.outcome {
                timeline.top = timeline.top.max(revision);
            }
        }
        timeline.seen_by_all(history);
        timeline.replay(found);
        timeline
    }

    /// A revision is known as soon as any answer or message names it or a later one.
    fn seen_by_all(&mut self, history: &History) {
        let mut named: BTreeMap<i64, Us> = BTreeMap::new();
        let mut name = |revision: i64, at: Us| {
            let seen = named.entry(revision).or_insert(at);
            *seen = (*seen).min(at);
        };
        for op in &history.ops {
            if let Outcome::Ok { revision, .. } = op.outcome {
                name(revision, op.returned);
            }
        }
        for watcher in &history.watchers {
            for message in watcher.segments.iter().flat_map(|s| &s.messages) {
                name(message.revision, message.at);
            }
        }
        let mut later = named.into_iter().rev().peekable();
        let mut earliest = Us::MAX;
        for (revision, change) in self.changes.iter_mut().rev() {
            while let Some((_, at)) = later.next_if(|(r, _)| r >= revision) {
                earliest = earliest.min(at);
            }
            change.seen = change.seen.min(earliest);
        }
    }

    /// Every change must follow from the one before.
    fn replay(&mut self, found: &mut Findings) {
        let mut store = Store::default();
        let mut expected = 2;
        for (revision, change) in &self.changes {
            if *revision != expected {
                found.add(
                    Kind::Gap,
                    format!("revisions {expected} to {} of {}", revision - 1, self.top),
                );
            }
            expected = revision + 1;
            for event in &change.events {
                let key = event.key();
                let before = store.pairs.get(key);
                let follows = match event {
                    Event::Put(kv, prev) => {
                        let expected = store.clone().put(key, &kv.value, kv.lease, *revision);
                        expected == Event::Put(kv.clone(), prev.clone())
                    }
                    Event::Delete { prev, .. } => before.is_some() && prev.as_ref() == before,
                };
                if !follows {
                    found.add(
                        Kind::BadEvent,
                        format!("revision {revision}: {event:?}; the key had {before:?}"),
                    );
                }
                let now = match event {
                    Event::Put(kv, _) => {
                        if kv.lease != 0 {
                            let on = self.attached.entry(kv.lease).or_default();
                            on.push((*revision, key.to_owned()));
                        }
                        Some(kv.clone())
                    }
                    Event::Delete { .. } => None,
                };
                let versions = self.versions.entry(key.to_owned()).or_default();
                versions.push((*revision, now));
                store.apply(event);
            }
        }
        if self.top >= expected {
            found.add(Kind::Gap, format!("revisions {expected} to {}", self.top));
        }
    }

    /// One key at a revision.
    pub fn at(&self, key: &str, revision: i64) -> Option<&Kv> {
        let versions = self.versions.get(key)?;
        let after = versions.partition_point(|(r, _)| *r <= revision);
        versions.get(after.checked_sub(1)?)?.1.as_ref()
    }

    /// The pairs of one key, or of all, at a revision.
    pub fn range(&self, key: Option<&str>, revision: i64) -> Vec<Kv> {
        match key {
            Some(key) => self.at(key, revision).cloned().into_iter().collect(),
            None => self
                .versions
                .keys()
                .filter_map(|k| self.at(k, revision).cloned())
                .collect(),
        }
    }

    /// These keys at a revision, as a store of their own.
    pub fn store<'a>(&self, keys: impl IntoIterator<Item = &'a str>, revision: i64) -> Store {
        let pairs = keys
            .into_iter()
            .filter_map(|k| self.at(k, revision).cloned());
        Store {
            pairs: pairs.map(|kv| (kv.key.clone(), kv)).collect(),
        }
    }

    /// The keys on a lease at a revision, in order.
    pub fn on_lease(&self, lease: i64, revision: i64) -> Vec<String> {
        let attached = self.attached.get(&lease).into_iter().flatten();
        let mut keys: Vec<String> = attached
            .filter(|(r, k)| {
                *r <= revision && self.at(k, revision).is_some_and(|kv| kv.lease == lease)
            })
            .map(|(_, k)| k.clone())
            .collect();
        keys.sort();
        keys.dedup();
        keys
    }

    /// The revisions at which keys were put on a lease.
    pub fn puts_on_lease(&self, lease: i64) -> &[(i64, String)] {
        self.attached.get(&lease).map_or(&[], Vec::as_slice)
    }
}

/// Neighbouring events of one revision, together.
pub(super) fn by_revision(events: &[Event]) -> Vec<(i64, Vec<Event>)> {
    let runs = events.chunk_by(|a, b| a.revision() == b.revision());
    runs.map(|run| (run[0].revision(), run.to_vec())).collect()
}
