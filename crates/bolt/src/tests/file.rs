//! Real files: creation, locks, growth, truncation, images, and other programs reading what we wrote.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::check::check_file;
use crate::{Batch, Db, Error, Options};

fn quick() -> Options {
    Options {
        lock_timeout: Some(Duration::ZERO),
        ..Options::default()
    }
}

fn fill(db: &Db, from: u32, to: u32) {
    let mut tx = db.begin_write().unwrap();
    tx.create_bucket_if_not_exists(b"key").unwrap();
    for i in from..to {
        tx.put(b"key", &i.to_be_bytes(), &[b'v'; 200]).unwrap();
    }
    tx.commit().unwrap();
}

#[test]
fn an_empty_database_is_four_pages_as_bbolt_makes_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    drop(
        Db::open(
            &path,
            Options {
                page_size: Some(4096),
                ..quick()
            },
        )
        .unwrap(),
    );
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len(), 4 * 4096);
    let head = |page: usize| bytes[page * 4096..page * 4096 + 12].to_vec();
    assert_eq!(head(2), [2, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0]);
    assert_eq!(head(3), [3, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0]);
    assert_eq!(check_file(&path).unwrap().problems, []);
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn what_a_crash_during_creation_leaves_is_created_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    drop(
        Db::open(
            &path,
            Options {
                page_size: Some(4096),
                ..quick()
            },
        )
        .unwrap(),
    );
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[..8192].fill(0);
    std::fs::write(&path, &bytes).unwrap();
    assert!(
        Db::open(
            &path,
            Options {
                read_only: true,
                ..quick()
            }
        )
        .is_err()
    );
    fill(&Db::open(&path, quick()).unwrap(), 0, 10);
    assert_eq!(check_file(&path).unwrap().problems, []);
}

#[test]
fn a_file_of_something_else_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    std::fs::write(&path, b"hello, this is not a database").unwrap();
    let e = Db::open(&path, quick()).unwrap_err();
    assert!(matches!(e, Error::NotADatabase { .. }), "{e}");
    assert_eq!(
        std::fs::read(&path).unwrap(),
        b"hello, this is not a database"
    );
}

#[test]
fn one_writer_or_many_readers_hold_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let db = Db::open(&path, quick()).unwrap();
    assert!(matches!(
        Db::open(&path, quick()),
        Err(Error::Locked { .. })
    ));
    assert!(matches!(
        Db::open(
            &path,
            Options {
                read_only: true,
                ..quick()
            }
        ),
        Err(Error::Locked { .. })
    ));
    let reader = db.begin_read();
    drop(db);
    assert!(
        matches!(Db::open(&path, quick()), Err(Error::Locked { .. })),
        "a reader keeps the file open"
    );
    drop(reader);
    let one = Db::open(
        &path,
        Options {
            read_only: true,
            ..quick()
        },
    )
    .unwrap();
    let two = Db::open(
        &path,
        Options {
            read_only: true,
            ..quick()
        },
    )
    .unwrap();
    assert!(matches!(
        Db::open(&path, quick()),
        Err(Error::Locked { .. })
    ));
    assert!(matches!(one.begin_write(), Err(Error::ReadOnly)));
    drop((one, two));
    Db::open(&path, quick()).unwrap();
}

#[test]
fn the_lock_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let db = Db::open(&path, quick()).unwrap();
    let other = std::thread::spawn({
        let path = path.clone();
        move || Db::open(&path, Options::default()).map(|_| ())
    });
    drop(db);
    other.join().unwrap().unwrap();
}

#[test]
fn the_file_grows_by_bbolts_rule_and_sizes_are_etcds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let db = Db::open(
        &path,
        Options {
            page_size: Some(4096),
            ..quick()
        },
    )
    .unwrap();
    assert_eq!((db.size(), db.file_len().unwrap()), (4 * 4096, 4 * 4096));
    // As etcd's first commit: ten empty buckets, all inline, on one new page.
    let mut tx = db.begin_write().unwrap();
    for name in [&b"alarm"[..], b"auth", b"cluster", b"key", b"meta"] {
        tx.create_bucket_if_not_exists(name).unwrap();
    }
    tx.commit().unwrap();
    assert_eq!((db.size(), db.file_len().unwrap()), (5 * 4096, 16_801_792));
    fill(&db, 0, 1000);
    assert_eq!(db.file_len().unwrap(), 16_801_792);
    fill(&db, 1000, 100_000);
    let (size, len) = (db.size(), db.file_len().unwrap());
    assert_eq!(len, size + 4096 + (16 << 20));
    let mut tx = db.begin_write().unwrap();
    tx.delete_bucket(b"key").unwrap();
    tx.commit().unwrap();
    let mut tx = db.begin_write().unwrap();
    tx.put(b"meta", b"a", b"b").unwrap();
    tx.commit().unwrap();
    assert_eq!(db.size(), size);
    assert!(db.size_in_use() <= 8 * 4096, "{}", db.size_in_use());
    assert_eq!(db.check(), []);
}

