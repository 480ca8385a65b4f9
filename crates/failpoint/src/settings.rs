//! Several settings in one text.

use std::io::{self, Error, ErrorKind::InvalidInput};

use crate::terms::Terms;

/// Reads `name=terms;name=terms`.
pub(crate) fn settings(text: &str) -> io::Result<Vec<(&str, Terms)>> {
    let parts = text.split(';').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let setting = part.split_once('=');
            setting
                .and_then(|(name, terms)| Some((name, Terms::parse(terms)?)))
                .ok_or_else(|| Error::new(InvalidInput, format!("bad failpoint {part:?}")))
        })
        .collect()
}
