//! Files that etcd and bbolt wrote: read to the last key, written to, and read again. How they were made stands in
//! `tests/golden/README.md`.

use std::path::PathBuf;

use crate::check::{ProblemKind, check_file};
use crate::{Db, Options, ReadTx, compact};

/// File, and what `etcdutl snapshot status` of etcd 3.5.30 prints about it: hash and number of keys.
const FILES: [(&str, u32, usize); 5] = [
    ("etcd-3.4.23.db", 1524430688, 119),
    ("etcd-3.5.0.db", 2693423224, 121),
    ("etcd-3.5.1.db", 102102221, 121),
    ("etcd-3.5.16.db", 1668664627, 121),
    ("etcd-3.5.30.db", 4152854790, 121),
];

const BUCKETS: [&str; 10] = [
    "alarm",
    "auth",
    "authRoles",
    "authUsers",
    "cluster",
    "key",
    "lease",
    "members",
    "members_removed",
    "meta",
];

pub(crate) fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

/// CRC-32C, bit by bit.
fn crc32c(mut crc: u32, bytes: &[u8]) -> u32 {
    crc = !crc;
    for b in bytes {
        crc ^= u32::from(*b);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// The hash that `snapshot status` prints: names, keys and values in order.
fn hash(tx: &ReadTx) -> (u32, usize) {
    let (mut crc, mut keys) = (0, 0);
    for name in tx.buckets() {
        let name = name.unwrap();
        crc = crc32c(crc, name);
        let bucket = tx.bucket(name).unwrap().unwrap();
        let mut cursor = bucket.cursor();
        while let Some((key, value)) = cursor.next().unwrap() {
            crc = crc32c(crc32c(crc, key), value);
            keys += 1;
        }
    }
    (crc, keys)
}

#[test]
fn etcd_files_hold_what_etcdutl_says() {
    for (name, expected, keys) in FILES {
        let db = Db::open(
            &golden(name),
            Options {
                read_only: true,
                ..Options::default()
            },
        )
        .unwrap();
        let tx = db.begin_read();
        let names: Vec<&[u8]> = tx.buckets().map(Result::unwrap).collect();
        assert_eq!(names, BUCKETS.map(str::as_bytes), "{name}");
        assert_eq!(hash(&tx), (expected, keys), "{name}");
        let report = check_file(&golden(name)).unwrap();
        assert_eq!(report.problems, [], "{name}");
        assert_eq!(report.file_len, db.size());
        let meta = tx.bucket(b"meta").unwrap().unwrap();
        assert_eq!(
            meta.get(b"consistent_index").unwrap().map(<[u8]>::len),
            Some(8),
            "{name}"
        );
        let key = tx.bucket(b"key").unwrap().unwrap();
        let big = {
            let mut cursor = key.cursor();
            std::iter::from_fn(move || cursor.next().unwrap())
                .map(|(_, v)| v.len())
                .max()
        };
        assert!(
            big > Some(9000),
            "{name}: the value that needs overflow pages is there"
        );
    }
}

#[test]
fn etcd_files_take_writes() {
    let dir = tempfile::tempdir().unwrap();
    for (name, expected, _) in FILES {
        let path = dir.path().join(name);
        std::fs::copy(golden(name), &path).unwrap();
        let db = Db::open(&path, Options::default()).unwrap();
        assert_eq!(db.check(), []);
        let before = db.begin_read();
        let mut tx = db.begin_write().unwrap();
        for i in 0..2000u64 {
            tx.put(
                b"key",
                &[&i.to_be_bytes()[..], b"_12345678"].concat(),
                &[b'v'; 200],
            )
            .unwrap();
        }
        tx.delete(b"meta", b"finishedCompactRev").unwrap();
        tx.commit().unwrap();
        assert_eq!(db.check(), []);
        assert_eq!(
            hash(&before).0,
            expected,
            "a reader from before sees what was"
        );
        drop((before, db));

        let db = Db::open(&path, Options::default()).unwrap();
        assert_eq!(db.check(), []);
        let mut tx = db.begin_write().unwrap();
        for i in 0..2000u64 {
            tx.delete(b"key", &[&i.to_be_bytes()[..], b"_12345678"].concat())
                .unwrap();
        }
        tx.put(b"meta", b"finishedCompactRev", b"x").unwrap();
        tx.commit().unwrap();
        assert_eq!(db.check(), []);
        drop(db);
        assert_eq!(check_file(&path).unwrap().problems, []);
    }
}

#[test]
fn a_compacted_copy_has_the_same_hash_and_no_free_pages() {
    let dir = tempfile::tempdir().unwrap();
    for (name, expected, keys) in FILES {
        let src = Db::open(
            &golden(name),
            Options {
                read_only: true,
                ..Options::default()
            },
        )
        .unwrap();
        let dst = compact(
            &src.begin_read(),
            &dir.path().join(name),
            Options::default(),
        )
        .unwrap();
        assert_eq!(hash(&dst.begin_read()), (expected, keys));
        assert_eq!(dst.check(), []);
        assert!(dst.size() <= src.size());
        let again = compact(
            &src.begin_read(),
            &dir.path().join(name),
            Options::default(),
        );
        assert!(
            matches!(again, Err(crate::Error::Io { .. })),
            "it does not write over a database"
        );
    }
}

#[test]
fn a_file_with_a_stored_freelist_is_checked_and_taken_over() {
    let path = golden("bbolt-1.3.11-synced.db");
    let report = check_file(&path).unwrap();
    assert!(report.stored_freelist);
    assert_eq!(report.problems, []);
    assert!(report.used_pages < report.high_water_mark);

    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("db");
    std::fs::copy(&path, &copy).unwrap();
    let db = Db::open(&copy, Options::default()).unwrap();
    {
        let tx = db.begin_read();
        let key = tx.bucket(b"key").unwrap().unwrap();
        assert_eq!(
            key.get(b"k0030").unwrap(),
            Some(&b"value 1 30 .........................."[..])
        );
        let nested = key.bucket(b"nested").unwrap().unwrap();
        assert_eq!(
            (nested.get(b"in").unwrap(), nested.sequence()),
            (Some(&b"side"[..]), 7)
        );
        assert!(matches!(
            key.bucket(b"k0030"),
            Err(crate::Error::IncompatibleValue(..))
        ));
    }
    let mut tx = db.begin_write().unwrap();
    tx.put_in(&[b"key", b"nested"], b"more", &[7; 5000])
        .unwrap();
    tx.commit().unwrap();
    assert_eq!(db.check(), []);
    {
        let tx = db.begin_read();
        let nested = tx
            .bucket(b"key")
            .unwrap()
            .unwrap()
            .bucket(b"nested")
            .unwrap()
            .unwrap();
        assert_eq!(
            (nested.get(b"more").unwrap(), nested.sequence()),
            (Some(&[7; 5000][..]), 7)
        );
    }
    drop(db);
    let report = check_file(&copy).unwrap();
    assert!(!report.stored_freelist, "the free list is no longer stored");
    assert_eq!(report.problems, []);
}

#[test]
fn a_wrong_entry_in_a_stored_freelist_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("db");
    let bytes = std::fs::read(golden("bbolt-1.3.11-synced.db")).unwrap();
    let kinds = |edit: &dyn Fn(&mut [u8])| -> Vec<ProblemKind> {
        let mut bytes = bytes.clone();
        let list = freelist_at(&bytes);
        edit(&mut bytes[list..]);
        std::fs::write(&copy, &bytes).unwrap();
        check_file(&copy)
            .unwrap()
            .problems
            .iter()
            .map(|p| p.kind)
            .collect()
    };
    assert_eq!(kinds(&|_| ()), []);
    // The second free page becomes a copy of the first: one is free twice, the other is lost.
    let twice = kinds(&|list| list.copy_within(16..24, 24));
    assert_eq!(
        twice,
        [ProblemKind::DoubleFreed, ProblemKind::UnreachableUnfreed]
    );
    let outside = kinds(&|list| list[16..24].copy_from_slice(&u64::MAX.to_le_bytes()));
    assert!(outside.contains(&ProblemKind::OutOfBounds), "{outside:?}");
    let miscounted = kinds(&|list| list[10..12].copy_from_slice(&5000u16.to_le_bytes()));
    assert_eq!(miscounted, [ProblemKind::Freelist]);
    let mistyped = kinds(&|list| list[8] = 2);
    assert_eq!(mistyped, [ProblemKind::WrongType]);
}

fn freelist_at(bytes: &[u8]) -> usize {
    let read = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let meta = if read(64) > read(4096 + 64) { 0 } else { 4096 };
    read(meta + 48) as usize * 4096
}
