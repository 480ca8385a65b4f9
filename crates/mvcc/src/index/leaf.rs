//! A leaf of the tree: up to 64 ids in key order. Keys in one leaf share a
//! long beginning; eight bytes after it are kept next to each id, so that a
//! search rarely has to look at a key itself. A bit per id says whether the
//! key exists now.

use super::slab::{Id, Slab};

/// Ids per leaf: the bits of `live`.
pub(crate) const LEAF_CAP: usize = 64;

pub(crate) struct Leaf {
    /// Bit i is set if the key of `ids[i]` exists now.
    live: u64,
    /// Bytes that all keys of this leaf begin with, at least this many.
    skip: u32,
    len: u32,
    /// Bytes `skip..skip + 8` of each key, big-endian, padded with zeros.
    heads: [u64; LEAF_CAP],
    ids: [Id; LEAF_CAP],
}

#[inline]
fn head(key: &[u8], skip: usize) -> u64 {
    let rest = key.get(skip..).unwrap_or(&[]);
    match rest.first_chunk::<8>() {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => {
            let mut bytes = [0; 8];
            bytes[..rest.len()].copy_from_slice(rest);
            u64::from_be_bytes(bytes)
        }
    }
}

/// Length of the common beginning.
pub(crate) fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// Bits below `i`.
#[inline]
fn below(i: usize) -> u64 {
    if i >= 64 { u64::MAX } else { (1 << i) - 1 }
}

impl Leaf {
    /// A leaf of the given ids, which are in key order.
    pub(crate) fn new(ids: &[Id], slab: &Slab) -> Box<Leaf> {
        let mut leaf = Box::new(Leaf {
            live: 0,
            skip: 0,
            len: ids.len() as u32,
            heads: [0; LEAF_CAP],
            ids: [0; LEAF_CAP],
        });
        leaf.ids[..ids.len()].copy_from_slice(ids);
        for (i, &id) in ids.iter().enumerate() {
            leaf.live |= u64::from(slab.get(id).is_live()) << i;
        }
        leaf.refresh(slab);
        leaf
    }

    /// Takes the longest common beginning and all heads anew.
    fn refresh(&mut self, slab: &Slab) {
        let ids = self.ids();
        let skip = match (ids.first(), ids.last()) {
            (Some(&first), Some(&last)) => common(slab.key(first), slab.key(last)),
            _ => 0,
        };
        self.set_skip(skip, slab);
    }

    fn set_skip(&mut self, skip: usize, slab: &Slab) {
        self.skip = skip as u32;
        for i in 0..self.len() {
            self.heads[i] = head(slab.key(self.ids[i]), skip);
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    #[inline]
    pub(crate) fn ids(&self) -> &[Id] {
        &self.ids[..self.len as usize]
    }

    #[inline]
    pub(crate) fn is_live(&self, i: usize) -> bool {
        self.live >> i & 1 != 0
    }

    pub(crate) fn set_live(&mut self, i: usize, live: bool) {
        self.live = self.live & !(1 << i) | u64::from(live) << i;
    }

    /// How many keys before place `i` exist now.
    #[inline]
    pub(crate) fn live_below(&self, i: usize) -> usize {
        (self.live & below(i)).count_ones() as usize
    }

    pub(crate) fn live(&self) -> usize {
        self.live.count_ones() as usize
    }

    /// The place of `key`, or the place where it belongs.
    #[inline]
    pub(crate) fn find(&self, key: &[u8], slab: &Slab) -> Result<usize, usize> {
        let len = self.len();
        let skip = self.skip as usize;
        if len == 0 {
            return Err(0);
        }
        if skip > 0 {
            let shared = &slab.key(self.ids[0])[..skip];
            let begin = &key[..skip.min(key.len())];
            if begin != shared {
                return Err(if begin < shared { 0 } else { len });
            }
        }
        let wanted = head(key, skip);
        let heads = &self.heads[..len];
        let low = heads.partition_point(|&h| h < wanted);
        let same = heads[low..].partition_point(|&h| h == wanted);
        self.ids[low..low + same]
            .binary_search_by(|&id| slab.key(id).cmp(key))
            .map(|i| low + i)
            .map_err(|i| low + i)
    }

    /// Puts `id` at place `at`, where its key belongs. The leaf is not full.
    pub(crate) fn insert(&mut self, at: usize, id: Id, live: bool, slab: &Slab) {
        let len = self.len();
        let key = slab.key(id);
        if let Some(&first) = self.ids().first() {
            let shared = common(key, slab.key(first));
            if shared < self.skip as usize {
                self.set_skip(shared, slab);
            }
        } else {
            self.skip = key.len() as u32;
        }
        self.ids.copy_within(at..len, at + 1);
        self.heads.copy_within(at..len, at + 1);
        self.ids[at] = id;
        self.heads[at] = head(key, self.skip as usize);
        let upper = if at == 63 {
            0
        } else {
            self.live >> at << (at + 1)
        };
        self.live = self.live & below(at) | u64::from(live) << at | upper;
        self.len += 1;
    }

    /// Takes out the id at place `at`.
    pub(crate) fn remove(&mut self, at: usize) {
        let len = self.len();
        self.ids.copy_within(at + 1..len, at);
        self.heads.copy_within(at + 1..len, at);
        let upper = if at == 63 {
            0
        } else {
            self.live >> (at + 1) << at
        };
        self.live = self.live & below(at) | upper;
        self.len -= 1;
    }

    /// Keeps the first `at` ids and gives the rest as a leaf of its own.
    pub(crate) fn split_off(&mut self, at: usize, slab: &Slab) -> Box<Leaf> {
        let right = Leaf::new(&self.ids()[at..], slab);
        self.len = at as u32;
        self.live &= below(at);
        self.refresh(slab);
        right
    }

    /// Takes over all ids of `right`, whose keys follow. Both fit into one.
    pub(crate) fn append(&mut self, right: &Leaf, slab: &Slab) {
        let len = self.len();
        self.ids[len..len + right.len()].copy_from_slice(right.ids());
        if len < 64 {
            self.live |= right.live << len;
        }
        self.len += right.len;
        self.refresh(slab);
    }
}
