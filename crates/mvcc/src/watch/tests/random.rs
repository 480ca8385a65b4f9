//! Random lives of a group. However requests, writes, compactions, lost batches
//! and slow readers mix: what a watch is told is exactly what the log says.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use proptest::prelude::*;
use proto::etcdserverpb::WatchCreateRequest;

use super::*;
use crate::watch::{Options, range::Range};

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<(u8, bool)>),
    /// Hand this many waiting batches to the group.
    Deliver(usize),
    /// Drop the waiting batches, as a full queue would.
    Lose,
    Compact(u8),
    Create {
        stream: u32,
        key: u8,
        end: u8,
        start: i64,
        flags: u8,
    },
    Cancel(u32, i64),
    Progress(u32),
    Tick,
    Drain(u32),
    CatchUp(usize),
    Close(u32),
}

const STREAMS: u32 = 3;
const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];

fn step() -> impl Strategy<Value = Step> {
    let write = (0..KEYS.len() as u8, prop::bool::weighted(0.7));
    let create = (0..STREAMS, 0..5u8, 0..8u8, -30..3i64, any::<u8>());
    prop_oneof![
        10 => prop::collection::vec(write, 1..4).prop_map(Step::Write),
        8 => (1..4usize).prop_map(Step::Deliver),
        1 => Just(Step::Lose),
        1 => any::<u8>().prop_map(Step::Compact),
        4 => create.prop_map(|(stream, key, end, start, flags)| {
            Step::Create { stream, key, end, start, flags }
        }),
        1 => (0..STREAMS, 0..6i64).prop_map(|(stream, id)| Step::Cancel(stream, id)),
        3 => (0..STREAMS).prop_map(Step::Progress),
        2 => Just(Step::Tick),
        4 => (0..STREAMS).prop_map(Step::Drain),
        4 => (1..400usize).prop_map(Step::CatchUp),
        1 => prop::bool::weighted(0.2).prop_map(|close| match close {
            true => Step::Close(0),
            false => Step::Drain(0),
        }),
    ]
}

/// What a client knows of one of its watches.
#[derive(Debug)]
struct Watch {
    range: Range,
    /// Lowest revision it may hear of; grows with what it has heard.
    next: i64,
    no_put: bool,
    no_delete: bool,
    prev_kv: bool,
    fragment: bool,
    /// Number of events heard of revision `next` in fragments so far.
    heard: usize,
    is_in_fragments: bool,
}

impl Watch {
    fn wants(&self, change: &Change) -> bool {
        let holds = match &self.range {
            Range::Key(key) => change.kv.key == *key,
            Range::Span(start, end) => start <= &change.kv.key && end.is_after(&change.kv.key),
        };
        holds
            && !(if change.is_delete() {
                self.no_delete
            } else {
                self.no_put
            })
    }

    /// What it must hear, in order, from `next` on.
    fn due<'a>(&'a self, log: &'a Log) -> impl Iterator<Item = &'a Change> + 'a {
        let due = log
            .changes
            .iter()
            .filter(|change| change.revision >= self.next);
        due.filter(|change| self.wants(change)).skip(self.heard)
    }
}

#[derive(Default)]
struct Client {
    watches: BTreeMap<i64, Watch>,
    /// Creations without an answer: `None` if refused for sure.
    pending: VecDeque<(Option<i64>, Option<Watch>)>,
    last_header: i64,
}

struct World {
    log: Log,
    group: WatcherGroup<u32>,
    waiting: VecDeque<Arc<EventBatch>>,
    clients: BTreeMap<u32, Client>,
    now_ms: u64,
    events_heard: usize,
}

