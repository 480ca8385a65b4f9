//! The closed loop: a fixed number of requests outstanding, each answer
//! begins the next one on its own connection. With a rate, requests begin on
//! a schedule, and one that had to wait for a free place is timed from when it
//! was due, so that a slow server cannot hide by slowing the load.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::grpc::{Method, Status};
use crate::histogram::Histogram;
use crate::http2::{Connection, Handler};
use crate::net::{Driver, Failed, Next, Pool};

/// What is asked, and what an answer must hold. `slot` is one of the requests
/// that are outstanding at once; a slot has one request at a time.
pub(crate) trait Requests {
    /// The method of the slot's next request.
    fn method(&mut self, slot: usize) -> Method;
    /// Writes the message of the slot's next request.
    fn body(&mut self, slot: usize, out: &mut Vec<u8>);
    /// Looks at a message of the answer; a streamed answer has many.
    fn answer(&mut self, slot: usize, body: &[u8]) -> Result<(), String>;
    /// The answer is complete, and the status was success.
    fn complete(&mut self, _slot: usize) -> Result<(), String> {
        Ok(())
    }
    /// The slot's request ended in an error.
    fn failed(&mut self, _slot: usize) {}
    /// Which of [`Tally::histograms`] times the slot.
    fn class(&self, _slot: usize) -> usize {
        0
    }
}

/// What a loop counted.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Latencies of successful requests, by class.
    pub(crate) histograms: Vec<Histogram>,
    /// Error texts and how often each came.
    pub(crate) errors: BTreeMap<String, u64>,
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
}

impl Tally {
    /// Counts `status` unless it is success.
    pub(crate) fn error(&mut self, status: &Status) {
        if !status.ok() {
            let text = format!("{}: {}", status.name(), status.message);
            *self.errors.entry(text).or_default() += 1;
        }
    }

    /// Requests that succeeded.
    pub(crate) fn succeeded(&self) -> u64 {
        self.histograms.iter().map(Histogram::len).sum()
    }
}

/// How much a loop asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amount {
    /// Requests outstanding at once.
    pub(crate) clients: usize,
    /// Requests in all.
    pub(crate) total: u64,
    /// Requests per second; 0 for no schedule.
    pub(crate) rate: u64,
    /// Number of classes.
    pub(crate) classes: usize,
}

/// Runs `requests` on `pool`. The tally holds what was measured also when the
/// run failed.
pub(crate) fn run(
    pool: &mut Pool,
    requests: &mut impl Requests,
    amount: Amount,
) -> (Tally, Result<(), Failed>) {
    let now = Instant::now();
    let mut driver = Closed {
        requests,
        slots: vec![
            Slot {
                started: now,
                wrong: None
            };
            amount.clients
        ],
        free: VecDeque::new(),
        amount,
        begin: now,
        now,
        begun: 0,
        ended: 0,
        started: false,
        starved: false,
        tally: Tally {
            histograms: vec![Histogram::default(); amount.classes],
            ..Tally::default()
        },
    };
    let outcome = pool.run(&mut driver);
    driver.tally.elapsed = driver.now - driver.begin;
    (driver.tally, outcome)
}

#[derive(Debug, Clone)]
struct Slot {
    started: Instant,
    /// The first fault found in the answer.
    wrong: Option<String>,
}

struct Closed<'a, R> {
    requests: &'a mut R,
    slots: Vec<Slot>,
    /// Slots without a request; only used with a rate.
    free: VecDeque<usize>,
    amount: Amount,
    begin: Instant,
    now: Instant,
    begun: u64,
    ended: u64,
    started: bool,
    /// Requests were due while no slot was free.
    starved: bool,
    tally: Tally,
}

impl<R: Requests> Closed<'_, R> {
    fn begin(&mut self, slot: usize, connection: &mut Connection, started: Instant) {
        self.begun += 1;
        self.slots[slot].started = started;
        let method = self.requests.method(slot);
        let requests = &mut *self.requests;
        connection.call(method, slot as u64, true, |out| requests.body(slot, out));
    }

    fn due(&self, index: u64) -> Instant {
        self.begin + Duration::from_secs_f64(index as f64 / self.amount.rate as f64)
    }
}

