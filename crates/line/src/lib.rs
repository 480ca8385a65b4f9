//! etcd's release lines, 3.5, 3.6 and 3.7: what they do differently, as data. A member speaks one
//! of them, and everything that depends on which asks here: no other crate of the server compares
//! versions, or writes one down.
//!
//! | module | what it is |
//! |---|---|
//! | [`lines`] | their names |
//! | [`facts`] | one row for each line: what it announces, stores and proposes |
//! | [`feature`] | what only some lines have: methods, fields, checks |
//! | [`choice`] | `--line`: which line a member speaks, and why it must not |
//! | [`change`] | from one line to another while the cluster runs |
//! | [`series`] | what only some lines have of `/metrics` |
//! | [`spoken`] | the line that a running member speaks |
//! | [`release`] | what is known of other releases |
//! | [`versions`] | how versions are compared |
//!
//! Architecture invariant: nothing here reads a file, asks a member, or knows what a version is
//! stored in.

#![forbid(unsafe_code)]

pub mod change;
pub mod choice;
pub mod facts;
pub mod feature;
pub mod lines;
pub mod release;
pub mod series;
pub mod spoken;
pub mod versions;

#[cfg(test)]
mod tests;

pub use change::{Change, Kept};
pub use choice::{Choice, Known, Unfit};
pub use facts::{Facts, OwnEntries, SnapshotData, Truth};
pub use feature::Feature;
pub use lines::Line;
pub use spoken::Spoken;
pub use versions::{MIN_CLUSTER_VERSION, below, is_same_minor, minor, trimmed};
