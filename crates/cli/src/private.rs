//! Files and folders for their owner alone: mode 0600 and 0700 whatever the
//! umask, new under a random name, and gone on every exit. It must never open
//! what someone else may have put there, nor write through a link.
//!
//! What is not complete is locked while its process lives. A process that was
//! killed has left what no one locks, and the next one removes that.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::fs::OFlags;

/// The sticky bit: only the owner of a file may remove it from such a folder.
const STICKY: u32 = 0o1000;
/// Write permission of group and others.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// Random names to try before giving up on the folder.
const TRIES: usize = 16;

/// What must be gone when this process ends. Named here before it is created.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Creates a file that does not exist yet.
///
/// # Errors
/// It exists, be it as a link, or cannot be created.
pub fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Opens a file to append to, or creates it. A link is refused, and so is a file
/// of another user.
///
/// # Errors
/// It is no file of this user, or cannot be opened.
pub fn append(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path)?;
    let found = file.metadata()?;
    match found.is_file() && is_ours(found.uid()) {
        true => Ok(file),
        false => Err(io::Error::other("not a file of this user")),
    }
}

/// Creates a folder and those above it; one that exists stays as it is.
///
/// # Errors
/// It cannot be created.
pub fn folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Whether no other user can put files into this folder, or take them out. Others may
/// where the sticky bit keeps them from files that are not theirs, as in `/tmp`.
///
/// # Errors
/// They can; the text says what is wrong with the folder.
pub fn trusted(path: &Path) -> io::Result<()> {
    let found = fs::metadata(path)?;
    let (owner, mode) = (found.uid(), found.mode() & 0o7777);
    if !found.is_dir() {
        return Err(io::Error::other("not a folder"));
    }
    if !is_ours(owner) {
        return Err(io::Error::other(format!(
            "it belongs to user {owner}; name a folder of your own"
        )));
    }
    if mode & WRITABLE_BY_OTHERS != 0 && mode & STICKY == 0 {
        return Err(io::Error::other(format!(
            "other users can write to it (mode {mode:04o}); chmod go-w it, or name another folder"
        )));
    }
    Ok(())
}

/// Root may read anything anyway.
fn is_ours(owner: u32) -> bool {
    owner == rustix::process::geteuid().as_raw() || owner == 0
}

/// A part of a name that no one can guess.
pub fn random() -> String {
    // Each has keys of its own, from the system's random numbers.
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

/// The folder of a path.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn remember(path: &Path) {
    let mut unfinished = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
    unfinished.insert(path.to_owned());
}

fn forget(path: &Path) {
    let mut unfinished = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
    unfinished.remove(path);
}

/// Registers a path to be removed should a signal end the process while this lives.
#[derive(Debug)]
pub struct Unfinished(PathBuf);

impl Unfinished {
    /// What is built at `path` is of no use until it is complete.
    pub fn at(path: &Path) -> Unfinished {
        remember(path);
        Unfinished(path.to_owned())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        forget(&self.0);
    }
}

