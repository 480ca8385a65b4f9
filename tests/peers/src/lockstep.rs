//! The same steps to the subject and to the reference, every answer compared:
//! messages whole, error codes and texts. Left out of the comparison, and only
//! these: `raft_term`; ids of leases a server picked; seconds a lease has left
//! (within 30 s of what was granted); sizes, raft indexes and the version in
//! Status; the order of equal elements of a long sorted range, which real etcd
//! itself does not fix. Cluster and member ids *are* compared: they are hashes
//! of flags both servers share.

use std::{
    collections::BTreeSet,
    fmt::Debug,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use proto::{etcdserverpb::*, mvccpb::KeyValue};
use tonic::Status;

use crate::{
    api::Api,
    fingerprint::{Fingerprint, shorten},
    peer::{self, Program},
    requests::{FUTURE, Generator, PAST, PICKED, Seen, Step},
    server::{Launch, Server},
    streams::{Record, Stream},
};

/// Real etcd sorts stably up to this many elements.
const STABLE: usize = 12;

const SHRINK_WITHIN: Duration = Duration::from_secs(100);

/// Two servers that are given the same steps.
pub struct Pair {
    sides: [Side; 2],
    compacted: i64,
    revision: i64,
    accepted: u64,
    _dirs: tempfile::TempDir,
}

struct Side {
    server: Server,
    streams: [Stream; 2],
    records: [Record; 2],
}

impl Pair {
    /// Starts both on empty directories with the same additional flags.
    pub async fn start(subject: &Program, reference: &Program, flags: &[&str]) -> Result<Pair> {
        let dirs = tempfile::tempdir()?;
        let mut sides = Vec::new();
        for (program, name) in [(subject, "subject"), (reference, "reference")] {
            let mut launch = Launch::new(program, &dirs.path().join(name));
            for flag in flags {
                launch = launch.flag(flag);
            }
            let server = launch.start().await?;
            let mut streams = [Stream::open(server.api()), Stream::open(server.api())];
            // A stream without any watch answers no progress request.
            for stream in &mut streams {
                let request = WatchCreateRequest {
                    key: "~".into(),
                    watch_id: 99,
                    ..Default::default()
                };
                stream.create(request).await?;
                stream.next().await?;
            }
            sides.push(Side {
                server,
                streams,
                records: Default::default(),
            });
        }
        let Ok(sides) = sides.try_into() else {
            bail!("two sides")
        };
        Ok(Pair {
            sides,
            compacted: 0,
            revision: 1,
            accepted: 0,
            _dirs: dirs,
        })
    }

    /// The subject's connection.
    pub fn subject(&self) -> &Api {
        self.sides[0].server.api()
    }

    /// The reference's connection.
    pub fn reference(&self) -> &Api {
        self.sides[1].server.api()
    }

    /// The ports for clients, the subject's first.
    pub fn ports(&self) -> [u16; 2] {
        self.sides.each_ref().map(|side| side.server.port())
    }

    /// The ports for members, the subject's first.
    pub fn peer_ports(&self) -> [u16; 2] {
        self.sides.each_ref().map(|side| side.server.peer_port())
    }

    /// What the generator may know.
    pub fn seen(&self) -> Seen {
        Seen {
            revision: self.revision,
            compacted: self.compacted,
        }
    }

    /// Does one step on both sides; an error says how the answers differ.
    pub async fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Settle => return self.settle().await,
            Step::Watch(stream, request) => return self.watch(*stream, request).await,
            Step::CancelWatch(stream, id) => {
                self.settle().await?;
                for side in &self.sides {
                    side.streams[*stream].cancel(*id).await?;
                }
                return self.settle().await;
            }
            // A watch that is still catching up would be canceled by the compaction.
            Step::Compact(_) => self.settle().await?,
            _ => {}
        }
        let [subject, reference] = &self.sides;
        let (ours, theirs) = tokio::join!(
            answer(subject.server.api(), step),
            answer(reference.server.api(), step),
        );
        if ours.text != theirs.text {
            bail!(
                "answers differ:\n  subject:   {}\n  reference: {}",
                shorten(&ours.text, &theirs.text),
                shorten(&theirs.text, &ours.text)
            );
        }
        self.revision = self.revision.max(theirs.revision);
        self.accepted += u64::from(theirs.ok);
        if let (Step::Compact(request), true) = (step, theirs.ok) {
            self.compacted = self.compacted.max(request.revision);
        }
        Ok(())
    }

    async fn watch(&mut self, stream: usize, request: &WatchCreateRequest) -> Result<()> {
        self.settle().await?;
        let mut request = request.clone();
        if stream == PAST && request.start_revision != 0 {
            // Steps that were left out while shrinking have moved the revisions.
            request.start_revision = request
                .start_revision
                .clamp(self.compacted.max(1), self.revision);
        }
        for side in &mut self.sides {
            let known = side.records[stream].controls.len();
            side.streams[stream].create(request.clone()).await?;
            // A start below the compaction is first created, then canceled.
            let below = request.start_revision > 0 && request.start_revision < self.compacted;
            loop {
                let answer = side.streams[stream].next().await?;
                side.records[stream].file(answer)?;
                let new = &side.records[stream].controls[known..];
                if new.iter().any(|c| c.canceled) || (!new.is_empty() && !below) {
                    break;
                }
            }
        }
        self.compare_records()
    }

    /// Waits until every watch has delivered all it has to, then compares.
    pub async fn settle(&mut self) -> Result<()> {
        let mut upto = Vec::new();
        for side in &mut self.sides {
            upto.push(
                drain(
                    &mut side.streams[PAST],
                    &mut side.records[PAST],
                    self.revision,
                )
                .await?,
            );
        }
        if upto[0] != upto[1] {
            bail!(
                "progress revisions differ: subject {}, reference {}",
                upto[0],
                upto[1]
            );
        }
        // Watches of the future keep their stream from answering a progress
        // request; a watch made for the purpose marks the end instead.
        let marks = futures_util::future::join_all(self.sides.iter_mut().map(|side| {
            let [_, future] = &mut side.streams;
            let [_, record] = &mut side.records;
            mark(future, record)
        }))
        .await;
        for mark in marks {
            mark?;
        }
        // The events of a synced watch may still be on the way when the mark comes.
        for _ in 0..500 {
            if self.sides[0].records[FUTURE] == self.sides[1].records[FUTURE] {
                break;
            }
            for side in &mut self.sides {
                let wait = std::time::Duration::from_millis(10);
                if let Some(answer) = side.streams[FUTURE].next_within(wait).await? {
                    side.records[FUTURE].file(answer)?;
                }
            }
        }
        self.compare_records()
    }

    fn compare_records(&self) -> Result<()> {
        for stream in [PAST, FUTURE] {
            let (ours, theirs) = (
                &self.sides[0].records[stream],
                &self.sides[1].records[stream],
            );
            if ours.controls != theirs.controls {
                let at = ours
                    .controls
                    .iter()
                    .zip(&theirs.controls)
                    .take_while(|(a, b)| a == b)
                    .count();
                bail!(
                    "control answers of stream {stream} differ at {at}:\n  subject:   {:?}\n  reference: {:?}",
                    ours.controls.get(at),
                    theirs.controls.get(at)
                );
            }
            let ids = |r: &Record| r.events.keys().copied().collect::<BTreeSet<i64>>();
            for id in ids(ours).union(&ids(theirs)) {
                let events = |r: &Record| r.events.get(id).cloned().unwrap_or_default();
                let (ours, theirs) = (events(ours), events(theirs));
                let at = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
                if ours != theirs {
                    bail!(
                        "events of stream {stream}, watch {id} differ at {at} (of {} and {}):\n  subject:   {:?}\n  reference: {:?}",
                        ours.len(),
                        theirs.len(),
                        ours.get(at),
                        theirs.get(at)
                    );
                }
            }
            if ours.ended != theirs.ended {
                bail!(
                    "events of stream {stream}, ended watches differ:\n  subject:   {:?}\n  reference: {:?}",
                    ours.ended,
                    theirs.ended
                );
            }
        }
        Ok(())
    }

    /// The whole state of both, compared.
    pub async fn compare_state(&self) -> Result<()> {
        let [subject, reference] = &self.sides;
        let (ours, theirs) = tokio::join!(
            Fingerprint::of(subject.server.api()),
            Fingerprint::of(reference.server.api()),
        );
        let (mut ours, mut theirs) = (ours?, theirs?);
        for side in [&mut ours, &mut theirs] {
            for lease in &mut side.leases {
                if lease.0 > PICKED && lease.0 != i64::MAX {
                    lease.0 = 0;
                }
            }
        }
        ours.same_as(&theirs)
    }

    /// Stops both by SIGTERM, after closing the streams: real etcd waits seconds
    /// for those that stay open.
    pub async fn stop(self) -> Result<()> {
        let [subject, reference] = self.sides.map(|side| side.server);
        let (ours, theirs) = tokio::join!(subject.terminate(), reference.terminate());
        ours.and(theirs)
    }
}

