//! Verifying a database: every page is read, every page is accounted for, and every contradiction of the format is
//! reported with its page id and file offset. It finds what bbolt's own check finds, and states that bbolt would fail
//! on later. It never changes the file, never recurses, and stops after [`MAX_PROBLEMS`] findings.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::db::{Db, Options};
use crate::disk::{Disk, FileDisk};
use crate::error::{Error, show};
use crate::id::{PageId, PageRun};
use crate::meta;
use crate::page::{
    ELEM_BUCKET, FLAG_FREELIST, Kind, MAX_DEPTH, MAX_KEY_SIZE, PageView, Pages, Root, u64_at,
};
use crate::read::ReadTx;
use crate::state::io_error;
use crate::walk::{PageSet, Sparing};

/// The check ends after this many findings: no one would read more.
pub const MAX_PROBLEMS: usize = 1000;

/// What is wrong, in kinds that tests and tools distinguish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProblemKind {
    /// A meta page is unusable. One of two may be so after a power cut; the next commit repairs it.
    Meta,
    /// A page id outside the file's pages is referred to, or an overflow run reaches out of them.
    OutOfBounds,
    /// A page's header has the id of another page.
    WrongId,
    /// A page is of another type than its place asks for.
    WrongType,
    /// An element, or the element array, reaches out of its page, or the elements are not laid out as bbolt does it: the
    /// count, a position or a length in the page is wrong.
    Element,
    /// Keys do not ascend, or leave the range that their parent gives them.
    KeyOrder,
    /// A key is empty or longer than bbolt accepts.
    KeySize,
    /// A leaf without elements below a branch, or a branch with a single one: bbolt's rebalancing panics on it.
    TooFew,
    /// A page has two owners.
    MultiplyReferenced,
    /// A page is in use and in the free list.
    ReachableFreed,
    /// A page is twice in the free list.
    DoubleFreed,
    /// A page is neither in use nor free.
    UnreachableUnfreed,
    /// The stored free list is unreadable or out of order.
    Freelist,
    /// A bucket's value is no bucket, or a key is among the top-level buckets.
    Bucket,
    /// A tree that is deeper than any can be: it contains a cycle.
    Depth,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its kind.
    pub kind: ProblemKind,
    /// The page at fault.
    pub page: PageId,
    /// Offset in the file, in bytes, of the page or the element.
    pub offset: u64,
    /// Human-readable description.
    pub detail: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "page {} (file offset {:#x}): {}",
            self.page, self.offset, self.detail
        )
    }
}

/// What [`check_file`] found.
#[derive(Debug, Clone)]
pub struct Report {
    /// The file.
    pub path: PathBuf,
    /// Its length in bytes.
    pub file_len: u64,
    /// Bytes per page.
    pub page_size: u32,
    /// Transaction id of the state that was checked.
    pub txid: u64,
    /// First page id that was never allocated.
    pub high_water_mark: u64,
    /// Pages in use, the two meta pages included.
    pub used_pages: u64,
    /// True when the file stores its free pages (etcd's do not).
    pub stored_freelist: bool,
    /// The findings; empty for a sound file.
    pub problems: Vec<Problem>,
}

/// Checks the state that `tx` sees, against the free list that the state stores, if it does. Meta pages are not
/// checked: they selected the state.
pub fn check(tx: &ReadTx) -> Vec<Problem> {
    Checker::run(tx, None).problems
}

/// Checks the state that `tx` sees against a list of unused page runs.
pub(crate) fn against(tx: &ReadTx, unused: Vec<PageRun>) -> Vec<Problem> {
    Checker::run(tx, Some(unused)).problems
}

/// Checks the file at `path`, meta pages included, under a shared lock. Fails where nothing can be checked: no valid
/// meta page, a truncated file, a file locked by a server.
pub fn check_file(path: &Path) -> Result<Report, Error> {
    let lock_timeout = Some(Duration::from_secs(1));
    let db = Db::open(
        path,
        Options {
            read_only: true,
            lock_timeout,
            ..Options::default()
        },
    )?;
    let file = std::fs::File::open(path).map_err(|e| io_error(path, "opening", e))?;
    report(&db, &FileDisk(file))
}