/// Keeps others from beginning anything that would have to be removed.
pub(crate) struct Ending(MutexGuard<'static, BTreeSet<PathBuf>>);

impl Ending {
    pub(crate) fn begin() -> Ending {
        Ending(UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Removes what is not complete. Who would begin something now waits until the process
    /// has ended, which must be at once.
    pub(crate) fn remove_unfinished(self) {
        for path in self.0.iter() {
            remove(path);
        }
        std::mem::forget(self.0);
    }
}

/// Removes a file, or a folder with all that is in it, without following a link.
fn remove(path: &Path) {
    let is_dir = fs::symlink_metadata(path).is_ok_and(|m| m.is_dir());
    let _ = match is_dir {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
}

/// Removes what processes that were killed have left in a folder.
fn sweep(folder: &Path, is_left: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if !name.to_str().is_some_and(&is_left) {
            continue;
        }
        sweep_one(&entry.path());
    }
}

/// Removes one file or folder that a process that was killed has left, if it is there.
pub fn sweep_one(path: &Path) {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    if let Ok(file) = opened
        && file.metadata().is_ok_and(|m| is_ours(m.uid()))
        && file.try_lock().is_ok()
    {
        remove(path);
    }
}

/// Whether the path still leads to the open file: someone who sweeps may have taken
/// what was not locked yet for a leftover.
fn is_there(path: &Path, file: &File) -> bool {
    let ids = |m: fs::Metadata| (m.dev(), m.ino());
    let (here, there) = (
        file.metadata().map(ids),
        fs::symlink_metadata(path).map(ids),
    );
    matches!((here, there), (Ok(here), Ok(there)) if here == there)
}

/// Locks a new file or folder; one on a file system without locks is never swept.
fn lock(path: &Path, file: &File) -> bool {
    !matches!(file.try_lock(), Err(TryLockError::WouldBlock)) && is_there(path, file)
}

/// A file that gets its name when it is complete. Until then it is next to that
/// under a random one.
#[derive(Debug)]
pub struct Part {
    path: PathBuf,
    target: PathBuf,
    file: File,
}

impl Part {
    /// Begins a file that is to become `target`.
    ///
    /// # Errors
    /// `target` is a link or no file, or its folder cannot be written.
    pub fn of(target: &Path) -> io::Result<Part> {
        must_be_a_file(target)?;
        let folder = parent(target);
        let name = target
            .file_name()
            .ok_or_else(|| io::Error::other("it names no file"))?
            .to_string_lossy()
            .into_owned();
        let (head, tail) = (format!("{name}."), ".part");
        // 16 hexadecimal digits between the two.
        let length = head.len() + 16 + tail.len();
        sweep(folder, |name| {
            name.len() == length && name.starts_with(&head) && name.ends_with(tail)
        });
        for _ in 0..TRIES {
            let path = folder.join(format!("{head}{}{tail}", random()));
            remember(&path);
            let created = create(&path);
            if let Ok(file) = created {
                let part = Part {
                    path,
                    target: target.to_owned(),
                    file,
                };
                if lock(&part.path, &part.file) {
                    return Ok(part);
                }
                continue;
            }
            forget(&path);
            match created {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Where it is meanwhile.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Makes it durable and gives it its name.
    ///
    /// # Errors
    /// The disk failed; the file is removed.
    pub fn complete(self) -> io::Result<()> {
        must_be_a_file(&self.target)?;
        self.file.sync_all()?;
        fs::rename(&self.path, &self.target)?;
        forget(&self.path);
        // The new name is on disk only once its folder is.
        disk::sync_parent(&self.target)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // After the rename there is nothing under this name.
        let _ = fs::remove_file(&self.path);
        forget(&self.path);
    }
}

/// A rename would put a file in the place of a link or a device.
fn must_be_a_file(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(found) if found.is_symlink() => Err(io::Error::other(
            "it is a link; remove it, or name another file",
        )),
        Ok(_) => Err(io::Error::other("it is no file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Writes a whole file, in the place of what was there.
///
/// # Errors
/// It cannot be written; what was there is as it was.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = Part::of(path)?;
    io::Write::write_all(&mut part.file(), bytes)?;
    part.complete()
}

/// A folder that goes when this does.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    /// Locked as long as it is open.
    _folder: File,
}

impl Scratch {
    /// A new folder in `folder`, which is created if need be, with a name that begins
    /// with `prefix`.
    ///
    /// # Errors
    /// Other users could reach into it, or it cannot be created.
    pub fn within(folder: &Path, prefix: &str) -> io::Result<Scratch> {
        self::folder(folder)?;
        trusted(folder)?;
        sweep(folder, |name| name.starts_with(prefix));
        for _ in 0..TRIES {
            let path = folder.join(format!("{prefix}{}", random()));
            remember(&path);
            let created = DirBuilder::new().mode(0o700).create(&path);
            match created.and_then(|()| File::open(&path)) {
                Ok(open) if lock(&path, &open) => {
                    return Ok(Scratch {
                        path,
                        _folder: open,
                    });
                }
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    forget(&path);
                    return Err(error);
                }
                _ => forget(&path),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
        forget(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        let found = fs::symlink_metadata(path).expect("it is there");
        found.permissions().mode() & 0o7777
    }

    fn names(folder: &Path) -> usize {
        fs::read_dir(folder).expect("readable").count()
    }

    #[test]
    fn a_part_is_private_and_gets_its_name_at_the_end() {
        let dir = tempfile::tempdir().expect("a folder");
        let target = dir.path().join("report");
        write(&target, b"one").expect("written");
        write(&target, b"two").expect("written over");
        assert_eq!(fs::read(&target).expect("read"), b"two");
        assert_eq!(mode(&target), 0o600);
        drop(Part::of(&target).expect("begun"));
        assert_eq!(names(dir.path()), 1, "a part that was given up is gone");
    }

    #[test]
    fn a_link_in_the_place_of_a_file_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let (victim, link) = (dir.path().join("victim"), dir.path().join("link"));
        fs::write(&victim, "as it was").expect("written");
        symlink(&victim, &link).expect("a link");
        for error in [
            write(&link, b"x").expect_err("a link"),
            create(&link).expect_err("a link"),
            append(&link).expect_err("a link"),
        ] {
            assert!(!error.to_string().is_empty());
        }
        assert_eq!(fs::read(&victim).expect("read"), b"as it was");
        assert_eq!(names(dir.path()), 2);
    }

    #[test]
    fn what_a_killed_process_has_left_is_swept_and_what_lives_is_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let target = dir.path().join("out");
        let alive = Part::of(&target).expect("begun");
        let lives = Scratch::within(dir.path(), "scratch-").expect("a folder");
        let left = dir.path().join(format!("out.{}.part", "0".repeat(16)));
        fs::write(&left, "half").expect("written");
        fs::create_dir_all(dir.path().join("scratch-dead/db")).expect("a folder");
        symlink("/etc", dir.path().join("scratch-link")).expect("a link");
        drop(Part::of(&target).expect("begun"));
        drop(Scratch::within(dir.path(), "scratch-").expect("a folder"));
        assert!(!left.exists() && !dir.path().join("scratch-dead").exists());
        assert!(alive.path().exists() && lives.path().exists());
        assert_eq!(mode(lives.path()), 0o700);
        assert!(Path::new("/etc").exists());
    }

    #[test]
    fn what_is_unfinished_is_gone_when_the_process_ends() {
        let dir = tempfile::tempdir().expect("a folder");
        let part = Part::of(&dir.path().join("out")).expect("begun");
        let folder = Scratch::within(dir.path(), "scratch-").expect("a folder");
        fs::write(folder.path().join("db"), "x").expect("written");
        for path in [part.path(), folder.path()] {
            remove(path);
        }
        assert_eq!(names(dir.path()), 0);
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_not_trusted() {
        let dir = tempfile::tempdir().expect("a folder");
        let change = |mode| {
            let permissions = fs::Permissions::from_mode(mode);
            fs::set_permissions(dir.path(), permissions).expect("changed");
        };
        for (mode, is_trusted) in [
            (0o700, true),
            (0o755, true),
            (0o1777, true),
            (0o777, false),
            (0o770, false),
            (0o702, false),
        ] {
            change(mode);
            assert_eq!(trusted(dir.path()).is_ok(), is_trusted, "{mode:o}");
            let made = Scratch::within(dir.path(), "scratch-");
            assert_eq!(made.is_ok(), is_trusted, "{mode:o}");
        }
    }
}
