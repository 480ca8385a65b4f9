//! Entry points for fuzz targets: bytes in, no panic and no endless work out.

use std::path::Path;

use crate::check;
use crate::db::{Db, Options};
use crate::read::{Bucket, ReadTx};
use crate::sim::SimDisk;

/// Steps of a walk through one image. A damaged tree may refer to one page from everywhere, so a walk by cursor is not
/// bounded by the size of the file.
const STEPS: usize = 10_000;

/// Opens `bytes` as a database image in memory, reads and checks all of it, and where it can be opened for writing also
/// writes to it. Must return for any input.
pub fn fuzz_image(bytes: &[u8]) {
    let name = Path::new("<fuzz>");
    let Ok(disk) = SimDisk::new(bytes, bytes.len() + (4 << 20)) else {
        return;
    };
    let options = |read_only| Options {
        read_only,
        growth_step: 0,
        ..Options::default()
    };
    if let Ok(db) = Db::open_on(name, disk.clone(), options(true)) {
        let tx = db.begin_read();
        let _ = check::report(&db, &disk);
        let _ = db.size_in_use();
        read(&tx);
        let _ = tx.image().write_to(&mut std::io::sink());
    }
    if let Ok(db) = Db::open_on(name, disk, options(false)) {
        write(&db);
        read(&db.begin_read());
        let _ = db.check();
    }
}

fn read(tx: &ReadTx) {
    let mut todo = vec![tx.root()];
    let mut steps = 0;
    while let Some(bucket) = todo.pop() {
        let _ = bucket.stats(true);
        walk(&bucket, &mut todo, &mut steps);
        if steps > STEPS {
            return;
        }
    }
}

fn walk<'a>(bucket: &Bucket<'a>, todo: &mut Vec<Bucket<'a>>, steps: &mut usize) {
    let mut cursor = bucket.cursor();
    let mut near = bucket.cursor();
    let mut step = cursor.first();
    while let Ok(Some((key, _))) = step {
        let _ = bucket.get(key);
        let _ = near.seek_near(key);
        if let Ok(Some(sub)) = bucket.bucket(key) {
            todo.push(sub);
        }
        *steps += 1;
        if *steps > STEPS {
            return;
        }
        step = cursor.next();
    }
    let mut step = cursor.last();
    for _ in 0..STEPS / 10 {
        let Ok(Some(_)) = step else { break };
        step = cursor.prev();
    }
}

fn write(db: &Db) {
    let snapshot = db.begin_read();
    for round in 0..2u8 {
        let Ok(mut tx) = db.begin_write() else { return };
        let names: Vec<Vec<u8>> = snapshot
            .buckets()
            .take(16)
            .map_while(Result::ok)
            .map(<[u8]>::to_vec)
            .collect();
        for (i, name) in names.iter().enumerate() {
            let keys: Vec<Vec<u8>> = match snapshot.bucket(name) {
                Ok(Some(bucket)) => {
                    let mut cursor = bucket.cursor();
                    std::iter::from_fn(|| cursor.next().ok().flatten())
                        .take(200)
                        .map(|(key, _)| key.to_vec())
                        .collect()
                }
                _ => continue,
            };
            for key in keys.iter().skip(usize::from(round)).step_by(2) {
                let _ = tx.delete(name, key);
            }
            let _ = tx.put(name, b"\x7fnew", &[round; 300]);
            if i == 3 {
                let _ = tx.delete_bucket(name);
            }
        }
        let _ = tx.create_bucket_if_not_exists(b"fuzz");
        let _ = tx.put(b"fuzz", &[b'k', round], b"value");
        if tx.commit().is_err() {
            return;
        }
    }
}