impl<R: Requests> Handler for Closed<'_, R> {
    fn message(&mut self, _: &mut Connection, tag: u64, body: &[u8]) {
        let slot = tag as usize;
        if let Err(wrong) = self.requests.answer(slot, body) {
            self.slots[slot].wrong.get_or_insert(wrong);
        }
    }

    fn closed(&mut self, connection: &mut Connection, tag: u64, status: Status) {
        let slot = tag as usize;
        self.ended += 1;
        let mut wrong = self.slots[slot].wrong.take();
        if status.ok() && wrong.is_none() {
            wrong = self.requests.complete(slot).err();
        }
        match wrong {
            Some(wrong) if status.ok() => {
                self.requests.failed(slot);
                self.tally
                    .error(&Status::wrong(format!("wrong answer: {wrong}")));
            }
            _ if status.ok() => {
                let class = self.requests.class(slot);
                self.tally.histograms[class]
                    .record(self.now.saturating_duration_since(self.slots[slot].started));
            }
            _ => {
                self.requests.failed(slot);
                self.tally.error(&status);
            }
        }
        if self.amount.rate > 0 {
            self.free.push_back(slot);
        } else if self.begun < self.amount.total {
            self.begin(slot, connection, self.now);
        }
    }
}

impl<R: Requests> Driver for Closed<'_, R> {
    fn woke(&mut self, now: Instant) {
        self.now = now;
    }

    fn turn(&mut self, connections: &mut [Connection], now: Instant) -> Next {
        let share = connections.len();
        if !self.started {
            self.started = true;
            self.begin = now;
            self.now = now;
            for slot in 0..self.slots.len() {
                if self.amount.rate > 0 {
                    self.free.push_back(slot);
                } else if self.begun < self.amount.total {
                    self.begin(slot, &mut connections[slot % share], now);
                }
            }
        }
        if self.ended >= self.amount.total {
            return Next::Done;
        }
        if self.amount.rate == 0 {
            return Next::Answers;
        }
        while self.begun < self.amount.total {
            let due = self.due(self.begun);
            if due > now {
                self.starved = false;
                return Next::Until(due);
            }
            let Some(slot) = self.free.pop_front() else {
                self.starved = true;
                return Next::Answers;
            };
            // Our own late waking is not the server's latency; its lack of answers is.
            let started = if self.starved { due } else { now };
            self.begin(slot, &mut connections[slot % share], started);
        }
        Next::Answers
    }
}

/// Calls `method` once and returns the last message of the answer.
pub(crate) fn once(pool: &mut Pool, method: Method, body: &[u8]) -> Result<Vec<u8>, OnceFailed> {
    struct Once<'a>(&'a [u8], Option<Method>, Vec<u8>, Option<Status>);
    impl Handler for Once<'_> {
        fn message(&mut self, _: &mut Connection, _: u64, body: &[u8]) {
            self.2 = body.to_vec();
        }
        fn closed(&mut self, _: &mut Connection, _: u64, status: Status) {
            self.3 = Some(status);
        }
    }
    impl Driver for Once<'_> {
        fn woke(&mut self, _: Instant) {}
        fn turn(&mut self, connections: &mut [Connection], _: Instant) -> Next {
            if let Some(method) = self.1.take() {
                let body = self.0;
                connections[0].call(method, 0, true, |out| out.extend_from_slice(body));
            }
            if self.3.is_some() {
                Next::Done
            } else {
                Next::Answers
            }
        }
    }
    let mut driver = Once(body, Some(method), Vec::new(), None);
    pool.run(&mut driver).map_err(OnceFailed::Run)?;
    match driver.3 {
        Some(status) if !status.ok() => Err(OnceFailed::Refused(method, status)),
        _ => Ok(driver.2),
    }
}

/// Why a single call brought no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OnceFailed {
    /// The connection failed.
    #[error("{0}")]
    Run(Failed),
    /// The server answered with an error.
    #[error("{}: {}: {}", .0.path(), .1.name(), .1.message)]
    Refused(Method, Status),
}
