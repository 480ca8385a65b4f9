//! `snapshot status`: hash, revision, keys and size of a saved database. Must
//! never answer for a file whose pages contradict each other.

use std::{fs, path::Path, time::Duration};

use bolt::{Db, Options, ReadTx};
use cli::text::size;
use crc32c::crc32c_append;

use crate::{
    command::{Line, one_argument},
    failure::{Failure, Outcome},
    output::{Format, Named, row},
    progress::Progress,
};

/// What a file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Status {
    /// CRC-32C over every bucket's name, keys and values, in order.
    pub(crate) hash: u32,
    /// Main revision of the last key in bucket `key`.
    pub(crate) revision: i64,
    /// Keys of all buckets.
    pub(crate) keys: u64,
    /// Size of the database in bytes, a checksum after it not counted.
    pub(crate) size: u64,
    /// `meta/storageVersion`, which etcd has written since 3.6.
    pub(crate) version: Option<String>,
}

pub(crate) fn run(line: &Line) -> Outcome<String> {
    let path = one_argument(line, "snapshot status")?;
    let format = Format::of(line)?;
    let status = read(path)?;
    let mut values = Vec::from([
        Named {
            json: "hash",
            field: "Hash",
            column: "hash",
            raw: status.hash.into(),
            shown: format!("{:x}", status.hash),
        },
        Named {
            json: "revision",
            field: "Revision",
            column: "revision",
            raw: status.revision.into(),
            shown: status.revision.to_string(),
        },
        Named {
            json: "totalKey",
            field: "Keys",
            column: "total keys",
            raw: status.keys.into(),
            shown: status.keys.to_string(),
        },
        Named {
            json: "totalSize",
            field: "Size",
            column: "total size",
            raw: status.size.into(),
            shown: size(status.size),
        },
    ]);
    // As etcdutl of that release: what etcdutl 3.5 prints of a file of 3.5 has no such column.
    if let Some(version) = status.version {
        values.push(Named {
            json: "version",
            field: "Version",
            column: "version",
            raw: version.clone().into(),
            shown: version,
        });
    }
    Ok(row(&values, format))
}

/// Opens a file for looking only; waits briefly for a server's lock.
pub(crate) fn open(path: &Path) -> Outcome<Db> {
    fs::metadata(path).map_err(|e| Failure::io("stat", path, &e))?;
    let lock_timeout = Some(Duration::from_secs(5));
    Ok(Db::open(
        path,
        Options {
            read_only: true,
            lock_timeout,
            ..Options::default()
        },
    )?)
}

fn read(path: &Path) -> Outcome<Status> {
    let db = open(path)?;
    let tx = db.begin_read();
    let problems = bolt::check::check(&tx);
    if !problems.is_empty() {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        return Err(Failure::error(format_args!(
            "snapshot file integrity check failed. {} errors found.\n{}",
            problems.len(),
            lines.join("\n")
        )));
    }
    status(&tx)
}

fn status(tx: &ReadTx) -> Outcome<Status> {
    let mut status = Status {
        size: tx.size(),
        ..Status::default()
    };
    let progress = Progress::start("hashing", status.size);
    for name in tx.buckets() {
        let name = name?;
        status.hash = crc32c_append(status.hash, name);
        let Some(bucket) = tx.bucket(name)? else {
            continue;
        };
        let mut cursor = bucket.cursor();
        let mut pair = cursor.first()?;
        while let Some((key, value)) = pair {
            status.hash = crc32c_append(crc32c_append(status.hash, key), value);
            status.keys += 1;
            if name == b"key" {
                status.revision = main_revision(key).unwrap_or(status.revision);
            }
            progress.add(key.len() + value.len());
            pair = cursor.next()?;
        }
    }
    let version = match tx.bucket(b"meta")? {
        Some(meta) => meta.get(b"storageVersion")?,
        None => None,
    };
    status.version = version.map(|text| String::from_utf8_lossy(text).into_owned());
    Ok(status)
}

/// The main revision that a key of bucket `key` begins with.
pub(crate) fn main_revision(key: &[u8]) -> Option<i64> {
    key.first_chunk().map(|main| i64::from_be_bytes(*main))
}
