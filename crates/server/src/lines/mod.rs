//! The line of a running cluster. One member is asked to change it; it looks at all members,
//! refuses by name what would not end well, and has each of them keep that the change is under
//! way. From there on no one leads it: each member makes the change by itself once it sees that
//! all can, and gives it up where it sees that they cannot.
//!
//! | module | what it is |
//! |---|---|
//! | [`file`] | what a member keeps of its line |
//! | [`kept`] | the same in memory |
//! | [`own`] | what this member answers when it is asked, and told |
//! | [`survey`] | what all members answer |
//! | [`findings`], [`judge`] | what keeps a cluster from a line |
//! | [`set`] | a change, from the question to its begin |
//! | [`next`] | what a member in a change does next |
//!
//! Architecture invariant: a line is spoken by the apply machine alone, between two entries. What
//! is decided here is only that it is asked to.

pub(crate) mod file;
pub mod findings;
pub mod judge;
pub mod kept;
pub mod next;
pub mod own;
pub mod set;
pub mod survey;

#[cfg(test)]
mod tests;

pub use kept::LineKept;

/// Where members ask each other for their lines.
pub const PAGE: &str = "/pintle/line";
