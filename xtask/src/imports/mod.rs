//! Which file of a crate imports which, and the cycles among them.
//!
//! An import is any path in code that leads to an item of another file of the
//! same crate, in a `use` or not. A name that a file merely re-exports counts
//! for the file that defines it: a facade does not tie its users together. Test
//! modules are left out. Methods are not followed: that would need types.

mod graph;
mod resolve;
mod tree;

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, path::Path};

pub use graph::Cycle;

/// The import cycles between the files of the crate whose root file is `root`.
///
/// # Errors
/// A file that cannot be read or is not Rust.
pub fn cycles(root: &Path) -> Result<Vec<Cycle>, crate::Error> {
    let tree = tree::Tree::read(root)?;
    let edges: BTreeSet<(usize, usize)> = resolve::edges(&tree);
    Ok(graph::cycles(&tree.files, &edges))
}
