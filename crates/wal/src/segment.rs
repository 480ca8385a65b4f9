//! An open segment of the log.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    disk::{Disk, DiskFile, Mode},
    error::{Damage, Error},
    name::SegmentName,
};

/// A segment opened for reading or writing.
#[derive(Debug, Clone)]
pub(crate) struct OpenSegment {
    pub(crate) name: SegmentName,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
}

impl OpenSegment {
    pub(crate) fn open(
        disk: &dyn Disk,
        dir: &Path,
        name: SegmentName,
        mode: Mode,
    ) -> Result<Self, Error> {
        let path = dir.join(name.file());
        let file = disk
            .open(&path, mode)
            .map_err(|e| Error::io("open", &path, e))?;
        Ok(Self {
            name,
            path,
            file: Arc::from(file),
        })
    }

    pub(crate) fn corrupt(&self, offset: u64, damage: Damage) -> Error {
        Error::Corrupt {
            path: self.path.clone(),
            offset,
            damage,
        }
    }
}
