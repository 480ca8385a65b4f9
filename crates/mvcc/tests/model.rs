//! The store beside a plain model of it: random requests, compactions and
//! restarts, every answer compared.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use bytes::BytesMut;
use line::Line;
use mvcc::{Error, Store};
use proptest::prelude::*;
use prost::Message as _;
use proto::{
    etcdserverpb::{
        Compare, DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse, RequestOp,
        ResponseHeader, TxnRequest, TxnResponse,
        compare::{CompareTarget, TargetUnion},
        request_op::Request,
        response_op::Response,
    },
    mvccpb::KeyValue,
};
use support::{Dir, Held};

/// Every change ever made, in order.
#[derive(Clone, Default)]
struct Model {
    /// Main revision, key, and the value unless it is a delete.
    changes: Vec<(i64, Vec<u8>, Option<KeyValue>)>,
    compacted: i64,
    current: i64,
    leases: BTreeSet<i64>,
}

fn inside(key: &[u8], from: &[u8], end: &[u8]) -> bool {
    match end {
        [] => key == from,
        [0] => key >= from,
        end => key >= from && key < end,
    }
}

impl Model {
    fn new() -> Model {
        Model {
            compacted: -1,
            current: 1,
            leases: BTreeSet::from([7, 8]),
            ..Model::default()
        }
    }

    fn state(&self, main: i64) -> Vec<KeyValue> {
        let mut state = BTreeMap::new();
        for (_, key, kv) in self.changes.iter().filter(|c| c.0 <= main) {
            match kv {
                Some(kv) => state.insert(key.clone(), kv.clone()),
                None => state.remove(key),
            };
        }
        state.into_values().collect()
    }

    fn find(&self, main: i64, from: &[u8], end: &[u8]) -> Vec<KeyValue> {
        let mut kvs = self.state(main);
        kvs.retain(|kv| inside(&kv.key, from, end));
        kvs
    }

