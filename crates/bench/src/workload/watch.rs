//! Many watchers of one prefix next to a writer. Every watcher must get every
//! put once and in the order of revisions; what it did not get is counted as
//! lost, and the run fails.

use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::measure::{Meter, amount, values};
use crate::closed::{Amount, Tally};
use crate::grpc::{Method, Status};
use crate::histogram::Histogram;
use crate::http2::{Connection, Handler};
use crate::keys::{Keys, Random, Values};
use crate::net::{Driver, Failed, Next, Pool};
use crate::options::Load;
use crate::report::{Latency, Report};
use crate::wire::{self, Watch};

/// Tags from here on are watch streams; those below are slots of the writer.
const STREAM: u64 = 1 << 32;

/// After the last put is answered, a watcher may be silent for so long before
/// what it lacks counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// A put's number is at the head of its value, in bytes.
const NUMBER: usize = 8;

#[derive(Debug, Clone, Copy, Default)]
struct Watcher {
    last_revision: i64,
    events: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opening,
    Loading,
}

struct Fan {
    keys: Keys,
    end: Vec<u8>,
    values: Values,
    size: usize,
    random: Random,
    sequential: bool,
    watchers: Vec<Watcher>,
    streams: usize,
    /// Which watcher a stream's watch id is.
    ids: FxHashMap<(u64, i64), usize>,
    phase: Phase,
    opened: bool,
    amount: Amount,
    sent: Vec<Instant>,
    slots: Vec<Instant>,
    begun: u64,
    answered: u64,
    put: u64,
    events: u64,
    duplicates: u64,
    unmarked: u64,
    messages: u64,
    begin: Instant,
    now: Instant,
    last_event: Instant,
    puts: Histogram,
    delivery: Histogram,
    tally: Tally,
    fatal: Option<String>,
    key: Vec<u8>,
}

impl Fan {
    fn new(load: &Load, watchers: usize, streams: usize, amount: Amount) -> Self {
        let now = Instant::now();
        let keys = Keys::new(load);
        Self {
            end: keys.end(),
            keys,
            values: values(load),
            size: load.value_size.max(NUMBER),
            random: Random::new(load.seed),
            sequential: load.sequential,
            watchers: vec![Watcher::default(); watchers],
            streams: streams.min(watchers),
            ids: FxHashMap::default(),
            phase: Phase::Opening,
            opened: false,
            amount,
            sent: Vec::with_capacity(amount.total as usize),
            slots: vec![now; amount.clients],
            begun: 0,
            answered: 0,
            put: 0,
            events: 0,
            duplicates: 0,
            unmarked: 0,
            messages: 0,
            begin: now,
            now,
            last_event: now,
            puts: Histogram::default(),
            delivery: Histogram::default(),
            tally: Tally::default(),
            fatal: None,
            key: Vec::new(),
        }
    }

    fn begin_put(&mut self, slot: usize, connection: &mut Connection) {
        let number = self.begun;
        self.begun += 1;
        let index = if self.sequential {
            number % self.keys.count
        } else {
            self.random.below(self.keys.count)
        };
        self.keys.key(index, &mut self.key);
        self.sent.push(self.now);
        self.slots[slot] = self.now;
        let mut value = number.to_le_bytes().to_vec();
        value.extend_from_slice(self.values.next(self.size - NUMBER));
        connection.call(Method::Put, slot as u64, true, |out| {
            wire::put(&self.key, &value, 0, out)
        });
    }

    fn open(&mut self, connections: &mut [Connection]) {
        self.opened = true;
        let readers = connections.len() - 1;
        for stream in 0..self.streams {
            let connection = &mut connections[stream % readers];
            let ask = Watch {
                key: self.keys.prefix(),
                end: &self.end,
                ..Watch::default()
            };
            let id = connection.call(Method::Watch, STREAM + stream as u64, false, |out| {
                wire::watch_create(ask, out)
            });
            for _ in (stream + self.streams..self.watchers.len()).step_by(self.streams) {
                connection.send(id, false, |out| wire::watch_create(ask, out));
            }
        }
    }

    fn lost(&self) -> u64 {
        (self.put * self.watchers.len() as u64).saturating_sub(self.events)
    }

    fn watched(&mut self, stream: u64, body: &[u8]) -> Result<(), String> {
        let watch_id = wire::watch_id(body).map_err(|e| e.to_string())?;
        let index = self.ids.get(&(stream, watch_id)).copied();
        let (now, begin) = (self.now, self.sent.len());
        let mut state = index.map(|index| self.watchers[index]).unwrap_or_default();
        let (mut events, mut duplicates, mut unmarked) = (0, 0, 0);
        let (sent, delivery) = (&self.sent, &mut self.delivery);
        let answer = wire::watched(body, |event| {
            if event.kv.mod_revision <= state.last_revision {
                duplicates += 1;
                return;
            }
            state.last_revision = event.kv.mod_revision;
            state.events += 1;
            events += 1;
            let number = event
                .kv
                .value
                .first_chunk()
                .map(|head| u64::from_le_bytes(*head));
            match number.filter(|number| *number < begin as u64) {
                Some(number) => {
                    delivery.record(now.saturating_duration_since(sent[number as usize]))
                }
                None => unmarked += 1,
            }
        });
        let answer = answer.map_err(|e| e.to_string())?;
        if answer.canceled {
            let reason = String::from_utf8_lossy(answer.cancel_reason).into_owned();
            return Err(format!(
                "the server cancelled a watch: {reason:?}, compact revision {}",
                answer.compact_revision
            ));
        }
        if answer.created {
            let index = self.ids.len();
            if self.ids.insert((stream, watch_id), index).is_some() || index >= self.watchers.len()
            {
                return Err(format!("watch id {watch_id} was given twice on one stream"));
            }
            return Ok(());
        }
        if answer.events == 0 {
            return Ok(());
        }
        let Some(index) = index else {
            return Err(format!("events of an unknown watch {watch_id}"));
        };
        self.watchers[index] = state;
        self.events += events;
        self.duplicates += duplicates;
        self.unmarked += unmarked;
        self.messages += 1;
        self.last_event = now;
        Ok(())
    }
}

