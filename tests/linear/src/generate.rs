//! Valid histories by seed: calls on one store, each taking effect at a moment
//! between its beginning and its end, some of them never answered, with leases
//! that end in time and watchers that are told everything. For tests of the
//! checkers: what comes out here is good, and a test that plants one fault
//! knows what must be found. It must never use the checker's own rules.

use crate::{
    history::{
        Body, Call, Compare, Event, History, Kv, Message, Op, Outcome, Segment, Step, Target, Us,
        Watcher,
    },
    model::Store,
    rng::Rng,
};

/// How large a history to make.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Calls.
    pub ops: usize,
    /// Keys without a lease.
    pub keys: u64,
    /// Members.
    pub places: u64,
}

struct World {
    rng: Rng,
    size: Size,
    now: Us,
    revision: i64,
    store: Store,
    /// The store at each revision; index 0 is revision 1.
    past: Vec<Store>,
    /// What happened, and when it took effect.
    told: Vec<(Us, i64, Vec<Event>)>,
    /// The newest revision each member has answered with.
    answered: Vec<i64>,
    /// Lease, its TTL in seconds, when it ends.
    leases: Vec<(i64, i64, Us)>,
    history: History,
}

/// A valid history of this size.
pub fn history(seed: u64, size: Size) -> History {
    let mut world = World {
        rng: Rng::new(seed),
        size,
        now: 1_000_000,
        revision: 1,
        store: Store::default(),
        past: vec![Store::default()],
        told: Vec::new(),
        answered: vec![1; size.places as usize],
        leases: Vec::new(),
        history: History::default(),
    };
    for n in 0..size.ops {
        world.now += 20_000 + world.rng.below(80_000);
        world.end_leases();
        world.call(n);
    }
    world.watchers();
    world.history
}

impl World {
    fn key(&mut self) -> String {
        format!("k{}", self.rng.below(self.size.keys))
    }

    fn change(&mut self, events: Vec<Event>) {
        self.revision += 1;
        self.past.push(self.store.clone());
        self.told.push((self.now, self.revision, events));
    }

    fn end_leases(&mut self) {
        let now = self.now;
        let over: Vec<i64> = self
            .leases
            .iter()
            .filter(|l| l.2 <= now)
            .map(|l| l.0)
            .collect();
        self.leases.retain(|l| l.2 > now);
        for lease in over {
            self.end_lease(lease);
        }
    }

    fn end_lease(&mut self, lease: i64) {
        let events = self.store.end_lease(lease, self.revision + 1);
        if !events.is_empty() {
            self.change(events);
        }
    }

    /// One call that takes effect now, or, if it is not answered, perhaps never.
    fn call(&mut self, n: usize) {
        let place = self.rng.below(self.size.places) as usize;
        let call = self.choose(n);
        let is_lost = self.rng.percent(5);
        let happens = !is_lost || self.rng.percent(50);
        let answer = happens.then(|| self.effect(&call, place));
        let outcome = match answer {
            Some((revision, body)) if !is_lost => {
                self.answered[place] = self.answered[place].max(revision);
                Outcome::Ok { revision, body }
            }
            _ => Outcome::Unknown("lost".to_owned()),
        };
        // Some calls are slow and overlap many others.
        let slow = if self.rng.percent(10) {
            400_000
        } else {
            30_000
        };
        let op = Op {
            client: n % 5,
            place,
            starts: (1, 1),
            invoke: self.now - self.rng.below(slow),
            returned: self.now + self.rng.below(slow),
            call,
            outcome,
        };
        self.history.ops.push(op);
    }

    fn choose(&mut self, n: usize) -> Call {
        let key = self.key();
        let value = format!("v{n}");
        let lease = {
            let ids: Vec<i64> = self.leases.iter().map(|l| l.0).collect();
            self.rng.pick(&ids)
        };
        match (self.rng.below(100), lease) {
            (0..25, _) => Call::Put {
                key,
                value,
                lease: 0,
            },
            (25..32, _) => Call::Delete { key },
            (32..52, _) => Call::Get {
                key: Some(key),
                serializable: false,
                revision: 0,
            },
            (52..58, _) => Call::Get {
                key: None,
                serializable: false,
                revision: 0,
            },
            (58..66, _) => {
                let revision = 1 + self.rng.below(self.revision as u64) as i64;
                Call::Get {
                    key: None,
                    serializable: false,
                    revision,
                }
            }
            (66..74, _) => Call::Get {
                key: None,
                serializable: true,
                revision: 0,
            },
            (74..86, _) => self.txn(key, &value),
            (86..90, _) => Call::Grant {
                lease: 1000 + n as i64,
                ttl: 2,
            },
            (90..96, Some(lease)) => {
                let key = format!("l{}", self.rng.below(3));
                Call::Put { key, value, lease }
            }
            (96..98, Some(lease)) => Call::KeepAlive { lease },
            (98..100, Some(lease)) => Call::Revoke { lease },
            _ => Call::Put {
                key,
                value,
                lease: 0,
            },
        }
    }