/// Asks for progress until it is answered, which says that every watch of the
/// stream is synced and has sent everything up to that revision. On a busy
/// machine an answer comes after the question was put again: the second answer
/// then waits in the stream until the next time, and speaks of an older revision.
async fn drain(stream: &mut Stream, record: &mut Record, at_least: i64) -> Result<i64> {
    for _ in 0..30 {
        stream.progress().await?;
        // An unanswered request is dropped by the server, so ask again.
        while let Some(answer) = stream
            .next_within(std::time::Duration::from_millis(120))
            .await?
        {
            let marks = answer.watch_id == -1 && !answer.created && !answer.canceled;
            if marks && answer.events.is_empty() {
                match answer.header.map_or(0, |h| h.revision) {
                    late if late < at_least => continue,
                    revision => return Ok(revision),
                }
            }
            record.file(answer)?;
        }
    }
    bail!("no progress answer to 30 requests")
}

/// Makes a refused watch (its range is empty), whose refusal comes in order
/// with all other control answers of the stream.
async fn mark(stream: &mut Stream, record: &mut Record) -> Result<()> {
    let request = WatchCreateRequest {
        key: "b".into(),
        range_end: "a".into(),
        ..Default::default()
    };
    stream.create(request).await?;
    loop {
        let answer = stream.next().await?;
        if answer.canceled && answer.cancel_reason == "mvcc: watcher range is empty" {
            return Ok(());
        }
        record.file(answer)?;
    }
}

