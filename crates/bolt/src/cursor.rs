//! Moving through a bucket in key order. A cursor remembers the pages from the root to its position, so that a step
//! costs a few instructions and a near key a few comparisons.

use crate::error::Error;
use crate::page::{ELEM_BUCKET, Kind, MAX_DEPTH, PageView, Pages, Root};

/// A key and its value; for a bucket the value is empty, see [`Cursor::is_bucket`].
pub type Pair<'a> = (&'a [u8], &'a [u8]);

#[derive(Clone, Copy)]
struct Frame<'a> {
    page: PageView<'a>,
    at: usize,
}

/// A position in a bucket. Every move returns the pair it arrives at, or `None` past either end.
#[derive(Clone)]
pub struct Cursor<'a> {
    pages: &'a Pages,
    root: Root<'a>,
    /// From the root to a leaf; empty before the first move and after an error.
    stack: Vec<Frame<'a>>,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(pages: &'a Pages, root: Root<'a>) -> Cursor<'a> {
        Cursor {
            pages,
            root,
            stack: Vec::new(),
        }
    }

    /// Moves to the first key.
    pub fn first(&mut self) -> Result<Option<Pair<'a>>, Error> {
        self.restart()?;
        self.sink(false)?;
        self.here_or_next()
    }

    /// Moves to the last key.
    pub fn last(&mut self) -> Result<Option<Pair<'a>>, Error> {
        self.restart()?;
        if let Some(root) = self.stack.last_mut() {
            root.at = root.page.count.saturating_sub(1);
        }
        self.sink(true)?;
        match self.stack.last() {
            Some(leaf) if leaf.page.count == 0 => self.prev(),
            _ => self.pair(),
        }
    }

    /// Moves to the next key. Before any other move this is [`Cursor::first`].
    #[inline]
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Pair<'a>>, Error> {
        match self.stack.last_mut() {
            None => self.first(),
            Some(leaf) if leaf.at + 1 < leaf.page.count => {
                leaf.at += 1;
                self.pair()
            }
            Some(leaf) => {
                leaf.at = leaf.page.count;
                self.here_or_next()
            }
        }
    }

    /// Moves to the key before. Before any other move this is [`Cursor::last`]; on the first key it returns `None` and
    /// stays there.
    pub fn prev(&mut self) -> Result<Option<Pair<'a>>, Error> {
        match self.stack.last_mut() {
            None => return self.last(),
            Some(leaf) if leaf.at > 0 => {
                leaf.at -= 1;
                return self.pair();
            }
            Some(_) => {}
        }
        let first = self.stack.clone();
        loop {
            // Up to the first level with a left sibling, then down along its right edge.
            let Some(level) = self.stack[..self.stack.len() - 1]
                .iter()
                .rposition(|f| f.at > 0)
            else {
                self.stack = first;
                return Ok(None);
            };
            self.stack.truncate(level + 1);
            self.stack[level].at -= 1;
            self.sink(true)?;
            if self.stack.last().is_some_and(|leaf| leaf.page.count > 0) {
                return self.pair();
            }
        }
    }

    /// Moves to the first key that is not less than `key`.
    pub fn seek(&mut self, key: &[u8]) -> Result<Option<Pair<'a>>, Error> {
        self.restart()?;
        loop {
            let frame = self.stack.last_mut().expect("restart pushes the root");
            if frame.page.kind == Kind::Leaf {
                frame.at = match frame.page.search(key) {
                    Ok(Ok(i) | Err(i)) => i,
                    Err(e) => return self.fail(e),
                };
                return self.here_or_next();
            }
            let routed = frame.page.route(key);
            frame.at = match routed {
                Ok(i) => i,
                Err(e) => return self.fail(e),
            };
            self.down()?;
        }
    }

    /// [`Cursor::seek`] for a key that is likely near: tries the current leaf and its right neighbour before it starts
    /// from the root.
    #[inline]
    pub fn seek_near(&mut self, key: &[u8]) -> Result<Option<Pair<'a>>, Error> {
        for neighbour in [false, true] {
            if neighbour {
                match self.stack.last_mut() {
                    None => break,
                    Some(leaf) => leaf.at = leaf.page.count,
                }
                if !self.right()? {
                    break;
                }
            }
            let Some(leaf) = self.stack.last_mut() else {
                break;
            };
            let count = leaf.page.count;
            if count == 0 || leaf.page.key(0)? > key && !neighbour {
                break;
            }
            if leaf.page.key(count - 1)? < key {
                continue;
            }
            // Neighbouring keys are the common case: look one and two ahead, then search on that side.
            let at = leaf.at.min(count - 1);
            let (mut low, mut high) = (0, count);
            if leaf.page.key(at)? < key {
                low = at + 1;
                let near = (low + 2).min(count);
                while low < near {
                    if leaf.page.key(low)? >= key {
                        leaf.at = low;
                        return self.pair();
                    }
                    low += 1;
                }
            } else {
                high = at + 1;
            }
            leaf.at = match leaf.page.search_from(key, low, high)? {
                Ok(i) | Err(i) => i,
            };
            return self.pair();
        }
        self.seek(key)
    }

    /// True when the cursor is at a bucket.
    pub fn is_bucket(&self) -> bool {
        match self.stack.last() {
            Some(leaf) if leaf.at < leaf.page.count => {
                leaf.page.leaf_flags(leaf.at) & ELEM_BUCKET != 0
            }
            _ => false,
        }
    }

    fn restart(&mut self) -> Result<(), Error> {
        self.stack.clear();
        if self.stack.capacity() == 0 {
            self.stack.reserve(6);
        }
        let page = self.root.page(self.pages)?;
        self.stack.push(Frame { page, at: 0 });
        Ok(())
    }

    fn fail<T>(&mut self, e: Error) -> Result<T, Error> {
        self.stack.clear();
        Err(e)
    }

    /// From a branch to the child at its position.
    fn down(&mut self) -> Result<(), Error> {
        let frame = self.stack.last().expect("called on a branch");
        let child = frame.page.child(frame.at);
        if self.stack.len() >= MAX_DEPTH {
            let e = self.pages.corrupt(
                child,
                format!("the tree is deeper than {MAX_DEPTH} levels; it contains a cycle"),
            );
            return self.fail(e);
        }
        match self.pages.page(child) {
            Ok(page) => {
                self.stack.push(Frame { page, at: 0 });
                Ok(())
            }
            Err(e) => self.fail(e),
        }
    }

    /// From a branch down to a leaf, along the left or the right edge of the pages that are entered.
    fn sink(&mut self, right_edge: bool) -> Result<(), Error> {
        while self
            .stack
            .last()
            .is_some_and(|f| f.page.kind == Kind::Branch)
        {
            self.down()?;
            if right_edge && let Some(entered) = self.stack.last_mut() {
                entered.at = entered.page.count.saturating_sub(1);
            }
        }
        Ok(())
    }

    /// From the end of a leaf to the start of the next one; false (and the cursor past the end) where there is none.
    fn right(&mut self) -> Result<bool, Error> {
        let Some(level) = self.stack[..self.stack.len() - 1]
            .iter()
            .rposition(|f| f.at + 1 < f.page.count)
        else {
            return Ok(false);
        };
        self.stack.truncate(level + 1);
        self.stack[level].at += 1;
        self.sink(false)?;
        Ok(true)
    }

    /// The pair at the cursor; past the end of a leaf, the first pair of the leaves after it.
    #[inline]
    fn here_or_next(&mut self) -> Result<Option<Pair<'a>>, Error> {
        loop {
            match self.stack.last() {
                None => return Ok(None),
                Some(leaf) if leaf.at < leaf.page.count => return self.pair(),
                Some(_) => {}
            }
            if !self.right()? {
                return Ok(None);
            }
        }
    }

    #[inline]
    fn pair(&mut self) -> Result<Option<Pair<'a>>, Error> {
        let Some(leaf) = self.stack.last() else {
            return Ok(None);
        };
        if leaf.at >= leaf.page.count {
            return Ok(None);
        }
        match leaf.page.leaf(leaf.at) {
            Ok(e) if e.is_bucket() => Ok(Some((e.key, &[]))),
            Ok(e) => Ok(Some((e.key, e.value))),
            Err(e) => self.fail(e),
        }
    }
}
