//! Hashes that compactions made in passing.

/// Hashes of past compactions that are kept. etcd's figure.
const CACHED: usize = 10;

/// A hash of the keys up to a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKv {
    /// CRC-32C.
    pub hash: u32,
    /// Everything up to here is included.
    pub revision: i64,
    /// What was compacted when the hash was made; hashes with different ones
    /// must not be compared. -1 if nothing was.
    pub compact_revision: i64,
    /// The revision of the store.
    pub current_revision: i64,
}

/// Hashes made by the newest compactions, by revision.
#[derive(Default)]
pub(super) struct Cache {
    hashes: Vec<HashKv>,
}

impl Cache {
    pub(super) fn insert(&mut self, hash: HashKv) {
        let at = self.hashes.partition_point(|h| h.revision < hash.revision);
        self.hashes.insert(at, hash);
        if self.hashes.len() > CACHED {
            self.hashes.remove(0);
        }
    }

    pub(super) fn newest_first(&self) -> Vec<HashKv> {
        self.hashes.iter().rev().copied().collect()
    }

    pub(super) fn get(&self, revision: i64) -> Option<HashKv> {
        self.hashes.iter().find(|h| h.revision == revision).copied()
    }
}
