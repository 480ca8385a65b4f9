//! The log opened for writing. Must never acknowledge what is not durable:
//! [`Wal::sync`] alone gives that promise, and after the first error nothing
//! is written any more, because what a failed sync left on disk is unknown.
//!
//! Records gather in one buffer and go to the file with one write per sync. A
//! hard state waits for the end of its batch, where a later one replaces it:
//! so a batch on disk is entries, then one hard state, as if raft had handed
//! out all of it at once, and recovery can tell where batches end.

use std::{
    collections::VecDeque,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use failpoint::failpoint;
use proto::{raftpb, walpb};

use crate::{
    disk::{Disk, Mode, OsDisk},
    error::Error,
    frame::{Encoder, RecordType},
    name::{SegmentName, beside, parent_of, segments, segments_from},
    prepare::{Frontier, Prepared, Preparer, create_segment, tmp_name},
    recovery::Access,
    replay::{Replay, walk},
    segment::OpenSegment,
};

mod repair;

pub use repair::Repair;

/// Size that a segment has from the start, and after which the next is begun.
/// etcd's number; it is decimal.
pub const SEGMENT_BYTES: u64 = 64_000_000;

/// A batch larger than this goes to the file before its sync, in pieces.
const BUFFER_BYTES: usize = 4 << 20;

/// The preparing thread is told about the writer once per this many bytes.
const NUDGE_BYTES: u64 = 1 << 20;

/// How a log is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Cut off a torn end (keeping a copy), instead of refusing to open.
    pub repair: bool,
    /// Prepare blocks and segments by a thread. Off, everything happens in the
    /// caller, in an order that a simulated disk can repeat.
    pub background: bool,
    /// Size of a segment; other than [`SEGMENT_BYTES`] in tests only.
    pub segment_bytes: u64,
    /// Where the files are.
    pub disk: Arc<dyn Disk>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            repair: true,
            background: true,
            segment_bytes: SEGMENT_BYTES,
            disk: Arc::new(OsDisk),
        }
    }
}

/// A log opened for writing, and what it held.
#[derive(Debug)]
pub struct Opened {
    /// The log, ready to append behind its last whole record.
    pub wal: Wal,
    /// `etcdserverpb.Metadata`, encoded.
    pub metadata: Bytes,
    /// The last hard state; all zero if there is none.
    pub state: raftpb::HardState,
    /// Entries behind the snapshot, without a hole.
    pub entries: Vec<raftpb::Entry>,
    /// What was cut off, if the end was torn.
    pub repaired: Option<Repair>,
}

/// What one sync did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SyncStats {
    /// Bytes made durable.
    pub bytes: u64,
    /// Time of the write.
    pub write: Duration,
    /// Time of the sync of the file; zero if nothing had been written.
    pub sync: Duration,
    /// Time to begin the next segment, if this one was full.
    pub cut: Option<Duration>,
}

/// The log, owned by the thread that writes it.
#[derive(Debug)]
pub struct Wal {
    dir: PathBuf,
    options: Options,
    /// Segments held locked, oldest first; the last is written.
    held: VecDeque<OpenSegment>,
    frontier: Arc<Frontier>,
    preparer: Option<Preparer>,
    /// The preparer knows the segment. Not before the first write: a directory that
    /// is looked at and refused stays as it was.
    is_followed: bool,
    encoder: Encoder,
    /// Offset in the last segment behind everything written.
    position: u64,
    /// Bytes written since the last sync.
    unsynced: u64,
    /// Entries are among what was appended since the last sync.
    has_unsynced_entries: bool,
    metadata: Bytes,
    /// The last hard state known; all zero if none.
    state: raftpb::HardState,
    /// It waits for the end of the batch.
    state_pending: bool,
    last_index: u64,
    failed: Option<Arc<str>>,
}

impl Wal {
    /// Whether `dir` holds a log: a file whose name ends in `.wal`. A directory
    /// that cannot be read is an error, not an empty one: a member founded over
    /// it would be another one.
    pub fn exists(dir: &Path) -> Result<bool, Error> {
        Self::exists_on(&OsDisk, dir)
    }

