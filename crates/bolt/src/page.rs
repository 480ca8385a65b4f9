//! Pages as they are in the file, read-only: headers, branch and leaf elements, inline buckets.
//! Every offset is checked against the page's own bytes, so that a damaged page is an [`Error::Corrupt`] that names the
//! page and the offset, never a panic or a read outside the page.
//!
//! Pages have no checksum, so a wrong element count would go unnoticed: keys would vanish although no element points
//! outside its page. The position of the data reveals it: bbolt and this crate write them directly after the element
//! table, in order and without gaps. Every access to a page compares the first element's position with the count (both
//! are in the cache line of the header); [`PageView::check_layout`] compares all of them and is for walks over the whole
//! file.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::disk::Map;
use crate::error::Error;
use crate::id::{PageId, PageRun};

pub(crate) const FLAG_BRANCH: u16 = 0x01;
pub(crate) const FLAG_LEAF: u16 = 0x02;
pub(crate) const FLAG_META: u16 = 0x04;
pub(crate) const FLAG_FREELIST: u16 = 0x10;
/// A leaf element whose value is a bucket.
pub(crate) const ELEM_BUCKET: u32 = 0x01;
/// Bytes of a page header.
pub(crate) const PAGE_HEADER: usize = 16;
/// Bytes of an element, branch and leaf alike.
pub(crate) const ELEM: usize = 16;
/// Bytes of a bucket header: root page id, sequence.
pub(crate) const BUCKET_HEADER: usize = 16;
/// A tree deeper than this is assumed to contain a cycle. A tree of the smallest pages and the largest keys with 2^32 leaves has
/// 32 levels; real ones have 3 to 5.
pub(crate) const MAX_DEPTH: usize = 40;
/// Keys and bucket names are at most this long, in bytes. bbolt's own limit.
pub const MAX_KEY_SIZE: usize = 32768;
/// Values are at most this long, in bytes. bbolt's own limit.
pub const MAX_VALUE_SIZE: usize = (1 << 31) - 2;

#[inline]
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

#[inline]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

#[inline]
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// The pages of one committed state.
pub(crate) struct Pages {
    pub(crate) map: Arc<Map>,
    pub(crate) page_size: u32,
    /// First page id that was never allocated.
    pub(crate) hwm: PageId,
}

/// Branch or leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Branch,
    Leaf,
}

/// One branch or leaf page with its overflow pages, header and element array checked to be inside.
#[derive(Clone, Copy)]
pub(crate) struct PageView<'a> {
    buf: &'a [u8],
    /// Offset of `buf` in the file.
    at: u64,
    /// Page id; for an inline bucket that of the page it is on.
    pub(crate) id: PageId,
    pub(crate) kind: Kind,
    pub(crate) count: usize,
    pub(crate) overflow: u32,
}

/// A leaf element.
#[derive(Clone, Copy)]
pub(crate) struct LeafElem<'a> {
    pub(crate) flags: u32,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    /// Offset of the value in the file.
    pub(crate) value_at: u64,
    /// Offset of the key in the file.
    pub(crate) key_at: u64,
}

impl<'a> LeafElem<'a> {
    #[inline]
    pub(crate) fn is_bucket(&self) -> bool {
        self.flags & ELEM_BUCKET != 0
    }
}

impl Pages {
    #[inline]
    pub(crate) fn offset_of(&self, id: PageId) -> u64 {
        id.get().wrapping_mul(u64::from(self.page_size))
    }

    pub(crate) fn corrupt(&self, id: PageId, what: impl Into<String>) -> Error {
        Error::Corrupt {
            page: id,
            offset: self.offset_of(id),
            what: what.into(),
        }
    }

    /// The bytes of `count` pages from `id` on.
    #[inline]
    pub(crate) fn raw(&self, id: PageId, count: u64) -> Result<&[u8], Error> {
        let end = id
            .get()
            .checked_add(count)
            .filter(|end| *end <= self.hwm.get());
        if end.is_none() {
            return Err(self.corrupt(
                id,
                format!(
                    "{count} pages from here reach past the high-water mark {}",
                    self.hwm
                ),
            ));
        }
        let len = (count as usize).checked_mul(self.page_size as usize);
        len.and_then(|len| self.map.slice(self.offset_of(id), len))
            .ok_or_else(|| self.corrupt(id, "is past the end of the file"))
    }

