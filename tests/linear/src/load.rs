//! Clients that record. Each asks one member at a time, one call at a time,
//! never again after an error, and writes down when it asked, when it knew,
//! and what. Watchers follow every change from the first revision on, moving
//! from member to member where a stream ends. It must never write down an
//! answer as failed that might have happened.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use peers::api::{self, Api};
use proto::{
    etcdserverpb::{
        CompactionRequest, Compare as PbCompare, DeleteRangeRequest, LeaseGrantRequest,
        LeaseRevokeRequest, PutRequest, RangeRequest, ResponseHeader, ResponseOp, TxnRequest,
        WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse, compare, request_op,
        response_op, watch_request,
    },
    mvccpb,
};
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};

use crate::{
    history::{
        Body, Call, Compare, Event, History, Kv, Message, Op, Outcome, Segment, Step, Target, Us,
        Watcher,
    },
    rng::Rng,
};

/// Members a run can have over its whole time.
pub const PLACES_MAX: usize = 16;
/// A call that has no answer by then is given up; no one knows what became of it.
const CALL_WITHIN: Duration = Duration::from_secs(4);
/// A stream that says nothing for so long, though it is asked for progress, is left.
const SILENT_FOR: Duration = Duration::from_millis(1500);
/// Calls of one run; the load ends there, so that memory and the check are bounded.
const OPS_MAX: usize = 20_000;
/// Keys without a lease.
const KEYS: u64 = 6;

/// What all clients of a run share.
pub struct Recorder {
    begun: Instant,
    ops: Mutex<Vec<Op>>,
    doubtful: Mutex<Vec<(Us, Us)>>,
    starts: [AtomicU32; PLACES_MAX],
    /// Client ports by place, of the members that may be asked.
    open: Mutex<BTreeMap<usize, u16>>,
    /// The next revision each watcher waits for.
    next: Mutex<Vec<Arc<AtomicI64>>>,
    calls: AtomicUsize,
    stop_load: AtomicBool,
    stop_watch: AtomicBool,
}

impl Recorder {
    /// A recorder whose clock begins now.
    pub fn new() -> Arc<Recorder> {
        Arc::new(Recorder {
            begun: Instant::now(),
            ops: Mutex::default(),
            doubtful: Mutex::default(),
            starts: Default::default(),
            open: Mutex::default(),
            next: Mutex::default(),
            calls: AtomicUsize::new(0),
            stop_load: AtomicBool::new(false),
            stop_watch: AtomicBool::new(false),
        })
    }

    /// Microseconds since the run began.
    pub fn now(&self) -> Us {
        self.begun.elapsed().as_micros() as Us
    }

    /// The process of a member is another one from here on.
    pub fn restarted(&self, place: usize) {
        self.starts[place].fetch_add(1, Ordering::SeqCst);
    }

    /// A member may be asked.
    pub fn open(&self, place: usize, port: u16) {
        held(&self.open).insert(place, port);
    }

    /// A member is not asked any more.
    pub fn close(&self, place: usize) {
        held(&self.open).remove(&place);
    }

    /// From `from` to a little after now a member may have led without knowing better.
    pub fn doubt(&self, from: Us) {
        // An old leader learns within one election timeout, one second here.
        let to = self.now() + 2_000_000;
        held(&self.doubtful).push((from, to));
    }

    /// No new calls.
    pub fn stop_load(&self) {
        self.stop_load.store(true, Ordering::SeqCst);
    }

    /// Watchers end.
    pub fn stop_watch(&self) {
        self.stop_watch.store(true, Ordering::SeqCst);
    }

    /// What every watcher has been told of, all of it.
    pub fn told(&self) -> i64 {
        let next = held(&self.next);
        next.iter()
            .map(|n| n.load(Ordering::SeqCst))
            .min()
            .unwrap_or(1)
            - 1
    }

    /// The newest revision that a call was answered with.
    pub fn top(&self) -> i64 {
        let ops = held(&self.ops);
        let revisions = ops.iter().map(|op| match op.outcome {
            Outcome::Ok { revision, .. } => revision,
            _ => 0,
        });
        revisions.max().unwrap_or(0)
    }

    /// Calls that were answered, and all.
    pub fn counts(&self) -> (usize, usize) {
        let ops = held(&self.ops);
        let ok = |op: &&Op| matches!(op.outcome, Outcome::Ok { .. });
        (ops.iter().filter(ok).count(), ops.len())
    }