    fn txn(&mut self, key: String, value: &str) -> Call {
        let kv = self.store.pairs.get(&key);
        let target = match self.rng.below(4) {
            0 => Target::Version(kv.map_or(0, |k| k.version)),
            1 => Target::Create(kv.map_or(0, |k| k.create)),
            2 => Target::Modified(kv.map_or(0, |k| k.modified) + self.rng.below(2) as i64),
            _ => Target::Value(kv.map_or_else(String::new, |k| k.value.clone())),
        };
        let other = loop {
            let other = self.key();
            if other != key {
                break other;
            }
        };
        Call::Txn {
            compares: vec![Compare {
                key: key.clone(),
                target,
            }],
            then: vec![
                Step::Get(other.clone()),
                Step::Put(key.clone(), format!("{value}a")),
                Step::Put(other.clone(), format!("{value}b")),
                Step::Get(key.clone()),
            ],
            otherwise: vec![Step::Get(key), Step::Get(other)],
        }
    }

    fn effect(&mut self, call: &Call, place: usize) -> (i64, Body) {
        let next = self.revision + 1;
        match call {
            Call::Put { key, value, lease } => {
                let event = self.store.put(key, value, *lease, next);
                let prev = event.prev().cloned();
                self.change(vec![event]);
                (next, Body::Put(prev))
            }
            Call::Delete { key } => match self.store.delete(key, next) {
                Some(event) => {
                    let prev: Vec<Kv> = event.prev().cloned().into_iter().collect();
                    self.change(vec![event]);
                    (next, Body::Delete(1, prev))
                }
                None => (self.revision, Body::Delete(0, Vec::new())),
            },
            Call::Get {
                key,
                serializable,
                revision,
            } => {
                let seen = match serializable {
                    true => {
                        let oldest = self.answered[place];
                        oldest + self.rng.below((self.revision - oldest + 1) as u64) as i64
                    }
                    false => self.revision,
                };
                let at = if *revision > 0 { *revision } else { seen };
                let kvs = self.past[at as usize - 1].range(key.as_deref());
                (seen, Body::Range(kvs))
            }
            Call::Txn {
                compares,
                then,
                otherwise,
            } => {
                let holds = self.store.holds(compares);
                let steps = if holds { then } else { otherwise };
                let (bodies, events) = self.store.branch(steps, next);
                if !events.is_empty() {
                    self.change(events);
                }
                (self.revision, Body::Txn(holds, bodies))
            }
            Call::Grant { lease, ttl } => {
                let ends = self.now + *ttl as u64 * 1_000_000 + self.rng.below(500_000);
                self.leases.push((*lease, *ttl, ends));
                (self.revision, Body::Ttl(*ttl))
            }
            Call::KeepAlive { lease } => {
                let now = self.now;
                let life = self.leases.iter_mut().find(|l| l.0 == *lease);
                let ttl = life.map_or(0, |l| {
                    l.2 = now + l.1 as u64 * 1_000_000 + 100_000;
                    l.1
                });
                (self.revision, Body::Ttl(ttl))
            }
            Call::Revoke { lease } => {
                self.leases.retain(|l| l.0 != *lease);
                self.end_lease(*lease);
                (self.revision, Body::Done)
            }
            Call::Compact { .. } => (self.revision, Body::Done),
        }
    }

    /// Two watchers of everything, and one for each of two keys.
    fn watchers(&mut self) {
        for (n, key) in [None, None, Some("k0"), Some("k1")].into_iter().enumerate() {
            let key = key.map(str::to_owned);
            let (mut segments, mut messages) = (Vec::new(), Vec::<Message>::new());
            let mut start = 1;
            let mut last = 0;
            let (mut batch, mut at): (Vec<Event>, Us) = (Vec::new(), 0);
            for (i, (when, revision, events)) in self.told.iter().enumerate() {
                let mine = |e: &&Event| key.as_ref().is_none_or(|k| e.key() == k);
                batch.extend(events.iter().filter(mine).cloned());
                at = at.max(when + self.rng.below(5_000));
                let is_end = i + 1 == self.told.len();
                if !is_end && self.rng.percent(40) {
                    continue;
                }
                if !batch.is_empty() || self.rng.percent(30) || is_end {
                    if let Some(newest) = batch.last() {
                        last = newest.revision();
                    } else {
                        last = *revision;
                    }
                    let events = std::mem::take(&mut batch);
                    messages.push(Message {
                        at,
                        revision: *revision,
                        events,
                    });
                }
                if self.rng.percent(10) {
                    let ended = Segment {
                        place: n % 3,
                        start,
                        messages: std::mem::take(&mut messages),
                    };
                    segments.push(ended);
                    start = start.max(last + 1);
                }
            }
            segments.push(Segment {
                place: 0,
                start,
                messages,
            });
            self.history.watchers.push(Watcher {
                name: format!("watcher {n}"),
                key,
                segments,
            });
        }
    }
}
