//! Which pages may be written to. A page is free, or pending (unreachable from the current state but perhaps reachable
//! from the one before it or from that of an open reader), or in use. It must never hand out a page that a committed
//! state that is still in use can reach.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::id::{PageId, PageRun};

/// A run of pages that a transaction stopped using.
#[derive(Debug, Clone, Copy)]
struct Pending {
    /// The transaction that wrote it, 0 where not known.
    born: u64,
    /// The transaction that released it.
    freed: u64,
    run: PageRun,
}

/// Free and pending pages. Page runs never overlap; neighbouring free runs are joined.
#[derive(Default)]
pub(crate) struct FreeSpace {
    by_start: BTreeMap<PageId, u64>,
    by_len: BTreeSet<(u64, PageId)>,
    /// The run that single pages are being taken from, not in the two maps.
    open: Option<PageRun>,
    free: u64,
    pending: Vec<Pending>,
    /// First page of runs written while readers were open, and the transaction that wrote them.
    born: HashMap<PageId, u64>,
}

impl FreeSpace {
    /// Number of free pages, the pending ones not counted (as etcd reports them).
    pub(crate) fn free_pages(&self) -> u64 {
        self.free
    }

    /// All runs that are not in use, pending ones included, in no order.
    pub(crate) fn unused(&self) -> Vec<PageRun> {
        let mut all: Vec<PageRun> = self.by_start.iter().map(run).collect();
        all.extend(self.open);
        all.extend(self.pending.iter().map(|p| p.run));
        all
    }

    /// Adds pages to the free ones.
    pub(crate) fn add(&mut self, mut free: PageRun) {
        if free.len == 0 {
            return;
        }
        self.free += free.len;
        let before = self.by_start.range(..free.start).next_back().map(run);
        if let Some(before) = before.filter(|before| before.end() == free.start) {
            self.remove(before);
            free = PageRun::new(before.start, before.len + free.len);
        }
        if let Some(after) = self.by_start.get_key_value(&free.end()).map(run) {
            self.remove(after);
            free.len += after.len;
        }
        self.insert(free);
    }

    /// Takes `count` contiguous pages: single ones from the front of the file, longer runs from the tightest fit.
    pub(crate) fn take(&mut self, count: u64) -> Option<PageId> {
        let from = match self.open.take_if(|open| open.len >= count) {
            Some(open) => open,
            // The open run is used up.
            None if count == 1 => {
                let first = self.by_start.first_key_value().map(run)?;
                self.remove(first);
                first
            }
            None => return self.take_tightest(count),
        };
        self.open = rest(from, count);
        self.free -= count;
        Some(from.start)
    }

    fn take_tightest(&mut self, count: u64) -> Option<PageId> {
        let (len, start) = self.by_len.range((count, PageId::ZERO)..).next().copied()?;
        let from = PageRun::new(start, len);
        self.remove(from);
        if let Some(rest) = rest(from, count) {
            self.insert(rest);
        }
        self.free -= count;
        Some(start)
    }

    /// Ends a transaction's allocations: the rest of the open run joins the others.
    pub(crate) fn close_run(&mut self) {
        if let Some(open) = self.open.take() {
            self.free -= open.len;
            self.add(open);
        }
    }

    /// Remembers that transaction `txid` wrote the run at `start` while readers were open.
    pub(crate) fn note_birth(&mut self, start: PageId, txid: u64) {
        self.born.insert(start, txid);
    }

    /// Transaction `txid` no longer uses the pages of `run`.
    pub(crate) fn release_later(&mut self, run: PageRun, txid: u64) {
        let born = self.born.remove(&run.start).unwrap_or(0);
        self.pending.push(Pending {
            born,
            freed: txid,
            run,
        });
    }

    /// Frees the pending runs that no reader can reach. `readers` are the transaction ids of the open snapshots,
    /// ascending; all pending runs were released by committed transactions.
    pub(crate) fn release(&mut self, readers: &[u64]) {
        if readers.is_empty() {
            self.born.clear();
        }
        let mut pending = std::mem::take(&mut self.pending);
        pending.retain(|p| {
            let first = readers.partition_point(|r| *r < p.born);
            let pinned = readers.get(first).is_some_and(|r| *r < p.freed);
            if !pinned {
                self.add(p.run);
            }
            pinned
        });
        self.pending = pending;
    }

    fn insert(&mut self, run: PageRun) {
        self.by_start.insert(run.start, run.len);
        self.by_len.insert((run.len, run.start));
    }

    fn remove(&mut self, run: PageRun) {
        self.by_start.remove(&run.start);
        self.by_len.remove(&(run.len, run.start));
    }
}

fn run((start, len): (&PageId, &u64)) -> PageRun {
    PageRun::new(*start, *len)
}

/// What is left of a run after its first `count` pages, if anything is.
fn rest(run: PageRun, count: u64) -> Option<PageRun> {
    (run.len > count).then(|| PageRun::new(run.start.plus(count), run.len - count))
}