    /// The header of page `id` and the bytes of its whole run: (flags, count, overflow, bytes).
    #[inline]
    pub(crate) fn run(&self, id: PageId) -> Result<(u16, usize, u32, &[u8]), Error> {
        if id < PageId::FIRST_DATA {
            return Err(self.corrupt(id, "a meta page is referred to as data"));
        }
        let head = self.raw(id, 1)?;
        let own = u64_at(head, 0);
        if own != id.get() {
            return Err(self.corrupt(id, format!("its header says it is page {own}")));
        }
        let overflow = u32_at(head, 12);
        let buf = if overflow == 0 {
            head
        } else {
            self.raw(id, 1 + u64::from(overflow))?
        };
        Ok((
            u16_at(head, 8),
            usize::from(u16_at(head, 10)),
            overflow,
            buf,
        ))
    }

    /// The branch or leaf page `id`.
    #[inline]
    pub(crate) fn page(&self, id: PageId) -> Result<PageView<'_>, Error> {
        let (flags, count, overflow, buf) = self.run(id)?;
        let kind = match flags {
            FLAG_BRANCH => Kind::Branch,
            FLAG_LEAF => Kind::Leaf,
            other => {
                return Err(self.corrupt(
                    id,
                    format!("page type is {other:#04x}, neither branch nor leaf"),
                ));
            }
        };
        if PAGE_HEADER + count * ELEM > buf.len() {
            return Err(self.corrupt(
                id,
                format!("{count} elements do not fit in {} bytes", buf.len()),
            ));
        }
        if kind == Kind::Branch && count == 0 {
            return Err(self.corrupt(id, "a branch page has no elements"));
        }
        if !count_agrees(buf, kind, count) {
            return Err(self.corrupt(id, wrong_count(count)));
        }
        Ok(PageView {
            buf,
            at: self.offset_of(id),
            id,
            kind,
            count,
            overflow,
        })
    }
}

/// Whether the data of the first element start where `count` elements end. A page without elements has zeros there; no
/// element's data can start at its own first byte, so a count that was damaged to 0 differs from a true one.
#[inline]
fn count_agrees(buf: &[u8], kind: Kind, count: usize) -> bool {
    let position = match kind {
        Kind::Leaf => PAGE_HEADER + 4,
        Kind::Branch => PAGE_HEADER,
    };
    match buf.get(position..position + 4) {
        Some(bytes) => u32_at(bytes, 0) as usize == count * ELEM,
        // An inline bucket without elements is a header and nothing else.
        None => count == 0,
    }
}

#[cold]
fn wrong_count(count: usize) -> String {
    format!(
        "its header counts {count} elements, but the data of the first do not start after so many; the page is damaged"
    )
}

/// The page image of an inline bucket: `value` is the whole bucket value, at `value_at` in the file on page `id`.
pub(crate) fn inline_page<'a>(
    value: &'a [u8],
    value_at: u64,
    id: PageId,
) -> Result<PageView<'a>, Error> {
    let bad = |what: String| Error::Corrupt {
        page: id,
        offset: value_at,
        what: format!("inline bucket: {what}"),
    };
    if value.len() < BUCKET_HEADER + PAGE_HEADER {
        return Err(bad(format!("{} bytes are too few", value.len())));
    }
    let buf = &value[BUCKET_HEADER..];
    let flags = u16_at(buf, 8);
    if flags != FLAG_LEAF {
        return Err(bad(format!("page type is {flags:#04x}, not leaf")));
    }
    let count = usize::from(u16_at(buf, 10));
    if PAGE_HEADER + count * ELEM > buf.len() {
        return Err(bad(format!(
            "{count} elements do not fit in {} bytes",
            buf.len()
        )));
    }
    if !count_agrees(buf, Kind::Leaf, count) {
        return Err(bad(wrong_count(count)));
    }
    let at = value_at + BUCKET_HEADER as u64;
    Ok(PageView {
        buf,
        at,
        id,
        kind: Kind::Leaf,
        count,
        overflow: 0,
    })
}

/// Root page, none for an inline bucket, and sequence of a bucket value.
pub(crate) fn bucket_header(
    value: &[u8],
    value_at: u64,
    id: PageId,
) -> Result<(Option<PageId>, u64), Error> {
    if value.len() < BUCKET_HEADER {
        return Err(Error::Corrupt {
            page: id,
            offset: value_at,
            what: format!(
                "a bucket value has {} bytes, at least 16 are needed",
                value.len()
            ),
        });
    }
    let root = Some(PageId::new(u64_at(value, 0))).filter(|root| *root != PageId::ZERO);
    Ok((root, u64_at(value, 8)))
}

