//! A connection that did not come about, in Go's words: operators search logs for them. For plain
//! connections as well, so that both say the same.

use std::io;

/// A connection attempt that failed: `dial tcp HOST:PORT: connect: connection refused`.
pub fn dial_error(network: &str, address: &str, error: &io::Error) -> io::Error {
    let why = match error.raw_os_error() {
        Some(_) => format!("connect: {}", system(error)),
        None => error.to_string(),
    };
    io::Error::new(error.kind(), format!("dial {network} {address}: {why}"))
}

/// The system's own text, which Go begins with a small letter and shows without its number.
pub(crate) fn system(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_connection_is_named_as_go_names_it() {
        let refused = io::Error::from_raw_os_error(libc::ECONNREFUSED);
        assert_eq!(
            dial_error("tcp", "127.0.0.1:2380", &refused).to_string(),
            "dial tcp 127.0.0.1:2380: connect: connection refused"
        );
        let unknown = io::Error::other("no such host");
        assert_eq!(
            dial_error("tcp", "nowhere:1", &unknown).to_string(),
            "dial tcp nowhere:1: no such host"
        );
    }
}
