use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use bolt::sim::SimDisk;
use line::Line;
use proto::etcdserverpb::{DeleteRangeRequest, PutRequest};

use super::*;
use crate::backend::BackendOptions;

struct NoLeases;

impl Leases for NoLeases {
    fn exists(&self, _: i64) -> bool {
        false
    }
    fn attach(&mut self, _: i64, _: &Bytes) {}
    fn detach(&mut self, _: i64, _: &[u8]) {}
}

fn open_on(disk: SimDisk, backend: BackendOptions, store: StoreOptions) -> Arc<Store> {
    let options = bolt::Options {
        growth_step: 1 << 16,
        ..bolt::Options::default()
    };
    let db = bolt::Db::open_on(Path::new("simulated"), disk, options).expect("a database");
    let backend = Backend::open(db, backend).expect("a backend");
    Store::open(backend, store, &mut |_, _| {}).expect("a store")
}

fn disk() -> SimDisk {
    SimDisk::new(&[], 64 << 20).expect("memory")
}

pub(super) fn open() -> Arc<Store> {
    open_on(disk(), BackendOptions::default(), StoreOptions::default())
}

pub(super) fn put(store: &Store, key: &str, value: &str) -> i64 {
    let mut writer = store.write();
    let request = PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..PutRequest::default()
    };
    writer.put(&request, &mut NoLeases).expect("a put");
    writer.publish();
    store.revision()
}

pub(super) fn delete(store: &Store, key: &str) {
    let mut writer = store.write();
    let request = DeleteRangeRequest {
        key: key.to_owned().into(),
        ..DeleteRangeRequest::default()
    };
    writer
        .delete_range(&request, &mut NoLeases)
        .expect("a delete");
    writer.publish();
}

fn compact(store: &Store, revision: i64) -> CompactionTicket {
    let mut writer = store.write();
    let ticket = writer.compact(revision).expect("a compaction");
    writer.publish();
    ticket
}

pub(super) fn all() -> RangeRequest {
    RangeRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        ..RangeRequest::default()
    }
}

#[test]
fn the_hashes_of_an_empty_store_and_of_one_key_are_etcds() {
    let store = open();
    assert_eq!(store.hash_kv(0).expect("a hash").hash, 1_084_519_789);
    put(&store, "foo", "bar");
    assert_eq!(store.hash_kv(0).expect("a hash").hash, 3_305_255_506);
    store.backend().commit_now().expect("a commit");
    assert_eq!(store.hash_kv(0).expect("a hash").hash, 3_305_255_506);
}

#[test]
fn a_run_is_seen_when_it_is_published() {
    let store = open();
    let mut writer = store.write();
    for key in ["a", "b"] {
        let request = PutRequest {
            key: key.into(),
            ..PutRequest::default()
        };
        writer.put(&request, &mut NoLeases).expect("a put");
    }
    assert_eq!(writer.revision(), 3);
    assert_eq!(store.revision(), 1);
    let events = writer.publish();
    assert_eq!(store.revision(), 3);
    let revisions: Vec<i64> = events.iter().map(|batch| batch.revision).collect();
    assert_eq!(revisions, [2, 3]);
}

#[test]
fn a_revoked_lease_takes_its_keys_in_one_revision() {
    let store = open();
    for key in ["a", "b", "c"] {
        put(&store, key, "");
    }
    delete(&store, "b");
    let mut writer = store.write();
    writer.delete_keys(&["a".into(), "b".into(), "c".into()]);
    writer.delete_keys(&["a".into(), "x".into()]);
    let events = writer.publish();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].revision, events[0].events.len()), (6, 2));
    assert_eq!((store.revision(), store.key_count()), (6, 0));
}

