//! Requests as etcd's own code reads them, which is laxer than the rules of
//! protobuf in some places and stricter in others. What a member takes from the
//! log must mean the same to every member, so an entry that etcd can read is
//! read here too, with the same content, and one that it cannot is refused.
//!
//! | module | what it is |
//! |---|---|
//! | `fields` | one field after another, by the rules of etcd up to 3.6, and of 3.7 |
//! | `read` | [`Read`], which each request implements |
//! | `messages` | which fields each request has |
//! | `internal` | the request in the log, of whose operations etcd performs one |
//! | `txn` | transactions within transactions, read and written without recursion |
//! | `nested` | the same, dropped without recursion |
//!
//! Where etcd's generated code and protobuf differ: a field of a union that comes
//! twice replaces what came before, groups need not match, a varint may have
//! superfluous bits, and text need not be UTF-8. From 3.7 on it is Go's own code, which keeps to
//! protobuf: a message of a union grows, groups match, and a known field in another encoding than
//! its own is passed over as one that is not known. Names of users and roles, and
//! passwords, are kept as they are. What etcd keeps as JSON alone is replaced at
//! once, byte by byte as Go does it.

mod fields;
mod internal;
mod messages;
mod nested;
mod read;
mod txn;

#[cfg(test)]
mod tests;

pub use fields::{Malformed, Rules, text};
pub use internal::{Logged, Order, encode_internal};
pub use nested::{Nest, Nested};
pub use read::Read;
pub use txn::encode_nested;
