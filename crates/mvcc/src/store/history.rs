//! The past, in order: what watchers that lag behind read, and the value that
//! a key had before.

use smallvec::smallvec;

use super::{inner::Inner, values::Fetch};
use crate::{
    Error, Revision,
    backend::{KEY, Pending},
    stored::Record,
};
use bytes::Bytes;

/// A change of the past, valid during the call that shows it.
#[derive(Clone, Copy, Debug)]
pub struct EventRef<'a> {
    /// Its position.
    pub revision: Revision,
    /// The key that changed.
    pub key: &'a [u8],
    /// The record as stored; of a delete it holds the key alone.
    pub kv: &'a [u8],
    /// True for a delete.
    pub is_delete: bool,
}

impl Inner {
    pub(super) fn history(
        &self,
        from: i64,
        to: i64,
        max_bytes: usize,
        visit: impl FnMut(EventRef<'_>),
    ) -> Result<i64, Error> {
        let (tx, pending, to) = {
            let state = self.state.read();
            if from < state.compacted {
                return Err(Error::Compacted);
            }
            let to = to.min(state.current);
            let sources = self.sources();
            let wanted = |p: &&Pending| (from..=to).contains(&p.revision.main);
            let pending: Vec<Pending> = sources.overlay.records().filter(wanted).cloned().collect();
            (sources.overlay.tx().clone(), pending, to)
        };
        if from > to {
            return Ok(from);
        }
        let mut show = Show {
            visit,
            last: from - 1,
            bytes: 0,
            max_bytes,
        };
        let bucket = tx
            .bucket(KEY.as_bytes())?
            .ok_or_else(|| bolt::Error::BucketNotFound(KEY.into()))?;
        let mut cursor = bucket.cursor();
        let mut at = cursor.seek(&Revision::new(from.max(0), 0).to_bytes())?;
        while let Some((key, record)) = at {
            let Some((revision, tombstone)) = Revision::parse(key) else {
                return Err(Error::Corrupt {
                    revision: Revision::new(show.last, 0),
                    what: "the key after this revision is no revision",
                });
            };
            if revision.main > to {
                break;
            }
            if !show.record(revision, tombstone, record)? {
                return Ok(show.last + 1);
            }
            at = cursor.next()?;
        }
        for p in &pending {
            if !show.record(p.revision, p.tombstone, &p.record)? {
                return Ok(show.last + 1);
            }
        }
        Ok(to + 1)
    }

    pub(super) fn get_kv_at(&self, key: &[u8], revision: i64) -> Result<Option<Bytes>, Error> {
        let fetch = {
            let state = self.state.read();
            if revision < state.compacted {
                return Ok(None);
            }
            let entry = state.index.find(key).map(|id| state.index.entry(id));
            let Some(at) = entry.and_then(|entry| entry.at(revision)) else {
                return Ok(None);
            };
            Fetch::new(smallvec![at], &self.sources())
        };
        Ok(fetch.run()?.first().map(Bytes::copy_from_slice))
    }
}

struct Show<F> {
    visit: F,
    /// Main revision of the last record shown.
    last: i64,
    bytes: usize,
    max_bytes: usize,
}

impl<F: FnMut(EventRef<'_>)> Show<F> {
    /// False if the record is left for another time.
    fn record(
        &mut self,
        revision: Revision,
        tombstone: bool,
        record: &[u8],
    ) -> Result<bool, Error> {
        if revision.main > self.last {
            if self.bytes >= self.max_bytes && self.bytes > 0 {
                return Ok(false);
            }
            self.last = revision.main;
        }
        let parsed = Record::parse(record).ok_or(Error::Corrupt {
            revision,
            what: "the value is no key-value record",
        })?;
        self.bytes += record.len();
        (self.visit)(EventRef {
            revision,
            key: parsed.key,
            kv: record,
            is_delete: tombstone,
        });
        Ok(true)
    }
}