    /// `seen`: the revision that reads see, ahead of `current` within a txn.
    fn range(&self, r: &RangeRequest, seen: i64) -> Result<RangeResponse, &'static str> {
        if r.revision > seen {
            return Err("future");
        }
        let at = if r.revision <= 0 { seen } else { r.revision };
        if at < self.compacted {
            return Err("compacted");
        }
        let mut kvs = self.find(at, &r.key, &r.range_end);
        let count = kvs.len() as i64;
        let filters = [
            r.min_mod_revision,
            r.max_mod_revision,
            r.min_create_revision,
            r.max_create_revision,
        ];
        let limit = r.limit.max(0) as usize;
        // The limit comes first where only a target is given.
        if r.sort_order == 0 && filters == [0; 4] && limit > 0 {
            kvs.truncate(limit + 1);
        }
        kvs.retain(|kv| {
            (filters[0] == 0 || kv.mod_revision >= filters[0])
                && (filters[1] == 0 || kv.mod_revision <= filters[1])
                && (filters[2] == 0 || kv.create_revision >= filters[2])
                && (filters[3] == 0 || kv.create_revision <= filters[3])
        });
        // Sorting is stable in both directions.
        let down = r.sort_order == 2;
        let directed = |o: std::cmp::Ordering| if down { o.reverse() } else { o };
        kvs.sort_by(|a, b| {
            directed(match r.sort_target {
                0 => a.key.cmp(&b.key),
                1 => a.version.cmp(&b.version),
                2 => a.create_revision.cmp(&b.create_revision),
                3 => a.mod_revision.cmp(&b.mod_revision),
                _ => a.value.cmp(&b.value),
            })
        });
        let more = limit > 0 && kvs.len() > limit;
        if more {
            kvs.truncate(limit);
        }
        if r.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value.clear());
        }
        if r.count_only {
            kvs.clear();
        }
        Ok(RangeResponse {
            header: Some(header(seen)),
            kvs,
            more: more && !r.count_only,
            count,
        })
    }

    fn put(&mut self, r: &PutRequest) -> Result<Option<KeyValue>, &'static str> {
        let main = self.current + 1;
        let old = self.find(main, &r.key, b"").pop();
        if (r.ignore_lease || r.ignore_value) && old.is_none() {
            return Err("key not found");
        }
        let base = old.clone().unwrap_or_default();
        let kv = KeyValue {
            key: r.key.clone(),
            create_revision: if old.is_some() {
                base.create_revision
            } else {
                main
            },
            mod_revision: main,
            version: base.version + 1,
            value: if r.ignore_value {
                base.value
            } else {
                r.value.clone()
            },
            lease: if r.ignore_lease { base.lease } else { r.lease },
        };
        self.changes.push((main, r.key.to_vec(), Some(kv)));
        Ok(old.filter(|_| r.prev_kv))
    }

    fn delete(&mut self, r: &DeleteRangeRequest) -> Vec<KeyValue> {
        let main = self.current + 1;
        let gone = self.find(main, &r.key, &r.range_end);
        for kv in &gone {
            self.changes.push((main, kv.key.to_vec(), None));
        }
        gone
    }

    /// The hash at the current revision, as docs/design/store.md has it.
    fn hash(&self) -> u32 {
        let mut sub = 0;
        let mut last = 0;
        // Main, sub and whether it is a tombstone, by key and generation.
        type Generation = Vec<(i64, u64, bool)>;
        let mut generations: BTreeMap<&[u8], Vec<Generation>> = BTreeMap::new();
        let mut records = Vec::new();
        for (main, key, kv) in &self.changes {
            sub = if *main == last { sub + 1 } else { 0 };
            last = *main;
            let of_key = generations.entry(key).or_insert_with(|| vec![vec![]]);
            of_key
                .last_mut()
                .expect("one")
                .push((*main, sub, kv.is_none()));
            if kv.is_none() {
                of_key.push(vec![]);
            }
            records.push((*main, sub, key, kv));
        }
        let mut keep = BTreeSet::new();
        for of_key in generations.values() {
            let chosen = of_key.iter().position(|generation| {
                generation
                    .last()
                    .is_none_or(|step| !step.2 || step.0 >= self.current)
            });
            let generation = &of_key[chosen.expect("the last one has no tombstone")];
            if let Some(newest) = generation.last().filter(|step| !step.2) {
                keep.insert((newest.0, newest.1));
            }
        }
        let mut crc = crc32c::crc32c(b"key");
        for (main, sub, key, kv) in records {
            if main <= self.compacted && !keep.is_empty() && !keep.contains(&(main, sub)) {
                continue;
            }
            if main == self.compacted && kv.is_none() {
                continue;
            }
            if main <= self.compacted && !self.survives(main, sub, key) {
                continue;
            }
            let mut name = main.to_be_bytes().to_vec();
            name.push(b'_');
            name.extend(sub.to_be_bytes());
            let record = match kv {
                Some(kv) => kv.encode_to_vec(),
                None => {
                    name.push(b't');
                    KeyValue {
                        key: key.clone().into(),
                        ..KeyValue::default()
                    }
                    .encode_to_vec()
                }
            };
            crc = crc32c::crc32c_append(crc32c::crc32c_append(crc, &name), &record);
        }
        crc
    }

    /// True if a change up to the compacted revision is the newest one of its
    /// key up to there, so that compaction left it.
    fn survives(&self, main: i64, sub: u64, key: &[u8]) -> bool {
        let upto = self
            .changes
            .iter()
            .filter(|c| c.0 <= self.compacted && c.1 == key);
        let newest = upto.last().expect("itself");
        let first_of_main = self
            .changes
            .iter()
            .position(|c| c.0 == main)
            .expect("itself");
        let at = first_of_main + sub as usize;
        std::ptr::eq(newest, &self.changes[at]) && (newest.2.is_some() || main == self.compacted)
    }

    fn dirty(&self) -> bool {
        self.changes.last().is_some_and(|c| c.0 > self.current)
    }

    fn seen(&self) -> i64 {
        self.current + i64::from(self.dirty())
    }

    fn finish(&mut self) {
        self.current = self.seen();
    }

    fn holds(&self, c: &Compare) -> bool {
        let kvs = self.find(self.current, &c.key, &c.range_end);
        if kvs.is_empty() {
            return c.target != CompareTarget::Value as i32 && matches(c, &KeyValue::default());
        }
        kvs.iter().all(|kv| matches(c, kv))
    }

    fn txn(&mut self, r: &TxnRequest) -> Result<TxnResponse, &'static str> {
        let before = self.clone();
        let mut path = Vec::new();
        self.plan(r, &mut path);
        let mut ops = Vec::new();
        chosen(r, &mut path.iter(), &mut ops);
        for op in &ops {
            if let Request::RequestPut(p) = op {
                let missing = before.find(before.current, &p.key, b"").is_empty();
                if (p.ignore_lease || p.ignore_value) && missing {
                    return Err("key not found");
                }
                if p.lease != 0 && !self.leases.contains(&p.lease) {
                    return Err("lease not found");
                }
            }
        }
        for op in &ops {
            if let Request::RequestRange(r) = op
                && r.revision != 0
            {
                if r.revision > self.current {
                    return Err("future");
                }
                if r.revision < self.compacted {
                    return Err("compacted");
                }
            }
        }
        let mut response = self.run(r, &mut path.iter())?;
        response.header = Some(header(self.seen()));
        self.finish();
        Ok(response)
    }

    fn plan(&self, r: &TxnRequest, path: &mut Vec<bool>) {
        let succeeded = r.compare.iter().all(|c| self.holds(c));
        path.push(succeeded);
        for op in if succeeded { &r.success } else { &r.failure } {
            if let Some(Request::RequestTxn(r)) = &op.request {
                self.plan(r, path);
            }
        }
    }

    fn run<'p>(
        &mut self,
        r: &TxnRequest,
        path: &mut impl Iterator<Item = &'p bool>,
    ) -> Result<TxnResponse, &'static str> {
        let succeeded = *path.next().expect("planned");
        let mut responses = Vec::new();
        for op in if succeeded { &r.success } else { &r.failure } {
            let response = match op.request.as_ref().expect("an operation") {
                Request::RequestRange(r) => Response::ResponseRange(self.range(r, self.seen())?),
                Request::RequestPut(r) => {
                    let prev_kv = self.put(r)?;
                    Response::ResponsePut(proto::etcdserverpb::PutResponse {
                        header: Some(header(self.seen())),
                        prev_kv,
                    })
                }
                Request::RequestDeleteRange(r) => {
                    let gone = self.delete(r);
                    Response::ResponseDeleteRange(proto::etcdserverpb::DeleteRangeResponse {
                        header: Some(header(self.seen())),
                        deleted: gone.len() as i64,
                        prev_kvs: if r.prev_kv { gone } else { vec![] },
                    })
                }
                Request::RequestTxn(r) => Response::ResponseTxn(self.run(r, path)?),
            };
            responses.push(proto::etcdserverpb::ResponseOp {
                response: Some(response),
            });
        }
        Ok(TxnResponse {
            header: Some(ResponseHeader::default()),
            succeeded,
            responses,
        })
    }
}

