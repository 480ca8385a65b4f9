//! One bucket's tree while a transaction changes it: pages on the path to a changed key are nodes in memory, all others
//! stay in the file. A lookup never loads a page; only a change does.

use crate::entry::{Child, Entry, NodeId, Place, Value};
use crate::error::{Error, show};
use crate::id::{PageId, PageRun};
use crate::node::{Core, Node, Nodes};
use crate::page::{self, ELEM_BUCKET, Kind, MAX_DEPTH, Root, lookup};

/// A leaf in memory that takes inserts in its middle is halved beyond this many entries, so that filling it in random
/// order stays cheap. Appending costs the same at any size.
const HALVE_AT: usize = 1024;

/// The leaf that the last change went to, tried first for the next one.
#[derive(Clone, Copy)]
struct Hint {
    leaf: NodeId,
    /// Place and length of the key that its right neighbour starts with, none for the last leaf.
    above: Option<(Place, u16)>,
}

/// An element as [`Tree::find`] finds it.
pub(crate) struct Element {
    pub(crate) is_bucket: bool,
    pub(crate) value: Value,
    /// The page it is on; [`PageId::ZERO`] in memory.
    pub(crate) page: PageId,
}

/// A bucket in a write transaction.
pub(crate) struct Tree {
    pub(crate) root: Child,
    pub(crate) nodes: Nodes,
    pub(crate) sequence: u64,
    /// Fill asked for by the caller; else pages are filled to 0.9 where keys are appended and to 0.5 elsewhere.
    pub(crate) fill: Option<f64>,
    /// Differs from its parent's element.
    pub(crate) changed: bool,
    /// Buckets in this bucket that the transaction has opened.
    pub(crate) subs: Vec<(Box<[u8]>, Tree)>,
    hint: Option<Hint>,
    /// The path to the hinted leaf: branch nodes with the entries taken.
    path: Vec<(NodeId, usize)>,
}

impl Tree {
    /// The tree whose root is page `root`.
    pub(crate) fn at(root: PageId, sequence: u64) -> Tree {
        Tree::new(Child::Page(root), Nodes::default(), sequence)
    }

    /// The tree whose root, and all there is of it, is `node`.
    fn of_node(node: Node, sequence: u64) -> Tree {
        let mut nodes = Nodes::default();
        let root = Child::Node(nodes.push(node));
        Tree::new(root, nodes, sequence)
    }

    fn new(root: Child, nodes: Nodes, sequence: u64) -> Tree {
        Tree {
            root,
            nodes,
            sequence,
            fill: None,
            changed: false,
            subs: Vec::new(),
            hint: None,
            path: Vec::new(),
        }
    }

    /// A new, empty bucket.
    pub(crate) fn empty() -> Tree {
        let mut tree = Tree::of_node(Node::new(Kind::Leaf), 0);
        tree.changed = true;
        tree
    }

    fn open(value: &[u8], value_at: u64, id: PageId) -> Result<Tree, Error> {
        let (root, sequence) = Root::of(value, value_at, id)?;
        Ok(match root {
            Root::Page(page) => Tree::at(page, sequence),
            Root::Inline(view) => Tree::of_node(Node::of_view(&view)?, sequence),
        })
    }

    /// True when this bucket or one inside it must be written.
    pub(crate) fn is_dirty(&self) -> bool {
        self.changed || self.subs.iter().any(|(_, sub)| sub.is_dirty())
    }

    /// Loads page `id` as a node and releases its pages.
    pub(crate) fn load(&mut self, core: &mut Core, id: PageId) -> Result<NodeId, Error> {
        let (node, pages) = Node::load(&core.pages, id)?;
        core.freed.push(pages);
        Ok(self.nodes.push(node))
    }

    /// The element with `key`.
    pub(crate) fn find(&self, core: &Core, key: &[u8]) -> Result<Option<Element>, Error> {
        let mut at = self.root;
        for _ in 0..MAX_DEPTH {
            let node = match at {
                Child::Page(page) => {
                    let found = lookup(&core.pages, Root::Page(page), key)?;
                    return Ok(found.map(|(e, page)| Element {
                        is_bucket: e.is_bucket(),
                        value: Value::in_file(e.value_at, e.value.len()),
                        page,
                    }));
                }
                Child::Node(node) => &self.nodes[node],
            };
            match node.kind {
                Kind::Branch => at = node.entries[node.route(core, key)].child(),
                Kind::Leaf => {
                    return Ok(node.search(core, key).ok().map(|i| Element {
                        is_bucket: node.entries[i].is_bucket(),
                        value: node.entries[i].value(),
                        page: PageId::ZERO,
                    }));
                }
            }
        }
        Err(self.too_deep(core))
    }

    fn too_deep(&self, core: &Core) -> Error {
        core.pages.corrupt(
            self.root.page_or_zero(),
            format!("the tree is deeper than {MAX_DEPTH} levels; it contains a cycle"),
        )
    }

