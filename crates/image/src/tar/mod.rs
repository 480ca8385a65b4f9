//! Tar archives, as images use them: the outer one that holds the blobs, and the
//! layers in it. A reader of our own, because what it reads comes from outside:
//! it holds one header at a time, allocates nothing by a size that a header
//! claims, and refuses names that lead out of the archive. A writer of our own,
//! because two builds must give the same bytes.
//!
//! Layout (POSIX ustar, with what GNU and pax added): a header of 512 bytes, the
//! content padded to 512, and so on; two blocks of zeros at the end.

mod block;
mod read;
mod write;

pub(crate) use read::{Bounds, Entry, Fault, Kind, Reader, clean};
pub(crate) use write::Writer;
