//! Authentication: who may do what, as etcd decides it. Users, roles and permissions are part of
//! the state machine: every member applies the same entries in the same order and comes to the
//! same verdicts, whether it is etcd or Pintle.
//!
//! Names are bytes. etcd takes any, keeps them as they are, and finds a user by them alone.
//!
//! Nothing here has a clock, a thread or a socket. Time is passed in; changes go out into a
//! [`bolt::Batch`]; whoever owns the [`Store`] locks it. Hashing a password takes a tenth of a
//! second on purpose: it must never be done on a thread that serves requests.
//!
//! | file | what it holds |
//! |---|---|
//! | `store.rs` | users, roles, the auth revision; who is root |
//! | `change.rs` | the entries that change them, and those that ask |
//! | `check.rs` | what a put, a range, a delete, a transaction, a lease need |
//! | `rules.rs` | where releases of etcd differ, and what each method needs, as data |
//! | `permissions.rs`, `tree.rs` | the permissions of a user's roles, merged |
//! | `record.rs` | the buckets `auth`, `authUsers`, `authRoles` |
//! | `password.rs` | bcrypt |
//! | `tokens/` | simple tokens, JWT |
//! | `identity.rs` | who asks |
//! | `error.rs` | errors for the caller |

#![forbid(unsafe_code)]

mod change;
mod check;
mod error;
mod identity;
pub mod password;
mod permissions;
mod record;
pub mod rules;
mod sort;
mod store;
pub mod tokens;
mod tree;

#[cfg(test)]
mod tests;

pub use change::Tokens;
pub use check::names_lease;
pub use error::{Error, RecoverError};
pub use identity::{Identity, ROOT};
pub use record::{BUCKET, ROLES, USERS};
pub use store::{Options, Store};
