//! Reading the log: segments in order, frame by frame, the checksum carried
//! along. Must never take a record whose checksum is wrong, hold more than one
//! window of a file in memory besides what the entries keep, or change a file:
//! what to do about a faulty place is decided by [`crate::recovery`], and
//! repair is the writer's business.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message;
use proto::{raftpb, walpb};

use crate::{
    cursor::{Cursor, Found},
    disk::{Disk, Mode, OsDisk},
    error::{Damage, Error},
    frame::RecordType,
    name::{SegmentName, consecutive, segments, segments_from},
    recovery::{Access, Action, Later, Segment, decide},
    segment::OpenSegment,
};

/// Where the log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// Offset in the last segment behind its last whole frame.
    pub(crate) offset: u64,
    /// The running checksum there.
    pub(crate) crc: u32,
    /// Whether what follows is a torn write.
    pub(crate) torn: bool,
}

/// One record and where it lies.
pub(crate) struct At<'a> {
    segment: &'a OpenSegment,
    offset: u64,
    kind: RecordType,
    data: Bytes,
}

impl At<'_> {
    fn corrupt(&self, damage: Damage) -> Error {
        self.segment.corrupt(self.offset, damage)
    }

    fn message<M: Message + Default>(&self, what: &'static str) -> Result<M, Error> {
        M::decode(self.data.clone()).map_err(|e| self.implausible(what, e.to_string()))
    }

    fn implausible(&self, what: &'static str, detail: impl Into<String>) -> Error {
        let detail = detail.into();
        self.corrupt(Damage::Message { what, detail })
    }

    /// An entry. The checksum does not cover the type of a record, so what
    /// raft could not have written is refused here: it may be a hard state
    /// whose type has turned into that of an entry, and would cut the log.
    fn entry(&self) -> Result<raftpb::Entry, Error> {
        const WHAT: &str = "raft entry";
        let entry: raftpb::Entry = self.message(WHAT)?;
        if raftpb::EntryType::try_from(entry.r#type).is_err() {
            return Err(self.implausible(WHAT, format!("unknown entry type {}", entry.r#type)));
        }
        if entry.index == 0 || entry.term == 0 {
            return Err(self.implausible(WHAT, "it has no index or no term"));
        }
        Ok(entry)
    }

    /// A hard state, likewise, after the one before.
    fn state(&self, before: Option<&raftpb::HardState>) -> Result<raftpb::HardState, Error> {
        const WHAT: &str = "hard state";
        let state: raftpb::HardState = self.message(WHAT)?;
        if self.data.len() > state.encoded_len() {
            return Err(self.implausible(WHAT, "it has more fields than a hard state"));
        }
        let least = before.map_or(1, |before| before.term);
        if state.term < least {
            let detail = format!("its term {} is below {least}", state.term);
            return Err(self.implausible(WHAT, detail));
        }
        Ok(state)
    }
}

/// Reads all records of the segments, which are in order and without a hole.
pub(crate) fn walk(
    segments: &[OpenSegment],
    access: Access,
    visit: &mut dyn FnMut(At<'_>) -> Result<(), Error>,
) -> Result<End, Error> {
    let mut end = End {
        offset: 0,
        crc: 0,
        torn: false,
    };
    for (i, segment) in segments.iter().enumerate() {
        let position = if i + 1 == segments.len() {
            Segment::Last
        } else {
            Segment::Earlier
        };
        let mut cursor = Cursor::new(segment, position)?;
        end.offset = 0;
        loop {
            let found = cursor.examine(end.offset, end.crc)?;
            let later = match found {
                Found::Torn(known) if position == Segment::Last => {
                    cursor.later(end.offset, known)?
                }
                _ => Later::Silent,
            };
            match (decide(position, found.place(), later, access), found) {
                (
                    Action::Take,
                    Found::Record {
                        kind,
                        data,
                        crc,
                        length,
                    },
                ) => {
                    visit(At {
                        segment,
                        offset: end.offset,
                        kind,
                        data,
                    })?;
                    end.crc = crc;
                    end.offset += length.frame();
                }
                (Action::NextSegment, _) => {
                    if end.offset == 0 {
                        return Err(segment.corrupt(0, Damage::Empty));
                    }
                    break;
                }
                (Action::Finish, _) => return Ok(end),
                (Action::FinishBeforeTorn | Action::Repair, _) => {
                    return Ok(End { torn: true, ..end });
                }
                (Action::RefuseTorn, _) => {
                    return Err(Error::Torn {
                        path: segment.path.clone(),
                        offset: end.offset,
                    });
                }
                (_, Found::Broken(damage)) => return Err(segment.corrupt(end.offset, damage)),
                (_, found) => {
                    let damage = found.damage();
                    return Err(segment.corrupt(end.offset, damage));
                }
            }
        }
    }
    Ok(end)
}

/// What a log says, from a snapshot on.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    at: walpb::Snapshot,
    pub(crate) metadata: Option<Bytes>,
    pub(crate) state: Option<raftpb::HardState>,
    pub(crate) entries: Vec<raftpb::Entry>,
    pub(crate) snapshots: Vec<walpb::Snapshot>,
    pub(crate) snapshot_found: bool,
    /// Entries that it is false for are kept without their data.
    keep: Option<Keep>,
}

/// Whether a reader wants the data of an entry.
pub type Keep = fn(&raftpb::Entry) -> bool;

impl Replay {
    pub(crate) fn from(at: walpb::Snapshot) -> Self {
        Self {
            at,
            ..Self::default()
        }
    }

    /// Takes one record.
    pub(crate) fn take(&mut self, at: At<'_>) -> Result<(), Error> {
        match at.kind {
            RecordType::Entry => self.take_entry(&at),
            RecordType::State => {
                self.state = Some(at.state(self.state.as_ref())?);
                Ok(())
            }
            RecordType::Snapshot => self.take_snapshot(&at),
            RecordType::Metadata => {
                if self
                    .metadata
                    .as_ref()
                    .is_some_and(|known| *known != at.data)
                {
                    return Err(at.corrupt(Damage::Metadata));
                }
                // A copy of its own does not keep a window in memory.
                self.metadata
                    .get_or_insert_with(|| Bytes::copy_from_slice(&at.data));
                Ok(())
            }
            RecordType::Crc => Ok(()),
        }
    }

    /// A later entry overrides the one of its index and all behind it.
    fn take_entry(&mut self, at: &At<'_>) -> Result<(), Error> {
        let mut entry = at.entry()?;
        if entry.index <= self.at.index {
            return Ok(());
        }
        if let Some(keep) = self.keep {
            let kept = keep(&entry);
            // A copy of its own does not keep a window in memory.
            entry.data = entry.data.filter(|_| kept);
            entry.data = entry.data.map(|data| Bytes::copy_from_slice(&data));
        }
        // Before its record, a snapshot that was received from a leader stands the
        // tail that it took the place of: of an earlier term, and no longer there.
        if !self.snapshot_found && entry.term < self.at.term {
            return Ok(());
        }
        let slot = entry.index - self.at.index - 1;
        let slot = usize::try_from(slot)
            .ok()
            .filter(|slot| *slot <= self.entries.len());
        let Some(slot) = slot else {
            let expected = self.at.index + self.entries.len() as u64 + 1;
            return Err(at.corrupt(Damage::Gap {
                expected,
                found: entry.index,
            }));
        };
        self.entries.truncate(slot);
        let least = self
            .entries
            .last()
            .map_or(self.at.term, |before| before.term);
        if entry.term < least {
            let detail = format!(
                "its term {} is below {least}, that of the one before",
                entry.term
            );
            return Err(at.implausible("raft entry", detail));
        }
        self.entries.push(entry);
        Ok(())
    }

    fn take_snapshot(&mut self, at: &At<'_>) -> Result<(), Error> {
        let snapshot: walpb::Snapshot = at.message("snapshot record")?;
        if snapshot.index == self.at.index {
            if snapshot.term != self.at.term {
                return Err(Error::SnapshotMismatch {
                    path: at.segment.path.clone(),
                    index: snapshot.index,
                    wanted: self.at.term,
                    found: snapshot.term,
                });
            }
            self.snapshot_found = true;
        }
        self.snapshots.push(snapshot);
        Ok(())
    }

    /// Refuses entries that a received snapshot took the place of.
    ///
    /// A committed snapshot ends in an entry of the term that its record says. Only after a
    /// snapshot of a leader may the log have another one there, or none: what it has from before
    /// was never agreed on. Whoever starts from an older snapshot would take it for committed.
    pub(crate) fn check_replaced(&self, dir: &Path) -> Result<(), Error> {
        let commit = self.state.unwrap_or_default().commit;
        let is_received = |snapshot: &&walpb::Snapshot| {
            let slot = snapshot.index.checked_sub(self.at.index + 1);
            let entry = slot.and_then(|slot| self.entries.get(usize::try_from(slot).ok()?));
            let own = entry.is_some_and(|entry| entry.term == snapshot.term);
            slot.is_some() && snapshot.index <= commit && !own
        };
        match self.snapshots.iter().rfind(is_received) {
            Some(received) => Err(Error::Replaced {
                dir: dir.into(),
                index: self.at.index,
                received: received.index,
            }),
            None => Ok(()),
        }
    }

    /// The metadata, without which a log is of no use.
    pub(crate) fn required_metadata(&self, first: &OpenSegment) -> Result<Bytes, Error> {
        self.metadata
            .clone()
            .ok_or_else(|| first.corrupt(0, Damage::NoMetadata))
    }
}

/// What a log holds, read without changing it.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadOnly {
    /// `etcdserverpb.Metadata`, encoded.
    pub metadata: Bytes,
    /// The last hard state; all zero if there is none.
    pub state: raftpb::HardState,
    /// Entries behind the snapshot, without a hole.
    pub entries: Vec<raftpb::Entry>,
    /// All snapshot records seen, in the order of the log.
    pub snapshots: Vec<walpb::Snapshot>,
    /// The last segment and the offset at which a torn write begins.
    pub torn: Option<(PathBuf, u64)>,
}

/// Opens the segments that follow a snapshot at `index`.
fn open_from(disk: &dyn Disk, dir: &Path, index: u64) -> Result<Vec<OpenSegment>, Error> {
    open_all(disk, dir, segments_from(disk, dir, index)?)
}

fn open_all(
    disk: &dyn Disk,
    dir: &Path,
    names: Vec<SegmentName>,
) -> Result<Vec<OpenSegment>, Error> {
    names
        .into_iter()
        .map(|name| OpenSegment::open(disk, dir, name, Mode::Read))
        .collect()
}

/// Reads everything behind the snapshot `at`, for tools. A torn end is left as
/// it is and reported. Takes no lock: the log may be in use.
///
/// Fails with [`Error::SnapshotNotFound`] if the log has no record of `at`.
pub fn read_all(dir: &Path, at: walpb::Snapshot) -> Result<ReadOnly, Error> {
    read(&OsDisk, dir, at, None)
}

/// [`read_all`] on another disk.
pub fn read_all_on(disk: &dyn Disk, dir: &Path, at: walpb::Snapshot) -> Result<ReadOnly, Error> {
    read(disk, dir, at, None)
}

/// [`read_all`] for those who look for few entries in a long log: the others
/// come without their data, so that memory follows the number of entries alone.
///
/// # Errors
/// As [`read_all`].
pub fn read_kept(dir: &Path, at: walpb::Snapshot, keep: Keep) -> Result<ReadOnly, Error> {
    read(&OsDisk, dir, at, Some(keep))
}

fn read(
    disk: &dyn Disk,
    dir: &Path,
    at: walpb::Snapshot,
    keep: Option<Keep>,
) -> Result<ReadOnly, Error> {
    let files = open_from(disk, dir, at.index)?;
    let index = at.index;
    let mut replay = Replay::from(at);
    replay.keep = keep;
    let end = walk(&files, Access::Read, &mut |at| replay.take(at))?;
    let metadata = replay.required_metadata(&files[0])?;
    if !replay.snapshot_found {
        return Err(Error::SnapshotNotFound {
            dir: dir.into(),
            index,
        });
    }
    replay.check_replaced(dir)?;
    let last = &files[files.len() - 1];
    Ok(ReadOnly {
        metadata,
        state: replay.state.unwrap_or_default(),
        entries: replay.entries,
        snapshots: replay.snapshots,
        torn: end.torn.then(|| (last.path.clone(), end.offset)),
    })
}

/// Checks a log from the snapshot `at` on: checksums, metadata, the record of
/// the snapshot. Gives the last hard state.
pub fn verify(dir: &Path, at: walpb::Snapshot) -> Result<raftpb::HardState, Error> {
    let files = open_from(&OsDisk, dir, at.index)?;
    let index = at.index;
    let mut replay = Replay::from(at);
    walk(&files, Access::Read, &mut |at| match at.kind {
        RecordType::Entry => at.entry().map(drop),
        _ => replay.take(at),
    })?;
    replay.required_metadata(&files[0])?;
    if !replay.snapshot_found {
        return Err(Error::SnapshotNotFound {
            dir: dir.into(),
            index,
        });
    }
    Ok(replay.state.unwrap_or_default())
}

/// The snapshots a member may start from, in the order of the log: those whose
/// index is not above the commit of the last hard state. All segments are read
/// from the oldest on; a torn end is no error. Blank ones before the first with
/// a record are passed over: who needs what was in them finds out.
pub fn valid_snapshots(dir: &Path) -> Result<Vec<walpb::Snapshot>, Error> {
    valid_snapshots_on(&OsDisk, dir)
}

/// Whether a segment has no record.
fn is_blank(segment: &OpenSegment) -> Result<bool, Error> {
    let mut head = [0; 8];
    let read = segment.file.read_at(&mut head, 0);
    read.map_err(|e| Error::io("read", &segment.path, e))?;
    Ok(head == [0; 8])
}

/// [`valid_snapshots`] on another disk.
pub fn valid_snapshots_on(disk: &dyn Disk, dir: &Path) -> Result<Vec<walpb::Snapshot>, Error> {
    let names = segments(disk, dir)?;
    if names.is_empty() {
        return Err(Error::NotFound {
            dir: dir.into(),
            index: 0,
        });
    }
    consecutive(dir, &names)?;
    let mut files = open_all(disk, dir, names)?;
    while files.len() > 1 && is_blank(&files[0])? {
        files.remove(0);
    }
    let mut snapshots: Vec<walpb::Snapshot> = Vec::new();
    let mut state: Option<raftpb::HardState> = None;
    walk(&files, Access::Read, &mut |at| {
        match at.kind {
            RecordType::Snapshot => snapshots.push(at.message("snapshot record")?),
            RecordType::State => state = Some(at.state(state.as_ref())?),
            RecordType::Entry | RecordType::Metadata | RecordType::Crc => {}
        }
        Ok(())
    })?;
    let commit = state.unwrap_or_default().commit;
    snapshots.retain(|snapshot| snapshot.index <= commit);
    Ok(snapshots)
}
