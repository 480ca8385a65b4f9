//! Watchers over a real store: what they are told, live or from history, before
//! and after commits and compactions, is what the transactions changed.

use std::{collections::BTreeMap, sync::Arc};

use bytes::{Buf, Bytes, BytesMut};
use mvcc::{
    EventBatch, Leases, Store, StoreOptions,
    backend::{Backend, BackendOptions},
    watch::{Options, WatcherGroup},
};
use proptest::prelude::*;
use prost::Message as _;
use proto::{
    etcdserverpb::{DeleteRangeRequest, PutRequest, WatchCreateRequest, WatchResponse},
    mvccpb,
};

struct NoLeases;

impl Leases for NoLeases {
    fn exists(&self, _: i64) -> bool {
        false
    }
    fn attach(&mut self, _: i64, _: &Bytes) {}
    fn detach(&mut self, _: i64, _: &[u8]) {}
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8),
    /// All keys from this one on, in one revision.
    Delete(u8),
    Commit,
    /// At this part of all revisions; waited for or not.
    Compact(u8, bool),
    /// From this many revisions ago; the flag asks for previous values.
    Watch(i64, bool),
    CatchUp(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (0..5u8).prop_map(Step::Put),
        2 => (0..5u8).prop_map(Step::Delete),
        1 => Just(Step::Commit),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(part, wait)| Step::Compact(part, wait)),
        2 => (0..20i64, any::<bool>()).prop_map(|(ago, prev)| Step::Watch(ago, prev)),
        2 => (1..2_000usize).prop_map(Step::CatchUp),
    ]
}

struct World {
    _dir: tempfile::TempDir,
    backend: Arc<Backend>,
    store: Arc<Store>,
    group: WatcherGroup<u32>,
    /// Every event as a watcher with previous values must see it.
    log: Vec<(i64, mvccpb::Event)>,
    now: BTreeMap<Bytes, mvccpb::KeyValue>,
    /// Per stream: first revision due, and whether previous values are.
    watches: Vec<(i64, bool)>,
}

fn key(number: u8) -> Bytes {
    vec![b'a' + number].into()
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().expect("a directory");
        let options = bolt::Options {
            no_sync: true,
            ..bolt::Options::default()
        };
        let db = bolt::Db::open(&dir.path().join("db"), options).expect("a database");
        let backend = Backend::open(db, BackendOptions::default()).expect("a backend");
        let options = StoreOptions::default();
        let store = Store::open(backend.clone(), options, &mut |_, _| {}).expect("a store");
        World {
            _dir: dir,
            backend,
            group: WatcherGroup::new(Options::default(), store.revision()),
            store,
            log: Vec::new(),
            now: BTreeMap::new(),
            watches: Vec::new(),
        }
    }

    fn told(&mut self, batches: Vec<Arc<EventBatch>>) {
        for batch in batches {
            for event in &batch.events {
                let kv = mvccpb::KeyValue::decode(&event.kv[..]).expect("a key-value");
                let is_delete = kv.version == 0;
                let prev_kv = match is_delete {
                    true => self.now.remove(&kv.key),
                    false => self.now.insert(kv.key.clone(), kv.clone()),
                };
                let event = mvccpb::Event {
                    r#type: is_delete.into(),
                    kv: Some(kv),
                    prev_kv,
                };
                self.log.push((batch.revision, event));
            }
            self.group.notify(&batch, &*self.store);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Put(number) => {
                let request = PutRequest {
                    key: key(number),
                    value: Bytes::from(self.store.revision().to_string()),
                    ..Default::default()
                };
                let mut writer = self.store.write();
                writer.put(&request, &mut NoLeases).expect("put");
                let batches = writer.publish();
                self.told(batches);
            }
            Step::Delete(number) => {
                let request = DeleteRangeRequest {
                    key: key(number),
                    range_end: Bytes::from_static(b"\0"),
                    ..Default::default()
                };
                let mut writer = self.store.write();
                writer
                    .delete_range(&request, &mut NoLeases)
                    .expect("deleted");
                let batches = writer.publish();
                self.told(batches);
            }
            Step::Commit => self.backend.commit_now().expect("committed"),
            Step::Compact(part, wait) => {
                let revision = self.store.revision() * i64::from(part) / 255;
                let mut writer = self.store.write();
                let ticket = writer.compact(revision);
                writer.publish();
                if let (Ok(ticket), true) = (ticket, wait) {
                    ticket.wait().expect("compacted");
                }
            }
            Step::Watch(ago, prev_kv) => {
                let revision = self.store.revision();
                let start_revision = (revision + 1 - ago).max(1);
                let request = WatchCreateRequest {
                    key: key(0),
                    range_end: Bytes::from_static(b"\0"),
                    start_revision,
                    prev_kv,
                    ..Default::default()
                };
                let stream = self.watches.len() as u32;
                let compacted = self.store.compact_revision();
                self.group.create(stream, &request, revision, compacted);
                self.watches.push((start_revision, prev_kv));
            }
            Step::CatchUp(bytes) => {
                self.group.catch_up(&*self.store, bytes).expect("read");
            }
        }
    }

    /// All that a stream was told, and the compact revision that ended it.
    fn heard(&mut self, stream: u32) -> (Vec<mvccpb::Event>, i64) {
        let (mut out, mut events, mut compacted) = (BytesMut::new(), Vec::new(), 0);
        while self.group.next_output(stream, &mut out) > 0 {}
        while !out.is_empty() {
            out.advance(1);
            let len = out.get_u32() as usize;
            let response = WatchResponse::decode(out.split_to(len)).expect("a response");
            events.extend(response.events);
            compacted = response.compact_revision;
        }
        (events, compacted)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn watchers_hear_what_the_transactions_changed(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        while world.group.catch_up(&*world.store, 1 << 20).expect("read") {}
        prop_assert!(!world.group.has_lagging());
        for stream in 0..world.watches.len() {
            let (start, prev_kv) = world.watches[stream];
            let (heard, compacted) = world.heard(stream as u32);
            let due: Vec<_> = world.log.iter().filter(|(revision, _)| *revision >= start).collect();
            prop_assert!(heard.len() == due.len() || compacted != 0, "events are missing");
            prop_assert!(compacted <= world.store.compact_revision().max(0));
            for (event, (revision, due)) in heard.iter().zip(due) {
                let mut due = due.clone();
                // Compaction may have taken what was before its revision.
                let may_lack = *revision <= world.store.compact_revision();
                if !prev_kv || (event.prev_kv.is_none() && may_lack) {
                    due.prev_kv = None;
                }
                prop_assert_eq!(event, &due);
            }
        }
    }
}
