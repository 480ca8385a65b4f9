//! From a key to its watchers: a hash map for single keys, a tree for ranges.
//! Watchers are slots of the group; each remembers its place in its list, so that
//! leaving a list of many is one swap.

use std::collections::HashMap;

use bytes::Bytes;

use super::{range::Range, spans::Spans};

/// All watchers of a group by what they watch.
#[derive(Debug)]
pub(super) struct Index {
    keys: HashMap<Bytes, Vec<u32>>,
    spans: Spans,
}

impl Index {
    pub(super) fn new(seed: u64) -> Index {
        Index {
            keys: HashMap::new(),
            spans: Spans::new(seed),
        }
    }

    /// Adds a watcher and gives its place in the list of its range.
    pub(super) fn insert(&mut self, range: &Range, watcher: u32) -> u32 {
        let list = match range {
            Range::Key(key) => self.keys.entry(key.clone()).or_default(),
            Range::Span(start, end) => self.spans.entry(start, end),
        };
        list.push(watcher);
        (list.len() - 1) as u32
    }

    /// Takes out the watcher at `place`. If another one took that place, gives it.
    pub(super) fn remove(&mut self, range: &Range, place: u32) -> Option<u32> {
        let list = match range {
            Range::Key(key) => self.keys.get_mut(key)?,
            Range::Span(start, end) => self.spans.get_mut(start, end)?,
        };
        list.swap_remove(place as usize);
        let moved = list.get(place as usize).copied();
        if list.is_empty() {
            match range {
                Range::Key(key) => drop(self.keys.remove(key)),
                Range::Span(start, end) => self.spans.remove(start, end),
            }
        }
        moved
    }

    /// Shows all watchers of a key, list by list, none twice.
    pub(super) fn visit(&self, key: &[u8], mut visit: impl FnMut(&[u32])) {
        if let Some(watchers) = self.keys.get(key) {
            visit(watchers);
        }
        self.spans.visit(key, &mut visit);
    }

    /// Number of different keys and ranges.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.keys.len() + self.spans.len()
    }

    /// Ranges on the longest way down the tree.
    #[cfg(test)]
    pub(super) fn depth(&self) -> usize {
        self.spans.depth()
    }
}