impl Handler for Fan {
    fn message(&mut self, _: &mut Connection, tag: u64, body: &[u8]) {
        if let Some(stream) = tag.checked_sub(STREAM)
            && let Err(reason) = self.watched(stream, body)
        {
            self.fatal.get_or_insert(reason);
        }
    }

    fn closed(&mut self, connection: &mut Connection, tag: u64, status: Status) {
        if tag >= STREAM {
            self.fatal.get_or_insert(format!(
                "a watch stream ended: {}: {}",
                status.name(),
                status.message
            ));
            return;
        }
        self.answered += 1;
        self.tally.error(&status);
        if status.ok() {
            self.put += 1;
            self.puts
                .record(self.now.saturating_duration_since(self.slots[tag as usize]));
        }
        if self.begun < self.amount.total && self.amount.rate == 0 {
            self.begin_put(tag as usize, connection);
        }
    }
}

impl Driver for Fan {
    fn woke(&mut self, now: Instant) {
        self.now = now;
    }

    fn turn(&mut self, connections: &mut [Connection], now: Instant) -> Next {
        if self.fatal.is_some() {
            return Next::Done;
        }
        match self.phase {
            Phase::Opening if self.ids.len() == self.watchers.len() => return Next::Done,
            Phase::Opening if !self.opened => self.open(connections),
            Phase::Opening => (),
            Phase::Loading => {
                if self.begun == 0 {
                    (self.begin, self.now, self.last_event) = (now, now, now);
                }
                let Some(writer) = connections.last_mut() else {
                    return Next::Done;
                };
                if self.amount.rate > 0 {
                    // One put at a time: its deliveries are what is measured.
                    while self.begun < self.amount.total && writer.open_calls() == 0 {
                        let due = self.begin
                            + Duration::from_secs_f64(self.begun as f64 / self.amount.rate as f64);
                        if due > now {
                            return Next::Until(due);
                        }
                        self.now = now;
                        self.begin_put(0, writer);
                    }
                } else if self.begun == 0 {
                    for slot in 0..self.amount.clients.min(self.amount.total as usize) {
                        self.begin_put(slot, writer);
                    }
                }
                if self.answered == self.amount.total
                    && (self.lost() == 0 || now - self.last_event > PATIENCE)
                {
                    return Next::Done;
                }
            }
        }
        Next::Answers
    }
}

pub(super) fn run(
    load: &Load,
    watchers: usize,
    streams: usize,
    report: &mut Report,
) -> Result<(), Failed> {
    (report.workload, report.unit) = ("watch", "event");
    report.parameters.extend([
        ("watchers", watchers as u64),
        ("streams", streams as u64),
        ("puts", load.total),
    ]);
    if watchers == 0 || streams == 0 {
        return Err(Failed::Workload(
            "--watchers and --streams must be at least 1".into(),
        ));
    }
    // The writer has a connection of its own, after those of the watchers.
    let mut pool = Pool::connect(&load.endpoints, load.connections + 1)?;
    let amount = amount(load);
    let mut fan = Fan::new(load, watchers, streams, amount);
    pool.run(&mut fan)?;
    if let Some(reason) = fan.fatal.take() {
        return Err(Failed::Workload(reason));
    }
    fan.phase = Phase::Loading;
    let meter = Meter::start(load)?;
    let outcome = pool.run(&mut fan);
    let elapsed = fan.last_event - fan.begin;
    report.operations = fan.events;
    report.seconds = elapsed.as_secs_f64();
    report.per_second = fan.events as f64 / report.seconds.max(1e-9);
    report.latencies = vec![
        Latency::new("delivery", &fan.delivery),
        Latency::new("put", &fan.puts),
    ];
    report.errors = std::mem::take(&mut fan.tally.errors);
    report.facts = [
        ("puts", fan.put as f64),
        ("events lost", fan.lost() as f64),
        ("events twice or out of order", fan.duplicates as f64),
        ("events of others", fan.unmarked as f64),
        (
            "events per message",
            fan.events as f64 / fan.messages.max(1) as f64,
        ),
    ]
    .into();
    let used = meter.stop(report);
    if let Some(server) = &report.server {
        report.facts.insert(
            "server CPU us per put",
            server.cpu_us as f64 / fan.put.max(1) as f64,
        );
    }
    if let Some(reason) = fan.fatal.take() {
        return Err(Failed::Workload(reason));
    }
    outcome.and(used)?;
    if fan.lost() > 0 || fan.duplicates > 0 || fan.unmarked > 0 {
        return Err(Failed::Workload(
            "watchers did not get every event exactly once and in order".into(),
        ));
    }
    Ok(())
}