struct Answer {
    text: String,
    revision: i64,
    ok: bool,
}

trait Headed {
    fn header_mut(&mut self) -> Option<&mut ResponseHeader>;
}

macro_rules! headed {
    ($($message:ty),*) => {$(
        impl Headed for $message {
            fn header_mut(&mut self) -> Option<&mut ResponseHeader> {
                self.header.as_mut()
            }
        }
    )*};
}

headed!(
    RangeResponse,
    PutResponse,
    DeleteRangeResponse,
    TxnResponse,
    CompactionResponse,
    HashKvResponse,
    LeaseGrantResponse,
    LeaseRevokeResponse,
    LeaseTimeToLiveResponse,
    LeaseLeasesResponse,
    LeaseKeepAliveResponse,
    AlarmResponse,
    MemberListResponse,
    StatusResponse,
    DefragmentResponse
);

fn seal<M: Headed + Debug>(answer: Result<M, Status>, normalise: impl FnOnce(&mut M)) -> Answer {
    match answer {
        Ok(mut message) => {
            let mut revision = 0;
            if let Some(header) = message.header_mut() {
                header.raft_term = 0;
                revision = header.revision;
            }
            normalise(&mut message);
            Answer {
                text: format!("{message:?}"),
                revision,
                ok: true,
            }
        }
        Err(status) => Answer {
            text: error_text(&status),
            revision: 0,
            ok: false,
        },
    }
}

/// The pieces of a range, one by one, and how they end.
fn seal_pieces((mut pieces, end): (Vec<RangeStreamResponse>, Result<(), Status>)) -> Answer {
    let mut revision = 0;
    let ranges = pieces.iter_mut().flat_map(|p| &mut p.range_response);
    for header in ranges.flat_map(|range| &mut range.header) {
        header.raft_term = 0;
        revision = header.revision;
    }
    let end = end.map_err(|status| error_text(&status));
    Answer {
        text: format!("{pieces:?}, then {end:?}"),
        revision,
        ok: end.is_ok(),
    }
}

/// An error as far as it is compared: code and text.
pub fn error_text(status: &Status) -> String {
    format!("error {:?}: {}", status.code(), status.message())
}