    /// The same on another disk.
    pub fn exists_on(disk: &dyn Disk, dir: &Path) -> Result<bool, Error> {
        match disk.names(dir) {
            Ok(names) => Ok(names.iter().any(|name| name.ends_with(".wal"))),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Ok(false)
            }
            Err(e) => Err(Error::io("list", dir, e)),
        }
    }

    /// Creates an empty log with the given metadata (`etcdserverpb.Metadata`,
    /// encoded).
    pub fn create(dir: &Path, metadata: &[u8], options: Options) -> Result<Self, Error> {
        Self::found(dir, metadata, &[], raftpb::HardState::default(), options)
    }

    /// Creates a log that begins with these entries, the first of which has
    /// index 1, and this hard state. It is built in `<dir>.tmp` and renamed, so
    /// that a log either exists with all of that or not at all: a member of a
    /// new cluster whose log lacks its first entries would know no members, and
    /// never elect.
    pub fn found(
        dir: &Path,
        metadata: &[u8],
        entries: &[raftpb::Entry],
        state: raftpb::HardState,
        options: Options,
    ) -> Result<Self, Error> {
        let disk = Arc::clone(&options.disk);
        if Self::exists_on(&*disk, dir)? {
            return Err(Error::Exists { dir: dir.into() });
        }
        let building = beside(dir, ".tmp");
        disk.remove_dir(&building)
            .map_err(|e| Error::io("remove", &building, e))?;
        disk.create_dir(&building)
            .map_err(|e| Error::io("create", &building, e))?;

        let name = SegmentName { seq: 0, index: 0 };
        let path = building.join(name.file());
        let segment = create_segment(&*disk, &path, options.segment_bytes)?;
        let mut encoder = Encoder::new(0);
        encoder.checksum();
        encoder.record(RecordType::Metadata, metadata);
        encoder.message(RecordType::Snapshot, &walpb::Snapshot::default());
        for entry in entries {
            encoder.entry(entry);
        }
        if state != raftpb::HardState::default() {
            encoder.message(RecordType::State, &state);
        }
        let position = write_head(&segment, &encoder)?;
        encoder.clear(BUFFER_BYTES);

        disk.rename(&building, dir)
            .map_err(|e| Error::io("rename to", dir, e))?;
        let parent = parent_of(dir);
        if let Err(e) = disk.sync_dir(parent) {
            // Whether the log survives a crash is unknown; it must not be
            // found half there.
            let _ = disk.rename(dir, &beside(dir, &repair::aside_suffix()));
            return Err(Error::io("sync", parent, e));
        }

        let last_index = entries.last().map_or(0, |entry| entry.index);
        let metadata = Bytes::copy_from_slice(metadata);
        let tail = OpenSegment {
            name,
            path: dir.join(name.file()),
            file: segment.file,
        };
        Ok(Self::assemble(
            dir,
            options,
            [tail].into(),
            encoder,
            position,
            0,
            metadata,
            state,
            last_index,
        ))
    }

    /// Opens a log for writing and reads everything behind the snapshot `at`,
    /// one of [`valid_snapshots`](crate::valid_snapshots). All segments from
    /// there on are locked until released.
    ///
    /// A torn end is repaired if the options allow it: the segment is copied
    /// to `<name>.broken`, then cut behind its last whole record.
    pub fn open(dir: &Path, at: walpb::Snapshot, options: Options) -> Result<Opened, Error> {
        Self::open_with(None, dir, at, options)
    }

    /// Locks the log in `dir`, so that whoever found it can look around before
    /// it decides where to read from: with the lock held, no server uses the
    /// data directory, and what a dead one left behind may be removed.
    pub fn hold(dir: &Path) -> Result<Hold, Error> {
        Self::hold_on(&OsDisk, dir)
    }

    /// The same on another disk.
    pub fn hold_on(disk: &dyn Disk, dir: &Path) -> Result<Hold, Error> {
        let names = segments(disk, dir)?;
        let newest = names.last().ok_or_else(|| Error::NotFound {
            dir: dir.into(),
            index: 0,
        })?;
        Ok(Hold {
            dir: dir.into(),
            newest: open_locked(disk, dir, *newest)?,
        })
    }

    fn open_with(
        mut newest: Option<OpenSegment>,
        dir: &Path,
        at: walpb::Snapshot,
        options: Options,
    ) -> Result<Opened, Error> {
        let disk = Arc::clone(&options.disk);
        let mut held = VecDeque::new();
        for name in segments_from(&*disk, dir, at.index)? {
            let segment = match newest.take_if(|newest| newest.name == name) {
                Some(newest) => newest,
                None => open_locked(&*disk, dir, name)?,
            };
            held.push_back(segment);
        }

        for seq in 0..2 {
            // What a process that died had prepared; none is ours yet.
            let path = dir.join(tmp_name(seq));
            match disk.remove(&path) {
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    return Err(Error::io("remove", path, e));
                }
                _ => {}
            }
        }

        let snapshot_index = at.index;
        let mut replay = Replay::from(at);
        let access = if options.repair {
            Access::Repair
        } else {
            Access::Write
        };
        let end = walk(held.make_contiguous(), access, &mut |at| replay.take(at))?;
        let metadata = replay.required_metadata(&held[0])?;
        replay.check_replaced(dir)?;
        let tail = &held[held.len() - 1];
        let repaired = if end.torn {
            Some(repair::keep_copy(
                &*disk,
                &tail.path,
                &*tail.file,
                end.offset,
            )?)
        } else {
            None
        };
        repair::clear(&*tail.file, &tail.path, end.offset, options.segment_bytes)?;

        // A process that died in a cut may have renamed the last segment without
        // making that durable; from here on it is written and relied upon.
        disk.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))?;

        let state = replay.state.unwrap_or_default();
        let last_index = replay
            .entries
            .last()
            .map_or(snapshot_index, |entry| entry.index);
        let mut wal = Self::assemble(
            dir,
            options,
            held,
            Encoder::new(end.crc),
            end.offset,
            end.offset,
            metadata.clone(),
            state,
            last_index,
        );
        if end.offset == 0 {
            wal.encode_head();
            wal.sync()?;
        }
        Ok(Opened {
            wal,
            metadata,
            state,
            entries: replay.entries,
            repaired,
        })
    }

    #[allow(clippy::too_many_arguments)]
    fn assemble(
        dir: &Path,
        options: Options,
        held: VecDeque<OpenSegment>,
        encoder: Encoder,
        position: u64,
        zeroed: u64,
        metadata: Bytes,
        state: raftpb::HardState,
        last_index: u64,
    ) -> Self {
        let tail = &held[held.len() - 1];
        let frontier = Arc::new(frontier(tail, zeroed.max(position), options.segment_bytes));
        frontier.claim(position);
        let preparer = if options.background {
            Preparer::start(Arc::clone(&options.disk), options.segment_bytes)
        } else {
            None
        };
        Self {
            dir: dir.into(),
            options,
            held,
            frontier,
            preparer,
            is_followed: false,
            encoder,
            position,
            unsynced: 0,
            has_unsynced_entries: false,
            metadata,
            state,
            state_pending: false,
            last_index,
            failed: None,
        }
    }

    fn follow(&mut self) {
        self.is_followed = true;
        if let Some(preparer) = &self.preparer {
            preparer.follow(Arc::clone(&self.frontier), self.next_path());
        }
    }

    fn tail(&self) -> &OpenSegment {
        &self.held[self.held.len() - 1]
    }

    fn next_path(&self) -> PathBuf {
        self.dir
            .join(tmp_name(self.tail().name.seq.wrapping_add(1)))
    }

    /// Index of the last entry in the log, or of the snapshot it starts from.
    pub fn last_index(&self) -> u64 {
        self.last_index
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Why the next segment could not be prepared in the background: most
    /// likely the disk is nearly full. It is tried again when it is needed.
    pub fn prepare_error(&self) -> Option<Error> {
        self.preparer.as_ref().and_then(Preparer::error)
    }

    /// Adds entries and the hard state that came with them to the batch.
    /// Nothing is durable before [`sync`](Self::sync); a batch of only a hard
    /// state with an unchanged term and vote need not be synced.
    ///
    /// Entries must follow the log or override its end. One that leaves a hole
    /// is refused, with those behind it: such a log could not be read again.
    /// etcd before 3.5.5 does not read a record of 10 MiB or more; whoever
    /// wants to go back to it bounds requests accordingly.
    pub fn append(
        &mut self,
        entries: &[raftpb::Entry],
        state: Option<&raftpb::HardState>,
    ) -> Result<(), Error> {
        self.check()?;
        for entry in entries {
            if entry.index > self.last_index.saturating_add(1) {
                return Err(Error::NotNext {
                    last: self.last_index,
                    index: entry.index,
                });
            }
            self.encoder.entry(entry);
            self.has_unsynced_entries = true;
            self.last_index = entry.index;
            if self.encoder.frames().len() >= BUFFER_BYTES {
                self.write()?;
            }
        }
        if let Some(state) = state.filter(|state| **state != raftpb::HardState::default()) {
            self.state = *state;
            self.state_pending = true;
        }
        Ok(())
    }

    /// Adds the record of a snapshot and syncs. With an index above zero it
    /// must carry its `conf_state`: 3.5 and later need it. Its `.snap` file
    /// must be durable before.
    ///
    /// Entries before it are synced by themselves: that a record of a snapshot
    /// follows proves to recovery that a sync had covered them.
    pub fn save_snapshot(&mut self, snapshot: &walpb::Snapshot) -> Result<SyncStats, Error> {
        self.check()?;
        if snapshot.index > 0 && snapshot.conf_state.is_none() {
            return Err(Error::NoConfState {
                index: snapshot.index,
            });
        }
        let before = match self.has_unsynced_entries {
            true => self.sync()?.bytes,
            false => 0,
        };
        self.encode_state();
        self.encoder.message(RecordType::Snapshot, snapshot);
        self.last_index = self.last_index.max(snapshot.index);
        let mut stats = self.sync()?;
        stats.bytes += before;
        Ok(stats)
    }

    /// Makes everything appended so far durable: one write, one sync, and the
    /// next segment if this one is full. After an error the log is dead.
    pub fn sync(&mut self) -> Result<SyncStats, Error> {
        self.check()?;
        self.encode_state();
        let began = Instant::now();
        self.write()?;
        let mut stats = SyncStats {
            bytes: self.unsynced,
            ..SyncStats::default()
        };
        if self.unsynced == 0 {
            return Ok(stats);
        }
        stats.write = began.elapsed();
        let began = Instant::now();
        failpoint!(WalBeforeSync);
        let tail = self.tail();
        if let Err(e) = tail.file.sync() {
            let error = Error::io("sync", &tail.path, e);
            return Err(self.fail(error));
        }
        failpoint!(WalAfterSync);
        // A disk that failed under the preparing thread is not trusted either.
        if let Some(error) = self.preparer.as_ref().and_then(Preparer::failure) {
            let error = error.clone();
            return Err(self.fail(error));
        }
        self.unsynced = 0;
        self.has_unsynced_entries = false;
        stats.sync = began.elapsed();
        if self.position >= self.options.segment_bytes {
            let began = Instant::now();
            self.cut().map_err(|e| self.fail(e))?;
            stats.cut = Some(began.elapsed());
        }
        Ok(stats)
    }

    /// Ends the current segment, whatever its size, and begins the next.
    pub fn cut_now(&mut self) -> Result<(), Error> {
        let stats = self.sync()?;
        if stats.cut.is_none() {
            self.cut().map_err(|e| self.fail(e))?;
        }
        Ok(())
    }

    /// Gives up the locks of the segments before the one that holds entry
    /// `index`, so that they may be purged.
    pub fn release_to(&mut self, index: u64) -> Result<(), Error> {
        let above = self
            .held
            .iter()
            .position(|segment| segment.name.index >= index);
        let keep_from = above.unwrap_or(self.held.len()).saturating_sub(1);
        self.held.drain(..keep_from);
        Ok(())
    }

    /// Syncs and closes; locks end.
    pub fn close(mut self) -> Result<(), Error> {
        self.sync().map(drop)
    }

    fn check(&self) -> Result<(), Error> {
        match &self.failed {
            Some(first) => Err(Error::Failed {
                first: Arc::clone(first),
            }),
            None => Ok(()),
        }
    }

    fn fail(&mut self, error: Error) -> Error {
        self.failed.get_or_insert_with(|| error.to_string().into());
        error
    }

    fn encode_state(&mut self) {
        if std::mem::take(&mut self.state_pending) {
            self.encoder.message(RecordType::State, &self.state);
        }
    }

    /// Checksum, metadata, and the last hard state if there is one.
    fn encode_head(&mut self) {
        self.encoder.checksum();
        self.encoder.record(RecordType::Metadata, &self.metadata);
        if self.state != raftpb::HardState::default() {
            self.encoder.message(RecordType::State, &self.state);
        }
    }

    /// Hands the buffer to the file.
    fn write(&mut self) -> Result<(), Error> {
        let len = self.encoder.frames().len() as u64;
        if len == 0 {
            return Ok(());
        }
        if !self.is_followed {
            self.follow();
        }
        let end = self.position + len;
        self.frontier.claim(end);
        let tail = &self.held[self.held.len() - 1];
        if let Err(e) = tail.file.write_at(self.encoder.frames(), self.position) {
            let error = Error::io("write", &tail.path, e);
            return Err(self.fail(error));
        }
        self.encoder.clear(BUFFER_BYTES);
        if let Some(preparer) = &self.preparer
            && end / NUDGE_BYTES != self.position / NUDGE_BYTES
        {
            preparer.nudge();
        }
        self.position = end;
        self.unsynced += len;
        Ok(())
    }

    /// Begins the next segment. Everything written is synced already; a crash
    /// in here leaves the old segment as the last one, or the new one with its
    /// whole head.
    fn cut(&mut self) -> Result<(), Error> {
        let disk = Arc::clone(&self.options.disk);
        let prepared = self.preparer.as_ref().and_then(Preparer::take);
        let segment = match prepared {
            Some(prepared) => prepared,
            None => create_segment(&*disk, &self.next_path(), self.options.segment_bytes)?,
        };

        self.frontier.close();
        let tail = self.tail();
        tail.file
            .set_len(self.position)
            .and_then(|()| tail.file.sync())
            .map_err(|e| Error::io("cut", &tail.path, e))?;
        let Some(seq) = tail.name.seq.checked_add(1) else {
            return Err(Error::MissingSegment {
                dir: self.dir.clone(),
                before: tail.name.seq,
                after: 0,
            });
        };

        self.encode_head();
        let position = write_head(&segment, &self.encoder)?;
        self.encoder.clear(BUFFER_BYTES);
        let name = SegmentName {
            seq,
            index: self.last_index.saturating_add(1),
        };
        let path = self.dir.join(name.file());
        disk.rename(&segment.path, &path)
            .map_err(|e| Error::io("rename to", &path, e))?;
        disk.sync_dir(&self.dir)
            .map_err(|e| Error::io("sync", &self.dir, e))?;

        let Prepared { file, zeroed, .. } = segment;
        let tail = OpenSegment { name, path, file };
        self.frontier = Arc::new(frontier(
            &tail,
            zeroed.max(position),
            self.options.segment_bytes,
        ));
        self.frontier.claim(position);
        self.position = position;
        self.held.push_back(tail);
        self.follow();
        Ok(())
    }
}

