//! `hashkv`: the hash of the key history in a file, the same that a member
//! answers for the same revision. Must never change the file, so it walks the
//! stored revisions itself instead of opening the store.

use std::collections::{HashMap, HashSet};

use bolt::{Bucket, ReadTx};
use crc32c::{crc32c, crc32c_append};
use prost::Message;
use proto::mvccpb::KeyValue;

use crate::{
    command::{Line, one_argument},
    failure::{Failure, Outcome},
    output::{Format, Named, row},
    progress::Progress,
    snapshot::status::{main_revision, open},
};

/// A hash and what it speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HashKv {
    pub(crate) hash: u32,
    /// Revisions up to this one are hashed.
    pub(crate) revision: i64,
    /// -1 if there was no compaction yet.
    pub(crate) compact_revision: i64,
}

pub(crate) fn run(line: &Line) -> Outcome<String> {
    let path = one_argument(line, "hashkv")?;
    let format = Format::of(line)?;
    let db = open(path)?;
    let found = hash_kv(&db.begin_read(), line.parsed.int("rev"))?;
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
pub(crate) fn hash_kv(tx: &ReadTx, at: i64) -> Outcome<HashKv> {
    let Some(bucket) = tx.bucket(b"key")? else {
        return Err(Failure::error(
            "the file has no bucket \"key\": it is no etcd database",
        ));
    };
    let compacted = compacted(tx)?;
    let newest = bucket
        .cursor()
        .last()?
        .and_then(|(key, _)| main_revision(key));
    let current = newest.unwrap_or(1).max(compacted).max(1);
    let revision = if at == 0 { current } else { at };
    if at != 0 && at < compacted {
        return Err(Failure::error("mvcc: required revision has been compacted"));
    }
    if revision > current {
        return Err(Failure::error(
            "mvcc: required revision is a future revision",
        ));
    }
    let keep = kept(&bucket, revision)?;
    let progress = Progress::start("hashing", tx.size());
    let mut hash = crc32c(b"key");
    each(&bucket, revision, |key, value| {
        progress.add(key.len() + value.len());
        let main = main_revision(key).unwrap_or_default();
        let gone = main <= compacted
            && ((!keep.is_empty() && !keep.contains(&key[..REVISION_BYTES]))
                || (main == compacted && is_tombstone(key)));
        if !gone {
            hash = crc32c_append(crc32c_append(hash, key), value);
        }
        Ok(())
    })?;
    Ok(HashKv {
        hash,
        revision,
        compact_revision: compacted,
    })
}

/// Main revision, `_`, sub revision.
const REVISION_BYTES: usize = 17;

fn is_tombstone(key: &[u8]) -> bool {
    key.len() > REVISION_BYTES
}

/// The revision that was compacted last, or is to be once the store opens.
fn compacted(tx: &ReadTx) -> Outcome<i64> {
    let mut compacted = -1;
    if let Some(meta) = tx.bucket(b"meta")? {
        for name in [&b"finishedCompactRev"[..], b"scheduledCompactRev"] {
            let found = meta.get(name)?.and_then(main_revision);
            compacted = compacted.max(found.unwrap_or(-1));
        }
    }
    Ok(compacted)
}

/// Visits the revisions up to `last`, in order.
fn each(
    bucket: &Bucket<'_>,
    last: i64,
    mut visit: impl FnMut(&[u8], &[u8]) -> Outcome<()>,
) -> Outcome<()> {
    let mut cursor = bucket.cursor();
    let mut pair = cursor.first()?;
    while let Some((key, value)) = pair {
        match main_revision(key) {
            Some(main) if key.len() >= REVISION_BYTES => {
                if main > last {
                    break;
                }
                visit(key, value)?;
            }
            _ => {
                return Err(Failure::error(format_args!(
                    "invalid database: a key of {} bytes in bucket \"key\" is no revision",
                    key.len()
                )));
            }
        }
        pair = cursor.next()?;
    }
    Ok(())
}

/// The revisions that a compaction at `revision` keeps: the newest of each
/// key, unless that deleted it.
fn kept(bucket: &Bucket<'_>, revision: i64) -> Outcome<HashSet<Vec<u8>>> {
    let mut newest: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    each(bucket, revision, |key, value| {
        let kv = KeyValue::decode(value).map_err(|e| {
            Failure::error(format_args!(
                "invalid database: revision {} holds no key and value: {e}",
                main_revision(key).unwrap_or_default()
            ))
        })?;
        if is_tombstone(key) {
            newest.remove(&kv.key[..]);
        } else {
            newest.insert(kv.key.to_vec(), key[..REVISION_BYTES].to_vec());
        }
        Ok(())
    })?;
    Ok(newest.into_values().collect())
}
