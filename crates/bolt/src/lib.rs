//! # bolt: database files in bbolt's format
//!
//! One file, one writer, many readers that each see one committed state, unchanging. The file is byte for byte what
//! bbolt, and so etcd, reads and writes; etcd can be put back on it at any time. The crate knows pages, keys and
//! buckets, and nothing about what etcd stores in them. It must never show a state that was not committed, write to a page
//! that someone can still reach, or panic on any input.
//!
//! ## Byte map
//!
//! Little-endian. The file is an array of pages; the page size (a power of two, the system's when the file was made)
//! is in the meta pages. A page is addressed by its id, its offset divided by the page size.
//!
//! ```text
//! page 0, 1    the meta pages
//! page 2 ..    branch, leaf and freelist pages in any order, and free pages, up to the high-water mark
//! after it     space for growth, content undefined (16 MiB steps, so that few commits change the length)
//!
//! page header  0  id u64 | 8  flags u16: 1 branch, 2 leaf, 4 meta, 16 freelist | 10  count u16 | 12  overflow u32
//!              overflow pages follow the page and have no header
//! meta        16  magic u32 ED0CDAED | 20  version u32 2 | 24  page size u32 | 28  flags u32
//!             32  root page u64 | 40  root sequence u64 | 48  freelist page u64, all ones where none is stored
//!             56  high-water mark u64 | 64  transaction id u64 | 72  FNV-1a 64 over bytes 16 .. 72
//! branch      16  count x { key position u32 | key size u32 | child page u64 }, keys
//! leaf        16  count x { flags u32: 1 bucket | key position u32 | key size u32 | value size u32 }, keys and values
//!             positions count from the start of their element; data follow the elements in order, without gaps
//! freelist    16  count x page id u64, ascending; a count of FFFF says that the first slot holds the number
//! bucket      a leaf value: root page u64 | sequence u64; with root page 0 a leaf page's image follows (inline)
//! ```
//!
//! The root page's tree holds the top-level buckets; etcd has ten of them and none inside another.
//!
//! ## Reading
//!
//! The file is mapped, in more address space than it needs, so that it grows under open readers; a file that outgrows its
//! map gets another one, and the old one lives as long as its readers. A [`ReadTx`] is a transaction id and a map, counted
//! in a table. Keys and values are handed out as slices of the map. Every id, element and length is checked where it is
//! used; damage is an [`Error::Corrupt`] with page and offset. Only pages below the high-water mark are looked at, and a
//! file shorter than that is refused at opening, so the map never ends in a bus error.
//!
//! ## Writing
//!
//! A [`WriteTx`] takes the pages on the way to a changed key into memory as entries that point to their bytes, in the map
//! or in an arena of the transaction; appending a key costs a comparison and a copy. A commit
//!
//! 1. merges pages below a quarter with a neighbour, cuts those that do not fit, inlines small buckets,
//! 2. gives every changed page a new id: free pages from the front of the file first, then the high-water mark,
//! 3. extends the file where needed and writes the pages, neighbours in one write,
//! 4. waits for the disk (fdatasync),
//! 5. writes the meta page of the new state to page `transaction id mod 2`,
//! 6. waits for the disk again, and shows the state to readers.
//!
//! Wherever a commit fails, one of the two meta pages names a complete state: the old one or the new one. An error in
//! a commit is final for the process ([`Error::Failed`]), since after a failed fdatasync no one knows what the disk holds.
//!
//! A page released by transaction t is reused by t + 1 at the earliest, and not while a reader is open that began after
//! the page was written and before t committed.
//!
//! ## Free pages
//!
//! They are not stored (as etcd has it on Linux): opening for writing walks all branch and leaf pages; what it does
//! not reach is free. A stored list is read by the checker only, and dropped by the first commit. A file in which a page
//! is reached twice cannot be opened for writing, since freeing the page once would destroy the other owner's data.
//!
//! ## Assumptions about the disk
//!
//! * Data is on stable storage when fdatasync returns success, the file's length included.
//! * Writes that were not synced may be lost, arrive in any order, or tear, sector by sector, into old, new or
//!   garbage; no write touches sectors outside its range.
//! * Bytes read are bytes written, or the read fails. Checksums cover the meta pages only; that is the format's choice.
//!   A read error of a mapped page kills the process with a bus error, as it does bbolt.
//! * No one else writes to the file: `flock` keeps etcd, its tools and this crate apart, one writer or many readers.
//!
//! ## Rooms
//!
//! | module | what it is |
//! |---|---|
//! | `db` | opening a file: lock, creation, meta data |
//! | `state` | an open database: the current state, its readers, the writer's resources |
//! | `read`, `cursor`, `image` | snapshots and how they are read |
//! | `write`, `batch` | the write transaction and the commit protocol |
//! | `tree`, `node`, `entry`, `settle` | a bucket's tree while it changes; cutting, merging, encoding |
//! | `arena` | the bytes that a transaction adds |
//! | `freespace` | which pages may be written to |
//! | `id`, `page`, `meta`, `walk` | the format: reading pages, never trusting them |
//! | [`check`], `compact` | verification, defragmentation |
//! | `disk`, `sim` | the storage seam: a file, or a disk that fails on demand |

#[cfg(not(target_pointer_width = "64"))]
compile_error!("page offsets are counted in usize; a 64-bit target is needed");

mod arena;
mod batch;
pub mod check;
mod compact;
mod cursor;
mod db;
mod disk;
mod entry;
mod error;
mod freespace;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod id;
mod image;
mod meta;
mod node;
mod page;
mod read;
mod settle;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod state;
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
pub use id::PageId;
pub use image::ImageReader;
pub use page::{MAX_KEY_SIZE, MAX_VALUE_SIZE};
pub use read::{Bucket, BucketNames, BucketStats, ReadTx};
pub use write::WriteTx;
