//! A disk that exists only in memory: it counts operations, refuses one when told to, and shows what a power cut would
//! leave of the writes that were not yet synced. For tests of this crate and of those above it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::disk::{Disk, Map, Memory};

/// The unit a disk writes whole or not at all.
pub const SECTOR: usize = 512;

#[derive(Clone)]
enum Unsynced {
    Write { at: u64, data: Vec<u8> },
    SetLen(u64),
}

#[derive(Default)]
struct State {
    len: u64,
    durable: Vec<u8>,
    unsynced: Vec<Unsynced>,
    operations: u64,
    fail_at: Option<u64>,
    failed: bool,
}

/// The disk. Clones share it.
#[derive(Clone)]
pub struct SimDisk {
    memory: Memory,
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// A disk that holds `image`, all of it durable, and can grow to `capacity` bytes.
    pub fn new(image: &[u8], capacity: usize) -> io::Result<SimDisk> {
        let memory = Memory::new(capacity.max(image.len()))?;
        // SAFETY: nobody else knows of the memory yet.
        unsafe { memory.store(0, image)? };
        let state = State {
            len: image.len() as u64,
            durable: image.to_vec(),
            ..State::default()
        };
        Ok(SimDisk {
            memory,
            state: Arc::new(Mutex::new(state)),
        })
    }

    /// Operations so far: writes, length changes and syncs.
    pub fn operations(&self) -> u64 {
        self.with(|s| s.operations)
    }

    /// Lets operation number `at` (counted from 0) and all after it fail. A write that fails may have been done in part.
    pub fn fail_at(&self, at: u64) {
        self.with(|s| s.fail_at = Some(at));
    }

    /// True when an operation was refused.
    pub fn has_failed(&self) -> bool {
        self.with(|s| s.failed)
    }

    /// What a power cut now would leave. `choose` is asked for a number below its argument, several times: which of the
    /// unsynced changes reached the disk, and how much of each.
    pub fn after_power_cut(&self, choose: &mut dyn FnMut(usize) -> usize) -> Vec<u8> {
        self.with(|s| {
            let mut image = s.durable.clone();
            for change in &s.unsynced {
                match (change, choose(3)) {
                    (_, 0) => {}
                    (Unsynced::SetLen(len), _) => image.resize(*len as usize, 0),
                    (Unsynced::Write { at, data }, 1) => put(&mut image, *at, data),
                    (Unsynced::Write { at, data }, _) => {
                        // Torn: each sector by itself is old, new, or neither.
                        for (i, sector) in data.chunks(SECTOR).enumerate() {
                            let at = at + (i * SECTOR) as u64;
                            match choose(3) {
                                0 => {}
                                1 => put(&mut image, at, sector),
                                _ => put(&mut image, at, &vec![0xa5; sector.len()]),
                            }
                        }
                    }
                }
            }
            image
        })
    }

    /// The content as the running process sees it.
    pub fn content(&self) -> Vec<u8> {
        self.with(|s| {
            let mut all = vec![0; s.len as usize];
            self.memory
                .load(0, &mut all)
                .expect("the length never exceeds the capacity");
            all
        })
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn put(image: &mut Vec<u8>, at: u64, data: &[u8]) {
    let (start, end) = (at as usize, at as usize + data.len());
    if image.len() < end {
        image.resize(end, 0);
    }
    image[start..end].copy_from_slice(data);
}

impl State {
    fn count(&mut self) -> io::Result<()> {
        let number = self.operations;
        self.operations += 1;
        if self.fail_at.is_some_and(|at| number >= at) {
            self.failed = true;
            return Err(io::Error::other("simulated failure"));
        }
        Ok(())
    }
}

impl Disk for SimDisk {
    fn pread(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.with(|s| {
            if offset.saturating_add(buf.len() as u64) > s.len {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.memory.load(offset, buf)
        })
    }

    fn pwrite(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with(|s| {
            let counted = s.count();
            let data = if counted.is_ok() {
                data
            } else {
                &data[..data.len() / 2]
            };
            // SAFETY: the state's lock is held; that no reader looks here is the writer's promise, see `Memory::store`.
            unsafe { self.memory.store(offset, data)? };
            s.len = s.len.max(offset + data.len() as u64);
            s.unsynced.push(Unsynced::Write {
                at: offset,
                data: data.to_vec(),
            });
            counted
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|s| {
            s.count()?;
            for change in std::mem::take(&mut s.unsynced) {
                match change {
                    Unsynced::Write { at, data } => put(&mut s.durable, at, &data),
                    Unsynced::SetLen(len) => s.durable.resize(len as usize, 0),
                }
            }
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.with(|s| s.len))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|s| {
            s.count()?;
            if len > self.memory.capacity() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            if len < s.len {
                // SAFETY: as in `pwrite`; a database is shortened only while it is created.
                unsafe { self.memory.store(len, &vec![0; (s.len - len) as usize])? };
            }
            s.len = len;
            s.unsynced.push(Unsynced::SetLen(len));
            Ok(())
        })
    }

    fn map(&self, _len: u64) -> io::Result<Map> {
        Ok(Map::of_memory(&self.memory))
    }
}
