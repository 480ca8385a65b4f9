//! `backup`: a copy of a stopped member's directory that knows none of its
//! cluster, as etcdutl 3.5 makes it; a member starts from it with
//! `--force-new-cluster`. Entries keep their places in the log: those that speak
//! of members become empty ones. Must never change the source.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use bolt::{Batch, Db};
use membership::{Cluster, Payload, decode_entry, v2store::Tree, v3store};
use proto::{
    etcdserverpb::internal_raft_request::Op,
    raftpb::{self, Entry, EntryType, HardState},
    walpb,
};
use wal::{Wal, snap::Snapshotter};

use crate::{
    command::Line,
    failure::{Failure, Outcome, make_dir},
    log, newest,
    snapshot::status,
};

const PLACE: &str = "utl/backup";

/// The only member of the copy, until `--force-new-cluster` takes its place.
const PLACEHOLDER: &str = "etcdctl-v2-backup=http://use-flag--force-new-cluster:2080";

struct Backup {
    from: PathBuf,
    from_wal: PathBuf,
    to: PathBuf,
    to_wal: PathBuf,
    with_v3: bool,
    cluster: Cluster,
}

/// `etcdutl backup`.
pub(crate) fn run(line: &Line) -> Outcome<String> {
    let member = |dir: &str| Path::new(line.parsed.text(dir)).join("member");
    let wal = |name: &str, dir: &str| match line.parsed.text(name) {
        "" => member(dir).join("wal"),
        given => given.into(),
    };
    // Another copy of the same directory is another cluster.
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let token = now.unwrap_or_default().as_nanos().to_string();
    let backup = Backup {
        from: member("data-dir").join("snap"),
        from_wal: wal("wal-dir", "data-dir"),
        to: member("backup-dir").join("snap"),
        to_wal: wal("backup-wal-dir", "backup-dir"),
        with_v3: line.parsed.bool("with-v3"),
        cluster: Cluster::from_initial(&token, PLACEHOLDER)
            .map_err(|e| Failure::error(e.to_string()))?,
    };
    backup.run()?;
    Ok(String::new())
}

impl Backup {
    fn run(&self) -> Outcome<()> {
        let db = self.from.join("db");
        fs::metadata(&db).map_err(|e| Failure::io("stat", &db, &e))?;
        if Wal::exists(&self.to_wal)? {
            return Err(Failure::error(format_args!(
                "wal.Create failed: {}: file already exists",
                self.to_wal.display()
            )));
        }
        make_dir(&self.to)?;
        let at = self.copy_snapshot()?;
        let log = self.translated_log(&at)?;
        self.copy_database(&db, &log.state)?;
        self.write_log(&log, &at)
    }

    fn conf_state(&self) -> raftpb::ConfState {
        raftpb::ConfState {
            voters: self.cluster.members().map(|member| member.id.0).collect(),
            ..raftpb::ConfState::default()
        }
    }

    /// Copies the newest snapshot without its members; says where it is.
    fn copy_snapshot(&self) -> Outcome<walpb::Snapshot> {
        let Some((path, mut snapshot)) = newest::snapshot(&self.from, &self.from_wal)? else {
            return Ok(walpb::Snapshot::default());
        };
        let data = snapshot.data.take().unwrap_or_default();
        let mut tree = Tree::parse(&data)
            .and_then(|mut tree| tree.forget_members().map(|()| tree))
            .map_err(|e| {
                let path = path.display();
                Failure::error(format_args!("cannot translate v2store: {path}: {e}"))
            })?;
        for member in self.cluster.members() {
            tree.add_member(member).map_err(Failure::error)?;
        }
        snapshot.data = Some(tree.to_json().into());
        snapshot.metadata.conf_state = self.conf_state();
        Snapshotter::new(&self.to).save(&snapshot)?;
        Ok(walpb::Snapshot {
            index: snapshot.metadata.index,
            term: snapshot.metadata.term,
            conf_state: Some(self.conf_state()),
        })
    }

