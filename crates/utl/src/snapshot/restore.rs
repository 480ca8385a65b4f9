//! `snapshot restore`: a data directory of a new cluster, made from a saved
//! database, as etcdutl 3.5 makes it: the database without its members, a log
//! that holds one entry per new member, and a `.snap` over them. Must never
//! leave a directory that looks like a member but is half of one: everything is
//! built as `member.restoring` and renamed at the end.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read, Write},
    path::{Path, PathBuf},
};

use bolt::{Batch, Db};
use cli::{
    interrupt,
    private::{self, Unfinished},
};
use membership::{conf_change::bootstrap_entries, v2store::Tree, v3store};
use prost::Message;
use proto::{etcdserverpb::Metadata, raftpb, walpb};
use serde_json::Value;
use sha2::{Digest, Sha256};
use wal::{Wal, snap::Snapshotter};

use crate::{
    cluster_flags::{self, Initial},
    command::{Line, one_argument},
    failure::{Failure, Outcome, make_dir},
    log,
    progress::Progress,
    snapshot::status::main_revision,
};

/// A saved database ends in a SHA-256 of what is before it, which no database
/// does, since pages are multiples of this.
const SECTOR_BYTES: u64 = 512;
const SHA256_BYTES: u64 = 32;

const PLACE: &str = "utl/restore";

/// What is to be made, and where.
struct Restore<'a> {
    file: &'a Path,
    data_dir: &'a Path,
    /// Where the log will be when all is done.
    wal_dir: PathBuf,
    /// Where everything is built.
    building: PathBuf,
    /// The log is in the directory that is built.
    wal_inside: bool,
    initial: Initial,
    skip_hash_check: bool,
    bump: Option<u64>,
}

pub(crate) fn run(line: &Line) -> Outcome<String> {
    let file = one_argument(line, "snapshot restore")?;
    let bump: u64 = line.parsed.uint("bump-revision");
    if (bump > 0) != line.parsed.bool("mark-compacted") {
        return Err(Failure::arguments(
            "--mark-compacted required if --revision-bump > 0",
        ));
    }
    let data_dir = Path::new(line.parsed.text("data-dir"));
    let own_wal_dir = line.parsed.text("wal-dir");
    let wal_inside = own_wal_dir.is_empty();
    let restore = Restore {
        file,
        data_dir,
        wal_dir: if wal_inside {
            data_dir.join("member/wal")
        } else {
            own_wal_dir.into()
        },
        building: data_dir.join("member.restoring"),
        wal_inside,
        initial: cluster_flags::read(line)?,
        skip_hash_check: line.parsed.bool("skip-hash-check"),
        bump: (bump > 0).then_some(bump),
    };
    private::sweep_one(&restore.building);
    must_be_empty("data-dir", data_dir)?;
    must_be_empty("wal-dir", &restore.wal_dir)?;
    let fields = [
        ("path", Value::from(file.display().to_string())),
        ("wal-dir", restore.wal_dir.display().to_string().into()),
        ("data-dir", line.parsed.text("data-dir").into()),
        (
            "snap-dir",
            data_dir.join("member/snap").display().to_string().into(),
        ),
        (
            "initial-memory-map-size",
            line.parsed.uint("initial-memory-map-size").into(),
        ),
    ];
    log::info(PLACE, "restoring snapshot", &fields);
    restore.run()?;
    log::info(PLACE, "restored snapshot", &fields);
    Ok(String::new())
}

fn must_be_empty(what: &str, dir: &Path) -> Outcome<()> {
    let empty = match fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(e) => e.kind() == ErrorKind::NotFound,
    };
    if empty {
        return Ok(());
    }
    let shown = dir.display().to_string();
    Err(Failure::error(format_args!(
        "{what} {shown:?} not empty or could not be read"
    )))
}

