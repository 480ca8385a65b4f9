//! Where entries live: blocks that never move, addressed by 32-bit ids, so
//! that growing never copies what is there and an id costs four bytes.

use super::entry::Entry;

/// Names an entry.
pub(crate) type Id = u32;

const BLOCK_BITS: u32 = 10;
const BLOCK: usize = 1 << BLOCK_BITS;

#[derive(Default)]
pub(crate) struct Slab {
    blocks: Vec<Vec<Entry>>,
    free: Vec<Id>,
}

impl Slab {
    /// Takes an entry in.
    ///
    /// # Panics
    /// Beyond 2^32 keys, whose bytes alone would fill any machine.
    pub(crate) fn insert(&mut self, entry: Entry) -> Id {
        if let Some(id) = self.free.pop() {
            *self.get_mut(id) = entry;
            return id;
        }
        if self.blocks.last().is_none_or(|b| b.len() == BLOCK) {
            self.blocks.push(Vec::with_capacity(BLOCK));
        }
        let block = self.blocks.len() - 1;
        self.blocks[block].push(entry);
        let id = (block << BLOCK_BITS) + self.blocks[block].len() - 1;
        Id::try_from(id).expect("the index holds at most 2^32 keys")
    }

    /// Forgets an entry; its id may name another one from here on.
    pub(crate) fn remove(&mut self, id: Id) {
        *self.get_mut(id) = Entry::default();
        self.free.push(id);
    }

    #[inline]
    pub(crate) fn get(&self, id: Id) -> &Entry {
        &self.blocks[(id >> BLOCK_BITS) as usize][id as usize & (BLOCK - 1)]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: Id) -> &mut Entry {
        &mut self.blocks[(id >> BLOCK_BITS) as usize][id as usize & (BLOCK - 1)]
    }

    #[inline]
    pub(crate) fn key(&self, id: Id) -> &[u8] {
        self.get(id).key()
    }

    pub(crate) fn len(&self) -> usize {
        self.blocks.last().map_or(0, |last| {
            (self.blocks.len() - 1) * BLOCK + last.len() - self.free.len()
        })
    }
}
