//! Why a connection failed, as the innermost error says it.

use std::{error::Error as StdError, io};

/// The innermost cause: "connection refused" rather than "transport error".
pub(crate) fn root(error: &(dyn StdError + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    match error.downcast_ref::<io::Error>().map(io::Error::kind) {
        // In Go's words: whoever runs etcdctl tells by them a member that is down.
        Some(io::ErrorKind::ConnectionRefused) => "connect: connection refused".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_connection_is_called_so_in_gos_words() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(root(&refused), "connect: connection refused");
        assert_eq!(
            root(&io::Error::other("the name is unknown")),
            "the name is unknown"
        );
    }
}
