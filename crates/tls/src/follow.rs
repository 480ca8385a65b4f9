//! Files that are followed: checked whenever their content is asked for, and
//! read again when they changed. A look costs one stat per file.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;

use crate::Error;

/// A file changed less than this ago may change again under the same time
/// stamp, so its stamp proves nothing yet.
const SETTLED: Duration = Duration::from_secs(1);

type Read<T> = Box<dyn Fn() -> Result<Arc<T>, Error> + Send + Sync>;

/// What was read from some files, kept current.
pub(crate) struct Followed<T> {
    files: Vec<PathBuf>,
    read: Read<T>,
    state: Mutex<State<T>>,
}

struct State<T> {
    stamps: Vec<Option<Stamp>>,
    /// The stamps cannot hide a later change.
    settled: bool,
    good: Arc<T>,
    /// The files as they are now cannot be used, for this reason.
    broken: Option<String>,
}

#[derive(PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What a look at the files found.
pub(crate) enum Look<T> {
    /// They are as they were, or as broken as they were.
    Same(Arc<T>),
    /// They changed, and the new content is good.
    Changed(Arc<T>),
    /// They changed, and the new content cannot be used; here is the last good.
    Broke(Arc<T>, Error),
}

impl<T> Followed<T> {
    /// Reads the files for the first time.
    pub(crate) fn open(
        files: Vec<PathBuf>,
        read: impl Fn() -> Result<Arc<T>, Error> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let (stamps, settled) = look(&files);
        let good = read()?;
        Ok(Followed {
            files,
            read: Box::new(read),
            state: Mutex::new(State {
                stamps,
                settled,
                good,
                broken: None,
            }),
        })
    }

    /// Looks at the files; reads them if they may have changed.
    pub(crate) fn look(&self) -> Look<T> {
        let mut state = self.state.lock();
        // The stamps are taken before the read: a change in between is seen next time.
        let (stamps, settled) = look(&self.files);
        if state.settled && state.broken.is_none() && stamps == state.stamps {
            return Look::Same(state.good.clone());
        }
        let changed = stamps != state.stamps;
        state.stamps = stamps;
        state.settled = settled;
        match (self.read)() {
            Ok(value) => {
                let repaired = state.broken.take().is_some();
                state.good = value.clone();
                if changed || repaired {
                    Look::Changed(value)
                } else {
                    Look::Same(value)
                }
            }
            Err(error) => {
                let text = error.to_string();
                if state.broken.as_ref() == Some(&text) {
                    return Look::Same(state.good.clone());
                }
                state.broken = Some(text);
                Look::Broke(state.good.clone(), error)
            }
        }
    }

    /// What is wrong with the files as they were at the last look.
    pub(crate) fn broken(&self) -> Option<String> {
        self.state.lock().broken.clone()
    }
}

fn look(files: &[PathBuf]) -> (Vec<Option<Stamp>>, bool) {
    let now = SystemTime::now();
    let mut settled = true;
    let stamps = files
        .iter()
        .map(|file| {
            let meta = fs::metadata(file).ok()?;
            // The time of the last change of the inode: no one can set it back.
            let changed = Duration::new(
                u64::try_from(meta.ctime()).ok()?,
                u32::try_from(meta.ctime_nsec()).ok()?,
            );
            settled &= now
                .checked_sub(SETTLED)
                .is_some_and(|then| SystemTime::UNIX_EPOCH + changed < then);
            Some(Stamp {
                device: meta.dev(),
                inode: meta.ino(),
                size: meta.size(),
                modified: (meta.mtime(), meta.mtime_nsec()),
                changed: (meta.ctime(), meta.ctime_nsec()),
            })
        })
        .collect();
    (stamps, settled)
}
