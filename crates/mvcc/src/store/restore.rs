//! Building the index when a store is opened: one pass over the bucket `key`
//! in revision order. One thread reads records, another puts keys together.

use std::{
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
};

use bolt::ReadTx;
use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::compaction::{FINISHED, SCHEDULED};
use crate::{
    OpenError, Revision,
    backend::{KEY, META},
    index::{Builder, Id, Index, Step},
    stored::Record,
};

/// Records handed over at a time, and such batches on their way.
const BATCH: usize = 4096;
const BATCHES: usize = 4;

/// Records sampled to estimate their number.
const SAMPLE: usize = 1000;
/// Bytes of a page that a record needs in addition to its key and value.
const ELEMENT: usize = 16;

/// What the file says.
pub(super) struct Restored {
    pub(super) index: Index,
    pub(super) current: i64,
    pub(super) compacted: i64,
    /// A compaction that was asked for and did not come to its end.
    pub(super) unfinished: Option<i64>,
}

/// A record without its value.
struct Line<'a> {
    step: Step,
    key: &'a [u8],
    created: i64,
    version: i64,
    lease: i64,
}

struct Context {
    path: PathBuf,
}

impl Context {
    fn corrupt(&self, bucket: &'static str, key: &[u8], what: &'static str) -> OpenError {
        let shown = &key[..key.len().min(32)];
        OpenError::Corrupt {
            path: self.path.clone(),
            bucket,
            key: shown.iter().map(|b| format!("{b:02x}")).collect(),
            what,
        }
    }
}

/// Reads all records that `tx` sees; `path` is for messages.
///
/// # Errors
/// The file cannot be read, or a record contradicts the format.
pub(super) fn restore(
    tx: &ReadTx,
    path: &Path,
    lease: &mut dyn FnMut(Bytes, i64),
) -> Result<Restored, OpenError> {
    let context = Context {
        path: path.to_owned(),
    };
    let finished = read_mark(tx, FINISHED, &context)?;
    let scheduled = read_mark(tx, SCHEDULED, &context)?;

    let mut builder = Builder::new(estimate(tx)?);
    let mut leases: FxHashMap<Id, i64> = FxHashMap::default();
    // An empty store is at revision 1.
    let mut current = 1;
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(BATCHES);
        let context = &context;
        let reader = thread::Builder::new()
            .name("restore".into())
            .spawn_scoped(scope, move || read(tx, context, &sender))?;
        let mut refused = None;
        for lines in receiver {
            let lines: Vec<Line<'_>> = lines;
            for line in lines {
                current = current.max(line.step.revision.main);
                let leased = line.lease != 0;
                let Some(id) =
                    builder.push(line.key, line.step, line.created, line.version, leased)
                else {
                    // Keys ascend in a sound file, so this is one that is not.
                    let key = line.step.revision.to_bytes();
                    refused.get_or_insert_with(|| {
                        context.corrupt(KEY, &key, "revisions do not ascend")
                    });
                    continue;
                };
                if leased && !line.step.tombstone {
                    leases.insert(id, line.lease);
                } else if !leases.is_empty() {
                    leases.remove(&id);
                }
            }
        }
        match reader.join() {
            Ok(result) => result?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
        refused.map_or(Ok(()), Err)
    })?;
    // The walk has touched the whole file; most of it will not be read again.
    tx.advise_cold();
    for (id, lease_id) in leases {
        lease(Bytes::copy_from_slice(builder.key(id)), lease_id);
    }
    let compacted = finished.unwrap_or(-1);
    let scheduled = scheduled.filter(|&revision| revision > compacted);
    Ok(Restored {
        index: builder.finish(),
        // Records at the end may have been compacted away.
        current: current.max(compacted).max(scheduled.unwrap_or(-1)),
        compacted,
        unfinished: scheduled,
    })
}

/// About how many records the file has, by the size of the first ones. Never
/// more than the file has room for.
fn estimate(tx: &ReadTx) -> Result<usize, OpenError> {
    let Some(bucket) = tx.bucket(KEY.as_bytes())? else {
        return Ok(0);
    };
    let mut cursor = bucket.cursor();
    let mut at = cursor.first()?;
    let (mut records, mut bytes) = (0, 0);
    while let Some((key, value)) = at
        && records < SAMPLE
    {
        records += 1;
        bytes += key.len() + value.len() + ELEMENT;
        at = cursor.next()?;
    }
    if at.is_none() {
        return Ok(records);
    }
    Ok(usize::try_from(tx.db().size_in_use()).unwrap_or(0) / bytes.max(1) * records)
}

fn read_mark(tx: &ReadTx, key: &'static [u8], context: &Context) -> Result<Option<i64>, OpenError> {
    let Some(bucket) = tx.bucket(META.as_bytes())? else {
        return Ok(None);
    };
    let Some(value) = bucket.get(key)? else {
        return Ok(None);
    };
    match Revision::parse(value) {
        Some((revision, false)) => Ok(Some(revision.main)),
        _ => Err(context.corrupt(META, key, "the value is no revision")),
    }
}

fn read<'a>(
    tx: &'a ReadTx,
    context: &Context,
    sender: &mpsc::SyncSender<Vec<Line<'a>>>,
) -> Result<(), OpenError> {
    let bucket = tx
        .bucket(KEY.as_bytes())?
        .ok_or_else(|| bolt::Error::BucketNotFound(KEY.into()))?;
    let mut cursor = bucket.cursor();
    let mut at = cursor.first()?;
    let mut lines = Vec::with_capacity(BATCH);
    while let Some((key, value)) = at {
        let (revision, tombstone) = Revision::parse(key)
            .ok_or_else(|| context.corrupt(KEY, key, "the key is no revision"))?;
        let record = Record::parse(value)
            .ok_or_else(|| context.corrupt(KEY, key, "the value is no key-value record"))?;
        lines.push(Line {
            step: Step {
                revision,
                tombstone,
            },
            key: record.key,
            created: record.create_revision,
            version: record.version,
            lease: record.lease,
        });
        if lines.len() == BATCH {
            let full = std::mem::replace(&mut lines, Vec::with_capacity(BATCH));
            if sender.send(full).is_err() {
                return Ok(());
            }
        }
        at = cursor.next()?;
    }
    // The receiver goes away only with the thread that waits for this one.
    let _ = sender.send(lines);
    Ok(())
}