impl<'a> PageView<'a> {
    #[cold]
    fn bad_element(&self, i: usize) -> Error {
        Error::Corrupt {
            page: self.id,
            offset: self.at + (PAGE_HEADER + i * ELEM) as u64,
            what: format!("element {i} of {} points outside its page", self.count),
        }
    }

    /// Whether the page is laid out as bbolt writes it: flags known, data after the element table in order and without
    /// gaps, and no page of the run left unused. `spare` is how many bytes may follow the data: a page's size for a page
    /// (versions of bbolt differ in whether data that end with a page get another one), 0 for an inline bucket. Reads the
    /// element table, not the data.
    pub(crate) fn check_layout(&self, spare: usize) -> Result<(), Error> {
        let mut end = PAGE_HEADER + self.count * ELEM;
        let table = self.buf[PAGE_HEADER..end].chunks_exact(ELEM);
        for (i, elem) in table.enumerate() {
            let (flags, pos, len) = match self.kind {
                Kind::Leaf => (
                    u32_at(elem, 0),
                    u32_at(elem, 4),
                    u32_at(elem, 8) as usize + u32_at(elem, 12) as usize,
                ),
                Kind::Branch => (0, u32_at(elem, 0), u32_at(elem, 4) as usize),
            };
            let start = end;
            end += len;
            if PAGE_HEADER + i * ELEM + pos as usize != start
                || flags & !ELEM_BUCKET != 0
                || end > self.buf.len()
            {
                return Err(self.bad_layout(i));
            }
        }
        if self.buf.len() - end > spare {
            return Err(Error::Corrupt {
                page: self.id,
                offset: self.at,
                what: format!(
                    "its {} elements end after {end} bytes of {}; the page is damaged",
                    self.count,
                    self.buf.len()
                ),
            });
        }
        Ok(())
    }

    #[cold]
    fn bad_layout(&self, i: usize) -> Error {
        Error::Corrupt {
            page: self.id,
            offset: self.element_offset(i),
            what: format!(
                "element {i} of {} has unknown flags, does not start where the one before ends, or ends outside its page; the page is damaged",
                self.count
            ),
        }
    }

    /// The page with its overflow pages.
    #[inline]
    pub(crate) fn run(&self) -> PageRun {
        PageRun::new(self.id, 1 + u64::from(self.overflow))
    }

    /// Bytes of the page image, overflow pages included.
    pub(crate) fn len(&self) -> usize {
        self.buf.len()
    }

    /// Offset of the page image in the file.
    pub(crate) fn offset(&self) -> u64 {
        self.at
    }

    /// Offset in the file of element `i`.
    pub(crate) fn element_offset(&self, i: usize) -> u64 {
        self.at + (PAGE_HEADER + i * ELEM) as u64
    }