impl World {
    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Write(writes) => {
                let mut named: BTreeMap<&str, Option<&str>> = BTreeMap::new();
                for (key, is_put) in writes {
                    named.insert(KEYS[key as usize], is_put.then_some("value"));
                }
                let writes: Vec<_> = named.into_iter().collect();
                self.waiting.extend(self.log.write(&writes));
            }
            Step::Deliver(count) => {
                for batch in self.waiting.drain(..count.min(self.waiting.len())) {
                    self.group.notify(&batch, &self.log);
                }
            }
            Step::Lose => self.waiting.clear(),
            Step::Compact(part) => {
                let revision = self.log.revision * i64::from(part) / 255;
                self.log.compact_revision = self.log.compact_revision.max(revision);
            }
            Step::Create {
                stream,
                key,
                end,
                start,
                flags,
            } => {
                self.create(stream, key, end, start, flags)?;
            }
            Step::Cancel(stream, id) => self.group.cancel(stream, id, self.log.revision),
            Step::Progress(stream) => self.group.progress_request(stream, self.log.revision),
            Step::Tick => {
                self.now_ms += 7;
                self.group.tick_progress(self.now_ms);
            }
            Step::Drain(stream) => self.hear(stream)?,
            Step::CatchUp(bytes) => {
                self.group.catch_up(&self.log, bytes).expect("read");
            }
            Step::Close(stream) => {
                self.group.close_stream(stream);
                self.clients.remove(&stream);
            }
        }
        Ok(())
    }

    fn create(
        &mut self,
        stream: u32,
        key: u8,
        end: u8,
        start: i64,
        flags: u8,
    ) -> Result<(), TestCaseError> {
        let revision = self.log.revision;
        let has = |bit: u8| flags & 1 << bit != 0;
        // Most starts are near the present, on either side of it.
        let start_revision = if has(0) { 0 } else { (revision + start).max(1) };
        let range_end = match end {
            0..3 => Bytes::new(),
            3 => Bytes::from_static(b"\0"),
            end => Bytes::copy_from_slice(KEYS[end as usize - 3].as_bytes()),
        };
        let (no_put, no_delete) = (has(1) && has(2), has(3) && has(4));
        let request = WatchCreateRequest {
            key: Bytes::copy_from_slice(KEYS[key as usize].as_bytes()),
            range_end,
            start_revision,
            filters: [no_put.then_some(0), no_delete.then_some(1)]
                .into_iter()
                .flatten()
                .collect(),
            prev_kv: has(5),
            fragment: has(6),
            progress_notify: has(7),
            ..Default::default()
        };
        let compacted = self.log.compact_revision;
        let id = self.group.create(stream, &request, revision, compacted);
        let range = Range::parse(&request.key, &request.range_end);
        let is_lost =
            start_revision != 0 && start_revision <= revision && start_revision < compacted;
        prop_assert_eq!(id.is_some(), range.is_some() && !is_lost);
        let watch = range.map(|range| Watch {
            range,
            next: if start_revision == 0 {
                revision + 1
            } else {
                start_revision
            },
            no_put,
            no_delete,
            prev_kv: request.prev_kv,
            fragment: request.fragment,
            heard: 0,
            is_in_fragments: false,
        });
        self.clients
            .entry(stream)
            .or_default()
            .pending
            .push_back((id, watch));
        Ok(())
    }

    /// A client reads what its stream has for it.
    fn hear(&mut self, stream: u32) -> Result<(), TestCaseError> {
        for response in drain(&mut self.group, stream) {
            let client = self
                .clients
                .get_mut(&stream)
                .expect("no one hears without asking");
            let header = response.header.as_ref().expect("a header").revision;
            let id = response.watch_id;
            if response.compact_revision == 0 {
                prop_assert!(header >= client.last_header, "headers go back");
                prop_assert!(header <= self.log.revision);
                client.last_header = header;
            }
            if response.created {
                let (given, watch) = client.pending.pop_front().expect("asked for");
                if response.canceled {
                    prop_assert_eq!((id, given), (-1, None));
                } else {
                    prop_assert!(given.is_none_or(|given| given == id));
                    let old = client.watches.insert(id, watch.expect("a good range"));
                    prop_assert!(old.is_none(), "id {} is in use", id);
                }
            } else if response.compact_revision != 0 {
                let watch = client.watches.remove(&id).expect("a known watch");
                prop_assert!(response.canceled && response.events.is_empty() && header == 0);
                prop_assert!(watch.next < response.compact_revision, "ended without need");
                prop_assert!(response.compact_revision <= self.log.compact_revision);
            } else if response.canceled {
                client.watches.remove(&id); // or ended before by compaction
            } else if response.events.is_empty() {
                let told =
                    |watch: &Watch| watch.due(&self.log).all(|change| change.revision > header);
                match id {
                    -1 => prop_assert!(client.watches.values().all(told), "progress ahead"),
                    id => prop_assert!(told(&client.watches[&id]), "progress ahead"),
                }
                prop_assert!(!client.watches.is_empty());
            } else {
                let watch = client.watches.get_mut(&id).expect("a known watch");
                let due: Vec<Change> = watch
                    .due(&self.log)
                    .take(response.events.len() + 1)
                    .cloned()
                    .collect();
                prop_assert!(due.len() >= response.events.len(), "told twice, or unasked");
                for (event, change) in response.events.iter().zip(&due) {
                    prop_assert!(header >= change.revision);
                    let prev = self.log.at(&change.kv.key, change.revision - 1);
                    let prev = prev.filter(|_| watch.prev_kv);
                    let may_lack = change.revision - 1 < self.log.compact_revision;
                    let is_exact = *event == change.event(prev);
                    prop_assert!(is_exact || may_lack && *event == change.event(None));
                    if change.revision == watch.next {
                        watch.heard += 1;
                    } else {
                        (watch.next, watch.heard) = (change.revision, 1);
                    }
                }
                prop_assert!(!response.fragment || watch.fragment, "fragments unasked");
                let last = due[response.events.len() - 1].revision;
                let is_split = due
                    .get(response.events.len())
                    .is_some_and(|d| d.revision == last);
                prop_assert!(!is_split || response.fragment, "a revision was torn");
                watch.is_in_fragments = response.fragment;
                self.events_heard += response.events.len();
            }
        }
        Ok(())
    }

    /// Everything is delivered and read, until nothing moves any more.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        self.step(Step::Deliver(usize::MAX))?;
        self.group.advance(self.log.revision);
        loop {
            let more = self.group.catch_up(&self.log, 1 << 20).expect("read");
            let streams: Vec<u32> = self.clients.keys().copied().collect();
            for stream in streams {
                self.hear(stream)?;
            }
            if !more && !self.group.has_lagging() {
                return Ok(());
            }
        }
    }
}

