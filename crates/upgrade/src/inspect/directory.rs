//! Reads the data directory of a member that does not run: the log from its
//! newest snapshot on, followed by the rules of etcd 3.5, and the database.

use std::{
    fs,
    path::{Path, PathBuf},
};

use membership::{
    cluster::{Cluster, ClusterId, MemberId},
    conf_change::Done,
    entry::{self, Payload, decode_entry},
    replay::{Followed, Replay},
    v2store::{Node, Tree},
};
use prost::Message as _;
use proto::{
    etcdserverpb::{Metadata, Request},
    raftpb::{ConfState, Entry, EntryType},
    walpb,
};

use super::{database, error::Error};
use crate::{
    facts::{Database, Facts, Log, V2Record},
    progress,
};

/// Reads the member at `dir`, which is its data directory or the `member` folder
/// in it. With `pages` every page of the database is walked. Of a member that runs the
/// log alone is read, if `running` ones are taken.
///
/// # Errors
/// There is no member at `dir`, it is in use, or its log cannot be read.
pub fn directory(
    dir: &Path,
    wal_dir: Option<&Path>,
    pages: bool,
    running: bool,
) -> Result<Facts, Error> {
    let io = |source| Error::Io {
        path: dir.into(),
        source,
    };
    if !fs::metadata(dir).map_err(io)?.is_dir() {
        return Err(Error::NotAMember {
            path: dir.into(),
            why: "not a directory; give a database or snapshot file with --snapshot".into(),
        });
    }
    let member = match dir.join("member") {
        inner if inner.is_dir() => inner,
        _ => dir.to_owned(),
    };
    let snap_dir = member.join("snap");
    let wal_dir = wal_dir.map_or_else(|| member.join("wal"), Path::to_owned);
    if !snap_dir.is_dir() || !wal_dir.is_dir() {
        let missing = [&snap_dir, &wal_dir]
            .into_iter()
            .find(|d| !d.is_dir())
            .map_or(String::new(), |d| d.display().to_string());
        return Err(Error::NotAMember {
            path: dir.into(),
            why: format!("no member of etcd has been here: {missing} does not exist"),
        });
    }
    let mut facts = Facts {
        label: dir.display().to_string(),
        ..Facts::default()
    };
    let path = snap_dir.join("db");
    match database(&path, pages) {
        Ok(database) => facts.database = Some(database),
        Err(Error::InUse(_)) if running => facts.in_use = true,
        Err(error @ Error::InUse(_)) => return Err(error),
        Err(error) => facts.unread.push(error.to_string()),
    }
    let (metadata, log) = log(&wal_dir, &snap_dir, facts.database.as_ref())?;
    facts.id = Some(MemberId(metadata.node_id));
    facts.cluster = Some(ClusterId(metadata.cluster_id));
    if let Some(own) = log.now.member(metadata.node_id)
        && !own.name.is_empty()
    {
        facts.label = own.name.clone();
    }
    facts.log = Some(log);
    Ok(facts)
}

fn log(
    wal_dir: &Path,
    snap_dir: &Path,
    database: Option<&Database>,
) -> Result<(Metadata, Log), Error> {
    let bar = progress::busy(&format!("reading the log in {}", wal_dir.display()));
    let valid = wal::valid_snapshots(wal_dir)?;
    let mut gaps = Vec::new();
    let (at, snapshot) = newest(snap_dir, &valid, &mut gaps)?;
    let read = wal::read_kept(wal_dir, at.clone(), entry::is_of_interest)?;
    bar.finish_and_clear();
    let metadata = Metadata::decode(read.metadata.clone()).map_err(|error| Error::NotAMember {
        path: wal_dir.into(),
        why: format!("the metadata of the log cannot be understood: {error}"),
    })?;
    let now = start(snap_dir, &at, snapshot.as_ref(), metadata.cluster_id)?;
    let found = Log {
        dir: wal_dir.into(),
        snapshot: (&at).into(),
        at_snapshot: snapshot.is_some().then(|| now.cluster.clone()),
        v2_keys: match &snapshot {
            Some(_) => foreign(&now.tree),
            None => Vec::new(),
        },
        v2_auth: now.tree.has_auth(),
        now: Cluster::default(),
        tree: Tree::new(),
        conf_state: ConfState::default(),
        commit_term: at.term,
        commit: read.state.commit,
        last: read.entries.last().map_or(at.index, |entry| entry.index),
        v2_records: Vec::new(),
        expelled: Vec::new(),
        promotions: Vec::new(),
        torn: read.torn,
        gaps,
        leftovers: leftovers(snap_dir),
        at_database: None,
        conf_state_at_database: None,
    };
    Ok((metadata, followed(found, now, &read.entries, database)))
}

