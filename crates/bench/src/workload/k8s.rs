//! A sample of what a Kubernetes control plane asks: one connection per
//! resource, creates, updates with a failure branch, deletes, gets, lists in
//! pages at one revision, watches with previous values and progress requests,
//! leases and the compaction loop. Every answer is checked against what was
//! written; a watcher that misses an event fails the run.

mod cluster;
mod objects;
mod reads;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

pub(crate) use self::cluster::Cluster;
use self::objects::{Action, Resource, Write as Written};
use self::reads::{Compactor, Lister, Stream};
use super::measure::{Meter, values, workload_error};
use crate::closed::{self, Tally};
use crate::grpc::{Method, Status};
use crate::histogram::Histogram;
use crate::http2::{Connection, Handler};
use crate::keys::{Random, Values, prefix_end};
use crate::net::{Driver, Failed, Next, Pool};
use crate::options::Load;
use crate::report::{Latency, Report};
use crate::wire;

/// After the last write is answered, a watch may lag for so long before what
/// it lacks counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whom an answer is for; the low half of a tag is its number.
const SLOT: u64 = 0;
const WATCH: u64 = 1 << 32;
const LIST: u64 = 2 << 32;
const COMPACT: u64 = 3 << 32;
const LEASE: u64 = 4 << 32;
const KIND: u64 = !(u32::MAX as u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opening,
    Filling,
    Loading,
}

/// Latencies by what was asked.
#[derive(Debug, Default)]
struct Times {
    creates: Histogram,
    updates: Histogram,
    conflicts: Histogram,
    deletes: Histogram,
    gets: Histogram,
    pages: Histogram,
    progress: Histogram,
    delivery: Histogram,
}

#[derive(Debug, Clone)]
struct Slot {
    write: Written,
    started: Instant,
    wrong: Option<String>,
}

