//! Key order: a B+tree of ids. Each subtree knows how many of its keys exist
//! now and the largest revision at which a key in it began or ceased to
//! exist, so that counting a range costs a walk along its two edges, also at
//! an old revision since which the subtree has not changed.
//!
//! Overwriting a key changes nothing here. The tree never owns a key; it asks
//! the slab.

use super::{
    leaf::{LEAF_CAP, Leaf, common},
    slab::{Id, Slab},
};

/// Children of an inner node, at most.
const INNER_CAP: usize = 64;
/// A node below this many children or ids is merged with a neighbour if both
/// together stay below [`MERGED_MAX`].
const SMALL: usize = 16;
const MERGED_MAX: usize = 48;
/// Ids per leaf when the tree is built from sorted keys: room for a few more.
const BUILD_FILL: usize = 58;

enum Node {
    Leaf(Box<Leaf>),
    Inner(Box<Inner>),
}

struct Inner {
    /// `separators[i]` is at most the first key of `children[i + 1]` and above
    /// the last key of `children[i]`.
    separators: Vec<Box<[u8]>>,
    children: Vec<Child>,
}

struct Child {
    node: Node,
    /// Keys of this subtree that exist now.
    live: usize,
    /// No key of this subtree began or ceased to exist after this revision.
    changed: i64,
}

/// Keys from `from` on, up to but not including `to` where given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span<'a> {
    pub(crate) from: &'a [u8],
    pub(crate) to: Option<&'a [u8]>,
}

pub(crate) struct Tree {
    root: Child,
}

impl Default for Tree {
    fn default() -> Tree {
        Tree {
            root: Child::leaf(Leaf::new(&[], &Slab::default()), 0),
        }
    }
}

impl Child {
    fn leaf(leaf: Box<Leaf>, changed: i64) -> Child {
        Child {
            live: leaf.live(),
            node: Node::Leaf(leaf),
            changed,
        }
    }

    fn inner(separators: Vec<Box<[u8]>>, children: Vec<Child>, changed: i64) -> Child {
        Child {
            live: children.iter().map(|c| c.live).sum(),
            node: Node::Inner(Box::new(Inner {
                separators,
                children,
            })),
            changed,
        }
    }

    fn size(&self) -> usize {
        match &self.node {
            Node::Leaf(leaf) => leaf.len(),
            Node::Inner(inner) => inner.children.len(),
        }
    }
}

impl Inner {
    /// The child that holds `key` if any does.
    #[inline]
    fn route(&self, key: &[u8]) -> usize {
        self.separators.partition_point(|s| **s <= *key)
    }
}

/// The shortest key above `left` and not above `right`.
fn separator(left: &[u8], right: &[u8]) -> Box<[u8]> {
    right[..common(left, right) + 1].into()
}

impl Tree {
    /// A tree of `ids`, which are in key order.
    pub(crate) fn build(ids: &[Id], slab: &Slab) -> Tree {
        if ids.is_empty() {
            return Tree::default();
        }
        let leaves = ids.len().div_ceil(BUILD_FILL);
        let mut level: Vec<(Box<[u8]>, Child)> = Vec::with_capacity(leaves);
        for (i, chunk) in even_chunks(ids, leaves).enumerate() {
            let first = slab.key(chunk[0]);
            let at = i
                .checked_sub(1)
                .map(|_| ids[level_start(ids.len(), leaves, i) - 1]);
            let bound = at.map_or_else(Box::default, |left| separator(slab.key(left), first));
            let changed = chunk.iter().map(|&id| slab.get(id).changed()).max();
            let leaf = Leaf::new(chunk, slab);
            level.push((bound, Child::leaf(leaf, changed.unwrap_or(0))));
        }
        while level.len() > 1 {
            let nodes = level.len().div_ceil(BUILD_FILL);
            let total = level.len();
            let mut items = level.into_iter();
            level = (0..nodes)
                .map(|i| {
                    let size = level_start(total, nodes, i + 1) - level_start(total, nodes, i);
                    let (mut bounds, children): (Vec<_>, Vec<Child>) =
                        items.by_ref().take(size).unzip();
                    let bound = bounds.remove(0);
                    let changed = children.iter().map(|c| c.changed).max();
                    (bound, Child::inner(bounds, children, changed.unwrap_or(0)))
                })
                .collect();
        }
        let (_, root) = level.remove(0);
        Tree { root }
    }

    /// Adds an id whose key is not there yet; its key exists since `revision`.
    pub(crate) fn insert(&mut self, id: Id, revision: i64, slab: &Slab) {
        let key = slab.key(id);
        if let Some((bound, right)) = insert(&mut self.root, key, id, revision, slab, true) {
            let changed = revision.max(self.root.changed);
            let left = std::mem::replace(&mut self.root, Tree::default().root);
            self.root = Child::inner(vec![bound], vec![left, right], changed);
        }
    }

