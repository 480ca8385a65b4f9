//! The operations on directories and files.

use std::{fmt::Debug, fs::File, io, path::Path};

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Existing file, reading only.
    Read,
    /// Existing file, reading and writing.
    Write,
    /// A new, empty file with these permission bits; a file of that name is
    /// emptied.
    Create(u32),
}

/// Directories and files by path.
pub trait Disk: Send + Sync + Debug {
    /// Names of the entries of a directory, in no order.
    fn names(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Opens a file.
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn DiskFile>>;
    /// Creates a directory, and those above it, with mode 0700.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Renames a file or directory, replacing a file of the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory and what is in it; none of that name is no error.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Bytes that files in a directory can still grow by.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
}

/// An open file. Offsets and lengths are in bytes.
#[allow(clippy::len_without_is_empty)]
pub trait DiskFile: Send + Sync + Debug {
    /// Reads up to `buf.len()` bytes at `offset`; 0 at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `buf` at `offset`.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// Makes the content durable, and the length as far as needed to read it.
    fn sync(&self) -> io::Result<()>;
    /// Current length.
    fn len(&self) -> io::Result<u64>;
    /// Cuts the file, or extends it by zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Reserves space up to `len` and extends the file to it by zeros; without
    /// support of the file system only extends.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Takes the write lock of an open-file description on the whole file, as
    /// etcd does; `false` if someone else has it. It ends with this handle.
    fn try_lock(&self) -> io::Result<bool>;
}

/// Makes creations, renames and removals in a directory durable.
///
/// # Errors
/// The directory cannot be opened or synced.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// The same for the directory that `path` is in.
///
/// # Errors
/// Those of [`sync_dir`].
pub fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => sync_dir(Path::new(".")),
    }
}
