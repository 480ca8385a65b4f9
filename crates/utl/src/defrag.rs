//! `defrag`: the database of a member that is not running, copied without its
//! free pages. Must never put the copy in place before it is whole and durable;
//! a crash leaves the old file, and a `db.tmp.*` that the next start deletes.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bolt::{Db, Options};
use cli::{
    private::{self, Unfinished},
    text::size,
};

use crate::{
    command::Line,
    failure::{Failure, Outcome},
    log,
};

/// How long to wait for the lock before a warning.
const PATIENCE: Duration = Duration::from_secs(1);

pub(crate) fn run(line: &Line) -> Outcome<String> {
    let path = Path::new(line.parsed.text("data-dir"))
        .join("member")
        .join("snap")
        .join("db");
    if let Err(e) = fs::metadata(&path) {
        // Opening would create it.
        return Err(Failure::io("open", &path, &e));
    }
    let db = open(&path)?;
    let (before, before_in_use) = (db.size(), db.size_in_use());
    let shown = path.display().to_string();
    log::info(
        "utl/defrag",
        "defragmenting",
        &[
            ("path", shown.clone().into()),
            ("current-db-size-bytes", before.into()),
            ("current-db-size", size(before).into()),
            ("current-db-size-in-use-bytes", before_in_use.into()),
            ("current-db-size-in-use", size(before_in_use).into()),
        ],
    );
    let began = Instant::now();
    let (after, after_in_use) = replace(&db, &path)?;
    let difference = |a: u64, b: u64| i128::from(a) - i128::from(b);
    log::info(
        "utl/defrag",
        "finished defragmenting directory",
        &[
            ("path", shown.into()),
            (
                "current-db-size-bytes-diff",
                (difference(after, before) as i64).into(),
            ),
            ("current-db-size-bytes", after.into()),
            ("current-db-size", size(after).into()),
            (
                "current-db-size-in-use-bytes-diff",
                (difference(after_in_use, before_in_use) as i64).into(),
            ),
            ("current-db-size-in-use-bytes", after_in_use.into()),
            ("current-db-size-in-use", size(after_in_use).into()),
            ("took", format!("{:?}", began.elapsed()).into()),
        ],
    );
    Ok(String::new())
}

/// Opens and locks; says so once if a server holds the file, and waits.
fn open(path: &Path) -> Outcome<Db> {
    let options = |lock_timeout| Options {
        lock_timeout,
        ..Options::default()
    };
    match Db::open(path, options(Some(PATIENCE))) {
        Err(bolt::Error::Locked { .. }) => {}
        other => return Ok(other?),
    }
    eprintln!(
        "waiting for etcd to close and release its lock on {:?}. \
         To defrag a running etcd instance, use etcdctl defrag.",
        path.display().to_string()
    );
    Ok(Db::open(path, options(None))?)
}

/// Copies to a file next to it and renames over it; returns size and size in use. The
/// old file stays open, and so locked, until the new one is in place.
fn replace(db: &Db, path: &Path) -> Outcome<(u64, u64)> {
    let copy = unfinished(path);
    let failed = |e| Failure::io("create", &copy, &e);
    private::create(&copy).map_err(failed)?;
    let _unfinished = Unfinished::at(&copy);
    let sizes = bolt::compact(&db.begin_read(), &copy, Options::default())
        .map(|db| (db.size(), db.size_in_use()));
    let renamed = sizes.map_err(Failure::from).and_then(|sizes| {
        fs::rename(&copy, path).map_err(|e| Failure::io("rename", &copy, &e))?;
        Ok(sizes)
    });
    if renamed.is_err() {
        let _ = fs::remove_file(&copy);
    }
    disk::sync_parent(path).map_err(|e| Failure::io("sync the directory of", path, &e))?;
    renamed
}

/// A name that every etcd deletes at its next start.
fn unfinished(path: &Path) -> PathBuf {
    path.with_file_name(format!("db.tmp.{}", private::random()))
}
