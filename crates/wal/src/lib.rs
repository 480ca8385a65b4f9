//! etcd's write-ahead log and `.snap` files, byte for byte.
//!
//! This crate writes what etcd 3.5 writes and reads what etcd 3.4 to 3.6
//! wrote. It knows frames, checksums, segments, locks and torn tails; it must
//! never look into what an entry means, and it must never drop a byte that a
//! sync had made durable: a broken record is either the torn end of a write
//! that was never acknowledged, or an [`Error`] naming file and offset.
//!
//! | room | what is there |
//! |---|---|
//! | [`disk`] | files, and a simulated disk: a crate of its own, shared with the database |
//! | [`frame`] | one frame: length field, record, padding, running checksum |
//! | [`name`] | `<seq>-<index>.wal`, and which segments a reader needs |
//! | [`recovery`] | the truth table: what a faulty place in a segment means |
//! | [`replay`] | reading segments in order: [`valid_snapshots`], [`read_all`], [`read_kept`], [`verify`] |
//! | [`Wal`] | the log opened for writing |
//! | [`prepare`] | the thread that zero-fills blocks before the writer gets there |
//! | [`purge`] | deleting segments and snapshots no one needs |
//! | [`snap`] | `.snap` files |
//!
//! Disk assumptions: a write that was not synced may be lost in whole or in
//! any part, in units of aligned 512-byte sectors, each of which holds its old
//! or its new content, or what no one wrote where no record looks intact; a sync that returned success keeps everything written
//! before it; a rename is atomic, and durable once its directory is synced.

#![forbid(unsafe_code)]

mod cursor;
mod error;
pub mod frame;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod name;
pub mod prepare;
pub mod purge;
pub mod recovery;
pub mod replay;
mod segment;
pub mod snap;
mod writer;

pub use disk;
#[cfg(feature = "sim")]
pub use disk::sim;
pub use error::Error;
pub use replay::{Keep, ReadOnly, read_all, read_kept, valid_snapshots, verify};
pub use writer::{Hold, Opened, Options, Repair, SEGMENT_BYTES, SyncStats, Wal};
