//! The module tree of a crate: its files, the names that each module binds, and
//! the paths in its code.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, Item, ItemMod, UseTree};

use crate::{Error, source};

/// A path as written, one name after the other.
pub(super) type Names = Vec<String>;

/// A module, inline or in a file of its own.
#[derive(Debug, Default)]
pub(super) struct Module {
    /// The file it is in.
    pub(super) file: usize,
    pub(super) parent: Option<usize>,
    pub(super) children: BTreeMap<String, usize>,
    /// The items it defines.
    pub(super) items: BTreeSet<String>,
    /// Names bound by `use`, and what they stand for.
    pub(super) uses: BTreeMap<String, Names>,
    /// The modules of `use …::*`.
    pub(super) globs: Vec<Names>,
    /// The paths of its code, those of `use` included.
    pub(super) paths: BTreeSet<Names>,
}

/// The modules and files of a crate.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) modules: Vec<Module>,
    pub(super) files: Vec<PathBuf>,
    /// Exported macros are in the root by name, wherever they are written.
    pub(super) macros: BTreeMap<String, usize>,
}

impl Tree {
    pub(super) fn read(root: &Path) -> Result<Self, Error> {
        let mut tree = Self::default();
        let folder = root.parent().unwrap_or(Path::new("."));
        tree.add_file(root, folder, None)?;
        Ok(tree)
    }

    /// Adds the module in the file `path`, whose children are in `folder`.
    fn add_file(
        &mut self,
        path: &Path,
        folder: &Path,
        parent: Option<usize>,
    ) -> Result<usize, Error> {
        let file = self.files.len();
        self.files.push(path.to_owned());
        let items = source::parse(path)?.items;
        self.add_module(file, folder, parent, items)
    }

    fn add_module(
        &mut self,
        file: usize,
        folder: &Path,
        parent: Option<usize>,
        items: Vec<Item>,
    ) -> Result<usize, Error> {
        let module = self.modules.len();
        self.modules.push(Module {
            file,
            parent,
            ..Module::default()
        });
        for item in items {
            self.add_item(module, folder, item)?;
        }
        Ok(module)
    }

    fn add_item(&mut self, module: usize, folder: &Path, item: Item) -> Result<(), Error> {
        if source::is_test(attributes(&item)) {
            return Ok(());
        }
        match item {
            Item::Mod(child) => return self.add_child(module, folder, child),
            Item::Use(item) => {
                self.bind(module, &item.tree, &mut Vec::new());
                self.scan(module, item.tree.into_token_stream());
            }
            Item::Macro(item) if item.mac.path.is_ident("macro_rules") => {
                if let Some(name) = item.ident {
                    self.macros
                        .insert(name.to_string(), self.modules[module].file);
                }
            }
            item => {
                self.modules[module].items.extend(name(&item));
                self.scan(module, item.into_token_stream());
            }
        }
        Ok(())
    }

    fn add_child(&mut self, module: usize, folder: &Path, child: ItemMod) -> Result<(), Error> {
        let name = child.ident.to_string();
        let below = folder.join(&name);
        let added = match child.content {
            Some((_, items)) => {
                let file = self.modules[module].file;
                self.add_module(file, &below, Some(module), items)?
            }
            None => {
                let file = [below.join("mod.rs"), below.with_extension("rs")]
                    .into_iter()
                    .find(|path| path.exists());
                match file {
                    Some(path) => self.add_file(&path, &below, Some(module))?,
                    // Made by a build script, with #[path] or in OUT_DIR.
                    None => return Ok(()),
                }
            }
        };
        self.modules[module].children.insert(name, added);
        Ok(())
    }

    fn bind(&mut self, module: usize, tree: &UseTree, before: &mut Names) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.bind(module, &path.tree, before);
                before.pop();
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.bind(module, tree, before);
                }
            }
            UseTree::Glob(_) => self.modules[module].globs.push(before.clone()),
            UseTree::Name(name) => {
                let name = name.ident.to_string();
                let mut target = before.clone();
                let bound = match name.as_str() {
                    "self" => target.last().cloned().unwrap_or_default(),
                    _ => {
                        target.push(name.clone());
                        name
                    }
                };
                self.modules[module].uses.insert(bound, target);
            }
            UseTree::Rename(rename) => {
                let mut target = before.clone();
                if rename.ident != "self" {
                    target.push(rename.ident.to_string());
                }
                self.modules[module]
                    .uses
                    .insert(rename.rename.to_string(), target);
            }
        }
    }

    /// Collects the paths of two and more names in `tokens`, those in the
    /// arguments of macros too.
    fn scan(&mut self, module: usize, tokens: TokenStream) {
        collect(tokens, &[], &mut self.modules[module].paths);
    }
}

fn name(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Adds every path in `tokens` to `paths`. `before` is the path in front of the
/// braces of a `use` that the tokens are in.
fn collect(tokens: TokenStream, before: &[String], paths: &mut BTreeSet<Names>) {
    let mut tokens = tokens.into_iter().peekable();
    let mut path: Names = before.to_vec();
    let mut open = true;
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Ident(name) if open => {
                path.push(name.to_string());
                open = false;
            }
            TokenTree::Ident(name) => {
                finish(&mut path, before, paths);
                path.push(name.to_string());
            }
            TokenTree::Punct(first) if first.as_char() == ':' && !open => {
                let second = tokens.next_if(
                    |next| matches!(next, TokenTree::Punct(punct) if punct.as_char() == ':'),
                );
                open = second.is_some();
                if !open {
                    finish(&mut path, before, paths);
                    open = true;
                }
            }
            TokenTree::Group(group) => {
                let is_use = open && group.delimiter() == Delimiter::Brace && !path.is_empty();
                let prefix = if is_use { path.clone() } else { Vec::new() };
                finish(&mut path, before, paths);
                collect(group.stream(), &prefix, paths);
                open = true;
            }
            _ => {
                finish(&mut path, before, paths);
                open = true;
            }
        }
    }
    finish(&mut path, before, paths);
}

fn finish(path: &mut Names, before: &[String], paths: &mut BTreeSet<Names>) {
    if path.len() > 1 && path.len() > before.len() {
        paths.insert(path.clone());
    }
    path.clear();
    path.extend_from_slice(before);
}
