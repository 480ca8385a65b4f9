//! Keys with history: revisions, the key index, transactions, compaction,
//! hashes and watch, over a database file in bbolt's format.
//!
//! - [`backend`]: the open batch, the committer thread, defragmentation
//! - [`Store`]: the keys; ranges for any thread, a [`Writer`] for the one that applies
//! - [`hash_kv_of_file`]: the hash that members compare, of a file that no member uses
//! - [`validate`]: what a request must satisfy before it is proposed
//! - [`events`]: what one revision changed
//! - [`watch`]: who wants to hear of it
//! - [`stored`]: the encoded `KeyValue`, read without decoding it whole
//!
//! The crate knows nothing of raft, gRPC or clocks of clients. A value is
//! encoded once, when it is written; ranges and events pass those bytes on.

pub mod backend;
mod error;
pub mod events;
mod index;
mod revision;
mod store;
pub mod stored;
pub mod validate;
pub mod watch;

pub use error::{Error, OpenError};
pub use events::{Event, EventBatch, EventKind};
pub use revision::Revision;
pub use store::{
    CompactionObserver, CompactionStep, CompactionTicket, EventRef, FileHashError, HashKv, Leases,
    Place, RangeAnswer, RangeStream, Store, StoreOptions, Writer, hash_kv_of_file,
};
