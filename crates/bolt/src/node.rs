//! Pages that a transaction has taken into memory to change, and how they become pages again. Entries refer to bytes in
//! the file's map or in the transaction's arena; nothing is copied until the page is written out.

use std::ops::{Index, IndexMut, Range};
use std::sync::Arc;

use crate::arena::Arena;
use crate::entry::{Child, Entry, Located, NodeId, Place, Value};
use crate::error::Error;
use crate::id::{PageId, PageRun};
use crate::page::{ELEM, FLAG_BRANCH, FLAG_LEAF, Kind, PAGE_HEADER, Pages};

/// What a transaction works on: the committed pages, its own bytes, and the page runs it no longer needs.
pub(crate) struct Core {
    pub(crate) pages: Arc<Pages>,
    pub(crate) arena: Arena,
    /// Runs that the transaction replaced or dropped.
    pub(crate) freed: Vec<PageRun>,
}

impl Core {
    /// The bytes at a place that an [`Entry`] of this transaction names.
    #[inline]
    fn bytes(&self, place: Place, len: usize) -> &[u8] {
        match place.locate() {
            Located::Arena { chunk, at } => self.arena.get(chunk, at, len),
            Located::File(offset) => self
                .pages
                .map
                .slice(offset, len)
                .expect("entries into the file are checked when their page is loaded"),
        }
    }

    #[inline]
    pub(crate) fn value(&self, value: Value) -> &[u8] {
        self.bytes(value.place, value.len as usize)
    }

    /// The key of `len` bytes at `place`.
    #[inline]
    pub(crate) fn key_at(&self, place: Place, len: u16) -> &[u8] {
        self.bytes(place, usize::from(len))
    }

    #[inline]
    pub(crate) fn key(&self, e: &Entry) -> &[u8] {
        self.key_at(e.key, e.key_len)
    }
}

/// The nodes of one tree.
#[derive(Debug, Default)]
pub(crate) struct Nodes(Vec<Node>);

impl Nodes {
    /// Adds a node and returns its number.
    pub(crate) fn push(&mut self, node: Node) -> NodeId {
        self.0.push(node);
        NodeId(self.0.len() - 1)
    }
}

impl Index<NodeId> for Nodes {
    type Output = Node;

    #[inline]
    fn index(&self, id: NodeId) -> &Node {
        &self.0[id.0]
    }
}

impl IndexMut<NodeId> for Nodes {
    #[inline]
    fn index_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.0[id.0]
    }
}

/// A page in memory. A branch's entry keys may be lower than the first key below them, never higher, until the
/// transaction settles and sets them again.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) entries: Vec<Entry>,
    /// Lost entries since it was loaded, so it may be too small for a page of its own.
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

    /// Takes the page `id` into memory, and says which pages that were.
    pub(crate) fn load(pages: &Pages, id: PageId) -> Result<(Node, PageRun), Error> {
        let page = pages.page(id)?;
        let node = Node::of_view(&page)?;
        Ok((node, page.run()))
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
                    let key_len = u16::try_from(e.key.len()).map_err(|_| long(i, e.key.len()))?;
                    let value = Value::in_file(e.value_at, e.value.len());
                    Entry::leaf(Place::in_file(e.key_at), key_len, e.flags as u16, value)
                }
                Kind::Branch => {
                    let (key, key_at, child) = page.branch(i)?;
                    if !Child::fits(child) {
                        return Err(Error::Corrupt {
                            page: page.id,
                            offset: page.element_offset(i),
                            what: format!("element {i} points to page {child}, which cannot exist"),
                        });
                    }
                    let key_len = u16::try_from(key.len()).map_err(|_| long(i, key.len()))?;
                    Entry::branch(Place::in_file(key_at), key_len, Child::Page(child))
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

    /// Where `key` is, as [`crate::page::PageView::search`] returns it.
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
        ELEM + usize::from(e.key_len) + e.value_len() as usize
    }

    /// Bytes of the node as a page.
    pub(crate) fn size(&self) -> usize {
        self.size_of(0..self.entries.len())
    }

    /// Bytes of a page with some of the entries.
    pub(crate) fn size_of(&self, range: Range<usize>) -> usize {
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
    pub(crate) fn cut(&self, page_size: usize, fill: f64) -> Vec<Range<usize>> {
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
        range: Range<usize>,
        id: PageId,
        overflow: u32,
        out: &mut Vec<u8>,
    ) {
        let entries = &self.entries[range];
        let flags = if self.kind == Kind::Leaf {
            FLAG_LEAF
        } else {
            FLAG_BRANCH
        };
        out.extend_from_slice(&id.get().to_le_bytes());
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
                    elem[12..16].copy_from_slice(&e.value_len().to_le_bytes());
                    pos += e.value_len() as usize;
                }
                Kind::Branch => {
                    elem[0..4].copy_from_slice(&(pos as u32).to_le_bytes());
                    elem[4..8].copy_from_slice(&u32::from(e.key_len).to_le_bytes());
                    let Child::Page(child) = e.child() else {
                        unreachable!("nodes are written after all that is below them");
                    };
                    elem[8..16].copy_from_slice(&child.get().to_le_bytes());
                }
            }
            pos = pos + usize::from(e.key_len) - ELEM;
            out.extend_from_slice(&elem);
        }
        for e in entries {
            out.extend_from_slice(core.key(e));
            if self.kind == Kind::Leaf {
                out.extend_from_slice(core.value(e.value()));
            }
        }
    }
}
