//! What this member keeps of its line, in memory as in its file.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use line::{Change, Kept, Spoken};
use member::Error;
use parking_lot::Mutex;
use semver::Version;

use super::file;

/// See the module's page.
pub struct LineKept {
    member_dir: PathBuf,
    /// Held while the file changes. What is kept has a lock of its own: the thread of the other
    /// members reads it all the time, and must not wait for the disk.
    file: Mutex<()>,
    kept: Mutex<Kept>,
    /// The change was in the file when the member started, and no one has said since that it is
    /// still under way: the file may be left over.
    is_resumed: AtomicBool,
    /// What entries do depends on whether a change is under way.
    spoken: Spoken,
    begins: AtomicU64,
    /// Held by whoever prepares this member: the machine and the disk have other work.
    pub preparing: tokio::sync::Mutex<()>,
    /// Held by whoever changes the line of the cluster from here: two at once would each see what
    /// the other has half done.
    pub setting: tokio::sync::Mutex<()>,
}

impl LineKept {
    /// As the file of a member has it.
    pub fn new(member_dir: PathBuf, kept: Kept, spoken: Spoken) -> LineKept {
        let is_in_change = matches!(kept, Kept::Change(_));
        spoken.set_in_change(is_in_change);
        LineKept {
            member_dir,
            file: Mutex::new(()),
            kept: Mutex::new(kept),
            is_resumed: AtomicBool::new(is_in_change),
            spoken,
            begins: AtomicU64::new(0),
            preparing: tokio::sync::Mutex::new(()),
            setting: tokio::sync::Mutex::new(()),
        }
    }

    /// What is kept now.
    pub fn get(&self) -> Kept {
        *self.kept.lock()
    }

    /// The change under way.
    pub fn change(&self) -> Option<Change> {
        match self.get() {
            Kept::Change(change) => Some(change),
            Kept::Nothing | Kept::Founded(_) => None,
        }
    }

    /// Whether the change is known from the file alone.
    pub fn is_resumed(&self) -> bool {
        self.is_resumed.load(Ordering::Acquire)
    }

    /// The change is under way with others, too.
    pub fn resume(&self) {
        self.is_resumed.store(false, Ordering::Release);
    }

    /// How often a change was begun, the same one again included.
    pub fn begins(&self) -> u64 {
        self.begins.load(Ordering::Acquire)
    }

    /// Keeps that a change is under way, in a cluster of this version; another one that is not
    /// over blocks it, and is returned. Waits for the disk.
    ///
    /// # Errors
    /// It cannot be written: nothing is kept.
    pub fn begin(
        &self,
        change: Change,
        version: Option<&Version>,
    ) -> Result<Option<Change>, Error> {
        let _file = self.file.lock();
        if let Some(other) = self.get().blocks(change, version) {
            return Ok(Some(other));
        }
        if self.get() != Kept::Change(change) {
            file::write(&self.member_dir, &change.to_string())?;
            *self.kept.lock() = Kept::Change(change);
        }
        self.is_resumed.store(false, Ordering::Release);
        self.spoken.set_in_change(true);
        self.begins.fetch_add(1, Ordering::AcqRel);
        Ok(None)
    }

    /// Keeps nothing, if it is still this that is kept: what was begun since stays. Waits for the
    /// disk.
    ///
    /// # Errors
    /// The file cannot be removed: what it says is kept.
    pub fn forget(&self, expected: Kept) -> Result<(), Error> {
        let _file = self.file.lock();
        if self.get() == expected {
            file::remove(&self.member_dir)?;
            *self.kept.lock() = Kept::Nothing;
            self.spoken.set_in_change(false);
        }
        Ok(())
    }
}