pub(crate) fn report(db: &Db, disk: &dyn Disk) -> Result<Report, Error> {
    let tx = db.begin_read();
    let file_len = db.file_len()?;
    let mut checker = Checker::run(&tx, None);
    let meta = tx.meta();
    for (id, slot) in meta::find(disk, file_len).slots.iter().enumerate() {
        if let Err(why) = slot {
            let offset = id as u64 * u64::from(meta.page_size);
            let detail = format!("meta page {id} is unusable: {why}");
            checker.problems.insert(
                0,
                Problem {
                    kind: ProblemKind::Meta,
                    page: PageId::new(id as u64),
                    offset,
                    detail,
                },
            );
        }
    }
    Ok(Report {
        path: db.path().to_owned(),
        file_len,
        page_size: meta.page_size,
        txid: meta.txid,
        high_water_mark: meta.hwm.get(),
        used_pages: checker.used_pages,
        stored_freelist: meta.freelist.is_some(),
        problems: checker.problems,
    })
}

impl Db {
    /// Checks the current state against the writer's own list of free pages. Waits for an open write transaction. A
    /// read-only database is checked as [`check`] does it.
    pub fn check(&self) -> Vec<Problem> {
        self.with_unused(against)
            .unwrap_or_else(|| check(&self.begin_read()))
    }
}

/// A tree or a part of one that is still to be checked.
struct Part<'a> {
    root: Root<'a>,
    /// Keys are at least this,
    low: Option<&'a [u8]>,
    /// and below this.
    high: Option<&'a [u8]>,
    depth: usize,
    /// The page that refers to it.
    from: PageId,
    /// Part of the root bucket's own tree.
    top: bool,
}

struct Checker<'a> {
    pages: &'a Pages,
    used: PageSet,
    used_pages: u64,
    problems: Vec<Problem>,
    todo: Vec<Part<'a>>,
}

