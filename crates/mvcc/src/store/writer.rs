//! Changes. A [`Writer`] applies a run of log entries under one hold of the
//! lock and shows the result to readers all at once. Each call is one
//! transaction: everything that can fail is checked before its first change
//! (docs/design/requests.md), and whatever it changes has one main revision.

use std::sync::{Arc, atomic::Ordering};

use bolt::Batch;
use bytes::Bytes;
use failpoint::failpoint;
use line::Line;
use parking_lot::RwLockWriteGuard;
use proto::{
    EntryId,
    etcdserverpb::{
        DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest,
        ResponseHeader,
    },
    mvccpb::KeyValue,
};
use smallvec::{SmallVec, smallvec};

use super::{
    answer::{RangeAnswer, key_value},
    compaction::{CompactionTicket, Job, SCHEDULED, Worker},
    inner::{Inner, State},
    range::Keys,
    values::{Fetch, Sources},
};
use crate::{
    Error, Revision,
    backend::{META, Pending, Run},
    events::{Event, EventBatch},
    index::Id,
    stored::{self, Record},
};

/// Leases as the store needs them.
pub trait Leases {
    /// True if the lease is granted.
    fn exists(&self, id: i64) -> bool;
    /// `key` now ends with lease `id`. May be called again for the same pair.
    fn attach(&mut self, id: i64, key: &Bytes);
    /// `key` does not end with lease `id` any more.
    fn detach(&mut self, id: i64, key: &[u8]);
}

