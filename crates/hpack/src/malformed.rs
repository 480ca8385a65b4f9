//! What a decoder of header blocks refuses.

/// A header block that cannot be read; the connection must end.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);
