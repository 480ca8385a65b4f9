//! The answer to a range: stored records, copied once into the message.

use bytes::{BufMut, Bytes, BytesMut};
use prost::{
    Message as _,
    encoding::{encode_varint, encoded_len_varint},
};
use proto::{
    etcdserverpb::{RangeResponse, ResponseHeader},
    mvccpb::KeyValue,
};

use super::{shown::Shown, values::Values};

const HEADER: u8 = 0x0a;
const KVS: u8 = 0x12;
const MORE: u8 = 0x18;
const COUNT: u8 = 0x20;

/// How far an answer has been encoded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    begun: bool,
    next: usize,
    done: bool,
}

/// What a range found. Holds a snapshot of the file until it is dropped.
pub struct RangeAnswer {
    /// The revision of the store when the range ran.
    pub revision: i64,
    /// Keys in the range at the revision asked for, whatever the limit.
    pub count: i64,
    /// The limit cut the answer short.
    pub more: bool,
    values: Values,
    shown: Shown,
}

impl RangeAnswer {
    pub(super) fn new(
        revision: i64,
        count: i64,
        more: bool,
        values: Values,
        shown: Shown,
    ) -> RangeAnswer {
        RangeAnswer {
            revision,
            count,
            more,
            values,
            shown,
        }
    }

    /// Records in the answer.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// True if there is no record in the answer.
    pub fn is_empty(&self) -> bool {
        self.values.len() == 0
    }

    /// The records as stored, whole whatever the answer shows of them.
    pub fn records(&self) -> impl ExactSizeIterator<Item = &[u8]> + DoubleEndedIterator {
        self.values.iter()
    }

    /// Bytes of the `RangeResponse` with this header; all but the last piece of
    /// a stream have none.
    pub fn encoded_len(&self, header: Option<&ResponseHeader>) -> usize {
        self.encoded_len_with(header, self.count)
    }

    /// The same, were this the count.
    pub(super) fn encoded_len_with(&self, header: Option<&ResponseHeader>, count: i64) -> usize {
        let field = |len: usize| 1 + encoded_len_varint(len as u64) + len;
        let mut len = header.map_or(0, |header| field(header.encoded_len()));
        for record in self.values.iter() {
            let (head, tail) = self.shown.parts(record);
            len += field(head.len() + tail.len());
        }
        if self.more {
            len += 2;
        }
        if count != 0 {
            len += 1 + encoded_len_varint(count as u64);
        }
        len
    }

    /// Appends the `RangeResponse` with this header.
    pub fn encode(&self, header: Option<&ResponseHeader>, out: &mut BytesMut) {
        let mut place = Place::default();
        while self.encode_some(header, &mut place, usize::MAX, out) {}
    }

    /// Appends the next part of the `RangeResponse`: whole records until `out`
    /// holds `max_bytes`. False once nothing is left. A large answer never has
    /// to be in memory as one piece.
    pub fn encode_some(
        &self,
        header: Option<&ResponseHeader>,
        place: &mut Place,
        max_bytes: usize,
        out: &mut BytesMut,
    ) -> bool {
        if place.done {
            return false;
        }
        if !place.begun {
            place.begun = true;
            if let Some(header) = header {
                out.put_u8(HEADER);
                encode_varint(header.encoded_len() as u64, out);
                // A growing buffer has room.
                let _ = header.encode(out);
            }
        }
        for record in self.values.iter().skip(place.next) {
            if out.len() >= max_bytes {
                return true;
            }
            place.next += 1;
            out.put_u8(KVS);
            let (head, tail) = self.shown.parts(record);
            encode_varint((head.len() + tail.len()) as u64, out);
            out.put_slice(head);
            out.put_slice(tail);
        }
        if self.more {
            out.put_slice(&[MORE, 1]);
        }
        if self.count != 0 {
            out.put_u8(COUNT);
            encode_varint(self.count as u64, out);
        }
        place.done = true;
        true
    }

    /// The answer as a message, for those who need its parts. The header is
    /// left to the caller.
    pub fn into_response(self) -> RangeResponse {
        RangeResponse {
            header: None,
            kvs: self.key_values().collect(),
            more: self.more,
            count: self.count,
        }
    }

    pub(super) fn key_values(&self) -> impl Iterator<Item = KeyValue> {
        self.values.iter().map(|record| {
            let mut kv = key_value(record);
            if self.shown != Shown::All {
                kv.value = Bytes::new();
            }
            if self.shown == Shown::Indexed {
                kv.lease = 0;
            }
            kv
        })
    }
}

impl std::fmt::Debug for RangeAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RangeAnswer")
            .field("revision", &self.revision)
            .field("count", &self.count)
            .field("more", &self.more)
            .field("records", &self.values.len())
            .finish_non_exhaustive()
    }
}

/// The record as a message with one copy of its bytes.
pub(super) fn key_value(record: &[u8]) -> KeyValue {
    // Records were read once when the store was opened, or written by it.
    KeyValue::decode(Bytes::copy_from_slice(record)).unwrap_or_default()
}
