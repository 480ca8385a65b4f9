//! One segment under a window: what lies at an offset. Must never take a
//! record whose checksum is wrong, nor allocate for a length field that the
//! record behind it does not bear out.

use bytes::{Bytes, BytesMut};
use crc32c::crc32c_append;
use proto::walpb;

use crate::{
    error::{Damage, Error},
    frame::{self, Front, LENGTH_BYTES, Length, RecordType, SECTOR_BYTES},
    recovery::{Later, Place, Segment, Witness},
    segment::OpenSegment,
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

/// What can be believed of a torn record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    length: Length,
    kind: i64,
    crc: u32,
}

/// Enough for the front of any record.
const FRONT_BYTES: u64 = 64;

pub(crate) enum Found {
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
    pub(crate) fn place(&self) -> Place {
        match self {
            Self::Record { .. } => Place::Whole,
            Self::End => Place::End,
            Self::Torn(_) => Place::Torn,
            Self::Broken(_) => Place::Broken,
        }
    }

    /// Why a place that looks torn is refused as damage: it was durable.
    pub(crate) fn damage(&self) -> Damage {
        let detail = "bytes are missing from a record that had been synced".into();
        Damage::Message {
            what: "whole record",
            detail,
        }
    }
}

/// A window that moves over one segment.
pub(crate) struct Cursor<'a> {
    segment: &'a OpenSegment,
    position: Segment,
    len: u64,
    window: Bytes,
    start: u64,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(segment: &'a OpenSegment, position: Segment) -> Result<Self, Error> {
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
    pub(crate) fn examine(&mut self, offset: u64, crc: u32) -> Result<Found, Error> {
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
            return self.examine_garbage(offset, field);
        };
        let body = offset + LENGTH_BYTES;
        let is_in_file = length.record + length.pad <= self.len - body;
        // What is longer than a window is read as a whole only if its front agrees.
        if !is_in_file || length.record > WINDOW_BYTES {
            let shown = self.slice(body, FRONT_BYTES)?;
            match believe(&shown, body, length) {
                Front::Contradicts => return self.examine_garbage(offset, field),
                _ if !is_in_file => return Ok(Found::Torn(None)),
                Front::Fits { .. } | Front::Unknown => {}
            }
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
            (_, Front::Contradicts) => return self.examine_garbage(offset, field),
            (false, _) => Found::Broken(damage),
        })
    }

    /// Behind a length field of zero. A lost sector is zero to its end, so
    /// data in the same sector means that the field itself was changed; data
    /// in a later sector may be the rest of a torn write.
    fn examine_end(&mut self, behind: u64) -> Result<Found, Error> {
        let sector_end = behind.next_multiple_of(SECTOR_BYTES);
        let in_sector = self.view(behind, sector_end - behind)?;
        if in_sector.iter().any(|&b| b != 0) {
            let offset = behind - LENGTH_BYTES;
            let garbage = self.position == Segment::Last
                && !self.shows_a_record(offset, Length::lenient(0))?;
            return Ok(if garbage {
                Found::Torn(None)
            } else {
                Found::Broken(Damage::ZeroLength)
            });
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

    /// A frame that no writer wrote. At the end of a log it may be what a disk
    /// made of an interrupted write: etcd calls it torn if it runs past the end
    /// of the file or has a sector of zeros. The same holds for a record whose
    /// length field rotted, so it is torn only where nothing shows a record.
    fn examine_garbage(&mut self, offset: u64, field: u64) -> Result<Found, Error> {
        let length = Length::lenient(field);
        let body = offset + LENGTH_BYTES;
        let bytes = length.record + length.pad;
        // A segment gets its name after its first records are durable.
        let may_be_torn = self.position == Segment::Last && offset > 0;
        let torn = may_be_torn
            && (bytes > self.len - body || self.has_zero_piece(body, body + bytes)?)
            && !self.shows_a_record(offset, length)?;
        Ok(if torn {
            Found::Torn(None)
        } else {
            Found::Broken(Damage::Length { field })
        })
    }

    /// Whether one of the pieces between sector boundaries is all zero. Read
    /// window by window: that the length field is right is not known.
    fn has_zero_piece(&mut self, mut at: u64, end: u64) -> Result<bool, Error> {
        while at < end {
            let next = end.min((at + 1).next_multiple_of(WINDOW_BYTES));
            if frame::first_zero_piece(self.view(at, next - at)?, at).is_some() {
                return Ok(true);
            }
            at = next;
        }
        Ok(false)
    }

    /// Whether a record is at `offset`, its length field or one bit aside, or
    /// an intact one anywhere after.
    fn shows_a_record(&mut self, offset: u64, length: Length) -> Result<bool, Error> {
        let body = offset + LENGTH_BYTES;
        let shown = self.slice(body, FRONT_BYTES)?;
        Ok(frame::begins_a_record(&shown, self.len - body)
            || frame::is_one_bit_from_a_record(&shown, length.record)
            || self.next_intact(body, self.len)?.is_some())
    }

    /// The first frame from `at` on, and before `limit`, that has a record in
    /// it. Frames begin at multiples of eight.
    fn next_intact(&mut self, mut at: u64, limit: u64) -> Result<Option<u64>, Error> {
        while at + LENGTH_BYTES <= limit.min(self.len) {
            let window = self.slice(at, WINDOW_BYTES)?;
            let words = window.chunks_exact(LENGTH_BYTES as usize);
            let bytes = LENGTH_BYTES * words.len() as u64;
            if bytes == 0 {
                break;
            }
            for (i, word) in words.enumerate() {
                let field = u64::from_le_bytes(word.try_into().unwrap_or_default());
                let place = at + LENGTH_BYTES * i as u64;
                if field != 0 && self.is_intact(place, field)? {
                    return Ok(Some(place));
                }
            }
            at += bytes;
        }
        Ok(None)
    }

    /// Whether a frame with that length field has a record in it.
    fn is_intact(&mut self, at: u64, field: u64) -> Result<bool, Error> {
        let Some(length) = Length::parse(field).filter(|l| l.frame() <= self.len - at) else {
            return Ok(false);
        };
        let shown = self.slice(at + LENGTH_BYTES, FRONT_BYTES)?;
        Ok(frame::is_record_front(&shown, length.record))
    }

    /// Looks past a torn place for proof that it had been durable, past what
    /// else is unreadable there.
    pub(crate) fn later(&mut self, offset: u64, torn: Option<Known>) -> Result<Later, Error> {
        let limit = offset.saturating_add(LOOKAHEAD_BYTES);
        let mut witness = Witness::new(torn.and_then(|torn| RecordType::from_number(torn.kind)));
        let mut at = offset + torn.map_or(LENGTH_BYTES, |torn| torn.length.frame());
        let mut crc = torn.map(|torn| torn.crc);
        while at < limit {
            if let Some((kind, next, frame)) = self.intact(at, crc)? {
                if witness.see(kind) == Later::Durable {
                    return Ok(Later::Durable);
                }
                crc = Some(next);
                at += frame;
                continue;
            }
            if crc.take().is_some() {
                // The chain breaks here; the frame itself may yet be readable.
                continue;
            }
            let Some(next) = self.next_intact(at + LENGTH_BYTES, limit)? else {
                break;
            };
            at = next;
        }
        Ok(Later::Silent)
    }

    /// Type of the record at `at`, the checksum after it and the length of its
    /// frame, if it continues `crc`; any does where that is not known.
    fn intact(
        &mut self,
        at: u64,
        crc: Option<u32>,
    ) -> Result<Option<(RecordType, u32, u64)>, Error> {
        let Ok(field) = <[u8; 8]>::try_from(self.view(at, LENGTH_BYTES)?) else {
            return Ok(None);
        };
        let length = Length::parse(u64::from_le_bytes(field));
        let Some(length) = length.filter(|length| length.frame() <= self.len - at) else {
            return Ok(None);
        };
        let bytes = self.slice(at + LENGTH_BYTES, length.record)?;
        let Ok(record) = frame::decode(bytes) else {
            return Ok(None);
        };
        let judged = match crc {
            Some(crc) => judge(at, crc, record)
                .map(|(kind, _, crc)| (kind, crc))
                .ok(),
            None => RecordType::from_number(record.r#type).map(|kind| (kind, record.crc)),
        };
        Ok(judged.map(|(kind, crc)| (kind, crc, length.frame())))
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
