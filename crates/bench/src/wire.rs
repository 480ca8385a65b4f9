//! The requests of the workloads written straight into a send buffer, and the
//! few fields of answers that the generator looks at, read in place: no
//! message is built per request. The field numbers are etcd's public API; the
//! tests hold every one of these against the generated messages.

#[cfg(test)]
mod tests;

/// An answer that is not the message it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not a valid message")]
pub(crate) struct Unreadable;

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn number(field: u8, value: i64, out: &mut Vec<u8>) {
    if value != 0 {
        out.push(field << 3);
        varint(value as u64, out);
    }
}

fn bytes(field: u8, value: &[u8], out: &mut Vec<u8>) {
    if !value.is_empty() {
        out.push(field << 3 | 2);
        varint(value.len() as u64, out);
        out.extend_from_slice(value);
    }
}

/// A message inside a message; written also when empty.
fn nested(field: u8, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(field << 3 | 2);
    let start = out.len();
    body(out);
    let length = out.len() - start;
    let width = (64 - (length as u64 | 1).leading_zeros()).div_ceil(7) as usize;
    out.resize(out.len() + width, 0);
    out.copy_within(start..start + length, start + width);
    for index in 0..width {
        let more = if index + 1 < width { 0x80 } else { 0 };
        out[start + index] = (length >> (index * 7)) as u8 & 0x7f | more;
    }
}

/// `PutRequest`.
pub(crate) fn put(key: &[u8], value: &[u8], lease: i64, out: &mut Vec<u8>) {
    bytes(1, key, out);
    bytes(2, value, out);
    number(3, lease, out);
}

/// What a `RangeRequest` asks for; an empty `end` asks for one key.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Range<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) end: &'a [u8],
    pub(crate) limit: i64,
    pub(crate) revision: i64,
    pub(crate) serializable: bool,
    pub(crate) count_only: bool,
}

/// `RangeRequest`.
pub(crate) fn range(ask: Range<'_>, out: &mut Vec<u8>) {
    bytes(1, ask.key, out);
    bytes(2, ask.end, out);
    number(3, ask.limit, out);
    number(4, ask.revision, out);
    number(7, ask.serializable.into(), out);
    number(9, ask.count_only.into(), out);
}

/// `DeleteRangeRequest`.
pub(crate) fn delete_range(key: &[u8], end: &[u8], out: &mut Vec<u8>) {
    bytes(1, key, out);
    bytes(2, end, out);
}

/// What Kubernetes compares before it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    /// The key's last revision; 0 asks that it does not exist.
    ModRevision(i64),
    /// The number of puts since the key was created.
    Version(i64),
}

/// What a transaction does when its comparison holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Write<'a> {
    /// Put this value, under this lease (0 for none).
    Put(&'a [u8], i64),
    /// Delete the key.
    Delete,
}

/// `TxnRequest` of Kubernetes: one comparison for equality, one write, and in
/// the other branch a read of the key if `read_on_failure`.
pub(crate) fn txn(
    key: &[u8],
    compare: Compare,
    write: Write<'_>,
    read_on_failure: bool,
    out: &mut Vec<u8>,
) {
    nested(1, out, |out| {
        let (target, field, value) = match compare {
            Compare::Version(version) => (0, 4, version),
            Compare::ModRevision(revision) => (2, 6, revision),
        };
        number(2, target, out);
        bytes(3, key, out);
        // A member of a oneof is written also when zero.
        out.push(field << 3);
        varint(value as u64, out);
    });
    nested(2, out, |out| match write {
        Write::Put(value, lease) => nested(2, out, |out| put(key, value, lease, out)),
        Write::Delete => nested(3, out, |out| delete_range(key, b"", out)),
    });
    if read_on_failure {
        nested(3, out, |out| {
            nested(1, out, |out| {
                range(
                    Range {
                        key,
                        ..Range::default()
                    },
                    out,
                )
            })
        });
    }
}

/// What a `WatchCreateRequest` asks for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Watch<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) end: &'a [u8],
    pub(crate) start_revision: i64,
    pub(crate) progress_notify: bool,
    pub(crate) prev_kv: bool,
    pub(crate) watch_id: i64,
}