fn run(
    stream_bytes: usize,
    response_bytes: usize,
    seed: u64,
    steps: Vec<Step>,
) -> Result<usize, TestCaseError> {
    let options = Options {
        stream_bytes,
        response_bytes,
        whole_bytes: 4 * response_bytes,
        piece_bytes: response_bytes / 2,
        fragment_bytes: 90,
        progress_interval_ms: 20,
        seed,
        cluster_id: 1,
        member_id: 2,
    };
    let mut world = World {
        log: Log::new(),
        group: WatcherGroup::new(options, 1),
        waiting: VecDeque::new(),
        clients: BTreeMap::new(),
        now_ms: 0,
        events_heard: 0,
    };
    for step in steps {
        world.step(step)?;
    }
    world.settle()?;
    let revision = world.log.revision;
    for (stream, client) in &world.clients {
        prop_assert!(client.pending.is_empty());
        for (id, watch) in &client.watches {
            prop_assert!(!watch.is_in_fragments, "the last fragment is missing");
            let missing = watch.due(&world.log).next();
            prop_assert!(missing.is_none(), "{}/{} lacks {:?}", stream, id, missing);
        }
    }
    // All are synced now: progress must be answered, if no watch starts later.
    let streams: Vec<u32> = world.clients.keys().copied().collect();
    for stream in streams {
        let watches = &world.clients[&stream].watches;
        let is_due = !watches.is_empty() && watches.values().all(|watch| watch.next <= revision);
        world.group.progress_request(stream, revision);
        let answers = drain(&mut world.group, stream);
        let answered = answers.iter().any(|answer| answer.watch_id == -1);
        prop_assert!(answered || !is_due, "no progress on {}", stream);
    }
    Ok(world.events_heard)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_watch_hears_exactly_what_the_log_says(
        stream_bytes in prop_oneof![1..100usize, 100..2_000usize],
        response_bytes in prop_oneof![1..200usize, Just(1 << 20)],
        seed: u64,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        run(stream_bytes, response_bytes, seed, steps)?;
    }
}

/// The property would hold of a group that never says anything.
#[test]
fn the_random_lives_are_not_empty() {
    use proptest::{strategy::ValueTree as _, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let mut heard = 0;
    for seed in 0..50 {
        let steps = prop::collection::vec(step(), 100..150);
        let steps = steps.new_tree(&mut runner).expect("steps").current();
        heard += run(300, 100, seed, steps).expect("a good life");
    }
    assert!(heard > 1_000, "{heard} events in 50 lives");
}
