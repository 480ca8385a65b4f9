//! `.snap` files: a checksum around a serialized raft snapshot, named
//! `<term:016x>-<index:016x>.snap`. Must never hand out a snapshot whose
//! checksum is wrong, or one that the log does not know.
//!
//! ```text
//! snappb.snapshot { uint32 crc = 1; bytes data = 2 }   crc: CRC-32C of data
//! data = raftpb.Snapshot { data = 1, metadata = 2 { conf_state, index, term } }
//! ```
//!
//! The order of a snapshot is: database committed, `.snap` durable, record in
//! the log durable. So a `.snap` without a record is an orphan of a crash
//! between the two and is passed over.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use crc32c::crc32c;
use prost::Message;
use proto::{EntryId, raftpb, snappb, walpb};

use crate::{
    disk::{Disk, Mode, OsDisk},
    error::{Damage, Error},
    name::{hex_pair, hex16},
    purge::UNFINISHED,
};

/// How long the parts of saving a snapshot took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Saved {
    /// Its bytes were made.
    pub encoding: Duration,
    /// The file was synced.
    pub sync: Duration,
}

/// A file that cannot be used.
#[derive(Debug, Clone)]
pub struct Unusable {
    /// Where it is.
    pub path: PathBuf,
    /// Why.
    pub reason: Error,
}

/// What a directory of snapshots had to offer.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The newest snapshot that is whole and known to the log.
    pub snapshot: Option<raftpb::Snapshot>,
    /// The files that are newer, and no snapshots.
    pub unusable: Vec<Unusable>,
}

/// The snapshots of one directory (`member/snap`).
#[derive(Debug, Clone)]
pub struct Snapshotter {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
}

impl Snapshotter {
    /// Speaks about `dir`, which must exist.
    pub fn new(dir: &Path) -> Self {
        Self::on(Arc::new(OsDisk), dir)
    }

    /// The same on another disk.
    pub fn on(disk: Arc<dyn Disk>, dir: &Path) -> Self {
        Self {
            dir: dir.into(),
            disk,
        }
    }

    /// Writes a snapshot and makes it durable, file and directory; an empty
    /// one (index 0) is not written. etcd writes in place; this goes through a
    /// name that both delete at start, so that no torn `.snap` appears.
    pub fn save(&self, snapshot: &raftpb::Snapshot) -> Result<Saved, Error> {
        let at = &snapshot.metadata;
        let mut saved = Saved::default();
        if at.index == 0 {
            return Ok(saved);
        }
        let name = file_name(at.into());
        let path = self.dir.join(&name);
        let building = self.dir.join(format!("{UNFINISHED}.{name}"));
        let write = |e| Error::io("write", &building, e);
        let file = self
            .disk
            .open(&building, Mode::Create(0o600))
            .map_err(write)?;
        let begin = Instant::now();
        let bytes = encode(snapshot);
        saved.encoding = begin.elapsed();
        file.write_at(&bytes, 0).map_err(write)?;
        let begin = Instant::now();
        file.sync().map_err(write)?;
        saved.sync = begin.elapsed();
        drop(file);
        self.disk
            .rename(&building, &path)
            .map_err(|e| Error::io("rename to", &path, e))?;
        self.disk
            .sync_dir(&self.dir)
            .map_err(|e| Error::io("sync", &self.dir, e))?;
        Ok(saved)
    }

    /// The newest snapshot that is whole and among `valid`, see
    /// [`valid_snapshots`](crate::valid_snapshots).
    pub fn load_newest_available(
        &self,
        valid: &[walpb::Snapshot],
    ) -> Result<Option<raftpb::Snapshot>, Error> {
        self.load(valid).map(|loaded| loaded.snapshot)
    }

    /// Like [`load_newest_available`](Self::load_newest_available), and tells
    /// what was passed over. Leftovers of a defragmentation (`db.tmp*`) are
    /// deleted on the way, as etcd does.
    ///
    /// # Errors
    /// The directory cannot be read, or this process lacks what it takes to read a file, which
    /// says nothing about the file.
    pub fn load(&self, valid: &[walpb::Snapshot]) -> Result<Loaded, Error> {
        let mut loaded = Loaded::default();
        for name in self.list()? {
            let path = self.dir.join(&name);
            match read_on(&*self.disk, &path) {
                Ok(snapshot) => {
                    let at = &snapshot.metadata;
                    if valid
                        .iter()
                        .any(|v| v.index == at.index && v.term == at.term)
                    {
                        loaded.snapshot = Some(snapshot);
                        return Ok(loaded);
                    }
                }
                Err(error) if is_about_process(&error) => return Err(error),
                Err(reason) => loaded.unusable.push(Unusable { path, reason }),
            }
        }
        Ok(loaded)
    }