/// `WatchRequest` that creates a watch.
pub(crate) fn watch_create(ask: Watch<'_>, out: &mut Vec<u8>) {
    nested(1, out, |out| {
        bytes(1, ask.key, out);
        bytes(2, ask.end, out);
        number(3, ask.start_revision, out);
        number(4, ask.progress_notify.into(), out);
        number(6, ask.prev_kv.into(), out);
        number(7, ask.watch_id, out);
    });
}

/// `WatchRequest` that asks for progress.
pub(crate) fn watch_progress(out: &mut Vec<u8>) {
    nested(3, out, |_| ());
}

/// One field of a message.
#[derive(Debug, Clone, Copy)]
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

impl<'a> Field<'a> {
    fn number(self) -> i64 {
        match self {
            Self::Number(value) => value as i64,
            _ => 0,
        }
    }

    fn bytes(self) -> Result<&'a [u8], Unreadable> {
        match self {
            Self::Bytes(value) => Ok(value),
            _ => Err(Unreadable),
        }
    }
}

fn read_varint(rest: &mut &[u8]) -> Result<u64, Unreadable> {
    let mut value = 0u64;
    for (index, &byte) in rest.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (index * 7);
        if byte & 0x80 == 0 {
            *rest = &rest[index + 1..];
            return Ok(value);
        }
    }
    Err(Unreadable)
}

/// Calls `see` with each field of `message`, in order.
fn fields<'a>(
    message: &'a [u8],
    mut see: impl FnMut(u64, Field<'a>) -> Result<(), Unreadable>,
) -> Result<(), Unreadable> {
    let mut rest = message;
    while !rest.is_empty() {
        let tag = read_varint(&mut rest)?;
        let field = match tag & 7 {
            0 => Field::Number(read_varint(&mut rest)?),
            2 => {
                let length = usize::try_from(read_varint(&mut rest)?).map_err(|_| Unreadable)?;
                let (value, tail) = rest.split_at_checked(length).ok_or(Unreadable)?;
                rest = tail;
                Field::Bytes(value)
            }
            kind @ (1 | 5) => {
                rest = rest
                    .get(if kind == 1 { 8 } else { 4 }..)
                    .ok_or(Unreadable)?;
                Field::Fixed
            }
            _ => return Err(Unreadable),
        };
        see(tag >> 3, field)?;
    }
    Ok(())
}

fn header_of(field: Field<'_>) -> Result<i64, Unreadable> {
    let mut revision = 0;
    fields(field.bytes()?, |number, value| {
        if number == 3 {
            revision = value.number();
        }
        Ok(())
    })?;
    Ok(revision)
}

/// The store revision in the header of any answer.
pub(crate) fn revision(answer: &[u8]) -> Result<i64, Unreadable> {
    let mut revision = 0;
    fields(answer, |number, value| {
        if number == 1 {
            revision = header_of(value)?;
        }
        Ok(())
    })?;
    Ok(revision)
}

/// A key with its revisions, in place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct KeyValue<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) create_revision: i64,
    pub(crate) mod_revision: i64,
    pub(crate) version: i64,
}

fn key_value(message: &[u8]) -> Result<KeyValue<'_>, Unreadable> {
    let mut out = KeyValue::default();
    fields(message, |number, value| {
        match number {
            1 => out.key = value.bytes()?,
            2 => out.create_revision = value.number(),
            3 => out.mod_revision = value.number(),
            4 => out.version = value.number(),
            5 => out.value = value.bytes()?,
            _ => (),
        }
        Ok(())
    })?;
    Ok(out)
}

/// The parts that are read of a `RangeResponse`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ranged<'a> {
    pub(crate) revision: i64,
    /// How many keys the answer brings.
    pub(crate) kvs: i64,
    /// How many keys the server says the range holds.
    pub(crate) count: i64,
    pub(crate) more: bool,
    /// The last key of the answer.
    pub(crate) last: Option<KeyValue<'a>>,
}

