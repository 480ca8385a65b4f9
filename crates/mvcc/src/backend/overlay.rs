//! What is written and not yet committed, over the committed state. A reader
//! sees both under one lock and takes along what it needs; values are shared,
//! not copied. At most two segments exist: the one being committed and the
//! open one.

use std::sync::Arc;

use bolt::{Batch, ReadTx};
use bytes::Bytes;
use proto::EntryId;

use super::meta::consistent_index;
use crate::{Revision, index::Step};

/// A record of the bucket `key` on its way to the file.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) revision: Revision,
    pub(crate) tombstone: bool,
    /// The encoded `KeyValue`.
    pub(crate) record: Bytes,
}

/// Changes that are committed all together or not at all.
#[derive(Default)]
pub(crate) struct Run {
    /// New records in revision order.
    pub(crate) records: Vec<Pending>,
    /// Records that compaction removes. All of them are committed.
    pub(crate) removed: Vec<Step>,
    /// Changes to other buckets.
    pub(crate) batch: Batch,
    /// The last entry whose effects are included.
    pub(crate) consistent: Option<EntryId>,
}

/// How much waits in a segment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Size {
    pub(crate) ops: usize,
    pub(crate) bytes: usize,
}

/// Runs one after another.
#[derive(Default)]
pub(super) struct Segment {
    pub(super) run: Run,
    bytes: usize,
}

impl Segment {
    fn size(&self) -> Size {
        Size {
            ops: self.run.records.len() + self.run.removed.len() + self.run.batch.len(),
            bytes: self.bytes + self.run.batch.bytes(),
        }
    }

    fn is_empty(&self) -> bool {
        self.size().ops == 0 && self.run.consistent.is_none()
    }

    fn append(&mut self, mut run: Run) {
        self.bytes += run
            .records
            .iter()
            .map(|p| p.record.len() + size_of::<Pending>())
            .sum::<usize>();
        self.bytes += size_of::<Step>() * run.removed.len();
        if self.run.records.is_empty() {
            self.run.records = run.records;
        } else {
            self.run.records.append(&mut run.records);
        }
        self.run.removed.append(&mut run.removed);
        self.run.batch.append(run.batch);
        self.run.consistent = run.consistent.or(self.run.consistent);
    }

    fn find(&self, bucket: &str, key: &[u8]) -> Option<Option<Bytes>> {
        let ops = self.run.batch.iter();
        ops.filter(|(b, k, _)| *b == bucket && **k == *key)
            .last()
            .map(|(_, _, value)| value.cloned())
    }
}

/// The record of `revision` among `records`, which ascend.
#[inline]
pub(crate) fn find_record(records: &[Pending], revision: Revision) -> Option<&Pending> {
    let first = records.first()?.revision;
    if revision < first {
        return None;
    }
    // One change per revision is the common case: then the place is known.
    let guess = (revision.main - first.main) as usize;
    if let Some(found) = records.get(guess)
        && found.revision == revision
    {
        return Some(found);
    }
    let at = records
        .binary_search_by_key(&revision, |p| p.revision)
        .ok()?;
    Some(&records[at])
}

pub(crate) struct Overlay {
    /// The committed state.
    tx: ReadTx,
    sealed: Option<Arc<Segment>>,
    open: Segment,
}

impl Overlay {
    pub(super) fn new(tx: ReadTx) -> Overlay {
        Overlay {
            tx,
            sealed: None,
            open: Segment::default(),
        }
    }

    #[inline]
    pub(crate) fn tx(&self) -> &ReadTx {
        &self.tx
    }

    /// The record of `revision` if it is not committed yet.
    #[inline]
    pub(crate) fn record(&self, revision: Revision) -> Option<&Pending> {
        find_record(&self.open.run.records, revision).or_else(|| {
            let sealed = self.sealed.as_ref()?;
            find_record(&sealed.run.records, revision)
        })
    }

    /// Records not committed yet, in revision order.
    pub(crate) fn records(&self) -> impl Iterator<Item = &Pending> {
        let sealed = self.sealed.iter().flat_map(|s| &s.run.records);
        sealed.chain(&self.open.run.records)
    }

    pub(super) fn find(&self, bucket: &str, key: &[u8]) -> (Option<Option<Bytes>>, ReadTx) {
        let found = self.open.find(bucket, key).or_else(|| {
            let sealed = self.sealed.as_ref()?;
            sealed.find(bucket, key)
        });
        (found, self.tx.clone())
    }

    pub(super) fn consistent(&self) -> EntryId {
        let sealed = self.sealed.as_ref().and_then(|s| s.run.consistent);
        // The file's value was readable when the backend was opened.
        let committed = || consistent_index(&self.tx).unwrap_or_default();
        self.open
            .run
            .consistent
            .or(sealed)
            .unwrap_or_else(committed)
    }

    pub(super) fn pending(&self) -> usize {
        self.open.size().ops + self.sealed.as_ref().map_or(0, |s| s.size().ops)
    }

    pub(super) fn open_bytes(&self) -> usize {
        self.open.size().bytes
    }

    /// Adds a run; gives the size of the open segment before and after.
    pub(super) fn append(&mut self, run: Run) -> (Size, Size) {
        let before = self.open.size();
        self.open.append(run);
        (before, self.open.size())
    }

    /// Closes the open segment for a commit. `None` when there is nothing to do.
    pub(super) fn seal(&mut self) -> Option<Arc<Segment>> {
        debug_assert!(self.sealed.is_none());
        if self.open.is_empty() {
            return None;
        }
        let sealed = Arc::new(std::mem::take(&mut self.open));
        self.sealed = Some(sealed.clone());
        Some(sealed)
    }

    /// The sealed segment is part of `tx`. Returns what is not needed any
    /// more, to be dropped outside the lock.
    pub(super) fn committed(&mut self, tx: ReadTx) -> (ReadTx, Option<Arc<Segment>>) {
        (std::mem::replace(&mut self.tx, tx), self.sealed.take())
    }

    /// Another file with the same content is below the overlay.
    pub(super) fn replace(&mut self, tx: ReadTx) -> ReadTx {
        std::mem::replace(&mut self.tx, tx)
    }
}
