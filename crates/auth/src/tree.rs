//! Intervals of keys in a red-black tree, each node with the largest end below it (Cormen et al.,
//! chapters 13 and 14.3), balanced in the order of etcd's.
//!
//! A sorted list of merged intervals answers the same for every range that is one. But a request
//! may ask for `[b, a)`, and then etcd's answer depends on the shape of its tree. The verdict is
//! part of the state machine, so the shape is too.

use std::cmp::Ordering;

use bytes::Bytes;

/// `[begin, end)`; an empty bound is after all keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    begin: Bytes,
    end: Bytes,
}

impl Interval {
    pub(crate) fn new(begin: &[u8], end: &[u8]) -> Interval {
        Interval {
            begin: Bytes::copy_from_slice(begin),
            end: Bytes::copy_from_slice(end),
        }
    }

    /// The interval of a single key.
    pub(crate) fn point(key: &[u8]) -> Interval {
        let mut end = Vec::with_capacity(key.len() + 1);
        end.extend_from_slice(key);
        end.push(0);
        Interval {
            begin: Bytes::copy_from_slice(key),
            end: end.into(),
        }
    }

    /// Equal means that they overlap.
    fn place(&self, begin: &[u8], end: &[u8]) -> Ordering {
        if order(&self.begin, begin).is_lt() && order(&self.end, begin).is_le() {
            Ordering::Less
        } else if order(&self.begin, end).is_ge() {
            Ordering::Greater
        } else {
            Ordering::Equal
        }
    }
}

/// The order of bounds.
fn order(one: &[u8], other: &[u8]) -> Ordering {
    match (one.is_empty(), other.is_empty()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => one.cmp(other),
    }
}

/// The place of a node. The first node is the sentinel: every leaf's child, the root's parent.
type At = usize;
const NIL: At = 0;

struct Node {
    interval: Interval,
    /// The largest end here and below.
    max: Bytes,
    left: At,
    right: At,
    parent: At,
    is_red: bool,
}

/// A set of intervals.
pub(crate) struct Tree {
    nodes: Vec<Node>,
    root: At,
}

impl Default for Tree {
    fn default() -> Tree {
        let sentinel = Node {
            interval: Interval::new(b"", b""),
            max: Bytes::new(),
            left: NIL,
            right: NIL,
            parent: NIL,
            is_red: false,
        };
        Tree {
            nodes: vec![sentinel],
            root: NIL,
        }
    }
}

impl Tree {
    pub(crate) fn insert(&mut self, interval: Interval) {
        let (mut parent, mut at) = (NIL, self.root);
        let mut is_left = false;
        while at != NIL {
            parent = at;
            is_left = order(&interval.begin, &self.nodes[at].interval.begin).is_lt();
            at = self.child(at, is_left);
        }
        let new = self.nodes.len();
        self.nodes.push(Node {
            max: interval.end.clone(),
            interval,
            left: NIL,
            right: NIL,
            parent,
            is_red: true,
        });
        if parent == NIL {
            self.root = new;
        } else {
            self.set_child(parent, is_left, new);
            self.update_max(parent);
        }
        self.rebalance(new);
    }

    fn child(&self, at: At, is_left: bool) -> At {
        let node = &self.nodes[at];
        if is_left { node.left } else { node.right }
    }

    fn set_child(&mut self, at: At, is_left: bool, child: At) {
        let node = &mut self.nodes[at];
        if is_left {
            node.left = child;
        } else {
            node.right = child;
        }
    }

    fn update_max(&mut self, mut at: At) {
        while at != NIL {
            let node = &self.nodes[at];
            let mut max = &node.interval.end;
            for child in [node.left, node.right] {
                if child != NIL && order(&self.nodes[child].max, max).is_gt() {
                    max = &self.nodes[child].max;
                }
            }
            if order(&node.max, max).is_eq() {
                break;
            }
            let (max, parent) = (max.clone(), node.parent);
            self.nodes[at].max = max;
            at = parent;
        }
    }

