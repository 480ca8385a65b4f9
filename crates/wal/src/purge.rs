//! Deleting the oldest files of a kind: segments, `.snap`, `.snap.db`. Must
//! never delete a file whose lock someone holds; the first such file ends the
//! pass, so that what remains has no hole.

use std::path::{Path, PathBuf};

use crate::{
    disk::{Disk, Mode, OsDisk},
    error::Error,
};

/// How many of each kind etcd keeps (`--max-wals`, `--max-snapshots`).
pub const KEEP: usize = 5;

/// How the names of files begin that are being written.
pub(crate) const UNFINISHED: &str = "tmp";

/// Deletes all but the `keep` newest files in `dir` whose names end in
/// `suffix`, oldest first by name; gives the deleted ones. A file that is still
/// being written (`tmp*`) is none of them: by name it would be the newest. `keep` of zero
/// deletes nothing: to etcd that means no limit.
pub fn purge(dir: &Path, suffix: &str, keep: usize) -> Result<Vec<PathBuf>, Error> {
    purge_on(&OsDisk, dir, suffix, keep)
}

/// [`purge`] on another disk.
pub fn purge_on(
    disk: &dyn Disk,
    dir: &Path,
    suffix: &str,
    keep: usize,
) -> Result<Vec<PathBuf>, Error> {
    if keep == 0 {
        return Ok(Vec::new());
    }
    let mut names = disk.names(dir).map_err(|e| Error::io("list", dir, e))?;
    names.retain(|name| name.ends_with(suffix) && !name.starts_with(UNFINISHED));
    names.sort_unstable();
    let surplus = names.len().saturating_sub(keep);
    let mut deleted = Vec::new();
    for name in &names[..surplus] {
        let path = dir.join(name);
        let file = disk
            .open(&path, Mode::Write)
            .map_err(|e| Error::io("open", &path, e))?;
        if !file.try_lock().map_err(|e| Error::io("lock", &path, e))? {
            break;
        }
        disk.remove(&path)
            .map_err(|e| Error::io("remove", &path, e))?;
        deleted.push(path);
    }
    Ok(deleted)
}

#[cfg(test)]
mod tests;
