use std::fs;

use super::*;

fn names(dir: &Path) -> Vec<String> {
    let mut names = OsDisk.names(dir).unwrap();
    names.sort();
    names
}

#[test]
fn the_newest_are_kept() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    for i in 0..8 {
        fs::write(dir.join(format!("{i:016x}.snap")), b"").unwrap();
        fs::write(dir.join(format!("{i:016x}.snap.db")), b"").unwrap();
    }
    let deleted = purge(dir, ".snap", KEEP).unwrap();
    assert_eq!(deleted.len(), 3);
    assert_eq!(deleted[0], dir.join("0000000000000000.snap"));
    assert_eq!(names(dir).len(), 13);
    assert!(dir.join("0000000000000000.snap.db").exists());
    assert!(purge(dir, ".snap", KEEP).unwrap().is_empty());
    // Zero means: no limit.
    assert!(purge(dir, ".snap.db", 0).unwrap().is_empty());
}

#[test]
fn a_file_being_written_is_not_the_newest() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    for name in ["1.snap", "2.snap", "tmp.3.snap"] {
        fs::write(dir.join(name), b"").unwrap();
    }
    assert_eq!(purge(dir, ".snap", 1).unwrap(), [dir.join("1.snap")]);
    assert_eq!(names(dir), ["2.snap", "tmp.3.snap"]);
}

#[test]
fn the_first_locked_one_ends_the_pass() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    for i in 0..5 {
        fs::write(dir.join(format!("{i}.wal")), b"").unwrap();
    }
    let held = OsDisk.open(&dir.join("1.wal"), Mode::Write).unwrap();
    assert!(held.try_lock().unwrap());
    assert_eq!(purge(dir, ".wal", 1).unwrap(), [dir.join("0.wal")]);
    assert_eq!(names(dir), ["1.wal", "2.wal", "3.wal", "4.wal"]);
    drop(held);
    assert_eq!(purge(dir, ".wal", 1).unwrap().len(), 3);
    assert_eq!(names(dir), ["4.wal"]);
}
