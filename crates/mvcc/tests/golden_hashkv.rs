//! Histories that a real etcd 3.5.30 went through, and the hashes it gave.

use bytes::Bytes;
use line::Line;
use mvcc::{
    Error, Leases, Store, StoreOptions,
    backend::{Backend, BackendOptions},
};
use proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RequestOp, TxnRequest, request_op::Request,
};

struct NoLeases;

impl Leases for NoLeases {
    fn exists(&self, _: i64) -> bool {
        false
    }
    fn attach(&mut self, _: i64, _: &Bytes) {}
    fn detach(&mut self, _: i64, _: &[u8]) {}
}

fn open(path: &std::path::Path) -> std::sync::Arc<Store> {
    let options = bolt::Options {
        no_sync: true,
        ..bolt::Options::default()
    };
    let db = bolt::Db::open(path, options).expect("a database");
    let backend = Backend::open(db, BackendOptions::default()).expect("a backend");
    Store::open(backend, StoreOptions::default(), &mut |_, _| {}).expect("a store")
}

fn put(key: &str, value: &str) -> PutRequest {
    PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..PutRequest::default()
    }
}

fn op(request: Request) -> RequestOp {
    RequestOp {
        request: Some(request),
    }
}

fn delete(key: &str, end: &str) -> DeleteRangeRequest {
    DeleteRangeRequest {
        key: key.to_owned().into(),
        range_end: end.to_owned().into(),
        ..DeleteRangeRequest::default()
    }
}

#[test]
fn every_hash_is_the_one_etcd_gave() {
    let script = include_str!("golden/hashkv-3.5.30.txt");
    let mut dir = tempfile::tempdir().expect("a directory");
    let mut store = None;
    let mut hashes = 0;
    let mut history = "";
    for (number, line) in script.lines().enumerate() {
        let at = format!("line {}, history {history}: {line}", number + 1);
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["history", seed] => {
                history = seed;
                drop(store.take());
                dir = tempfile::tempdir().expect("a directory");
                store = Some(open(&dir.path().join("db")));
                continue;
            }
            ["restart"] => {
                drop(store.take());
                store = Some(open(&dir.path().join("db")));
                continue;
            }
            _ => {}
        }
        let store = store.as_ref().expect("a history begins");
        match words[..] {
            ["put", key, value] => {
                let mut writer = store.write();
                writer.put(&put(key, value), &mut NoLeases).expect(&at);
                writer.publish();
            }
            ["delete", key, end] => {
                let end = if end == "-" { "" } else { end };
                let mut writer = store.write();
                writer
                    .delete_range(&delete(key, end), &mut NoLeases)
                    .expect(&at);
                writer.publish();
            }
            ["txn", first, second, third] => {
                let assign = |pair: &str| {
                    let (key, value) = pair.split_once('=').expect("key=value");
                    op(Request::RequestPut(put(key, value)))
                };
                let request = TxnRequest {
                    success: vec![
                        assign(first),
                        op(Request::RequestDeleteRange(delete(second, ""))),
                        assign(third),
                    ],
                    ..TxnRequest::default()
                };
                let mut writer = store.write();
                writer.txn(&request, &mut NoLeases, Line::V3_5).expect(&at);
                writer.publish();
            }
            ["compact", revision, verdict] => {
                let mut writer = store.write();
                let ticket = writer.compact(revision.parse().expect(&at));
                writer.publish();
                assert_eq!(ticket.is_ok(), verdict == "ok", "{at}");
                if let Ok(ticket) = ticket {
                    ticket.wait().expect(&at);
                }
            }
            ["hash", revision, "error", ..] => {
                let error = store.hash_kv(revision.parse().expect(&at)).expect_err(&at);
                let compacted = line.ends_with("has been compacted");
                assert_eq!(matches!(error, Error::Compacted), compacted, "{at}");
                assert_eq!(matches!(error, Error::FutureRev), !compacted, "{at}");
            }
            ["hash", revision, hash, compacted, current] => {
                let got = store.hash_kv(revision.parse().expect(&at)).expect(&at);
                assert_eq!(got.compact_revision.to_string(), compacted, "{at}");
                assert_eq!(got.current_revision.to_string(), current, "{at}");
                assert_eq!(got.hash.to_string(), hash, "{at}");
                hashes += 1;
            }
            _ => panic!("not understood: {at}"),
        }
    }
    assert!(hashes > 400, "only {hashes} hashes were compared");
}
