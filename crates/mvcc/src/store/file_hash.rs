//! The hash that members compare, of a database file that no member uses: the same rules and the
//! same walk as in a store, with an index that is built for them and dropped.

use std::path::Path;

use bolt::ReadTx;

use super::{
    hash::{Hasher, Rules, hash_records},
    hashes::HashKv,
    restore::restore,
};
use crate::{Error, OpenError};

/// Why a file has no hash at a revision.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileHashError {
    /// The records cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The revision is compacted or in the future, or a page cannot be read.
    #[error(transparent)]
    Range(#[from] Error),
}

/// The hash of the records that `tx` sees up to `revision`, 0 for the newest, as a member that
/// starts on the file answers it once an unfinished compaction is done. `path` is for messages;
/// `hashed` is called now and then with the number of bytes that were hashed since.
///
/// # Errors
/// The file cannot be read, or does not have that revision.
pub fn hash_kv_of_file(
    tx: &ReadTx,
    path: &Path,
    revision: i64,
    mut hashed: impl FnMut(usize),
) -> Result<HashKv, FileHashError> {
    let restored = restore(tx, path, &mut |_, _| {})?;
    let current = restored.current;
    let compacted = restored.compacted.max(restored.unfinished.unwrap_or(-1));
    if revision > 0 && revision < compacted {
        return Err(Error::Compacted.into());
    }
    if revision > current {
        return Err(Error::FutureRev.into());
    }
    let revision = if revision == 0 { current } else { revision };
    let mut rules = Rules::up_to(revision, compacted);
    let mut from = Some(Box::default());
    while let Some(key) = from {
        from = rules.gather(&restored.index, &key);
    }
    drop(restored);
    let mut hasher = Hasher::new(rules);
    let mut before = 0;
    hash_records(tx, &mut hasher, revision, |_, bytes| {
        hashed(bytes - before);
        before = bytes;
        true
    })?;
    Ok(HashKv {
        hash: hasher.finish(),
        revision,
        compact_revision: compacted,
        current_revision: current,
    })
}
