//! Memory that maps a file, or takes the place of one.

use std::fs::File;
use std::io;
use std::sync::Arc;

/// A read-only window onto a disk; it keeps its memory alive as long as it lives.
pub struct Map {
    raw: Arc<memmap2::MmapRaw>,
    /// Backed by a file, from which a page that was released comes again.
    of_file: bool,
}

impl Map {
    /// Maps the first `len` bytes of `file`; `len` may exceed the file's length, so that growth needs no new map.
    ///
    /// # Safety
    ///
    /// While the map lives the file is written to through the handle that made the map only, and not shortened.
    pub unsafe fn of_file(file: &File, len: u64) -> io::Result<Map> {
        let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let raw = memmap2::MmapOptions::new()
            .len(len.max(1))
            .map_raw_read_only(file)?;
        Ok(Map {
            raw: Arc::new(raw),
            of_file: true,
        })
    }

    /// A window onto `memory`.
    pub fn of_memory(memory: &Memory) -> Map {
        Map {
            raw: memory.raw.clone(),
            of_file: false,
        }
    }

    /// Returns the resident pages of a file's map to the system, which reads them again on the next access. For
    /// after a walk over everything. Memory is left alone.
    pub fn advise_cold(&self) {
        self.advise_cold_at(0, self.len());
    }

    /// The same for a part that begins and ends between pages.
    pub fn advise_cold_at(&self, offset: u64, len: u64) {
        let fits = offset.checked_add(len).is_some_and(|end| end <= self.len());
        if self.of_file && fits {
            // SAFETY: the mapping is shared, read-only and backed by the file, so dropping its resident pages changes no
            // byte that anyone sees: the next access maps the page cache's page again. The part is inside it, as was
            // just checked. That it is not done is no harm.
            let _ = unsafe {
                rustix::mm::madvise(
                    self.raw
                        .as_mut_ptr()
                        .cast::<u8>()
                        .add(offset as usize)
                        .cast(),
                    len as usize,
                    rustix::mm::Advice::LinuxDontNeed,
                )
            };
        }
    }

    /// Length of the window in bytes.
    pub fn len(&self) -> u64 {
        self.raw.len() as u64
    }

    /// True for a window of no bytes.
    pub fn is_empty(&self) -> bool {
        self.raw.len() == 0
    }

    /// The bytes `offset .. offset + len`, or `None` when they are not all inside the window.
    ///
    /// The crate calls this only for pages below the high-water mark of a committed meta page, whose bytes the file is
    /// known to hold (checked at open, extended before the commit), and the writer never writes to such a page while a
    /// reader that can reach it lives.
    #[inline]
    pub fn slice(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(len)?;
        if end > self.raw.len() {
            return None;
        }
        // SAFETY: start..end is inside the mapping, which lives as long as self. The bytes do not change while the
        // slice lives: callers ask only for pages of a committed state they pin, and the writer reuses a page only when
        // no reader pins it (freespace.rs). The file lock keeps other processes from writing or truncating.
        Some(unsafe { std::slice::from_raw_parts(self.raw.as_ptr().add(start), len) })
    }
}

/// A fixed capacity of zeroed memory that a disk made of memory stores into and a [`Map`] looks at. Pages of it that were
/// never touched cost nothing.
#[derive(Clone)]
pub struct Memory {
    raw: Arc<memmap2::MmapRaw>,
}

impl Memory {
    /// Reserves `capacity` bytes.
    pub fn new(capacity: usize) -> io::Result<Memory> {
        let map = memmap2::MmapOptions::new()
            .len(capacity.max(1))
            .no_reserve_swap()
            .map_anon()?;
        Ok(Memory {
            raw: Arc::new(map.into()),
        })
    }

    /// Capacity in bytes.
    pub fn capacity(&self) -> u64 {
        self.raw.len() as u64
    }

    /// Stores `data` at `offset`; fails with `StorageFull` past the capacity.
    ///
    /// # Safety
    ///
    /// No one stores or loads at the same time, and no one holds a slice of a [`Map`] of these bytes. The one writer of a
    /// database keeps to this.
    pub unsafe fn store(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let start = self.span(offset, data.len())?;
        // SAFETY: the range was checked; the source is a Rust slice that cannot overlap memory no one borrows mutably.
        unsafe {
            std::ptr::copy_nonoverlapping(
                data.as_ptr(),
                self.raw.as_mut_ptr().add(start),
                data.len(),
            )
        };
        Ok(())
    }

    /// Copies `buf.len()` bytes from `offset`.
    pub fn load(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let start = self.span(offset, buf.len())?;
        // SAFETY: as in `store`, with the roles exchanged.
        unsafe {
            std::ptr::copy_nonoverlapping(self.raw.as_ptr().add(start), buf.as_mut_ptr(), buf.len())
        };
        Ok(())
    }

    fn span(&self, offset: u64, len: usize) -> io::Result<usize> {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let start = usize::try_from(offset).map_err(|_| full())?;
        let end = start.checked_add(len).ok_or_else(full)?;
        if end > self.raw.len() {
            Err(full())
        } else {
            Ok(start)
        }
    }
}
