//! Random transactions against a map of maps: after each commit, after each reopening and inside each transaction the
//! database holds what the model holds, in order, and the checker finds nothing.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::open;
use crate::read::Bucket;
use crate::sim::SimDisk;
use crate::{Db, ReadTx, WriteTx};

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) keys: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) subs: BTreeMap<Vec<u8>, Model>,
}

impl Model {
    pub(crate) fn at(&mut self, path: &[Vec<u8>]) -> &mut Model {
        path.iter().fold(self, |m, name| {
            m.subs.get_mut(name).expect("the op's path exists")
        })
    }
}

/// Buckets: two on top, one nested in the first, one nested in that.
const PATHS: [&[&[u8]]; 4] = [&[b"a"], &[b"b"], &[b"a", b"~in"], &[b"a", b"~in", b"~in"]];

#[derive(Clone)]
pub(crate) enum Op {
    Put {
        path: usize,
        key: Vec<u8>,
        value: Vec<u8>,
    },
    /// Ascending keys, as the store of a key-value server writes them.
    Append {
        path: usize,
        count: u16,
        len: usize,
    },
    Delete {
        path: usize,
        key: Vec<u8>,
    },
    /// All keys of a range of key bytes.
    DeleteRange {
        path: usize,
        from: u8,
        to: u8,
    },
    Recreate {
        path: usize,
    },
}

impl std::fmt::Debug for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Op::Put { path, key, value } => {
                write!(
                    f,
                    "put {path} {:?}x{} = {}x{}",
                    &key[..2.min(key.len())],
                    key.len(),
                    value.first().unwrap_or(&0),
                    value.len()
                )
            }
            Op::Append { path, count, len } => write!(f, "append {path} {count} of {len}"),
            Op::Delete { path, key } => write!(
                f,
                "delete {path} {:?}x{}",
                &key[..2.min(key.len())],
                key.len()
            ),
            Op::DeleteRange { path, from, to } => write!(f, "delete {path} {from}..{to}"),
            Op::Recreate { path } => write!(f, "recreate {path}"),
        }
    }
}

pub(crate) fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0u8..250, 0u8..40).prop_map(|(a, b)| vec![a, b]),
        1 => (0u8..250, 1usize..300).prop_map(|(a, n)| vec![a; n]),
    ]
}

pub(crate) fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (any::<u8>(), 0usize..60).prop_map(|(b, n)| vec![b; n]),
        1 => (any::<u8>(), 0usize..1500).prop_map(|(b, n)| vec![b; n]),
        1 => (any::<u8>(), 0usize..9000).prop_map(|(b, n)| vec![b; n]),
    ]
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let path = 0..PATHS.len();
    prop_oneof![
        20 => (path.clone(), key(), value()).prop_map(|(path, key, value)| Op::Put { path, key, value }),
        6 => (path.clone(), key()).prop_map(|(path, key)| Op::Delete { path, key }),
        3 => (path.clone(), 1u16..400, 0usize..100)
            .prop_map(|(path, count, len)| Op::Append { path, count, len }),
        2 => (path.clone(), any::<u8>(), any::<u8>())
            .prop_map(|(path, a, b)| Op::DeleteRange { path, from: a.min(b), to: a.max(b) }),
        1 => path.prop_map(|path| Op::Recreate { path }),
    ]
}

pub(crate) fn names(path: usize) -> Vec<Vec<u8>> {
    PATHS[path].iter().map(|n| n.to_vec()).collect()
}

/// Makes the buckets in both.
pub(crate) fn prepare(tx: &mut WriteTx, model: &mut Model) {
    for path in PATHS {
        let (name, parents) = path.split_last().expect("paths are not empty");
        tx.create_bucket_in(parents, name).unwrap();
        let parents: Vec<Vec<u8>> = parents.iter().map(|n| n.to_vec()).collect();
        model.at(&parents).subs.entry(name.to_vec()).or_default();
    }
}

