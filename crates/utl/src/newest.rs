//! The snapshot that a member would start from: the newest that is whole and
//! that the log knows. Must never change a file: a broken snapshot is named,
//! not set aside.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use proto::raftpb::Snapshot;

/// The snapshot and its file; `None` means that a member would start from the
/// beginning of the log.
pub(crate) fn snapshot(
    snap_dir: &Path,
    wal_dir: &Path,
) -> Result<Option<(PathBuf, Snapshot)>, wal::Error> {
    for at in wal::valid_snapshots(wal_dir)?.iter().rev() {
        let path = snap_dir.join(wal::snap::file_name(at.into()));
        match wal::snap::read_file(&path) {
            Ok(snapshot) => return Ok(Some((path, snapshot))),
            Err(error @ wal::Error::Corrupt { .. }) => {
                eprintln!("{error}; looking at the snapshot before it");
            }
            // The log knows of more snapshots than are kept.
            Err(wal::Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