#[test]
fn a_truncated_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let db = Db::open(&path, quick()).unwrap();
    fill(&db, 0, 1000);
    let size = db.size();
    drop(db);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(size).unwrap();
    drop(Db::open(&path, quick()).unwrap());
    file.set_len(size - 1).unwrap();
    for read_only in [false, true] {
        let e = Db::open(
            &path,
            Options {
                read_only,
                ..quick()
            },
        )
        .unwrap_err();
        assert!(
            matches!(e, Error::Truncated { expected, found, .. } if expected == size && found == size - 1)
        );
    }
}

#[test]
fn readers_keep_their_state_while_the_file_outgrows_its_map() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&dir.path().join("db"), quick()).unwrap();
    fill(&db, 0, 100);
    let old = db.begin_read();
    let key = old.bucket(b"key").unwrap().unwrap();
    let first = key.get(&0u32.to_be_bytes()).unwrap().unwrap();
    let mut tx = db.begin_write().unwrap();
    for i in 0..100u32 {
        tx.put(b"key", &i.to_be_bytes(), &vec![b'n'; 1 << 20])
            .unwrap();
    }
    tx.commit().unwrap();
    assert!(db.size() > 100 << 20);
    assert_eq!(first, [b'v'; 200]);
    assert_eq!(key.len().unwrap(), 100);
    let new = db.begin_read();
    let value = new
        .bucket(b"key")
        .unwrap()
        .unwrap()
        .get(&99u32.to_be_bytes())
        .unwrap()
        .unwrap();
    assert!(value.len() == 1 << 20 && value.iter().all(|b| *b == b'n'));
    assert_eq!(db.open_readers(), 2);
    assert_eq!(db.check(), []);
}

#[test]
fn pages_between_an_old_reader_and_now_are_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&dir.path().join("db"), quick()).unwrap();
    fill(&db, 0, 5000);
    let held = db.begin_read();
    fill(&db, 0, 5000);
    fill(&db, 0, 5000);
    let size = db.size();
    for _ in 0..10 {
        fill(&db, 0, 5000);
    }
    assert!(
        db.size() < size + size / 2,
        "a held reader pins its own state, not all that came after"
    );
    assert_eq!(held.bucket(b"key").unwrap().unwrap().len().unwrap(), 5000);
}

#[test]
fn an_image_is_a_database_while_the_writer_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&dir.path().join("db"), quick()).unwrap();
    fill(&db, 0, 3000);
    let tx = db.begin_read();
    let mut image = tx.image();
    assert_eq!(image.len(), tx.size());
    let mut bytes = vec![0; 5000];
    image.read_exact(&mut bytes).unwrap();
    drop(tx);
    fill(&db, 3000, 6000);
    fill(&db, 0, 3000);
    image.read_to_end(&mut bytes).unwrap();
    assert_eq!((bytes.len() as u64, image.remaining()), (image.len(), 0));
    let copy = dir.path().join("copy");
    std::fs::write(&copy, &bytes).unwrap();
    assert_eq!(check_file(&copy).unwrap().problems, []);
    let copy = Db::open(&copy, quick()).unwrap();
    assert_eq!(
        copy.begin_read()
            .bucket(b"key")
            .unwrap()
            .unwrap()
            .len()
            .unwrap(),
        3000
    );
}

#[test]
fn a_batch_is_done_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&dir.path().join("db"), quick()).unwrap();
    let mut batch = Batch::new();
    batch.put("key", &b"a"[..], &b"1"[..]);
    batch.put("key", &b"b"[..], vec![7u8; 5000]);
    let mut more = Batch::new();
    more.delete("key", &b"a"[..]);
    more.put("meta", &b"m"[..], &b""[..]);
    batch.append(more);
    assert_eq!((batch.len(), batch.bytes()), (4, 1 + 1 + 1 + 5000 + 1 + 1));
    let mut tx = db.begin_write().unwrap();
    assert!(matches!(tx.apply(&batch), Err(Error::BucketNotFound(_))));
    tx.create_bucket_if_not_exists(b"key").unwrap();
    tx.create_bucket_if_not_exists(b"meta").unwrap();
    tx.apply(&batch).unwrap();
    assert_eq!(tx.get(b"key", b"a").unwrap(), None);
    tx.commit().unwrap();
    let tx = db.begin_read();
    let key = tx.bucket(b"key").unwrap().unwrap();
    assert_eq!(key.get(b"b").unwrap(), Some(&[7u8; 5000][..]));
    assert_eq!(key.len().unwrap(), 1);
    assert_eq!(
        tx.bucket(b"meta").unwrap().unwrap().get(b"m").unwrap(),
        Some(&b""[..])
    );
}

