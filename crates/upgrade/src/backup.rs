//! A backup that was shown to be restorable before anybody needs it: streamed
//! with its SHA-256, every page walked, restored into a scratch folder, and the
//! keys there hashed against the keys of the file.

use std::{
    fs,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use cli::private::{self, Scratch};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::{
    failure::{Failure, Outcome},
    inspect::{self, Access},
};

/// The checksum at the end of a snapshot file.
const TRAILER: u64 = 32;

/// What is wrong with a snapshot file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Less than a checksum.
    #[error("{0} is too short for a snapshot")]
    TooShort(PathBuf),
    /// No checksum at its end.
    #[error("{0} has no SHA-256 at its end: a copied database file, or a truncated snapshot")]
    NoDigest(PathBuf),
    /// The checksum is of other bytes.
    #[error("{0} does not fit its SHA-256: it is damaged")]
    Damaged(PathBuf),
    /// The database in it cannot be read.
    #[error(transparent)]
    Unreadable(#[from] inspect::Error),
    /// A page of the database is damaged.
    #[error("{path}: {damage}")]
    Pages {
        /// The file.
        path: PathBuf,
        /// The damage.
        damage: String,
    },
}

/// Checks a snapshot file: checksum, pages, that it is etcd's. Returns what it is.
pub(crate) fn verify(path: &Path) -> Result<String, Error> {
    let shown = |source: std::io::Error| Error::Io {
        path: path.to_owned(),
        source,
    };
    let mut file = fs::File::open(path).map_err(shown)?;
    let size = file.metadata().map_err(shown)?.len();
    let Some(body) = size.checked_sub(TRAILER) else {
        return Err(Error::TooShort(path.to_owned()));
    };
    if body % 512 != 0 {
        return Err(Error::NoDigest(path.to_owned()));
    }
    let mut hash = Sha256::new();
    let mut left = body;
    let mut piece = vec![0; 1 << 20];
    while left > 0 {
        let n = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        file.read_exact(&mut piece[..n]).map_err(shown)?;
        hash.update(&piece[..n]);
        left -= n as u64;
    }
    let mut trailer = [0; TRAILER as usize];
    file.seek(SeekFrom::Start(body)).map_err(shown)?;
    file.read_exact(&mut trailer).map_err(shown)?;
    let digest = hash.finalize();
    if digest[..] != trailer {
        return Err(Error::Damaged(path.to_owned()));
    }
    let database = inspect::database(path, true)?;
    if let Some(damage) = database.damage.first() {
        return Err(Error::Pages {
            path: path.to_owned(),
            damage: damage.clone(),
        });
    }
    Ok(format!(
        "revision {}, {}, sha256 {}",
        database.revision,
        cli::text::size(database.size),
        inspect::hex(&digest)
    ))
}

/// A backup that was taken.
pub(crate) struct Taken {
    /// The snapshot.
    pub(crate) database: PathBuf,
    /// What it is.
    pub(crate) manifest_path: PathBuf,
    /// The content of that.
    pub(crate) manifest: serde_json::Value,
    /// The same for people.
    pub(crate) text: String,
}

/// Takes a backup of one member into `dir` and shows that it can be restored.
pub(crate) async fn take(access: &Access, endpoint: &str, dir: &Path) -> Outcome<Taken> {
    private::folder(dir).map_err(|e| Failure::io("create", dir, &e))?;
    let quick = Access {
        scratch: None,
        ..access.clone()
    };
    let facts = inspect::live(&quick, endpoint).await?;
    let live = facts
        .live
        .as_ref()
        .ok_or_else(|| Failure::new("no answer"))?;
    let id = facts.id.unwrap_or_default();
    let scratch = scratch(dir)?;
    let part = scratch.path().join("part.db");
    let client = access.client(endpoint).await?;
    let limit = (live.db_size.max(1 << 20) as u64).saturating_mul(5) / 4;
    let digest = inspect::stream(&client, endpoint, &part, limit, access.stream_rate).await?;
    let failed = |e: std::io::Error| Failure::io("write", &part, &e);
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(&part)
        .map_err(failed)?;
    file.write_all(&digest)
        .and_then(|()| file.sync_all())
        .map_err(failed)?;
    drop(file);
    let (database, hash) = check(&part, scratch.path())?;
    let cluster = facts.cluster.unwrap_or_default();
    let name = format!("{cluster}-{id}-rev{}", database.revision);
    let path = dir.join(format!("{name}.db"));
    fs::rename(&part, &path).map_err(|e| Failure::io("rename to", &path, &e))?;
    let manifest = json!({
        "file": format!("{name}.db"),
        "sha256OfDatabase": inspect::hex(&digest),
        "size": database.size,
        "revision": database.revision,
        "compactRevision": database.compacted,
        "hashKV": hash,
        "consistentIndex": database.consistent_index,
        "cluster": cluster.to_string(),
        "member": id.to_string(),
        "memberName": facts.label,
        "endpoint": endpoint,
        "etcdVersion": live.version.as_ref().map(ToString::to_string),
        "clusterVersion": facts.cluster_version().or(database.members.cluster_version.clone()).map(|v| v.to_string()),
        "members": live.members.iter().map(|m| m.to_json_value()).collect::<Vec<_>>(),
        "restored": true,
        "restoreWith": format!("pintle utl snapshot restore {name}.db --data-dir DIR --bump-revision 1000000000 --mark-compacted"),
    });
    let manifest_path = dir.join(format!("{name}.json"));
    private::write(&manifest_path, format!("{manifest:#}\n").as_bytes())
        .map_err(|e| Failure::io("write", &manifest_path, &e))?;
    fs::File::open(dir)
        .and_then(|d| d.sync_all())
        .map_err(|e| Failure::io("sync", dir, &e))?;
    let text = format!(
        "{}: revision {}, {}, restored and compared by hash\n{}\n",
        path.display(),
        database.revision,
        cli::text::size(database.size),
        manifest_path.display()
    );
    Ok(Taken {
        database: path,
        manifest_path,
        manifest,
        text,
    })
}

/// Walks the pages, restores the file into a folder of `scratch`, and compares.
fn check(path: &Path, scratch: &Path) -> Outcome<(crate::facts::Database, u32)> {
    verify(path).map_err(Failure::new)?;
    let database = inspect::metadata(path)?;
    let target = scratch.join("restored");
    let words = [
        "etcdutl".to_owned(),
        "snapshot".into(),
        "restore".into(),
        path.display().to_string(),
        format!("--data-dir={}", target.display()),
    ];
    if utl::main(words.into()) != 0 {
        return Err(Failure::new(format!(
            "{} cannot be restored",
            path.display()
        )));
    }
    let restored = target.join("member").join("snap").join("db");
    let of = |path: &Path| {
        utl::hash_kv(path, database.revision)
            .map_err(|why| Failure::new(format!("{}: {why}", path.display())))
    };
    let (here, there) = (of(path)?, of(&restored)?);
    if here != there {
        return Err(Failure::new(format!(
            "{} restores to other keys: hash {here} became {there}",
            path.display()
        )));
    }
    Ok((database, here))
}

/// Databases and rebuilt members are in folders whose names begin so.
const PREFIX: &str = ".pintle-upgrade-";

/// A folder in `folder` that goes when this does.
pub(crate) fn scratch(folder: &Path) -> Outcome<Scratch> {
    Scratch::within(folder, PREFIX).map_err(|e| Failure::io("make a folder in", folder, &e))
}