/// Reads a `RangeResponse`; of its keys only the last is opened.
pub(crate) fn ranged(answer: &[u8]) -> Result<Ranged<'_>, Unreadable> {
    let mut out = Ranged::default();
    let mut last = None;
    fields(answer, |number, value| {
        match number {
            1 => out.revision = header_of(value)?,
            2 => {
                out.kvs += 1;
                last = Some(value.bytes()?);
            }
            3 => out.more = value.number() != 0,
            4 => out.count = value.number(),
            _ => (),
        }
        Ok(())
    })?;
    out.last = last.map(key_value).transpose()?;
    Ok(out)
}

/// Reads one `RangeStreamResponse`.
pub(crate) fn range_streamed(answer: &[u8]) -> Result<Ranged<'_>, Unreadable> {
    let mut inner: &[u8] = b"";
    fields(answer, |number, value| {
        if number == 1 {
            inner = value.bytes()?;
        }
        Ok(())
    })?;
    ranged(inner)
}

/// The parts that are read of a `TxnResponse`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Transacted<'a> {
    pub(crate) revision: i64,
    pub(crate) succeeded: bool,
    /// The key that the failure branch read, if it exists.
    pub(crate) found: Option<KeyValue<'a>>,
}

/// Reads a `TxnResponse`.
pub(crate) fn transacted(answer: &[u8]) -> Result<Transacted<'_>, Unreadable> {
    let mut out = Transacted::default();
    fields(answer, |number, value| {
        match number {
            1 => out.revision = header_of(value)?,
            2 => out.succeeded = value.number() != 0,
            3 => fields(value.bytes()?, |number, value| {
                if number == 1 {
                    out.found = ranged(value.bytes()?)?.last;
                }
                Ok(())
            })?,
            _ => (),
        }
        Ok(())
    })?;
    Ok(out)
}

/// The `ID` of a `LeaseGrantResponse`.
pub(crate) fn lease_id(answer: &[u8]) -> Result<i64, Unreadable> {
    let mut id = 0;
    fields(answer, |number, value| {
        if number == 2 {
            id = value.number();
        }
        Ok(())
    })?;
    Ok(id)
}

/// One event of a watch, in place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    pub(crate) delete: bool,
    pub(crate) kv: KeyValue<'a>,
    pub(crate) prev_kv: bool,
}

/// The parts that are read of a `WatchResponse`, besides its events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Watched<'a> {
    pub(crate) revision: i64,
    pub(crate) watch_id: i64,
    pub(crate) created: bool,
    pub(crate) canceled: bool,
    pub(crate) compact_revision: i64,
    pub(crate) cancel_reason: &'a [u8],
    pub(crate) events: usize,
}

/// Reads a `WatchResponse`, whose events go to `each` in their order.
pub(crate) fn watched<'a>(
    answer: &'a [u8],
    mut each: impl FnMut(Event<'a>),
) -> Result<Watched<'a>, Unreadable> {
    let mut out = Watched::default();
    fields(answer, |number, value| {
        match number {
            1 => out.revision = header_of(value)?,
            2 => out.watch_id = value.number(),
            3 => out.created = value.number() != 0,
            4 => out.canceled = value.number() != 0,
            5 => out.compact_revision = value.number(),
            6 => out.cancel_reason = value.bytes()?,
            11 => {
                out.events += 1;
                each(event(value.bytes()?)?);
            }
            _ => (),
        }
        Ok(())
    })?;
    Ok(out)
}

/// The watch id of a `WatchResponse`, before its events are read.
pub(crate) fn watch_id(answer: &[u8]) -> Result<i64, Unreadable> {
    // The same field and type as the ID of a lease.
    lease_id(answer)
}

fn event(message: &[u8]) -> Result<Event<'_>, Unreadable> {
    let mut out = Event::default();
    fields(message, |number, value| {
        match number {
            1 => out.delete = value.number() == 1,
            2 => out.kv = key_value(value.bytes()?)?,
            3 => out.prev_kv = true,
            _ => (),
        }
        Ok(())
    })?;
    Ok(out)
}
