//! Database files in bbolt's format.
#![cfg_attr(not(test), warn(missing_docs))]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("page offsets are counted in usize; a 64-bit target is needed");

mod batch;
pub mod check;
mod compact;
mod cursor;
mod db;
mod disk;
mod error;
mod freespace;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod image;
mod meta;
mod node;
mod page;
mod read;
mod settle;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
#[cfg(test)]
mod tests;
mod tree;
mod walk;
mod write;

pub use batch::Batch;
pub use compact::compact;
pub use cursor::{Cursor, Pair};
pub use db::{Db, LOCK_WARN_AFTER, Options, Warn};
pub use disk::{Disk, Map, Memory};
pub use error::Error;
pub use image::ImageReader;
pub use read::{Bucket, BucketNames, BucketStats, ReadTx};
pub use write::WriteTx;

/// Keys and bucket names are at most this long, in bytes. bbolt's own limit.
pub const MAX_KEY_SIZE: usize = 32768;
/// Values are at most this long, in bytes. bbolt's own limit.
pub const MAX_VALUE_SIZE: usize = (1 << 31) - 2;