fn chosen<'r>(
    r: &'r TxnRequest,
    path: &mut dyn Iterator<Item = &bool>,
    ops: &mut Vec<&'r Request>,
) {
    let succeeded = *path.next().expect("planned");
    for op in if succeeded { &r.success } else { &r.failure } {
        match op.request.as_ref().expect("an operation") {
            Request::RequestTxn(r) => chosen(r, path, ops),
            op => ops.push(op),
        }
    }
}

fn matches(c: &Compare, kv: &KeyValue) -> bool {
    let ordering = match (c.target, c.target_union.as_ref()) {
        (3, Some(TargetUnion::Value(v))) => kv.value.cmp(v),
        (3, _) => kv.value[..].cmp(&[]),
        (target, union) => {
            let have =
                [kv.version, kv.create_revision, kv.mod_revision, 0, kv.lease][target as usize];
            let want = match (target, union) {
                (0, Some(TargetUnion::Version(n)))
                | (1, Some(TargetUnion::CreateRevision(n)))
                | (2, Some(TargetUnion::ModRevision(n)))
                | (4, Some(TargetUnion::Lease(n))) => *n,
                _ => 0,
            };
            have.cmp(&want)
        }
    };
    match c.result {
        0 => ordering.is_eq(),
        1 => ordering.is_gt(),
        2 => ordering.is_lt(),
        _ => ordering.is_ne(),
    }
}

