//! Snapshots and reading them. A [`ReadTx`] pins the pages of one committed state; whatever it hands out lives as
//! long as it does and cannot change. Nothing here can allocate or write a page.

use std::fmt;
use std::sync::Arc;

use crate::cursor::Cursor;
use crate::error::{Error, show};
use crate::meta::Meta;
use crate::page::{Kind, Pages, Root, lookup};
use crate::state::{Db, Inner};

/// A read transaction: one committed state, unchanging. Cloning is a reference count.
#[derive(Clone)]
pub struct ReadTx {
    pin: Arc<Pin>,
}

struct Pin {
    db: Arc<Inner>,
    meta: Meta,
    pages: Arc<Pages>,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut shared = self.db.shared();
        if let Some(count) = shared.readers.get_mut(&self.meta.txid) {
            *count -= 1;
            if *count == 0 {
                shared.readers.remove(&self.meta.txid);
            }
        }
    }
}

impl ReadTx {
    pub(crate) fn new(db: Arc<Inner>, meta: Meta, pages: Arc<Pages>) -> ReadTx {
        ReadTx {
            pin: Arc::new(Pin { db, meta, pages }),
        }
    }

    /// The transaction whose commit made this state.
    pub fn txid(&self) -> u64 {
        self.pin.meta.txid
    }

    /// Returns the memory of pages that were read to the system. For use after a walk over the whole file (a restore, a
    /// hash, a copy), which would otherwise stay resident.
    pub fn advise_cold(&self) {
        self.pages().map.advise_cold();
    }

    /// Size of the state in bytes: high-water mark times page size; the length of its image.
    pub fn size(&self) -> u64 {
        self.pin.meta.hwm.get() * u64::from(self.pin.meta.page_size)
    }

    /// The database this is a snapshot of.
    pub fn db(&self) -> Db {
        Db {
            inner: self.pin.db.clone(),
        }
    }

    pub(crate) fn meta(&self) -> &Meta {
        &self.pin.meta
    }

    pub(crate) fn pages(&self) -> &Pages {
        &self.pin.pages
    }

    /// The root bucket, whose elements are the top-level buckets.
    pub fn root(&self) -> Bucket<'_> {
        Bucket {
            pages: &self.pin.pages,
            root: Root::Page(self.pin.meta.root),
            sequence: self.pin.meta.sequence,
        }
    }

    /// The names of the top-level buckets, ascending.
    pub fn buckets(&self) -> BucketNames<'_> {
        BucketNames {
            cursor: self.root().cursor(),
            started: false,
        }
    }

    /// The top-level bucket `name`.
    pub fn bucket(&self, name: &[u8]) -> Result<Option<Bucket<'_>>, Error> {
        self.root().bucket(name)
    }
}

impl fmt::Debug for ReadTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadTx")
            .field("txid", &self.txid())
            .finish_non_exhaustive()
    }
}

/// Iterator over bucket names; see [`ReadTx::buckets`] and [`Bucket::buckets`]. Ends after an error.
pub struct BucketNames<'a> {
    cursor: Cursor<'a>,
    started: bool,
}

impl<'a> Iterator for BucketNames<'a> {
    type Item = Result<&'a [u8], Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let step = if self.started {
                self.cursor.next()
            } else {
                self.cursor.first()
            };
            self.started = true;
            match step {
                Ok(Some((name, _))) if self.cursor.is_bucket() => return Some(Ok(name)),
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(e) => return Some(Err(e)),
            }
        }
    }
}

/// A bucket of a snapshot.
#[derive(Clone, Copy)]
pub struct Bucket<'a> {
    pub(crate) pages: &'a Pages,
    pub(crate) root: Root<'a>,
    sequence: u64,
}

/// Counts of one bucket, the buckets inside it not included; see [`Bucket::stats`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BucketStats {
    /// Keys, those that are buckets included.
    pub keys: u64,
    /// Branch pages with their overflow pages.
    pub branch_pages: u64,
    /// Leaf pages with their overflow pages; 0 for an inline bucket.
    pub leaf_pages: u64,
    /// Levels of the tree, 1 for a single leaf.
    pub depth: u32,
    /// Bytes of keys and values.
    pub data_bytes: u64,
}

impl<'a> Bucket<'a> {
    /// The value of `key`. A bucket of that name is no value.
    #[inline]
    pub fn get(&self, key: &[u8]) -> Result<Option<&'a [u8]>, Error> {
        Ok(lookup(self.pages, self.root, key)?
            .filter(|(e, _)| !e.is_bucket())
            .map(|(e, _)| e.value))
    }

    /// The bucket `name` inside this one; an error where `name` is a key with a value.
    pub fn bucket(&self, name: &[u8]) -> Result<Option<Bucket<'a>>, Error> {
        match lookup(self.pages, self.root, name)? {
            None => Ok(None),
            Some((e, _)) if !e.is_bucket() => Err(Error::IncompatibleValue(show(name), "a key")),
            Some((e, id)) => {
                let (root, sequence) = Root::of(e.value, e.value_at, id)?;
                Ok(Some(Bucket {
                    pages: self.pages,
                    root,
                    sequence,
                }))
            }
        }
    }

    /// A cursor over the keys in order; at no position until moved.
    pub fn cursor(&self) -> Cursor<'a> {
        Cursor::new(self.pages, self.root)
    }

    /// Names of the buckets inside this one, ascending.
    pub fn buckets(&self) -> BucketNames<'a> {
        BucketNames {
            cursor: self.cursor(),
            started: false,
        }
    }

    /// The bucket's sequence number (etcd leaves it 0).
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// True when the bucket holds nothing.
    pub fn is_empty(&self) -> Result<bool, Error> {
        Ok(self.cursor().first()?.is_none())
    }

    /// Number of keys, buckets included. Reads every leaf page's header.
    pub fn len(&self) -> Result<u64, Error> {
        Ok(self.stats(false)?.keys)
    }

    /// Counts pages and keys; with `data` also bytes, which reads every element.
    pub fn stats(&self, data: bool) -> Result<BucketStats, Error> {
        let mut stats = BucketStats::default();
        let mut budget = self.pages.hwm.get();
        let mut todo = vec![(self.root, 1)];
        while let Some((root, depth)) = todo.pop() {
            let page = root.page(self.pages)?;
            let pages = match root {
                Root::Page(id) => {
                    let pages = page.run().len;
                    budget = budget.checked_sub(pages).ok_or_else(|| {
                        self.pages
                            .corrupt(id, "a page of this bucket is referred to twice")
                    })?;
                    pages
                }
                Root::Inline(_) => 0,
            };
            stats.depth = stats.depth.max(depth);
            match page.kind {
                Kind::Branch => {
                    stats.branch_pages += pages;
                    todo.extend((0..page.count).map(|i| (Root::Page(page.child(i)), depth + 1)));
                }
                Kind::Leaf => {
                    stats.leaf_pages += pages;
                    stats.keys += page.count as u64;
                    if data {
                        for i in 0..page.count {
                            let e = page.leaf(i)?;
                            stats.data_bytes += (e.key.len() + e.value.len()) as u64;
                        }
                    }
                }
            }
        }
        Ok(stats)
    }
}
