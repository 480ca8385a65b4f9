//! Clients that write and read while a cluster changes under them, and keep a
//! ledger: every acknowledged write, every write without an answer, every
//! failure with what was being changed at that moment. A linearizable read at
//! any member must show a client its own last write. It must never send a
//! write twice, and never count a failure as excused that no announced change
//! explains.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use proto::etcdserverpb::*;
use tokio::{task::JoinHandle, time::timeout};
use tonic::{Code, Status};

use crate::{
    api::{self, Api},
    cluster::{Cluster, WITHIN, until},
    fingerprint,
    ledger::{self, Effects, Ledger},
    peer::Program,
    workload::Dice,
};

/// A request without an answer by then is given up, its effect unknown. Longer
/// than the 7 s after which etcd itself gives up.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(12);
/// A request sent so soon after its connection was made may be among its first bytes.
const HASTE: Duration = Duration::from_millis(20);
/// Between two requests of one client: the machine has other work as well.
const PAUSE: Duration = Duration::from_millis(3);

/// What a test is doing to the cluster, announced before it does it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The member that is stopped, killed, paused, cut off or replaced.
    pub place: usize,
    /// Whether the leader goes.
    pub leader: bool,
    /// Whether the member answers what it has taken before it goes: then no one's
    /// request fails with it ([`Program::drains`]).
    pub drains: bool,
    /// A sentence for people.
    pub step: Arc<str>,
}

/// Why a request failed, as far as its answer tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// etcd's errors of a cluster that changes its leader.
    Leadership,
    /// The member or the way to it went away while the request was there.
    Connection,
    /// Anything else.
    Other,
}

/// A request that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The member that was asked.
    pub place: usize,
    /// `put`, `txn`, `delete` or `read`.
    pub what: &'static str,
    /// What the answer says.
    pub cause: Cause,
    /// The answer.
    pub status: String,
    /// Whether it was sent before the server had said a word on its connection, as
    /// tonic does and grpc-go does not: a server that stops, etcd as well, loses it.
    pub hasty: bool,
    /// What was being changed at any time while the request was under way.
    pub during: Vec<Change>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = self.during.last();
        let step = step.map_or("nothing", |c| &c.step);
        write!(
            f,
            "{} at m{}: {} ({:?}) during {step}",
            self.what, self.place, self.status, self.cause
        )
    }
}

impl Failure {
    fn is_excused(&self) -> bool {
        self.during.iter().any(|change| match self.cause {
            Cause::Leadership => change.leader || change.place == self.place,
            Cause::Connection => change.place == self.place && (!change.drains || self.hasty),
            Cause::Other => false,
        })
    }
}

/// How a load went.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Acknowledged writes, all found in the history.
    pub writes: usize,
    /// Linearizable reads, all fresh.
    pub reads: usize,
    /// Writes that failed while the leader changed.
    pub at_leader_changes: usize,
    /// Writes that failed because their member was going.
    pub at_members_going: usize,
    /// What failed, and how often.
    pub failures: BTreeMap<String, usize>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} writes acknowledged, none lost, {} fresh reads, {} writes failed at leader changes, {} at members going",
            self.writes, self.reads, self.at_leader_changes, self.at_members_going
        )?;
        for (failure, times) in &self.failures {
            write!(f, "\n    {times} x {failure}")?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Book {
    ledger: Ledger,
    failures: Vec<Failure>,
    wrong: Vec<String>,
    /// Changes with their begin and end.
    changes: Vec<(Instant, Option<Instant>, Change)>,
    writes: usize,
    reads: usize,
}

impl Book {
    /// Files the failure of a request that began then and has failed now.
    fn fail(&mut self, began: Instant, failure: impl FnOnce(Vec<Change>) -> Failure) {
        let overlapping = self
            .changes
            .iter()
            .filter(|(_, end, _)| end.is_none_or(|end| end >= began));
        let during = overlapping.map(|(_, _, change)| change.clone()).collect();
        self.failures.push(failure(during));
    }
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    book: Mutex<Book>,
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no one panics under this lock")
    }
}