#[test]
fn a_stream_is_one_range_in_pieces() {
    let store = open();
    for n in 0..137 {
        put(&store, &format!("k{n:03}"), &"v".repeat(n));
    }
    for (limit, wanted, more) in [
        (0, 137, false),
        (50, 50, true),
        (137, 137, false),
        (10, 10, true),
    ] {
        let request = RangeRequest { limit, ..all() };
        let mut stream = store
            .range_stream(&request, 500, Line::V3_7)
            .expect("a stream");
        let revision = stream.revision();
        let (mut keys, mut pieces) = (Vec::new(), 0);
        while let Some(piece) = stream.next_chunk() {
            let piece = piece.expect("a piece");
            pieces += 1;
            if stream.is_last() {
                assert_eq!((piece.count, piece.more), (137, more), "limit {limit}");
            } else {
                assert_eq!((piece.count, piece.more), (0, false));
                // What is written meanwhile is not part of it.
                put(&store, "k000a", "later");
                delete(&store, "k136");
            }
            keys.extend(piece.into_response().kvs.into_iter().map(|kv| kv.key));
        }
        assert_eq!(keys.len(), wanted, "limit {limit}");
        assert!(keys.is_sorted());
        assert!(keys.iter().all(|key| key != "k000a"));
        assert_eq!(stream.revision(), revision);
        assert!(pieces > 1 || wanted <= 10);
        delete(&store, "k000a");
        put(&store, "k136", "");
    }
    let nothing = RangeRequest {
        key: "zz".into(),
        ..RangeRequest::default()
    };
    let mut stream = store
        .range_stream(&nothing, 500, Line::V3_7)
        .expect("a stream");
    assert!(
        stream
            .next_chunk()
            .expect("one piece")
            .expect("empty")
            .is_empty()
    );
    assert!(stream.is_last() && stream.next_chunk().is_none());
}

#[test]
fn a_stream_that_compaction_overtakes_ends_with_its_error() {
    let store = open();
    for n in 0..50 {
        put(&store, &format!("k{n:03}"), "");
    }
    let mut stream = store
        .range_stream(&all(), 500, Line::V3_7)
        .expect("a stream");
    stream.next_chunk().expect("a piece").expect("the first");
    let revision = put(&store, "k", "");
    compact(&store, revision).wait().expect("compacted");
    let error = stream
        .next_chunk()
        .expect("an answer")
        .expect_err("overtaken");
    assert!(matches!(error, Error::Compacted));
    assert!(stream.next_chunk().is_none());
}

#[test]
fn a_compaction_cut_short_goes_on_at_the_next_start() {
    let disk = disk();
    let slow = StoreOptions {
        compaction_batch_limit: 1,
        compaction_sleep: Duration::from_secs(3600),
        ..StoreOptions::default()
    };
    let store = open_on(disk.clone(), BackendOptions::default(), slow);
    for n in 0..20 {
        put(&store, "k", &n.to_string());
    }
    let current = store.revision();
    let ticket = compact(&store, current);
    // One record goes, then it rests for an hour.
    let deadline = Instant::now() + Duration::from_secs(30);
    while store.inner.doomed.lock().is_empty() {
        assert!(Instant::now() < deadline, "the index was not compacted");
        std::thread::yield_now();
    }
    let hash = store.hash_kv(0).expect("a hash");
    store.stop();
    assert!(matches!(ticket.wait(), Err(Error::Stopped)));
    store.backend().close().expect("closed");
    drop(store);

    let store = open_on(disk, BackendOptions::default(), StoreOptions::default());
    assert_eq!(store.compact_revision(), current);
    assert_eq!(store.revision(), current);
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        // It is not the hash of the compaction itself, which is remembered
        // only if the one before had come to its end.
        let again = store.hash_kv(current).expect("a hash");
        assert_eq!(again, hash);
        let tx = store.backend().snapshot().expect("a snapshot");
        let records = tx.bucket(b"key").expect("readable").expect("there").len();
        if records.expect("readable") == 1 {
            break;
        }
        assert!(Instant::now() < deadline, "the rest was not removed");
        std::thread::yield_now();
    }
    let mark = store
        .backend()
        .read("meta", b"finishedCompactRev")
        .expect("readable");
    assert_eq!(
        mark.as_deref(),
        Some(&crate::Revision::new(current, 0).to_bytes()[..])
    );
}

