//! A disk in memory that crashes on request. What was not synced survives in
//! any mixture of sectors of 512 bytes; names survive in the order they were
//! made, up to some point at or after the last sync of a directory. For tests
//! of this crate and of those above it.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::{Disk, DiskFile, Mode};

/// The unit that a disk writes whole or not at all.
pub const SECTOR: usize = 512;
/// What is in a sector that was torn to anything.
const GARBAGE: u8 = 0xa5;

/// What is in a sector that was being written when the machine died.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Torn {
    /// Its old content or its new one: what the log relies on.
    #[default]
    OldOrNew,
    /// Anything: what the database survives.
    Anything,
}

/// A small generator of our own: the same seed crashes the same way for ever.
#[derive(Debug, Clone)]
pub struct Seed(
    /// Its position.
    pub u64,
);

impl Seed {
    /// The next number.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 for 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
}

/// What happens at the chosen operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The machine dies; the operation may be partly done.
    Crash,
    /// This sync fails, and what it covered is lost or kept as chance has it;
    /// the machine lives on.
    FailedSync,
    /// The system writes this file back by itself just then, and fails: what is
    /// not durable is lost or kept as chance has it, and counts as clean. The
    /// operation succeeds; every open description of the file reports it once, by
    /// its next sync.
    LostWriteback,
    /// This operation fails and does nothing; the machine lives on.
    Refused,
    /// This operation finds no space.
    Full,
}

#[derive(Debug, Default)]
struct Inode {
    durable: Vec<u8>,
    current: Vec<u8>,
    /// What a sync would write; outside it the two have the same bytes, unless
    /// a writeback failed.
    dirty: std::ops::Range<usize>,
    /// What was written since the last sync: only that can tear to anything.
    written: Vec<std::ops::Range<usize>>,
    /// Writebacks that failed.
    errors: u64,
    locked: bool,
}

impl Inode {
    fn write(&mut self, range: std::ops::Range<usize>, data: &[u8]) {
        if self.current.len() < range.end {
            self.set_len(range.end);
        }
        self.current[range.clone()].copy_from_slice(data);
        match self.written.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.written.push(range.clone()),
        }
        self.touch(range);
    }

    fn is_written(&self, sector: &std::ops::Range<usize>) -> bool {
        let overlaps =
            |range: &std::ops::Range<usize>| range.start < sector.end && sector.start < range.end;
        self.written.iter().any(overlaps)
    }

    fn touch(&mut self, range: std::ops::Range<usize>) {
        self.dirty = if self.dirty.is_empty() {
            range
        } else {
            self.dirty.start.min(range.start)..self.dirty.end.max(range.end)
        };
    }

    fn set_len(&mut self, len: usize) {
        let before = self.current.len();
        self.current.resize(len, 0);
        self.touch(before.min(len)..before.max(len));
    }

    /// All that was written is durable now.
    fn sync(&mut self) {
        let range = std::mem::take(&mut self.dirty);
        self.written.clear();
        self.durable.resize(self.current.len(), 0);
        let end = range.end.min(self.current.len());
        if let Some(new) = self.current.get(range.start..end) {
            self.durable[range.start..end].copy_from_slice(new);
        }
    }

    /// A writeback that failed: what there was to write counts as written.
    fn lose(&mut self, seed: &mut Seed) {
        let seen = self.current.clone();
        self.settle(seed, Torn::OldOrNew);
        self.current = seen;
        self.errors += 1;
    }

    /// What a crash leaves, kept.
    fn settle(&mut self, seed: &mut Seed, torn: Torn) {
        if self.dirty.is_empty() && self.errors == 0 {
            return;
        }
        let left = self.after_crash(&mut |below| seed.below(below), torn);
        self.dirty = 0..0;
        self.written.clear();
        self.durable.clone_from(&left);
        self.current = left;
    }

    /// What a crash leaves: each sector old or new, or anything where the disk
    /// is that bad; each length old or new. `choose` returns a number below its
    /// argument; nothing but 0 keeps nothing, nothing but 1 keeps all.
    fn after_crash(&self, choose: &mut dyn FnMut(u64) -> u64, torn: Torn) -> Vec<u8> {
        if self.dirty.is_empty() {
            return self.durable.clone();
        }
        let (old, new) = (&self.durable, &self.current);
        let len = match choose(2) {
            0 => old.len(),
            _ => new.len(),
        };
        // A whole write is lost or kept more often than torn.
        let style = choose(4);
        let mut left = vec![0; len];
        for (i, sector) in left.chunks_mut(SECTOR).enumerate() {
            let (start, end) = (i * SECTOR, (i + 1) * SECTOR);
            let clean = end <= self.dirty.start || start >= self.dirty.end;
            let from = match style {
                _ if clean => old,
                0 => old,
                1 => new,
                _ => match (choose(if torn == Torn::Anything { 3 } else { 2 }), torn) {
                    (0, _) => old,
                    (2, Torn::Anything) if self.is_written(&(start..end)) => {
                        sector.fill(GARBAGE);
                        continue;
                    }
                    _ => new,
                },
            };
            let start = start.min(from.len());
            let bytes = &from[start..from.len().min(start + sector.len())];
            sector[..bytes.len()].copy_from_slice(bytes);
        }
        left
    }
}

