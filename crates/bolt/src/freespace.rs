//! Which pages may be written to. A page is free, or pending (unreachable from the current state but perhaps reachable
//! from the one before it or from that of an open reader), or in use. It must never hand out a page that a committed
//! state still in someone's hands can reach.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A run of pages that a transaction stopped using.
#[derive(Debug, Clone, Copy)]
struct Pending {
    /// The transaction that wrote it, 0 where not known.
    born: u64,
    /// The transaction that gave it up.
    freed: u64,
    start: u64,
    len: u64,
}

/// Free and pending pages. Page runs never overlap; neighbouring free runs are joined.
#[derive(Default)]
pub(crate) struct FreeSpace {
    by_start: BTreeMap<u64, u64>,
    by_len: BTreeSet<(u64, u64)>,
    /// The run that single pages are being taken from, not in the two maps: (start, length).
    open: (u64, u64),
    free: u64,
    pending: Vec<Pending>,
    /// First page of runs written while readers were open, and the transaction that wrote them.
    born: HashMap<u64, u64>,
}

impl FreeSpace {
    /// Number of free pages, the pending ones not counted (as etcd reports them).
    pub(crate) fn free_pages(&self) -> u64 {
        self.free
    }

    /// All runs that are not in use, pending ones included, in no order.
    pub(crate) fn unused(&self) -> Vec<(u64, u64)> {
        let mut all: Vec<(u64, u64)> = self.by_start.iter().map(|(s, l)| (*s, *l)).collect();
        if self.open.1 > 0 {
            all.push(self.open);
        }
        all.extend(self.pending.iter().map(|p| (p.start, p.len)));
        all
    }

    /// Adds `len` pages from `start` to the free ones.
    pub(crate) fn add(&mut self, mut start: u64, mut len: u64) {
        if len == 0 {
            return;
        }
        self.free += len;
        if let Some((before, before_len)) = self
            .by_start
            .range(..start)
            .next_back()
            .map(|(s, l)| (*s, *l))
            && before + before_len == start
        {
            self.remove(before, before_len);
            start = before;
            len += before_len;
        }
        if let Some(after_len) = self.by_start.get(&(start + len)).copied() {
            self.remove(start + len, after_len);
            len += after_len;
        }
        self.insert(start, len);
    }

    /// Takes `count` contiguous pages: single ones from the front of the file, longer runs from the tightest fit.
    pub(crate) fn take(&mut self, count: u64) -> Option<u64> {
        if self.open.1 < count {
            if count == 1 {
                // The open run is used up.
                let (start, len) = self.by_start.iter().next().map(|(s, l)| (*s, *l))?;
                self.remove(start, len);
                self.open = (start, len);
            } else {
                let (len, start) = self.by_len.range((count, 0)..).next().copied()?;
                self.remove(start, len);
                if len > count {
                    self.insert(start + count, len - count);
                }
                self.free -= count;
                return Some(start);
            }
        }
        let start = self.open.0;
        self.open = (start + count, self.open.1 - count);
        self.free -= count;
        Some(start)
    }

    /// Ends a transaction's allocations: what is left of the run that was open joins the others.
    pub(crate) fn close_run(&mut self) {
        let (start, len) = std::mem::take(&mut self.open);
        self.free -= len;
        self.add(start, len);
    }

    /// Remembers that transaction `txid` wrote the run at `start` while readers were open.
    pub(crate) fn note_birth(&mut self, start: u64, txid: u64) {
        self.born.insert(start, txid);
    }

    /// Transaction `txid` no longer uses `len` pages from `start`.
    pub(crate) fn give_up(&mut self, start: u64, len: u64, txid: u64) {
        let born = self.born.remove(&start).unwrap_or(0);
        self.pending.push(Pending {
            born,
            freed: txid,
            start,
            len,
        });
    }

    /// Frees the pending runs that no reader can reach. `readers` are the transaction ids of the open snapshots,
    /// ascending; all runs pending were given up by committed transactions.
    pub(crate) fn release(&mut self, readers: &[u64]) {
        if readers.is_empty() {
            self.born.clear();
        }
        let mut pending = std::mem::take(&mut self.pending);
        pending.retain(|p| {
            let first = readers.partition_point(|r| *r < p.born);
            let pinned = readers.get(first).is_some_and(|r| *r < p.freed);
            if !pinned {
                self.add(p.start, p.len);
            }
            pinned
        });
        self.pending = pending;
    }

    fn insert(&mut self, start: u64, len: u64) {
        self.by_start.insert(start, len);
        self.by_len.insert((len, start));
    }

    fn remove(&mut self, start: u64, len: u64) {
        self.by_start.remove(&start);
        self.by_len.remove(&(len, start));
    }
}
