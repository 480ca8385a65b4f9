//! `check v2store`: whether users left keys in the store of API version 2, which
//! etcd 3.6 refuses to start with. It looks where 3.6 looks, at the newest
//! snapshot the log knows. Must never change a file: a broken snapshot is named,
//! not set aside.

use std::{fs, path::Path};

use membership::v2store::Tree;

use crate::{
    command::Line,
    failure::{Failure, Outcome},
    newest,
};

/// `etcdutl check v2store`.
pub(crate) fn check(line: &Line) -> Outcome<String> {
    let data_dir = Path::new(line.parsed.text("data-dir"));
    let snap_dir = data_dir.join("member").join("snap");
    let wal_dir = match line.parsed.text("wal-dir") {
        "" => data_dir.join("member").join("wal"),
        dir => dir.into(),
    };
    match newest(&snap_dir, &wal_dir)? {
        Some(tree) if tree.has_user_data() => {
            Err(Failure::error("detected custom content in v2store"))
        }
        _ => Ok("No custom content found in v2store.\n".into()),
    }
}

/// The store of the newest snapshot that is whole and known to the log.
fn newest(snap_dir: &Path, wal_dir: &Path) -> Outcome<Option<Tree>> {
    fs::metadata(wal_dir).map_err(|e| Failure::io("open", wal_dir, &e))?;
    let found = match newest::snapshot(snap_dir, wal_dir) {
        // A log without segments has nothing to say.
        Err(wal::Error::NotFound { .. }) => None,
        found => found?,
    };
    let Some((path, snapshot)) = found else {
        return Ok(None);
    };
    let tree = Tree::parse(snapshot.data.as_deref().unwrap_or_default());
    tree.map(Some).map_err(|e| {
        let path = path.display();
        Failure::error(format_args!(
            "failed to recover v2store from snapshot: {path}: {e}"
        ))
    })
}
