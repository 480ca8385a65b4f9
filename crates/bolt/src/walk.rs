//! All pages that a state reaches, visited without recursion, so that no file, however damaged, can exhaust the stack.
//! Visiting stops where the visitor says so; the visitors here stop at the first page seen twice, so no file can keep
//! them busy longer than its own size.

use crate::error::Error;
use crate::id::{PageId, PageRun};
use crate::page::{ELEM_BUCKET, Kind, PageView, Pages, Root};

/// Calls `visit` with every page run of the tree at page `root`, the trees of the buckets in
/// it included, in key order. A page that is not laid out as bbolt writes it is an error.
pub(crate) fn runs(
    pages: &Pages,
    root: PageId,
    visit: &mut dyn FnMut(PageRun) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut todo = vec![Root::Page(root)];
    while let Some(next) = todo.pop() {
        let view = next.page(pages)?;
        view.check_layout(next.spare(pages))?;
        if let Root::Page(_) = next {
            visit(view.run())?;
        }
        match view.kind {
            Kind::Branch => todo.extend((0..view.count).rev().map(|i| Root::Page(view.child(i)))),
            Kind::Leaf => buckets_in(&view, &mut todo)?,
        }
    }
    Ok(())
}

fn buckets_in<'a>(view: &PageView<'a>, todo: &mut Vec<Root<'a>>) -> Result<(), Error> {
    for i in (0..view.count).rev() {
        if view.leaf_flags(i) & ELEM_BUCKET != 0 {
            let e = view.leaf(i)?;
            todo.push(Root::of(e.value, e.value_at, view.id)?.0);
        }
    }
    Ok(())
}

/// Appends the page runs of the tree at page `root` to `out`, at most `budget` pages in all.
pub(crate) fn collect_runs(
    pages: &Pages,
    root: PageId,
    out: &mut Vec<PageRun>,
    budget: &mut u64,
) -> Result<(), Error> {
    runs(pages, root, &mut |run| {
        *budget = budget.checked_sub(run.len).ok_or_else(|| {
            pages.corrupt(
                run.start,
                "the bucket refers to more pages than the file has; one is used twice",
            )
        })?;
        out.push(run);
        Ok(())
    })
}

/// One bit per page.
pub(crate) struct PageSet {
    words: Vec<u64>,
}

impl PageSet {
    /// Room for the pages below `hwm`.
    pub(crate) fn new(hwm: PageId) -> PageSet {
        PageSet {
            words: vec![0; (hwm.get() / 64 + 1) as usize],
        }
    }

    /// Adds a page below the high-water mark; false when it was there.
    #[inline]
    pub(crate) fn insert(&mut self, id: PageId) -> bool {
        let (word, bit) = PageSet::slot(id);
        let fresh = self.words[word] & bit == 0;
        self.words[word] |= bit;
        fresh
    }

    /// True when the page is in the set.
    #[inline]
    pub(crate) fn contains(&self, id: PageId) -> bool {
        let (word, bit) = PageSet::slot(id);
        self.words[word] & bit != 0
    }

    /// The word and the bit of a page.
    #[inline]
    fn slot(id: PageId) -> (usize, u64) {
        ((id.get() / 64) as usize, 1 << (id.get() % 64))
    }

    /// The runs of pages in `2 .. hwm` that are not in the set, ascending.
    pub(crate) fn gaps(&self, hwm: PageId) -> Vec<PageRun> {
        let mut gaps: Vec<PageRun> = Vec::new();
        let mut id = PageId::FIRST_DATA;
        while id < hwm {
            if id.get().is_multiple_of(64) && self.words[PageSet::slot(id).0] == u64::MAX {
                id = id.plus(64);
                continue;
            }
            if !self.contains(id) {
                match gaps.last_mut() {
                    Some(gap) if gap.end() == id => gap.len += 1,
                    _ => gaps.push(PageRun::new(id, 1)),
                }
            }
            id = id.plus(1);
        }
        gaps
    }
}

/// Keeps a walk over a large file from filling memory: every [`RESIDENT_BYTES`], the resident part of the map is returned
/// to the system.
pub(crate) struct Sparing<'a> {
    pages: &'a Pages,
    resident: u64,
}

/// What a sparing walk keeps resident, about.
const RESIDENT_BYTES: u64 = 32 << 20;

impl<'a> Sparing<'a> {
    pub(crate) fn new(pages: &'a Pages) -> Sparing<'a> {
        Sparing { pages, resident: 0 }
    }

    /// Counts pages that were read.
    pub(crate) fn count(&mut self, pages: u64) {
        self.resident += pages * u64::from(self.pages.page_size);
        if self.resident >= RESIDENT_BYTES {
            self.resident = 0;
            self.pages.map.advise_cold();
        }
    }
}

/// [`reachable`] for callers that only read the file.
pub(crate) fn reachable_sparing(pages: &Pages, root: PageId) -> Result<PageSet, Error> {
    let mut sparing = Sparing::new(pages);
    reachable_by(pages, root, &mut |len| sparing.count(len))
}

/// The pages in use of the state with root page `root`. Fails when a page is referred to twice: a writer that freed it
/// once would destroy the other reference.
pub(crate) fn reachable(pages: &Pages, root: PageId) -> Result<PageSet, Error> {
    reachable_by(pages, root, &mut |_| {})
}

fn reachable_by(pages: &Pages, root: PageId, count: &mut dyn FnMut(u64)) -> Result<PageSet, Error> {
    let mut set = PageSet::new(pages.hwm);
    runs(pages, root, &mut |run| {
        count(run.len);
        for page in run.ids() {
            if !set.insert(page) {
                return Err(pages.corrupt(page, "the page is referred to more than once"));
            }
        }
        Ok(())
    })?;
    Ok(set)
}
