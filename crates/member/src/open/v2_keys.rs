//! Keys that users stored by API version 2, which Pintle carries along in its
//! snapshots but does not serve. etcd 3.6 refuses a directory that holds any, so
//! each start logs them, and they are given up when the operator says so:
//! never without a copy.

use std::path::PathBuf;

use line::{Feature, Line};
use membership::Replay;
use proto::raftpb::Entry;
use wal::disk::{Disk, Mode};

use crate::{
    apply::Options,
    error::{At as _, Error},
};

/// Refuses v2 keys where a line has no place for them, as etcd does.
///
/// # Errors
/// There are some, and the operator did not say to give them up.
pub(super) fn refuse(line: Line, config: &Options, seed: &Replay) -> Result<(), Error> {
    if line.has(Feature::V2Requests) || config.drop_v2_keys || !seed.tree.has_user_data() {
        return Ok(());
    }
    Err(Error(format!(
        "detected disallowed custom content in v2store for stage --v2-deprecation=write-only: the snapshot holds keys of API \
         version 2, which etcd {line} has no place for; --v2-deprecation=write-only-drop-data gives them up and keeps a copy"
    )))
}

/// Looks for v2 keys as of a snapshot and of the entries after it. True if they
/// were taken out of `seed`, so that a new snapshot should follow.
///
/// # Errors
/// The copy could not be written; nothing was given up.
pub(super) fn give_up(
    disk: &dyn Disk,
    config: &Options,
    seed: &mut Replay,
    entries: &[Entry],
    commit: u64,
    index: u64,
) -> Result<bool, Error> {
    // Empty folders of v2 auth block 3.6.0 to 3.6.2 alone, so they go with
    // the keys, without a line of their own.
    let folders = config.drop_v2_keys && seed.tree.has_auth();
    if !seed.tree.has_user_data() && !folders {
        return Ok(false);
    }
    if !config.drop_v2_keys {
        tracing::warn!(
            "snapshot-index" = index,
            "the snapshot holds keys of API version 2, with which etcd 3.6 does not start; \
             --v2-deprecation=write-only-drop-data gives them up and keeps a copy"
        );
        return Ok(false);
    }
    let mut newest = seed.clone();
    for entry in entries.iter().take_while(|entry| entry.index <= commit) {
        // What cannot be decoded ends the server when it is applied.
        let _ = newest.follow(entry);
    }
    let dir = &config.snap_dir;
    let path = dir.join(format!("v2-keys-{:016x}.json", commit.max(index)));
    let partial = PathBuf::from(format!("{}.partial", path.display()));
    // Values of clients, like those in the database.
    disk.open(&partial, Mode::Create(0o600))
        .and_then(|file| {
            file.write_at(&newest.tree.to_json(), 0)?;
            file.sync()
        })
        .and_then(|()| disk.rename(&partial, &path))
        .and_then(|()| disk.sync_dir(dir))
        .at("cannot keep a copy of the keys of API version 2 in", &path)?;
    seed.tree.drop_user_data();
    tracing::warn!(copy = %path.display(), "gave up the keys of API version 2");
    Ok(true)
}
