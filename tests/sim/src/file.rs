//! The database file on the disk of a simulated machine: bolt's storage seam
//! over the file of the log's simulated disk, so that one disk holds log,
//! snapshots and database, dies as a whole, and counts every write of a member.

use std::{io, path::Path, sync::Arc};

use bolt::{Map, Memory};
use bytes::Bytes;
use member::{At as _, Files};
use mvcc::{
    StoreOptions,
    backend::{Backend, BackendOptions},
};
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

/// The files of a simulated machine, for the member that runs on it.
pub(crate) struct SimulatedFiles {
    disk: SimulatedDisk,
    shared: Arc<dyn Disk>,
}

impl SimulatedFiles {
    pub(crate) fn new(disk: &SimulatedDisk) -> SimulatedFiles {
        SimulatedFiles {
            disk: disk.clone(),
            shared: Arc::new(disk.clone()),
        }
    }

    fn exists(&self, path: &Path) -> bool {
        self.disk.open(path, Mode::Read).is_ok()
    }

    fn file(&self, path: &Path) -> Result<DbFile, bolt::Error> {
        DbFile::open(&self.disk, path).map_err(|error| bolt::Error::Io {
            path: path.to_owned(),
            op: "opening".into(),
            source: Arc::new(error),
        })
    }

    fn open(&self, path: &Path, read_only: bool) -> Result<bolt::Db, bolt::Error> {
        bolt::Db::open_on(path, self.file(path)?, options(read_only))
    }
}

fn options(read_only: bool) -> bolt::Options {
    bolt::Options {
        page_size: Some(1024),
        growth_step: 16 << 10,
        read_only,
        ..bolt::Options::default()
    }
}

impl Files for SimulatedFiles {
    fn disk(&self) -> &Arc<dyn Disk> {
        &self.shared
    }

    fn is_unwritten(&self, path: &Path) -> Result<bool, bolt::Error> {
        if !self.exists(path) {
            return Ok(true);
        }
        bolt::Db::is_unwritten_on(path, &self.file(path)?, &options(true))
    }

    fn read_database(&self, path: &Path) -> Result<bolt::Db, bolt::Error> {
        self.open(path, true)
    }

    fn open_backend(&self, path: &Path) -> Result<Arc<Backend>, member::Error> {
        let db = self
            .open(path, false)
            .at("cannot open the database", path)?;
        Backend::open_threadless(db, BackendOptions::default()).at("cannot open the database", path)
    }

    fn open_store(
        &self,
        backend: Arc<Backend>,
        leased: &mut dyn FnMut(Bytes, i64),
    ) -> Result<Arc<mvcc::Store>, mvcc::OpenError> {
        let options = StoreOptions {
            compaction_batch_limit: 8,
            ..StoreOptions::default()
        };
        mvcc::Store::open_threadless(backend, options, leased)
    }
}