struct Plane {
    cluster: Cluster,
    resources: Vec<Resource>,
    streams: Vec<Stream>,
    lister: Lister,
    compactor: Compactor,
    slots: Vec<Slot>,
    free: Vec<usize>,
    random: Random,
    values: Values,
    phase: Phase,
    opened: bool,
    total: u64,
    begun: u64,
    ended: u64,
    start_revision: i64,
    now: Instant,
    begin: Instant,
    last_event: Instant,
    /// When each write was sent; its number is in its value.
    sent: Vec<Instant>,
    lease: i64,
    leased: u64,
    times: Times,
    tally: Tally,
    faults: u64,
    first_fault: Option<String>,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Plane {
    fn fault(&mut self, text: String) {
        self.faults += 1;
        self.first_fault.get_or_insert(text);
    }

    /// Opens every watch; stream `s` watches resource `s % resources` on the
    /// connection of the same number.
    fn open(&mut self, connections: &mut [Connection]) {
        self.opened = true;
        for (index, stream) in self.streams.iter_mut().enumerate() {
            let prefix = &self.resources[index % self.resources.len()].prefix;
            let end = prefix_end(prefix);
            let ask = wire::Watch {
                key: prefix,
                end: &end,
                start_revision: self.start_revision,
                progress_notify: true,
                prev_kv: true,
                watch_id: 0,
            };
            let connection = &mut connections[index];
            connection.set_require_leader(true);
            stream.call = connection.call(Method::Watch, WATCH + index as u64, false, |out| {
                wire::watch_create(ask, out)
            });
            connection.set_require_leader(false);
        }
    }

    fn begin_request(&mut self, slot: usize, connections: &mut [Connection]) -> bool {
        let Some(write) = (match self.phase {
            Phase::Filling => objects::fill(&mut self.resources),
            _ => objects::choose(&mut self.resources, &mut self.random, &self.cluster),
        }) else {
            return false;
        };
        self.begun += 1;
        self.slots[slot] = Slot {
            write,
            started: self.now,
            wrong: None,
        };
        let resource = &self.resources[write.resource];
        resource.key(write.object, &mut self.key);
        let number = self.sent.len() as u64;
        let size = resource.size(&mut self.random);
        objects::value(number, self.values.next(size), &mut self.value);
        let lease = if resource.leased { self.lease } else { 0 };
        self.leased += u64::from(resource.leased);
        // Requests of a resource are spread over the apiservers.
        let server = slot % self.cluster.apiservers;
        let connection = &mut connections[server * self.resources.len() + write.resource];
        let (key, value) = (&self.key, &self.value);
        let method = if write.action.reads() {
            Method::Range
        } else {
            Method::Txn
        };
        connection.call(method, SLOT + slot as u64, true, |out| match write.action {
            Action::Get => wire::range(
                wire::Range {
                    key,
                    limit: 1,
                    ..wire::Range::default()
                },
                out,
            ),
            Action::Current => {
                let key = &resource.prefix[..resource.prefix.len() - 1];
                wire::range(
                    wire::Range {
                        key,
                        limit: 1,
                        ..wire::Range::default()
                    },
                    out,
                );
            }
            Action::Create => {
                let compare = wire::Compare::ModRevision(0);
                wire::txn(key, compare, wire::Write::Put(value, lease), false, out);
            }
            Action::Update | Action::Stale => {
                let compare = wire::Compare::ModRevision(write.revision);
                wire::txn(key, compare, wire::Write::Put(value, lease), true, out);
            }
            Action::Delete => {
                let compare = wire::Compare::ModRevision(write.revision);
                wire::txn(key, compare, wire::Write::Delete, true, out);
            }
        });
        if !write.action.reads() {
            self.sent.push(self.now);
        }
        true
    }

    /// Lists, compaction, leases and progress requests, as they fall due.
    fn background(&mut self, connections: &mut [Connection], now: Instant) -> Instant {
        let own = connections.len() - 1;
        let resources = self.resources.len();
        if let Some(resource) =
            self.lister
                .due(now, Duration::from_millis(self.cluster.list_ms), resources)
        {
            let prefix = &self.resources[resource].prefix;
            self.lister
                .ask(prefix, self.cluster.limit, LIST, &mut connections[resource]);
        }
        let every = Duration::from_millis(self.cluster.compact_ms);
        self.compactor
            .step(now, every, COMPACT, &mut connections[own]);
        if self.leased >= objects::OBJECTS_PER_LEASE {
            self.leased = 0;
            connections[own].call(Method::LeaseGrant, LEASE, true, objects::grant);
        }
        let mut next = self.lister.next.min(self.compactor.next);
        for (index, stream) in self.streams.iter_mut().enumerate() {
            if stream.progress_due(now, Duration::from_millis(self.cluster.progress_ms)) {
                connections[index].send(stream.call, false, wire::watch_progress);
            }
            next = stream
                .next_progress
                .map_or(next, |progress| next.min(progress));
        }
        next
    }

    /// Events that some watch has not delivered yet.
    fn lacking(&self) -> u64 {
        let lack = |(index, stream): (usize, &Stream)| {
            self.resources[index % self.resources.len()]
                .written
                .saturating_sub(stream.events)
        };
        self.streams.iter().enumerate().map(lack).sum()
    }

    fn answered(&mut self, slot: usize, body: &[u8]) -> Result<(), String> {
        let write = self.slots[slot].write;
        if write.action.reads() {
            let found = wire::ranged(body).map_err(|e| e.to_string())?;
            let due = i64::from(write.action == Action::Get && write.revision > 0);
            if found.kvs != due || found.revision == 0 {
                return Err(format!(
                    "a get brought {} keys at revision {}",
                    found.kvs, found.revision
                ));
            }
            return Ok(());
        }
        let answer = wire::transacted(body).map_err(|e| e.to_string())?;
        self.resources[write.resource].answered(write, &answer)
    }

    fn ended(&mut self, slot: usize, status: &Status) {
        let Slot {
            write,
            started,
            wrong,
        } = self.slots[slot].clone();
        self.ended += 1;
        self.resources[write.resource].release(write);
        self.free.push(slot);
        self.tally.error(status);
        if !status.ok() {
            return;
        }
        if let Some(wrong) = wrong {
            return self.fault(wrong);
        }
        let times = &mut self.times;
        let histogram = match write.action {
            Action::Get | Action::Current => &mut times.gets,
            Action::Create => &mut times.creates,
            Action::Update => &mut times.updates,
            Action::Stale => &mut times.conflicts,
            Action::Delete => &mut times.deletes,
        };
        histogram.record(self.now.saturating_duration_since(started));
    }

    fn watched(&mut self, index: usize, body: &[u8]) -> Result<(), String> {
        let (now, sent, delivery) = (self.now, &self.sent, &mut self.times.delivery);
        let stream = &mut self.streams[index];
        let before = stream.events;
        let told = stream.read(body, now, &mut self.times.progress, |value| {
            if let Some(sent) = objects::number(value).and_then(|number| sent.get(number as usize))
            {
                delivery.record(now.saturating_duration_since(*sent));
            }
        });
        if stream.events > before {
            self.last_event = now;
        }
        told
    }
}

impl Handler for Plane {
    fn message(&mut self, connection: &mut Connection, tag: u64, body: &[u8]) {
        let number = (tag & !KIND) as usize;
        let outcome = match tag & KIND {
            SLOT => {
                let outcome = self.answered(number, body);
                self.slots[number].wrong = outcome.err();
                Ok(())
            }
            WATCH => self.watched(number, body),
            LIST => {
                let now = self.now;
                self.lister
                    .page(body, self.cluster.limit, now, &mut self.times.pages)
                    .map(|more| {
                        if more {
                            let prefix = &self.resources[self.lister.resource].prefix;
                            self.lister
                                .ask(prefix, self.cluster.limit, LIST, connection);
                        }
                    })
            }
            COMPACT => self.compactor.answer(body),
            _ => wire::lease_id(body)
                .map(|id| self.lease = id)
                .map_err(|e| e.to_string()),
        };
        if let Err(text) = outcome {
            self.fault(text);
        }
    }