    /// The log after the snapshot, with empty entries for what is left out.
    fn translated_log(&self, at: &walpb::Snapshot) -> Outcome<wal::ReadOnly> {
        let start = walpb::Snapshot {
            conf_state: None,
            ..at.clone()
        };
        let mut log = wal::read_all(&self.from_wal, start)?;
        for entry in &mut log.entries {
            if let Some(reason) = self.is_left_out(entry)? {
                log::info(PLACE, reason, &[("index", entry.index.into())]);
                *entry = Entry {
                    term: entry.term,
                    index: entry.index,
                    ..Entry::default()
                };
            }
        }
        Ok(log)
    }

    fn is_left_out(&self, entry: &Entry) -> Outcome<Option<&'static str>> {
        if entry.r#type != EntryType::EntryNormal as i32 {
            return Ok(Some("ignoring EntryConfChange raft entry"));
        }
        let data = entry.data.clone().unwrap_or_default();
        let payload = decode_entry(&data, line::Line::DEFAULT).map_err(|e| {
            Failure::error(format_args!("cannot decode entry {}: {e}", entry.index))
        })?;
        Ok(match payload {
            Payload::Empty => None,
            Payload::V2(request) if request.method == "PUT" && is_attributes(&request.path) => {
                Some("ignoring member attribute update")
            }
            Payload::V2(_) => None,
            Payload::Internal(request)
                if matches!(request.op, Some(Op::ClusterMemberAttrSet(_))) =>
            {
                Some("ignoring cluster_member_attr_set")
            }
            Payload::Internal(request) if !self.with_v3 && request.header.is_some() => {
                Some("ignoring v3 raft entry")
            }
            Payload::Internal(_) => None,
        })
    }

    /// Copies the database, or makes one without keys, and gives it the new member.
    fn copy_database(&self, from: &Path, state: &HardState) -> Outcome<()> {
        let to = self.to.join("db");
        if self.with_v3 {
            // Held open, so that no server writes to it meanwhile.
            let _held = status::open(from)?;
            copy(from, &to).map_err(|e| Failure::io("write", &to, &e))?;
        }
        let db = Db::open(&to, bolt::Options::default())?;
        let mut tx = db.begin_write()?;
        for bucket in [&b"cluster"[..], b"members", b"members_removed"] {
            match tx.delete_bucket(bucket) {
                Ok(()) | Err(bolt::Error::BucketNotFound(_)) => {}
                Err(e) => return Err(e.into()),
            }
            tx.create_bucket_if_not_exists(bucket)?;
        }
        tx.create_bucket_if_not_exists(b"meta")?;
        let mut batch = Batch::new();
        v3store::project(&self.cluster, &mut batch);
        if !self.with_v3 {
            let index = state.commit.to_be_bytes().to_vec();
            batch.put("meta", &b"consistent_index"[..], index);
            batch.put("meta", &b"term"[..], state.term.to_be_bytes().to_vec());
        }
        tx.apply(&batch)?;
        Ok(tx.commit()?)
    }

    fn write_log(&self, log: &wal::ReadOnly, at: &walpb::Snapshot) -> Outcome<()> {
        if let Some(parent) = self.to_wal.parent().filter(|p| !p.as_os_str().is_empty()) {
            make_dir(parent)?;
        }
        let options = wal::Options {
            background: false,
            ..wal::Options::default()
        };
        let mut copy = Wal::create(&self.to_wal, &log.metadata, options)?;
        // First, for the entries follow it: those before it are not copied.
        copy.save_snapshot(at)?;
        copy.append(&log.entries, Some(&log.state))?;
        copy.sync()?;
        Ok(copy.close()?)
    }
}

/// `/0/members/<id>/attributes`: what a member says of itself.
fn is_attributes(path: &str) -> bool {
    let Some((_, rest)) = path.split_once("/0/members/") else {
        return false;
    };
    rest.split_once('/').is_some_and(|(id, rest)| {
        let hex = !id.is_empty() && id.len() <= 16 && id.bytes().all(|b| b.is_ascii_hexdigit());
        hex && rest.starts_with("attributes")
    })
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = fs::File::open(from)?;
    let mut copy = cli::private::create(to)?;
    io::copy(&mut source, &mut copy)?;
    copy.sync_all()
}
