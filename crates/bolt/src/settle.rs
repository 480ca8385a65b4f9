//! The end of a transaction's tree work: small pages are merged with a neighbour, large ones cut, and all that changed
//! becomes pages on newly allocated ids, from the leaves up. It never writes over a page that the committed state uses.

use crate::entry::{Child, Entry, NodeId, Place};
use crate::error::Error;
use crate::freespace::FreeSpace;
use crate::id::{PageId, PageRun};
use crate::node::{Core, Node};
use crate::page::{BUCKET_HEADER, ELEM_BUCKET, Kind};
use crate::tree::Tree;

/// Where a transaction's new pages collect before they are written.
pub(crate) struct Output<'w> {
    pub(crate) space: &'w mut FreeSpace,
    /// The pages, each run padded to whole pages.
    pub(crate) buf: &'w mut Vec<u8>,
    /// Runs in the order of `buf`.
    pub(crate) runs: &'w mut Vec<PageRun>,
    pub(crate) hwm: PageId,
    pub(crate) page_size: usize,
    pub(crate) txid: u64,
    /// Readers are open, so the transaction that writes a page must be remembered.
    pub(crate) readers_open: bool,
}

impl Output<'_> {
    /// Writes some entries of `node` to a new page run; returns its id.
    fn page(
        &mut self,
        core: &Core,
        node: &Node,
        range: std::ops::Range<usize>,
        size: usize,
    ) -> PageId {
        let pages = size.div_ceil(self.page_size).max(1);
        let id = self.space.take(pages as u64).unwrap_or_else(|| {
            let id = self.hwm;
            self.hwm = id.plus(pages as u64);
            id
        });
        if self.readers_open {
            self.space.note_birth(id, self.txid);
        }
        let start = self.buf.len();
        self.buf.reserve(pages * self.page_size);
        node.encode(core, range, id, pages as u32 - 1, self.buf);
        self.buf.resize(start + pages * self.page_size, 0);
        self.runs.push(PageRun::new(id, pages as u64));
        id
    }

    /// Writes a node, cut into pages; one branch entry per page.
    fn node(&mut self, core: &Core, node: &Node, fill: Option<f64>) -> Vec<Entry> {
        let fill = fill.unwrap_or(if node.appended { 0.9 } else { 0.5 });
        let pieces = node.cut(self.page_size, fill);
        pieces
            .into_iter()
            .map(|range| {
                let first = node.entries.get(range.start).copied();
                let size = node.size_of(range.clone());
                let id = self.page(core, node, range, size);
                let (key, key_len) = first.map_or((Place::NOWHERE, 0), |e| (e.key, e.key_len));
                Entry::branch(key, key_len, Child::Page(id))
            })
            .collect()
    }
}

