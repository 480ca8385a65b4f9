//! One frame of the log: a length field, a record, padding to eight bytes, and
//! the checksum that runs through the records of all segments. Must never
//! allocate per entry: whoever appends encodes straight into one buffer.
//!
//! ```text
//! u64le  record length n in the low 56 bits; top byte 0x80|pad, or 0 if pad is 0
//! n      walpb.Record { type = 1, crc = 2, data = 3 }, scalars always written
//! pad    zeros up to the next multiple of 8
//! ```
//!
//! The crc of a record is the CRC-32C over the data of all records from the
//! first one of the log up to and including this one. A checksum record (type
//! 4) has no data and repeats the running value; each segment starts with one.

use bytes::Bytes;
use crc32c::crc32c_append;
use prost::Message;
use proto::{raftpb, walpb};

/// Bytes of the length field.
pub const LENGTH_BYTES: u64 = 8;

/// Unit in which a disk keeps or loses what was written.
pub const SECTOR_BYTES: u64 = 512;

/// `Record.type` of etcd's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i64)]
pub enum RecordType {
    /// `etcdserverpb.Metadata`, the same in every segment.
    Metadata = 1,
    /// `raftpb.Entry`.
    Entry = 2,
    /// `raftpb.HardState`.
    State = 3,
    /// No data; `crc` is the running checksum.
    Crc = 4,
    /// `walpb.Snapshot`.
    Snapshot = 5,
}

impl RecordType {
    /// The type of that number; `None` if etcd knows none.
    pub fn from_number(number: i64) -> Option<Self> {
        Some(match number {
            1 => Self::Metadata,
            2 => Self::Entry,
            3 => Self::State,
            4 => Self::Crc,
            5 => Self::Snapshot,
            _ => return None,
        })
    }
}

/// A length field taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    /// Bytes of the record.
    pub record: u64,
    /// Bytes of padding behind it, 0 to 7.
    pub pad: u64,
}

impl Length {
    /// The length field of a record of `record` bytes.
    pub fn of(record: u64) -> Self {
        Self {
            record,
            pad: record.wrapping_neg() % 8,
        }
    }

    /// The field as stored.
    pub fn field(self) -> u64 {
        if self.pad == 0 {
            self.record
        } else {
            self.record | (0x80 | self.pad) << 56
        }
    }

    /// Reads a field that is not zero; `None` if no writer writes it.
    pub fn parse(field: u64) -> Option<Self> {
        let length = Self::of(field & ((1 << 56) - 1));
        (length.record > 0 && length.field() == field).then_some(length)
    }

    /// Reads a field as etcd's reader does, which takes what no writer writes.
    pub fn lenient(field: u64) -> Self {
        let pad = if field >> 63 == 1 { field >> 56 & 7 } else { 0 };
        Self {
            record: field & ((1 << 56) - 1),
            pad,
        }
    }

    /// Bytes of the whole frame.
    pub fn frame(self) -> u64 {
        LENGTH_BYTES + self.record + self.pad
    }
}

/// Turns records into frames, back to back in one buffer.
#[derive(Debug)]
pub struct Encoder {
    buf: Vec<u8>,
    crc: u32,
}

impl Encoder {
    /// Starts from the checksum that the records before ended with.
    pub fn new(crc: u32) -> Self {
        Self {
            buf: Vec::new(),
            crc,
        }
    }

    /// The running checksum.
    pub fn crc(&self) -> u32 {
        self.crc
    }

    /// The frames encoded since the last [`clear`](Self::clear).
    pub fn frames(&self) -> &[u8] {
        &self.buf
    }

    /// Forgets the frames; keeps the checksum, and the buffer up to `keep` bytes.
    pub fn clear(&mut self, keep: usize) {
        self.buf.clear();
        self.buf.shrink_to(keep);
    }

    /// Appends a checksum record.
    pub fn checksum(&mut self) {
        self.head(RecordType::Crc, None);
    }

    /// Appends a record with the given data; empty data is left out.
    pub fn record(&mut self, kind: RecordType, data: &[u8]) {
        self.crc = crc32c_append(self.crc, data);
        self.head(kind, (!data.is_empty()).then_some(data.len()));
        self.buf.extend_from_slice(data);
        self.pad();
    }

    /// Appends a message as a record.
    pub fn message(&mut self, kind: RecordType, message: &impl Message) {
        self.record(kind, &message.encode_to_vec());
    }

    /// Appends an entry. Its data is read twice (checksum, copy) and copied
    /// once.
    pub fn entry(&mut self, entry: &raftpb::Entry) {
        let mut front = Short::new();
        front.byte(0x08).varint(entry.r#type as i64 as u64);
        front.byte(0x10).varint(entry.term);
        front.byte(0x18).varint(entry.index);
        if let Some(data) = &entry.data {
            front.byte(0x22).varint(data.len() as u64);
        }
        let data = entry.data.as_deref().unwrap_or_default();
        let len = front.bytes().len() + data.len();
        self.crc = crc32c_append(crc32c_append(self.crc, front.bytes()), data);
        self.head(RecordType::Entry, Some(len));
        self.buf.extend_from_slice(front.bytes());
        self.buf.extend_from_slice(data);
        self.pad();
    }

    /// Length field and record up to its data, whose length is given.
    fn head(&mut self, kind: RecordType, data_len: Option<usize>) {
        let mut head = Short::new();
        head.byte(0x08).varint(kind as u64);
        head.byte(0x10).varint(self.crc.into());
        if let Some(len) = data_len {
            head.byte(0x1a).varint(len as u64);
        }
        let record = head.bytes().len() + data_len.unwrap_or(0);
        let length = Length::of(record as u64);
        self.buf.reserve(length.frame() as usize);
        self.buf.extend_from_slice(&length.field().to_le_bytes());
        self.buf.extend_from_slice(head.bytes());
        if data_len.is_none() {
            self.pad();
        }
    }

    /// Fills up to eight bytes; frames start on a multiple of eight in the
    /// buffer as they do in the file.
    fn pad(&mut self) {
        let pad = self.buf.len().wrapping_neg() % 8;
        self.buf.extend_from_slice(&[0; 8][..pad]);
    }
}

/// A few bytes on the stack: six varints with their tags fit.
struct Short {
    bytes: [u8; 64],
    len: usize,
}

impl Short {
    fn new() -> Self {
        Self {
            bytes: [0; 64],
            len: 0,
        }
    }