/// A log whose newest segment is locked, before it is opened.
#[derive(Debug)]
pub struct Hold {
    dir: PathBuf,
    newest: OpenSegment,
}

impl Hold {
    /// Opens the log, as [`Wal::open`] does.
    pub fn open(self, at: walpb::Snapshot, options: Options) -> Result<Opened, Error> {
        Wal::open_with(Some(self.newest), &self.dir, at, options)
    }
}

fn open_locked(disk: &dyn Disk, dir: &Path, name: SegmentName) -> Result<OpenSegment, Error> {
    let segment = OpenSegment::open(disk, dir, name, Mode::Write)?;
    let path = &segment.path;
    let lock = segment.file.try_lock();
    if !lock.map_err(|e| Error::io("lock", path, e))? {
        return Err(Error::Locked { path: path.clone() });
    }
    Ok(segment)
}

fn frontier(tail: &OpenSegment, zeroed: u64, limit: u64) -> Frontier {
    Frontier::new(tail.path.clone(), zeroed, limit)
}

/// Writes and syncs the first records of a segment; gives their length.
fn write_head(segment: &Prepared, encoder: &Encoder) -> Result<u64, Error> {
    let head = encoder.frames();
    segment
        .file
        .write_at(head, 0)
        .and_then(|()| segment.file.sync())
        .map_err(|e| Error::io("write", &segment.path, e))?;
    Ok(head.len() as u64)
}

#[cfg(test)]
mod tests;