impl Restore<'_> {
    /// Builds everything, or leaves nothing.
    fn run(&self) -> Outcome<()> {
        // Before any directory appears.
        let source = File::open(self.file).map_err(|e| Failure::io("open", self.file, &e))?;
        let existed = [self.data_dir, &self.wal_dir].map(Path::exists);
        let _attended = interrupt::attend(1);
        let ours = [
            Some(&*self.building),
            (!existed[0]).then_some(self.data_dir),
            (!self.wal_inside).then_some(&*self.wal_dir),
        ];
        let unfinished: Vec<_> = ours.into_iter().flatten().map(Unfinished::at).collect();
        let built = self.build(source);
        drop(unfinished);
        if built.is_err() {
            let _ = fs::remove_dir_all(&self.building);
            if !self.wal_inside {
                // It was empty or absent; what is in it is ours.
                let _ = fs::remove_dir_all(&self.wal_dir);
                if existed[1] {
                    let _ = make_dir(&self.wal_dir);
                }
            }
            if !existed[0] {
                let _ = fs::remove_dir(self.data_dir);
            }
        }
        built
    }

    fn build(&self, source: File) -> Outcome<()> {
        let snap_dir = self.building.join("snap");
        make_dir(&snap_dir)?;
        // Locked while it is built: an unlocked one was left by a process that is gone.
        let building =
            File::open(&self.building).map_err(|e| Failure::io("open", &self.building, &e))?;
        let _ = building.try_lock();
        let db = snap_dir.join("db");
        self.copy(source, &db)?;
        let entries = bootstrap_entries(&self.initial.cluster);
        let commit = entries.len() as u64;
        self.rewrite(&db, commit)?;
        not_interrupted()?;
        self.write_log(&entries, &snap_dir)?;

        let member = self.data_dir.join("member");
        sync_dir(&self.building)?;
        not_interrupted()?;
        fs::rename(&self.building, &member).map_err(|e| Failure::io("rename", &member, &e))?;
        sync_dir(self.data_dir)
    }

    /// Copies the database without the SHA-256 that follows it, and verifies that.
    fn copy(&self, mut source: File, to: &Path) -> Outcome<()> {
        let read = |e| Failure::io("read", self.file, &e);
        let write = |e| Failure::io("write", to, &e);
        let len = source.metadata().map_err(read)?.len();
        let has_hash = len % SECTOR_BYTES == SHA256_BYTES;
        if !has_hash && !self.skip_hash_check {
            return Err(Failure::error(
                "snapshot missing hash but --skip-hash-check=false",
            ));
        }
        let db_len = if has_hash { len - SHA256_BYTES } else { len };

        let mut copy = private::create(to).map_err(write)?;
        let progress = Progress::start("copying", db_len);
        let mut hash = Sha256::new();
        let mut piece = vec![0; 1 << 20];
        let mut left = db_len;
        while left > 0 {
            let want = piece
                .len()
                .min(usize::try_from(left).unwrap_or(piece.len()));
            source.read_exact(&mut piece[..want]).map_err(read)?;
            hash.update(&piece[..want]);
            copy.write_all(&piece[..want]).map_err(write)?;
            not_interrupted()?;
            progress.add(want);
            left -= want as u64;
        }
        copy.sync_all().map_err(write)?;
        if has_hash && !self.skip_hash_check {
            let mut stored = [0; SHA256_BYTES as usize];
            source.read_exact(&mut stored).map_err(read)?;
            let found: [u8; SHA256_BYTES as usize] = hash.finalize().into();
            if stored != found {
                return Err(Failure::error(format_args!(
                    "expected sha256 {}, got {}",
                    as_go_prints(&stored),
                    as_go_prints(&found)
                )));
            }
        }
        Ok(())
    }

    /// Puts the new members into the database and sets the index it is as of.
    fn rewrite(&self, path: &Path, commit: u64) -> Outcome<()> {
        let db = Db::open(path, bolt::Options::default())?;
        log::info(
            PLACE,
            "Trimming membership information from the backend...",
            &[],
        );
        let mut tx = db.begin_write()?;
        for bucket in [&b"members"[..], b"members_removed"] {
            match tx.delete_bucket(bucket) {
                Ok(()) | Err(bolt::Error::BucketNotFound(_)) => {}
                Err(e) => return Err(e.into()),
            }
        }
        // What an older server had not made yet.
        for bucket in ["cluster", "key", "members", "members_removed", "meta"] {
            tx.create_bucket_if_not_exists(bucket.as_bytes())?;
        }
        let mut batch = Batch::new();
        if let Some(amount) = self.bump {
            bump(&db, amount, &mut batch)?;
        }
        v3store::project(&self.initial.cluster, &mut batch);
        for member in self.initial.cluster.members() {
            log::info(
                PLACE,
                "added member",
                &[
                    ("cluster-id", self.initial.cluster.id().to_string().into()),
                    ("local-member-id", "0".into()),
                    ("added-peer-id", member.id.to_string().into()),
                    ("added-peer-peer-urls", member.peer_urls.clone().into()),
                    ("added-peer-is-learner", member.is_learner.into()),
                ],
            );
        }
        batch.put(
            "meta",
            &b"consistent_index"[..],
            commit.to_be_bytes().to_vec(),
        );
        batch.put("meta", &b"term"[..], TERM.to_be_bytes().to_vec());
        tx.apply(&batch)?;
        Ok(tx.commit()?)
    }

    /// The log and the `.snap`, which make the new members known to raft.
    fn write_log(&self, entries: &[raftpb::Entry], snap_dir: &Path) -> Outcome<()> {
        let cluster = &self.initial.cluster;
        let ids: Vec<u64> = cluster.members().map(|member| member.id.0).collect();
        let commit = entries.len() as u64;
        let metadata = Metadata {
            node_id: self.initial.local.id.0,
            cluster_id: cluster.id().0,
        };
        let wal_dir = if self.wal_inside {
            self.building.join("wal")
        } else {
            self.wal_dir.clone()
        };
        if let Some(parent) = wal_dir.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            make_dir(parent)?;
        }
        let options = wal::Options {
            background: false,
            ..wal::Options::default()
        };
        let mut wal = Wal::create(&wal_dir, &metadata.encode_to_vec(), options)?;
        let vote = ids.first().copied().unwrap_or_default();
        wal.append(
            entries,
            Some(&raftpb::HardState {
                term: TERM,
                vote,
                commit,
            }),
        )?;
        wal.sync()?;

        let mut tree = Tree::new();
        for member in cluster.members() {
            tree.add_member(member).map_err(Failure::error)?;
        }
        let conf_state = raftpb::ConfState {
            voters: ids,
            ..raftpb::ConfState::default()
        };
        Snapshotter::new(snap_dir).save(&raftpb::Snapshot {
            data: Some(tree.to_json().into()),
            metadata: raftpb::SnapshotMetadata {
                conf_state: conf_state.clone(),
                index: commit,
                term: TERM,
            },
        })?;
        wal.save_snapshot(&walpb::Snapshot {
            index: commit,
            term: TERM,
            conf_state: Some(conf_state),
        })?;
        Ok(wal.close()?)
    }
}

