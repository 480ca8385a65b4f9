use std::{
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bolt::sim::SimDisk;
use line::Line;
use proptest::prelude::*;
use proto::{
    EntryId,
    etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest},
};

use super::*;
use crate::{Leases, Store, StoreOptions};

struct NoLeases;

impl Leases for NoLeases {
    fn exists(&self, _: i64) -> bool {
        false
    }
    fn attach(&mut self, _: i64, _: &Bytes) {}
    fn detach(&mut self, _: i64, _: &[u8]) {}
}

/// Commits only when asked to.
fn entry(index: u64, term: u64) -> EntryId {
    EntryId { index, term }
}

fn patient() -> BackendOptions {
    BackendOptions {
        batch_interval: Duration::from_secs(3600),
        ..BackendOptions::default()
    }
}

fn disk() -> SimDisk {
    SimDisk::new(&[], 16 << 20).expect("memory")
}

fn open_on(disk: SimDisk, options: BackendOptions) -> Result<Arc<Backend>, OpenError> {
    let options_db = bolt::Options {
        growth_step: 1 << 16,
        ..bolt::Options::default()
    };
    let db = Db::open_on(Path::new("simulated"), disk, options_db)?;
    Backend::open(db, options)
}

fn store(backend: &Arc<Backend>) -> Arc<Store> {
    Store::open(backend.clone(), StoreOptions::default(), &mut |_, _| {}).expect("a store")
}

fn batch(key: &'static str, value: Option<&'static str>) -> Batch {
    let mut batch = Batch::new();
    match value {
        Some(value) => batch.put("alarm", key, value),
        None => batch.delete("alarm", key),
    }
    batch
}

fn put(store: &Store, key: &str, index: u64) {
    let mut writer = store.write();
    let request = PutRequest {
        key: key.to_owned().into(),
        value: index.to_string().into(),
        ..PutRequest::default()
    };
    writer.put(&request, &mut NoLeases).expect("a put");
    writer.set_consistent_index(entry(index, 1 + index / 10));
    writer.publish();
}

fn value(store: &Store, key: &str) -> Option<String> {
    let request = RangeRequest {
        key: key.to_owned().into(),
        ..RangeRequest::default()
    };
    let kvs = store
        .range(&request, Line::V3_5)
        .expect("a range")
        .into_response()
        .kvs;
    kvs.first()
        .map(|kv| String::from_utf8_lossy(&kv.value).into_owned())
}

#[test]
fn a_new_file_has_the_ten_buckets_and_an_old_one_is_left_alone() {
    let disk = disk();
    let backend = open_on(disk.clone(), patient()).expect("a backend");
    let names: Vec<Vec<u8>> = backend
        .db()
        .begin_read()
        .buckets()
        .map(|name| name.expect("a name").to_vec())
        .collect();
    assert_eq!(names, BUCKETS.map(|name| name.as_bytes().to_vec()));
    backend.close().expect("closed");
    let before = disk.operations();
    drop(backend);
    drop(open_on(disk.clone(), patient()).expect("a backend"));
    // It is synced, in case a killed process wrote it and did not: nothing else.
    assert_eq!(disk.operations(), before + 1);
}

#[test]
fn reads_see_what_is_written_at_once() {
    let backend = open_on(disk(), patient()).expect("a backend");
    let read = |key: &str| backend.read("alarm", key.as_bytes()).expect("readable");
    backend.write(batch("a", Some("1")));
    backend.write(batch("b", Some("1")));
    backend.write(batch("b", Some("2")));
    assert_eq!(read("a").as_deref(), Some(&b"1"[..]));
    assert_eq!(read("b").as_deref(), Some(&b"2"[..]));
    backend.commit_now().expect("a commit");
    assert_eq!(backend.pending(), 0);
    backend.write(batch("a", None));
    assert_eq!(read("a"), None);
    assert_eq!(read("b").as_deref(), Some(&b"2"[..]));
    assert!(backend.read("nothing", b"x").is_err());
}