    /// What was recorded, and by the watchers.
    pub fn history(&self, watchers: Vec<Watcher>) -> History {
        History {
            ops: held(&self.ops).clone(),
            watchers,
            doubtful: held(&self.doubtful).clone(),
        }
    }

    /// Makes one call at one member and records it.
    pub async fn call(&self, client: usize, place: usize, api: &Api, call: Call) -> Outcome {
        let started = || self.starts[place].load(Ordering::SeqCst);
        let (before, invoke) = (started(), self.now());
        let outcome = match timeout(CALL_WITHIN, send(api, &call)).await {
            Ok(Ok((revision, body))) => Outcome::Ok { revision, body },
            Ok(Err(status)) if leaves_no_trace(&status) => {
                Outcome::Failed(status.message().to_owned())
            }
            Ok(Err(status)) => Outcome::Unknown(status.message().to_owned()),
            Err(_) => Outcome::Unknown("no answer".to_owned()),
        };
        let returned = self.now();
        let op = Op {
            client,
            place,
            starts: (before, started()),
            invoke,
            returned,
            call,
            outcome: outcome.clone(),
        };
        held(&self.ops).push(op);
        outcome
    }

    fn port(&self, place: usize) -> Option<u16> {
        held(&self.open).get(&place).copied()
    }

    fn places(&self) -> Vec<usize> {
        held(&self.open).keys().copied().collect()
    }

    fn may_call(&self) -> bool {
        !self.stop_load.load(Ordering::SeqCst)
            && self.calls.fetch_add(1, Ordering::Relaxed) < OPS_MAX
    }
}

fn held<T>(lock: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    lock.lock().expect("no one panics under this lock")
}

/// Refusals that come before or instead of any effect.
fn leaves_no_trace(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::InvalidArgument | Code::NotFound | Code::OutOfRange | Code::FailedPrecondition
    ) || status.message() == "etcdserver: too many requests"
        || status.message() == "etcdserver: rpc not supported for learner"
}

