//! The unit of an archive.

/// Headers and padding are multiples of this.
pub(super) const BLOCK: usize = 512;
