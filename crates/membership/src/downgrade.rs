//! A downgrade of the cluster.

/// Whether a downgrade is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Downgrade {
    /// There never was one.
    #[default]
    Never,
    /// The last one ended, or was given up.
    Ended,
    /// To this version, like `3.5.0`.
    To(String),
}
