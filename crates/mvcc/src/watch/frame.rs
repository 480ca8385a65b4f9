//! Responses as bytes: `WatchResponse` messages in gRPC's length-prefixed frames,
//! put straight into a stream's output. Events come encoded, tag and all.

use bytes::{BufMut, BytesMut};
use prost::encoding::{encode_varint, encoded_len_varint};

/// A `ResponseHeader` as field 1 of a response, ready to copy: built once for all
/// responses at one revision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    bytes: [u8; 48], // 2 + 4 fields of at most 11
    len: u8,
    fields: [u64; 4],
}

impl Header {
    /// Zero fields are left out, as proto3 wants.
    pub(super) fn new(cluster_id: u64, member_id: u64, revision: i64, raft_term: u64) -> Header {
        let fields = [cluster_id, member_id, revision as u64, raft_term];
        let mut header = Header {
            bytes: [0; 48],
            len: 0,
            fields,
        };
        let mut body = &mut header.bytes[2..];
        for (tag, value) in [0x08, 0x10, 0x18, 0x20].into_iter().zip(fields) {
            if value != 0 {
                body.put_u8(tag);
                encode_varint(value, &mut body);
            }
        }
        let len = 46 - body.len();
        header.bytes[0] = 0x0a;
        header.bytes[1] = len as u8;
        header.len = len as u8 + 2;
        header
    }

    /// The same at another revision.
    pub(super) fn at(&self, revision: i64) -> Header {
        let [cluster_id, member_id, _, raft_term] = self.fields;
        Header::new(cluster_id, member_id, revision, raft_term)
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len.into()]
    }
}

/// Everything in a response that is neither header, id, nor event.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Notice<'a> {
    pub(super) created: bool,
    pub(super) canceled: bool,
    pub(super) compact_revision: i64,
    pub(super) cancel_reason: &'a str,
}

/// A response without events; without a notice it reports progress.
pub(super) fn notice(out: &mut BytesMut, header: &Header, watch_id: i64, notice: Notice<'_>) {
    let reason = notice.cancel_reason.as_bytes();
    let mut len = header.as_slice().len() + id_len(watch_id);
    len += 2 * usize::from(notice.created) + 2 * usize::from(notice.canceled);
    if notice.compact_revision != 0 {
        len += 1 + encoded_len_varint(notice.compact_revision as u64);
    }
    if !reason.is_empty() {
        len += 1 + encoded_len_varint(reason.len() as u64) + reason.len();
    }
    begin(out, len, header, watch_id);
    if notice.created {
        out.put_slice(&[0x18, 1]);
    }
    if notice.canceled {
        out.put_slice(&[0x20, 1]);
    }
    if notice.compact_revision != 0 {
        out.put_u8(0x28);
        encode_varint(notice.compact_revision as u64, out);
    }
    if !reason.is_empty() {
        out.put_u8(0x32);
        encode_varint(reason.len() as u64, out);
        out.put_slice(reason);
    }
}

/// A response with one event.
#[inline]
pub(super) fn event(out: &mut BytesMut, header: &Header, watch_id: i64, event: &[u8]) {
    let len = header.as_slice().len() + id_len(watch_id) + event.len();
    begin(out, len, header, watch_id);
    out.put_slice(event);
}

/// A response with these events, whole: it may be larger than a client takes.
pub(super) fn events<'a>(
    out: &mut BytesMut,
    header: &Header,
    watch_id: i64,
    events: impl Iterator<Item = &'a [u8]> + Clone,
) {
    let body: usize = events.clone().map(<[u8]>::len).sum();
    let len = header.as_slice().len() + id_len(watch_id) + body;
    begin(out, len, header, watch_id);
    events.for_each(|event| out.put_slice(event));
}

/// The same, but in several responses if one would reach `limit` bytes. Each has
/// at least one event and stays below the limit if it has more; all but the last
/// say `fragment`.
pub(super) fn fragments(
    out: &mut BytesMut,
    header: &Header,
    watch_id: i64,
    all: &[&[u8]],
    limit: usize,
) {
    let fixed = header.as_slice().len() + id_len(watch_id);
    let total: usize = all.iter().map(|event| event.len()).sum();
    if fixed + total < limit || all.len() < 2 {
        return events(out, header, watch_id, all.iter().copied());
    }
    let mut rest = all;
    while !rest.is_empty() {
        let (mut len, mut count) = (fixed + 2, 0);
        for event in rest {
            if count > 0 && len + event.len() >= limit {
                break;
            }
            (len, count) = (len + event.len(), count + 1);
        }
        let (part, tail) = rest.split_at(count);
        rest = tail;
        if rest.is_empty() {
            return events(out, header, watch_id, part.iter().copied());
        }
        begin(out, len, header, watch_id);
        out.put_slice(&[0x38, 1]);
        part.iter().for_each(|event| out.put_slice(event));
    }
}

fn id_len(watch_id: i64) -> usize {
    match watch_id {
        0 => 0,
        id => 1 + encoded_len_varint(id as u64),
    }
}

/// The frame's prefix (not compressed, length), then header and id.
#[inline]
fn begin(out: &mut BytesMut, len: usize, header: &Header, watch_id: i64) {
    out.reserve(5 + len);
    out.put_u8(0);
    out.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    out.put_slice(header.as_slice());
    if watch_id != 0 {
        out.put_u8(0x10);
        encode_varint(watch_id as u64, out);
    }
}