    fn closed(&mut self, _: &mut Connection, tag: u64, status: Status) {
        let number = (tag & !KIND) as usize;
        match tag & KIND {
            SLOT => self.ended(number, &status),
            WATCH => self.fault(format!(
                "a watch stream ended: {}: {}",
                status.name(),
                status.message
            )),
            LIST if self.lister.compacted(&status) => (),
            COMPACT => {
                if !self.compactor.closed(&status) {
                    self.tally.error(&status);
                }
            }
            _ => self.tally.error(&status),
        }
    }
}

impl Driver for Plane {
    fn woke(&mut self, now: Instant) {
        self.now = now;
    }

    fn turn(&mut self, connections: &mut [Connection], now: Instant) -> Next {
        self.now = now;
        if self.phase == Phase::Opening {
            if !self.opened {
                self.open(connections);
            }
            let done = self.faults > 0 || self.streams.iter().all(|stream| stream.created);
            return if done { Next::Done } else { Next::Answers };
        }
        while self.begun < self.total {
            let Some(slot) = self.free.pop() else { break };
            if !self.begin_request(slot, connections) {
                self.free.push(slot);
                break;
            }
        }
        if self.ended == self.total && self.lister.idle() && self.compactor.idle() {
            let given_up = now.saturating_duration_since(self.last_event) > PATIENCE;
            if self.lacking() == 0 || given_up {
                return Next::Done;
            }
            return Next::Until(now + PATIENCE);
        }
        if self.phase == Phase::Filling || self.ended == self.total {
            return Next::Answers;
        }
        Next::Until(self.background(connections, now))
    }
}

pub(super) fn run(load: &Load, cluster: &Cluster, report: &mut Report) -> Result<(), Failed> {
    (report.workload, report.unit) = ("k8s", "request");
    let error = |text: String| Failed::Workload(text);
    if cluster.apiservers == 0 || cluster.limit <= 0 {
        return Err(error("--apiservers and --limit must be at least 1".into()));
    }
    if load.rate > 0 {
        return Err(error(
            "--rate does not apply to k8s; its background work has intervals of its own".into(),
        ));
    }
    let resources = objects::resources(load);
    let connections = cluster.apiservers * resources.len() + 1;
    report.parameters = [
        ("connections", connections as u64),
        ("clients", load.clients as u64),
        ("objects", load.keys),
    ]
    .into();
    let mut pool = Pool::connect(&load.endpoints, connections)?;
    let mut body = Vec::new();
    wire::delete_range(
        load.prefix.as_bytes(),
        &prefix_end(load.prefix.as_bytes()),
        &mut body,
    );
    let deleted = closed::once(&mut pool, Method::DeleteRange, &body).map_err(workload_error)?;
    let revision = wire::revision(&deleted).map_err(|e| error(e.to_string()))?;
    body.clear();
    objects::grant(&mut body);
    let granted = closed::once(&mut pool, Method::LeaseGrant, &body).map_err(workload_error)?;
    let now = Instant::now();
    let objects: u64 = resources.iter().map(Resource::count).sum();
    let mut plane = Plane {
        cluster: cluster.clone(),
        streams: vec![Stream::default(); cluster.apiservers * resources.len()],
        resources,
        lister: Lister::new(now),
        compactor: Compactor::new(now, &load.prefix),
        slots: vec![
            Slot {
                write: Written::default(),
                started: now,
                wrong: None
            };
            load.clients
        ],
        free: (0..load.clients).collect(),
        random: Random::new(load.seed),
        values: values(load),
        phase: Phase::Opening,
        opened: false,
        total: objects,
        begun: 0,
        ended: 0,
        start_revision: revision + 1,
        now,
        begin: now,
        last_event: now,
        sent: Vec::new(),
        lease: wire::lease_id(&granted).map_err(|e| error(e.to_string()))?,
        leased: 0,
        times: Times::default(),
        tally: Tally::default(),
        faults: 0,
        first_fault: None,
        key: Vec::new(),
        value: Vec::new(),
    };
    for phase in [Phase::Opening, Phase::Filling] {
        plane.phase = phase;
        pool.run(&mut plane)?;
        if let Some(fault) = plane.first_fault.take() {
            return Err(error(fault));
        }
    }
    measured(load, &mut pool, &mut plane, report)
}

fn measured(
    load: &Load,
    pool: &mut Pool,
    plane: &mut Plane,
    report: &mut Report,
) -> Result<(), Failed> {
    plane.phase = Phase::Loading;
    (plane.total, plane.begun, plane.ended) = (load.total, 0, 0);
    plane.times = Times::default();
    plane.tally = Tally::default();
    plane.begin = Instant::now();
    plane.last_event = plane.begin;
    let events_before: u64 = plane.streams.iter().map(|stream| stream.events).sum();
    let meter = Meter::start(load)?;
    let outcome = pool.run(plane);
    let times = &plane.times;
    let requests = [
        &times.creates,
        &times.updates,
        &times.conflicts,
        &times.deletes,
        &times.gets,
    ];
    report.operations = requests.iter().map(|histogram| histogram.len()).sum();
    report.seconds = (plane.now - plane.begin).as_secs_f64();
    report.per_second = report.operations as f64 / report.seconds.max(1e-9);
    report.latencies = [
        ("update", &times.updates),
        ("create", &times.creates),
        ("conflict", &times.conflicts),
        ("delete", &times.deletes),
        ("get", &times.gets),
        ("list page", &times.pages),
        ("progress", &times.progress),
        ("delivery", &times.delivery),
    ]
    .into_iter()
    .map(|(name, histogram)| Latency::new(name, histogram))
    .collect();
    report.errors = std::mem::take(&mut plane.tally.errors);
    let events = plane
        .streams
        .iter()
        .map(|stream| stream.events)
        .sum::<u64>()
        - events_before;
    report.facts = [
        ("events delivered", events as f64),
        ("events lost", plane.lacking() as f64),
        ("wrong answers", plane.faults as f64),
        ("lists", plane.lister.lists as f64),
        ("lists cut by compaction", plane.lister.cut as f64),
        ("compactions", plane.compactor.compactions as f64),
    ]
    .into();
    let used = meter.stop(report);
    if let Some(fault) = plane.first_fault.take() {
        return Err(Failed::Workload(format!(
            "{} wrong answers, the first: {fault}",
            plane.faults
        )));
    }
    outcome.and(used)?;
    if plane.lacking() > 0 {
        return Err(Failed::Workload(format!(
            "watches lack {} events",
            plane.lacking()
        )));
    }
    Ok(())
}
