//! The tree of ranges: which of them hold a key.
//!
//! A search tree by (start, end), where every node also knows the furthest end
//! below it, so that subtrees that stop before the key are skipped: O(log n +
//! hits). It is balanced by random priorities (a treap), whose seed comes from
//! outside. Watchers of the same range share a node: a thousand watchers of one
//! prefix are one node and one list.

use super::range::End;
use bytes::Bytes;

const NONE: u32 = u32::MAX;

/// The ranges of a group, each with its watchers.
#[derive(Debug)]
pub(super) struct Spans {
    nodes: Vec<Node>,
    free: Vec<u32>,
    root: u32,
    random: u64,
}

#[derive(Debug)]
struct Node {
    start: Bytes,
    end: End,
    /// The furthest end of this node and all below it.
    reach: End,
    priority: u64,
    left: u32,
    right: u32,
    watchers: Vec<u32>,
}

impl Spans {
    pub(super) fn new(seed: u64) -> Spans {
        Spans {
            nodes: Vec::new(),
            free: Vec::new(),
            root: NONE,
            random: seed | 1, // the generator must not stand on zero
        }
    }

    /// The watchers of exactly this range, for a new one to join.
    pub(super) fn entry(&mut self, start: &Bytes, end: &End) -> &mut Vec<u32> {
        let at = match self.find(start, end) {
            Some(at) => at,
            None => {
                let at = self.make(start.clone(), end.clone());
                self.root = self.insert(self.root, at);
                at
            }
        };
        &mut self.nodes[at as usize].watchers
    }

    /// The watchers of exactly this range, if it is in the tree.
    pub(super) fn get_mut(&mut self, start: &Bytes, end: &End) -> Option<&mut Vec<u32>> {
        let at = self.find(start, end)?;
        Some(&mut self.nodes[at as usize].watchers)
    }

    /// Takes a range out, once it has no watchers.
    pub(super) fn remove(&mut self, start: &Bytes, end: &End) {
        let mut removed = NONE;
        self.root = self.take(self.root, start, end, &mut removed);
        if removed != NONE {
            let node = &mut self.nodes[removed as usize];
            // Let go of the keys now, not when the slot is used again.
            (node.start, node.end, node.reach) = (Bytes::new(), End::Open, End::Open);
            node.watchers = Vec::new();
            self.free.push(removed);
        }
    }

    /// Shows the watchers of every range that holds `key`.
    pub(super) fn visit(&self, key: &[u8], visit: &mut impl FnMut(&[u32])) {
        self.visit_below(self.root, key, visit);
    }

    /// Number of different ranges.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    fn visit_below(&self, at: u32, key: &[u8], visit: &mut impl FnMut(&[u32])) {
        let Some(node) = self.nodes.get(at as usize) else {
            return; // NONE
        };
        if !node.reach.is_after(key) {
            return;
        }
        self.visit_below(node.left, key, visit);
        if &node.start[..] <= key {
            if node.end.is_after(key) {
                visit(&node.watchers);
            }
            self.visit_below(node.right, key, visit);
        }
    }

    fn find(&self, start: &Bytes, end: &End) -> Option<u32> {
        let mut at = self.root;
        while let Some(node) = self.nodes.get(at as usize) {
            at = match (start, end).cmp(&(&node.start, &node.end)) {
                std::cmp::Ordering::Less => node.left,
                std::cmp::Ordering::Equal => return Some(at),
                std::cmp::Ordering::Greater => node.right,
            };
        }
        None
    }

    fn make(&mut self, start: Bytes, end: End) -> u32 {
        // xorshift64: enough to balance a tree, if the seed is not known outside.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let node = Node {
            start,
            reach: end.clone(),
            end,
            priority: self.random,
            left: NONE,
            right: NONE,
            watchers: Vec::new(),
        };
        match self.free.pop() {
            Some(at) => {
                self.nodes[at as usize] = node;
                at
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
        }
    }

    /// Puts node `new`, whose range is not in the tree, below `at`.
    fn insert(&mut self, at: u32, new: u32) -> u32 {
        if at == NONE {
            return new;
        }
        let goes_left = self.is_before(new, at);
        if self.nodes[new as usize].priority > self.nodes[at as usize].priority {
            let (left, right) = self.split(at, new);
            let node = &mut self.nodes[new as usize];
            (node.left, node.right) = (left, right);
            self.measure(new);
            return new;
        }
        if goes_left {
            let left = self.insert(self.nodes[at as usize].left, new);
            self.nodes[at as usize].left = left;
        } else {
            let right = self.insert(self.nodes[at as usize].right, new);
            self.nodes[at as usize].right = right;
        }
        self.measure(at);
        at
    }

    /// Parts a subtree into what comes before node `by` and what comes after.
    fn split(&mut self, at: u32, by: u32) -> (u32, u32) {
        if at == NONE {
            return (NONE, NONE);
        }
        if self.is_before(by, at) {
            let (before, after) = self.split(self.nodes[at as usize].left, by);
            self.nodes[at as usize].left = after;
            self.measure(at);
            (before, at)
        } else {
            let (before, after) = self.split(self.nodes[at as usize].right, by);
            self.nodes[at as usize].right = before;
            self.measure(at);
            (at, after)
        }
    }

    /// Joins two subtrees, all of the first before all of the second.
    fn join(&mut self, left: u32, right: u32) -> u32 {
        if left == NONE || right == NONE {
            return if left == NONE { right } else { left };
        }
        if self.nodes[left as usize].priority > self.nodes[right as usize].priority {
            let joined = self.join(self.nodes[left as usize].right, right);
            self.nodes[left as usize].right = joined;
            self.measure(left);
            left
        } else {
            let joined = self.join(left, self.nodes[right as usize].left);
            self.nodes[right as usize].left = joined;
            self.measure(right);
            right
        }
    }

    fn take(&mut self, at: u32, start: &Bytes, end: &End, removed: &mut u32) -> u32 {
        let Some(node) = self.nodes.get(at as usize) else {
            return NONE;
        };
        let (left, right) = (node.left, node.right);
        match (start, end).cmp(&(&node.start, &node.end)) {
            std::cmp::Ordering::Equal => {
                *removed = at;
                return self.join(left, right);
            }
            std::cmp::Ordering::Less => {
                self.nodes[at as usize].left = self.take(left, start, end, removed);
            }
            std::cmp::Ordering::Greater => {
                self.nodes[at as usize].right = self.take(right, start, end, removed);
            }
        }
        self.measure(at);
        at
    }

    fn is_before(&self, a: u32, b: u32) -> bool {
        let (a, b) = (&self.nodes[a as usize], &self.nodes[b as usize]);
        (&a.start, &a.end) < (&b.start, &b.end)
    }

    /// Computes `reach` anew from the node and its children.
    fn measure(&mut self, at: u32) {
        let node = &self.nodes[at as usize];
        let mut reach = &node.end;
        for child in [node.left, node.right] {
            if let Some(child) = self.nodes.get(child as usize) {
                reach = reach.max(&child.reach);
            }
        }
        let reach = reach.clone();
        self.nodes[at as usize].reach = reach;
    }
}

#[cfg(test)]
impl Spans {
    /// Nodes on the longest way down.
    pub(super) fn depth(&self) -> usize {
        let mut deepest = 0;
        let mut open = vec![(self.root, 1)];
        while let Some((at, depth)) = open.pop() {
            if let Some(node) = self.nodes.get(at as usize) {
                deepest = deepest.max(depth);
                open.extend([(node.left, depth + 1), (node.right, depth + 1)]);
            }
        }
        deepest
    }
}
