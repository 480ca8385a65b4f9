//! The buckets: `auth` with two settings, `authUsers` and `authRoles` with one record per name,
//! byte for byte as etcd 3.5 writes them.

use std::collections::BTreeMap;

use bolt::{Batch, ReadTx};
use bytes::Bytes;
use prost::Message;
use proto::authpb::{Role, User};

use crate::RecoverError;

/// Holds whether authentication is on, and its revision.
pub const BUCKET: &str = "auth";
/// Holds the users, by name.
pub const USERS: &str = "authUsers";
/// Holds the roles, by name.
pub const ROLES: &str = "authRoles";

const ENABLED: &[u8] = b"authEnabled";
const REVISION: &[u8] = b"authRevision";

/// The longest key that bbolt takes.
pub(crate) const NAME_MAX: usize = 32768;

/// What the buckets hold.
#[derive(Default)]
pub(crate) struct Records {
    pub(crate) enabled: bool,
    pub(crate) revision: u64,
    pub(crate) users: BTreeMap<Bytes, User>,
    pub(crate) roles: BTreeMap<Bytes, Role>,
}

pub(crate) fn read(tx: &ReadTx) -> Result<Records, RecoverError> {
    let mut records = Records {
        users: read_all(tx, USERS)?,
        roles: read_all(tx, ROLES)?,
        ..Records::default()
    };
    let Some(bucket) = tx.bucket(BUCKET.as_bytes())? else {
        return Ok(records);
    };
    records.enabled = bucket.get(ENABLED)? == Some(&[1]);
    if let Some(value) = bucket.get(REVISION)? {
        let bytes = value
            .try_into()
            .map_err(|_| corrupt(BUCKET, REVISION, "it is not a number of 8 bytes"))?;
        records.revision = u64::from_be_bytes(bytes);
    }
    Ok(records)
}

fn read_all<M: Message + Default>(
    tx: &ReadTx,
    name: &'static str,
) -> Result<BTreeMap<Bytes, M>, RecoverError> {
    let mut all = BTreeMap::new();
    let Some(bucket) = tx.bucket(name.as_bytes())? else {
        return Ok(all);
    };
    let mut cursor = bucket.cursor();
    let mut next = cursor.first()?;
    while let Some((key, value)) = next {
        let record = M::decode(value).map_err(|error| corrupt(name, key, &error.to_string()))?;
        all.insert(Bytes::copy_from_slice(key), record);
        next = cursor.next()?;
    }
    Ok(all)
}

fn corrupt(bucket: &'static str, key: &[u8], reason: &str) -> RecoverError {
    // A key may have any length.
    let shown = &key[..key.len().min(64)];
    RecoverError::Corrupt {
        bucket,
        key: String::from_utf8_lossy(shown).into_owned(),
        reason: reason.to_owned(),
    }
}

pub(crate) fn put_enabled(batch: &mut Batch, enabled: bool) {
    batch.put(BUCKET, ENABLED, vec![u8::from(enabled)]);
}

pub(crate) fn put_revision(batch: &mut Batch, revision: u64) {
    batch.put(BUCKET, REVISION, revision.to_be_bytes().to_vec());
}

pub(crate) fn put_user(batch: &mut Batch, user: &User) {
    batch.put(USERS, user.name.clone(), user.encode_to_vec());
}

pub(crate) fn delete_user(batch: &mut Batch, name: &[u8]) {
    batch.delete(USERS, name.to_vec());
}

pub(crate) fn put_role(batch: &mut Batch, role: &Role) {
    batch.put(ROLES, role.name.clone(), role.encode_to_vec());
}

pub(crate) fn delete_role(batch: &mut Batch, name: &[u8]) {
    batch.delete(ROLES, name.to_vec());
}
