//! The store that all answers are compared with: keys with etcd's counters, and
//! transactions on them. It must never know of members, time or leases that end.

use std::collections::BTreeMap;

use crate::history::{Body, Compare, Event, Kv, Step, Target};

/// Keys at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    /// The pairs by key.
    pub pairs: BTreeMap<String, Kv>,
}

impl Store {
    /// Writes, and tells the event.
    pub fn put(&mut self, key: &str, value: &str, lease: i64, revision: i64) -> Event {
        let prev = self.pairs.get(key).cloned();
        let kv = Kv {
            key: key.to_owned(),
            value: value.to_owned(),
            create: prev.as_ref().map_or(revision, |p| p.create),
            modified: revision,
            version: prev.as_ref().map_or(0, |p| p.version) + 1,
            lease,
        };
        self.pairs.insert(key.to_owned(), kv.clone());
        Event::Put(kv, prev)
    }

    /// Deletes, and tells the event; nothing without the key.
    pub fn delete(&mut self, key: &str, revision: i64) -> Option<Event> {
        let prev = self.pairs.remove(key)?;
        Some(Event::Delete {
            key: key.to_owned(),
            revision,
            prev: Some(prev),
        })
    }

    /// Deletes every key on a lease.
    pub fn end_lease(&mut self, lease: i64, revision: i64) -> Vec<Event> {
        let keys: Vec<String> = self.on_lease(lease);
        keys.iter()
            .filter_map(|k| self.delete(k, revision))
            .collect()
    }

    /// The keys on a lease, in order.
    pub fn on_lease(&self, lease: i64) -> Vec<String> {
        let on = self.pairs.values().filter(|kv| kv.lease == lease);
        on.map(|kv| kv.key.clone()).collect()
    }

    /// The pairs of one key or of all.
    pub fn range(&self, key: Option<&str>) -> Vec<Kv> {
        match key {
            Some(key) => self.pairs.get(key).cloned().into_iter().collect(),
            None => self.pairs.values().cloned().collect(),
        }
    }

    /// Whether all hold.
    pub fn holds(&self, compares: &[Compare]) -> bool {
        compares.iter().all(|c| {
            let kv = self.pairs.get(&c.key);
            match &c.target {
                Target::Version(n) => kv.map_or(0, |k| k.version) == *n,
                Target::Create(n) => kv.map_or(0, |k| k.create) == *n,
                Target::Modified(n) => kv.map_or(0, |k| k.modified) == *n,
                Target::Value(v) => kv.is_some_and(|k| k.value == *v),
            }
        })
    }

    /// Runs a branch at `revision`: its answers, and its events.
    pub fn branch(&mut self, steps: &[Step], revision: i64) -> (Vec<Body>, Vec<Event>) {
        let (mut bodies, mut events) = (Vec::new(), Vec::new());
        for step in steps {
            bodies.push(match step {
                Step::Put(key, value) => {
                    let event = self.put(key, value, 0, revision);
                    let prev = event.prev().cloned();
                    events.push(event);
                    Body::Put(prev)
                }
                Step::Delete(key) => {
                    let event = self.delete(key, revision);
                    let prev: Vec<Kv> = event.iter().filter_map(|e| e.prev().cloned()).collect();
                    let count = prev.len() as i64;
                    events.extend(event);
                    Body::Delete(count, prev)
                }
                Step::Get(key) => Body::Range(self.range(Some(key))),
            });
        }
        (bodies, events)
    }

    /// Takes an event as it is told.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Put(kv, _) => {
                self.pairs.insert(kv.key.clone(), kv.clone());
            }
            Event::Delete { key, .. } => {
                self.pairs.remove(key);
            }
        }
    }
}
