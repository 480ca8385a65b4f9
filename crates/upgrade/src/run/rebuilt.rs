//! Directories of a rehearsal: members as they are, with other addresses. Ids, log,
//! `.snap` and database stay what they were, sickness included; every peer URL is
//! one of loopback. It must never leave an address in them at which a member of the
//! live cluster listens.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use bolt::{Batch, Db};
use cli::private;
use membership::{
    cluster::{Member, MemberId},
    v2store::Tree,
};
use prost::Message as _;
use proto::{
    EntryId,
    etcdserverpb::Metadata,
    raftpb::{self, ConfChange, Entry, EntryType},
    walpb,
};
use serde_json::Value;
use wal::{Wal, snap::Snapshotter};

use crate::{
    facts::{Database, Facts, Log},
    failure::{Failure, Outcome},
    inspect,
};

/// The peer URL of each member on loopback; whoever is not named gets the one where
/// nothing listens.
pub(crate) struct Addresses {
    pub(crate) of: BTreeMap<MemberId, String>,
    pub(crate) nowhere: String,
}

impl Addresses {
    fn get(&self, id: MemberId) -> &str {
        self.of.get(&id).unwrap_or(&self.nowhere)
    }

    fn moved(&self, member: &Member) -> Member {
        Member {
            peer_urls: vec![self.get(member.id).to_owned()],
            ..member.clone()
        }
    }
}

/// What is known of a directory before it is rebuilt.
pub(crate) struct Source {
    dir: PathBuf,
    id: MemberId,
    cluster: u64,
    /// The name of the member.
    pub(crate) name: String,
    log: Log,
    database: Database,
}

impl Source {
    /// Reads the directory of a stopped member, or a copy of one.
    ///
    /// # Errors
    /// It is none, or is in use.
    pub(crate) fn read(dir: &Path) -> Outcome<Source> {
        let facts = inspect::directory(dir, None, false, false)?;
        let lacks = |what: &str| Failure::new(format!("{}: {what}", dir.display()));
        let Facts {
            id: Some(id),
            cluster: Some(cluster),
            log: Some(log),
            database: Some(database),
            label,
            ..
        } = facts
        else {
            return Err(lacks(&format!(
                "its database cannot be read: {}",
                facts.unread.join("; ")
            )));
        };
        Ok(Source {
            dir: dir.to_owned(),
            id,
            cluster: cluster.0,
            name: label,
            log,
            database,
        })
    }

    pub(crate) fn id(&self) -> MemberId {
        self.id
    }

    /// The members by its log, learners included.
    pub(crate) fn members(&self) -> Vec<Member> {
        self.log.now.members().cloned().collect()
    }

    /// Writes the member to `to`, which does not exist yet. Without `snapshot` the log
    /// begins at its first entry, as that of a young cluster.
    ///
    /// # Errors
    /// A file could not be read or written.
    pub(crate) fn rebuild(&self, to: &Path, addresses: &Addresses, snapshot: bool) -> Outcome<()> {
        let failed = |e: &dyn std::fmt::Display| {
            Failure::new(format!(
                "rebuild {} in {}: {e}",
                self.dir.display(),
                to.display()
            ))
        };
        let member = to.join("member");
        let snap_dir = member.join("snap");
        private::folder(&snap_dir).map_err(|e| failed(&e))?;
        let from = match snapshot {
            true => self.log.snapshot,
            false => EntryId::ZERO,
        };
        let at = walpb::Snapshot {
            index: from.index,
            term: from.term,
            conf_state: None,
        };
        let read = wal::read_all(&self.log.dir, at).map_err(|e| failed(&e))?;
        let metadata = Metadata {
            node_id: self.id.0,
            cluster_id: self.cluster,
        };
        let options = wal::Options {
            background: false,
            ..wal::Options::default()
        };
        let wal_dir = member.join("wal");
        let mut log =
            Wal::create(&wal_dir, &metadata.encode_to_vec(), options).map_err(|e| failed(&e))?;
        if from.index > 0 {
            let at = self.snapshot(&snap_dir, addresses)?;
            log.save_snapshot(&at).map_err(|e| failed(&e))?;
        }
        let entries: Vec<Entry> = read.entries.iter().map(|e| moved(e, addresses)).collect();
        log.append(&entries, Some(&read.state))
            .and_then(|()| log.sync().map(drop))
            .and_then(|()| log.close())
            .map_err(|e| failed(&e))?;
        self.database(&snap_dir.join("db"), addresses)
    }

