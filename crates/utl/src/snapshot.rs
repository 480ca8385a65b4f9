//! `snapshot`: looking at a saved database, and making a member of it.

pub(crate) mod restore;
pub(crate) mod status;
