//! Names of buckets and of single facts, and what a file says of itself.

use bolt::{Db, ReadTx};
use proto::EntryId;

/// The bucket of keys.
pub(crate) const KEY: &str = "key";

/// The bucket of single facts.
pub(crate) const META: &str = "meta";

pub(super) const CONSISTENT_INDEX: &[u8] = b"consistent_index";

pub(super) const TERM: &[u8] = b"term";

/// The buckets of etcd 3.5, all of which 3.6 reads without asking whether they
/// are there (docs/design/README.md).
pub const BUCKETS: [&str; 10] = [
    "alarm",
    "auth",
    "authRoles",
    "authUsers",
    "cluster",
    KEY,
    "lease",
    "members",
    "members_removed",
    META,
];

/// The last entry whose effects `tx` holds; zero where none is recorded.
///
/// # Errors
/// The file cannot be read, or the value is not what the format says.
pub fn consistent_index(tx: &ReadTx) -> Result<EntryId, bolt::Error> {
    let Some(meta) = tx.bucket(META.as_bytes())? else {
        return Ok(EntryId::ZERO);
    };
    let number = |key: &[u8]| match meta.get(key)? {
        None => Ok(0),
        Some(value) => match value.try_into() {
            Ok(bytes) => Ok(u64::from_be_bytes(bytes)),
            Err(_) => Err(bolt::Error::IncompatibleValue(
                String::from_utf8_lossy(key).into_owned(),
                "not a number of eight bytes",
            )),
        },
    };
    Ok(EntryId {
        index: number(CONSISTENT_INDEX)?,
        term: number(TERM)?,
    })
}

pub(super) fn create_buckets(db: &Db) -> Result<(), bolt::Error> {
    let tx = db.begin_read();
    let mut missing = false;
    for name in BUCKETS {
        missing |= tx.bucket(name.as_bytes())?.is_none();
    }
    drop(tx);
    if missing {
        let mut tx = db.begin_write()?;
        for name in BUCKETS {
            tx.create_bucket_if_not_exists(name.as_bytes())?;
        }
        tx.commit()?;
    }
    Ok(())
}
