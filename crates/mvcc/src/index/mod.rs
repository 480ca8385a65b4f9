//! From keys to revisions, in memory. A hash table finds a key at once, a
//! counted tree knows their order; both hold ids of entries in a slab.
//! Values are never here, only where to find them.

mod entry;
mod leaf;
mod lookup;
mod slab;
#[cfg(test)]
mod tests;
mod tree;

pub(crate) use entry::{Entry, Step};
pub(crate) use slab::Id;
pub(crate) use tree::Span;

use crate::Revision;
use lookup::Lookup;
use slab::Slab;
use tree::Tree;

/// All keys that a reader may still ask for.
#[derive(Default)]
pub(crate) struct Index {
    slab: Slab,
    lookup: Lookup,
    tree: Tree,
}

impl Index {
    /// The entry of `key`, which may be a deleted one.
    #[inline]
    pub(crate) fn find(&self, key: &[u8]) -> Option<Id> {
        self.lookup.find(self.lookup.hash(key), key, &self.slab)
    }

    #[inline]
    pub(crate) fn entry(&self, id: Id) -> &Entry {
        self.slab.get(id)
    }

    /// The entry of `key` if the key exists now.
    #[inline]
    pub(crate) fn live(&self, key: &[u8]) -> Option<&Entry> {
        let entry = self.slab.get(self.find(key)?);
        entry.is_live().then_some(entry)
    }

    /// Entries, those of deleted keys included.
    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    /// Keys that exist now.
    pub(crate) fn live_len(&self) -> usize {
        self.tree.live()
    }

    /// Records a put at `revision`. `id` is what [`Index::find`] gave for `key`.
    pub(crate) fn put(
        &mut self,
        key: &[u8],
        id: Option<Id>,
        revision: Revision,
        created: i64,
        version: i64,
        leased: bool,
    ) {
        let step = Step {
            revision,
            tombstone: false,
        };
        match id {
            Some(id) => {
                let entry = self.slab.get_mut(id);
                let was_live = entry.is_live();
                entry.push(step);
                entry.describe(created, version, leased);
                if !was_live {
                    self.tree.set_live(key, true, revision.main, &self.slab);
                }
            }
            None => {
                let mut entry = Entry::new(key, step);
                entry.describe(created, version, leased);
                let id = self.slab.insert(entry);
                self.lookup.insert(self.lookup.hash(key), id, &self.slab);
                self.tree.insert(id, revision.main, &self.slab);
            }
        }
    }

    /// Records that the live key of `id` was deleted at `revision`.
    pub(crate) fn tombstone(&mut self, id: Id, revision: Revision) {
        let entry = self.slab.get_mut(id);
        entry.push(Step {
            revision,
            tombstone: true,
        });
        let slab = &self.slab;
        self.tree.set_live(slab.key(id), false, revision.main, slab);
    }

    /// Keys of `span` that exist now.
    pub(crate) fn count(&self, span: Span<'_>) -> usize {
        self.tree.count(span, &self.slab)
    }

    /// Keys of `span` that existed at `revision`.
    pub(crate) fn count_at(&self, span: Span<'_>, revision: i64) -> usize {
        self.tree.count_at(span, revision, &self.slab)
    }

    /// Shows what exists now in `span`, in key order, until `visit` answers false.
    pub(crate) fn visit_live(&self, span: Span<'_>, mut visit: impl FnMut(Id, &Entry) -> bool) {
        self.tree.visit(span, &self.slab, |id, live| {
            !live || visit(id, self.slab.get(id))
        });
    }

    /// Shows what existed at `revision` in `span`, in key order, until `visit`
    /// answers false.
    pub(crate) fn visit_at(
        &self,
        span: Span<'_>,
        revision: i64,
        mut visit: impl FnMut(Revision) -> bool,
    ) {
        self.tree.visit(span, &self.slab, |id, _| {
            self.slab.get(id).at(revision).is_none_or(&mut visit)
        });
    }

