//! Reading the log: segments in order, frame by frame, the checksum carried
//! along. Must never take a record whose checksum is wrong, hold more than one
//! window of a file in memory besides what the entries keep, or change a file:
//! what to do about a faulty place is decided by [`crate::recovery`], and
//! repair is the writer's business.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use crc32c::crc32c_append;
use prost::Message;
use proto::{raftpb, walpb};

use crate::{
    disk::{Disk, DiskFile, Mode, OsDisk},
    error::{Damage, Error},
    frame::{self, Front, LENGTH_BYTES, Length, RecordType, SECTOR_BYTES},
    name::{SegmentName, consecutive, segments, segments_from},
    recovery::{Access, Action, Later, Place, Segment, Witness, decide},
};

/// A file is read in windows of this many bytes. Data of entries points into
/// them, so one entry that is kept keeps at most this much (or itself).
const WINDOW_BYTES: u64 = 1 << 20;

/// How far behind a torn place records are looked at for proof that the place
/// had been durable. Far beyond what one sync covers.
const LOOKAHEAD_BYTES: u64 = 16 << 20;

/// How far behind the end of the log a reader looks for bytes that are not
/// zero. What an interrupted write left further away is cleared all the same.
const BEYOND_END_BYTES: u64 = 1 << 20;

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

    fn corrupt(&self, offset: u64, damage: Damage) -> Error {
        Error::Corrupt {
            path: self.path.clone(),
            offset,
            damage,
        }
    }
}

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
        M::decode(self.data.clone()).map_err(|e| {
            self.corrupt(Damage::Message {
                what,
                detail: e.to_string(),
            })
        })
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
                Found::Torn(Some(known)) if position == Segment::Last => {
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

/// What can be believed of a torn record.
#[derive(Debug, Clone, Copy)]
struct Known {
    length: Length,
    kind: i64,
    crc: u32,
}

enum Found {
    Record {
        kind: RecordType,
        data: Bytes,
        crc: u32,
        length: Length,
    },
    End,
    Torn(Option<Known>),
    Broken(Damage),
}

impl Found {
    fn place(&self) -> Place {
        match self {
            Self::Record { .. } => Place::Whole,
            Self::End => Place::End,
            Self::Torn(_) => Place::Torn,
            Self::Broken(_) => Place::Broken,
        }
    }

    /// Why a place that looks torn is refused as damage: it was durable.
    fn damage(&self) -> Damage {
        let detail = "bytes are missing from a record that had been synced".into();
        Damage::Message {
            what: "whole record",
            detail,
        }
    }
}

/// A window that moves over one segment.
struct Cursor<'a> {
    segment: &'a OpenSegment,
    position: Segment,
    len: u64,
    window: Bytes,
    start: u64,
}

impl<'a> Cursor<'a> {
    fn new(segment: &'a OpenSegment, position: Segment) -> Result<Self, Error> {
        let len = segment
            .file
            .len()
            .map_err(|e| Error::io("examine", &segment.path, e))?;
        Ok(Self {
            segment,
            position,
            len,
            window: Bytes::new(),
            start: 0,
        })
    }

    /// Moves the window so that it holds `n` bytes at `offset`, or what the
    /// file has of them; gives their place in the window.
    fn load(&mut self, offset: u64, n: u64) -> Result<(usize, usize), Error> {
        let n = n.min(self.len.saturating_sub(offset));
        let held = self.start..=self.start + self.window.len() as u64;
        if !(held.contains(&offset) && held.contains(&(offset + n))) {
            let want = n.max(WINDOW_BYTES).min(self.len.saturating_sub(offset));
            let mut buf = BytesMut::zeroed(want as usize);
            let mut got = 0;
            while got < buf.len() {
                let read = self
                    .segment
                    .file
                    .read_at(&mut buf[got..], offset + got as u64)
                    .map_err(|e| Error::io("read", &self.segment.path, e))?;
                if read == 0 {
                    break;
                }
                got += read;
            }
            buf.truncate(got);
            self.window = buf.freeze();
            self.start = offset;
        }
        let at = (offset - self.start) as usize;
        Ok((at, self.window.len().min(at + n as usize)))
    }