/// A running load.
pub struct Load {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
    first: i64,
}

impl Load {
    /// Starts `clients` clients, spread over the members at `places`, which must
    /// run. No one else may write until [`Load::finish`].
    pub async fn start(
        cluster: &Cluster,
        places: &[usize],
        clients: usize,
        seed: u64,
    ) -> Result<Load> {
        let shared = Arc::new(Shared::default());
        let mut dice = Dice::new(seed);
        let ports: Vec<(usize, u16)> = places
            .iter()
            .map(|p| (*p, cluster.members()[*p].client_port))
            .collect();
        let first_place = *places.first().context("no member to write to")?;
        let now = cluster.api(first_place).range(api::get("now")).await?;
        let first = now.header.map_or(0, |h| h.revision) + 1;
        let tasks = (0..clients)
            .map(|number| {
                let client = Client {
                    number,
                    generation: 0,
                    last: BTreeMap::new(),
                    dice: Dice::new(dice.bits()),
                    endpoints: ports
                        .iter()
                        .map(|(p, port)| (*p, Api::new(*port)))
                        .collect(),
                    at: number % ports.len(),
                    shared: shared.clone(),
                };
                tokio::spawn(client.run())
            })
            .collect();
        Ok(Load {
            shared,
            tasks,
            first,
        })
    }

    /// Announces that a member goes without warning or cannot be reached: failures
    /// from requests that overlap it are judged by it.
    pub fn change(&self, place: usize, leader: bool, step: &str) {
        self.announce(place, leader, false, step);
    }

    /// Announces that a member is stopped as an operator stops it.
    pub fn stopping(&self, place: usize, leader: bool, program: &Program, step: &str) {
        self.announce(place, leader, program.drains(), step);
    }

    fn announce(&self, place: usize, leader: bool, drains: bool, step: &str) {
        self.calm();
        let step = step.into();
        let change = Change {
            place,
            leader,
            drains,
            step,
        };
        let mut book = self.shared.book();
        book.changes.push((Instant::now(), None, change));
    }

    /// Ends the change: the cluster is as it should be again.
    pub fn calm(&self) {
        if let Some((_, end @ None, _)) = self.shared.book().changes.last_mut() {
            *end = Some(Instant::now());
        }
    }

    /// Another client's write, which is no one else's either.
    pub fn acknowledge(
        &self,
        header: Option<&ResponseHeader>,
        key: Bytes,
        value: Bytes,
    ) -> Result<()> {
        let effects = Effects::from([(key, Some(value))]);
        self.shared.book().ledger.acknowledge(header, effects)
    }

    /// Writes acknowledged so far.
    pub fn writes(&self) -> usize {
        self.shared.book().writes
    }

    /// Waits until `n` more writes have been acknowledged.
    pub async fn more(&self, n: usize) -> Result<()> {
        let goal = self.writes() + n;
        until("writes go on", WITHIN, async || {
            let now = self.writes();
            ensure!(now >= goal, "{now} of {goal} writes acknowledged");
            Ok(())
        })
        .await
    }

    /// Stops the clients and judges everything they saw, by the history that the
    /// member at `place` tells.
    pub async fn finish(self, cluster: &Cluster, place: usize) -> Result<Summary> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await?;
        }
        let mut book = std::mem::take(&mut *self.shared.book());
        ensure!(book.wrong.is_empty(), "wrong answers: {:#?}", book.wrong);
        let mut failures: BTreeMap<String, usize> = BTreeMap::new();
        let mut unexcused = failures.clone();
        for failure in &book.failures {
            *failures.entry(failure.to_string()).or_default() += 1;
            if !failure.is_excused() {
                *unexcused.entry(failure.to_string()).or_default() += 1;
            }
        }
        ensure!(
            unexcused.is_empty(),
            "of {} failures these are explained by no change: {unexcused:#?}",
            book.failures.len()
        );
        let api = cluster.api(place);
        let now = api.everything(0).await?;
        let last = now.header.as_ref().map_or(0, |h| h.revision);
        let events = fingerprint::events(api, self.first, last).await?;
        let mut keys = Effects::new();
        ledger::verify(&events, self.first, last, &mut book.ledger, &mut keys)?;
        let stored: BTreeMap<_, _> = now.kvs.into_iter().map(|kv| (kv.key, kv.value)).collect();
        for (key, value) in &keys {
            ensure!(
                stored.get(key) == value.as_ref(),
                "{key:?} is {:?}, its history says {value:?}",
                stored.get(key)
            );
        }
        let writes = |cause| {
            let failed = book.failures.iter().filter(|f| f.what != "read");
            failed.filter(|f| f.cause == cause).count()
        };
        Ok(Summary {
            writes: book.writes,
            reads: book.reads,
            at_leader_changes: writes(Cause::Leadership),
            at_members_going: writes(Cause::Connection),
            failures,
        })
    }
}