/// The members as of the newest snapshot at `at`.
fn start(
    snap_dir: &Path,
    at: &walpb::Snapshot,
    snapshot: Option<&proto::raftpb::Snapshot>,
    cluster: u64,
) -> Result<Replay, Error> {
    let (tree, conf_state) = match snapshot {
        Some(snapshot) => {
            let tree = Tree::parse(snapshot.data.as_deref().unwrap_or_default());
            let tree = tree.map_err(|error| Error::NotAMember {
                path: snap_dir.join(wal::snap::file_name(at.into())),
                why: format!("the v2 store in it cannot be understood: {error}"),
            })?;
            (tree, snapshot.metadata.conf_state.clone())
        }
        None => (Tree::new(), ConfState::default()),
    };
    Replay::from_snapshot(ClusterId(cluster), tree, conf_state).map_err(|error| Error::NotAMember {
        path: snap_dir.into(),
        why: format!("the members in the v2 store cannot be understood: {error}"),
    })
}

/// Follows `now`, which is as of the snapshot, through the `entries` after it.
fn followed(
    mut found: Log,
    mut now: Replay,
    entries: &[Entry],
    database: Option<&Database>,
) -> Log {
    let consistent = database.map(|d| d.consistent_index);
    let listed: Vec<MemberId> = database.map_or_else(Vec::new, |d| {
        d.members.members.iter().map(|m| m.id).collect()
    });
    if consistent == Some(found.snapshot.index) {
        found.at_database = Some(now.cluster.clone());
        found.conf_state_at_database = Some(now.conf_state.clone());
    }
    for entry in entries {
        if entry.index > found.commit {
            // It may yet be taken back; a v2 request in it is in the way all the same.
            let data = entry.data.clone().unwrap_or_default();
            if entry.r#type == EntryType::EntryNormal as i32
                && let Ok(Payload::V2(request)) = decode_entry(&data, now.line)
            {
                found.v2_records.push(record(entry.index, &request));
            }
            continue;
        }
        match now.follow(entry) {
            Ok(Followed::V2(request)) => found.v2_records.push(record(entry.index, &request)),
            Ok(Followed::Changed(done)) => {
                if let Done::Promoted(id) = done {
                    found.promotions.push((entry.index, id));
                }
                if consistent.is_some_and(|index| entry.index > index) {
                    let ahead = listed
                        .iter()
                        .filter(|id| now.cluster.member(**id).is_none());
                    found.expelled.extend(ahead);
                }
            }
            Ok(_) => {}
            Err(error) => found.gaps.push(format!(
                "entry {} cannot be understood: {error}",
                entry.index
            )),
        }
        found.commit_term = entry.term;
        if consistent == Some(entry.index) {
            found.at_database = Some(now.cluster.clone());
            found.conf_state_at_database = Some(now.conf_state.clone());
        }
    }
    let Replay {
        cluster: now,
        tree,
        conf_state,
        ..
    } = now;
    found.expelled.retain(|id| now.member(*id).is_some());
    found.expelled.sort();
    found.expelled.dedup();
    found.now = now;
    found.tree = tree;
    found.conf_state = conf_state;
    found
}

fn record(index: u64, request: &Request) -> V2Record {
    V2Record {
        index,
        what: format!("{} {}", proto::wire::text(&request.method), request.path)
            .trim()
            .to_owned(),
        is_membership: entry::is_membership(request),
    }
}

/// The newest `.snap` that is whole and known to the log. Nothing is set aside.
fn newest(
    snap_dir: &Path,
    valid: &[walpb::Snapshot],
    gaps: &mut Vec<String>,
) -> Result<(walpb::Snapshot, Option<proto::raftpb::Snapshot>), Error> {
    for at in valid.iter().rev().filter(|at| at.index > 0) {
        let path = snap_dir.join(wal::snap::file_name(at.into()));
        match wal::snap::read_file(&path) {
            Ok(snapshot) => return Ok((at.clone(), Some(snapshot))),
            Err(error @ wal::Error::Corrupt { .. }) => gaps.push(error.to_string()),
            Err(wal::Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                gaps.push(format!(
                    "the log has a record of the snapshot at index {}, and {} does not exist",
                    at.index,
                    path.display()
                ));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let first = valid.iter().find(|at| at.index == 0).cloned();
    Ok((first.unwrap_or_default(), None))
}

/// `<index>.snap.db` files.
fn leftovers(snap_dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(snap_dir) else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with(".snap.db"))
        .collect();
    found.sort();
    found
}

/// Paths in the v2 store that 3.6 does not take, the first few of them.
fn foreign(tree: &Tree) -> Vec<String> {
    fn collect(node: &Node, found: &mut Vec<String>) {
        if found.len() >= SHOWN_MAX {
            return;
        }
        match &node.children {
            Some(children) if !children.is_empty() => {
                children.values().for_each(|child| collect(child, found));
            }
            _ => found.push(node.path.clone()),
        }
    }
    let mut found = Vec::new();
    if tree.has_user_data() {
        let roots = tree.get("/").and_then(|node| node.children.as_ref());
        for (name, node) in roots.into_iter().flatten() {
            if name != "0" {
                collect(node, &mut found);
            }
        }
    }
    found
}

/// Paths that a report names.
const SHOWN_MAX: usize = 5;