type SharedInode = Arc<Mutex<Inode>>;

#[derive(Debug, Clone)]
enum NameOp {
    Link(PathBuf, SharedInode),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    RemoveDir(PathBuf),
}

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<PathBuf, SharedInode>,
    durable_names: BTreeMap<PathBuf, SharedInode>,
    journal: Vec<NameOp>,
    inodes: Vec<SharedInode>,
    operations: u64,
    fault: Option<(u64, Fault)>,
    dead: bool,
    seed: u64,
    torn: Torn,
}

fn apply(names: &mut BTreeMap<PathBuf, SharedInode>, op: &NameOp) {
    match op {
        NameOp::Link(path, inode) => {
            names.insert(path.clone(), Arc::clone(inode));
        }
        NameOp::Rename(from, to) => {
            let moved: Vec<_> = names
                .keys()
                .filter(|p| p.starts_with(from))
                .cloned()
                .collect();
            for path in moved {
                let rest = path.strip_prefix(from).unwrap();
                let new = if rest.as_os_str().is_empty() {
                    to.clone()
                } else {
                    to.join(rest)
                };
                let inode = names.remove(&path).unwrap();
                names.insert(new, inode);
            }
        }
        NameOp::Remove(path) => {
            names.remove(path);
        }
        NameOp::RemoveDir(dir) => names.retain(|path, _| !path.starts_with(dir)),
    }
}

/// The disk. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

fn dead() -> io::Error {
    io::Error::other("the machine is dead")
}

impl SimulatedDisk {
    /// Lets `fault` happen at the operation of that number, counted from now.
    pub fn arm(&self, at: u64, fault: Fault, seed: u64) {
        let mut state = self.0.lock().unwrap();
        state.operations = 0;
        state.fault = Some((at, fault));
        state.seed = seed;
    }

    /// A disk whose torn sectors may have any content.
    #[must_use]
    pub fn that_tears(torn: Torn) -> Self {
        let disk = Self::default();
        disk.0.lock().unwrap().torn = torn;
        disk
    }

    /// No fault is to happen; operations are counted from here.
    pub fn disarm(&self) {
        let mut state = self.0.lock().unwrap();
        state.operations = 0;
        state.fault = None;
    }

    /// The machine dies at the operation of that number, counted from 0 since the
    /// disk was made or armed.
    pub fn die_at(&self, at: u64) {
        self.0.lock().unwrap().fault = Some((at.saturating_add(1), Fault::Crash));
    }

    /// What a crash now would leave of a file; the disk itself stays as it is.
    /// `choose` returns a number below its argument: nothing but 0 keeps nothing
    /// that was not synced, nothing but 1 keeps all.
    ///
    /// # Errors
    /// There is no such file.
    pub fn after_crash(
        &self,
        path: &Path,
        choose: &mut dyn FnMut(u64) -> u64,
    ) -> io::Result<Vec<u8>> {
        let state = self.0.lock().unwrap();
        let inode = state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(inode.lock().unwrap().after_crash(choose, state.torn))
    }

    /// Operations that change something, since [`arm`](Self::arm).
    pub fn operations(&self) -> u64 {
        self.0.lock().unwrap().operations
    }

    /// Loses what a power failure loses, and lives again without faults.
    pub fn crash(&self, seed: &mut Seed) {
        let mut state = self.0.lock().unwrap();
        let torn = state.torn;
        for inode in &state.inodes {
            let mut inode = inode.lock().unwrap();
            inode.settle(seed, torn);
            inode.locked = false;
        }
        let kept = seed.below(state.journal.len() as u64 + 1) as usize;
        let journal = std::mem::take(&mut state.journal);
        let mut names = std::mem::take(&mut state.durable_names);
        for op in &journal[..kept] {
            apply(&mut names, op);
        }
        state.durable_names = names.clone();
        state.names = names;
        // Files without a name and without a handle are gone.
        state.inodes.retain(|inode| Arc::strong_count(inode) > 1);
        state.dead = false;
        state.fault = None;
    }

