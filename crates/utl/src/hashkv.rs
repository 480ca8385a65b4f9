//! `hashkv`: the hash of the key history in a file, the same that a member
//! answers for the same revision. Must never change the file.

use std::path::Path;

use bolt::ReadTx;
use mvcc::{Error, FileHashError, HashKv, OpenError};

use crate::{
    command::{Line, one_argument},
    failure::{Failure, Outcome},
    output::{Format, Named, row},
    progress::Progress,
    snapshot::status::open,
};

pub(crate) fn run(line: &Line) -> Outcome<String> {
    let path = one_argument(line, "hashkv")?;
    let format = Format::of(line)?;
    let db = open(path)?;
    let found = hash_kv(&db.begin_read(), path, line.parsed.int("rev"))?;
    Ok(row(
        &[
            Named {
                json: "hash",
                field: "Hash",
                column: "hash",
                raw: found.hash.into(),
                shown: found.hash.to_string(),
            },
            Named {
                json: "hashRevision",
                field: "Hash revision",
                column: "hash revision",
                raw: found.revision.into(),
                shown: found.revision.to_string(),
            },
            Named {
                json: "compactRevision",
                field: "Compact revision",
                column: "compact revision",
                raw: found.compact_revision.into(),
                shown: found.compact_revision.to_string(),
            },
        ],
        format,
    ))
}

/// Hashes the history up to revision `at`; 0 means the newest.
pub(crate) fn hash_kv(tx: &ReadTx, path: &Path, at: i64) -> Outcome<HashKv> {
    if tx.bucket(b"key")?.is_none() {
        return Err(Failure::error(
            "the file has no bucket \"key\": it is no etcd database",
        ));
    }
    let progress = Progress::start("hashing", tx.size());
    mvcc::hash_kv_of_file(tx, path, at, |bytes| progress.add(bytes)).map_err(|error| match error {
        FileHashError::Open(OpenError::Database(error))
        | FileHashError::Range(Error::Database(error)) => error.into(),
        FileHashError::Open(error) => Failure::error(format_args!("invalid database: {error}")),
        error => Failure::error(error),
    })
}
