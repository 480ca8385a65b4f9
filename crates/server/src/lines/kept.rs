//! What this member keeps of its line, in memory as in its file.

use std::path::PathBuf;

use line::{Change, Kept};
use member::Error;
use parking_lot::Mutex;

use super::file;

/// See the module's page.
pub struct LineKept {
    member_dir: PathBuf,
    kept: Mutex<Kept>,
}

impl LineKept {
    /// As the file of a member has it.
    pub fn new(member_dir: PathBuf, kept: Kept) -> LineKept {
        LineKept {
            member_dir,
            kept: Mutex::new(kept),
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

    /// Keeps that a change is under way. Waits for the disk.
    ///
    /// # Errors
    /// It cannot be written: nothing is kept.
    pub fn begin(&self, change: Change) -> Result<(), Error> {
        let mut kept = self.kept.lock();
        file::write(&self.member_dir, &change.to_string())?;
        *kept = Kept::Change(change);
        Ok(())
    }

    /// Keeps nothing. Waits for the disk.
    ///
    /// # Errors
    /// The file cannot be removed: what it says is kept.
    pub fn forget(&self) -> Result<(), Error> {
        let mut kept = self.kept.lock();
        file::remove(&self.member_dir)?;
        *kept = Kept::Nothing;
        Ok(())
    }
}
