//! Cycles of a directed graph: its strongly connected components of two or more
//! nodes, by the algorithm of Tarjan.

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
};

/// Files that import each other, directly or through others.
#[derive(Debug)]
pub struct Cycle {
    /// The files, in order.
    pub files: Vec<PathBuf>,
    /// The imports among them.
    pub imports: Vec<(PathBuf, PathBuf)>,
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} files import each other:", self.files.len())?;
        for (from, to) in &self.imports {
            writeln!(f, "  {} -> {}", from.display(), to.display())?;
        }
        Ok(())
    }
}

/// The cycles of the graph of `files` with these `edges`.
pub(super) fn cycles(files: &[PathBuf], edges: &BTreeSet<(usize, usize)>) -> Vec<Cycle> {
    let mut search = Search {
        edges,
        states: vec![State::default(); files.len()],
        stack: Vec::new(),
        visited: 0,
        found: Vec::new(),
    };
    for node in 0..files.len() {
        if search.states[node].order == 0 {
            search.visit(node);
        }
    }
    search
        .found
        .into_iter()
        .filter(|nodes| nodes.len() > 1)
        .map(|nodes| describe(files, edges, &nodes))
        .collect()
}

fn describe(files: &[PathBuf], edges: &BTreeSet<(usize, usize)>, nodes: &[usize]) -> Cycle {
    let name = |node: usize| -> &Path { &files[node] };
    let mut members: Vec<PathBuf> = nodes.iter().map(|&node| name(node).into()).collect();
    members.sort();
    let imports = edges
        .iter()
        .filter(|(from, to)| nodes.contains(from) && nodes.contains(to))
        .map(|&(from, to)| (name(from).into(), name(to).into()))
        .collect();
    Cycle {
        files: members,
        imports,
    }
}

#[derive(Clone, Default)]
struct State {
    /// When the node was first visited, from 1; 0 for not yet.
    order: usize,
    /// The earliest node on the stack that can be reached from here.
    low: usize,
    on_stack: bool,
}

struct Search<'a> {
    edges: &'a BTreeSet<(usize, usize)>,
    states: Vec<State>,
    stack: Vec<usize>,
    visited: usize,
    found: Vec<Vec<usize>>,
}

impl Search<'_> {
    /// Recursion is as deep as the longest chain of imports of one crate.
    fn visit(&mut self, node: usize) {
        self.visited += 1;
        self.states[node] = State {
            order: self.visited,
            low: self.visited,
            on_stack: true,
        };
        self.stack.push(node);
        for &(_, next) in self.edges.range((node, 0)..(node + 1, 0)) {
            if self.states[next].order == 0 {
                self.visit(next);
                self.states[node].low = self.states[node].low.min(self.states[next].low);
            } else if self.states[next].on_stack {
                self.states[node].low = self.states[node].low.min(self.states[next].order);
            }
        }
        if self.states[node].low == self.states[node].order {
            let mut component = Vec::new();
            while let Some(top) = self.stack.pop() {
                self.states[top].on_stack = false;
                component.push(top);
                if top == node {
                    break;
                }
            }
            self.found.push(component);
        }
    }
}
