//! What the store costs, printed: puts, gets, pages, counts, restart, memory.
//!
//! `cargo run --release -p pintle-mvcc --example store -- [keys] [value bytes] [file]`
//!
//! A file that exists is only read; one that does not is left behind.
//!
//! One thread, no server, no fsync, no network; what a page costs to send is
//! not in it.
#![allow(missing_docs)]

use std::{hint::black_box, sync::Arc, time::Instant};

use bytes::{Bytes, BytesMut};
use mvcc::{
    Leases, Store, StoreOptions,
    backend::{Backend, BackendOptions},
};
use proto::etcdserverpb::{PutRequest, RangeRequest, ResponseHeader};

struct NoLeases;

impl Leases for NoLeases {
    fn exists(&self, _: i64) -> bool {
        false
    }
    fn attach(&mut self, _: i64, _: &Bytes) {}
    fn detach(&mut self, _: i64, _: &[u8]) {}
}

fn open(path: &std::path::Path) -> Arc<Store> {
    let options = bolt::Options {
        no_sync: true,
        ..bolt::Options::default()
    };
    let db = bolt::Db::open(path, options).expect("a database");
    let backend = Backend::open(db, BackendOptions::default()).expect("a backend");
    Store::open(backend, StoreOptions::default(), &mut |_, _| {}).expect("a store")
}

fn key(n: usize) -> String {
    format!("/registry/pods/namespace-{:03}/pod-{:08}", n % 100, n)
}

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find(|l| l.starts_with(name))?;
        Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
    };
    format!(
        "{} MiB of its own, {} MiB of the file",
        field("RssAnon").unwrap_or(0),
        field("RssFile").unwrap_or(0)
    )
}

/// Shortest of five rounds, per call.
fn timed(name: &str, calls: usize, mut call: impl FnMut(usize)) {
    let mut best = f64::MAX;
    for _ in 0..5 {
        let begin = Instant::now();
        for i in 0..calls {
            call(i);
        }
        best = best.min(begin.elapsed().as_secs_f64() * 1e6 / calls as f64);
    }
    println!("{name:<44} {best:>9.2} us");
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize| args.get(i).and_then(|a| a.parse::<usize>().ok());
    let keys = number(0).unwrap_or(10_000);
    let dir = tempfile::tempdir().expect("a directory");
    let path = args.get(2).map_or(dir.path().join("db"), Into::into);
    if path.exists() {
        return read(&path, keys);
    }
    write(&path, keys, number(1).unwrap_or(256));
    // A process of its own, so that memory is what reading alone needs.
    let program = std::env::current_exe().expect("a path");
    let mut child = std::process::Command::new(program);
    child.arg(keys.to_string()).arg("0").arg(&path);
    assert!(child.status().expect("a process").success());
}

fn write(path: &std::path::Path, keys: usize, size: usize) {
    let store = open(path);
    let value = Bytes::from(vec![b'x'; size]);
    let put = |n: usize| PutRequest {
        key: key(n).into(),
        value: value.clone(),
        ..PutRequest::default()
    };
    for overwrite in [false, true] {
        let requests: Vec<PutRequest> = (0..keys).map(put).collect();
        let mut spent = Vec::new();
        for run in requests.chunks(64) {
            let mut writer = store.write();
            let begin = Instant::now();
            for request in run {
                writer.put(request, &mut NoLeases).expect("a put");
            }
            black_box(writer.publish());
            spent.push(begin.elapsed().as_secs_f64() * 1e6 / run.len() as f64);
        }
        spent.sort_by(f64::total_cmp);
        let median = spent[spent.len() / 2];
        let what = if overwrite {
            "put, overwriting"
        } else {
            "put, new key"
        };
        println!("{what:<44} {median:>9.2} us");
        let begin = Instant::now();
        store.backend().commit_now().expect("a commit");
        println!(
            "  rest of the commits {:>29.2} ms",
            begin.elapsed().as_secs_f64() * 1e3
        );
    }
    let revision = store.revision();
    let mut writer = store.write();
    for n in (0..keys).step_by(keys / 10) {
        writer.put(&put(keys + n), &mut NoLeases).expect("a put");
    }
    let ticket = writer.compact(revision).expect("a compaction");
    writer.publish();
    let begin = Instant::now();
    ticket.wait().expect("compaction ends");
    let took = begin.elapsed().as_secs_f64() * 1e3;
    println!("{:<44} {took:>9.2} ms", "compaction of one record per key");
}

fn read(path: &std::path::Path, keys: usize) {
    let begin = Instant::now();
    let store = open(path);
    let took = begin.elapsed().as_secs_f64() * 1e3;
    println!("{:<44} {took:>9.2} ms", "open");
    println!("memory: {}", memory());
    let old = store.compact_revision();
    let header = ResponseHeader {
        cluster_id: u64::MAX,
        member_id: u64::MAX,
        revision: 1,
        raft_term: 2,
    };
    let get = |request: &RangeRequest| {
        let answer = store.range(request, line::Line::V3_5).expect("a range");
        let mut out = BytesMut::with_capacity(answer.encoded_len(Some(&header)));
        answer.encode(Some(&header), &mut out);
        black_box(out.len())
    };
    let singles: Vec<RangeRequest> = (0..10_000)
        .map(|i: usize| RangeRequest {
            key: key(i.wrapping_mul(7_919) % keys).into(),
            ..RangeRequest::default()
        })
        .collect();
    timed("get, scattered", singles.len(), |i| {
        get(&singles[i]);
    });
    let all = RangeRequest {
        key: "/registry/pods/".into(),
        range_end: "/registry/pods0".into(),
        ..RangeRequest::default()
    };
    let page = RangeRequest {
        limit: 500,
        ..all.clone()
    };
    timed("500 of all, exact count", 200, |_| {
        get(&page);
    });
    let page_at = RangeRequest {
        revision: old,
        ..page.clone()
    };
    timed("500 of all at an older revision", 200, |_| {
        get(&page_at);
    });
    let ten_thousand = RangeRequest {
        limit: 10_000,
        ..all.clone()
    };
    timed("10,000", 10, |_| {
        get(&ten_thousand);
    });
    let count = RangeRequest {
        count_only: true,
        ..all
    };
    timed("count of all", 1000, |_| {
        get(&count);
    });
    let begin = Instant::now();
    let hash = store.hash_kv(0).expect("a hash");
    println!(
        "{:<44} {:>9.2} ms ({})",
        "hash of all",
        begin.elapsed().as_secs_f64() * 1e3,
        hash.hash
    );
    println!("memory: {}", memory());
}