/// Does `op` in both.
pub(crate) fn run(tx: &mut WriteTx, model: &mut Model, op: &Op) -> Result<(), crate::Error> {
    match op {
        Op::Put { path, key, value } => {
            tx.put_in(PATHS[*path], key, value)?;
            model
                .at(&names(*path))
                .keys
                .insert(key.clone(), value.clone());
        }
        Op::Append { path, count, len } => {
            let keys = &mut model.at(&names(*path)).keys;
            let start = keys.len() as u32;
            for i in 0..u32::from(*count) {
                let key = [&[251u8][..], &(start + i).to_be_bytes()].concat();
                let value = vec![i as u8; *len];
                tx.put_in(PATHS[*path], &key, &value)?;
                keys.insert(key, value);
            }
        }
        Op::Delete { path, key } => {
            tx.delete_in(PATHS[*path], key)?;
            model.at(&names(*path)).keys.remove(key);
        }
        Op::DeleteRange { path, from, to } => {
            let keys = &mut model.at(&names(*path)).keys;
            let gone: Vec<Vec<u8>> = keys
                .range(vec![*from]..vec![*to])
                .map(|(k, _)| k.clone())
                .collect();
            for key in gone {
                tx.delete_in(PATHS[*path], &key)?;
                keys.remove(&key);
            }
        }
        Op::Recreate { path } => {
            let (name, parents) = PATHS[*path].split_last().expect("paths are not empty");
            tx.delete_bucket_in(parents, name)?;
            let parents: Vec<Vec<u8>> = parents.iter().map(|n| n.to_vec()).collect();
            model.at(&parents).subs.remove(*name);
            prepare(tx, model);
        }
    }
    Ok(())
}

/// The whole content of a bucket.
pub(crate) fn content(bucket: &Bucket<'_>) -> Result<Model, crate::Error> {
    let mut model = Model::default();
    let mut cursor = bucket.cursor();
    let mut step = cursor.first()?;
    while let Some((key, value)) = step {
        if cursor.is_bucket() {
            let sub = bucket.bucket(key)?.expect("the cursor saw it");
            model.subs.insert(key.to_vec(), content(&sub)?);
        } else {
            model.keys.insert(key.to_vec(), value.to_vec());
        }
        step = cursor.next()?;
    }
    Ok(model)
}

/// All ways of looking agree with the model.
pub(crate) fn compare(tx: &ReadTx, model: &Model) {
    assert_eq!(&content(&tx.root()).unwrap(), model);
    for path in 0..PATHS.len() {
        let mut bucket = tx.root();
        let mut part = model;
        let mut there = true;
        for name in names(path) {
            match bucket.bucket(&name).unwrap() {
                Some(b) => {
                    bucket = b;
                    part = &part.subs[&name];
                }
                None => there = false,
            }
        }
        if !there {
            continue;
        }
        assert_eq!(
            bucket.len().unwrap(),
            (part.keys.len() + part.subs.len()) as u64
        );
        let mut near = bucket.cursor();
        for (key, value) in &part.keys {
            assert_eq!(bucket.get(key).unwrap(), Some(&value[..]));
            assert_eq!(near.seek_near(key).unwrap(), Some((&key[..], &value[..])));
        }
        let mut all: Vec<&Vec<u8>> = part.keys.keys().chain(part.subs.keys()).collect();
        all.sort();
        let mut back = bucket.cursor();
        for key in all.iter().rev() {
            assert_eq!(back.prev().unwrap().map(|(k, _)| k), Some(&key[..]));
        }
        assert_eq!(back.prev().unwrap(), None);
        for probe in [
            &[0u8][..],
            &[100],
            &[100, 7],
            &[251],
            &[251, 0, 0, 1],
            &[254],
            &[255; 40],
        ] {
            let expected = all.iter().find(|k| &k[..] >= probe).map(|k| &k[..]);
            assert_eq!(
                bucket.cursor().seek(probe).unwrap().map(|(k, _)| k),
                expected
            );
            assert_eq!(near.seek_near(probe).unwrap().map(|(k, _)| k), expected);
        }
    }
}

