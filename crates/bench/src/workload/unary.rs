//! Requests with one answer: puts, gets, Kubernetes' transaction, and reads
//! next to writes.

use super::fill::fill;
use super::measure::{amount, count, measure, values};
use super::puts::{Choice, Puts};
use crate::closed::{self, Amount, Requests};
use crate::grpc::Method;
use crate::keys::{Keys, Random, Values};
use crate::net::{Failed, Pool};
use crate::options::Load;
use crate::report::Report;
use crate::wire::{self, Compare, Range, Write};

fn unreadable(error: wire::Unreadable) -> String {
    error.to_string()
}

/// Gets of one key.
#[derive(Debug)]
struct Gets {
    choice: Choice,
    serializable: bool,
}

impl Requests for Gets {
    fn method(&mut self, _: usize) -> Method {
        Method::Range
    }

    fn body(&mut self, _: usize, out: &mut Vec<u8>) {
        let ask = Range {
            serializable: self.serializable,
            ..Range::default()
        };
        wire::range(
            Range {
                key: self.choice.key(),
                ..ask
            },
            out,
        );
    }

    fn answer(&mut self, _: usize, body: &[u8]) -> Result<(), String> {
        let found = wire::ranged(body).map_err(unreadable)?;
        if found.kvs == 1 && found.count == 1 {
            Ok(())
        } else {
            Err(format!("a get brought {} keys", found.kvs))
        }
    }
}

/// Writers in the first slots, readers in the rest.
#[derive(Debug)]
struct Mixed {
    puts: Puts,
    gets: Gets,
    writers: usize,
}

impl Requests for Mixed {
    fn method(&mut self, slot: usize) -> Method {
        if slot < self.writers {
            Method::Put
        } else {
            Method::Range
        }
    }

    fn body(&mut self, slot: usize, out: &mut Vec<u8>) {
        if slot < self.writers {
            self.puts.body(slot, out)
        } else {
            self.gets.body(slot, out)
        }
    }

    fn answer(&mut self, slot: usize, body: &[u8]) -> Result<(), String> {
        if slot < self.writers {
            self.puts.answer(slot, body)
        } else {
            self.gets.answer(slot, body)
        }
    }

    fn class(&self, slot: usize) -> usize {
        usize::from(slot < self.writers)
    }
}

/// Kubernetes' update. Each slot owns a share of the keys, so that only the
/// conflicts that are wanted happen.
#[derive(Debug)]
struct Updates {
    keys: Keys,
    values: Values,
    size: usize,
    random: Random,
    slots: Vec<Turn>,
    /// Last known mod revision of each key; 0 for one that does not exist.
    revisions: Vec<i64>,
    conflicts: u64,
    key: Vec<u8>,
    conflicted: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Turn {
    visits: u64,
    key: usize,
    stale: bool,
}

impl Updates {
    fn new(load: &Load, clients: usize) -> Self {
        Self {
            keys: Keys::new(load),
            values: values(load),
            size: load.value_size,
            random: Random::new(load.seed),
            slots: vec![Turn::default(); clients],
            revisions: vec![0; load.keys as usize],
            conflicts: 0,
            key: Vec::new(),
            conflicted: 0,
        }
    }
}

impl Requests for Updates {
    fn method(&mut self, _: usize) -> Method {
        Method::Txn
    }

    fn body(&mut self, slot: usize, out: &mut Vec<u8>) {
        let clients = self.slots.len() as u64;
        let share = (self.keys.count - slot as u64).div_ceil(clients);
        let turn = &mut self.slots[slot];
        let index = slot as u64 + clients * (turn.visits % share);
        turn.visits += 1;
        turn.key = index as usize;
        let revision = self.revisions[turn.key];
        turn.stale = revision > 0 && self.random.below(100) < self.conflicts;
        let compare = Compare::ModRevision(if turn.stale { revision - 1 } else { revision });
        self.keys.key(index, &mut self.key);
        wire::txn(
            &self.key,
            compare,
            Write::Put(self.values.next(self.size), 0),
            true,
            out,
        );
    }