    /// The `.snap` that the log begins from, and the record of it.
    fn snapshot(&self, to: &Path, addresses: &Addresses) -> Outcome<walpb::Snapshot> {
        let name = wal::snap::file_name(self.log.snapshot);
        let from = self.snap_dir().join(name);
        let failed = |e: &dyn std::fmt::Display| Failure::new(format!("{}: {e}", from.display()));
        let snapshot = wal::snap::read_file(&from).map_err(|e| failed(&e))?;
        let data = snapshot.data.as_deref().unwrap_or_default();
        let mut tree = Tree::parse(data).map_err(|e| failed(&e))?;
        for member in tree.members().map_err(|e| failed(&e))? {
            tree.set_raft_attributes(&addresses.moved(&member))
                .map_err(|e| failed(&e))?;
        }
        let moved = raftpb::Snapshot {
            data: Some(tree.to_json().into()),
            metadata: snapshot.metadata,
        };
        Snapshotter::new(to).save(&moved).map_err(|e| failed(&e))?;
        Ok(walpb::Snapshot {
            index: self.log.snapshot.index,
            term: self.log.snapshot.term,
            conf_state: Some(moved.metadata.conf_state),
        })
    }

    fn snap_dir(&self) -> PathBuf {
        match self.dir.join("member") {
            inner if inner.is_dir() => inner.join("snap"),
            _ => self.dir.join("snap"),
        }
    }

    fn database(&self, to: &Path, addresses: &Addresses) -> Outcome<()> {
        let from = self.snap_dir().join("db");
        let failed = |e: &dyn std::fmt::Display| Failure::new(format!("{}: {e}", from.display()));
        let mut copy = private::create(to).map_err(|e| failed(&e))?;
        fs::File::open(&from)
            .and_then(|mut file| std::io::copy(&mut file, &mut copy))
            .map_err(|e| failed(&e))?;
        let mut batch = Batch::new();
        for record in &self.database.members.members {
            let moved = addresses.moved(record);
            batch.put("members", record.id.to_string(), moved.to_json());
        }
        write(to, &batch).map_err(|e| failed(&e))
    }
}

/// Writes into the database of a member that does not run.
pub(crate) fn write(path: &Path, batch: &Batch) -> Result<(), bolt::Error> {
    let db = Db::open(path, bolt::Options::default())?;
    let mut tx = db.begin_write()?;
    tx.create_bucket_if_not_exists(b"members")?;
    tx.apply(batch)?;
    tx.commit()
}

/// An entry of the log, with the addresses in it moved.
fn moved(entry: &Entry, addresses: &Addresses) -> Entry {
    let is_change = entry.r#type == EntryType::EntryConfChange as i32;
    let Some(data) = entry.data.clone().filter(|_| is_change) else {
        return entry.clone();
    };
    let Ok(mut change) = ConfChange::decode(data) else {
        return entry.clone();
    };
    let context = change.context.clone().unwrap_or_default();
    if let Ok(mut value) = serde_json::from_slice::<Value>(&context)
        && value.get("peerURLs").is_some()
    {
        let id = MemberId(change.node_id);
        value["peerURLs"] = vec![addresses.get(id)].into();
        change.context = Some(value.to_string().into_bytes().into());
    }
    Entry {
        data: Some(change.encode_to_vec().into()),
        ..entry.clone()
    }
}