async fn answer(api: &Api, step: &Step) -> Answer {
    match step {
        Step::Range(r) => seal(api.range(r.clone()).await, |a| unsort(r, a)),
        Step::RangeStream(r) => seal_pieces(api.range_stream(r.clone()).await),
        Step::Put(r) => seal(api.put(r.clone()).await, |_| {}),
        Step::Delete(r) => seal(api.delete_range(r.clone()).await, |_| {}),
        Step::Txn(r) => seal(api.txn(r.clone()).await, |a| unsort_txn(r, a)),
        Step::Compact(r) => seal(api.compact(*r).await, |_| {}),
        Step::HashKv(revision) => seal(
            api.hash_kv(HashKvRequest {
                revision: *revision,
            })
            .await,
            |_| {},
        ),
        Step::Grant(r) => seal(api.lease_grant(*r).await, |a| {
            if r.id == 0 && a.id > PICKED {
                a.id = 0;
            }
        }),
        Step::GrantAndRevoke(r) => {
            let granted = seal(api.lease_grant(*r).await, |_| {});
            let revoked = seal(
                api.lease_revoke(LeaseRevokeRequest { id: r.id }).await,
                |_| {},
            );
            Answer {
                text: format!("{}; {}", granted.text, revoked.text),
                ..revoked
            }
        }
        Step::Revoke(id) => seal(
            api.lease_revoke(LeaseRevokeRequest { id: *id }).await,
            |_| {},
        ),
        Step::TimeToLive(r) => seal(api.lease_time_to_live(*r).await, |a| {
            if a.ttl <= a.granted_ttl && a.ttl >= a.granted_ttl - 600 && a.granted_ttl > 600 {
                a.ttl = a.granted_ttl;
            }
            a.keys.sort();
        }),
        Step::Leases => seal(api.lease_leases(LeaseLeasesRequest {}).await, |a| {
            for lease in &mut a.leases {
                if lease.id > PICKED && lease.id != i64::MAX {
                    lease.id = 0;
                }
            }
            a.leases.sort_by_key(|l| l.id);
        }),
        Step::KeepAlive(id) => seal(api.keep_alive(*id).await, |_| {}),
        Step::Alarm(r) => seal(api.alarm(*r).await, |a| {
            a.alarms.sort_by_key(|a| (a.member_id, a.alarm));
        }),
        Step::Members(linearizable) => {
            let request = MemberListRequest {
                linearizable: *linearizable,
            };
            seal(api.member_list(request).await, |_| {})
        }
        Step::Status => seal(api.status(StatusRequest {}).await, |a| {
            a.version.clear();
            (a.db_size, a.db_size_in_use) = (0, 0);
            (a.raft_index, a.raft_applied_index, a.raft_term) = (0, 0, 0);
            a.errors.sort();
        }),
        Step::Defragment => seal(api.defragment(DefragmentRequest {}).await, |_| {}),
        Step::Watch(..) | Step::CancelWatch(..) | Step::Settle => Answer {
            text: String::new(),
            revision: 0,
            ok: true,
        },
    }
}

fn unsort(request: &RangeRequest, answer: &mut RangeResponse) {
    use range_request::SortTarget as Target;
    if request.sort_target == Target::Key as i32 || (answer.count as usize) <= STABLE {
        return;
    }
    let field = |kv: &KeyValue| match Target::try_from(request.sort_target) {
        Ok(Target::Version) => (kv.version, Default::default()),
        Ok(Target::Create) => (kv.create_revision, Default::default()),
        Ok(Target::Mod) => (kv.mod_revision, Default::default()),
        _ => (0, kv.value.clone()),
    };
    if answer.more {
        // Which of equal elements fall under the limit is not fixed either.
        for kv in &mut answer.kvs {
            let (number, value) = field(kv);
            *kv = KeyValue {
                version: number,
                value,
                ..Default::default()
            };
        }
        return;
    }
    let mut from = 0;
    while from < answer.kvs.len() {
        let same = field(&answer.kvs[from]);
        let len = answer.kvs[from..]
            .iter()
            .take_while(|kv| field(kv) == same)
            .count();
        answer.kvs[from..from + len].sort_by(|a, b| a.key.cmp(&b.key));
        from += len;
    }
}

fn unsort_txn(request: &TxnRequest, answer: &mut TxnResponse) {
    let branch = if answer.succeeded {
        &request.success
    } else {
        &request.failure
    };
    for (op, response) in branch.iter().zip(&mut answer.responses) {
        match (&op.request, &mut response.response) {
            (
                Some(request_op::Request::RequestRange(r)),
                Some(response_op::Response::ResponseRange(a)),
            ) => unsort(r, a),
            (
                Some(request_op::Request::RequestTxn(r)),
                Some(response_op::Response::ResponseTxn(a)),
            ) => unsort_txn(r, a),
            _ => {}
        }
    }
}

/// Runs `steps` on a fresh pair; the error names the step that differed.
pub async fn replay(subject: &Program, reference: &Program, steps: &[Step]) -> Result<()> {
    let mut pair = Pair::start(subject, reference, &[]).await?;
    for (i, step) in steps.iter().enumerate() {
        if let Err(error) = pair.step(step).await {
            bail!("step {i}: {}: {error:#}", shown(step));
        }
    }
    pair.settle().await?;
    pair.compare_state().await
}