/// Term of the first entries of a cluster.
const TERM: u64 = 1;

/// Raises the newest revision and marks everything up to it as compacted, so
/// that watchers who saw later revisions start over.
fn bump(db: &Db, amount: u64, batch: &mut Batch) -> Outcome<()> {
    let tx = db.begin_read();
    let newest = match tx.bucket(b"key")? {
        Some(bucket) => bucket.cursor().last()?.map(|(key, _)| key.to_vec()),
        None => None,
    };
    let mut key =
        newest.unwrap_or_else(|| vec![0, 0, 0, 0, 0, 0, 0, 1, b'_', 0, 0, 0, 0, 0, 0, 0, 0]);
    key.truncate(17);
    let latest = main_revision(&key).unwrap_or(1);
    let Some(new) = i64::try_from(amount)
        .ok()
        .and_then(|amount| latest.checked_add(amount))
    else {
        return Err(Failure::arguments(
            "--bump-revision goes beyond the highest revision",
        ));
    };
    log::info(
        PLACE,
        "bumping latest revision",
        &[
            ("latest-revision", latest.into()),
            ("bump-amount", amount.into()),
            ("new-latest-revision", new.into()),
        ],
    );
    if let Some(main) = key.first_chunk_mut() {
        *main = new.to_be_bytes();
    }
    batch.put("key", key, Vec::new());
    log::info(
        PLACE,
        "marking revision compacted",
        &[("revision", new.into())],
    );
    let mut compacted = new.to_be_bytes().to_vec();
    compacted.extend_from_slice(b"_\0\0\0\0\0\0\0\0");
    batch.put("meta", &b"scheduledCompactRev"[..], compacted);
    Ok(())
}

/// Bytes as Go shows a slice of them.
fn as_go_prints(bytes: &[u8]) -> String {
    let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
    format!("[{}]", numbers.join(" "))
}

/// Fails once a signal has asked this process to end.
fn not_interrupted() -> Outcome<()> {
    match interrupt::is_asked() {
        Some(signal) => Err(Failure::error(signal)),
        None => Ok(()),
    }
}

fn sync_dir(dir: &Path) -> Outcome<()> {
    disk::sync_dir(dir).map_err(|e| Failure::io("sync", dir, &e))
}
