//! Why a connection failed, as the innermost error says it.

use std::error::Error as StdError;

/// The innermost cause: "connection refused" rather than "transport error".
pub(crate) fn root(error: &(dyn StdError + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
