//! Pages that a transaction has taken into memory to change, and how they become pages again. Entries refer to bytes in
//! the file's map or in the transaction's arena; nothing is copied until the page is written out.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::Error;
use crate::page::{ELEM, FLAG_BRANCH, FLAG_LEAF, Kind, PAGE_HEADER, Pages};

/// Marks a place as lying in the arena; the bits below are chunk number (31) and offset (32).
const IN_ARENA: u64 = 1 << 63;
/// Marks the child of a branch entry as a node in memory.
pub(crate) const IN_MEMORY: u64 = 1 << 63;
const CHUNK: usize = 256 << 10;
/// Values from here on are kept as the caller's shared bytes where there are such: counting a reference costs about as
/// much as copying this many bytes.
const SHARE_FROM: usize = 1 << 10;

enum Chunk {
    Own(Vec<u8>),
    Shared(Bytes),
}

/// Keys and values of one transaction.
#[derive(Default)]
pub(crate) struct Arena {
    chunks: Vec<Chunk>,
    /// The chunk that small pieces are appended to.
    open: usize,
}

impl Arena {
    /// Keeps a copy of `data` and says where.
    #[inline]
    pub(crate) fn push(&mut self, data: &[u8]) -> u64 {
        if let Some(Chunk::Own(chunk)) = self.chunks.get_mut(self.open)
            && chunk.capacity() - chunk.len() >= data.len()
        {
            let at = chunk.len();
            chunk.extend_from_slice(data);
            return IN_ARENA | (self.open as u64) << 32 | at as u64;
        }
        let index = self.chunks.len();
        let mut chunk = Vec::with_capacity(if data.len() > CHUNK / 4 {
            data.len()
        } else {
            CHUNK
        });
        chunk.extend_from_slice(data);
        if chunk.capacity() > chunk.len() {
            self.open = index;
        }
        self.chunks.push(Chunk::Own(chunk));
        IN_ARENA | (index as u64) << 32
    }

    /// Like [`Arena::push`], sharing large data instead of copying it.
    #[inline]
    pub(crate) fn push_shared(&mut self, data: &Bytes) -> u64 {
        if data.len() < SHARE_FROM {
            return self.push(data);
        }
        self.chunks.push(Chunk::Shared(data.clone()));
        IN_ARENA | ((self.chunks.len() - 1) as u64) << 32
    }

    #[inline]
    fn get(&self, place: u64, len: usize) -> &[u8] {
        let at = (place & 0xffff_ffff) as usize;
        match &self.chunks[((place & !IN_ARENA) >> 32) as usize] {
            Chunk::Own(chunk) => &chunk[at..at + len],
            Chunk::Shared(bytes) => &bytes[at..at + len],
        }
    }
}

/// What a transaction works on: the committed pages, its own bytes, and the page runs it no longer needs.
pub(crate) struct Core {
    pub(crate) pages: Arc<Pages>,
    pub(crate) arena: Arena,
    /// (first page, pages) of runs that the transaction replaced or dropped.
    pub(crate) freed: Vec<(u64, u64)>,
}

impl Core {
    /// The bytes at a place that an [`Entry`] of this transaction names.
    #[inline]
    pub(crate) fn bytes(&self, place: u64, len: usize) -> &[u8] {
        if place & IN_ARENA != 0 {
            self.arena.get(place, len)
        } else {
            self.pages
                .map
                .slice(place, len)
                .expect("entries into the file are checked when their page is loaded")
        }
    }

    #[inline]
    pub(crate) fn key(&self, e: &Entry) -> &[u8] {
        self.bytes(e.key, usize::from(e.key_len))
    }
}

/// One key of a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    /// Place of the key.
    pub(crate) key: u64,
    /// Leaf: place of the value. Branch: the child, a page id or [`IN_MEMORY`] with a node number.
    pub(crate) value: u64,
    pub(crate) value_len: u32,
    pub(crate) key_len: u16,
    /// Leaf flags.
    pub(crate) flags: u16,
}

/// A page in memory. A branch's entry keys may be lower than the first key below them, never higher, until the
/// transaction settles and sets them anew.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) entries: Vec<Entry>,
    /// Lost entries since it was loaded, so it may be too small to stand alone.
    pub(crate) shrunk: bool,
    /// Gained entries at its end only, so that its pages can be filled well.
    pub(crate) appended: bool,
}

impl Node {
    pub(crate) fn new(kind: Kind) -> Node {
        Node {
            kind,
            entries: Vec::new(),
            shrunk: false,
            appended: true,
        }
    }

    /// Takes the page `id` into memory.
    pub(crate) fn load(pages: &Pages, id: u64) -> Result<(Node, u64), Error> {
        let page = pages.page(id)?;
        let node = Node::of_view(&page)?;
        Ok((node, 1 + u64::from(page.overflow)))
    }