impl<'a> Checker<'a> {
    fn run(tx: &'a ReadTx, unused: Option<Vec<PageRun>>) -> Checker<'a> {
        let (pages, meta) = (tx.pages(), tx.meta());
        let mut c = Checker {
            pages,
            used: PageSet::new(pages.hwm),
            used_pages: 2,
            problems: Vec::new(),
            todo: Vec::new(),
        };
        c.todo.push(Part {
            root: Root::Page(meta.root),
            low: None,
            high: None,
            depth: 1,
            from: PageId::ZERO,
            top: true,
        });
        let mut sparing = Sparing::new(pages);
        while let Some(part) = c.todo.pop() {
            if c.full() {
                return c;
            }
            let before = c.used_pages;
            c.part(part);
            sparing.count(c.used_pages - before);
        }
        match unused {
            Some(runs) => c.account(runs.into_iter().flat_map(PageRun::ids)),
            None => {
                if let Some(ids) = meta.freelist.and_then(|id| c.stored_freelist(id)) {
                    c.account(ids.into_iter());
                }
            }
        }
        c
    }

    fn full(&self) -> bool {
        self.problems.len() >= MAX_PROBLEMS
    }

    fn add(&mut self, kind: ProblemKind, page: PageId, offset: u64, detail: impl Into<String>) {
        if !self.full() {
            self.problems.push(Problem {
                kind,
                page,
                offset,
                detail: detail.into(),
            });
        }
    }

    fn add_page(&mut self, kind: ProblemKind, page: PageId, detail: impl Into<String>) {
        self.add(kind, page, self.pages.offset_of(page), detail);
    }

    fn add_error(&mut self, kind: ProblemKind, e: Error) {
        match e {
            Error::Corrupt { page, offset, what } => self.add(kind, page, offset, what),
            other => self.add(kind, PageId::ZERO, 0, other.to_string()),
        }
    }

    /// Marks the pages of a run as used; false when the first one was used before.
    fn own(&mut self, run: PageRun) -> bool {
        for page in run.ids() {
            if !self.used.insert(page) {
                self.add_page(
                    ProblemKind::MultiplyReferenced,
                    page,
                    "the page is referred to more than once",
                );
                if page == run.start {
                    return false;
                }
            }
        }
        self.used_pages += run.len;
        true
    }

    /// The run at `id` with its type flags, or a finding.
    fn run_at(&mut self, id: PageId, from: PageId) -> Option<(u16, PageRun)> {
        let hwm = self.pages.hwm;
        if id < PageId::FIRST_DATA || id >= hwm {
            let detail = format!("page {from} refers to page {id}, which is outside 2..{hwm}");
            self.add_page(ProblemKind::OutOfBounds, from, detail);
            return None;
        }
        match self.pages.run(id) {
            Ok((flags, _, overflow, _)) => Some((flags, PageRun::new(id, 1 + u64::from(overflow)))),
            Err(e) => {
                let head = self.pages.raw(id, 1);
                let is_own = head.map_or(true, |head| u64_at(head, 0) == id.get());
                self.add_error(
                    if is_own {
                        ProblemKind::OutOfBounds
                    } else {
                        ProblemKind::WrongId
                    },
                    e,
                );
                None
            }
        }
    }

    fn part(&mut self, part: Part<'a>) {
        let view = match part.root {
            Root::Inline(view) => view,
            Root::Page(id) => {
                let Some((flags, run)) = self.run_at(id, part.from) else {
                    return;
                };
                if !self.own(run) {
                    return;
                }
                match self.pages.page(id) {
                    Ok(view) => view,
                    Err(e) => {
                        let known =
                            flags == crate::page::FLAG_BRANCH || flags == crate::page::FLAG_LEAF;
                        self.add_error(
                            if known {
                                ProblemKind::Element
                            } else {
                                ProblemKind::WrongType
                            },
                            e,
                        );
                        return;
                    }
                }
            }
        };
        let below = part.depth > 1;
        if below && view.count == 0 || view.kind == Kind::Branch && view.count < 2 {
            let detail =
                format!("a {:?} page with {} elements", view.kind, view.count).to_lowercase();
            self.add(ProblemKind::TooFew, view.id, view.offset(), detail);
        }
        if let Err(e) = view.check_layout(part.root.spare(self.pages)) {
            self.add_error(ProblemKind::Element, e);
        }
        self.keys(&view, &part);
        match view.kind {
            Kind::Branch if part.depth >= MAX_DEPTH => {
                let detail =
                    format!("the tree is deeper than {MAX_DEPTH} levels; it contains a cycle");
                self.add_page(ProblemKind::Depth, view.id, detail);
            }
            Kind::Branch => {
                for i in (0..view.count).rev() {
                    self.todo.push(Part {
                        root: Root::Page(view.child(i)),
                        low: view.key(i).ok(),
                        high: if i + 1 < view.count {
                            view.key(i + 1).ok()
                        } else {
                            part.high
                        },
                        depth: part.depth + 1,
                        from: view.id,
                        top: part.top,
                    });
                }
            }
            Kind::Leaf => self.buckets(&view, part.top),
        }
    }

    fn keys(&mut self, view: &PageView<'a>, part: &Part<'a>) {
        let mut before: Option<&[u8]> = None;
        for i in 0..view.count {
            let at = view.element_offset(i);
            let key = match view.kind {
                Kind::Branch => view.key(i),
                Kind::Leaf => view.leaf(i).map(|e| e.key),
            };
            // Elements that reach out of the page were reported with its layout.
            let Ok(key) = key else { continue };
            if key.len() > MAX_KEY_SIZE || key.is_empty() {
                self.add(
                    ProblemKind::KeySize,
                    view.id,
                    at,
                    format!("element {i} has a key of {} bytes", key.len()),
                );
            }
            if before.is_some_and(|before| before >= key) {
                let detail = format!(
                    "key {:?} of element {i} is not above the key before it",
                    show(key)
                );
                self.add(ProblemKind::KeyOrder, view.id, at, detail);
            }
            if part.low.is_some_and(|low| key < low) || part.high.is_some_and(|high| key >= high) {
                let detail = format!(
                    "key {:?} of element {i} is outside the range of its parent",
                    show(key)
                );
                self.add(ProblemKind::KeyOrder, view.id, at, detail);
            }
            if self.full() {
                return;
            }
            before = Some(key);
        }
    }

    fn buckets(&mut self, view: &PageView<'a>, top: bool) {
        for i in (0..view.count).rev() {
            let is_bucket = view.leaf_flags(i) & ELEM_BUCKET != 0;
            let Ok(e) = view.leaf(i) else { continue };
            if !is_bucket {
                if top {
                    let detail = format!(
                        "{:?} is among the top-level buckets but is a key",
                        show(e.key)
                    );
                    self.add(ProblemKind::Bucket, view.id, view.element_offset(i), detail);
                }
                continue;
            }
            match Root::of(e.value, e.value_at, view.id) {
                Ok((root, _)) => {
                    self.todo.push(Part {
                        root,
                        low: None,
                        high: None,
                        depth: 1,
                        from: view.id,
                        top: false,
                    });
                }
                Err(e) => self.add_error(ProblemKind::Bucket, e),
            }
        }
    }

    /// The page ids of the stored free list.
    fn stored_freelist(&mut self, id: PageId) -> Option<Vec<PageId>> {
        let (flags, run) = self.run_at(id, PageId::ZERO)?;
        if !self.own(run) {
            return None;
        }
        if flags != FLAG_FREELIST {
            self.add_page(
                ProblemKind::WrongType,
                id,
                format!("the freelist page has type {flags:#04x}"),
            );
            return None;
        }
        let Ok((_, count, _, buf)) = self.pages.run(id) else {
            return None;
        };
        // A count that does not fit in 16 bits is in the first slot.
        let (skip, count) = if count == 0xffff {
            (1, u64_at(buf, 16))
        } else {
            (0, count as u64)
        };
        let room = (buf.len() / 8 - 2 - skip) as u64;
        if count > room {
            let detail = format!("the freelist counts {count} pages, its page has room for {room}");
            self.add_page(ProblemKind::Freelist, id, detail);
            return None;
        }
        let ids: Vec<PageId> = (0..count as usize)
            .map(|i| PageId::new(u64_at(buf, 16 + 8 * (skip + i))))
            .collect();
        if ids.windows(2).any(|pair| pair[0] > pair[1]) {
            self.add_page(ProblemKind::Freelist, id, "the freelist does not ascend");
        }
        Some(ids)
    }

    /// Compares the free page ids with the pages in use.
    fn account(&mut self, free: impl Iterator<Item = PageId>) {
        let hwm = self.pages.hwm;
        let mut seen = PageSet::new(hwm);
        for id in free {
            if self.full() {
                return;
            }
            if id < PageId::FIRST_DATA || id >= hwm {
                self.add_page(
                    ProblemKind::OutOfBounds,
                    id,
                    format!("free page {id} is outside 2..{hwm}"),
                );
                if id >= hwm {
                    continue;
                }
            }
            if !seen.insert(id) {
                self.add_page(ProblemKind::DoubleFreed, id, "the page is free twice");
            } else if id >= PageId::FIRST_DATA && self.used.contains(id) {
                self.add_page(
                    ProblemKind::ReachableFreed,
                    id,
                    "the page is in use and free",
                );
            }
        }
        for gap in self.used.gaps(hwm) {
            let mut unseen = gap.ids().filter(|id| !seen.contains(*id));
            if let Some(first) = unseen.next() {
                let lost = 1 + unseen.count();
                let detail = format!("{lost} pages from here are neither in use nor free");
                self.add_page(ProblemKind::UnreachableUnfreed, first, detail);
            }
        }
    }
}
