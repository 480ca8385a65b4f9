//! What a token is made of: a login, and the moment.

/// This moment, on the two clocks that tokens know.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Milliseconds of a clock that only goes forward.
    pub monotonic_ms: u64,
    /// Seconds since 1970.
    pub unix_secs: i64,
}

/// A login, as its entry records it.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    /// Who logged in.
    pub user: &'a [u8],
    /// The auth revision of that moment.
    pub revision: u64,
    /// What makes a simple token unique.
    pub prefix: &'a str,
    /// The entry before that of the login.
    pub index: u64,
}
