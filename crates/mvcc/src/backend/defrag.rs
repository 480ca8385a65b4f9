//! Defragmentation: a copy next to the file takes its place. The committer is
//! held off meanwhile, readers and writers of the store are not. A crash
//! leaves either the old file or the new one under the name, both whole; a
//! `db.tmp.*` that is left over is removed at the next start, as etcd's is.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use failpoint::failpoint;

use super::inner::Inner;

impl Inner {
    pub(super) fn defrag(&self) -> Result<(), bolt::Error> {
        self.commit_and_wait()?;
        let _file = self.file.lock();
        // A commit may have failed while the lock was waited for, or the file
        // been given up for another one of the same name.
        self.still_open()?;
        let old = self.db.read().clone();
        let path = &self.path;
        let tmp = temporary(path);
        failpoint!(DefragBeforeCopy, |text| return Err(io_error(
            path,
            "copying",
            io::Error::other(text)
        )));
        let copy = bolt::compact(&old.begin_read(), &tmp, bolt::Options::default());
        let new = copy.and_then(|db| match put_in_place(&tmp, path) {
            Ok(()) => Ok(db),
            Err(source) => Err(io_error(path, "putting the copy in place", source)),
        });
        let new = match new {
            Ok(new) => new,
            Err(error) => {
                // What cannot be removed now is swept at the next start.
                let _ = fs::remove_file(&tmp);
                return Err(error);
            }
        };
        // From here on the name means the new file; going back is not possible.
        let tx = new.begin_read();
        *self.db.write() = new;
        let rest = {
            let mut overlay = self.overlay.write();
            overlay.replace(tx)
        };
        drop(rest);
        disk::sync_parent(path)
            .map_err(|source| io_error(path, "syncing the directory", source))
            .inspect_err(|error| self.fail(error.clone()))
    }
}

fn put_in_place(copy: &Path, path: &Path) -> io::Result<()> {
    failpoint!(DefragBeforeRename, |text| return Err(io::Error::other(
        text
    )));
    fs::rename(copy, path)
}

fn temporary(path: &Path) -> PathBuf {
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_nanos() as u32);
    let number = nanos ^ std::process::id().rotate_left(16);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".tmp.{number}"));
    path.with_file_name(name)
}

fn io_error(path: &Path, op: &str, source: io::Error) -> bolt::Error {
    bolt::Error::Io {
        path: path.to_owned(),
        op: op.to_owned(),
        source: Arc::new(source),
    }
}
