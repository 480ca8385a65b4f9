//! Who is in the cluster: one truth, and its projections.
//!
//! | module | what it is |
//! |---|---|
//! | [`cluster`] | [`Cluster`]: the truth, as of one index |
//! | `id`, `member`, `downgrade` | what it is made of; how ids are derived |
//! | [`conf_change`] | which changes hold, what they change; the first members' entries |
//! | [`v2store`] | the projection into the v2 tree, which is what `.snap` files hold |
//! | [`v3store`] | the projection into the buckets of the database |
//! | [`replay`] | the membership as the log tells it, entry by entry |
//! | [`disagreement`] | where the copies on disk contradict each other |
//! | [`urls`] | peer URLs, and `--initial-cluster` |
//! | [`entry`] | which of its two languages a raft entry speaks |
//!
//! Architecture invariant: every copy of the membership on disk is written by
//! one function each, from one [`Cluster`]. Nothing here talks to the network.

#![forbid(unsafe_code)]

pub mod cluster;
pub mod conf_change;
mod context;
pub mod disagreement;
mod downgrade;
pub mod entry;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod id;
mod json;
mod member;
pub mod replay;
mod request_id;
#[cfg(test)]
mod tests;
pub mod urls;
pub mod v2store;
pub mod v3store;

pub use cluster::{Cluster, ClusterId, Downgrade, Error, Member, MemberId};
pub use disagreement::Disagreement;
pub use entry::{Payload, Refusal, decode_entry};
pub use replay::Replay;
pub use request_id::RequestIds;
