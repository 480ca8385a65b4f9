//! The consensus node: raft-rs behind etcd's own wire types. Events in, work
//! out; no I/O, no clock, no threads, so that a simulator can drive it as the
//! server does.
//!
//! | module | what it is |
//! |---|---|
//! | `node` | [`Node`]: events and work |
//! | `guard` | which messages of other members are let in |
//! | `error` | what it cannot take |
//! | `store` | the log in memory, from the last compaction on, payloads shared |
//! | `wire` | etcd's messages to raft-rs's and back, payloads moved |
//! | `drain` | raft-rs's log lines into `tracing` |
//!
//! Architecture invariant: nothing outside this crate names a type of raft-rs.
//! raft-rs never parses a byte from outside: configuration changes are opaque
//! to it, since its enum differs from etcd's.

#![forbid(unsafe_code)]

mod backlog;
mod drain;
mod error;
mod guard;
mod node;
mod store;
#[cfg(test)]
mod tests;
mod wire;

pub use error::{Error, ProposeError};
pub use node::{Config, Initial, Node, Role, SoftState, Status, Work};
