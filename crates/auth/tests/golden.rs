//! The log of an etcd 3.5.30, applied: the same records in the same buckets, byte for byte, and
//! back again.

use std::{collections::BTreeMap, path::Path};

use auth::{Error, Identity, Options, Store, password};
use bolt::{Batch, Db};
use bytes::Bytes;
use proto::{
    etcdserverpb::RangeRequest,
    wire::{Logged, Order},
};

const GOLDEN: &str = include_str!("golden/etcd-3.5.30.txt");

type Records = BTreeMap<(String, Vec<u8>), Vec<u8>>;

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn lines(kind: &str) -> impl Iterator<Item = Vec<&'static str>> + use<'_> {
    GOLDEN
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .filter(move |words| words[0] == kind)
}

fn golden_records() -> Records {
    lines("record")
        .map(|words| ((words[1].to_owned(), bytes(words[2])), bytes(words[3])))
        .collect()
}

fn open(path: &Path) -> Db {
    let db = Db::open(path, bolt::Options::default()).expect("a database");
    let mut tx = db.begin_write().expect("a transaction");
    for name in [auth::BUCKET, auth::USERS, auth::ROLES] {
        tx.create_bucket_if_not_exists(name.as_bytes())
            .expect("a bucket");
    }
    tx.commit().expect("a commit");
    db
}

fn write(db: &Db, batch: &Batch) {
    let mut tx = db.begin_write().expect("a transaction");
    tx.apply(batch).expect("changes");
    tx.commit().expect("a commit");
}

fn records(db: &Db) -> Records {
    let tx = db.begin_read();
    let mut all = Records::new();
    for name in [auth::BUCKET, auth::USERS, auth::ROLES] {
        let bucket = tx
            .bucket(name.as_bytes())
            .expect("a read")
            .expect("a bucket");
        let mut cursor = bucket.cursor();
        let mut next = cursor.first().expect("a read");
        while let Some((key, value)) = next {
            all.insert((name.to_owned(), key.to_vec()), value.to_vec());
            next = cursor.next().expect("a read");
        }
    }
    all
}

fn recover(db: &Db, batch: &mut Batch) -> Store {
    Store::recover(&db.begin_read(), Options::default(), batch).expect("a store")
}

#[test]
fn the_log_of_etcd_makes_the_records_of_etcd() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(&dir.path().join("db"));
    let mut batch = Batch::new();
    let mut store = recover(&db, &mut batch);
    let mut applied = 0;
    for words in lines("entry") {
        let Ok(request) = Logged::read(&Bytes::from(bytes(words[2])), Order::V3_5) else {
            continue;
        };
        let Some(op) = &request.op else { continue };
        store.change(op, &mut batch).expect("etcd applied it too");
        applied += 1;
    }
    assert!(applied > 30, "{applied} entries");
    write(&db, &batch);
    assert_eq!(records(&db), golden_records());
}

#[test]
fn the_records_of_etcd_are_read_as_etcd_reads_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(&dir.path().join("db"));
    let mut batch = Batch::new();
    let golden = golden_records();
    for ((bucket, key), value) in &golden {
        let name = [auth::BUCKET, auth::USERS, auth::ROLES]
            .into_iter()
            .find(|name| name == bucket)
            .expect("an auth bucket");
        batch.put(name, key.clone(), value.clone());
    }
    write(&db, &batch);
    let mut batch = Batch::new();
    let store = recover(&db, &mut batch);
    assert!(batch.is_empty(), "nothing is added to a database of etcd");
    assert!(store.is_enabled());
    assert_eq!(store.revision(), 31);
    let users: Vec<_> = store.users().collect();
    assert_eq!(users, ["alice", "bob", "carol", "nopw", "root"]);
    let roles: Vec<_> = store.roles().collect();
    assert_eq!(roles, ["empty", "readers", "writers"]);

    let check = |name: &str, word: &str| {
        let stored = store.credentials(name.as_bytes()).expect("auth is on");
        password::check(word.as_bytes(), &stored)
    };
    assert_eq!(check("alice", "alicepw"), Ok(()));
    assert_eq!(check("bob", "newpw"), Ok(()));
    assert_eq!(check("bob", "bobpw"), Err(Error::AuthFailed));
    assert_eq!(check("gone", "gone"), Err(Error::AuthFailed));
    assert_eq!(check("nopw", ""), Err(Error::NoPasswordUser));

    let read = |user: &str, revision, key: &str, end: &str| {
        let who = Identity {
            user: user.to_owned().into(),
            revision,
        };
        let request = RangeRequest {
            key: key.to_owned().into(),
            range_end: end.to_owned().into(),
            ..RangeRequest::default()
        };
        store.check_read(&who, &request)
    };
    assert_eq!(read("alice", 31, "foo", ""), Ok(()));
    assert_eq!(read("alice", 31, "bar", "zoo"), Ok(()));
    assert_eq!(
        read("alice", 31, "bar", "zop"),
        Err(Error::PermissionDenied)
    );
    assert_eq!(read("alice", 31, "zz", "\0"), Ok(()));
    assert_eq!(read("alice", 31, "zy", "\0"), Err(Error::PermissionDenied));
    assert_eq!(read("alice", 31, "app/x", ""), Err(Error::PermissionDenied));
    assert_eq!(read("alice", 30, "foo", ""), Err(Error::AuthOldRevision));
    assert_eq!(read("root", 31, "\0", "\0"), Ok(()));
    assert_eq!(read("bob", 31, "foo", ""), Err(Error::PermissionDenied));
    assert_eq!(read("", 0, "foo", ""), Err(Error::UserEmpty));
}
