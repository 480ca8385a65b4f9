//! The membership in the database file of a stopped member: what it says
//! beside the truth, and records put there by hand where no release that makes
//! them can be had. It must never open a file that a process has open.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use bolt::{Db, Options};
use membership::{
    Member, MemberId,
    v3store::{self, V3View},
};

/// What is wrong in bucket `members`, against the members of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sick {
    /// Voters that it takes for learners.
    pub stale_learners: Vec<u64>,
    /// Learners that it takes for voters.
    pub stale_voters: Vec<u64>,
    /// Members that are not in the cluster.
    pub zombies: Vec<u64>,
    /// Members without a name.
    pub nameless: Vec<u64>,
    /// Members that it does not have.
    pub absent: Vec<u64>,
    /// Members that it takes for removed, for ever.
    pub removed: Vec<u64>,
}

impl Sick {
    /// Counts, for one line of a report; empty where nothing is wrong.
    pub fn summary(&self) -> String {
        let counts = [
            ("stale learners", &self.stale_learners),
            ("stale voters", &self.stale_voters),
            ("zombies", &self.zombies),
            ("without name", &self.nameless),
            ("missing", &self.absent),
            ("taken for removed", &self.removed),
        ];
        let found = counts.iter().filter(|(_, ids)| !ids.is_empty());
        let words: Vec<String> = found.map(|(w, ids)| format!("{} {w}", ids.len())).collect();
        words.join(", ")
    }
}

fn open(dir: &Path, read_only: bool) -> Result<Db> {
    let path = dir.join("member/snap/db");
    let options = Options {
        read_only,
        lock_timeout: Some(Duration::from_secs(5)),
        ..Options::default()
    };
    Db::open(&path, options).with_context(|| path.display().to_string())
}

/// Every record of the database: bucket, key, value.
pub fn records(dir: &Path) -> Result<Vec<[Vec<u8>; 3]>> {
    let db = open(dir, true)?;
    let view = db.begin_read();
    let mut records = Vec::new();
    for name in view.buckets() {
        let name = name?;
        let bucket = view.bucket(name)?.context("a bucket that is listed")?;
        let mut cursor = bucket.cursor();
        let mut pair = cursor.first()?;
        while let Some((key, value)) = pair {
            records.push([name.to_vec(), key.to_vec(), value.to_vec()]);
            pair = cursor.next()?;
        }
    }
    Ok(records)
}

/// The membership buckets of a data directory.
pub fn read(dir: &Path) -> Result<V3View> {
    Ok(v3store::read(&open(dir, true)?.begin_read())?)
}

/// What is wrong in it. `truth` is who is in the cluster, and whether it is a learner.
pub fn judge(dir: &Path, truth: &BTreeMap<u64, bool>) -> Result<Sick> {
    let view = read(dir)?;
    let mut sick = Sick::default();
    for member in &view.members {
        let id = member.id.0;
        match truth.get(&id) {
            None => sick.zombies.push(id),
            Some(is_learner) => {
                if member.is_learner && !is_learner {
                    sick.stale_learners.push(id);
                }
                if !member.is_learner && *is_learner {
                    sick.stale_voters.push(id);
                }
                if member.name.is_empty() {
                    sick.nameless.push(id);
                }
            }
        }
    }
    let has = |id: &u64| view.members.iter().any(|m| m.id.0 == *id);
    sick.absent = truth.keys().copied().filter(|id| !has(id)).collect();
    let removed = view.removed.iter().map(|id| id.0);
    sick.removed = removed.filter(|id| truth.contains_key(id)).collect();
    Ok(sick)
}

/// Puts `count` voters into bucket `members` that never were in the cluster.
pub fn plant_zombies(dir: &Path, count: u64) -> Result<()> {
    let db = open(dir, false)?;
    let mut tx = db.begin_write()?;
    for n in 1..=count {
        let zombie = Member {
            id: MemberId(0xdead_0000_0000_0000 + n),
            // A port that no one can listen on.
            peer_urls: vec![format!("http://127.0.0.1:{n}")],
            is_learner: false,
            name: format!("zombie{n}"),
            client_urls: vec!["http://127.0.0.1:9".to_owned()],
        };
        tx.put(
            b"members",
            zombie.id.to_string().as_bytes(),
            zombie.to_json().as_bytes(),
        )?;
    }
    Ok(tx.commit()?)
}

/// Makes these voters learners in bucket `members`, and takes their names.
pub fn plant_learners(dir: &Path, ids: &[u64]) -> Result<()> {
    let view = read(dir)?;
    let db = open(dir, false)?;
    let mut tx = db.begin_write()?;
    for member in view.members.iter().filter(|m| ids.contains(&m.id.0)) {
        let mut sick = member.clone();
        sick.is_learner = true;
        sick.name.clear();
        sick.client_urls.clear();
        tx.put(
            b"members",
            sick.id.to_string().as_bytes(),
            sick.to_json().as_bytes(),
        )?;
    }
    Ok(tx.commit()?)
}
