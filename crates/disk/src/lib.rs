//! Files, as the log and the database need them: one abstraction, the operating
//! system's files below it, and a disk in memory that crashes on request. It must
//! never know what is in a file.
//!
//! - [`Disk`], [`DiskFile`]: the operations; [`OsDisk`]: the operating system's
//! - [`sync_dir`], [`sync_parent`]: names made durable
//! - [`Map`], [`Memory`]: memory that maps a file, or takes the place of one
//! - `sim`: the simulated disk, with the one model of what a crash leaves, behind
//!   the feature `sim`
//!
//! What is assumed of a disk is at the end of docs/design/README.md.

mod file;
mod map;
mod os;
#[cfg(feature = "sim")]
pub mod sim;

pub use file::{Disk, DiskFile, Mode, sync_dir, sync_parent};
pub use map::{Map, Memory};
pub use os::{NoSync, OsDisk};