fn header(revision: i64) -> ResponseHeader {
    ResponseHeader {
        revision,
        ..ResponseHeader::default()
    }
}

fn verdict<T>(result: Result<T, Error>) -> Result<T, &'static str> {
    result.map_err(|error| match error {
        Error::Compacted => "compacted",
        Error::FutureRev => "future",
        Error::KeyNotFound => "key not found",
        Error::LeaseNotFound => "lease not found",
        other => panic!("{other}"),
    })
}

#[derive(Clone, Debug)]
enum Step {
    Put(PutRequest),
    Delete(DeleteRangeRequest),
    Txn(TxnRequest),
    Range(RangeRequest),
    Compact(i64),
    Commit,
    Restart,
}

fn key() -> impl Strategy<Value = bytes::Bytes> {
    prop_oneof![
        8 => (0u8..12).prop_map(|n| bytes::Bytes::from(format!("a/{n:02}"))),
        1 => Just(bytes::Bytes::from_static(b"\0")),
        1 => Just(bytes::Bytes::from_static(b"\xff\xff")),
    ]
}

fn end() -> impl Strategy<Value = bytes::Bytes> {
    prop_oneof![
        4 => Just(bytes::Bytes::new()),
        3 => key(),
        1 => Just(bytes::Bytes::from_static(b"\0")),
    ]
}

fn put() -> impl Strategy<Value = PutRequest> {
    let flags = (
        prop_oneof![4 => Just(0i64), 2 => Just(7), 1 => Just(8), 1 => Just(9)],
        any::<bool>(),
        prop_oneof![5 => Just(0u8), 1 => Just(1), 1 => Just(2)],
    );
    (key(), "[a-c]{0,3}", flags).prop_map(|(key, value, (lease, prev_kv, ignore))| PutRequest {
        key,
        value: if ignore == 1 { "".into() } else { value.into() },
        lease: if ignore == 2 { 0 } else { lease },
        prev_kv,
        ignore_value: ignore == 1,
        ignore_lease: ignore == 2,
    })
}

fn delete() -> impl Strategy<Value = DeleteRangeRequest> {
    (key(), end(), any::<bool>()).prop_map(|(key, range_end, prev_kv)| DeleteRangeRequest {
        key,
        range_end,
        prev_kv,
    })
}

fn range() -> impl Strategy<Value = RangeRequest> {
    let bound = || prop_oneof![4 => Just(0i64), 1 => 1i64..40];
    (
        (
            key(),
            end(),
            -1i64..5,
            prop_oneof![3 => Just(0i64), 4 => -1i64..60],
        ),
        (
            0i32..3,
            0i32..5,
            any::<bool>(),
            prop_oneof![5 => Just(false), 1 => Just(true)],
        ),
        (bound(), bound(), bound(), bound()),
    )
        .prop_map(
            |(
                (key, range_end, limit, revision),
                (sort_order, sort_target, keys_only, count_only),
                (min_mod_revision, max_mod_revision, min_create_revision, max_create_revision),
            )| RangeRequest {
                key,
                range_end,
                limit,
                revision,
                sort_order,
                sort_target,
                serializable: false,
                keys_only,
                count_only,
                min_mod_revision,
                max_mod_revision,
                min_create_revision,
                max_create_revision,
            },
        )
}

fn compare() -> impl Strategy<Value = Compare> {
    let union = prop_oneof![
        (0i64..4).prop_map(TargetUnion::Version),
        (0i64..20).prop_map(TargetUnion::CreateRevision),
        (0i64..20).prop_map(TargetUnion::ModRevision),
        "[a-c]{0,2}".prop_map(|v| TargetUnion::Value(v.into())),
        prop_oneof![Just(0i64), Just(7)].prop_map(TargetUnion::Lease),
    ];
    let fits = prop_oneof![9 => Just(true), 1 => Just(false)];
    (
        0i32..4,
        key(),
        end(),
        proptest::option::weighted(0.9, union),
        fits,
    )
        .prop_map(|(result, key, range_end, target_union, fits)| Compare {
            result,
            target: match (&target_union, fits) {
                (Some(TargetUnion::Version(_)), true) => 0,
                (Some(TargetUnion::CreateRevision(_)), true) => 1,
                (Some(TargetUnion::ModRevision(_)), true) => 2,
                (Some(TargetUnion::Lease(_)), true) => 4,
                _ => 3,
            },
            key,
            target_union,
            range_end,
        })
}