    fn answer(&mut self, slot: usize, body: &[u8]) -> Result<(), String> {
        let answer = wire::transacted(body).map_err(unreadable)?;
        let turn = self.slots[slot];
        if answer.succeeded {
            self.revisions[turn.key] = answer.revision;
            return if turn.stale {
                Err("a transaction with a stale revision succeeded".into())
            } else {
                Ok(())
            };
        }
        self.conflicted += 1;
        self.revisions[turn.key] = answer.found.map_or(0, |kv| kv.mod_revision);
        Ok(())
    }
}

pub(super) fn put(load: &Load, report: &mut Report) -> Result<(), Failed> {
    (report.workload, report.unit) = ("put", "put");
    let mut pool = Pool::connect(&load.endpoints, load.connections)?;
    pool.set_token(&load.token);
    measure(
        &mut pool,
        load,
        amount(load),
        &["put"],
        &mut Puts::new(load, load.sequential),
        report,
    )
}

pub(super) fn load(load: &Load, report: &mut Report) -> Result<(), Failed> {
    (report.workload, report.unit) = ("load", "put");
    let mut pool = Pool::connect(&load.endpoints, load.connections)?;
    pool.set_token(&load.token);
    let all = Amount {
        total: load.keys,
        ..amount(load)
    };
    measure(
        &mut pool,
        load,
        all,
        &["put"],
        &mut Puts::new(load, true),
        report,
    )?;
    let keys = Keys::new(load);
    let held = count(&mut pool, keys.prefix(), &keys.end())?;
    report.facts.insert("keys held", held as f64);
    if held as u64 != load.keys {
        return Err(Failed::Workload(format!(
            "{} keys were put, the server holds {held}",
            load.keys
        )));
    }
    Ok(())
}

pub(super) fn get(load: &Load, serializable: bool, report: &mut Report) -> Result<(), Failed> {
    (report.workload, report.unit) = (
        if serializable {
            "get-serializable"
        } else {
            "get"
        },
        "get",
    );
    let mut pool = Pool::connect(&load.endpoints, load.connections)?;
    pool.set_token(&load.token);
    fill(&mut pool, load)?;
    let mut gets = Gets {
        choice: Choice::new(load, load.sequential),
        serializable,
    };
    measure(&mut pool, load, amount(load), &["get"], &mut gets, report)
}

pub(super) fn mixed(
    load: &Load,
    readers: usize,
    serializable: bool,
    report: &mut Report,
) -> Result<(), Failed> {
    (report.workload, report.unit) = ("mixed", "request");
    report.parameters.insert("readers", readers as u64);
    let mut pool = Pool::connect(&load.endpoints, load.connections)?;
    pool.set_token(&load.token);
    fill(&mut pool, load)?;
    let gets = Gets {
        choice: Choice::new(load, load.sequential),
        serializable,
    };
    let mut mixed = Mixed {
        puts: Puts::new(load, load.sequential),
        gets,
        writers: load.clients,
    };
    let both = Amount {
        clients: load.clients + readers,
        classes: 2,
        ..amount(load)
    };
    measure(&mut pool, load, both, &["get", "put"], &mut mixed, report)
}

pub(super) fn txn_k8s(load: &Load, conflicts: u64, report: &mut Report) -> Result<(), Failed> {
    (report.workload, report.unit) = ("txn-k8s", "txn");
    let clients = load.clients.min(load.keys as usize);
    report.parameters.insert("conflicts percent", conflicts);
    let mut pool = Pool::connect(&load.endpoints, load.connections)?;
    pool.set_token(&load.token);
    let mut updates = Updates::new(load, clients);
    let plain = Amount {
        clients,
        ..amount(load)
    };
    // Every key is created, or its revision learnt, before anything counts.
    let shares = load.keys.div_ceil(clients as u64) * clients as u64;
    closed::run(
        &mut pool,
        &mut updates,
        Amount {
            total: shares,
            rate: 0,
            ..plain
        },
    )
    .1?;
    updates.conflicts = conflicts;
    let before = updates.conflicted;
    let outcome = measure(&mut pool, load, plain, &["txn"], &mut updates, report);
    report
        .facts
        .insert("conflicts", (updates.conflicted - before) as f64);
    outcome
}