    /// Says that a key of the tree began or ceased to exist at `revision`.
    pub(crate) fn set_live(&mut self, key: &[u8], live: bool, revision: i64, slab: &Slab) {
        let mut child = &mut self.root;
        loop {
            child.live = child.live + usize::from(live) - usize::from(!live);
            child.changed = child.changed.max(revision);
            match &mut child.node {
                Node::Inner(inner) => {
                    let i = inner.route(key);
                    child = &mut inner.children[i];
                }
                Node::Leaf(leaf) => {
                    if let Ok(i) = leaf.find(key, slab) {
                        leaf.set_live(i, live);
                    }
                    return;
                }
            }
        }
    }

    /// Takes out a key that does not exist any more.
    pub(crate) fn remove(&mut self, key: &[u8], slab: &Slab) {
        remove(&mut self.root, key, slab);
        while let Node::Inner(inner) = &mut self.root.node {
            if inner.children.len() > 1 {
                break;
            }
            match inner.children.pop() {
                Some(only) => self.root = only,
                None => *self = Tree::default(),
            }
        }
    }

    /// Keys that exist now.
    pub(crate) fn live(&self) -> usize {
        self.root.live
    }

    /// Keys of `span` that exist now.
    pub(crate) fn count(&self, span: Span<'_>, slab: &Slab) -> usize {
        let upper = span
            .to
            .map_or(self.root.live, |to| self.live_below(to, slab));
        upper.saturating_sub(self.live_below(span.from, slab))
    }

    fn live_below(&self, key: &[u8], slab: &Slab) -> usize {
        let (mut node, mut sum) = (&self.root.node, 0);
        loop {
            match node {
                Node::Inner(inner) => {
                    let i = inner.route(key);
                    sum += inner.children[..i].iter().map(|c| c.live).sum::<usize>();
                    node = &inner.children[i].node;
                }
                Node::Leaf(leaf) => {
                    let (Ok(i) | Err(i)) = leaf.find(key, slab);
                    return sum + leaf.live_below(i);
                }
            }
        }
    }

    /// Keys of `span` that existed at `revision`.
    pub(crate) fn count_at(&self, span: Span<'_>, revision: i64, slab: &Slab) -> usize {
        if self.root.changed <= revision {
            return self.count(span, slab);
        }
        count_at(&self.root, Some(span.from), span.to, revision, slab)
    }

    /// Shows the ids of `span` in key order, and whether each exists now,
    /// until `visit` answers false.
    pub(crate) fn visit(
        &self,
        span: Span<'_>,
        slab: &Slab,
        mut visit: impl FnMut(Id, bool) -> bool,
    ) {
        walk(&self.root.node, Some(span.from), span.to, slab, &mut visit);
    }
}

/// Where chunk `i` of `count` begins when `total` things are dealt out evenly.
fn level_start(total: usize, count: usize, i: usize) -> usize {
    (total as u128 * i as u128 / count as u128) as usize
}

fn even_chunks(ids: &[Id], count: usize) -> impl Iterator<Item = &[Id]> {
    (0..count)
        .map(move |i| &ids[level_start(ids.len(), count, i)..level_start(ids.len(), count, i + 1)])
}

/// `rightmost`: nothing in the tree is right of this subtree.
fn insert(
    child: &mut Child,
    key: &[u8],
    id: Id,
    revision: i64,
    slab: &Slab,
    rightmost: bool,
) -> Option<(Box<[u8]>, Child)> {
    child.live += 1;
    child.changed = child.changed.max(revision);
    let changed = child.changed;
    let right = match &mut child.node {
        Node::Leaf(leaf) => {
            let (Ok(at) | Err(at)) = leaf.find(key, slab);
            if leaf.len() < LEAF_CAP {
                leaf.insert(at, id, true, slab);
                return None;
            }
            // Keys that arrive in order leave full leaves.
            let cut = if rightmost && at == LEAF_CAP {
                LEAF_CAP - 2
            } else {
                LEAF_CAP / 2
            };
            let mut right = leaf.split_off(cut, slab);
            if at <= cut && at < LEAF_CAP {
                leaf.insert(at, id, true, slab);
            } else {
                right.insert(at - cut, id, true, slab);
            }
            let left_last = leaf.ids()[leaf.len() - 1];
            let bound = separator(slab.key(left_last), slab.key(right.ids()[0]));
            Some((bound, Child::leaf(right, changed)))
        }
        Node::Inner(inner) => {
            let i = inner.route(key);
            let last = rightmost && i + 1 == inner.children.len();
            let (bound, right) = insert(&mut inner.children[i], key, id, revision, slab, last)?;
            inner.separators.insert(i, bound);
            inner.children.insert(i + 1, right);
            if inner.children.len() <= INNER_CAP {
                return None;
            }
            let cut = if last { INNER_CAP - 2 } else { INNER_CAP / 2 };
            let children = inner.children.split_off(cut);
            let separators = inner.separators.split_off(cut);
            let bound = inner.separators.pop()?;
            inner.children.shrink_to_fit();
            Some((bound, Child::inner(separators, children, changed)))
        }
    };
    if let Some((_, right)) = &right {
        child.live -= right.live;
    }
    right
}

