//! The entries of a page that a transaction has in memory: the bytes that they refer to, and the page or node that a
//! branch leads to. An entry is 24 bytes, since a transaction has thousands of them, so either reference is one word of
//! which the top bit says what it is. That bit is set and read in this file only; the rest of the crate sees enums.

use crate::id::PageId;
use crate::page::ELEM_BUCKET;

/// Set in a packed [`Place`] of the arena, and in a packed [`Child`] in memory.
const TAG: u64 = 1 << 63;

/// Where the bytes of a key or of a value are: in the file's map, or in the transaction's arena.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place(u64);

/// A [`Place`], unpacked.
pub(crate) enum Located {
    /// At this offset of the file.
    File(u64),
    /// In this chunk of the arena, from this byte.
    Arena { chunk: usize, at: usize },
}

impl Place {
    /// Where a page without entries says that its first key is. No one reads it.
    pub(crate) const NOWHERE: Place = Place(0);

    /// At an offset of the file that is below its end, and so far below 2^63.
    #[inline]
    pub(crate) fn in_file(offset: u64) -> Place {
        debug_assert_eq!(offset & TAG, 0);
        Place(offset)
    }

    /// In the arena: 31 bits for the chunk, 32 for the byte.
    #[inline]
    pub(crate) fn in_arena(chunk: usize, at: usize) -> Place {
        debug_assert!(chunk < 1 << 31 && at < 1 << 32);
        Place(TAG | (chunk as u64) << 32 | at as u64)
    }

    #[inline]
    pub(crate) fn locate(self) -> Located {
        if self.0 & TAG == 0 {
            return Located::File(self.0);
        }
        Located::Arena {
            chunk: ((self.0 & !TAG) >> 32) as usize,
            at: (self.0 & 0xffff_ffff) as usize,
        }
    }

    /// The offset in the file for an error; 0 for bytes that are not in the file.
    pub(crate) fn offset(self) -> u64 {
        match self.locate() {
            Located::File(offset) => offset,
            Located::Arena { .. } => 0,
        }
    }
}

/// The number of a node among those of its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeId(pub(crate) usize);

/// What a branch entry, or a bucket as its root, leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Child {
    /// A page of the file, unchanged.
    Page(PageId),
    /// A node in memory.
    Node(NodeId),
}

impl Child {
    /// The node, if it is one.
    #[inline]
    pub(crate) fn node(self) -> Option<NodeId> {
        match self {
            Child::Node(node) => Some(node),
            Child::Page(_) => None,
        }
    }

    /// The page that an error names: the page itself, or none for a node.
    pub(crate) fn page_or_zero(self) -> PageId {
        match self {
            Child::Page(page) => page,
            Child::Node(_) => PageId::ZERO,
        }
    }

    /// Whether a page id found in a file fits an entry. One that does not lies past the end of every file.
    pub(crate) fn fits(page: PageId) -> bool {
        page.get() & TAG == 0
    }

    #[inline]
    fn pack(self) -> u64 {
        match self {
            Child::Page(page) => {
                debug_assert!(Child::fits(page));
                page.get()
            }
            Child::Node(node) => TAG | node.0 as u64,
        }
    }

    #[inline]
    fn unpack(word: u64) -> Child {
        if word & TAG == 0 {
            Child::Page(PageId::new(word))
        } else {
            Child::Node(NodeId((word & !TAG) as usize))
        }
    }
}

/// One key of a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) key: Place,
    /// The value's [`Place`] in a leaf, the packed [`Child`] in a branch.
    word: u64,
    /// Bytes of the value, 0 in a branch.
    value_len: u32,
    pub(crate) key_len: u16,
    /// Flags of a leaf element.
    pub(crate) flags: u16,
}

impl Entry {
    /// An entry of a leaf.
    #[inline]
    pub(crate) fn leaf(key: Place, key_len: u16, flags: u16, value: Value) -> Entry {
        Entry {
            key,
            word: value.place.0,
            value_len: value.len,
            key_len,
            flags,
        }
    }

    /// An entry of a branch.
    #[inline]
    pub(crate) fn branch(key: Place, key_len: u16, child: Child) -> Entry {
        Entry {
            key,
            word: child.pack(),
            value_len: 0,
            key_len,
            flags: 0,
        }
    }

    /// Whether the value is a bucket.
    #[inline]
    pub(crate) fn is_bucket(&self) -> bool {
        u32::from(self.flags) & ELEM_BUCKET != 0
    }

    /// The value of a leaf's entry.
    #[inline]
    pub(crate) fn value(&self) -> Value {
        Value {
            place: Place(self.word),
            len: self.value_len,
        }
    }

    #[inline]
    pub(crate) fn set_value(&mut self, value: Value) {
        self.word = value.place.0;
        self.value_len = value.len;
    }

    /// Bytes of the value; 0 in a branch.
    #[inline]
    pub(crate) fn value_len(&self) -> u32 {
        self.value_len
    }

    /// What a branch's entry leads to.
    #[inline]
    pub(crate) fn child(&self) -> Child {
        Child::unpack(self.word)
    }

    #[inline]
    pub(crate) fn set_child(&mut self, child: Child) {
        self.word = child.pack();
    }
}

/// The bytes of a value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value {
    pub(crate) place: Place,
    pub(crate) len: u32,
}

impl Value {
    /// A value of `len` bytes in the file. A page's elements have 32 bits for the length.
    #[inline]
    pub(crate) fn in_file(offset: u64, len: usize) -> Value {
        Value {
            place: Place::in_file(offset),
            len: len as u32,
        }
    }
}
