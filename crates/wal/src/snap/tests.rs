use std::fs;

use super::*;

fn snapshot(term: u64, index: u64) -> raftpb::Snapshot {
    let conf_state = raftpb::ConfState {
        voters: vec![0xf5b5_24f7_4537_064e],
        learners: vec![1],
        ..Default::default()
    };
    raftpb::Snapshot {
        data: Some(Bytes::from_static(b"{\"Root\":{}}")),
        metadata: raftpb::SnapshotMetadata {
            conf_state,
            index,
            term,
        },
    }
}

fn record(term: u64, index: u64) -> walpb::Snapshot {
    walpb::Snapshot {
        index,
        term,
        conf_state: None,
    }
}

fn name_of(term: u64, index: u64) -> String {
    file_name(EntryId { index, term })
}

fn names(dir: &Path) -> Vec<String> {
    let mut names = OsDisk.names(dir).unwrap();
    names.sort();
    names
}

#[test]
fn a_snapshot_reads_back_under_its_name() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let snapshotter = Snapshotter::new(dir);
    snapshotter.save(&snapshot(3, 33)).unwrap();
    snapshotter.save(&raftpb::Snapshot::default()).unwrap();
    assert_eq!(names(dir), ["0000000000000003-0000000000000021.snap"]);
    let read = read_file(&dir.join("0000000000000003-0000000000000021.snap")).unwrap();
    assert_eq!(read, snapshot(3, 33));
    assert_eq!(
        snapshotter.db_path(33),
        dir.join("0000000000000021.snap.db")
    );
}

#[test]
fn the_newest_that_the_log_knows_is_loaded() {
    let home = tempfile::tempdir().unwrap();
    let snapshotter = Snapshotter::new(home.path());
    for (term, index) in [(1, 10), (2, 20), (2, 30)] {
        snapshotter.save(&snapshot(term, index)).unwrap();
    }
    let newest = |valid: &[walpb::Snapshot]| {
        let found = snapshotter.load_newest_available(valid).unwrap();
        found.map(|s| (s.metadata.term, s.metadata.index))
    };
    assert_eq!(
        newest(&[record(1, 10), record(2, 20), record(2, 30)]),
        Some((2, 30))
    );
    // An orphan: the crash came before the record.
    assert_eq!(newest(&[record(1, 10), record(2, 20)]), Some((2, 20)));
    // Index and term must both agree.
    assert_eq!(newest(&[record(1, 10), record(9, 20)]), Some((1, 10)));
    assert_eq!(newest(&[record(0, 0)]), None);
    assert_eq!(names(home.path()).len(), 3, "orphans stay");
}

#[test]
fn an_unreadable_one_is_set_aside_and_the_one_before_is_used() {
    let whole = encode(&snapshot(2, 30));
    let mut turned = whole.clone();
    turned[20] ^= 1;
    let empty_data = snappb::Snapshot { crc: 5, data: None }.encode_to_vec();
    let no_crc = snappb::Snapshot {
        crc: 0,
        data: Some(Bytes::from_static(b"x")),
    }
    .encode_to_vec();
    for broken in [
        &[][..],
        &whole[..whole.len() / 2],
        &turned,
        &empty_data,
        &no_crc,
    ] {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        let snapshotter = Snapshotter::new(dir);
        snapshotter.save(&snapshot(1, 10)).unwrap();
        let name = name_of(2, 30);
        fs::write(dir.join(&name), broken).unwrap();
        let loaded = snapshotter.load(&[record(1, 10), record(2, 30)]).unwrap();
        assert_eq!(loaded.snapshot, Some(snapshot(1, 10)));
        assert_eq!(loaded.unusable.len(), 1);
        let file = &loaded.unusable[0];
        assert!(file.reason.to_string().contains(&name), "{}", file.reason);
        assert!(dir.join(&name).exists(), "the log is yet to be read");
        let aside = snapshotter.set_aside(file).unwrap();
        assert_eq!(aside, dir.join(format!("{name}.broken")));
        assert_eq!(fs::read(&aside).unwrap(), broken);
        assert!(!dir.join(&name).exists());
    }
}

#[test]
fn one_that_cannot_be_read_is_passed_over_like_a_damaged_one() {
    let home = tempfile::tempdir().unwrap();
    let (dir, name) = (home.path(), name_of(2, 30));
    let snapshotter = Snapshotter::new(dir);
    snapshotter.save(&snapshot(1, 10)).unwrap();
    let directory = |path: &Path| fs::create_dir(path).unwrap();
    let dangling = |path: &Path| std::os::unix::fs::symlink("/nowhere", path).unwrap();
    for make in [&directory as &dyn Fn(&Path), &dangling] {
        make(&dir.join(&name));
        let loaded = snapshotter.load(&[record(1, 10), record(2, 30)]).unwrap();
        assert_eq!(loaded.snapshot, Some(snapshot(1, 10)));
        let [file] = &loaded.unusable[..] else {
            panic!("{:?}", loaded.unusable);
        };
        assert!(matches!(file.reason, Error::Io { .. }), "{}", file.reason);
        let aside = snapshotter.set_aside(file).unwrap();
        assert!(!names(dir).contains(&name));
        fs::remove_file(&aside)
            .or_else(|_| fs::remove_dir(&aside))
            .unwrap();
    }
}

#[test]
fn want_of_descriptors_or_memory_says_nothing_about_a_file() {
    let of = |code| Error::io("read", "x.snap", std::io::Error::from_raw_os_error(code));
    assert!(
        [ENFILE, EMFILE, ENOMEM]
            .map(of)
            .iter()
            .all(is_about_process)
    );
    let (eio, eacces) = (5, 13);
    assert!(![eio, eacces].map(of).iter().any(is_about_process));
}

#[test]
fn leftovers_are_deleted_and_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let keep = [
        "db".to_owned(),
        name_of(1, 10),
        format!("{}.broken", name_of(1, 5)),
        "0000000000000014.snap.db".to_owned(),
        "notes".to_owned(),
    ];
    for name in &keep {
        fs::write(dir.join(name), encode(&snapshot(1, 10))).unwrap();
    }
    for name in ["tmp123", "tmp.x", "db.tmp.77", "000000000000000a.snap.db"] {
        fs::write(dir.join(name), b"").unwrap();
    }
    let snapshotter = Snapshotter::new(dir);
    snapshotter.remove_leftovers().unwrap();
    assert!(!names(dir).iter().any(|name| name.starts_with("tmp")));
    assert!(
        snapshotter
            .load(&[record(1, 10)])
            .unwrap()
            .snapshot
            .is_some()
    );
    assert!(!names(dir).contains(&"db.tmp.77".to_owned()));
    let gone = snapshotter.release_snap_dbs(0x14).unwrap();
    assert_eq!(gone, [dir.join("000000000000000a.snap.db")]);
    let mut keep = keep;
    keep.sort();
    assert_eq!(names(dir), keep);
}