    fn view(&mut self, offset: u64, n: u64) -> Result<&[u8], Error> {
        let (from, to) = self.load(offset, n)?;
        Ok(&self.window[from..to])
    }

    fn slice(&mut self, offset: u64, n: u64) -> Result<Bytes, Error> {
        let (from, to) = self.load(offset, n)?;
        Ok(self.window.slice(from..to))
    }

    /// What lies at `offset`, where `crc` is the checksum so far.
    fn examine(&mut self, offset: u64, crc: u32) -> Result<Found, Error> {
        let field = match <[u8; 8]>::try_from(self.view(offset, LENGTH_BYTES)?) {
            Ok(bytes) => u64::from_le_bytes(bytes),
            Err(_) => {
                let zero = self.view(offset, LENGTH_BYTES)?.iter().all(|&b| b == 0);
                return Ok(if zero { Found::End } else { Found::Torn(None) });
            }
        };
        if field == 0 {
            return self.examine_end(offset + LENGTH_BYTES);
        }
        let Some(length) = Length::parse(field) else {
            return Ok(Found::Broken(Damage::Length { field }));
        };
        let body = offset + LENGTH_BYTES;
        if length.record + length.pad > self.len - body {
            // Enough for the front of any record.
            let shown = self.slice(body, 64)?;
            return Ok(match believe(&shown, body, length) {
                Front::Contradicts => Found::Broken(Damage::Length { field }),
                Front::Fits { .. } | Front::Unknown => Found::Torn(None),
            });
        }
        let bytes = self.slice(body, length.record + length.pad)?;
        let damage = match frame::decode(bytes.slice(..length.record as usize)) {
            Ok(record) => match judge(offset, crc, record) {
                Ok((kind, data, crc)) => {
                    return Ok(Found::Record {
                        kind,
                        data,
                        crc,
                        length,
                    });
                }
                Err(damage) => damage,
            },
            Err(e) => Damage::Message {
                what: "log record",
                detail: e.to_string(),
            },
        };
        let looks_torn = frame::first_zero_piece(&bytes, body).is_some()
            && matches!(damage, Damage::Checksum { .. } | Damage::Message { .. });
        Ok(match (looks_torn, believe(&bytes, body, length)) {
            (true, Front::Fits { kind, crc }) => Found::Torn(Some(Known { length, kind, crc })),
            (true, Front::Unknown) => Found::Torn(None),
            (_, Front::Contradicts) => Found::Broken(Damage::Length { field }),
            (false, _) => Found::Broken(damage),
        })
    }

    /// Behind a length field of zero. A lost sector is zero to its end, so
    /// data in the same sector means that the field itself was changed; data
    /// in a later sector may be the rest of a torn write.
    fn examine_end(&mut self, behind: u64) -> Result<Found, Error> {
        let sector_end = behind.next_multiple_of(SECTOR_BYTES);
        if self
            .view(behind, sector_end - behind)?
            .iter()
            .any(|&b| b != 0)
        {
            return Ok(Found::Broken(Damage::ZeroLength));
        }
        let beyond = self.position == Segment::Last
            && self
                .view(sector_end, BEYOND_END_BYTES)?
                .iter()
                .any(|&b| b != 0);
        Ok(if beyond {
            Found::Torn(None)
        } else {
            Found::End
        })
    }