/// A run of changes; see [`crate::Store::write`]. Readers wait until
/// [`Writer::publish`]. A writer that is dropped without it was interrupted
/// half-way by a panic: nothing is committed any more from then on.
pub struct Writer<'a> {
    inner: &'a Inner,
    worker: &'a Worker,
    pub(super) state: RwLockWriteGuard<'a, State>,
    run: Run,
    events: Vec<Arc<EventBatch>>,
    /// Changes of the transaction under way.
    changes: Vec<Event>,
    jobs: Vec<Job>,
    published: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn new(inner: &'a Inner, worker: &'a Worker) -> Writer<'a> {
        Writer {
            inner,
            worker,
            state: inner.state.write(),
            run: Run::default(),
            events: Vec::new(),
            changes: Vec::new(),
            jobs: Vec::new(),
            published: false,
        }
    }

    /// The last finished revision, this run's included.
    pub fn revision(&self) -> i64 {
        self.state.current
    }

    /// Puts a key (docs/design/requests.md).
    ///
    /// # Errors
    /// [`Error::LeaseNotFound`], [`Error::KeyNotFound`]; [`Error::Database`]
    /// and [`Error::Corrupt`] if the previous record is needed and cannot be read.
    pub fn put(
        &mut self,
        request: &PutRequest,
        leases: &mut dyn Leases,
    ) -> Result<PutResponse, Error> {
        if request.lease != 0 && !leases.exists(request.lease) {
            return Err(Error::LeaseNotFound);
        }
        let response = self.put_one(request, leases)?;
        self.finish_txn();
        Ok(response)
    }

    /// Deletes a range of keys.
    ///
    /// # Errors
    /// [`Error::Database`] and [`Error::Corrupt`] if previous records are
    /// needed and cannot be read.
    pub fn delete_range(
        &mut self,
        request: &DeleteRangeRequest,
        leases: &mut dyn Leases,
    ) -> Result<DeleteRangeResponse, Error> {
        let response = self.delete_some(request, leases)?;
        self.finish_txn();
        Ok(response)
    }

    /// Deletes those of `keys` that exist in one transaction, in the order
    /// given, which is ascending. Their lease is gone already.
    pub fn delete_keys(&mut self, keys: &[Bytes]) {
        for key in keys {
            if let Some(id) = self.state.index.find(key)
                && self.state.index.entry(id).is_live()
            {
                self.delete_one(id);
            }
        }
        self.finish_txn();
    }

    /// Asks for a compaction (docs/design/requests.md). It counts from now on; the work
    /// begins once this run is published.
    ///
    /// # Errors
    /// [`Error::Compacted`], [`Error::FutureRev`].
    pub fn compact(&mut self, revision: i64) -> Result<CompactionTicket, Error> {
        if revision <= self.state.compacted {
            return Err(Error::Compacted);
        }
        if revision > self.state.current {
            return Err(Error::FutureRev);
        }
        let ticket = CompactionTicket::new();
        self.jobs.push(Job {
            revision,
            previous: self.state.compacted,
            previous_finished: self.state.settled,
            ticket: ticket.clone(),
        });
        self.state.compacted = revision;
        self.state.settled = false;
        let mark = Revision::new(revision, 0).to_bytes();
        self.run.batch.put(META, SCHEDULED, mark.to_vec());
        Ok(ticket)
    }

    /// Changes to other buckets, committed together with this run.
    pub fn write(&mut self, batch: Batch) {
        self.run.batch.append(batch);
    }

    /// Says that this run includes the effects of all entries up to `entry`.
    pub fn set_consistent_index(&mut self, entry: EntryId) {
        self.run.consistent = Some(entry);
    }

    /// Shows the run to readers and returns what it changed, one batch per
    /// revision.
    pub fn publish(mut self) -> Vec<Arc<EventBatch>> {
        let run = std::mem::take(&mut self.run);
        let backend = &self.inner.backend;
        failpoint!(BeforeWritebackBuf);
        backend.inner().append(run);
        failpoint!(AfterWritebackBuf);
        let inner = self.inner;
        inner
            .compacted
            .store(self.state.compacted, Ordering::Release);
        inner.current.store(self.state.current, Ordering::Release);
        self.published = true;
        for job in self.jobs.drain(..) {
            self.worker.submit(job);
        }
        std::mem::take(&mut self.events)
    }

    /// The revision that a change made now has.
    fn next(&self) -> Revision {
        Revision::new(self.state.current + 1, self.changes.len() as u32)
    }

    /// The revision that reads within the transaction see.
    pub(super) fn seen(&self) -> i64 {
        self.state.current + i64::from(!self.changes.is_empty())
    }

    pub(super) fn header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader {
            revision: self.seen(),
            ..ResponseHeader::default()
        })
    }

    /// True if the transaction under way has changed something.
    pub(super) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    pub(super) fn finish_txn(&mut self) {
        if self.changes.is_empty() {
            return;
        }
        self.state.current += 1;
        self.events.push(Arc::new(EventBatch {
            revision: self.state.current,
            events: std::mem::take(&mut self.changes),
        }));
    }

    /// Ends all commits: a transaction is half done and cannot be undone.
    pub(super) fn abandon(&mut self) {
        self.inner
            .backend
            .inner()
            .abandon("a transaction could not be finished; nothing of it is kept on disk");
    }

    fn sources(&self) -> Sources<'_> {
        Sources {
            local: &self.run.records,
            overlay: self.inner.backend.inner().overlay(),
        }
    }

    pub(super) fn fetch(&self, revisions: SmallVec<[Revision; 1]>) -> Fetch {
        Fetch::new(revisions, &self.sources())
    }

    pub(super) fn range(&self, request: &RangeRequest, line: Line) -> Result<RangeAnswer, Error> {
        let found = self.state.find(request, line, self.seen())?;
        // The committer must not wait for what is read from the file.
        let gathered = found.gather(&self.sources());
        gathered.finish(request)
    }

    /// A put without the check of the new lease.
    pub(super) fn put_one(
        &mut self,
        request: &PutRequest,
        leases: &mut dyn Leases,
    ) -> Result<PutResponse, Error> {
        let next = self.next();
        let id = self.state.index.find(&request.key);
        let live = id
            .map(|id| self.state.index.entry(id))
            .filter(|entry| entry.is_live());
        let ignores = request.ignore_value || request.ignore_lease;
        if ignores && live.is_none() {
            return Err(Error::KeyNotFound);
        }
        let old = match live {
            Some(entry)
                if ignores || request.prev_kv || entry.is_leased() || entry.version().is_none() =>
            {
                Some(self.fetch(smallvec![entry.newest().revision]).run()?)
            }
            _ => None,
        };
        let old = old.as_ref().and_then(|values| values.first());
        let before = old.and_then(Record::parse).unwrap_or_default();
        let (created, version) = match live {
            Some(entry) => (entry.created(), entry.version().unwrap_or(before.version)),
            None => (next.main, 0),
        };
        let value = if request.ignore_value {
            before.value
        } else {
            &request.value
        };
        let lease = if request.ignore_lease {
            before.lease
        } else {
            request.lease
        };
        let record = stored::encode(&request.key, created, next.main, version + 1, value, lease);
        let prev_kv = old.filter(|_| request.prev_kv).map(key_value);
        let old_lease = before.lease;

        self.state
            .index
            .put(&request.key, id, next, created, version + 1, lease != 0);
        let key = stored::key_of(&record);
        if old_lease != 0 && old_lease != lease {
            leases.detach(old_lease, &key);
        }
        if lease != 0 {
            leases.attach(lease, &key);
        }
        self.run.records.push(Pending {
            revision: next,
            tombstone: false,
            record: record.clone(),
        });
        self.changes.push(Event::put(key, record));
        Ok(PutResponse {
            header: self.header(),
            prev_kv,
        })
    }

    pub(super) fn delete_some(
        &mut self,
        request: &DeleteRangeRequest,
        leases: &mut dyn Leases,
    ) -> Result<DeleteRangeResponse, Error> {
        let index = &self.state.index;
        let mut ids: SmallVec<[Id; 1]> = SmallVec::new();
        // Records that must be read before the keys are removed.
        let mut wanted: SmallVec<[Revision; 1]> = SmallVec::new();
        let mut take = |id, entry: &crate::index::Entry| {
            ids.push(id);
            if request.prev_kv || entry.is_leased() {
                wanted.push(entry.newest().revision);
            }
            true
        };
        match Keys::of(&request.key, &request.range_end) {
            Keys::None => {}
            Keys::One(key) => {
                if let Some(id) = index.find(key)
                    && index.entry(id).is_live()
                {
                    take(id, index.entry(id));
                }
            }
            Keys::Many(span) => index.visit_live(span, take),
        }
        let mut prev_kvs: Vec<KeyValue> = Vec::new();
        if !wanted.is_empty() {
            let values = self.fetch(wanted).run()?;
            for bytes in values.iter() {
                let record = Record::parse(bytes).unwrap_or_default();
                if record.lease != 0 {
                    leases.detach(record.lease, record.key);
                }
                if request.prev_kv {
                    prev_kvs.push(key_value(bytes));
                }
            }
        }
        for &id in &ids {
            self.delete_one(id);
        }
        Ok(DeleteRangeResponse {
            header: self.header(),
            deleted: ids.len() as i64,
            prev_kvs,
        })
    }

    /// Deletes the live key of `id`.
    fn delete_one(&mut self, id: Id) {
        let next = self.next();
        let record = stored::encode_tombstone(self.state.index.entry(id).key());
        self.state.index.tombstone(id, next);
        let key = stored::key_of(&record);
        self.run.records.push(Pending {
            revision: next,
            tombstone: true,
            record,
        });
        self.changes.push(Event::delete(key, next.main));
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        if !self.published {
            self.inner
                .backend
                .inner()
                .abandon("applying entries was interrupted; nothing of that run is kept on disk");
        }
    }
}

impl std::fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("revision", &self.state.current)
            .finish_non_exhaustive()
    }
}
