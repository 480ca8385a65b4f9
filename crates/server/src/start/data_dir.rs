//! The data directory as a place: who may use it, and with which permissions. Never opens the log
//! or the database.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use member::{At as _, Error};

/// Creates a directory with mode 0700, or checks that an existing one can be written.
pub(crate) fn ensure_dir(dir: &Path) -> Result<(), Error> {
    match fs::DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(dir)
    {
        Ok(()) => {}
        Err(error) => {
            return Err(Error(format!(
                "cannot create the directory {}: {error}",
                dir.display()
            )));
        }
    }
    let mode = fs::metadata(dir)
        .at("cannot read", dir)?
        .permissions()
        .mode()
        & 0o777;
    if mode != 0o700 {
        tracing::warn!(
            dir = %dir.display(),
            permission = format!("{mode:o}"),
            "directory exists, but without the recommended permission 0700"
        );
    }
    let probe = dir.join(".touch");
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&probe)
        .and_then(|mut file| file.write_all(b""))
        .and_then(|()| fs::remove_file(&probe))
        .map_err(|error| {
            Error(format!(
                "cannot write to the directory {}: {error}",
                dir.display()
            ))
        })
}

/// What lies in the data directory besides `member` is not ours to judge, with one exception.
pub(crate) fn check_data_dir(dir: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(dir).at("cannot list", dir)? {
        let name = entry.at("cannot list", dir)?.file_name();
        match name.to_str() {
            Some("member" | "fixtures") => {}
            Some("proxy") => {
                return Err(Error(format!(
                    "{}: holds the data of a v2 proxy; start with another --data-dir",
                    dir.display()
                )));
            }
            _ => tracing::warn!(
                filename = name.to_string_lossy().as_ref(),
                "data-dir" = %dir.display(),
                "found invalid file under data directory"
            ),
        }
    }
    Ok(())
}

/// Keeps a second server of this kind away from a data directory, also before it has a
/// log whose lock would tell. A server of another kind is met at the log's lock.
pub(super) struct DirLock {
    /// None on a file system without such locks.
    _dir: Option<fs::File>,
}

impl DirLock {
    pub(crate) fn take(dir: &Path) -> Result<DirLock, Error> {
        use rustix::{fs::FlockOperation, io::Errno};
        let file = fs::File::open(dir).at("cannot open", dir)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(DirLock { _dir: Some(file) }),
            Err(Errno::WOULDBLOCK) => Err(Error(format!(
                "{} is locked by another process: a server is using this data directory; stop it first",
                dir.display()
            ))),
            // NFS locks no directories; the log's lock is left.
            Err(_) => Ok(DirLock { _dir: None }),
        }
    }
}
