//! Whether a process has the database of a directory open, by the lock that it holds as
//! long as it runs.

use std::{fs::File, path::Path};

use rustix::fs::{FlockOperation, flock, fstatfs};

/// File systems that several machines may share, whose locks say nothing of the others: NFS,
/// CIFS and SMB, FUSE, 9P, Ceph, AFS, OCFS2 and GFS2, by the numbers of statfs(2).
const SHARED: [u64; 10] = [
    0x6969,
    0xff53_4d42,
    0xfe53_4d42,
    0x517b,
    0x6573_5546,
    0x0102_1997,
    0x00c3_6400,
    0x5346_414f,
    0x7461_636f,
    0x0116_1970,
];

/// Whether the database of the member in `dir` is in use; `None` where that is not known.
/// The lock is shared, taken for a moment, and never waited for.
pub(crate) fn is_in_use(dir: &Path) -> Option<bool> {
    let path = match dir.join("member") {
        inner if inner.is_dir() => inner,
        _ => dir.to_owned(),
    };
    let file = File::open(path.join("snap").join("db")).ok()?;
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(rustix::io::Errno::WOULDBLOCK) => return Some(true),
        Err(_) => return None,
        Ok(()) => {}
    }
    let kind = fstatfs(&file).ok()?.f_type;
    let is_shared = SHARED
        .iter()
        .any(|shared| i128::from(*shared) == i128::from(kind));
    (!is_shared).then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_says_whether_a_process_runs() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(is_in_use(dir.path()), None);
        let snap = dir.path().join("member").join("snap");
        std::fs::create_dir_all(&snap).expect("folders");
        let db = File::create(snap.join("db")).expect("a database");
        assert_eq!(is_in_use(dir.path()), Some(false));
        // A member locks its own open file, as another process does.
        flock(&db, FlockOperation::NonBlockingLockExclusive).expect("a lock");
        assert_eq!(is_in_use(dir.path()), Some(true));
        drop(db);
        assert_eq!(is_in_use(dir.path()), Some(false));
    }
}