    /// Key of element `i`, which must be below `count`.
    #[inline]
    pub(crate) fn key(&self, i: usize) -> Result<&'a [u8], Error> {
        let e = PAGE_HEADER + i * ELEM;
        let elem = &self.buf[e..e + ELEM];
        let (pos, len) = match self.kind {
            Kind::Leaf => (u32_at(elem, 4), u32_at(elem, 8)),
            Kind::Branch => (u32_at(elem, 0), u32_at(elem, 4)),
        };
        let start = e + pos as usize;
        self.buf
            .get(start..start + len as usize)
            .ok_or_else(|| self.bad_element(i))
    }

    /// Leaf element `i`, which must be below `count`.
    #[inline]
    pub(crate) fn leaf(&self, i: usize) -> Result<LeafElem<'a>, Error> {
        debug_assert_eq!(self.kind, Kind::Leaf);
        let e = PAGE_HEADER + i * ELEM;
        let elem = &self.buf[e..e + ELEM];
        let flags = u32_at(elem, 0);
        let start = e + u32_at(elem, 4) as usize;
        let mid = start + u32_at(elem, 8) as usize;
        let end = mid + u32_at(elem, 12) as usize;
        match self.buf.get(start..end) {
            Some(both) => {
                let (key, value) = both.split_at(mid - start);
                Ok(LeafElem {
                    flags,
                    key,
                    value,
                    key_at: self.at + start as u64,
                    value_at: self.at + mid as u64,
                })
            }
            None => Err(self.bad_element(i)),
        }
    }

    /// Flags of leaf element `i`, without a look at its data.
    #[inline]
    pub(crate) fn leaf_flags(&self, i: usize) -> u32 {
        u32_at(self.buf, PAGE_HEADER + i * ELEM)
    }

    /// Branch element `i`: key, offset of the key in the file, child page id.
    #[inline]
    pub(crate) fn branch(&self, i: usize) -> Result<(&'a [u8], u64, PageId), Error> {
        let key = self.key(i)?;
        let e = PAGE_HEADER + i * ELEM;
        let key_at = self.at + (e + u32_at(self.buf, e) as usize) as u64;
        Ok((key, key_at, self.child(i)))
    }

    /// Child page of branch element `i`.
    #[inline]
    pub(crate) fn child(&self, i: usize) -> PageId {
        debug_assert_eq!(self.kind, Kind::Branch);
        PageId::new(u64_at(self.buf, PAGE_HEADER + i * ELEM + 8))
    }

    /// Where `key` is: `Ok(i)` when element `i` has it, else `Err(i)` with the first element greater than it.
    #[inline]
    pub(crate) fn search(&self, key: &[u8]) -> Result<Result<usize, usize>, Error> {
        self.search_from(key, 0, self.count)
    }

    /// [`PageView::search`] among the elements `low .. high`.
    #[inline]
    pub(crate) fn search_from(
        &self,
        key: &[u8],
        mut low: usize,
        mut high: usize,
    ) -> Result<Result<usize, usize>, Error> {
        while low < high {
            let mid = low + (high - low) / 2;
            match self.key(mid)?.cmp(key) {
                Ordering::Less => low = mid + 1,
                Ordering::Greater => high = mid,
                Ordering::Equal => return Ok(Ok(mid)),
            }
        }
        Ok(Err(low))
    }

    /// The element of a branch whose subtree may hold `key`.
    #[inline]
    pub(crate) fn route(&self, key: &[u8]) -> Result<usize, Error> {
        Ok(match self.search(key)? {
            Ok(i) => i,
            Err(i) => i.saturating_sub(1),
        })
    }
}

/// Where a bucket's tree starts.
#[derive(Clone, Copy)]
pub(crate) enum Root<'a> {
    Page(PageId),
    Inline(PageView<'a>),
}

impl<'a> Root<'a> {
    /// The root that a bucket value names; `id` is the page the value is on.
    pub(crate) fn of(value: &'a [u8], value_at: u64, id: PageId) -> Result<(Root<'a>, u64), Error> {
        let (page, sequence) = bucket_header(value, value_at, id)?;
        let root = match page {
            Some(page) => Root::Page(page),
            None => Root::Inline(inline_page(value, value_at, id)?),
        };
        Ok((root, sequence))
    }

    #[inline]
    pub(crate) fn page(&self, pages: &'a Pages) -> Result<PageView<'a>, Error> {
        match self {
            Root::Page(id) => pages.page(*id),
            Root::Inline(view) => Ok(*view),
        }
    }

    /// How many bytes may follow the data of the root's page; see [`PageView::check_layout`].
    pub(crate) fn spare(&self, pages: &Pages) -> usize {
        match self {
            Root::Page(_) => pages.page_size as usize,
            Root::Inline(_) => 0,
        }
    }
}

/// The leaf element with `key` in the tree from `root`, with the page it is on.
#[inline]
pub(crate) fn lookup<'a>(
    pages: &'a Pages,
    root: Root<'a>,
    key: &[u8],
) -> Result<Option<(LeafElem<'a>, PageId)>, Error> {
    let mut page = root.page(pages)?;
    for _ in 0..MAX_DEPTH {
        match page.kind {
            Kind::Branch => page = pages.page(page.child(page.route(key)?))?,
            Kind::Leaf => {
                return Ok(match page.search(key)? {
                    Ok(i) => Some((page.leaf(i)?, page.id)),
                    Err(_) => None,
                });
            }
        }
    }
    Err(pages.corrupt(
        page.id,
        format!("the tree is deeper than {MAX_DEPTH} levels; it contains a cycle"),
    ))
}
