//! Copying a state into a new file without its free pages: what defragmentation does. The source is a snapshot, so the
//! copy is consistent whatever is written meanwhile; it never touches the source file.

use std::io;
use std::path::Path;

use crate::db::{Db, Options};
use crate::error::Error;
use crate::read::{Bucket, ReadTx};
use crate::state::io_error;
use crate::write::WriteTx;

/// A transaction of the copy ends after this many bytes or keys, so that memory stays bounded.
const TX_BYTES: usize = 8 << 20;
const TX_KEYS: usize = 20_000;
/// etcd's figure for defragmentation.
const FILL: f64 = 0.9;

/// Copies all buckets and keys of `src` into a new database at `dst_path`, which must be missing or empty, and returns
/// that database, synced unless `opts` says otherwise. On an error the file at `dst_path` is unfinished and should be
/// removed by the caller.
pub fn compact(src: &ReadTx, dst_path: &Path, opts: Options) -> Result<Db, Error> {
    if std::fs::metadata(dst_path).is_ok_and(|m| m.len() > 0) {
        return Err(io_error(
            dst_path,
            "compacting into the file",
            io::ErrorKind::AlreadyExists.into(),
        ));
    }
    let no_sync = opts.no_sync;
    let page_size = Some(opts.page_size.unwrap_or(src.meta().page_size));
    // An incomplete copy is useless, so it is synced once, at the end.
    let db = Db::open(
        dst_path,
        Options {
            no_sync: true,
            page_size,
            ..opts
        },
    )?;
    copy(src, &db)?;
    if !no_sync {
        db.sync()?;
        db.set_no_sync(false);
    }
    Ok(db)
}

pub(crate) fn copy(src: &ReadTx, dst: &Db) -> Result<(), Error> {
    let mut tx = dst.begin_write()?;
    let mut todo: Vec<(Vec<Vec<u8>>, Bucket<'_>)> = vec![(Vec::new(), src.root())];
    let (mut bytes, mut keys) = (0, 0);
    while let Some((names, bucket)) = todo.pop() {
        let path: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        tx.set_sequence_in(&path, bucket.sequence())?;
        tx.set_fill_in(&path, FILL);
        let mut cursor = bucket.cursor();
        let mut step = cursor.first()?;
        while let Some((key, value)) = step {
            if cursor.is_bucket() {
                tx.create_bucket_in(&path, key)?;
                if let Some(sub) = bucket.bucket(key)? {
                    let mut names = names.clone();
                    names.push(key.to_vec());
                    todo.push((names, sub));
                }
            } else {
                tx.put_in(&path, key, value)?;
            }
            bytes += key.len() + value.len();
            keys += 1;
            if bytes >= TX_BYTES || keys >= TX_KEYS {
                tx = next(tx, dst)?;
                tx.set_fill_in(&path, FILL);
                (bytes, keys) = (0, 0);
            }
            step = cursor.next()?;
        }
    }
    tx.commit()
}

fn next(tx: WriteTx, dst: &Db) -> Result<WriteTx, Error> {
    tx.commit()?;
    dst.begin_write()
}
