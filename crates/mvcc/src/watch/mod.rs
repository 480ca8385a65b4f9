//! Watchers: which keys each one follows, and which events it has yet to receive.
//!
//! A [`WatcherGroup`] holds all watchers of one runtime thread. It is plain data:
//! no thread, no lock, no clock, no socket. Requests, event batches and the time
//! go in; bytes of gRPC frames come out, per stream, to be written as they are.
//!
//! ```text
//!                 create, start <= revision        history read up to `revision`
//!   request ──────────────────────────▶ behind ───────────────────────▶ synced
//!      │                                  ▲                               │
//!      └── create, start > revision ──────│───────────────────▶ synced    │
//!                                         └── event while its stream ─────┘
//!                                             holds too much output
//! ```
//!
//! A synced watcher gets each batch at once. A watcher that is behind gets
//! nothing live and reads the store's history, from the first revision it has not
//! been given, until it has caught up: so a slow client costs a bounded buffer,
//! never an event. What must never happen: an event lost, sent twice or out of
//! order; the events of one revision in two responses unless the client asked for
//! fragments; a progress notification ahead of an event that the stream has still
//! to carry; an event encoded once per watcher.
//!
//! | file | what it holds |
//! |---|---|
//! | `group.rs` | creation, cancellation, output |
//! | `deliver.rs` | a batch, to the watchers that are synced |
//! | `catch_up.rs` | reading history for watchers that are behind |
//! | `whole.rs`, `gathered.rs` | the history of one watcher in one response |
//! | `progress.rs` | progress, asked for and periodic |
//! | `watcher.rs`, `scratch.rs` | one watcher; memory that deliveries use again |
//! | `reason.rs` | why a watch was not made, or ended |
//! | `stream.rs` | one stream: its ids, its output, what it waits for |
//! | `index.rs` | from a key to its watchers |
//! | `spans.rs` | the tree of ranges that the index uses |
//! | `range.rs` | which keys a watcher asked for |
//! | `frame.rs` | responses as bytes |
//! | `source.rs` | what a group asks of the store |
//!
//! The rules are etcd's (3.5.30 was asked where the documents are silent). One
//! differs on purpose: a watcher that compaction ended does not hold back progress
//! notifications of its stream, as it does in etcd until the client cancels it.

mod catch_up;
mod deliver;
mod frame;
mod gathered;
mod group;
mod index;
mod progress;
mod range;
pub mod reason;
mod scratch;
mod source;
mod spans;
mod stream;
#[cfg(test)]
mod tests;
mod watcher;
mod whole;

pub use group::{Options, Stats, WatcherGroup};
pub use source::{HistoryError, Past, Source};
