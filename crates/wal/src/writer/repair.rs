//! What happens to the end of the last segment before writing goes on: a copy
//! of a torn one, then nothing but zeros behind the last whole record. Must
//! never change the segment before the copy is durable.

use std::path::{Path, PathBuf};

use time::{OffsetDateTime, macros::format_description};

use crate::{
    disk::{Disk, DiskFile, Mode},
    error::Error,
    name::{beside, parent_of},
};

/// Bytes are copied in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;

/// A torn end that was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// The segment.
    pub path: PathBuf,
    /// Offset behind its last whole record; everything from here on is zero now.
    pub offset: u64,
    /// How many bytes lay behind, up to the last that was not zero.
    pub dropped_bytes: u64,
    /// The copy of the segment as it was found.
    pub copy: PathBuf,
}

/// Copies a segment to `<name>.broken`. The zeros at its end stay a hole.
pub(super) fn keep_copy(
    disk: &dyn Disk,
    path: &Path,
    file: &dyn DiskFile,
    offset: u64,
) -> Result<Repair, Error> {
    let copy = beside(path, ".broken");
    let read = |e| Error::io("read", path, e);
    let write = |e| Error::io("write", &copy, e);
    let out = disk
        .open(&copy, Mode::Create(0o600))
        .map_err(|e| Error::io("create", &copy, e))?;
    let mut piece = vec![0; PIECE_BYTES];
    let (mut at, mut data_end) = (0u64, 0u64);
    loop {
        let got = file.read_at(&mut piece, at).map_err(read)?;
        if got == 0 {
            break;
        }
        if let Some(last) = piece[..got].iter().rposition(|&b| b != 0) {
            out.write_at(&piece[..got], at).map_err(write)?;
            data_end = at + last as u64 + 1;
        }
        at += got as u64;
    }
    out.set_len(at).and_then(|()| out.sync()).map_err(write)?;
    let dir = parent_of(path);
    disk.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))?;
    let dropped_bytes = data_end.saturating_sub(offset);
    Ok(Repair {
        path: path.into(),
        offset,
        dropped_bytes,
        copy,
    })
}

/// Clears everything from `offset` on and reserves the segment's space again.
pub(super) fn clear(
    file: &dyn DiskFile,
    path: &Path,
    offset: u64,
    segment_bytes: u64,
) -> Result<(), Error> {
    file.set_len(offset)
        .map_err(|e| Error::io("cut", path, e))?;
    if offset < segment_bytes {
        file.allocate(segment_bytes)
            .map_err(|e| Error::io("reserve space for", path, e))?;
    }
    file.sync().map_err(|e| Error::io("sync", path, e))
}

/// `.broken.<date>.<time>.<microseconds>`, for a directory set aside.
pub(super) fn aside_suffix() -> String {
    let format = format_description!(
        ".broken.[year][month][day].[hour][minute][second].[subsecond digits:6]"
    );
    OffsetDateTime::now_utc()
        .format(&format)
        .unwrap_or_else(|_| ".broken".into())
}