    /// True once the armed crash has happened: every operation fails from then on.
    pub fn has_died(&self) -> bool {
        self.0.lock().unwrap().dead
    }

    /// The process ends and the machine lives on: nothing is lost, nothing is
    /// durable that was not, and the disk works without faults.
    pub fn kill(&self) {
        let mut state = self.0.lock().unwrap();
        state.dead = false;
        state.fault = None;
    }

    /// Counts an operation that changes something; says what befalls it.
    fn step(&self, state: &mut State, sync: bool) -> io::Result<Option<Fault>> {
        if state.dead {
            return Err(dead());
        }
        state.operations += 1;
        match state.fault {
            Some((at, fault)) if state.operations >= at => match fault {
                Fault::Crash => {
                    state.dead = true;
                    Ok(Some(fault))
                }
                Fault::FailedSync if !sync => Ok(None),
                Fault::FailedSync | Fault::LostWriteback => {
                    state.fault = None;
                    Ok(Some(fault))
                }
                Fault::Refused => {
                    state.fault = None;
                    Err(io::Error::from_raw_os_error(libc::EIO))
                }
                Fault::Full if !sync => Err(io::ErrorKind::StorageFull.into()),
                Fault::Full => Ok(None),
            },
            _ => Ok(None),
        }
    }

    fn name_op(&self, op: NameOp) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let fault = self.step(&mut state, true)?;
        apply(&mut state.names, &op);
        state.journal.push(op);
        if fault == Some(Fault::Crash) {
            Err(dead())
        } else {
            Ok(())
        }
    }
}

impl Disk for SimulatedDisk {
    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.0.lock().unwrap();
        let names = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(names
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect())
    }

    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn DiskFile>> {
        if let Mode::Create(_) = mode {
            let inode = SharedInode::default();
            self.0.lock().unwrap().inodes.push(Arc::clone(&inode));
            self.name_op(NameOp::Link(path.into(), inode))?;
        }
        let state = self.0.lock().unwrap();
        let inode = state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        let inode = Arc::clone(inode);
        let told = inode.lock().unwrap().errors.into();
        Ok(Box::new(SimulatedFile {
            disk: self.clone(),
            inode,
            told,
            locked: AtomicBool::default(),
        }))
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let known = |path: &PathBuf| path.starts_with(from);
        if !self.0.lock().unwrap().names.keys().any(known) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.name_op(NameOp::Rename(from.into(), to.into()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if !self.0.lock().unwrap().names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.name_op(NameOp::Remove(path.into()))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.name_op(NameOp::RemoveDir(dir.into()))
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        match self.step(&mut state, true)? {
            Some(Fault::Crash) => Err(dead()),
            Some(Fault::FailedSync) => Err(io::Error::other("sync failed")),
            _ => {
                state.durable_names = state.names.clone();
                state.journal.clear();
                Ok(())
            }
        }
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    inode: SharedInode,
    /// Failed writebacks that this description has reported.
    told: AtomicU64,
    locked: AtomicBool,
}

impl SimulatedFile {
    fn change(&self, change: impl FnOnce(&mut Inode)) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        let fault = self.disk.step(&mut state, false)?;
        let mut inode = self.inode.lock().unwrap();
        change(&mut inode);
        match fault {
            Some(Fault::Crash) => Err(dead()),
            Some(Fault::LostWriteback) => {
                inode.lose(&mut Seed(state.seed));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let inode = self.inode.lock().unwrap();
        let rest = inode.current.get(offset as usize..).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.change(|inode| {
            let start = offset as usize;
            inode.write(start..start + buf.len(), buf);
        })
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        let fault = self.disk.step(&mut state, true)?;
        let mut inode = self.inode.lock().unwrap();
        match fault {
            Some(Fault::Crash) => return Err(dead()),
            Some(_) => inode.lose(&mut Seed(state.seed)),
            None => {}
        }
        let told = self.told.swap(inode.errors, Ordering::Relaxed);
        inode.sync();
        if told < inode.errors {
            Err(io::Error::other("sync failed"))
        } else {
            Ok(())
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.inode.lock().unwrap().current.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(|inode| inode.set_len(len as usize))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.change(|inode| {
            if inode.current.len() < len as usize {
                inode.set_len(len as usize);
            }
        })
    }

    fn try_lock(&self) -> io::Result<bool> {
        let taken = std::mem::replace(&mut self.inode.lock().unwrap().locked, true);
        if !taken {
            self.locked.store(true, Ordering::Relaxed);
        }
        Ok(!taken)
    }
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        if *self.locked.get_mut() {
            // A poisoned inode belongs to a test that has failed already.
            if let Ok(mut inode) = self.inode.lock() {
                inode.locked = false;
            }
        }
    }
}
