//! How pages are named: by an id, and by runs of ids that follow each other.

use std::fmt;

/// The id of a page: its offset in the file, divided by the page size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageId(u64);

impl PageId {
    /// Page 0, a meta page. Errors name it for bytes that are on no page yet.
    pub(crate) const ZERO: PageId = PageId(0);
    /// The first page that is not a meta page.
    pub(crate) const FIRST_DATA: PageId = PageId(2);

    /// The page with this id.
    pub const fn new(id: u64) -> PageId {
        PageId(id)
    }

    /// The id as a number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The page that is `pages` further on.
    #[inline]
    pub(crate) const fn plus(self, pages: u64) -> PageId {
        PageId(self.0 + pages)
    }
}

impl fmt::Display for PageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Pages that follow each other in the file: a page with its overflow pages, or free space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageRun {
    pub(crate) start: PageId,
    /// Number of pages.
    pub(crate) len: u64,
}

impl PageRun {
    #[inline]
    pub(crate) const fn new(start: PageId, len: u64) -> PageRun {
        PageRun { start, len }
    }

    /// The first page after the run.
    #[inline]
    pub(crate) const fn end(self) -> PageId {
        self.start.plus(self.len)
    }

    /// The ids in ascending order. A length from a damaged file is cut where ids end.
    #[inline]
    pub(crate) fn ids(self) -> impl Iterator<Item = PageId> {
        (self.start.0..self.start.0.saturating_add(self.len)).map(PageId)
    }
}