fn txn() -> impl Strategy<Value = TxnRequest> {
    let wrap = |request: Request| RequestOp {
        request: Some(request),
    };
    let leaf = prop_oneof![
        put().prop_map(Request::RequestPut),
        delete().prop_map(Request::RequestDeleteRange),
        range().prop_map(Request::RequestRange),
    ]
    .prop_map(wrap);
    let ops = leaf.prop_recursive(2, 12, 3, move |inner| {
        let branch = || proptest::collection::vec(inner.clone(), 0..3);
        (
            proptest::collection::vec(compare(), 0..2),
            branch(),
            branch(),
        )
            .prop_map(move |(compare, success, failure)| {
                wrap(Request::RequestTxn(TxnRequest {
                    compare,
                    success,
                    failure,
                }))
            })
    });
    let branch = move || proptest::collection::vec(ops.clone(), 0..4);
    (
        proptest::collection::vec(compare(), 0..3),
        branch(),
        branch(),
    )
        .prop_map(|(compare, success, failure)| TxnRequest {
            compare,
            success,
            failure,
        })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => put().prop_map(Step::Put),
        4 => delete().prop_map(Step::Delete),
        8 => txn().prop_map(Step::Txn),
        12 => range().prop_map(Step::Range),
        2 => (0i64..12).prop_map(Step::Compact),
        2 => Just(Step::Commit),
        1 => Just(Step::Restart),
    ]
}

fn apply(store: &Store, held: &mut Held, model: &mut Model, step: &Step) {
    match step {
        Step::Put(r) => {
            let want = if r.lease != 0 && !model.leases.contains(&r.lease) {
                Err("lease not found")
            } else {
                model.put(r)
            };
            model.finish();
            let mut writer = store.write();
            let got = verdict(writer.put(r, held));
            let events = writer.publish();
            assert_eq!(events.len(), usize::from(got.is_ok()));
            if let Ok(got) = &got {
                assert_eq!(got.header, Some(header(model.current)));
                assert_eq!(events[0].revision, model.current);
            }
            assert_eq!(got.map(|r| r.prev_kv), want, "{r:?}");
        }
        Step::Delete(r) => {
            let want = model.delete(r);
            model.finish();
            let mut writer = store.write();
            let got = writer.delete_range(r, held).expect("a delete");
            writer.publish();
            assert_eq!(got.deleted, want.len() as i64);
            assert_eq!(got.header, Some(header(model.current)));
            assert_eq!(got.prev_kvs, if r.prev_kv { want } else { vec![] });
        }
        Step::Txn(r) => {
            if mvcc::validate::txn(r, 128, Line::V3_5).is_err() {
                return;
            }
            if mvcc::validate::is_read_only(r) {
                assert_eq!(
                    verdict(store.read_txn(r, Line::V3_5)),
                    model.clone().txn(r),
                    "{r:?}"
                );
            }
            let first = model.changes.len();
            let before = model.clone();
            let mut writer = store.write();
            let got = verdict(writer.txn(r, held, Line::V3_5));
            let events = writer.publish();
            match model.txn(r) {
                // A put that relies on a key deleted just before: etcd panics.
                Err("key not found") if before.changes.len() != model.changes.len() => {
                    *model = before;
                    assert_eq!(got, Err("key not found"));
                }
                want => assert_eq!(got, want, "{r:?}"),
            }
            let changed: Vec<(i64, Vec<u8>, bool)> = model.changes[first..]
                .iter()
                .map(|(main, key, kv)| (*main, key.clone(), kv.is_none()))
                .collect();
            let heard: Vec<(i64, Vec<u8>, bool)> = events
                .iter()
                .flat_map(|b| b.events.iter().map(|e| (b.revision, e)))
                .map(|(main, e)| (main, e.key.to_vec(), e.kind == mvcc::EventKind::Delete))
                .collect();
            assert_eq!(heard, changed);
        }
        Step::Range(r) => {
            let want = model.range(r, model.current);
            let got = verdict(store.range(r, Line::V3_5)).map(|answer| {
                let header = header(answer.revision);
                let mut out = BytesMut::new();
                answer.encode(Some(&header), &mut out);
                assert_eq!(out.len(), answer.encoded_len(Some(&header)));
                RangeResponse::decode(out.freeze()).expect("a response")
            });
            assert_eq!(got, want, "{r:?}");
        }
        Step::Compact(back) => {
            let at = model.current - back;
            let mut writer = store.write();
            let got = verdict(writer.compact(at));
            writer.publish();
            if at <= model.compacted {
                assert_eq!(got.err(), Some("compacted"));
            } else {
                model.compacted = at;
                let ticket = got.expect("a ticket");
                // Half of them run on beside what follows.
                if back % 2 == 0 {
                    ticket.wait().expect("compaction ends");
                }
            }
        }
        Step::Commit => store.backend().commit_now().expect("a commit"),
        Step::Restart => {}
    }
}