fn reopen(disk: &SimDisk, page_size: u32) -> Db {
    open(disk, page_size).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: std::env::var("BOLT_CASES").map_or(96, |n| n.parse().unwrap()), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_transactions_agree_with_a_map(
        page_size in prop_oneof![Just(1024u32), Just(4096)],
        txs in prop::collection::vec((prop::collection::vec(op(), 1..12), 0u8..10), 1..12),
    ) {
        let disk = SimDisk::new(&[], 256 << 20).unwrap();
        let mut db = reopen(&disk, page_size);
        let mut model = Model::default();
        let mut tx = db.begin_write().unwrap();
        prepare(&mut tx, &mut model);
        tx.commit().unwrap();
        let mut held: Option<(ReadTx, Model)> = None;
        for (ops, end) in txs {
            let before = model.clone();
            let mut tx = db.begin_write().unwrap();
            for op in &ops {
                run(&mut tx, &mut model, op).unwrap();
                if let Op::Put { path, key, value } = op {
                    prop_assert_eq!(tx.get_in(PATHS[*path], key).unwrap(), Some(&value[..]));
                }
            }
            match end {
                0 => { tx.rollback(); model = before; }
                _ => tx.commit().unwrap(),
            }
            compare(&db.begin_read(), &model);
            prop_assert_eq!(db.check(), []);
            // A reader of an older state sees what it saw.
            if let Some((reader, then)) = &held {
                compare(reader, then);
            }
            match end {
                1 | 2 => held = Some((db.begin_read(), model.clone())),
                3 => held = None,
                4 => { held = None; db = reopen(&disk, page_size); compare(&db.begin_read(), &model); }
                _ => {}
            }
        }
    }
}

#[test]
fn a_new_bucket_holds_what_was_put() {
    let disk = SimDisk::new(&[], 64 << 20).unwrap();
    let db = reopen(&disk, 4096);
    let mut model = Model::default();
    let mut tx = db.begin_write().unwrap();
    prepare(&mut tx, &mut model);
    tx.commit().unwrap();
    compare(&db.begin_read(), &model);
    for i in 0..40 {
        let mut tx = db.begin_write().unwrap();
        run(
            &mut tx,
            &mut model,
            &Op::Append {
                path: 0,
                count: 300,
                len: i * 10,
            },
        )
        .unwrap();
        tx.commit().unwrap();
        compare(&db.begin_read(), &model);
    }
}

#[test]
fn keys_in_random_order_in_one_transaction_come_out_sorted() {
    let disk = SimDisk::new(&[], 256 << 20).unwrap();
    let db = reopen(&disk, 4096);
    let mut model = Model::default();
    let mut tx = db.begin_write().unwrap();
    prepare(&mut tx, &mut model);
    let mut keys = BTreeMap::new();
    for i in 0..20_000u32 {
        // Multiplication by an odd number permutes the keys.
        let key = i.wrapping_mul(0x9e37_79b1).to_be_bytes();
        tx.put(b"b", &key, &i.to_le_bytes()).unwrap();
        keys.insert(key.to_vec(), i.to_le_bytes().to_vec());
    }
    model.at(&[b"b".to_vec()]).keys = keys;
    tx.commit().unwrap();
    compare(&db.begin_read(), &model);
    assert_eq!(db.check(), []);
    let stats = db
        .begin_read()
        .bucket(b"b")
        .unwrap()
        .unwrap()
        .stats(true)
        .unwrap();
    assert!(
        stats.leaf_pages < 300,
        "pages are at least half full: {stats:?}"
    );
}

