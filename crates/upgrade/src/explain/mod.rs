//! What each check and each prediction means, what etcd does about it, how to see it by hand, and
//! the fix: one table for the terminal, the report page and `docs/reference/checks.md`. It must
//! never name a check that is not made.
//!
//! - [`Entry`]: one of them
//! - `checks`: P1 to P25
//! - `boots`: B1 to B14, how a start of the target ends, and what keeps `run` from a stop
//! - [`find`]: by an id or by a text of etcd
//! - `page`: the table for people, for programs and as a page of the documentation

mod boots;
mod checks;
mod entry;
mod find;
mod page;
#[cfg(test)]
mod tests;

pub(crate) use boots::of_boot;
pub use checks::CHECKS;
pub use entry::Entry;
#[cfg(test)]
pub(crate) use entry::STOP;
pub use find::{all, find};
pub use page::{PATH, page};
pub(crate) use page::{list, one};