    /// Takes a page image into memory.
    pub(crate) fn of_view(page: &crate::page::PageView<'_>) -> Result<Node, Error> {
        let mut entries = Vec::with_capacity(page.count + 8);
        let long = |i: usize, len: usize| Error::Corrupt {
            page: page.id,
            offset: page.element_offset(i),
            what: format!("element {i} has a key of {len} bytes; at most 32768 are possible"),
        };
        for i in 0..page.count {
            let entry = match page.kind {
                Kind::Leaf => {
                    let e = page.leaf(i)?;
                    Entry {
                        key: e.key_at,
                        value: e.value_at,
                        value_len: e.value.len() as u32,
                        key_len: u16::try_from(e.key.len()).map_err(|_| long(i, e.key.len()))?,
                        flags: e.flags as u16,
                    }
                }
                Kind::Branch => {
                    let (key, key_at, child) = page.branch(i)?;
                    if child & IN_MEMORY != 0 {
                        return Err(Error::Corrupt {
                            page: page.id,
                            offset: page.element_offset(i),
                            what: format!("element {i} points to page {child}, which cannot exist"),
                        });
                    }
                    Entry {
                        key: key_at,
                        value: child,
                        value_len: 0,
                        key_len: u16::try_from(key.len()).map_err(|_| long(i, key.len()))?,
                        flags: 0,
                    }
                }
            };
            entries.push(entry);
        }
        let node = Node {
            kind: page.kind,
            entries,
            shrunk: false,
            appended: true,
        };
        // Elements that share bytes would multiply when they are written out.
        if node.size() > page.len() {
            return Err(Error::Corrupt {
                page: page.id,
                offset: page.offset(),
                what: "its elements overlap".to_owned(),
            });
        }
        Ok(node)
    }

    /// Where `key` stands, as [`crate::page::PageView::search`] says it.
    #[inline]
    pub(crate) fn search(&self, core: &Core, key: &[u8]) -> Result<usize, usize> {
        self.entries.binary_search_by(|e| core.key(e).cmp(key))
    }

    /// The entry of a branch whose subtree may hold `key`.
    #[inline]
    pub(crate) fn route(&self, core: &Core, key: &[u8]) -> usize {
        match self.search(core, key) {
            Ok(i) => i,
            Err(i) => i.saturating_sub(1),
        }
    }

    /// Bytes of entry `e` in a page, element and data.
    #[inline]
    fn entry_size(&self, e: &Entry) -> usize {
        let value = if self.kind == Kind::Leaf {
            e.value_len as usize
        } else {
            0
        };
        ELEM + usize::from(e.key_len) + value
    }

    /// Bytes of the node as a page.
    pub(crate) fn size(&self) -> usize {
        self.size_of(0..self.entries.len())
    }

    /// Bytes of a page with some of the entries.
    pub(crate) fn size_of(&self, range: std::ops::Range<usize>) -> usize {
        PAGE_HEADER
            + self.entries[range]
                .iter()
                .map(|e| self.entry_size(e))
                .sum::<usize>()
    }

    /// Cuts the node into runs of entries that each become a page (or a page with overflow pages). A node that fits a
    /// page stays whole; else pages are filled to `fill`. A branch page has two entries at least; a leaf page has one
    /// only where that fills three quarters of its pages, so that values a little above a page do not waste half of
    /// their space.
    pub(crate) fn cut(&self, page_size: usize, fill: f64) -> Vec<std::ops::Range<usize>> {
        let n = self.entries.len();
        let limit = (page_size as f64 * fill.clamp(0.1, 1.0)) as usize;
        let mut pieces = Vec::new();
        let mut start = 0;
        let mut left = self.size() - PAGE_HEADER;
        let mut current = 0;
        for (i, e) in self.entries.iter().enumerate() {
            if PAGE_HEADER + left <= page_size {
                break;
            }
            let size = self.entry_size(e);
            let whole = PAGE_HEADER + current;
            let may_end = match self.kind {
                Kind::Branch => i - start >= 2 && n - i >= 2,
                Kind::Leaf => {
                    i - start >= 2
                        || (i > start && whole * 4 >= whole.div_ceil(page_size) * page_size * 3)
                }
            };
            // The element count is 16 bits wide, with the largest values reserved.
            if may_end && (whole + size > limit || i - start >= 0xfff0) {
                pieces.push(start..i);
                left -= current;
                start = i;
                current = 0;
            }
            current += size;
        }
        pieces.push(start..n);
        pieces
    }

    /// Appends the page image of some of the entries to `out`, without padding: header with `id` and `overflow`,
    /// elements, data. Branch entries must all point to pages.
    pub(crate) fn encode(
        &self,
        core: &Core,
        range: std::ops::Range<usize>,
        id: u64,
        overflow: u32,
        out: &mut Vec<u8>,
    ) {
        let entries = &self.entries[range];
        let flags = if self.kind == Kind::Leaf {
            FLAG_LEAF
        } else {
            FLAG_BRANCH
        };
        out.extend_from_slice(&id.to_le_bytes());
        out.extend_from_slice(&flags.to_le_bytes());
        out.extend_from_slice(&(entries.len() as u16).to_le_bytes());
        out.extend_from_slice(&overflow.to_le_bytes());
        let mut pos = entries.len() * ELEM;
        for e in entries {
            let mut elem = [0u8; ELEM];
            match self.kind {
                Kind::Leaf => {
                    elem[0..4].copy_from_slice(&u32::from(e.flags).to_le_bytes());
                    elem[4..8].copy_from_slice(&(pos as u32).to_le_bytes());
                    elem[8..12].copy_from_slice(&u32::from(e.key_len).to_le_bytes());
                    elem[12..16].copy_from_slice(&e.value_len.to_le_bytes());
                    pos += e.value_len as usize;
                }
                Kind::Branch => {
                    elem[0..4].copy_from_slice(&(pos as u32).to_le_bytes());
                    elem[4..8].copy_from_slice(&u32::from(e.key_len).to_le_bytes());
                    elem[8..16].copy_from_slice(&e.value.to_le_bytes());
                }
            }
            pos = pos + usize::from(e.key_len) - ELEM;
            out.extend_from_slice(&elem);
        }
        for e in entries {
            out.extend_from_slice(core.key(e));
            if self.kind == Kind::Leaf {
                out.extend_from_slice(core.bytes(e.value, e.value_len as usize));
            }
        }
    }
}