struct Client {
    number: usize,
    generation: u32,
    /// What a read of a key must give.
    last: BTreeMap<Bytes, Bytes>,
    dice: Dice,
    endpoints: Vec<(usize, Api)>,
    at: usize,
    shared: Arc<Shared>,
}

impl Client {
    async fn run(mut self) {
        for turn in 0u64.. {
            if self.shared.stop.load(Ordering::Relaxed) {
                return;
            }
            let value = Bytes::from(format!(
                "{}:{turn}:{}",
                self.number,
                "v".repeat(self.dice.below(200) as usize)
            ));
            match self.dice.below(6) {
                0 => self.read().await,
                1 => {
                    let (a, b) = (self.key(0), self.key(6));
                    self.write("txn", &[(a, Some(value.clone())), (b, Some(value))])
                        .await;
                }
                2 => {
                    // Only a key that is known to be there is deleted.
                    let key = Bytes::from(format!("load/{}/gone/{turn}", self.number));
                    if self.write("put", &[(key.clone(), Some(value))]).await {
                        self.write("delete", &[(key, None)]).await;
                    }
                }
                _ => {
                    let key = self.key(0);
                    self.write("put", &[(key, Some(value))]).await;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// A key of this client. After a write without an answer it uses new ones:
    /// that write may come at any later time.
    fn key(&mut self, from: u64) -> Bytes {
        let n = from + self.dice.below(6);
        format!("load/{}/{}/{n}", self.number, self.generation).into()
    }

    /// Writes; true when it was acknowledged.
    async fn write(&mut self, what: &'static str, effects: &[(Bytes, Option<Bytes>)]) -> bool {
        loop {
            if self.shared.stop.load(Ordering::Relaxed) {
                return false;
            }
            let began = Instant::now();
            let (place, api) = self.endpoints[self.at].clone();
            let map: Effects = effects.iter().cloned().collect();
            let error = match timeout(GIVEN_UP_AFTER, send(&api, effects)).await {
                Ok(Ok(header)) => {
                    let mut book = self.shared.book();
                    book.writes += 1;
                    if let Err(error) = book.ledger.acknowledge(header.as_ref(), map) {
                        book.wrong.push(error.to_string());
                    }
                    drop(book);
                    for (key, value) in effects {
                        match value {
                            Some(value) => self.last.insert(key.clone(), value.clone()),
                            None => self.last.remove(key),
                        };
                    }
                    return true;
                }
                Ok(Err(status)) if never_sent(&status) => {
                    // Nothing happened to the write: the next member gets it.
                    self.elsewhere().await;
                    continue;
                }
                Ok(Err(status)) => Some(status),
                Err(_) => None,
            };
            self.shared.book().ledger.open.push(map);
            self.failed(&api, place, what, error, began).await;
            self.generation += 1;
            self.last.clear();
            return false;
        }
    }

    /// Reads an own key at any member.
    async fn read(&mut self) {
        let known = self.last.len() as u64;
        if known == 0 {
            return;
        }
        let nth = self.dice.below(known) as usize;
        let Some((key, value)) = self
            .last
            .iter()
            .nth(nth)
            .map(|(k, v)| (k.clone(), v.clone()))
        else {
            return;
        };
        let began = Instant::now();
        let at = self.dice.below(self.endpoints.len() as u64) as usize;
        let (place, api) = self.endpoints[at].clone();
        match timeout(GIVEN_UP_AFTER, api.range(api::get(key.clone()))).await {
            Ok(Ok(answer)) => {
                let found = answer.kvs.first().map(|kv| kv.value.clone());
                let mut book = self.shared.book();
                book.reads += 1;
                if found.as_ref() != Some(&value) {
                    book.wrong.push(format!(
                        "member {place} reads {found:?} for {key:?}, written was {value:?}"
                    ));
                }
            }
            Ok(Err(status)) if never_sent(&status) => {}
            Ok(Err(status)) => self.failed(&api, place, "read", Some(status), began).await,
            Err(_) => self.failed(&api, place, "read", None, began).await,
        }
    }

    async fn failed(
        &mut self,
        api: &Api,
        place: usize,
        what: &'static str,
        error: Option<Status>,
        began: Instant,
    ) {
        let (cause, status) = match error {
            Some(status) => (cause(&status), words(&status)),
            None => (
                Cause::Connection,
                format!("no answer within {GIVEN_UP_AFTER:?}"),
            ),
        };
        let hasty = api.connected().is_none_or(|made| made + HASTE > began);
        self.shared.book().fail(began, |during| Failure {
            place,
            what,
            cause,
            status,
            hasty,
            during,
        });
        if cause == Cause::Connection {
            self.elsewhere().await;
        }
    }

    async fn elsewhere(&mut self) {
        self.at = (self.at + 1) % self.endpoints.len();
        tokio::time::sleep(PAUSE).await;
    }
}

async fn send(
    api: &Api,
    effects: &[(Bytes, Option<Bytes>)],
) -> Result<Option<ResponseHeader>, Status> {
    match effects {
        [(key, Some(value))] => api
            .put(api::put(key.clone(), value.clone()))
            .await
            .map(|a| a.header),
        [(key, None)] => api
            .delete_range(api::delete(key.clone()))
            .await
            .map(|a| a.header),
        several => {
            let success = several
                .iter()
                .map(|(key, value)| match value {
                    Some(value) => api::op_put(api::put(key.clone(), value.clone())),
                    None => api::op_delete(api::delete(key.clone())),
                })
                .collect();
            let txn = TxnRequest {
                success,
                ..Default::default()
            };
            api.txn(txn).await.map(|a| a.header)
        }
    }
}

/// Whether no server saw the request: there was no connection to send it on, or
/// the one there was took no more requests.
pub fn never_sent(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::ConnectionRefused
        {
            return true;
        }
        // The connection was closing before the request was written to it.
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && error.is_canceled()
        {
            return true;
        }
        source = error.source();
    }
    false
}

/// Code, message and, for an error made on this side, what lies below it.
fn words(status: &Status) -> String {
    let mut text = format!("{:?}: {}", status.code(), status.message());
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        text.push_str(&format!(" < {error}"));
        source = error.source();
    }
    text
}

fn cause(status: &Status) -> Cause {
    const LEADERSHIP: [&str; 7] = [
        "etcdserver: leader changed",
        "etcdserver: no leader",
        "etcdserver: not leader",
        "etcdserver: request timed out",
        "etcdserver: request timed out, possibly due to previous leader failure",
        "etcdserver: request timed out, possibly due to connection lost",
        "raft proposal dropped",
    ];
    let text = status.message();
    if LEADERSHIP.contains(&text) {
        return Cause::Leadership;
    }
    // What etcd says while it stops, and what tonic says of a connection that ended.
    let ended = [
        "etcdserver: server stopped",
        "transport is closing",
        "closing transport",
    ];
    let is_local = std::error::Error::source(status).is_some();
    if ended.iter().any(|e| text.contains(e))
        || (is_local
            && matches!(
                status.code(),
                Code::Unknown | Code::Unavailable | Code::Cancelled | Code::Internal
            ))
    {
        return Cause::Connection;
    }
    Cause::Other
}
