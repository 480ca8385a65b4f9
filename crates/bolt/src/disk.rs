//! Where bytes come from and go to. The write path uses a [`Disk`], the read path a [`Map`]; a file is the
//! usual pair, memory the other. Nothing here knows what a page means. A `Map` never reaches past what its disk promised
//! to hold, and a file's map is only ever read below the length the file had when the bytes were committed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

pub use ::disk::{Map, Memory};

/// The storage under a database. Offsets and lengths are bytes. All calls may come from several threads; writes and
/// `set_len` come from one at a time.
pub trait Disk: Send + Sync + 'static {
    /// Fills `buf` from `offset`; fails with `UnexpectedEof` past the end.
    fn pread(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;
    /// Writes all of `data` at `offset`, extending the store where needed.
    fn pwrite(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Returns when everything written before is durable, the length included.
    fn sync(&self) -> io::Result<()>;
    /// Present length.
    fn len(&self) -> io::Result<u64>;
    /// True when nothing is stored.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Extends (with zeros) or shortens the store.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// A view of the first `len` bytes at least. Bytes beyond the present length may be promised but must not be read;
    /// later writes show through.
    fn map(&self, len: u64) -> io::Result<Map>;
}

/// A regular file.
pub(crate) struct FileDisk(pub(crate) File);

impl Disk for FileDisk {
    fn pread(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }

    fn pwrite(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn map(&self, len: u64) -> io::Result<Map> {
        // SAFETY: the database holds the file's lock as long as this disk lives, and its own writer shortens nothing and
        // writes to no page that a reader looks at.
        unsafe { Map::of_file(&self.0, len) }
    }
}