#[test]
fn misuse_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&dir.path().join("db"), quick()).unwrap();
    let mut tx = db.begin_write().unwrap();
    tx.create_bucket_if_not_exists(b"a").unwrap();
    tx.create_bucket_in(&[b"a"], b"sub").unwrap();
    assert!(matches!(tx.put(b"a", b"", b""), Err(Error::KeyRequired)));
    assert!(matches!(
        tx.put(b"a", &[0; 32769], b""),
        Err(Error::KeyTooLarge(32769))
    ));
    tx.put(b"a", &[0; 32768], b"").unwrap();
    assert!(matches!(
        tx.put(b"none", b"k", b""),
        Err(Error::BucketNotFound(_))
    ));
    assert!(matches!(
        tx.put(b"a", b"sub", b""),
        Err(Error::IncompatibleValue(..))
    ));
    assert!(matches!(
        tx.delete(b"a", b"sub"),
        Err(Error::IncompatibleValue(..))
    ));
    tx.put(b"a", b"key", b"").unwrap();
    assert!(matches!(
        tx.create_bucket_in(&[b"a"], b"key"),
        Err(Error::IncompatibleValue(..))
    ));
    assert!(matches!(
        tx.delete_bucket(b"none"),
        Err(Error::BucketNotFound(_))
    ));
    assert_eq!(tx.get(b"a", b"sub").unwrap(), None);
    tx.commit().unwrap();
    assert_eq!(db.check(), []);
}

#[test]
fn a_commit_that_panics_ends_all_writing() {
    /// Panics in its third write.
    struct Panics(crate::sim::SimDisk, std::sync::atomic::AtomicU32);
    impl crate::Disk for Panics {
        fn pread(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
            self.0.pread(offset, buf)
        }
        fn pwrite(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
            let number = self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            assert!(number < 2, "planted panic");
            self.0.pwrite(offset, data)
        }
        fn sync(&self) -> std::io::Result<()> {
            self.0.sync()
        }
        fn len(&self) -> std::io::Result<u64> {
            self.0.len()
        }
        fn set_len(&self, len: u64) -> std::io::Result<()> {
            self.0.set_len(len)
        }
        fn map(&self, len: u64) -> std::io::Result<crate::Map> {
            self.0.map(len)
        }
    }
    let disk = crate::sim::SimDisk::new(&[], 64 << 20).unwrap();
    let db = Db::open_on(Path::new("<memory>"), Panics(disk, 0.into()), quick()).unwrap();
    let mut tx = db.begin_write().unwrap();
    tx.create_bucket_if_not_exists(b"a").unwrap();
    let waiting = std::thread::spawn({
        let db = db.clone();
        move || db.begin_write().map(|_| ())
    });
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| tx.commit()));
    assert!(result.is_err());
    assert!(matches!(waiting.join().unwrap(), Err(Error::Failed(_))));
    assert!(matches!(db.begin_write(), Err(Error::Failed(_))));
    assert_eq!(db.begin_read().buckets().count(), 0);
}

/// The newest `etcdutl` among the peers, where they are installed.
fn etcdutl() -> Option<PathBuf> {
    let home = std::env::var_os("HOME")?;
    let path = Path::new(&home).join(".cache/pintle-peers/3.5.30/etcdutl");
    path.exists().then_some(path)
}

#[test]
fn etcdutl_accepts_what_we_write() {
    let Some(etcdutl) = etcdutl() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    for round in 0..6u32 {
        let db = Db::open(&path, quick()).unwrap();
        let mut tx = db.begin_write().unwrap();
        for name in [&b"alarm"[..], b"key", b"meta", b"members"] {
            tx.create_bucket_if_not_exists(name).unwrap();
        }
        for i in 0..4000u64 {
            let key = [
                &(u64::from(round) * 4000 + i + 1).to_be_bytes()[..],
                b"_\0\0\0\0\0\0\0\0",
            ]
            .concat();
            tx.put(b"key", &key, &vec![b'v'; (i % 7 * 400) as usize])
                .unwrap();
            if round > 0 && i % 11 != 0 {
                let old = [
                    &(u64::from(round - 1) * 4000 + i + 1).to_be_bytes()[..],
                    b"_\0\0\0\0\0\0\0\0",
                ]
                .concat();
                tx.delete(b"key", &old).unwrap();
            }
        }
        tx.put(b"meta", b"consistent_index", &9u64.to_be_bytes())
            .unwrap();
        tx.put(b"members", &[b'm'; 1200], &[b'x'; 9000]).unwrap();
        tx.commit().unwrap();
        assert_eq!(db.check(), []);
        drop(db);
        let out = Command::new(&etcdutl)
            .args(["snapshot", "status", "-w", "json"])
            .arg(&path)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned()
            + &String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() && text.contains("totalKey"), "{text}");
    }
}

#[test]
fn a_database_that_lost_its_head_is_not_created_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let options = Options {
        page_size: Some(4096),
        ..quick()
    };
    let db = Db::open(&path, options).unwrap();
    let mut tx = db.begin_write().unwrap();
    tx.create_bucket_if_not_exists(b"key").unwrap();
    tx.commit().unwrap();
    drop(db);
    let whole = std::fs::read(&path).unwrap();
    for lost in [8192, whole.len() / 2] {
        let mut damaged = whole.clone();
        damaged[..lost].fill(0);
        std::fs::write(&path, &damaged).unwrap();
        assert!(!Db::is_unwritten(&path).unwrap(), "{lost} bytes lost");
        assert!(Db::open(&path, quick()).is_err(), "{lost} bytes lost");
        assert_eq!(std::fs::read(&path).unwrap(), damaged);
    }
}
