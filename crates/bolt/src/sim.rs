//! A database file on the simulated disk of the crate `disk`, whose model of a crash it has. The file is all that is on
//! it; torn sectors have any content. For tests of this crate and of those above it.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ::disk::sim::{SimulatedDisk, Torn};
use ::disk::{Disk as _, DiskFile, Mode};

use crate::disk::{Disk, Map, Memory};

/// The name of the file.
const NAME: &str = "/db";

/// The disk. Clones share it.
#[derive(Clone)]
pub struct SimDisk {
    /// What maps show; the file has the same content.
    memory: Memory,
    disk: SimulatedDisk,
    file: Arc<Mutex<Box<dyn DiskFile>>>,
}

impl SimDisk {
    /// A disk that holds `image`, all of it durable, and can grow to `capacity` bytes.
    pub fn new(image: &[u8], capacity: usize) -> io::Result<SimDisk> {
        let memory = Memory::new(capacity.max(image.len()))?;
        // SAFETY: nothing else knows of the memory yet.
        unsafe { memory.store(0, image)? };
        let disk = SimulatedDisk::that_tears(Torn::Anything);
        let file = disk.open(Path::new(NAME), Mode::Create(0o600))?;
        file.write_at(image, 0)?;
        file.sync()?;
        disk.sync_dir(Path::new("/"))?;
        disk.disarm();
        Ok(SimDisk {
            memory,
            disk,
            file: Arc::new(Mutex::new(file)),
        })
    }

    /// Operations so far: writes, length changes and syncs.
    pub fn operations(&self) -> u64 {
        self.disk.operations()
    }

    /// Lets operation number `at` (counted from 0) and all after it fail. A write that fails may have been done. After
    /// an earlier failure the disk works again until then, with what it had: a process was killed, and not the machine.
    pub fn fail_at(&self, at: u64) {
        self.disk.kill();
        self.disk.die_at(at);
    }

    /// The process ends: nothing fails any more, and nothing is durable that was not.
    pub fn kill(&self) {
        self.disk.kill();
    }

    /// True when an operation was refused.
    pub fn has_failed(&self) -> bool {
        self.disk.has_died()
    }

    /// What a power cut now would leave, see [`SimulatedDisk::after_crash`].
    pub fn after_power_cut(&self, choose: &mut dyn FnMut(usize) -> usize) -> Vec<u8> {
        let mut choose = |below: u64| choose(below as usize) as u64;
        self.disk
            .after_crash(Path::new(NAME), &mut choose)
            .unwrap_or_default()
    }

    /// The content as the running process sees it.
    pub fn content(&self) -> Vec<u8> {
        self.with(|file| {
            let mut all = vec![0; file.len()? as usize];
            file.read_at(&mut all, 0)?;
            Ok(all)
        })
        .unwrap_or_default()
    }

    /// One caller at a time, so that file and memory stay the same.
    fn with<T>(&self, f: impl FnOnce(&dyn DiskFile) -> io::Result<T>) -> io::Result<T> {
        f(&**self.file.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the file and then, if the disk lived until then, the memory.
    fn change(
        &self,
        change: impl FnOnce(&dyn DiskFile) -> io::Result<()>,
        show: impl FnOnce(&Memory, u64) -> io::Result<()>,
    ) -> io::Result<()> {
        self.with(|file| {
            let (len, dead) = (file.len()?, self.disk.has_died());
            let changed = change(file);
            if !dead {
                show(&self.memory, len)?;
            }
            changed
        })
    }
}

impl Disk for SimDisk {
    fn pread(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.with(|file| match file.read_at(buf, offset)? {
            read if read < buf.len() => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        })
    }

    fn pwrite(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if offset + data.len() as u64 > self.memory.capacity() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.change(
            |file| file.write_at(data, offset),
            // SAFETY: one caller at a time; that no reader looks here is the writer's promise, see `Memory::store`.
            |memory, _| unsafe { memory.store(offset, data) },
        )
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|file| file.sync())
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|file| file.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if len > self.memory.capacity() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.change(
            |file| file.set_len(len),
            |memory, before| {
                let gone = before.saturating_sub(len) as usize;
                // SAFETY: as in `pwrite`; a database is shortened only while it is created.
                unsafe { memory.store(len, &vec![0; gone]) }
            },
        )
    }

    fn map(&self, _len: u64) -> io::Result<Map> {
        Ok(Map::of_memory(&self.memory))
    }
}
