//! Functions that are longer than a reader can keep in mind.

use std::path::Path;

use proc_macro2::Span;
use syn::{
    Block, ImplItemFn, ItemFn, ItemMod, TraitItemFn,
    spanned::Spanned as _,
    visit::{self, Visit},
};

use crate::{Error, source};

/// A function and its lines, from its signature to its last brace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// How many lines it has.
    pub lines: usize,
}

/// The functions of a file; those of tests are left out.
///
/// # Errors
/// The file cannot be read or is not Rust.
pub fn of_file(path: &Path) -> Result<Vec<Function>, Error> {
    let file = source::parse(path)?;
    let mut found = Found(Vec::new());
    found.visit_file(&file);
    Ok(found.0)
}

struct Found(Vec<Function>);

impl Found {
    fn add(&mut self, name: &syn::Ident, begin: Span, block: &Block) {
        self.0.push(Function {
            name: name.to_string(),
            lines: 1 + block.span().end().line - begin.start().line,
        });
    }
}

impl<'a> Visit<'a> for Found {
    fn visit_item_fn(&mut self, item: &'a ItemFn) {
        if !source::is_test(&item.attrs) {
            self.add(&item.sig.ident, item.sig.span(), &item.block);
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'a ImplItemFn) {
        self.add(&item.sig.ident, item.sig.span(), &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'a TraitItemFn) {
        if let Some(block) = &item.default {
            self.add(&item.sig.ident, item.sig.span(), block);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_mod(&mut self, item: &'a ItemMod) {
        if !source::is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }
}
