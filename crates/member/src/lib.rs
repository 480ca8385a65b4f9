//! A member without the machine that it runs on: what enters the log, in which order work is
//! done, and what an entry changes. The server's threads drive it, and so does the simulator.
//!
//! | module | what it is |
//! |---|---|
//! | [`propose`] | the consensus core: which proposals it takes, and its work sorted by who does it |
//! | [`forwarded`] | which proposals of other members it refuses |
//! | [`log`] | the log writer: what is queued becomes one write and one sync |
//! | [`apply`] | the apply machine: committed entries, and received snapshots, into state |
//! | [`snapshot`] | the steps that write a snapshot |
//! | [`open`] | what a data directory holds: database, membership |
//! | [`state`] | what readers see of the applied state |
//! | [`host`] | what a member needs from the process around it |
//! | [`alarms`], [`quota`] | the alarms that are active, and what counts against the quota |
//! | [`plant`] | bugs on purpose, in builds for the simulator |
//! | [`status`] | etcd's errors |
//!
//! Architecture invariant: nothing here starts a thread, reads a clock, or names a type of
//! tokio. Files are reached through [`host::Files`] and the crates for log and database alone.

#![forbid(unsafe_code)]

pub mod alarms;
pub mod apply;
mod error;
pub mod forwarded;
pub mod host;
pub mod log;
pub mod open;
pub mod plant;
pub mod propose;
pub mod quota;
pub mod snapshot;
pub mod state;
pub mod status;

pub use apply::{Command, Effects, Machine, Outcome, Seed, Waiter};
pub use error::{At, Error, Fatal};
pub use host::{Files, Host};
pub use state::State;
