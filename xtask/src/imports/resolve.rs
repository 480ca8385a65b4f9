//! From the paths of a module to the files that define what they name.

use std::collections::BTreeSet;

use super::tree::{Names, Tree};

/// Re-exports that name each other would go round for ever.
const HOPS_MAX: usize = 16;

/// What a path leads to.
enum Target {
    Module(usize),
    /// An item of this file.
    Item(usize),
    /// Another crate, a local name, or nothing that a `use` binds.
    Outside,
}

/// The imports: from a file to another that defines what it names.
pub(super) fn edges(tree: &Tree) -> BTreeSet<(usize, usize)> {
    let mut edges = BTreeSet::new();
    for (at, module) in tree.modules.iter().enumerate() {
        for path in &module.paths {
            // A module that is merely named is no import; what it is named for is one.
            if let Target::Item(file) = resolve(tree, at, path, 0)
                && file != module.file
            {
                edges.insert((module.file, file));
            }
        }
        for glob in &module.globs {
            if let Target::Module(of) = resolve(tree, at, glob, 0)
                && tree.modules[of].file != module.file
            {
                edges.insert((module.file, tree.modules[of].file));
            }
        }
    }
    edges
}

fn resolve(tree: &Tree, from: usize, path: &[String], hops: usize) -> Target {
    let Some((first, rest)) = path.split_first() else {
        return Target::Outside;
    };
    let start = match first.as_str() {
        "crate" => Some(0),
        "self" => Some(from),
        "super" => tree.modules[from].parent,
        name => return bound(tree, from, name, rest, hops).unwrap_or(Target::Outside),
    };
    start.map_or(Target::Outside, |start| descend(tree, start, rest, hops))
}

/// Where a path leads that begins with a name that `module` binds to another
/// module or by a `use`; `None` if it binds no such name.
fn bound(tree: &Tree, module: usize, name: &str, rest: &[String], hops: usize) -> Option<Target> {
    let here = &tree.modules[module];
    if let Some(&child) = here.children.get(name) {
        return Some(descend(tree, child, rest, hops));
    }
    let target = here.uses.get(name)?;
    // `use name;` exports a macro or another crate under its own name.
    if target.first().is_some_and(|first| first == name) {
        let own = here.items.contains(name).then_some(Target::Item(here.file));
        return Some(own.unwrap_or(Target::Outside));
    }
    if hops == HOPS_MAX {
        return Some(Target::Outside);
    }
    let path: Names = target.iter().chain(rest).cloned().collect();
    Some(resolve(tree, module, &path, hops + 1))
}

/// The rest of a path, from `module` on.
fn descend(tree: &Tree, module: usize, path: &[String], hops: usize) -> Target {
    let Some((first, rest)) = path.split_first() else {
        return Target::Module(module);
    };
    let here = &tree.modules[module];
    match first.as_str() {
        "self" => return descend(tree, module, rest, hops),
        "super" => {
            let parent = here.parent;
            return parent.map_or(Target::Outside, |parent| descend(tree, parent, rest, hops));
        }
        _ => {}
    }
    if let Some(target) = bound(tree, module, first, rest, hops) {
        return target;
    }
    if let Some(&file) = tree.macros.get(first).filter(|_| module == 0) {
        return Target::Item(file);
    }
    let defines = |at: usize| tree.modules[at].items.contains(first);
    if !defines(module) && hops < HOPS_MAX {
        for glob in &here.globs {
            match resolve(tree, module, glob, hops + 1) {
                Target::Module(of) if defines(of) => return Target::Item(tree.modules[of].file),
                _ => {}
            }
        }
    }
    Target::Item(here.file)
}