    /// The value of `key`; a bucket of that name is no value.
    pub(crate) fn get<'c>(&self, core: &'c Core, key: &[u8]) -> Result<Option<&'c [u8]>, Error> {
        Ok(match self.find(core, key)? {
            Some(e) if !e.is_bucket => Some(core.value(e.value)),
            _ => None,
        })
    }

    /// The node of the leaf that `key` belongs to; loads the pages on the path to it.
    #[inline]
    fn leaf_for(&mut self, core: &mut Core, key: &[u8]) -> Result<NodeId, Error> {
        match self.hinted(core, key) {
            Some(leaf) => Ok(leaf),
            None => self.descend(core, key),
        }
    }

    #[inline]
    fn hinted(&self, core: &Core, key: &[u8]) -> Option<NodeId> {
        let hint = self.hint?;
        let first = self.nodes[hint.leaf].entries.first()?;
        if let Some((above, len)) = hint.above
            && key >= core.key_at(above, len)
        {
            return None;
        }
        (key >= core.key(first)).then_some(hint.leaf)
    }

    fn descend(&mut self, core: &mut Core, key: &[u8]) -> Result<NodeId, Error> {
        self.hint = None;
        self.path.clear();
        let mut at = match self.root {
            Child::Node(root) => root,
            Child::Page(page) => {
                let root = self.load(core, page)?;
                self.root = Child::Node(root);
                root
            }
        };
        let mut above = None;
        for _ in 0..MAX_DEPTH {
            let node = &self.nodes[at];
            if node.kind == Kind::Leaf {
                self.hint = Some(Hint { leaf: at, above });
                return Ok(at);
            }
            let i = node.route(core, key);
            if let Some(next) = node.entries.get(i + 1) {
                above = Some((next.key, next.key_len));
            }
            self.path.push((at, i));
            at = self.node_at(core, at, i)?;
        }
        Err(self.too_deep(core))
    }

    /// The node of entry `i` of branch `at`, loaded where it is a page.
    #[inline]
    pub(crate) fn node_at(
        &mut self,
        core: &mut Core,
        at: NodeId,
        i: usize,
    ) -> Result<NodeId, Error> {
        match self.nodes[at].entries[i].child() {
            Child::Node(node) => Ok(node),
            Child::Page(page) => {
                let node = self.load(core, page)?;
                self.nodes[at].entries[i].set_child(Child::Node(node));
                Ok(node)
            }
        }
    }

    /// Sets `key` to `value`. `flags` says whether it is a bucket; a key never changes from one to the other.
    pub(crate) fn put(
        &mut self,
        core: &mut Core,
        key: &[u8],
        flags: u32,
        value: Value,
    ) -> Result<(), Error> {
        let leaf = self.leaf_for(core, key)?;
        let node = &mut self.nodes[leaf];
        let at = match node.entries.last() {
            None => Err(0),
            Some(last) if key > core.key(last) => Err(node.entries.len()),
            Some(_) => node.search(core, key),
        };
        match at {
            Ok(i) => {
                let e = &mut node.entries[i];
                if u32::from(e.flags) & ELEM_BUCKET != flags & ELEM_BUCKET {
                    let is = if flags & ELEM_BUCKET == 0 {
                        "a bucket"
                    } else {
                        "a key"
                    };
                    return Err(Error::IncompatibleValue(show(key), is));
                }
                e.set_value(value);
            }
            Err(i) => {
                let place = core.arena.push(key);
                let entry = Entry::leaf(place, key.len() as u16, flags as u16, value);
                if i == node.entries.len() {
                    node.entries.push(entry);
                } else {
                    node.entries.insert(i, entry);
                    node.appended = false;
                    if node.entries.len() > HALVE_AT {
                        self.halve(leaf);
                    }
                }
            }
        }
        self.changed = true;
        Ok(())
    }

    /// Splits the leaf that the path leads to in two nodes.
    fn halve(&mut self, leaf: NodeId) {
        let node = &mut self.nodes[leaf];
        let mut right = Node::new(Kind::Leaf);
        right.entries = node.entries.split_off(node.entries.len() / 2);
        right.appended = false;
        let (first, second) = (node.entries[0], right.entries[0]);
        let right = self.nodes.push(right);
        let child = |e: Entry, node| Entry::branch(e.key, e.key_len, Child::Node(node));
        let second = child(second, right);
        match self.path.last() {
            Some((parent, i)) => {
                let parent = &mut self.nodes[*parent];
                parent.appended &= i + 1 == parent.entries.len();
                parent.entries.insert(i + 1, second);
            }
            None => {
                let mut root = Node::new(Kind::Branch);
                root.entries = vec![child(first, leaf), second];
                self.root = Child::Node(self.nodes.push(root));
            }
        }
        self.hint = None;
    }

    /// Removes `key`; true when it was there. Buckets are removed by [`Tree::delete_bucket`] only.
    pub(crate) fn delete(&mut self, core: &mut Core, key: &[u8]) -> Result<bool, Error> {
        let leaf = match self.hinted(core, key) {
            Some(leaf) => leaf,
            None => match self.find(core, key)? {
                None => return Ok(false),
                Some(e) if e.is_bucket => {
                    return Err(Error::IncompatibleValue(show(key), "a bucket"));
                }
                Some(_) => self.descend(core, key)?,
            },
        };
        let node = &mut self.nodes[leaf];
        let Ok(i) = node.search(core, key) else {
            return Ok(false);
        };
        if node.entries[i].is_bucket() {
            return Err(Error::IncompatibleValue(show(key), "a bucket"));
        }
        node.entries.remove(i);
        node.shrunk = true;
        self.changed = true;
        Ok(true)
    }

    /// The bucket `name` inside this one, opened for change; `None` where there is none.
    pub(crate) fn sub(&mut self, core: &mut Core, name: &[u8]) -> Result<Option<&mut Tree>, Error> {
        if let Some(i) = self.subs.iter().position(|(n, _)| **n == *name) {
            return Ok(Some(&mut self.subs[i].1));
        }
        let Some(e) = self.find(core, name)? else {
            return Ok(None);
        };
        if !e.is_bucket {
            return Err(Error::IncompatibleValue(show(name), "a key"));
        }
        let tree = Tree::open(core.value(e.value), e.value.place.offset(), e.page)?;
        self.subs.push((name.into(), tree));
        Ok(self.subs.last_mut().map(|(_, tree)| tree))
    }

    /// The bucket `name`, made where there is none. The boolean says whether it was made.
    pub(crate) fn sub_or_new(&mut self, core: &mut Core, name: &[u8]) -> Result<bool, Error> {
        if self.sub(core, name)?.is_some() {
            return Ok(false);
        }
        let value = core.arena.push_value(&EMPTY_BUCKET);
        self.put(core, name, ELEM_BUCKET, value)?;
        self.subs.push((name.into(), Tree::empty()));
        Ok(true)
    }

    /// Removes the bucket `name` with all it holds; false where there is none.
    pub(crate) fn delete_bucket(&mut self, core: &mut Core, name: &[u8]) -> Result<bool, Error> {
        let Some(sub) = self.sub(core, name)? else {
            return Ok(false);
        };
        // No page is released twice in a sound file; the bound ends the walk over a damaged one.
        let mut budget = core.pages.hwm.get();
        let mut freed = Vec::new();
        sub.expose_opened(core)?;
        sub.give_up(core, &mut freed, &mut budget)?;
        core.freed.append(&mut freed);
        self.subs.retain(|(n, _)| **n != *name);
        let leaf = self.descend(core, name)?;
        let node = &mut self.nodes[leaf];
        if let Ok(i) = node.search(core, name) {
            node.entries.remove(i);
            node.shrunk = true;
        }
        self.changed = true;
        Ok(true)
    }

    /// Loads the leaves that refer to opened buckets: the pages of those were released when they were loaded, and a walk
    /// through the file would find them again.
    fn expose_opened(&mut self, core: &mut Core) -> Result<(), Error> {
        let mut subs = std::mem::take(&mut self.subs);
        let result = subs.iter_mut().try_for_each(|(name, sub)| {
            self.descend(core, name)?;
            sub.expose_opened(core)
        });
        self.subs = subs;
        result
    }

    /// Lists the page runs of this tree that are still in the file.
    fn give_up(
        &self,
        core: &Core,
        freed: &mut Vec<PageRun>,
        budget: &mut u64,
    ) -> Result<(), Error> {
        let mut todo = vec![self.root];
        while let Some(at) = todo.pop() {
            let node = match at {
                Child::Node(node) => &self.nodes[node],
                Child::Page(page) => {
                    crate::walk::collect_runs(&core.pages, page, freed, budget)?;
                    continue;
                }
            };
            for e in &node.entries {
                match node.kind {
                    Kind::Branch => todo.push(e.child()),
                    Kind::Leaf if e.is_bucket() => {
                        let name = core.key(e);
                        // The pages of an opened bucket's nodes were released when they were loaded.
                        if let Some((_, sub)) = self.subs.iter().find(|(n, _)| **n == *name) {
                            sub.give_up(core, freed, budget)?;
                        } else {
                            let value = e.value();
                            let at = value.place.offset();
                            let (root, _) =
                                page::bucket_header(core.value(value), at, PageId::ZERO)?;
                            if let Some(root) = root {
                                crate::walk::collect_runs(&core.pages, root, freed, budget)?;
                            }
                        }
                    }
                    Kind::Leaf => {}
                }
            }
        }
        Ok(())
    }
}

/// The value of a bucket that holds nothing: header, and the image of a leaf page without elements.
pub(crate) const EMPTY_BUCKET: [u8; 32] = {
    let mut value = [0u8; 32];
    value[24] = 2;
    value
};
