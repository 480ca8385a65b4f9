//! What certificates are for.

/// What a certificate must be good for, as the last byte of 1.3.6.1.5.5.7.3.x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Shown by who listens.
    Server = 1,
    /// Shown by who dials.
    Client = 2,
}