/// A client that reads and writes until the load stops. Even ones keep to one
/// member; odd ones ask another each time.
pub async fn client(recorder: Arc<Recorder>, id: usize, seed: u64) {
    let mut rng = Rng::new(seed.wrapping_mul(1000) + id as u64);
    let mut apis: BTreeMap<usize, Api> = BTreeMap::new();
    let mut n = 0;
    // The last pair this client saw of each key, to compare with.
    let mut seen: BTreeMap<String, Kv> = BTreeMap::new();
    while recorder.may_call() {
        let places = recorder.places();
        let home = places.get(id / 2 % places.len().max(1)).copied();
        let wanted = if id.is_multiple_of(2) {
            home
        } else {
            rng.pick(&places)
        };
        let Some(place) = wanted else {
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        let Some(port) = recorder.port(place) else {
            continue;
        };
        let api = apis.entry(place).or_insert_with(|| Api::new(port)).clone();
        n += 1;
        let call = choose(&mut rng, id, n, &seen, recorder.told());
        let outcome = recorder.call(id, place, &api, call).await;
        if let Outcome::Ok {
            body: Body::Range(kvs),
            ..
        } = &outcome
        {
            seen.extend(kvs.iter().map(|kv| (kv.key.clone(), kv.clone())));
        }
        let pause = if matches!(outcome, Outcome::Unknown(_)) {
            50
        } else {
            4
        };
        sleep(Duration::from_millis(pause + rng.below(12))).await;
    }
}

fn choose(rng: &mut Rng, id: usize, n: u64, seen: &BTreeMap<String, Kv>, told: i64) -> Call {
    let key = format!("k{}", rng.below(KEYS));
    let value = format!("c{id}-{n}");
    match rng.below(100) {
        0..28 => Call::Put {
            key,
            value,
            lease: 0,
        },
        28..34 => Call::Delete { key },
        34..56 => Call::Get {
            key: Some(key),
            serializable: false,
            revision: 0,
        },
        56..64 => Call::Get {
            key: None,
            serializable: false,
            revision: 0,
        },
        64..72 => {
            // Mostly among the newest hundred, of which few are compacted.
            let back = rng.below(100) as i64;
            Call::Get {
                key: None,
                serializable: rng.percent(50),
                revision: (told - back).max(1),
            }
        }
        72..82 => {
            let key = rng.percent(50).then_some(key);
            Call::Get {
                key,
                serializable: true,
                revision: 0,
            }
        }
        _ => txn(rng, key, &value, seen),
    }
}

fn txn(rng: &mut Rng, key: String, value: &str, seen: &BTreeMap<String, Kv>) -> Call {
    let kv = seen.get(&key);
    let target = match rng.below(4) {
        0 => Target::Version(kv.map_or(0, |k| k.version)),
        1 => Target::Create(kv.map_or(0, |k| k.create)),
        2 => Target::Modified(kv.map_or(0, |k| k.modified)),
        _ => Target::Value(kv.map_or_else(String::new, |k| k.value.clone())),
    };
    let number = key[1..].parse::<u64>().unwrap_or(0);
    let other = format!("k{}", (number + 1 + rng.below(KEYS - 1)) % KEYS);
    let then = vec![
        Step::Get(other.clone()),
        Step::Put(key.clone(), format!("{value}a")),
        if rng.percent(30) {
            Step::Delete(other.clone())
        } else {
            Step::Put(other.clone(), format!("{value}b"))
        },
        Step::Get(key.clone()),
    ];
    let otherwise = match rng.percent(50) {
        true => vec![Step::Get(key.clone()), Step::Get(other)],
        false => vec![
            Step::Put(other, format!("{value}c")),
            Step::Get(key.clone()),
        ],
    };
    Call::Txn {
        compares: vec![Compare { key, target }],
        then,
        otherwise,
    }
}

/// A client that takes leases, hangs keys on them, renews them for a while, and
/// lets them end or ends them.
pub async fn leaser(recorder: Arc<Recorder>, id: usize, seed: u64) {
    let mut rng = Rng::new(seed.wrapping_mul(1000) + id as u64);
    let mut n = 0;
    while recorder.may_call() {
        n += 1;
        let Some(place) = rng.pick(&recorder.places()) else {
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        let Some(port) = recorder.port(place) else {
            continue;
        };
        let api = Api::new(port);
        let lease = (id as i64) << 32 | n;
        let grant = Call::Grant { lease, ttl: 2 };
        if !matches!(
            recorder.call(id, place, &api, grant).await,
            Outcome::Ok { .. }
        ) {
            sleep(Duration::from_millis(100)).await;
            continue;
        }
        for part in 0..1 + rng.below(3) {
            let call = Call::Put {
                key: format!("l{id}-{n}-{part}"),
                value: format!("c{id}-{n}-{part}"),
                lease,
            };
            recorder.call(id, place, &api, call).await;
        }
        for _ in 0..rng.below(6) {
            sleep(Duration::from_millis(100 + rng.below(500))).await;
            recorder
                .call(id, place, &api, Call::KeepAlive { lease })
                .await;
        }
        if rng.percent(40) {
            recorder.call(id, place, &api, Call::Revoke { lease }).await;
            if rng.percent(50) {
                // A revoked lease takes no key and no renewal.
                let call = Call::Put {
                    key: format!("l{id}-{n}-late"),
                    value: format!("c{id}-{n}-late"),
                    lease,
                };
                recorder.call(id, place, &api, call).await;
                recorder
                    .call(id, place, &api, Call::KeepAlive { lease })
                    .await;
            }
        }
    }
}

/// Forgets what all watchers have been told of long ago.
pub async fn compact(recorder: &Recorder, place: usize, client: usize) {
    let revision = recorder.told() - 60;
    if let Some(port) = recorder.port(place).filter(|_| revision > 1) {
        recorder
            .call(client, place, &Api::new(port), Call::Compact { revision })
            .await;
    }
}

/// Reads everything at every member, and again at each from what it has.
pub async fn read_all(recorder: &Recorder, client: usize) {
    for place in recorder.places() {
        let Some(port) = recorder.port(place) else {
            continue;
        };
        for serializable in [false, true] {
            let call = Call::Get {
                key: None,
                serializable,
                revision: 0,
            };
            recorder.call(client, place, &Api::new(port), call).await;
        }
    }
}

/// A watcher of one key or all from revision 1 on, until it is stopped.
pub async fn watcher(recorder: Arc<Recorder>, id: usize, key: Option<String>) -> Watcher {
    let next = Arc::new(AtomicI64::new(1));
    held(&recorder.next).push(next.clone());
    let mut segments = Vec::new();
    let mut turn = id;
    while !recorder.stop_watch.load(Ordering::SeqCst) {
        let places = recorder.places();
        let place = places.get(turn % places.len().max(1)).copied();
        turn += 1;
        let Some((place, port)) = place.and_then(|p| Some((p, recorder.port(p)?))) else {
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        let start = next.load(Ordering::SeqCst);
        let mut segment = Segment {
            place,
            start,
            messages: Vec::new(),
        };
        // How it ends does not matter: the next one begins where it ended.
        let _ = follow(&recorder, port, &key, &mut segment, &next).await;
        if !segment.messages.is_empty() {
            segments.push(segment);
        } else {
            sleep(Duration::from_millis(50)).await;
        }
    }
    let of = key.as_deref().unwrap_or("everything").to_owned();
    Watcher {
        name: format!("watcher {id} of {of}"),
        key,
        segments,
    }
}

async fn follow(
    recorder: &Recorder,
    port: u16,
    key: &Option<String>,
    segment: &mut Segment,
    next: &AtomicI64,
) -> Result<(), Status> {
    let (requests, queue) = tokio::sync::mpsc::channel::<WatchRequest>(16);
    let create = WatchCreateRequest {
        key: key
            .as_ref()
            .map_or_else(|| vec![0], |k| k.clone().into_bytes())
            .into(),
        range_end: key.as_ref().map_or_else(|| vec![0], |_| Vec::new()).into(),
        start_revision: segment.start,
        prev_kv: true,
        progress_notify: true,
        ..Default::default()
    };
    let _ = requests
        .send(WatchRequest {
            request_union: Some(watch_request::RequestUnion::CreateRequest(create)),
        })
        .await;
    let queue = futures_util::stream::unfold(queue, |mut queue| async move {
        queue.recv().await.map(|request| (request, queue))
    });
    let mut api = Api::new(port).watch();
    let opened = timeout(SILENT_FOR, api.watch(queue)).await;
    let mut stream = opened
        .map_err(|_| Status::deadline_exceeded("no stream"))??
        .into_inner();
    let mut heard = Instant::now();
    let mut asked = Instant::now();
    loop {
        if recorder.stop_watch.load(Ordering::SeqCst) || heard.elapsed() > SILENT_FOR {
            return Ok(());
        }
        if asked.elapsed() > Duration::from_millis(250) {
            asked = Instant::now();
            let progress = watch_request::RequestUnion::ProgressRequest(WatchProgressRequest {});
            let _ = requests.try_send(WatchRequest {
                request_union: Some(progress),
            });
        }
        let Ok(message) = timeout(Duration::from_millis(100), stream.message()).await else {
            continue;
        };
        let at = recorder.now();
        let Some(response) = message? else {
            return Ok(());
        };
        heard = Instant::now();
        if response.created {
            continue;
        }
        if response.canceled {
            return Err(Status::aborted(response.cancel_reason));
        }
        let message = message_of(response, at);
        let upto = message.events.iter().map(Event::revision).max();
        let upto = upto.unwrap_or(message.revision);
        next.fetch_max(upto + 1, Ordering::SeqCst);
        segment.messages.push(message);
    }
}

fn message_of(response: WatchResponse, at: Us) -> Message {
    let revision = response.header.map_or(0, |h| h.revision);
    let events = response.events.into_iter().filter_map(|event| {
        let prev = event.prev_kv.map(kv_of);
        let kv = event.kv?;
        Some(match event.r#type {
            0 => Event::Put(kv_of(kv), prev),
            _ => Event::Delete {
                key: text(&kv.key),
                revision: kv.mod_revision,
                prev,
            },
        })
    });
    Message {
        at,
        revision,
        events: events.collect(),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn kv_of(kv: mvccpb::KeyValue) -> Kv {
    Kv {
        key: text(&kv.key),
        value: text(&kv.value),
        create: kv.create_revision,
        modified: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}

fn put_of(key: &str, value: &str, lease: i64) -> PutRequest {
    PutRequest {
        lease,
        prev_kv: true,
        ..api::put(key.to_owned(), value.to_owned())
    }
}

fn delete_of(key: &str) -> DeleteRangeRequest {
    DeleteRangeRequest {
        prev_kv: true,
        ..api::delete(key.to_owned())
    }
}

fn revision_of(header: Option<ResponseHeader>) -> i64 {
    header.map_or(0, |h| h.revision)
}

async fn send(api: &Api, call: &Call) -> Result<(i64, Body), Status> {
    Ok(match call {
        Call::Put { key, value, lease } => {
            let answer = api.put(put_of(key, value, *lease)).await?;
            (
                revision_of(answer.header),
                Body::Put(answer.prev_kv.map(kv_of)),
            )
        }
        Call::Delete { key } => {
            let answer = api.delete_range(delete_of(key)).await?;
            let prev = answer.prev_kvs.into_iter().map(kv_of).collect();
            (
                revision_of(answer.header),
                Body::Delete(answer.deleted, prev),
            )
        }
        Call::Get {
            key,
            serializable,
            revision,
        } => {
            let range = match key {
                Some(key) => api::get(key.clone()),
                None => api::all(),
            };
            let request = RangeRequest {
                serializable: *serializable,
                revision: *revision,
                ..range
            };
            let answer = api.range(request).await?;
            let kvs = answer.kvs.into_iter().map(kv_of).collect();
            (revision_of(answer.header), Body::Range(kvs))
        }
        Call::Txn {
            compares,
            then,
            otherwise,
        } => {
            let request = TxnRequest {
                compare: compares.iter().map(compare_of).collect(),
                success: then.iter().map(step_of).collect(),
                failure: otherwise.iter().map(step_of).collect(),
            };
            let answer = api.txn(request).await?;
            let bodies = answer.responses.into_iter().map(body_of).collect();
            (
                revision_of(answer.header),
                Body::Txn(answer.succeeded, bodies),
            )
        }
        Call::Grant { lease, ttl } => {
            let answer = api
                .lease_grant(LeaseGrantRequest {
                    id: *lease,
                    ttl: *ttl,
                })
                .await?;
            (revision_of(answer.header), Body::Ttl(answer.ttl))
        }
        Call::Revoke { lease } => {
            let answer = api.lease_revoke(LeaseRevokeRequest { id: *lease }).await?;
            (revision_of(answer.header), Body::Done)
        }
        Call::KeepAlive { lease } => {
            let answer = api.keep_alive(*lease).await?;
            (revision_of(answer.header), Body::Ttl(answer.ttl))
        }
        Call::Compact { revision } => {
            let request = CompactionRequest {
                revision: *revision,
                physical: false,
            };
            (revision_of(api.compact(request).await?.header), Body::Done)
        }
    })
}

fn compare_of(compare: &Compare) -> PbCompare {
    let (target, union) = match &compare.target {
        Target::Version(n) => (
            compare::CompareTarget::Version,
            compare::TargetUnion::Version(*n),
        ),
        Target::Create(n) => (
            compare::CompareTarget::Create,
            compare::TargetUnion::CreateRevision(*n),
        ),
        Target::Modified(n) => (
            compare::CompareTarget::Mod,
            compare::TargetUnion::ModRevision(*n),
        ),
        Target::Value(v) => (
            compare::CompareTarget::Value,
            compare::TargetUnion::Value(v.clone().into()),
        ),
    };
    PbCompare {
        key: compare.key.clone().into(),
        result: compare::CompareResult::Equal as i32,
        target: target as i32,
        target_union: Some(union),
        ..Default::default()
    }
}

fn step_of(step: &Step) -> proto::etcdserverpb::RequestOp {
    let request = match step {
        Step::Put(key, value) => request_op::Request::RequestPut(put_of(key, value, 0)),
        Step::Delete(key) => request_op::Request::RequestDeleteRange(delete_of(key)),
        Step::Get(key) => request_op::Request::RequestRange(api::get(key.clone())),
    };
    proto::etcdserverpb::RequestOp {
        request: Some(request),
    }
}

fn body_of(response: ResponseOp) -> Body {
    match response.response {
        Some(response_op::Response::ResponsePut(put)) => Body::Put(put.prev_kv.map(kv_of)),
        Some(response_op::Response::ResponseDeleteRange(delete)) => Body::Delete(
            delete.deleted,
            delete.prev_kvs.into_iter().map(kv_of).collect(),
        ),
        Some(response_op::Response::ResponseRange(range)) => {
            Body::Range(range.kvs.into_iter().map(kv_of).collect())
        }
        _ => Body::Done,
    }
}