    /// Renames a file that cannot be used, so that no one takes it for a snapshot again.
    ///
    /// # Errors
    /// The new name is taken by a directory, or the disk takes no change.
    pub fn set_aside(&self, file: &Unusable) -> Result<PathBuf, Error> {
        let mut aside = file.path.clone().into_os_string();
        aside.push(".broken");
        let aside = PathBuf::from(aside);
        self.disk
            .rename(&file.path, &aside)
            .map_err(|e| Error::io("rename to", &aside, e))?;
        Ok(aside)
    }

    /// Names of the `.snap` files, newest first.
    fn list(&self) -> Result<Vec<String>, Error> {
        let mut names = self.names()?;
        for name in names.iter().filter(|name| name.starts_with("db.tmp")) {
            self.remove(name)?;
        }
        names.retain(|name| name.strip_suffix(".snap").and_then(hex_pair).is_some());
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(names)
    }

    /// Deletes what an interrupted reception or write left behind (`tmp*`).
    pub fn remove_leftovers(&self) -> Result<Vec<PathBuf>, Error> {
        let names = self.names()?;
        names
            .iter()
            .filter(|name| name.starts_with(UNFINISHED))
            .map(|name| self.remove(name))
            .collect()
    }

    /// Deletes received databases (`<index>.snap.db`) with an index below that
    /// of a released snapshot.
    pub fn release_snap_dbs(&self, released: u64) -> Result<Vec<PathBuf>, Error> {
        let names = self.names()?;
        let index = |name: &str| name.strip_suffix(".snap.db").and_then(hex16);
        names
            .iter()
            .filter(|name| index(name).is_some_and(|index| index < released))
            .map(|name| self.remove(name))
            .collect()
    }

    /// Where a received database of that index lies.
    pub fn db_path(&self, index: u64) -> PathBuf {
        self.dir.join(format!("{index:016x}.snap.db"))
    }

    fn names(&self) -> Result<Vec<String>, Error> {
        self.disk
            .names(&self.dir)
            .map_err(|e| Error::io("list", &self.dir, e))
    }

    fn remove(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.dir.join(name);
        self.disk
            .remove(&path)
            .map_err(|e| Error::io("remove", &path, e))?;
        Ok(path)
    }
}

/// Whether a file could not be read for want of descriptors or memory.
fn is_about_process(error: &Error) -> bool {
    let Error::Io { source, .. } = error else {
        return false;
    };
    [ENFILE, EMFILE, ENOMEM]
        .map(Some)
        .contains(&source.raw_os_error())
}

// As on Linux, on every architecture.
const ENOMEM: i32 = 12;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

/// `<term:016x>-<index:016x>.snap`, the last entry in the snapshot.
pub fn file_name(EntryId { index, term }: EntryId) -> String {
    format!("{term:016x}-{index:016x}.snap")
}

/// The bytes of a `.snap` file.
pub fn encode(snapshot: &raftpb::Snapshot) -> Vec<u8> {
    let data = Bytes::from(snapshot.encode_to_vec());
    snappb::Snapshot {
        crc: crc32c(&data),
        data: Some(data),
    }
    .encode_to_vec()
}

/// Reads the bytes of a `.snap` file.
pub fn decode(bytes: Bytes) -> Result<raftpb::Snapshot, Damage> {
    let message = |what| {
        move |e: prost::DecodeError| Damage::Message {
            what,
            detail: e.to_string(),
        }
    };
    let wrapper = snappb::Snapshot::decode(bytes).map_err(message("snapshot file"))?;
    let data = wrapper.data.unwrap_or_default();
    if data.is_empty() || wrapper.crc == 0 {
        return Err(Damage::Empty);
    }
    let found = crc32c(&data);
    if found != wrapper.crc {
        return Err(Damage::Checksum {
            stored: wrapper.crc,
            found,
        });
    }
    raftpb::Snapshot::decode(data).map_err(message("raft snapshot"))
}

/// Reads one `.snap` file.
pub fn read_file(path: &Path) -> Result<raftpb::Snapshot, Error> {
    read_on(&OsDisk, path)
}

fn read_on(disk: &dyn Disk, path: &Path) -> Result<raftpb::Snapshot, Error> {
    let read = |e| Error::io("read", path, e);
    let file = disk.open(path, Mode::Read).map_err(read)?;
    let mut bytes = vec![0; usize::try_from(file.len().map_err(read)?).unwrap_or(usize::MAX)];
    let mut got = 0;
    while got < bytes.len() {
        let n = file.read_at(&mut bytes[got..], got as u64).map_err(read)?;
        if n == 0 {
            break;
        }
        got += n;
    }
    bytes.truncate(got);
    decode(bytes.into()).map_err(|damage| Error::Corrupt {
        path: path.into(),
        offset: 0,
        damage,
    })
}

#[cfg(test)]
mod tests;