#[test]
fn an_index_alone_writes_nothing_until_something_else_does() {
    let disk = disk();
    let backend = open_on(disk.clone(), patient()).expect("a backend");
    let before = disk.operations();
    backend.set_consistent_index(entry(5, 2));
    assert_eq!(backend.consistent_index(), entry(5, 2));
    assert_eq!(backend.committed_index(), 0);
    assert_eq!(disk.operations(), before);
    backend.write(batch("a", Some("1")));
    backend.commit_now().expect("a commit");
    assert_eq!(backend.committed_index(), 5);
    assert_eq!(
        consistent_index(&backend.db().begin_read()).expect("readable"),
        entry(5, 2)
    );
    // Zero is never written.
    backend.set_consistent_index(EntryId::ZERO);
    backend.commit_now().expect("a commit");
    assert_eq!(
        consistent_index(&backend.db().begin_read()).expect("readable"),
        entry(5, 2)
    );
}

#[test]
fn a_full_batch_does_not_wait() {
    let options = BackendOptions {
        batch_limit: 3,
        ..patient()
    };
    let commits = Arc::new((Mutex::new(0), std::sync::Condvar::new()));
    let told = commits.clone();
    let options = BackendOptions {
        on_commit: Box::new(move |_| {
            *told.0.lock().expect("not poisoned") += 1;
            told.1.notify_all();
        }),
        ..options
    };
    let backend = open_on(disk(), options).expect("a backend");
    for value in ["1", "2", "3"] {
        backend.write(batch("a", Some(value)));
    }
    let count = commits.0.lock().expect("not poisoned");
    let (count, timeout) = commits
        .1
        .wait_timeout_while(count, Duration::from_secs(30), |n| *n == 0)
        .expect("not poisoned");
    assert!(!timeout.timed_out() && *count == 1);
}

#[test]
fn an_error_is_told_once_and_ends_all_commits() {
    let disk = disk();
    let errors = Arc::new(AtomicUsize::new(0));
    let seen = errors.clone();
    let options = BackendOptions {
        on_error: Box::new(move |_| {
            seen.fetch_add(1, Ordering::SeqCst);
        }),
        ..patient()
    };
    let backend = open_on(disk.clone(), options).expect("a backend");
    let store = store(&backend);
    put(&store, "k", 1);
    backend.commit_now().expect("a commit");
    disk.fail_at(disk.operations());
    put(&store, "k", 2);
    backend.commit_now().expect_err("a broken disk");
    backend.commit_now().expect_err("still");
    backend.defrag().expect_err("still");
    // What is in memory stays readable.
    assert_eq!(value(&store, "k").as_deref(), Some("2"));
    assert_eq!(backend.committed_index(), 1);
    store.stop();
    backend.close().expect_err("still");
    assert_eq!(errors.load(Ordering::SeqCst), 1);
}

#[test]
fn an_interrupted_run_never_reaches_the_file() {
    let disk = disk();
    let backend = open_on(disk.clone(), patient()).expect("a backend");
    let store = store(&backend);
    put(&store, "k", 1);
    backend.commit_now().expect("a commit");
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut writer = store.write();
        let request = PutRequest {
            key: "k".into(),
            ..PutRequest::default()
        };
        writer.put(&request, &mut NoLeases).expect("a put");
        std::panic::resume_unwind(Box::new("a defect elsewhere"));
    }));
    assert!(result.is_err());
    assert!(backend.commit_now().is_err());
    store.stop();
    assert!(backend.close().is_err());
    drop((store, backend));
    let backend = open_on(disk, patient()).expect("a backend");
    assert_eq!(self::store(&backend).revision(), 2);
}