    /// Looks behind a torn record whose length and checksum are known.
    fn later(&mut self, offset: u64, torn: Known) -> Result<Later, Error> {
        let mut witness = Witness::new(RecordType::from_number(torn.kind));
        let mut crc = torn.crc;
        let mut at = offset + torn.length.frame();
        while at < offset.saturating_add(LOOKAHEAD_BYTES) {
            let Ok(field) = <[u8; 8]>::try_from(self.view(at, LENGTH_BYTES)?) else {
                break;
            };
            let Some(length) = Length::parse(u64::from_le_bytes(field)) else {
                break;
            };
            if length.frame() > self.len - at {
                break;
            }
            let bytes = self.slice(at + LENGTH_BYTES, length.record)?;
            let Ok(record) = frame::decode(bytes) else {
                break;
            };
            let Ok((kind, _, next)) = judge(at, crc, record) else {
                break;
            };
            if witness.see(kind) == Later::Durable {
                return Ok(Later::Durable);
            }
            crc = next;
            at += length.frame();
        }
        Ok(Later::Silent)
    }
}

/// Reads the front of a record as far as no sector is missing.
fn believe(bytes: &[u8], offset: u64, length: Length) -> Front {
    let whole = frame::first_zero_piece(bytes, offset).unwrap_or(bytes.len());
    let shown = whole.min(usize::try_from(length.record).unwrap_or(usize::MAX));
    frame::front(&bytes[..shown], length.record)
}

/// Checks a record against the checksum so far; gives its type, data and the
/// checksum behind it.
fn judge(offset: u64, crc: u32, record: walpb::Record) -> Result<(RecordType, Bytes, u32), Damage> {
    let data = record.data.unwrap_or_default();
    if record.r#type == RecordType::Crc as i64 {
        // A reader may begin at any segment; before the first record there is
        // nothing to compare with.
        if crc != 0 && crc != record.crc {
            return Err(Damage::Chain {
                stored: record.crc,
                found: crc,
            });
        }
        return Ok((RecordType::Crc, data, record.crc));
    }
    if offset == 0 {
        return Err(Damage::NoHead);
    }
    let found = crc32c_append(crc, &data);
    if found != record.crc {
        return Err(Damage::Checksum {
            stored: record.crc,
            found,
        });
    }
    match RecordType::from_number(record.r#type) {
        Some(kind) => Ok((kind, data, found)),
        None => Err(Damage::RecordType(record.r#type)),
    }
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
}

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
                self.state = Some(at.message("hard state")?);
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
        let entry: raftpb::Entry = at.message("raft entry")?;
        if entry.index <= self.at.index {
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
    read_all_on(&OsDisk, dir, at)
}

/// [`read_all`] on another disk.
pub fn read_all_on(disk: &dyn Disk, dir: &Path, at: walpb::Snapshot) -> Result<ReadOnly, Error> {
    let files = open_from(disk, dir, at.index)?;
    let index = at.index;
    let mut replay = Replay::from(at);
    let end = walk(&files, Access::Read, &mut |at| replay.take(at))?;
    let metadata = replay.required_metadata(&files[0])?;
    if !replay.snapshot_found {
        return Err(Error::SnapshotNotFound {
            dir: dir.into(),
            index,
        });
    }
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
        RecordType::Entry => at.message::<raftpb::Entry>("raft entry").map(drop),
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
/// from the oldest on; a torn end is no error.
pub fn valid_snapshots(dir: &Path) -> Result<Vec<walpb::Snapshot>, Error> {
    valid_snapshots_on(&OsDisk, dir)
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
    let files = open_all(disk, dir, names)?;
    let mut snapshots: Vec<walpb::Snapshot> = Vec::new();
    let mut commit = 0;
    walk(&files, Access::Read, &mut |at| {
        match at.kind {
            RecordType::Snapshot => snapshots.push(at.message("snapshot record")?),
            RecordType::State => commit = at.message::<raftpb::HardState>("hard state")?.commit,
            RecordType::Entry | RecordType::Metadata | RecordType::Crc => {}
        }
        Ok(())
    })?;
    snapshots.retain(|snapshot| snapshot.index <= commit);
    Ok(snapshots)
}
