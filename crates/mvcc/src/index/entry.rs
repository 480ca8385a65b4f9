//! One key of the index: its revisions since the last compaction. Most keys
//! have one revision, so the newest is in the entry and older ones cost an
//! allocation only where there are any.
//!
//! etcd's term is generations: a generation begins with a put and ends with a
//! tombstone. Here the steps of all generations are in one list, oldest
//! first; a tombstone says by itself that a generation ends.

use crate::Revision;

/// Bits of [`Entry::newest`] above the revision.
const TOMBSTONE: i64 = 1 << 62;
const LEASED: i64 = 1 << 61;
const MAIN: i64 = LEASED - 1;

/// A change of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Step {
    pub(crate) revision: Revision,
    pub(crate) tombstone: bool,
}

/// A key and its steps. Never without a step while it is in the index.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    key: Box<[u8]>,
    /// Main revision of the newest step, with the bits above.
    newest: i64,
    /// Create revision of the generation of the newest step.
    created: i64,
    /// Steps before the newest, ascending. A vector inside a box is one
    /// pointer wide, which a million keys without history pay for.
    #[allow(clippy::box_collection)]
    older: Option<Box<Vec<Step>>>,
    sub: u32,
    /// Puts in the present generation; `u32::MAX` means that many or more.
    version: u32,
}

impl Entry {
    pub(crate) fn new(key: &[u8], step: Step) -> Entry {
        let mut entry = Entry {
            key: key.into(),
            ..Entry::default()
        };
        entry.set_newest(step);
        entry
    }

    #[inline]
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    #[inline]
    pub(crate) fn newest(&self) -> Step {
        Step {
            revision: Revision::new(self.newest & MAIN, self.sub),
            tombstone: self.newest & TOMBSTONE != 0,
        }
    }

    /// True if the key exists now.
    #[inline]
    pub(crate) fn is_live(&self) -> bool {
        self.newest & TOMBSTONE == 0
    }

    /// True if the newest put names a lease.
    #[inline]
    pub(crate) fn is_leased(&self) -> bool {
        self.newest & LEASED != 0
    }

    /// Create revision of the live key.
    #[inline]
    pub(crate) fn created(&self) -> i64 {
        self.created
    }

    /// Version of the live key; `None` if it is too large for this field, the
    /// stored record knows it then.
    #[inline]
    pub(crate) fn version(&self) -> Option<i64> {
        (self.version != u32::MAX).then_some(i64::from(self.version))
    }

    fn set_newest(&mut self, step: Step) {
        debug_assert!(step.revision.main <= MAIN);
        self.newest = step.revision.main | if step.tombstone { TOMBSTONE } else { 0 };
        self.sub = step.revision.sub;
    }

    /// Appends a step, which is newer than all others.
    pub(crate) fn push(&mut self, step: Step) {
        debug_assert!(step.revision > self.newest().revision);
        let newest = self.newest();
        self.older
            .get_or_insert_with(|| Box::new(Vec::with_capacity(1)))
            .push(newest);
        self.set_newest(step);
    }

    /// What a put says besides its revision; follows a `push` or `new` of it.
    pub(crate) fn describe(&mut self, created: i64, version: i64, leased: bool) {
        self.created = created;
        self.version = u32::try_from(version).unwrap_or(u32::MAX);
        self.newest = (self.newest & !LEASED) | if leased { LEASED } else { 0 };
    }

    /// The revision that a reader at `main` sees, `None` if the key is not there.
    #[inline]
    pub(crate) fn at(&self, main: i64) -> Option<Revision> {
        let newest = self.newest();
        if newest.revision.main <= main {
            return (!newest.tombstone).then_some(newest.revision);
        }
        let older = self.older.as_deref()?;
        let end = older.partition_point(|s| s.revision.main <= main);
        let step = older[..end].last()?;
        (!step.tombstone).then_some(step.revision)
    }

    /// True if a compaction may find something to drop here.
    #[inline]
    pub(crate) fn has_past(&self) -> bool {
        self.older.is_some() || !self.is_live()
    }

    fn len(&self) -> usize {
        1 + self.older.as_ref().map_or(0, |o| o.len())
    }

    fn steps(&self) -> impl DoubleEndedIterator<Item = Step> {
        let older = self.older.as_deref().map_or(&[][..], |o| o);
        older.iter().copied().chain(std::iter::once(self.newest()))
    }

    /// The last revision at which the key began or ceased to exist. Where the
    /// first step is a put of a key that existed before, compaction took the
    /// earlier ones and no one may ask for a revision before that step.
    pub(crate) fn changed(&self) -> i64 {
        let mut existed = false;
        let mut changed = 0;
        for step in self.steps() {
            if existed == step.tombstone {
                changed = step.revision.main;
            }
            existed = !step.tombstone;
        }
        let first = self.older.as_deref().and_then(|o| o.first());
        let first = first.copied().unwrap_or(self.newest());
        if !first.tombstone && changed == first.revision.main {
            changed = self.created.min(changed);
        }
        changed
    }

    /// How many steps a compaction at `main` drops, and whether the first of
    /// the rest is the one that represents everything up to `main`.
    ///
    /// Of the first generation that ends at or after `main`, or else of the
    /// last one, the largest revision up to `main` stays; what is older goes.
    fn cut(&self, main: i64) -> (usize, bool) {
        let (mut begin, mut keep) = (0, None);
        for (i, step) in self.steps().enumerate() {
            if step.revision.main <= main {
                keep = Some(i);
            }
            if step.tombstone {
                if step.revision.main >= main {
                    break;
                }
                (begin, keep) = (i + 1, None);
            }
        }
        (keep.unwrap_or(begin), keep.is_some())
    }

    /// Forgets what a compaction at `main` removes and shows each such step,
    /// oldest first. True if nothing is left and the entry must go.
    pub(crate) fn compact(&mut self, main: i64, mut drop: impl FnMut(Step)) -> (bool, bool) {
        let (cut, kept) = self.cut(main);
        self.steps().take(cut).for_each(&mut drop);
        if cut == self.len() {
            return (true, kept);
        }
        if let Some(older) = &mut self.older {
            older.drain(..cut);
            if older.is_empty() {
                self.older = None;
            } else if older.capacity() > 2 * older.len() {
                older.shrink_to_fit();
            }
        }
        (false, kept)
    }

    /// Shows each step up to `compacted` that a hash at `main` does not keep,
    /// and whether a compaction there removes it anyway; true if the hash keeps
    /// one. The hash of `main` keeps what a compaction would, but not a
    /// tombstone.
    pub(crate) fn not_kept(
        &self,
        main: i64,
        compacted: i64,
        mut show: impl FnMut(Revision, bool),
    ) -> bool {
        let (removed, _) = self.cut(compacted);
        let (cut, kept) = self.cut(main);
        let mut keeps = false;
        for (i, step) in self.steps().enumerate() {
            if kept && i == cut && !step.tombstone {
                keeps = true;
            } else if step.revision.main <= compacted {
                show(step.revision, i < removed);
            } else if i > cut {
                break;
            }
        }
        keeps
    }
}