#[test]
fn defragmentation_keeps_all_and_readers_keep_theirs() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("db");
    let db = Db::open(&path, bolt::Options::default()).expect("a database");
    let backend = Backend::open(db, patient()).expect("a backend");
    let store = store(&backend);
    for i in 0..2000 {
        put(&store, &format!("k{i:04}"), i + 1);
    }
    backend.commit_now().expect("a commit");
    let mut writer = store.write();
    let all_but_one = DeleteRangeRequest {
        key: "k0001".into(),
        range_end: "\0".into(),
        prev_kv: false,
    };
    writer
        .delete_range(&all_but_one, &mut NoLeases)
        .expect("a delete");
    writer.publish();
    put(&store, "after", 2001);
    let mut writer = store.write();
    let ticket = writer
        .compact(store_revision(&writer))
        .expect("a compaction");
    writer.publish();
    ticket.wait().expect("compacted");

    let before = backend.db();
    let old = before.begin_read();
    let hash = store.hash_kv(store.revision()).expect("a hash");
    let in_use = backend.size_in_use();
    backend.defrag().expect("a defragmentation");
    assert!(backend.db().size_in_use() <= in_use);
    assert!(bolt::check::check(&backend.snapshot().expect("a snapshot")).is_empty());
    assert!(old.bucket(b"key").expect("readable").is_some());
    assert_eq!(store.hash_kv(store.revision()).expect("a hash"), hash);
    put(&store, "later", 2002);
    // The second copy must take the place of the first one, not of its old name.
    backend.defrag().expect("another defragmentation");
    let left: Vec<_> = std::fs::read_dir(dir.path())
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(left, ["db"]);
    store.stop();
    backend.close().expect("closed");
    drop((store, old, before, backend));

    let db = Db::open(&path, bolt::Options::default()).expect("a database");
    let backend = Backend::open(db, patient()).expect("a backend");
    let store = self::store(&backend);
    assert_eq!(value(&store, "k0000").as_deref(), Some("1"));
    assert_eq!(value(&store, "k0001"), None);
    assert_eq!(value(&store, "after").as_deref(), Some("2001"));
    assert_eq!(value(&store, "later").as_deref(), Some("2002"));
    assert_eq!(backend.consistent_index().index, 2002);
}

fn store_revision(writer: &crate::Writer<'_>) -> i64 {
    writer.revision()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Invariant 2: whatever the disk keeps of the last writes, the index in the
    /// file is that of the data beside it.
    #[test]
    fn after_a_power_cut_the_index_speaks_of_the_data(
        steps in proptest::collection::vec(prop_oneof![6 => Just(true), 1 => Just(false)], 1..60),
        fail_at in 0u64..60,
        kept in proptest::collection::vec(any::<usize>(), 1..40),
    ) {
        let disk = disk();
        let backend = open_on(disk.clone(), patient()).expect("a backend");
        let store = store(&backend);
        disk.fail_at(disk.operations() + fail_at);
        let mut committed = 0;
        for (i, step) in steps.iter().enumerate() {
            if *step {
                put(&store, "k", i as u64 + 1);
            } else if backend.commit_now().is_ok() {
                committed = backend.committed_index();
            }
        }
        let mut choice = kept.iter().cycle();
        let image = disk.after_power_cut(&mut |n| choice.next().map_or(0, |c| c % n.max(1)));
        store.stop();
        let _ = backend.close();
        drop((store, backend));

        let disk = SimDisk::new(&image, 16 << 20).expect("memory");
        let backend = open_on(disk, patient()).expect("a backend");
        let store = self::store(&backend);
        let EntryId { index, term } = backend.consistent_index();
        prop_assert!(index >= committed, "{} was committed, {} is left", committed, index);
        if index == 0 {
            prop_assert_eq!(store.revision(), 1);
        } else {
            prop_assert_eq!(value(&store, "k"), Some(index.to_string()));
            prop_assert_eq!(term, 1 + index / 10);
            let puts = steps[..index as usize].iter().filter(|s| **s).count();
            prop_assert_eq!(store.revision(), 1 + puts as i64);
        }
    }
}