    fn rebalance(&mut self, mut at: At) {
        loop {
            let parent = self.nodes[at].parent;
            if !self.nodes[parent].is_red {
                break;
            }
            // A red node has a parent.
            let above = self.nodes[parent].parent;
            let is_left = parent == self.nodes[above].left;
            let uncle = self.child(above, !is_left);
            if self.nodes[uncle].is_red {
                self.nodes[uncle].is_red = false;
                self.nodes[parent].is_red = false;
                self.nodes[above].is_red = true;
                at = above;
                continue;
            }
            if at == self.child(parent, !is_left) {
                at = parent;
                self.rotate(at, is_left);
            }
            let parent = self.nodes[at].parent;
            let above = self.nodes[parent].parent;
            self.nodes[parent].is_red = false;
            self.nodes[above].is_red = true;
            self.rotate(above, !is_left);
        }
        let root = self.root;
        self.nodes[root].is_red = false;
    }

    /// Moves a node below one of its children: to the left below the right one, or the reverse.
    fn rotate(&mut self, at: At, to_left: bool) {
        let child = self.child(at, !to_left);
        if child == NIL {
            return;
        }
        let inner = self.child(child, to_left);
        self.set_child(at, !to_left, inner);
        if inner != NIL {
            self.nodes[inner].parent = at;
        }
        self.update_max(at);
        self.replace(at, child);
        self.set_child(child, to_left, at);
        self.update_max(child);
    }

    /// Puts a node in the place of its parent.
    fn replace(&mut self, at: At, child: At) {
        let parent = self.nodes[at].parent;
        self.nodes[child].parent = parent;
        if parent == NIL {
            self.root = child;
        } else {
            let is_left = at == self.nodes[parent].left;
            self.set_child(parent, is_left, child);
            self.update_max(parent);
        }
        self.nodes[at].parent = child;
    }

    /// Whether some interval overlaps this one.
    pub(crate) fn intersects(&self, asked: &Interval) -> bool {
        let mut at = self.root;
        while at != NIL {
            let node = &self.nodes[at];
            if asked
                .place(&node.interval.begin, &node.interval.end)
                .is_eq()
            {
                return true;
            }
            let goes_left =
                node.left != NIL && order(&self.nodes[node.left].max, &asked.begin).is_gt();
            at = self.child(at, goes_left);
        }
        false
    }

    /// Whether the intervals together cover this one without a gap.
    pub(crate) fn covers(&self, asked: &Interval) -> bool {
        let mut covered: Option<(&Bytes, &Bytes)> = None;
        let is_contiguous = self.visit(self.root, asked, &mut |one| {
            let Some((_, end)) = &mut covered else {
                covered = Some((&one.begin, &one.end));
                return true;
            };
            if order(end, &one.begin).is_lt() {
                return false;
            }
            if order(&one.end, end).is_gt() {
                *end = &one.end;
            }
            true
        });
        is_contiguous
            && covered.is_some_and(|(begin, end)| {
                order(end, &asked.end).is_ge() && order(begin, &asked.begin).is_le()
            })
    }

    /// Calls `visitor` for what overlaps, in order, until it returns false. As deep as the tree,
    /// which is balanced.
    fn visit<'a>(
        &'a self,
        at: At,
        asked: &Interval,
        visitor: &mut dyn FnMut(&'a Interval) -> bool,
    ) -> bool {
        if at == NIL {
            return true;
        }
        let node = &self.nodes[at];
        match asked.place(&node.interval.begin, &node.interval.end) {
            Ordering::Less => self.visit(node.left, asked, visitor),
            Ordering::Equal => {
                self.visit(node.left, asked, visitor)
                    && visitor(&node.interval)
                    && self.visit(node.right, asked, visitor)
            }
            Ordering::Greater => {
                let below = Interval {
                    begin: node.interval.begin.clone(),
                    end: node.max.clone(),
                };
                !below.place(&asked.begin, &asked.end).is_eq()
                    || (self.visit(node.left, asked, visitor)
                        && self.visit(node.right, asked, visitor))
            }
        }
    }
}

#[cfg(test)]
mod tests;