/// One writer moves a token from key to key, so that at every revision exactly
/// one key is there; readers and hashes look on while it is compacted.
#[test]
fn readers_see_whole_revisions_beside_writes_commits_and_compaction() {
    let store = open_on(
        disk(),
        BackendOptions {
            batch_limit: 50,
            ..BackendOptions::default()
        },
        StoreOptions {
            compaction_batch_limit: 10,
            compaction_sleep: Duration::from_micros(100),
            ..StoreOptions::default()
        },
    );
    put(&store, "k0", "0");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let look = |old: bool| {
            let mut looks = 0;
            while !done.load(Ordering::Relaxed) || looks == 0 {
                let mut request = all();
                if old {
                    request.revision = (store.revision() - 5).max(2);
                }
                match store.range(&request, Line::V3_5) {
                    Ok(answer) => {
                        assert_eq!((answer.count, answer.len()), (1, 1));
                        let kv = answer.into_response().kvs.remove(0);
                        let name = String::from_utf8_lossy(&kv.value).into_owned();
                        assert_eq!(kv.key, format!("k{name}"));
                        let at = if old {
                            request.revision
                        } else {
                            kv.mod_revision
                        };
                        assert_eq!(kv.mod_revision, at);
                    }
                    Err(error) => assert!(old && matches!(error, Error::Compacted), "{error}"),
                }
                looks += 1;
            }
        };
        scope.spawn(move || look(false));
        scope.spawn(move || look(true));
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let revision = store.revision();
                // With everything but one key gone, the hash at a revision is
                // the same whether its removal is over or not.
                let first = store.hash_kv(revision);
                let second = store.hash_kv(revision);
                if let (Ok(first), Ok(second)) = (first, second)
                    && first.compact_revision == second.compact_revision
                {
                    assert_eq!(first.hash, second.hash);
                }
            }
        });
        let mut last = None;
        for n in 0..1500u32 {
            let (from, to) = (format!("k{n}"), format!("k{}", n + 1));
            let mut writer = store.write();
            let request = move_token(&from, &to, n + 1);
            writer
                .txn(&request, &mut NoLeases, Line::V3_5)
                .expect("a txn");
            if n % 97 == 96 {
                last = Some(writer.compact(writer.revision() - 3).expect("a compaction"));
            }
            writer.publish();
        }
        last.expect("some").wait().expect("compacted");
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(store.key_count(), 1);
    let problems = bolt::check::check(&store.backend().snapshot().expect("a snapshot"));
    assert!(problems.is_empty(), "{problems:?}");
}

fn move_token(from: &str, to: &str, n: u32) -> TxnRequest {
    use proto::etcdserverpb::{RequestOp, request_op::Request};
    let op = |request| RequestOp {
        request: Some(request),
    };
    TxnRequest {
        success: vec![
            op(Request::RequestDeleteRange(DeleteRangeRequest {
                key: from.to_owned().into(),
                ..DeleteRangeRequest::default()
            })),
            op(Request::RequestPut(PutRequest {
                key: to.to_owned().into(),
                value: n.to_string().into(),
                ..PutRequest::default()
            })),
        ],
        ..TxnRequest::default()
    }
}

