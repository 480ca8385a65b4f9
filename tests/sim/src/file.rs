//! The database file on the disk of a simulated machine: bolt's storage seam
//! over the file of the log's simulated disk, so that one disk holds log,
//! snapshots and database, dies as a whole, and counts every write of a member.

use std::{io, path::Path};

use bolt::{Map, Memory};
use wal::{
    disk::{Disk, DiskFile, Mode},
    sim::SimulatedDisk,
};

/// How far a database can grow, in bytes. Address space that is not touched
/// costs nothing.
const CAPACITY: usize = 64 << 20;

/// An open database file.
pub(crate) struct DbFile {
    file: Box<dyn DiskFile>,
    /// The same bytes, for maps.
    memory: Memory,
}

impl DbFile {
    fn open(disk: &SimulatedDisk, path: &Path) -> io::Result<DbFile> {
        let file = match disk.open(path, Mode::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = disk.open(path, Mode::Create(0o600))?;
                if let Some(dir) = path.parent() {
                    disk.sync_dir(dir)?;
                }
                file
            }
            other => other?,
        };
        let memory = Memory::new(CAPACITY)?;
        let mut all = vec![0; file.len()? as usize];
        let got = file.read_at(&mut all, 0)?;
        // SAFETY: nobody else knows of the memory yet.
        unsafe { memory.store(0, &all[..got])? };
        Ok(DbFile { file, memory })
    }
}

impl bolt::Disk for DbFile {
    fn pread(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        if offset.saturating_add(buf.len() as u64) > self.len()? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.memory.load(offset, buf)
    }

    fn pwrite(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_at(data, offset)?;
        // SAFETY: one thread runs the simulation, so nobody stores or loads at
        // the same time; that no reader looks at these pages is the promise of
        // the database's one writer.
        unsafe { self.memory.store(offset, data) }
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let before = self.file.len()?;
        self.file.set_len(len)?;
        if len < before {
            // SAFETY: as in `pwrite`; a database is shortened only while it is created.
            unsafe { self.memory.store(len, &vec![0; (before - len) as usize])? };
        }
        Ok(())
    }

    fn map(&self, _: u64) -> io::Result<Map> {
        Ok(Map::of_memory(&self.memory))
    }
}

/// Opens the database at `path`, or makes one.
pub(crate) fn open_db(disk: &SimulatedDisk, path: &Path) -> Result<bolt::Db, String> {
    let file = DbFile::open(disk, path).map_err(|error| format!("{}: {error}", path.display()))?;
    let options = bolt::Options {
        page_size: Some(1024),
        growth_step: 16 << 10,
        ..bolt::Options::default()
    };
    bolt::Db::open_on(path, file, options).map_err(|error| error.to_string())
}
