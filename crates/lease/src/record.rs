//! The `lease` bucket: 8 bytes of big-endian id, and a `leasepb.Lease`. Attached
//! keys are not stored here; they are found again in the keys themselves.

use bolt::{Batch, ReadTx};
use prost::Message as _;
use proto::leasepb;

use crate::{LeaseId, RecoverError};

/// Name of the bucket. It must exist before a batch of the lessor is committed.
pub const BUCKET: &str = "lease";

/// Writes a lease as etcd does: zero fields left out.
pub(crate) fn put(batch: &mut Batch, id: LeaseId, ttl_secs: i64, remaining_secs: i64) {
    let record = leasepb::Lease {
        id: id.0,
        ttl: ttl_secs,
        remaining_ttl: remaining_secs,
    };
    batch.put(BUCKET, id.0.to_be_bytes().to_vec(), record.encode_to_vec());
}

/// Removes the record of a lease.
pub(crate) fn delete(batch: &mut Batch, id: LeaseId) {
    batch.delete(BUCKET, id.0.to_be_bytes().to_vec());
}

/// Reads all leases of the file. A file without the bucket has none.
pub(crate) fn read_all(tx: &ReadTx) -> Result<Vec<leasepb::Lease>, RecoverError> {
    let mut leases = Vec::new();
    let Some(bucket) = tx.bucket(BUCKET.as_bytes())? else {
        return Ok(leases);
    };
    let mut cursor = bucket.cursor();
    let mut next = cursor.first()?;
    while let Some((key, value)) = next {
        leases.push(parse(key, value)?);
        next = cursor.next()?;
    }
    Ok(leases)
}

/// Parses one record. As in etcd the id inside the value counts, not the key.
pub(crate) fn parse(key: &[u8], value: &[u8]) -> Result<leasepb::Lease, RecoverError> {
    let lease = leasepb::Lease::decode(value).map_err(|e| RecoverError::Corrupt {
        key: RecoverError::hex(key),
        reason: e.to_string(),
    })?;
    match lease.id {
        0 => Err(RecoverError::NoId {
            key: RecoverError::hex(key),
        }),
        _ => Ok(lease),
    }
}