    /// Up to `limit` entries from `from` on, and the key to go on from.
    pub(crate) fn some_entries(&self, from: &[u8], limit: usize) -> (Vec<Id>, Option<Box<[u8]>>) {
        let mut ids = Vec::with_capacity(limit);
        let mut next = None;
        self.tree
            .visit(Span { from, to: None }, &self.slab, |id, _| {
                if ids.len() == limit {
                    next = Some(self.slab.key(id).into());
                    return false;
                }
                ids.push(id);
                true
            });
        (ids, next)
    }

    /// Forgets in `ids` what a compaction at `revision` removes and adds it to
    /// `dropped`. True if something was kept that represents `revision`.
    pub(crate) fn compact(&mut self, ids: &[Id], revision: i64, dropped: &mut Vec<Step>) -> bool {
        let mut kept_any = false;
        for &id in ids {
            let entry = self.slab.get_mut(id);
            if !entry.has_past() {
                kept_any |= entry.newest().revision.main <= revision;
                continue;
            }
            let (empty, kept) = entry.compact(revision, |step| dropped.push(step));
            kept_any |= kept;
            if empty {
                let key = self.slab.key(id);
                self.lookup.remove(self.lookup.hash(key), id);
                self.tree.remove(key, &self.slab);
                self.slab.remove(id);
            }
        }
        kept_any
    }
}

/// Puts an index together from records in revision order, as at a restart.
pub(crate) struct Builder {
    slab: Slab,
    lookup: Lookup,
    /// Keys came in ascending order so far, so ids are in key order.
    sorted: bool,
    last: Option<Id>,
}

impl Builder {
    /// `keys`: about how many there will be.
    pub(crate) fn new(keys: usize) -> Builder {
        let slab = Slab::default();
        let mut lookup = Lookup::default();
        lookup.reserve(keys, &slab);
        Builder {
            slab,
            lookup,
            sorted: true,
            last: None,
        }
    }

    /// Adds the next step of `key`. `None` if it is not newer than the step before.
    pub(crate) fn push(
        &mut self,
        key: &[u8],
        step: Step,
        created: i64,
        version: i64,
        leased: bool,
    ) -> Option<Id> {
        let hash = self.lookup.hash(key);
        let found = self.lookup.find(hash, key, &self.slab);
        let id = match found {
            Some(id) => {
                let entry = self.slab.get_mut(id);
                if entry.newest().revision >= step.revision {
                    return None;
                }
                entry.push(step);
                id
            }
            None => {
                let id = self.slab.insert(Entry::new(key, step));
                self.lookup.insert(hash, id, &self.slab);
                if let Some(last) = self.last {
                    self.sorted &= self.slab.key(last) < key;
                }
                self.last = Some(id);
                id
            }
        };
        if !step.tombstone {
            self.slab.get_mut(id).describe(created, version, leased);
        }
        Some(id)
    }

    pub(crate) fn key(&self, id: Id) -> &[u8] {
        self.slab.key(id)
    }

    /// The index of everything that was added.
    pub(crate) fn finish(mut self) -> Index {
        self.lookup.shrink(&self.slab);
        let mut ids: Vec<Id> = (0..self.slab.len() as Id).collect();
        if !self.sorted {
            ids = self.sort(ids);
        }
        let tree = Tree::build(&ids, &self.slab);
        Index {
            slab: self.slab,
            lookup: self.lookup,
            tree,
        }
    }

    /// Sorts by sixteen bytes after the common beginning of all keys, and looks
    /// at whole keys only where those are equal.
    fn sort(&self, ids: Vec<Id>) -> Vec<Id> {
        let Some(&first) = ids.first() else {
            return ids;
        };
        let first = self.slab.key(first);
        let skip = ids.iter().fold(first.len(), |skip, &id| {
            let key = self.slab.key(id);
            leaf::common(&first[..skip], key)
        });
        let mut pairs: Vec<(u128, Id)> = ids
            .into_iter()
            .map(|id| {
                let mut head = [0; 16];
                let rest = &self.slab.key(id)[skip..];
                let len = rest.len().min(16);
                head[..len].copy_from_slice(&rest[..len]);
                (u128::from_be_bytes(head), id)
            })
            .collect();
        pairs.sort_unstable_by(|a, b| {
            a.0.cmp(&b.0)
                .then_with(|| self.slab.key(a.1).cmp(self.slab.key(b.1)))
        });
        pairs.into_iter().map(|(_, id)| id).collect()
    }
}
