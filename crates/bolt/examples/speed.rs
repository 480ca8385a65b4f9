//! Times of the operations that a key-value server does most, on a file in the system's temporary directory:
//! `cargo run --release -p pintle-bolt --example speed [directory]`. The numbers say nothing about a disk under other
//! load, nor about a database larger than memory.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bolt::{Db, Options};

const KEYS: u64 = 100_000;
const BATCH: u64 = 10_000;

fn key(i: u64) -> [u8; 17] {
    let mut key = [0; 17];
    key[..8].copy_from_slice(&i.to_be_bytes());
    key[8] = b'_';
    key
}

fn show(what: &str, count: u64, took: Duration) {
    println!(
        "{what:<44} {:>9.1} ns each, {:>8.2} ms in all",
        took.as_nanos() as f64 / count as f64,
        took.as_secs_f64() * 1e3
    );
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args_os()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let path = dir.join(format!("bolt-speed-{}", std::process::id()));
    let db = Db::open(
        &path,
        Options {
            no_sync: true,
            ..Options::default()
        },
    )?;
    let mut tx = db.begin_write()?;
    tx.create_bucket_if_not_exists(b"key")?;
    tx.commit()?;

    let value = [b'v'; 200];
    let (mut puts, mut commits) = (Duration::ZERO, Duration::ZERO);
    for batch in 0..KEYS / BATCH {
        let begin = Instant::now();
        let mut tx = db.begin_write()?;
        for i in batch * BATCH..(batch + 1) * BATCH {
            tx.put(b"key", &key(i), &value)?;
        }
        puts += begin.elapsed();
        let begin = Instant::now();
        tx.commit()?;
        commits += begin.elapsed();
    }
    show("put, sequential, in memory", KEYS, puts);
    show(
        "commit of 10,000 puts without fsync, per put",
        KEYS,
        commits,
    );

    let begin = Instant::now();
    for i in 0..1_000_000u32 {
        std::hint::black_box((i, db.begin_read()));
    }
    show("begin_read", 1_000_000, begin.elapsed());

    let tx = db.begin_read();
    let bucket = tx.bucket(b"key")?.ok_or("the bucket was made above")?;
    let begin = Instant::now();
    let mut random = 1u64;
    for _ in 0..1_000_000 {
        random = random
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        let found = bucket.get(&key((random >> 33) % KEYS))?;
        assert_eq!(found.map(<[u8]>::len), Some(200));
    }
    show("get, random", 1_000_000, begin.elapsed());

    let begin = Instant::now();
    let mut cursor = bucket.cursor();
    let mut bytes = 0;
    while let Some((_, value)) = cursor.next()? {
        bytes += value.len();
    }
    assert_eq!(bytes as u64, KEYS * 200);
    show("scan", KEYS, begin.elapsed());

    let begin = Instant::now();
    for i in 0..KEYS {
        assert!(cursor.seek_near(&key(i))?.is_some());
    }
    show("seek_near, every key", KEYS, begin.elapsed());
    let begin = Instant::now();
    for i in (0..KEYS).step_by(7) {
        assert!(cursor.seek_near(&key(i))?.is_some());
    }
    show("seek_near, every seventh key", KEYS / 7, begin.elapsed());
    drop(tx);

    let begin = Instant::now();
    for batch in 0..KEYS / 1000 {
        let mut tx = db.begin_write()?;
        for i in (batch * 1000..(batch + 1) * 1000).filter(|i| i % 10 != 0) {
            tx.delete(b"key", &key(i))?;
        }
        tx.commit()?;
    }
    show(
        "delete, 1,000 per transaction, commit included",
        KEYS * 9 / 10,
        begin.elapsed(),
    );
    drop(db);
    std::fs::remove_file(&path)?;

    let db = Db::open(
        &path,
        Options {
            no_sync: true,
            ..Options::default()
        },
    )?;
    let mut tx = db.begin_write()?;
    tx.create_bucket_if_not_exists(b"key")?;
    tx.commit()?;
    let begin = Instant::now();
    for batch in 0..KEYS / BATCH {
        let mut tx = db.begin_write()?;
        for i in batch * BATCH..(batch + 1) * BATCH {
            tx.put(b"key", &key(i.wrapping_mul(0x9e37_79b9_7f4a_7c15)), &value)?;
        }
        tx.commit()?;
    }
    show(
        "put, random, 10,000 per transaction, with commit",
        KEYS,
        begin.elapsed(),
    );
    let begin = Instant::now();
    let problems = db.check();
    assert!(problems.is_empty(), "{problems:?}");
    show("check, per key", KEYS, begin.elapsed());
    drop(db);
    let begin = Instant::now();
    drop(Db::open(&path, Options::default())?);
    show("open for writing, per key", KEYS, begin.elapsed());
    std::fs::remove_file(&path)?;
    Ok(())
}
