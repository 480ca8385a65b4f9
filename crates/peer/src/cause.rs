//! What a connection to another member failed or ended with, in Go's words: operators search logs
//! for them.

use std::{error::Error as _, io};

/// A connection attempt that failed: `dial tcp HOST:PORT: connect: connection refused`.
pub(crate) fn dial_error(network: &str, address: &str, error: &io::Error) -> io::Error {
    let why = match error.raw_os_error() {
        Some(_) => format!("connect: {}", system(error)),
        None => error.to_string(),
    };
    io::Error::new(error.kind(), format!("dial {network} {address}: {why}"))
}

/// A body that did not come to its end.
pub(crate) fn of_body(error: hyper::Error) -> io::Error {
    let cause = error
        .source()
        .and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause.map(|cause| (cause.kind(), system(cause))) {
        // So hyper reports a body that breaks off.
        Some((kind @ io::ErrorKind::UnexpectedEof, _)) => io::Error::new(kind, "unexpected EOF"),
        Some((kind, why)) => io::Error::new(kind, format!("read: {why}")),
        None => io::Error::other(error),
    }
}

/// The system's own text, which Go begins with a small letter and shows without its number.
fn system(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}
