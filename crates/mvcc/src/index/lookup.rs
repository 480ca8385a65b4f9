//! From a key to its entry in one step: a hash table of ids. It is cut into
//! shards so that growing moves a small part of the keys at a time and no
//! write waits for the whole. The hash is seeded, since clients choose keys.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use rustc_hash::FxSeededState;

use super::slab::{Id, Slab};

const SHARD_BITS: u32 = 8;

pub(crate) struct Lookup {
    shards: Vec<HashTable<Id>>,
    seed: FxSeededState,
}

impl Default for Lookup {
    fn default() -> Lookup {
        Lookup {
            shards: (0..1 << SHARD_BITS).map(|_| HashTable::new()).collect(),
            seed: FxSeededState::with_seed(RandomState::new().hash_one(0) as usize),
        }
    }
}

impl Lookup {
    /// The hash of `key`, to be passed to the other calls.
    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        self.seed.hash_one(key)
    }

    /// The table itself uses the uppermost bits and those below; the shard is
    /// taken from the middle so that both stay independent.
    #[inline]
    fn shard(hash: u64) -> usize {
        (hash >> 40) as usize & ((1 << SHARD_BITS) - 1)
    }

    #[inline]
    pub(crate) fn find(&self, hash: u64, key: &[u8], slab: &Slab) -> Option<Id> {
        self.shards[Lookup::shard(hash)]
            .find(hash, |&id| slab.key(id) == key)
            .copied()
    }

    /// Makes room for so many keys in all, so that adding them moves none.
    pub(crate) fn reserve(&mut self, keys: usize, slab: &Slab) {
        let seed = &self.seed;
        // Shards fill unevenly.
        let each = keys / self.shards.len() * 9 / 8;
        for shard in &mut self.shards {
            shard.reserve(each, |&id| seed.hash_one(slab.key(id)));
        }
    }

    /// Returns room that turned out not to be needed.
    pub(crate) fn shrink(&mut self, slab: &Slab) {
        let seed = &self.seed;
        for shard in &mut self.shards {
            if shard.capacity() > 3 * shard.len() {
                shard.shrink_to_fit(|&id| seed.hash_one(slab.key(id)));
            }
        }
    }

    /// Adds an id whose key is not there yet.
    pub(crate) fn insert(&mut self, hash: u64, id: Id, slab: &Slab) {
        let seed = &self.seed;
        self.shards[Lookup::shard(hash)].insert_unique(hash, id, |&id| seed.hash_one(slab.key(id)));
    }

    pub(crate) fn remove(&mut self, hash: u64, id: Id) {
        if let Ok(found) = self.shards[Lookup::shard(hash)].find_entry(hash, |&other| other == id) {
            found.remove();
        }
    }
}
