//! The encoded `mvccpb.KeyValue`, written once and read in place. The bytes
//! are part of the hash that members compare, so fields ascend and zeros are
//! left out (docs/design/store.md). Reading never copies and never panics.

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{decode_varint, encode_varint, encoded_len_varint};

const KEY: u8 = 0x0a;
const CREATE: u8 = 0x10;
const MOD: u8 = 0x18;
const VERSION: u8 = 0x20;
const VALUE: u8 = 0x2a;
const LEASE: u8 = 0x30;

/// The fields of a stored record. Missing ones are zero or empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record<'a> {
    /// Field 1.
    pub key: &'a [u8],
    /// Field 2.
    pub create_revision: i64,
    /// Field 3.
    pub mod_revision: i64,
    /// Field 4.
    pub version: i64,
    /// Field 5.
    pub value: &'a [u8],
    /// Field 6.
    pub lease: i64,
    /// Where field 5 begins and ends, tag and length included; equal where it
    /// is missing.
    pub value_field: (usize, usize),
}

impl Record<'_> {
    /// Where field 6, which is the last one, begins in the `len` bytes of the record.
    pub(crate) fn lease_from(&self, len: usize) -> usize {
        match self.lease {
            0 => len,
            lease => len.saturating_sub(1 + encoded_len_varint(lease as u64)),
        }
    }

    /// Reads a record. `None` if the bytes are not one.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Option<Record<'_>> {
        let mut record = Record::default();
        let mut rest = bytes;
        while let Some((&tag, tail)) = rest.split_first() {
            let at = bytes.len() - rest.len();
            rest = tail;
            let number = number(&mut rest)?;
            match tag {
                KEY | VALUE => {
                    let len = usize::try_from(number).ok()?;
                    let field = rest.get(..len)?;
                    rest = &rest[len..];
                    if tag == KEY {
                        record.key = field;
                    } else {
                        record.value = field;
                        record.value_field = (at, bytes.len() - rest.len());
                    }
                }
                CREATE => record.create_revision = number as i64,
                MOD => record.mod_revision = number as i64,
                VERSION => record.version = number as i64,
                LEASE => record.lease = number as i64,
                _ => return None,
            }
        }
        Some(record)
    }
}

#[inline]
fn number(rest: &mut &[u8]) -> Option<u64> {
    match rest.split_first() {
        Some((&byte, tail)) if byte < 0x80 => {
            *rest = tail;
            Some(u64::from(byte))
        }
        _ => decode_varint(rest).ok(),
    }
}

/// Encodes a put.
pub fn encode(
    key: &[u8],
    create_revision: i64,
    mod_revision: i64,
    version: i64,
    value: &[u8],
    lease: i64,
) -> Bytes {
    let mut len = field_len(key) + field_len(value);
    for n in [create_revision, mod_revision, version, lease] {
        if n != 0 {
            len += 1 + encoded_len_varint(n as u64);
        }
    }
    let mut out = BytesMut::with_capacity(len);
    append_head(&mut out, key, create_revision, mod_revision, version);
    put_field(&mut out, VALUE, value);
    put_number(&mut out, LEASE, lease);
    out.freeze()
}

/// Appends a put as far as its value.
pub(crate) fn append_head(
    out: &mut impl BufMut,
    key: &[u8],
    create_revision: i64,
    mod_revision: i64,
    version: i64,
) {
    put_field(out, KEY, key);
    put_number(out, CREATE, create_revision);
    put_number(out, MOD, mod_revision);
    put_number(out, VERSION, version);
}

/// Encodes the record of a tombstone, which has only the key.
pub fn encode_tombstone(key: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(field_len(key));
    put_field(&mut out, KEY, key);
    out.freeze()
}

/// The key inside an encoded record, sharing its memory. Empty if there is none.
pub fn key_of(record: &Bytes) -> Bytes {
    let Some((&KEY, mut rest)) = record.split_first() else {
        return Bytes::new();
    };
    let Some(len) = number(&mut rest).and_then(|n| usize::try_from(n).ok()) else {
        return Bytes::new();
    };
    let at = record.len() - rest.len();
    if rest.len() < len {
        return Bytes::new();
    }
    record.slice(at..at + len)
}

fn field_len(bytes: &[u8]) -> usize {
    if bytes.is_empty() {
        return 0;
    }
    1 + encoded_len_varint(bytes.len() as u64) + bytes.len()
}

fn put_field(out: &mut impl BufMut, tag: u8, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    out.put_u8(tag);
    encode_varint(bytes.len() as u64, out);
    out.put_slice(bytes);
}

fn put_number(out: &mut impl BufMut, tag: u8, n: i64) {
    if n != 0 {
        out.put_u8(tag);
        encode_varint(n as u64, out);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;
    use proto::mvccpb::KeyValue;

    use super::*;

    fn parts() -> impl Strategy<Value = (Vec<u8>, [i64; 4], Vec<u8>)> {
        let n = prop_oneof![Just(0i64), 1..300i64, any::<i64>()];
        (
            proptest::collection::vec(any::<u8>(), 0..200),
            [n.clone(), n.clone(), n.clone(), n],
            proptest::collection::vec(any::<u8>(), 0..300),
        )
    }

    proptest! {
        #[test]
        fn encodes_as_prost_and_reads_back((key, [create, modified, version, lease], value) in parts()) {
            let ours = encode(&key, create, modified, version, &value, lease);
            let theirs = KeyValue {
                key: key.clone().into(),
                create_revision: create,
                mod_revision: modified,
                version,
                value: value.clone().into(),
                lease,
            };
            prop_assert_eq!(&ours[..], &theirs.encode_to_vec()[..]);
            let read = Record::parse(&ours).expect("a record");
            prop_assert_eq!(read.key, &key[..]);
            prop_assert_eq!(read.value, &value[..]);
            prop_assert_eq!(
                [read.create_revision, read.mod_revision, read.version, read.lease],
                [create, modified, version, lease]
            );
            prop_assert_eq!(&key_of(&ours)[..], &key[..]);
            let (from, to) = read.value_field;
            let mut without = ours[..from].to_vec();
            without.extend_from_slice(&ours[to..]);
            let theirs = KeyValue { value: Bytes::new(), ..theirs };
            prop_assert_eq!(without, theirs.encode_to_vec());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Record::parse(&bytes);
            let _ = key_of(&bytes.into());
        }
    }
}