impl Tree {
    /// Writes all that changed in this bucket and the buckets inside it; returns the bucket's new value. `may_inline` is
    /// false for the root bucket, which has no parent that could hold it.
    pub(crate) fn settle(
        &mut self,
        core: &mut Core,
        out: &mut Output<'_>,
        may_inline: bool,
    ) -> Result<Vec<u8>, Error> {
        for (name, mut sub) in std::mem::take(&mut self.subs) {
            if sub.is_dirty() {
                let value = sub.settle(core, out, true)?;
                let value = core.arena.push_value(&value);
                self.put(core, &name, ELEM_BUCKET, value)?;
            }
        }
        let mut value = vec![0u8; BUCKET_HEADER];
        value[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        if let Child::Node(root) = self.root {
            self.join(core, out.page_size, root)?;
            self.root = self.lower_root(root);
        }
        let root = match self.root {
            Child::Page(page) => page,
            Child::Node(root) => {
                self.write_below(core, out, root);
                let node = &self.nodes[root];
                if may_inline && fits_inline(node, out.page_size) {
                    node.encode(core, 0..node.entries.len(), PageId::ZERO, 0, &mut value);
                    return Ok(value);
                }
                self.write_root(core, out, root)
            }
        };
        self.root = Child::Page(root);
        value[0..8].copy_from_slice(&root.get().to_le_bytes());
        Ok(value)
    }

    /// Drops root levels that have a single child. What remains may be a page of the file again.
    fn lower_root(&mut self, mut root: NodeId) -> Child {
        loop {
            let node = &mut self.nodes[root];
            match (node.kind, node.entries.as_slice()) {
                (Kind::Branch, []) => {
                    node.kind = Kind::Leaf;
                    return Child::Node(root);
                }
                (Kind::Branch, [only]) => match only.child() {
                    Child::Node(child) => root = child,
                    page @ Child::Page(_) => return page,
                },
                _ => return Child::Node(root),
            }
        }
    }

    fn write_root(&mut self, core: &Core, out: &mut Output<'_>, root: NodeId) -> PageId {
        let mut entries = out.node(core, &self.nodes[root], self.fill);
        loop {
            if let [only] = entries.as_slice()
                && let Child::Page(page) = only.child()
            {
                return page;
            }
            let mut above = Node::new(Kind::Branch);
            above.appended = self.nodes[root].appended;
            above.entries = entries;
            entries = out.node(core, &above, self.fill);
        }
    }

    /// Merges what is too small below `at`, from the leaves up. No page is written before all of it is done, since a
    /// merge takes neighbours back into memory.
    fn join(&mut self, core: &mut Core, page_size: usize, at: NodeId) -> Result<(), Error> {
        if self.nodes[at].kind == Kind::Leaf {
            return Ok(());
        }
        for i in 0..self.nodes[at].entries.len() {
            if let Child::Node(child) = self.nodes[at].entries[i].child() {
                self.join(core, page_size, child)?;
            }
        }
        self.join_children(core, page_size, at)
    }

    /// Too small for a page of its own: a quarter of a page, as in bbolt, or fewer entries than the format allows.
    fn is_small(&self, node: NodeId, page_size: usize) -> bool {
        let node = &self.nodes[node];
        let min = if node.kind == Kind::Branch { 2 } else { 1 };
        node.entries.len() < min || node.shrunk && node.size() < page_size / 4
    }

    fn join_children(
        &mut self,
        core: &mut Core,
        page_size: usize,
        at: NodeId,
    ) -> Result<(), Error> {
        let nodes = &self.nodes;
        let is_empty = |e: &Entry| {
            let node = e.child().node();
            node.is_some_and(|node| nodes[node].entries.is_empty())
        };
        let kept: Vec<Entry> = nodes[at]
            .entries
            .iter()
            .filter(|e| !is_empty(e))
            .copied()
            .collect();
        if kept.len() < nodes[at].entries.len() {
            self.nodes[at].entries = kept;
            self.nodes[at].shrunk = true;
        }
        let mut i = 0;
        while i < self.nodes[at].entries.len() {
            let node = self.nodes[at].entries[i].child().node();
            if !node.is_some_and(|node| self.is_small(node, page_size)) {
                i += 1;
                continue;
            }
            if self.nodes[at].entries.len() == 1 {
                break;
            }
            let left = i.saturating_sub(1);
            let into = self.node_at(core, at, left)?;
            let from = self.node_at(core, at, left + 1)?;
            if self.nodes[into].kind != self.nodes[from].kind {
                return Err(core.pages.corrupt(
                    self.root.page_or_zero(),
                    "a branch has both leaf and branch pages as children",
                ));
            }
            if self.nodes[into].kind == Kind::Branch {
                // As the first of its page it may have been lower than the bound above it; among others it may not.
                let lower = self.nodes[at].entries[left + 1];
                let first = &mut self.nodes[from].entries[0];
                if core.key(first) < core.key(&lower) {
                    (first.key, first.key_len) = (lower.key, lower.key_len);
                }
            }
            let moved = std::mem::take(&mut self.nodes[from].entries);
            let node = &mut self.nodes[into];
            node.entries.extend(moved);
            node.appended = false;
            node.shrunk = true;
            let branch = node.kind == Kind::Branch;
            self.nodes[at].entries.remove(left + 1);
            self.nodes[at].shrunk = true;
            if branch {
                // An only child that was too small has neighbours now.
                self.join_children(core, page_size, into)?;
            }
            i = left;
        }
        Ok(())
    }

    /// Makes pages of everything below `at`.
    fn write_below(&mut self, core: &Core, out: &mut Output<'_>, at: NodeId) {
        if self.nodes[at].kind == Kind::Leaf {
            return;
        }
        let entries = std::mem::take(&mut self.nodes[at].entries);
        let mut appended = self.nodes[at].appended;
        let mut settled = Vec::with_capacity(entries.len() + 8);
        let last = entries.len() - 1;
        for (i, e) in entries.into_iter().enumerate() {
            let Child::Node(child) = e.child() else {
                settled.push(e);
                continue;
            };
            self.write_below(core, out, child);
            let pages = out.node(core, &self.nodes[child], self.fill);
            appended &= pages.len() == 1 || i == last;
            settled.extend(pages);
            self.nodes[child].entries = Vec::new();
        }
        let node = &mut self.nodes[at];
        node.entries = settled;
        node.appended = appended;
    }
}

/// bbolt's own rule: one leaf without buckets, of a quarter page at most.
fn fits_inline(node: &Node, page_size: usize) -> bool {
    node.kind == Kind::Leaf
        && !node.entries.iter().any(Entry::is_bucket)
        && node.size() <= page_size / 4
}
