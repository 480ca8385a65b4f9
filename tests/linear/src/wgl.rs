//! A general checker of registers after Wing and Gong, with Lowe's memory of
//! visited states: it looks for any order of the calls that a register could
//! have answered so, from nothing but when calls began and ended and what reads
//! saw. It trusts no revision, and so checks the exact checker. It must never
//! call a history wrong because it gave up: then it has no verdict.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::history::{Body, Call, History, Outcome, Step, Us};

/// What was done to a register; `None` is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// It was given this.
    Write(Option<String>),
    /// It had this.
    Read(Option<String>),
}

/// One call on a register.
#[derive(Clone, Debug)]
pub struct Touch {
    /// When it began.
    pub invoke: Us,
    /// When it ended; `None`: it may take effect at any time, or never.
    pub returned: Option<Us>,
    /// What was done.
    pub act: Act,
}

/// States looked at before giving up; each costs some 100 bytes.
const STATES_MAX: usize = 300_000;

/// Whether some order of the calls explains them; `None` when not known after
/// 300,000 states.
pub fn linearizable(touches: &[Touch]) -> Option<bool> {
    let read: BTreeSet<&Option<String>> = touches
        .iter()
        .filter_map(|t| match &t.act {
            Act::Read(value) => Some(value),
            Act::Write(_) => None,
        })
        .collect();
    // A write that may never have happened and that no read saw explains nothing.
    let mut calls: Vec<&Touch> = touches
        .iter()
        .filter(|t| match (&t.act, t.returned) {
            (Act::Write(value), None) => read.contains(value),
            (Act::Read(_), None) => false,
            _ => true,
        })
        .collect();
    calls.sort_by_key(|t| t.invoke);
    let mut search = Search {
        known: calls.iter().filter(|t| t.returned.is_some()).count(),
        calls,
        visited: HashSet::new(),
    };
    search.run()
}

type Placed = Vec<u64>;

struct Search<'a> {
    calls: Vec<&'a Touch>,
    known: usize,
    visited: HashSet<(Placed, Option<String>)>,
}

impl Search<'_> {
    fn run(&mut self) -> Option<bool> {
        let mut open = vec![(vec![0u64; self.calls.len().div_ceil(64)], None, 0usize)];
        while let Some((mut placed, value, mut known)) = open.pop() {
            // Reads that fit now fit at no cost: nothing is lost by placing them first.
            while let Some(at) = self.fitting_read(&placed, &value) {
                placed[at / 64] |= 1 << (at % 64);
                known += 1;
            }
            if known == self.known {
                return Some(true);
            }
            if !self.visited.insert((placed.clone(), value)) {
                continue;
            }
            if self.visited.len() > STATES_MAX {
                return None;
            }
            let writes: Vec<usize> = self.candidates(&placed).collect();
            // Acknowledged writes are tried first: they must be placed anyway.
            let (sure, open_ended): (Vec<usize>, Vec<usize>) = writes
                .into_iter()
                .partition(|at| self.calls[*at].returned.is_some());
            for at in open_ended.into_iter().chain(sure.into_iter().rev()) {
                if let Act::Write(new) = &self.calls[at].act {
                    let mut placed = placed.clone();
                    placed[at / 64] |= 1 << (at % 64);
                    let step = usize::from(self.calls[at].returned.is_some());
                    open.push((placed, new.clone(), known + step));
                }
            }
        }
        Some(false)
    }

    fn fitting_read(&self, placed: &Placed, value: &Option<String>) -> Option<usize> {
        self.candidates(placed)
            .find(|at| matches!(&self.calls[*at].act, Act::Read(seen) if seen == value))
    }

    /// The calls that may come next: not placed, and begun before every other
    /// unplaced one had ended.
    fn candidates<'s>(&'s self, placed: &'s Placed) -> impl Iterator<Item = usize> + 's {
        let is_open = |at: &usize| placed[at / 64] & (1 << (at % 64)) == 0;
        let mut first_end = Us::MAX;
        for at in (0..self.calls.len()).filter(is_open) {
            if self.calls[at].invoke > first_end {
                break;
            }
            first_end = first_end.min(self.calls[at].returned.unwrap_or(Us::MAX));
        }
        (0..self.calls.len())
            .take_while(move |at| self.calls[*at].invoke <= first_end)
            .filter(is_open)
    }
}

/// The keys of a history as registers. Keys that leases take are left out: no
/// call tells when. Changes by calls that ended without an answer are writes
/// that may never have happened, whatever they were compared with.
pub fn registers(history: &History) -> BTreeMap<String, Vec<Touch>> {
    let mut registers: BTreeMap<String, Vec<Touch>> = BTreeMap::new();
    let mut leased = BTreeSet::new();
    for op in &history.ops {
        let mut touch = |key: &str, returned: Option<Us>, act: Act| {
            let invoke = op.invoke;
            let touches = registers.entry(key.to_owned()).or_default();
            touches.push(Touch {
                invoke,
                returned,
                act,
            });
        };
        let end = Some(op.returned);
        match (&op.call, &op.outcome) {
            (_, Outcome::Failed(_)) => {}
            (Call::Put { key, value, lease }, outcome) => {
                if *lease != 0 {
                    leased.insert(key.clone());
                }
                let end = end.filter(|_| matches!(outcome, Outcome::Ok { .. }));
                touch(key, end, Act::Write(Some(value.clone())));
            }
            (Call::Delete { key }, Outcome::Ok { .. }) => touch(key, end, Act::Write(None)),
            (Call::Delete { key }, Outcome::Unknown(_)) => touch(key, None, Act::Write(None)),
            (
                Call::Get {
                    key: Some(key),
                    serializable: false,
                    revision: 0,
                },
                Outcome::Ok {
                    body: Body::Range(kvs),
                    ..
                },
            ) => touch(key, end, Act::Read(kvs.first().map(|kv| kv.value.clone()))),
            (
                Call::Txn {
                    then, otherwise, ..
                },
                Outcome::Ok {
                    body: Body::Txn(succeeded, _),
                    ..
                },
            ) => {
                let steps = if *succeeded { then } else { otherwise };
                for (key, value) in last_writes(steps) {
                    touch(key, end, Act::Write(value));
                }
            }
            (
                Call::Txn {
                    then, otherwise, ..
                },
                Outcome::Unknown(_),
            ) => {
                for (key, value) in last_writes(then).into_iter().chain(last_writes(otherwise)) {
                    touch(key, None, Act::Write(value));
                }
            }
            _ => {}
        }
    }
    registers.retain(|key, _| !leased.contains(key));
    registers
}

/// What a branch leaves in each key it writes.
fn last_writes(steps: &[Step]) -> BTreeMap<&str, Option<String>> {
    let mut last = BTreeMap::new();
    for step in steps {
        match step {
            Step::Put(key, value) => {
                last.insert(key.as_str(), Some(value.clone()));
            }
            Step::Delete(key) => {
                last.insert(key, None);
            }
            Step::Get(_) => {}
        }
    }
    last
}

/// The keys of a history that no order explains, and how many keys had a verdict.
pub fn check(history: &History) -> (Vec<String>, usize) {
    let (mut wrong, mut judged) = (Vec::new(), 0);
    for (key, touches) in registers(history) {
        match linearizable(&touches) {
            Some(verdict) => {
                judged += 1;
                if !verdict {
                    wrong.push(key);
                }
            }
            None => continue,
        }
    }
    (wrong, judged)
}