#[test]
fn history_stops_between_revisions_when_it_has_shown_enough() {
    let store = open();
    put(&store, "a", "0");
    let mut writer = store.write();
    writer
        .txn(&move_token("a", "b", 1), &mut NoLeases, Line::V3_5)
        .expect("a txn");
    writer.publish();
    // Once from the open batch, once from the file.
    for _ in 0..2 {
        put(&store, "c", "2");
        let next = |from: i64, max_bytes: usize| {
            let mut shown = Vec::new();
            let next = store.history(from, i64::MAX, max_bytes, |event| {
                shown.push((event.revision.main, event.revision.sub, event.is_delete));
            });
            (next.expect("history"), shown)
        };
        assert_eq!(next(2, 0), (3, vec![(2, 0, false)]));
        assert_eq!(next(3, 1), (4, vec![(3, 0, true), (3, 1, false)]));
        assert_eq!(next(2, 1).0, 3);
        let (end, shown) = next(2, 10_000);
        assert_eq!(end, store.revision() + 1);
        assert_eq!(shown.len() as i64, store.revision());
        assert_eq!(next(end, 10), (end, vec![]));
        store.backend().commit_now().expect("a commit");
    }
}

/// etcd before 3.5.16 removed a tombstone at the compacted revision, so the
/// last record may be older than the last revision (etcd#17780).
#[test]
fn the_revision_does_not_fall_behind_a_compaction() {
    for (scheduled, finished) in [(9, Some(9)), (9, Some(7)), (9, None)] {
        let disk = disk();
        let options = bolt::Options::default();
        let db = bolt::Db::open_on(Path::new("simulated"), disk.clone(), options);
        let db = db.expect("a database");
        let mut tx = db.begin_write().expect("a transaction");
        tx.create_bucket_if_not_exists(b"key").expect("a bucket");
        tx.create_bucket_if_not_exists(b"meta").expect("a bucket");
        let record = crate::stored::encode(b"k", 5, 5, 1, b"v", 0);
        let key = |main| crate::Revision::new(main, 0).to_bytes();
        tx.put(b"key", &key(5), &record).expect("a put");
        tx.put(b"meta", b"scheduledCompactRev", &key(scheduled))
            .expect("a put");
        if let Some(finished) = finished {
            tx.put(b"meta", b"finishedCompactRev", &key(finished))
                .expect("a put");
        }
        tx.commit().expect("a commit");
        drop(db);
        let store = open_on(disk, BackendOptions::default(), StoreOptions::default());
        assert_eq!((store.revision(), store.compact_revision()), (9, 9));
        assert_eq!(put(&store, "k", "w"), 10);
        assert_eq!(store.key_count(), 1);
    }
}

#[test]
fn a_version_beyond_the_index_is_read_from_the_record() {
    let disk = disk();
    let large = i64::from(u32::MAX) + 5;
    {
        let options = bolt::Options::default();
        let db =
            bolt::Db::open_on(Path::new("simulated"), disk.clone(), options).expect("a database");
        let mut tx = db.begin_write().expect("a transaction");
        tx.create_bucket_if_not_exists(b"key").expect("a bucket");
        let record = crate::stored::encode(b"k", 2, 9, large, b"v", 0);
        let key = crate::Revision::new(9, 0).to_bytes();
        tx.put(b"key", &key, &record).expect("a put");
        tx.commit().expect("a commit");
    }
    let store = open_on(disk, BackendOptions::default(), StoreOptions::default());
    put(&store, "k", "w");
    let kv = store
        .range(&all(), Line::V3_5)
        .expect("a range")
        .into_response()
        .kvs
        .remove(0);
    assert_eq!(
        (kv.version, kv.create_revision, kv.mod_revision),
        (large + 1, 2, 10)
    );
}

#[test]
fn writers_wait_while_the_disk_is_far_behind() {
    let store = open_on(
        disk(),
        BackendOptions {
            batch_bytes: 2000,
            batch_interval: Duration::from_secs(3600),
            ..BackendOptions::default()
        },
        StoreOptions::default(),
    );
    for n in 0..200 {
        put(&store, &format!("k{n}"), &"v".repeat(400));
        // Two batches at most: the open one and the one being written.
        assert!(store.backend().pending() <= 2 * 2 * 2000 / 400 + 2);
    }
    assert_eq!(store.key_count(), 200);
}