    fn byte(&mut self, byte: u8) -> &mut Self {
        self.bytes[self.len] = byte;
        self.len += 1;
        self
    }

    fn varint(&mut self, mut value: u64) -> &mut Self {
        while value >= 0x80 {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8)
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// What the first bytes of a record say about its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front {
    /// Type, checksum and data length were read, and fill the record exactly.
    Fits {
        /// `Record.type`.
        kind: i64,
        /// `Record.crc`.
        crc: u32,
    },
    /// They were read and speak of another length, or are no record.
    Contradicts,
    /// The given bytes end before the data begins.
    Unknown,
}

/// Reads the start of a record of `len` bytes, of which `shown` is what can be
/// believed. Accepts the order that every writer uses: type, crc, data.
pub fn front(shown: &[u8], len: u64) -> Front {
    let (mut kind, mut crc) = (0i64, 0u32);
    let mut at = 0usize;
    let mut last_field = 0;
    loop {
        if at as u64 == len {
            return Front::Fits { kind, crc };
        }
        let Some(&tag) = shown.get(at) else {
            return Front::Unknown;
        };
        let field = tag >> 3;
        if field <= last_field {
            return Front::Contradicts;
        }
        last_field = field;
        let (value, used) = match varint(&shown[at + 1..]) {
            Varint::Value(value, used) => (value, used),
            Varint::Short => return Front::Unknown,
            Varint::Overlong => return Front::Contradicts,
        };
        at += 1 + used;
        match tag {
            0x08 => kind = value as i64,
            0x10 => crc = value as u32,
            0x1a if (at as u64).checked_add(value) == Some(len) => {
                return Front::Fits { kind, crc };
            }
            _ => return Front::Contradicts,
        }
    }
}

/// Whether bytes begin as a record does, whatever length was read in front of
/// them: a type that etcd knows, a checksum, and data that ends within `room`.
pub fn begins_a_record(shown: &[u8], room: u64) -> bool {
    let number = |tag: u8, at: usize| match shown.get(at..) {
        Some([first, rest @ ..]) if *first == tag => match varint(rest) {
            Varint::Value(value, used) => Some((value, at + 1 + used)),
            Varint::Short | Varint::Overlong => None,
        },
        _ => None,
    };
    let Some((kind, at)) = number(0x08, 0) else {
        return false;
    };
    let Some((_, at)) = number(0x10, at) else {
        return false;
    };
    RecordType::from_number(kind as i64).is_some()
        && number(0x1a, at).is_none_or(|(len, at)| (at as u64).saturating_add(len) <= room)
}

/// Whether a bit turned back would make a record of `len` bytes of them.
pub fn is_one_bit_from_a_record(shown: &[u8], len: u64) -> bool {
    /// The longest front there is: three tags, and varints of 1, 5 and 10 bytes.
    const FRONT_BYTES: usize = 19;
    let mut bytes = shown.to_vec();
    (0..8 * FRONT_BYTES.min(bytes.len())).any(|bit| {
        bytes[bit / 8] ^= 1 << (bit % 8);
        let fits = is_record_front(&bytes, len);
        bytes[bit / 8] ^= 1 << (bit % 8);
        fits
    })
}

/// Whether they are the front of a record of `len` bytes and of a known type.
pub fn is_record_front(shown: &[u8], len: u64) -> bool {
    matches!(front(shown, len), Front::Fits { kind, .. } if RecordType::from_number(kind).is_some())
}

enum Varint {
    Value(u64, usize),
    Short,
    Overlong,
}

fn varint(bytes: &[u8]) -> Varint {
    let mut value = 0u64;
    for (i, &byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Varint::Value(value, i + 1);
        }
    }
    if bytes.len() < 10 {
        Varint::Short
    } else {
        Varint::Overlong
    }
}

/// Whether one of the pieces between sector boundaries is all zero: the mark
/// that a sector of this record never reached the disk, since segments are
/// zero before they are written. `offset` is where `bytes` lie in the file.
pub fn first_zero_piece(bytes: &[u8], offset: u64) -> Option<usize> {
    let mut at = 0;
    while at < bytes.len() {
        let to_boundary = (SECTOR_BYTES - (offset + at as u64) % SECTOR_BYTES) as usize;
        let end = bytes.len().min(at + to_boundary);
        if bytes[at..end].iter().all(|&b| b == 0) {
            return Some(at);
        }
        at = end;
    }
    None
}

/// Reads a record without judging its checksum.
pub fn decode(bytes: Bytes) -> Result<walpb::Record, prost::DecodeError> {
    walpb::Record::decode(bytes)
}

#[cfg(test)]
mod tests;
