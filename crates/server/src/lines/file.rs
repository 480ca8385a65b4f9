//! What a member keeps of its line: a file in the member directory, which etcd leaves alone. It
//! is there from the founding until the member hears of its cluster, and while the line changes;
//! at all other times the cluster version says it.

use std::{
    fs, io,
    io::{Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use line::Kept;
use member::{At as _, Error};
use wal::disk::sync_dir;

const NAME: &str = "pintle-line";
/// Longer than anything that is kept.
const LEN_MAX: u64 = 64;

/// What is kept.
///
/// # Errors
/// The file cannot be read, or holds something else.
pub(crate) fn read(member_dir: &Path) -> Result<Kept, Error> {
    let path = member_dir.join(NAME);
    // Opening a pipe would wait for whoever writes to it.
    let is_file = match fs::metadata(&path) {
        Ok(metadata) => metadata.is_file(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kept::Nothing),
        Err(error) => return Err(error).at("cannot read", &path),
    };
    let mut found = Vec::new();
    if is_file {
        let file = fs::File::open(&path).at("cannot read", &path)?;
        let read = file.take(LEN_MAX).read_to_end(&mut found);
        read.at("cannot read", &path)?;
    }
    let kept = std::str::from_utf8(&found).ok().and_then(Kept::parse);
    kept.ok_or_else(|| {
        Error(format!(
            "{}: holds no line; write 3.5, 3.6 or 3.7 into it, as the member was started with, or remove it in a cluster \
             whose version is decided",
            path.display()
        ))
    })
}

/// Keeps `text`, in place of what was kept before.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write(member_dir: &Path, text: &str) -> Result<(), Error> {
    let path = member_dir.join(NAME);
    let new = member_dir.join("pintle-line.new");
    let replace = || -> io::Result<()> {
        // One that a kill has left; not to be followed if it is a link.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        // Whoever hears of an error believes that nothing is kept.
        sync_dir(member_dir).inspect_err(|_| drop(fs::remove_file(&path)))
    };
    replace().at("cannot write", &path)
}

/// Keeps nothing.
///
/// # Errors
/// The file cannot be removed.
pub(crate) fn remove(member_dir: &Path) -> Result<(), Error> {
    let path = member_dir.join(NAME);
    match fs::remove_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed
            .and_then(|()| sync_dir(member_dir))
            .at("cannot remove", &path),
    }
}
