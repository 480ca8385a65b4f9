//! Fetching records. Under the lock a reader learns revisions and takes along
//! what is not committed yet and the snapshot that holds the rest; the file is
//! read after the lock. Records are read where they are, in the mapped
//! file or in the open batch, and stay there as long as [`Values`] lives.

use bolt::ReadTx;
use bytes::Bytes;
use parking_lot::RwLockReadGuard;
use smallvec::SmallVec;

use super::shown::Made;
use crate::{
    Error, Revision,
    backend::{KEY, Overlay, Pending, find_record},
};

/// Beyond this many records they are read in the order of the file.
const SORT_FROM: usize = 8;

/// Where records are at one moment.
pub(super) struct Sources<'a> {
    /// Changes of the run under way, for its writer only.
    pub(super) local: &'a [Pending],
    pub(super) overlay: RwLockReadGuard<'a, Overlay>,
}

impl Sources<'_> {
    fn record(&self, revision: Revision) -> Option<&Bytes> {
        let pending =
            find_record(self.local, revision).or_else(|| self.overlay.record(revision))?;
        Some(&pending.record)
    }
}

/// What to read, and from where.
pub(super) struct Fetch {
    revisions: SmallVec<[Revision; 1]>,
    /// Place in `revisions` and the record, where it is not in the file yet.
    held: SmallVec<[(usize, Bytes); 1]>,
    tx: Option<ReadTx>,
}

impl Fetch {
    /// Takes along what must be taken under the lock.
    pub(super) fn new(revisions: SmallVec<[Revision; 1]>, sources: &Sources<'_>) -> Fetch {
        let mut held = SmallVec::new();
        for (i, &revision) in revisions.iter().enumerate() {
            if let Some(record) = sources.record(revision) {
                held.push((i, record.clone()));
            }
        }
        let tx = (held.len() < revisions.len()).then(|| sources.overlay.tx().clone());
        Fetch {
            revisions,
            held,
            tx,
        }
    }

    /// Reads the rest from the file.
    pub(super) fn run(self) -> Result<Values, Error> {
        let mut slices: SmallVec<[&'static [u8]; 1]> = SmallVec::new();
        slices.resize(self.revisions.len(), &[]);
        let mut stored = vec![];
        let mut held = SmallVec::new();
        {
            let mut pending = self.held.into_iter().peekable();
            for i in 0..self.revisions.len() {
                match pending.next_if(|(place, _)| *place == i) {
                    Some((_, record)) => {
                        slices[i] = forever(&record);
                        held.push(record);
                    }
                    None if self.revisions.len() == 1 => {}
                    None => stored.push(i),
                }
            }
        }
        if let Some(tx) = &self.tx {
            let bucket = tx
                .bucket(KEY.as_bytes())?
                .ok_or_else(|| bolt::Error::BucketNotFound(KEY.into()))?;
            if let [revision] = self.revisions[..] {
                let record = bucket.get(&revision.to_bytes())?;
                slices[0] = forever(record.ok_or(missing(revision))?);
            } else {
                let sorted = stored.is_sorted_by_key(|&i| self.revisions[i]);
                if !sorted && stored.len() >= SORT_FROM {
                    stored.sort_unstable_by_key(|&i| self.revisions[i]);
                }
                let mut cursor = bucket.cursor();
                for i in stored {
                    let revision = self.revisions[i];
                    let key = revision.to_bytes();
                    match cursor.seek_near(&key)? {
                        Some((found, record)) if found == key => slices[i] = forever(record),
                        _ => return Err(missing(revision)),
                    }
                }
            }
        }
        Ok(Values {
            slices,
            _held: held,
            _tx: self.tx,
        })
    }
}

fn missing(revision: Revision) -> Error {
    Error::Corrupt {
        revision,
        what: "the index knows this record, the file does not have it",
    }
}

/// Records, in the order they were asked for.
#[derive(Default)]
pub(super) struct Values {
    /// Points into what the fields below keep in place. Never given out for
    /// longer than `self` is borrowed.
    slices: SmallVec<[&'static [u8]; 1]>,
    _held: SmallVec<[Bytes; 1]>,
    _tx: Option<ReadTx>,
}

impl Values {
    /// Records that the index made.
    pub(super) fn of_index(made: Made) -> Values {
        let (bytes, spans) = made.into_parts();
        let slices = spans.map(|(from, to)| forever(&bytes[from..to])).collect();
        let mut held = SmallVec::new();
        held.push(bytes);
        Values {
            slices,
            _held: held,
            _tx: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slices.len()
    }

    #[inline]
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + DoubleEndedIterator {
        self.slices.iter().copied()
    }

    pub(super) fn first(&self) -> Option<&[u8]> {
        self.slices.first().copied()
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.slices.truncate(len);
    }

    /// Keeps the records of these places, in this order.
    pub(super) fn select(&mut self, places: impl Iterator<Item = usize>) {
        self.slices = places.map(|i| self.slices[i]).collect();
    }
}

/// The same bytes without the compiler's proof that they stay.
fn forever(bytes: &[u8]) -> &'static [u8] {
    // SAFETY: called for bytes of a `Bytes` that goes into `Values::_held`, and
    // for bytes that a `ReadTx` handed out which goes into `Values::_tx`. Both
    // keep their bytes at one address, unchanged, until they are dropped,
    // wherever they themselves are moved: a `Bytes` owns or shares a heap
    // block, a `ReadTx` pins pages of a mapping. The slices leave `Values`
    // only through methods that borrow it, and are private to this module.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr(), bytes.len()) }
}