/// Everything that can be asked without a request.
fn check(store: &Store, model: &Model) {
    assert_eq!(store.revision(), model.current);
    assert_eq!(store.compact_revision(), model.compacted);
    assert_eq!(store.key_count(), model.state(model.current).len());
    let from = model.compacted.max(0);
    let mut heard = Vec::new();
    let mut next = from;
    while next <= model.current {
        let reached = store
            .history(next, model.current, 40, |event| {
                heard.push((event.revision.main, event.key.to_vec(), event.is_delete));
            })
            .expect("history");
        assert!(reached > next);
        next = reached;
    }
    let after = |main: i64| main > from;
    let want: Vec<(i64, Vec<u8>, bool)> = model
        .changes
        .iter()
        .filter(|c| after(c.0))
        .map(|(main, key, kv)| (*main, key.clone(), kv.is_none()))
        .collect();
    heard.retain(|h| after(h.0));
    assert_eq!(heard, want);
    assert!(model.compacted < 1 || store.history(model.compacted - 1, 9, 9, |_| {}).is_err());
    for main in from..=model.current {
        for kv in model.state(main) {
            let got = store.get_kv_at(&kv.key, main).expect("readable");
            assert_eq!(got.as_deref(), Some(&kv.encode_to_vec()[..]));
        }
    }
}

fn held_by_model(model: &Model) -> BTreeSet<(i64, Vec<u8>)> {
    let state = model.state(model.current);
    let leased = state.iter().filter(|kv| kv.lease != 0);
    leased.map(|kv| (kv.lease, kv.key.to_vec())).collect()
}

/// `PROPTEST_CASES` asks for more.
fn cases() -> u32 {
    let asked = std::env::var("PROPTEST_CASES");
    asked.ok().and_then(|n| n.parse().ok()).unwrap_or(64)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_answers_as_the_model(steps in proptest::collection::vec(step(), 1..60)) {
        let dir = Dir::new();
        let mut store = Some(dir.open(&mut Held::default()));
        let mut held = Held::with([7, 8]);
        let mut model = Model::new();
        for step in &steps {
            if matches!(step, Step::Restart) {
                // The old one goes first, it holds the file's lock.
                drop(store.take());
                let mut again = Held::with([7, 8]);
                store = Some(dir.open(&mut again));
                held = again;
            }
            let store = store.as_ref().expect("open");
            apply(store, &mut held, &mut model, step);
            prop_assert_eq!(&held.keys, &held_by_model(&model));
        }
        check(store.as_ref().expect("open"), &model);
        drop(store.take());
        let store = dir.open(&mut Held::default());
        check(&store, &model);
        // A fresh process remembers no hash of a compaction.
        let hash = store.hash_kv(model.current).expect("a hash");
        prop_assert_eq!(hash.hash, model.hash());
        let problems = bolt::check::check(&store.backend().snapshot().expect("a snapshot"));
        prop_assert!(problems.is_empty(), "{:?}", problems);
    }
}
