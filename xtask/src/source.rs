//! Rust files as syntax trees.

use std::path::Path;

use syn::{Attribute, Meta};

use crate::Error;

/// Reads a Rust file.
///
/// # Errors
/// The file cannot be read or is not Rust.
pub fn parse(path: &Path) -> Result<syn::File, Error> {
    syn::parse_file(&read(path)?).map_err(|error| Error::new(path, error.to_string()))
}

/// Reads a text file.
///
/// # Errors
/// The file cannot be read or is not text.
pub fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|error| Error::new(path, error.to_string()))
}

/// Whether what has these attributes is compiled for tests alone.
pub fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let Meta::List(list) = &attribute.meta else {
            return attribute.path().is_ident("test");
        };
        let condition = list.tokens.to_string().replace(' ', "");
        list.path.is_ident("cfg") && (condition == "test" || condition.starts_with("all(test,"))
    })
}
