//! The apply machine: committed entries into state, in log order. It alone changes keys, leases,
//! alarms and membership. A run of entries is applied under one write lock and published at once;
//! what follows for clients, watchers and the transport comes out as [`Effects`].
//!
//! | module | what it is |
//! |---|---|
//! | `machine` | the state of the machine, and what all of it may use |
//! | `turn` | what is queued, in order |
//! | `entry` | one entry: what it is, whether it is new to the database, who gets the result |
//! | `kv` | applies puts, deletions, transactions, compactions |
//! | `lease` | applies grants, revocations, checkpoints |
//! | `alarm` | applies alarms |
//! | `auth`, `users` | users, roles and authentication, and what every other entry needs |
//! | `snapshot` | when a snapshot is due, and what follows once it is saved |
//! | `install` | a received snapshot in place of this member's state |
//! | `line`, `look` | another line while the member runs, and whether it could be spoken |
//! | `schema`, `storage` | the version of the database's schema, which follows the cluster version |
//! | `membership` | applies changes of the configuration, attributes, versions, downgrades |
//!
//! An entry whose index the database already holds (consistent_index) must not
//! touch the v3 state again; membership and the v2 tree still follow it, since
//! those are rebuilt from the last `.snap`.
//!
//! Architecture invariant: an entry is never skipped. What must not be applied ends the turn with
//! [`Fatal`], and whoever drives the machine ends the process.

mod alarm;
mod auth;
mod command;
mod entry;
mod install;
mod kv;
mod lease;
mod line;
mod look;
mod machine;
mod membership;
mod schema;
mod snapshot;
mod storage;
mod turn;
mod users;
mod waiters;

pub use command::{Authenticated, Change, Command, Effects, Outcome, PeerChange, Waiter};
pub use look::Look;
pub use machine::{Machine, Options, Seed};
pub use snapshot::MembersToSend;
