//! Functions that other modules call and whose error is a bare text: a caller can print it, and
//! cannot tell one failure from another.

use std::path::Path;

use syn::{
    GenericArgument, ImplItemFn, ItemFn, ItemMod, ItemTrait, PathArguments, ReturnType, Signature,
    TraitItem, Type, Visibility,
    visit::{self, Visit},
};

use crate::{Error, source};

/// The functions of a file that are visible outside its module and return `Result<_, String>`;
/// those of tests are left out.
///
/// # Errors
/// The file cannot be read or is not Rust.
pub fn of_file(path: &Path) -> Result<Vec<String>, Error> {
    let file = source::parse(path)?;
    Ok(of_syntax(&file))
}

pub(crate) fn of_syntax(file: &syn::File) -> Vec<String> {
    let mut found = Found(Vec::new());
    found.visit_file(file);
    found.0
}

struct Found(Vec<String>);

impl Found {
    fn add(&mut self, signature: &Signature) {
        if let ReturnType::Type(_, output) = &signature.output
            && is_text_error(output)
        {
            self.0.push(signature.ident.to_string());
        }
    }
}

fn is_text_error(output: &Type) -> bool {
    let Type::Path(path) = output else {
        return false;
    };
    let Some(last) = path.path.segments.last().filter(|s| s.ident == "Result") else {
        return false;
    };
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return false;
    };
    match arguments.args.iter().nth(1) {
        Some(GenericArgument::Type(Type::Path(error))) => error.path.is_ident("String"),
        _ => false,
    }
}

fn is_visible(visibility: &Visibility) -> bool {
    !matches!(visibility, Visibility::Inherited)
}

impl<'a> Visit<'a> for Found {
    fn visit_item_fn(&mut self, item: &'a ItemFn) {
        if !source::is_test(&item.attrs) && is_visible(&item.vis) {
            self.add(&item.sig);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'a ImplItemFn) {
        if is_visible(&item.vis) {
            self.add(&item.sig);
        }
    }

    fn visit_item_trait(&mut self, item: &'a ItemTrait) {
        for method in &item.items {
            if let TraitItem::Fn(method) = method {
                self.add(&method.sig);
            }
        }
    }

    fn visit_item_mod(&mut self, item: &'a ItemMod) {
        if !source::is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_others_call_and_what_fails_with_a_text_counts() {
        let code = "
            pub(crate) fn bare() -> Result<Vec<u8>, String> { todo!() }
            pub fn named() -> Result<String, Wrong> { todo!() }
            fn private() -> Result<(), String> { todo!() }
            trait Work { fn answer(&self) -> Result<(), String>; }
            impl Thing { pub(super) async fn read(&self) -> Result<String, String> { todo!() } }
            #[cfg(test)] mod tests { pub fn of_a_test() -> Result<(), String> { todo!() } }
        ";
        let file = syn::parse_file(code).expect("Rust");
        assert_eq!(of_syntax(&file), ["bare", "answer", "read"]);
    }
}
