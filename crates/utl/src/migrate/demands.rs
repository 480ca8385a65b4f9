//! What the log asks of the etcd that is to read it: everything after the
//! newest snapshot is read and applied again at the next start. Must never
//! change a file.
//!
//! etcd counts the highest "since" mark of all messages, fields and values in
//! the entries. From 3.5 on, which is as far down as `migrate` goes, no request
//! of a client has any such mark, so what is left to look for is the request
//! that etcd's own tests write for the purpose: it counts as the version that
//! it names, and as 3.6 at least.

use std::path::Path;

use membership::{ClusterId, Payload, Replay, decode_entry, entry::is_of_interest, v2store::Tree};
use proto::{
    etcdserverpb::internal_raft_request::Op,
    raftpb::{Entry, EntryType, Snapshot},
    walpb,
};

use super::version::{V3_6, Version};
use crate::{
    failure::{Failure, Outcome},
    newest,
};

/// What was found.
#[derive(Debug)]
pub(crate) struct Demands {
    /// The lowest version that understands every entry; `None`: any. An error
    /// names an entry that no one understands.
    pub(crate) lowest: Result<Option<Version>, String>,
    /// Requests of API version 2, which etcd up to 3.5 writes for itself and
    /// 3.7 cannot read.
    pub(crate) v2_requests: u64,
    /// The cluster version as etcd 3.5 learns it, from the snapshot and the log.
    pub(crate) cluster_version: Option<Version>,
}

/// Reads the log of a data directory.
pub(crate) fn read(data_dir: &Path) -> Outcome<Demands> {
    let (snap_dir, wal_dir) = (data_dir.join("member/snap"), data_dir.join("member/wal"));
    let no_snapshot = "failed to get the lastest snapshot: ";
    if let Err(e) = wal_dir.read_dir() {
        let Failure { message, .. } = Failure::io("open", &wal_dir, &e);
        return Err(Failure::error(format_args!(
            "{no_snapshot}[readWALNames] fileutil.ReadDir failed: {message}"
        )));
    }
    let newest = newest::snapshot(&snap_dir, &wal_dir)
        .map_err(|e| Failure::error(format_args!("{no_snapshot}{e}")))?
        .map(|(_, snapshot)| snapshot);
    let mut at = walpb::Snapshot::default();
    if let Some(snapshot) = &newest {
        (at.index, at.term) = (snapshot.metadata.index, snapshot.metadata.term);
    }
    let log = wal::read_kept(&wal_dir, at, is_wanted)
        .map_err(|e| Failure::error(format_args!("failed to read wal: {e}")))?;
    let mut found = Demands {
        lowest: Ok(None),
        v2_requests: 0,
        cluster_version: None,
    };
    for entry in &log.entries {
        match demand(entry) {
            Ok(Demand::None) => {}
            Ok(Demand::V2) => found.v2_requests += 1,
            Ok(Demand::Version(version)) => {
                found.lowest = found.lowest.map(|lowest| lowest.max(Some(version)));
            }
            Err(reason) => {
                found.lowest = Err(format!(
                    "cannot tell which version reads entry {} of the log: {reason}",
                    entry.index
                ));
            }
        }
    }
    let committed = log.entries.iter().filter(|e| e.index <= log.state.commit);
    found.cluster_version = cluster_version(newest, committed);
    Ok(found)
}

/// What one entry asks of its reader.
enum Demand {
    /// Nothing that 3.5 would not know.
    None,
    /// A reader up to 3.6.
    V2,
    /// A reader from this version on.
    Version(Version),
}

fn demand(entry: &Entry) -> Result<Demand, String> {
    match EntryType::try_from(entry.r#type) {
        Ok(EntryType::EntryNormal) => {}
        Ok(EntryType::EntryConfChange | EntryType::EntryConfChangeV2) => return Ok(Demand::None),
        Err(_) => return Err(format!("its type {} is unknown", entry.r#type)),
    }
    let data = entry.data.clone().unwrap_or_default();
    match decode_entry(&data, line::Line::V3_6).map_err(|e| e.to_string())? {
        Payload::V2(_) => Ok(Demand::V2),
        Payload::Internal(request) => match &request.op {
            Some(Op::DowngradeVersionTest(test)) => {
                let version = Version::parse(&test.ver)?;
                Ok(Demand::Version(version.max(V3_6)))
            }
            _ => Ok(Demand::None),
        },
        Payload::Empty => Ok(Demand::None),
    }
}

/// Whether the data of an entry has to be examined.
fn is_wanted(entry: &Entry) -> bool {
    is_of_interest(entry) || !matches!(demand(entry), Ok(Demand::None))
}

/// `None` also where the snapshot or the log cannot be followed.
fn cluster_version<'a>(
    newest: Option<Snapshot>,
    committed: impl Iterator<Item = &'a Entry>,
) -> Option<Version> {
    let (tree, conf_state) = match newest {
        Some(snapshot) => {
            let tree = Tree::parse(snapshot.data.as_deref().unwrap_or_default()).ok()?;
            (tree, snapshot.metadata.conf_state)
        }
        None => (Tree::new(), Default::default()),
    };
    let mut replay = Replay::from_snapshot(ClusterId(0), tree, conf_state).ok()?;
    for entry in committed {
        replay.follow(entry).ok()?;
    }
    Version::parse(&replay.cluster.version()?.to_string()).ok()
}