#[test]
fn deleting_in_key_order_leaves_no_thin_pages() {
    let disk = SimDisk::new(&[], 256 << 20).unwrap();
    let db = reopen(&disk, 4096);
    let mut model = Model::default();
    let mut tx = db.begin_write().unwrap();
    prepare(&mut tx, &mut model);
    run(
        &mut tx,
        &mut model,
        &Op::Append {
            path: 1,
            count: 20_000,
            len: 100,
        },
    )
    .unwrap();
    tx.commit().unwrap();
    let full = db
        .begin_read()
        .bucket(b"b")
        .unwrap()
        .unwrap()
        .stats(false)
        .unwrap();
    assert!(
        full.leaf_pages < 20_000 * 130 / 3500,
        "appended pages are well filled: {full:?}"
    );
    // As a compaction does it: a thousand keys at a time, one in twenty stays.
    let all: Vec<Vec<u8>> = model.at(&[b"b".to_vec()]).keys.keys().cloned().collect();
    for batch in all.chunks(1000) {
        let mut tx = db.begin_write().unwrap();
        for key in batch
            .iter()
            .enumerate()
            .filter(|(i, _)| i % 20 != 0)
            .map(|(_, key)| key)
        {
            tx.delete(b"b", key).unwrap();
            model.at(&[b"b".to_vec()]).keys.remove(key);
        }
        tx.commit().unwrap();
    }
    compare(&db.begin_read(), &model);
    assert_eq!(db.check(), []);
    let thin = db
        .begin_read()
        .bucket(b"b")
        .unwrap()
        .unwrap()
        .stats(false)
        .unwrap();
    assert!(
        thin.leaf_pages * 4 < full.leaf_pages,
        "{thin:?} of {full:?}"
    );
}

/// Random databases as files in the directory `BOLT_OUT`, for other implementations to check:
/// `BOLT_OUT=/tmp/x cargo test -p pintle-bolt databases_for_other_readers -- --ignored`.
#[test]
#[ignore = "writes files for other programs"]
fn databases_for_other_readers() {
    use proptest::strategy::ValueTree;
    let dir =
        std::path::PathBuf::from(std::env::var_os("BOLT_OUT").expect("BOLT_OUT names a directory"));
    let mut runner = proptest::test_runner::TestRunner::default();
    for number in 0..300 {
        let page_size = if number % 2 == 0 { 4096 } else { 1024 };
        let disk = SimDisk::new(&[], 256 << 20).unwrap();
        let db = reopen(&disk, page_size);
        let mut model = Model::default();
        for round in 0..number % 12 + 1 {
            let mut tx = db.begin_write().unwrap();
            if round == 0 {
                prepare(&mut tx, &mut model);
            }
            let ops = prop::collection::vec(op(), 1..20)
                .new_tree(&mut runner)
                .unwrap()
                .current();
            for op in &ops {
                run(&mut tx, &mut model, op).unwrap();
            }
            tx.commit().unwrap();
        }
        std::fs::write(dir.join(format!("{number}.db")), disk.content()).unwrap();
    }
}

/// The files in the directory `BOLT_IN`, written by other implementations, are sound and stay so when written to.
#[test]
#[ignore = "reads files of other programs"]
fn databases_of_other_writers() {
    let dir = std::env::var_os("BOLT_IN").expect("BOLT_IN names a directory");
    let mut files = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let report = crate::check::check_file(&path).unwrap();
        assert_eq!(report.problems, [], "{path:?}");
        let image = std::fs::read(&path).unwrap();
        let db = reopen(
            &SimDisk::new(&image, image.len() + (64 << 20)).unwrap(),
            4096,
        );
        let mut tx = db.begin_write().unwrap();
        let mut model = content(&db.begin_read().root()).unwrap();
        prepare(&mut tx, &mut model);
        for path in 0..PATHS.len() {
            run(
                &mut tx,
                &mut model,
                &Op::DeleteRange {
                    path,
                    from: 60,
                    to: 252,
                },
            )
            .unwrap();
        }
        tx.commit().unwrap();
        compare(&db.begin_read(), &model);
        assert_eq!(db.check(), [], "{path:?}");
        files += 1;
    }
    assert!(files > 0);
}
