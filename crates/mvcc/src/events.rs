//! What one revision changed, shared by everyone who watches.
//!
//! A transaction leaves one [`EventBatch`]. It crosses threads inside an `Arc`
//! and is never changed; the wire form of an event is built at most once,
//! however many watchers it goes to. This module knows nothing of watchers,
//! streams or stores, and never reads one.

use std::sync::OnceLock;

use bytes::{BufMut, Bytes, BytesMut};

#[cfg(test)]
mod tests;

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// The key was created or overwritten.
    Put,
    /// The key was deleted, by a request or because its lease ended.
    Delete,
}

/// All changes of one revision, in the order of their sub-revisions.
#[derive(Debug)]
pub struct EventBatch {
    /// The main revision; every event of the batch has it.
    pub revision: i64,
    /// At least one event.
    pub events: Vec<Event>,
}

/// One change of one key.
#[derive(Debug)]
pub struct Event {
    /// Put or delete.
    pub kind: EventKind,
    /// The key that changed.
    pub key: Bytes,
    /// The encoded `mvccpb.KeyValue` that a watcher sees. For a delete it has
    /// the key and the revision of the delete, nothing else.
    pub kv: Bytes,
    plain: OnceLock<Bytes>,
    with_prev: OnceLock<Bytes>,
}

impl Event {
    /// A put: `kv` is the `mvccpb.KeyValue` exactly as stored.
    pub fn put(key: Bytes, kv: Bytes) -> Event {
        Event::new(EventKind::Put, key, kv)
    }

    /// A delete at `revision`. The tombstone on disk has only the key; a
    /// watcher must also learn the revision, as `mod_revision`.
    pub fn delete(key: Bytes, revision: i64) -> Event {
        let mut kv = BytesMut::with_capacity(key.len() + 16);
        put_bytes(&mut kv, 0x0a, &key);
        kv.put_u8(0x18);
        prost::encoding::encode_varint(revision as u64, &mut kv);
        Event::new(EventKind::Delete, key, kv.freeze())
    }

    fn new(kind: EventKind, key: Bytes, kv: Bytes) -> Event {
        Event {
            kind,
            key,
            kv,
            plain: OnceLock::new(),
            with_prev: OnceLock::new(),
        }
    }

    /// True for the put that made the key, which has no previous version:
    /// its create revision is its mod revision.
    pub fn is_create(&self) -> bool {
        self.kind == EventKind::Put && create_equals_mod(&self.kv)
    }

    /// The event as field 11 of a `WatchResponse`, tag and length included,
    /// without `prev_kv`. Built on the first call, then shared.
    pub fn encoded(&self) -> &Bytes {
        self.plain.get_or_init(|| self.encode(None))
    }

    /// The same with `prev_kv`. `lookup` gives the encoded `KeyValue` that the
    /// key had one revision earlier, `None` if there was none or compaction
    /// took it. What it gives is kept; it is never asked for a create.
    ///
    /// # Errors
    /// Those of `lookup`; the next caller asks again.
    pub fn encoded_with_prev<E>(
        &self,
        lookup: impl FnOnce() -> Result<Option<Bytes>, E>,
    ) -> Result<&Bytes, E> {
        if let Some(bytes) = self.with_prev.get() {
            return Ok(bytes);
        }
        if self.is_create() {
            return Ok(self.encoded());
        }
        let prev = lookup()?;
        Ok(self.with_prev.get_or_init(|| self.encode(prev.as_deref())))
    }

    fn encode(&self, prev: Option<&[u8]>) -> Bytes {
        let field = |len: usize| 1 + prost::length_delimiter_len(len) + len;
        let mut body = field(self.kv.len()) + prev.map_or(0, |p| field(p.len()));
        if self.kind == EventKind::Delete {
            body += 2;
        }
        let mut out = BytesMut::with_capacity(field(body));
        out.put_u8(0x5a);
        prost::encoding::encode_varint(body as u64, &mut out);
        if self.kind == EventKind::Delete {
            out.put_slice(&[0x08, 0x01]);
        }
        put_bytes(&mut out, 0x12, &self.kv);
        if let Some(prev) = prev {
            put_bytes(&mut out, 0x1a, prev);
        }
        out.freeze()
    }
}

fn put_bytes(out: &mut BytesMut, tag: u8, bytes: &[u8]) {
    out.put_u8(tag);
    prost::encoding::encode_varint(bytes.len() as u64, out);
    out.put_slice(bytes);
}

/// Reads `create_revision` (2) and `mod_revision` (3) of an encoded `KeyValue`
/// without decoding the rest. Bytes that are no `KeyValue` are no create.
fn create_equals_mod(kv: &[u8]) -> bool {
    let mut rest = kv;
    let (mut create, mut modified) = (0, 0);
    while let Some((&tag, tail)) = rest.split_first() {
        rest = tail;
        let Ok(number) = prost::encoding::decode_varint(&mut rest) else {
            return false;
        };
        match tag {
            0x0a | 0x2a => match usize::try_from(number).ok().and_then(|n| rest.get(n..)) {
                Some(tail) => rest = tail,
                None => return false,
            },
            0x10 => create = number,
            0x18 => {
                modified = number;
                break; // fields ascend: nothing of interest follows
            }
            _ => {}
        }
    }
    create != 0 && create == modified
}