/// Sends `len` random steps from `seed`; a difference is shrunk before it is
/// reported. Returns how many requests were accepted, and the revision reached:
/// a run in which all is refused compares nothing.
pub async fn compare(
    subject: &Program,
    reference: &Program,
    mut generator: Generator,
    len: u64,
) -> Result<(u64, i64)> {
    let seed = generator.seed();
    let mut pair = Pair::start(subject, reference, &[]).await?;
    let mut steps = Vec::new();
    let mut outcome = Ok(());
    for _ in 0..len {
        let step = generator.next(pair.seen());
        steps.push(step.clone());
        outcome = pair.step(&step).await;
        if outcome.is_err() {
            break;
        }
    }
    if outcome.is_ok() {
        outcome = pair.settle().await;
    }
    if outcome.is_ok() {
        outcome = pair.compare_state().await;
    }
    match outcome {
        Ok(()) => {
            let reached = (pair.accepted, pair.revision);
            pair.stop().await?;
            Ok(reached)
        }
        Err(error) => {
            drop(pair);
            peer::say(&format!(
                "seed {seed}: differs after {} steps, shrinking: {error:#}",
                steps.len()
            ));
            let (short, short_error) = shrink(subject, reference, steps).await;
            let list: Vec<String> = short.iter().map(shown).collect();
            bail!(
                "PINTLE_SEED={seed}: {}\nshortest failing steps found:\n{}",
                short_error.map_or_else(
                    || format!("{error:#} (did not happen again on replay)"),
                    |e| format!("{e:#}")
                ),
                list.join("\n")
            )
        }
    }
}

fn shown(step: &Step) -> String {
    let text = format!("{step:?}");
    match text.char_indices().nth(600) {
        Some((at, _)) => format!("{}..", &text[..at]),
        None => text,
    }
}

/// What kind of difference an error tells of: shrinking must not wander from
/// one to another.
fn kind(error: &anyhow::Error) -> &'static str {
    let text = format!("{error:#}");
    const KINDS: [&str; 6] = [
        "answers differ",
        "control answers",
        "events of stream",
        "progress revisions",
        "fingerprints differ",
        "no progress answer",
    ];
    KINDS
        .into_iter()
        .find(|k| text.contains(k))
        .unwrap_or("other")
}

/// Leaves some steps out.
type Thinner = dyn Fn(&[Step]) -> Vec<Step>;

/// Drops all steps of a sort, then ever smaller runs of steps, as long as the
/// same kind of difference remains. Bounded: every try starts two servers.
async fn shrink(
    subject: &Program,
    reference: &Program,
    mut steps: Vec<Step>,
) -> (Vec<Step>, Option<anyhow::Error>) {
    let mut last = match replay(subject, reference, &steps).await {
        Ok(()) => return (steps.split_off(steps.len().saturating_sub(5)), None),
        Err(error) => error,
    };
    let until = Instant::now() + SHRINK_WITHIN;
    let mut sorts: Vec<_> = steps.iter().map(std::mem::discriminant).collect();
    sorts.sort_by_key(|s| format!("{s:?}"));
    sorts.dedup();
    let mut candidates: Vec<Box<Thinner>> = Vec::new();
    for sort in sorts {
        candidates.push(Box::new(move |steps| {
            // The last step is the one that showed the difference.
            let (end, rest) = steps.split_last().expect("a failing run has steps");
            let kept = rest.iter().filter(|s| std::mem::discriminant(*s) != sort);
            kept.chain([end]).cloned().collect()
        }));
    }
    let mut chunk = steps.len() / 2;
    let mut from = 0;
    let mut next_candidate = 0;
    while Instant::now() < until && steps.len() > 1 {
        let fewer = if let Some(candidate) = candidates.get(next_candidate) {
            next_candidate += 1;
            candidate(&steps)
        } else {
            if from + 1 >= steps.len() {
                (from, chunk) = (0, chunk.min(steps.len()) / 2);
            }
            if chunk == 0 {
                break;
            }
            let mut fewer = steps.clone();
            fewer.drain(from..(from + chunk).min(steps.len() - 1));
            from += chunk;
            fewer
        };
        if fewer.len() == steps.len() {
            continue;
        }
        if let Err(error) = replay(subject, reference, &fewer).await
            && kind(&error) == kind(&last)
        {
            last = error;
            from = from.saturating_sub(steps.len() - fewer.len());
            steps = fewer;
        }
    }
    (steps, Some(last))
}