fn remove(child: &mut Child, key: &[u8], slab: &Slab) {
    match &mut child.node {
        Node::Leaf(leaf) => {
            if let Ok(i) = leaf.find(key, slab) {
                leaf.remove(i);
            }
        }
        Node::Inner(inner) => {
            let i = inner.route(key);
            remove(&mut inner.children[i], key, slab);
            let size = inner.children[i].size();
            if size == 0 && inner.children.len() > 1 {
                inner.children.remove(i);
                inner.separators.remove(i.saturating_sub(1));
            } else if size < SMALL {
                inner.merge(i, slab);
            }
        }
    }
}

impl Inner {
    /// Merges child `i` with a neighbour if both fit well into one.
    fn merge(&mut self, i: usize, slab: &Slab) {
        let fits =
            |a: usize, b: usize| self.children[a].size() + self.children[b].size() <= MERGED_MAX;
        let left = if i > 0 && fits(i - 1, i) {
            i - 1
        } else if i + 1 < self.children.len() && fits(i, i + 1) {
            i
        } else {
            return;
        };
        let right = self.children.remove(left + 1);
        let bound = self.separators.remove(left);
        let child = &mut self.children[left];
        child.live += right.live;
        child.changed = child.changed.max(right.changed);
        match (&mut child.node, right.node) {
            (Node::Leaf(a), Node::Leaf(b)) => a.append(&b, slab),
            (Node::Inner(a), Node::Inner(b)) => {
                a.separators.push(bound);
                a.separators.extend(b.separators);
                a.children.extend(b.children);
            }
            // All leaves are at one depth.
            _ => unreachable!("siblings of different kinds"),
        }
    }
}

/// `from` and `to` are `None` where the subtree is inside the span on that side.
fn count_at(
    child: &Child,
    from: Option<&[u8]>,
    to: Option<&[u8]>,
    revision: i64,
    slab: &Slab,
) -> usize {
    if from.is_none() && to.is_none() && child.changed <= revision {
        return child.live;
    }
    match &child.node {
        Node::Leaf(leaf) => {
            let (begin, end) = places(leaf, from, to, slab);
            let ids = leaf.ids().get(begin..end).unwrap_or(&[]);
            ids.iter()
                .filter(|&&id| slab.get(id).at(revision).is_some())
                .count()
        }
        Node::Inner(inner) => {
            let begin = from.map_or(0, |key| inner.route(key));
            let end = to.map_or(inner.children.len() - 1, |key| inner.route(key));
            (begin..=end)
                .map(|i| {
                    let from = from.filter(|_| i == begin);
                    let to = to.filter(|_| i == end);
                    count_at(&inner.children[i], from, to, revision, slab)
                })
                .sum()
        }
    }
}

fn places(leaf: &Leaf, from: Option<&[u8]>, to: Option<&[u8]>, slab: &Slab) -> (usize, usize) {
    let place = |key: &[u8]| {
        let (Ok(i) | Err(i)) = leaf.find(key, slab);
        i
    };
    (from.map_or(0, place), to.map_or(leaf.len(), place))
}

fn walk(
    node: &Node,
    from: Option<&[u8]>,
    to: Option<&[u8]>,
    slab: &Slab,
    visit: &mut impl FnMut(Id, bool) -> bool,
) -> bool {
    match node {
        Node::Leaf(leaf) => {
            let (begin, end) = places(leaf, from, to, slab);
            (begin..end).all(|i| visit(leaf.ids()[i], leaf.is_live(i)))
        }
        Node::Inner(inner) => {
            let begin = from.map_or(0, |key| inner.route(key));
            let end = to.map_or(inner.children.len() - 1, |key| inner.route(key));
            (begin..=end).all(|i| {
                let from = from.filter(|_| i == begin);
                let to = to.filter(|_| i == end);
                walk(&inner.children[i].node, from, to, slab, visit)
            })
        }
    }
}
