use std::{fs, path::Path};

use super::*;
use crate::{
    frame::{Front, Length, front},
    read_all,
    sim::{Fault, Seed, SimulatedDisk},
    valid_snapshots,
};

fn small(segment_bytes: u64, background: bool) -> Options {
    Options {
        segment_bytes,
        background,
        ..Options::default()
    }
}

fn entry(index: u64, len: usize) -> raftpb::Entry {
    let data = Bytes::from(vec![index as u8 | 1; len]);
    raftpb::Entry {
        r#type: 0,
        term: 1,
        index,
        data: Some(data),
    }
}

fn state(commit: u64) -> raftpb::HardState {
    raftpb::HardState {
        term: 1,
        vote: 7,
        commit,
    }
}

fn snapshot(index: u64, term: u64) -> walpb::Snapshot {
    let conf_state = raftpb::ConfState {
        voters: vec![7],
        ..Default::default()
    };
    walpb::Snapshot {
        index,
        term,
        conf_state: Some(conf_state),
    }
}

fn files(dir: &Path) -> Vec<String> {
    let mut names = OsDisk.names(dir).unwrap();
    names.sort();
    names
}

#[test]
fn what_was_synced_is_there_after_reopening() {
    for background in [false, true] {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("wal");
        assert!(!Wal::exists(&dir).unwrap());
        let mut wal = Wal::create(&dir, b"meta", small(4096, background)).unwrap();
        assert!(Wal::exists(&dir).unwrap() && !home.path().join("wal.tmp").exists());
        for index in 1..=100 {
            wal.append(&[entry(index, 300)], Some(&state(index - 1)))
                .unwrap();
            wal.sync().unwrap();
        }
        drop(wal);

        let opened = Wal::open(&dir, walpb::Snapshot::default(), small(4096, background)).unwrap();
        assert_eq!(opened.metadata, "meta");
        assert_eq!(opened.state, state(99));
        assert_eq!(opened.repaired, None);
        assert_eq!(
            opened.entries,
            (1..=100).map(|i| entry(i, 300)).collect::<Vec<_>>()
        );

        // Writing goes on where it stopped, through more cuts.
        let mut wal = opened.wal;
        assert_eq!(wal.last_index(), 100);
        for index in 101..=140 {
            wal.append(&[entry(index, 300)], Some(&state(index)))
                .unwrap();
            wal.sync().unwrap();
        }
        wal.close().unwrap();
        let read = read_all(&dir, walpb::Snapshot::default()).unwrap();
        assert_eq!(read.entries.len(), 140);
        assert_eq!(read.state, state(140));
        assert_eq!(read.torn, None);
        assert!(files(&dir).len() > 10);
        assert!(
            !files(&dir).iter().any(|name| name.ends_with(".tmp")),
            "{:?}",
            files(&dir)
        );
    }
}

#[test]
fn a_later_entry_overrides_the_end_of_the_log() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("wal");
    let mut wal = Wal::create(&dir, b"m", small(1 << 16, false)).unwrap();
    let entries: Vec<_> = (1..=10).map(|i| entry(i, 10)).collect();
    wal.append(&entries, Some(&state(4))).unwrap();
    wal.sync().unwrap();
    let replaced = raftpb::Entry {
        term: 2,
        ..entry(6, 3)
    };
    wal.append(std::slice::from_ref(&replaced), None).unwrap();
    assert_eq!(wal.last_index(), 6);
    wal.close().unwrap();
    let read = read_all(&dir, walpb::Snapshot::default()).unwrap();
    assert_eq!(read.entries.len(), 6);
    assert_eq!(read.entries[5], replaced);
}

/// A log of thirty entries in small segments, with a snapshot at the twentieth.
fn of_many_segments(dir: &Path) -> Wal {
    let mut wal = Wal::create(dir, b"m", small(2048, false)).unwrap();
    for index in 1..=30 {
        wal.append(&[entry(index, 300)], Some(&state(index)))
            .unwrap();
        wal.sync().unwrap();
        if index == 20 {
            wal.save_snapshot(&snapshot(20, 1)).unwrap();
        }
    }
    wal
}

#[test]
fn reading_starts_at_the_segment_of_the_snapshot() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("wal");
    let mut wal = of_many_segments(&dir);
    // Beyond the commit: not one to start from.
    wal.save_snapshot(&snapshot(31, 1)).unwrap();
    wal.close().unwrap();

    let valid = valid_snapshots(&dir).unwrap();
    assert_eq!(valid, [walpb::Snapshot::default(), snapshot(20, 1)]);
    let opened = Wal::open(&dir, snapshot(20, 1), small(2048, false)).unwrap();
    assert_eq!(opened.entries.first().map(|e| e.index), Some(21));
    assert_eq!(opened.entries.len(), 10);
    // The segments before it are not locked and may be purged.
    let first = opened.wal.held[0].name;
    assert!(first.index <= 20 && first.seq > 0, "{first:?}");
    drop(opened);

    let error = Wal::open(&dir, snapshot(20, 9), small(2048, false)).unwrap_err();
    assert!(matches!(
        error,
        Error::SnapshotMismatch {
            index: 20,
            wanted: 9,
            found: 1,
            ..
        }
    ));
    let error = read_all(&dir, snapshot(19, 1)).unwrap_err();
    assert!(matches!(error, Error::SnapshotNotFound { index: 19, .. }));

    // Once purged, a start from zero is refused, and one from 20 is not.
    for name in files(&dir)
        .iter()
        .filter(|name| SegmentName::parse(name).unwrap() < first)
    {
        fs::remove_file(dir.join(name)).unwrap();
    }
    let error = read_all(&dir, walpb::Snapshot::default()).unwrap_err();
    assert!(matches!(error, Error::NotFound { index: 0, .. }), "{error}");
    assert_eq!(read_all(&dir, snapshot(20, 1)).unwrap().entries.len(), 10);
}

#[test]
fn an_empty_first_segment_is_missed_only_by_who_needs_it() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("wal");
    let wal = of_many_segments(&dir);
    wal.close().unwrap();
    let names = files(&dir);
    let empty = |name: &str| {
        let file = fs::OpenOptions::new().write(true).open(dir.join(name));
        file.unwrap().set_len(0).unwrap();
    };
    empty(&names[0]);
    assert!(valid_snapshots(&dir).unwrap().contains(&snapshot(20, 1)));
    let opened = Wal::open(&dir, snapshot(20, 1), small(2048, false)).unwrap();
    assert_eq!(opened.entries.len(), 10);
    drop(opened);
    let error = read_all(&dir, walpb::Snapshot::default()).unwrap_err();
    assert!(error.to_string().contains(&names[0]), "{error}");
    // One in the middle breaks the chain of checksums, which no one passes over.
    empty(&names[2]);
    assert!(valid_snapshots(&dir).is_err());
}

fn of_term(term: u64, indexes: std::ops::RangeInclusive<u64>) -> Vec<raftpb::Entry> {
    let of_term = |index| raftpb::Entry {
        term,
        ..entry(index, 10)
    };
    indexes.map(of_term).collect()
}

/// A log that began with a snapshot at 5 and grew an uncommitted tail; then it
/// received a snapshot of term 3 at 20.
fn with_replaced_tail(dir: &Path) -> Wal {
    let mut wal = Wal::create(dir, b"m", small(1 << 16, false)).unwrap();
    let append = |wal: &mut Wal, entries: &[raftpb::Entry], term, commit| {
        let state = raftpb::HardState {
            term,
            ..state(commit)
        };
        wal.append(entries, Some(&state)).unwrap();
        wal.sync().unwrap();
    };
    append(&mut wal, &of_term(1, 1..=10), 1, 10);
    wal.save_snapshot(&snapshot(5, 1)).unwrap();
    append(&mut wal, &of_term(2, 11..=30), 2, 10);
    wal.save_snapshot(&snapshot(20, 3)).unwrap();
    wal
}

#[test]
fn a_tail_that_a_received_snapshot_replaced_is_not_taken_for_committed() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("wal");
    let mut wal = with_replaced_tail(&dir);
    let installed = raftpb::HardState {
        term: 3,
        ..state(20)
    };
    wal.append(&[], Some(&installed)).unwrap();
    wal.append(&of_term(3, 21..=22), None).unwrap();
    wal.close().unwrap();
    let options = || small(1 << 16, false);
    let opened = Wal::open(&dir, snapshot(20, 3), options()).unwrap();
    assert_eq!(opened.entries, of_term(3, 21..=22));
    drop(opened);
    // Its file is lost, and the one before is taken.
    let error = Wal::open(&dir, snapshot(5, 1), options()).unwrap_err();
    assert!(matches!(error, Error::Replaced { received: 20, .. }));
    let error = read_all(&dir, snapshot(5, 1)).unwrap_err().to_string();
    assert!(error.contains("remove this member"), "{error}");
}

#[test]
fn a_received_snapshot_that_was_not_installed_does_not_count() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("wal");
    let mut wal = with_replaced_tail(&dir);
    // No hard state says that it is committed: the tail is still the log.
    let read = read_all(&dir, snapshot(5, 1)).unwrap();
    assert_eq!(read.entries.len(), 25);
    // The leader sends the entries after all.
    let caught_up = raftpb::HardState {
        term: 3,
        ..state(22)
    };
    wal.append(&of_term(3, 11..=22), Some(&caught_up)).unwrap();
    wal.close().unwrap();
    let opened = Wal::open(&dir, snapshot(5, 1), small(1 << 16, false)).unwrap();
    assert_eq!(opened.entries.last().map(|entry| entry.index), Some(22));
}

#[test]
fn a_missing_segment_is_named() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("wal");
    let mut wal = Wal::create(&dir, b"m", small(1024, false)).unwrap();
    for index in 1..=10 {
        wal.append(&[entry(index, 400)], Some(&state(index)))
            .unwrap();
        wal.sync().unwrap();
    }
    wal.close().unwrap();
    let names = files(&dir);
    assert!(names.len() >= 3);
    fs::remove_file(dir.join(&names[1])).unwrap();
    let error = valid_snapshots(&dir).unwrap_err();
    assert!(
        matches!(
            error,
            Error::MissingSegment {
                before: 0,
                after: 2,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_second_opener_is_told_which_file_is_locked() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("wal");
    let mut wal = Wal::create(&dir, b"m", small(1024, true)).unwrap();
    for index in 1..=10 {
        wal.append(&[entry(index, 400)], Some(&state(index)))
            .unwrap();
        wal.sync().unwrap();
    }
    let error = Wal::open(&dir, walpb::Snapshot::default(), small(1024, true)).unwrap_err();
    assert!(matches!(&error, Error::Locked { path } if *path == wal.held[0].path));
    assert!(
        error
            .to_string()
            .contains("0000000000000000-0000000000000000.wal"),
        "{error}"
    );
    // Tools still read.
    assert_eq!(
        read_all(&dir, walpb::Snapshot::default())
            .unwrap()
            .entries
            .len(),
        10
    );
    // Also every later segment is locked, not only the first.
    let other = OsDisk.open(&wal.tail().path, Mode::Write).unwrap();
    assert!(!other.try_lock().unwrap());
    wal.close().unwrap();
    Wal::open(&dir, walpb::Snapshot::default(), small(1024, true)).unwrap();
    assert!(matches!(
        Wal::create(&dir, b"m", Options::default()),
        Err(Error::Exists { .. })
    ));
}

#[test]
fn release_keeps_the_segment_that_holds_the_entry() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("wal");
    let mut wal = Wal::create(&dir, b"m", small(1 << 20, false)).unwrap();
    for index in 1..=5 {
        wal.append(&[entry(index, 10)], None).unwrap();
        wal.cut_now().unwrap();
    }
    // Segments begin at 0, 2, 3, 4, 5, 6.
    let held = |wal: &Wal| wal.held.iter().map(|s| s.name.index).collect::<Vec<_>>();
    assert_eq!(held(&wal), [0, 2, 3, 4, 5, 6]);
    wal.release_to(0).unwrap();
    assert_eq!(held(&wal), [0, 2, 3, 4, 5, 6]);
    wal.release_to(3).unwrap();
    assert_eq!(held(&wal), [2, 3, 4, 5, 6]);
    wal.release_to(3).unwrap();
    assert_eq!(held(&wal), [2, 3, 4, 5, 6]);
    assert_eq!(crate::purge::purge(&dir, ".wal", 3).unwrap().len(), 1);
    wal.release_to(100).unwrap();
    assert_eq!(held(&wal), [6]);
    assert_eq!(crate::purge::purge(&dir, ".wal", 3).unwrap().len(), 2);
    assert_eq!(files(&dir).len(), 3);
}

#[test]
fn a_snapshot_record_without_voters_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("wal");
    let mut wal = Wal::create(&dir, b"m", small(1 << 16, false)).unwrap();
    let bare = walpb::Snapshot {
        index: 5,
        term: 1,
        conf_state: None,
    };
    assert!(matches!(
        wal.save_snapshot(&bare),
        Err(Error::NoConfState { index: 5 })
    ));
    // That was the caller's mistake, not the disk's: the log lives on.
    wal.append(&[entry(1, 1)], None).unwrap();
    wal.close().unwrap();
}

#[test]
fn an_entry_that_leaves_a_hole_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("wal");
    let mut wal = Wal::create(&dir, b"m", small(1 << 16, false)).unwrap();
    wal.append(&[entry(1, 1)], None).unwrap();
    let error = wal.append(&[entry(3, 1)], None).unwrap_err();
    assert!(
        matches!(error, Error::NotNext { last: 1, index: 3 }),
        "{error}"
    );
    wal.append(&[entry(2, 1)], None).unwrap();
    // A received snapshot moves the log on.
    wal.save_snapshot(&snapshot(40, 1)).unwrap();
    wal.append(&[entry(41, 1)], Some(&state(41))).unwrap();
    wal.close().unwrap();
    let opened = Wal::open(&dir, snapshot(40, 1), small(1 << 16, false)).unwrap();
    assert_eq!(opened.entries, [entry(41, 1)]);
}

#[test]
fn the_next_segment_is_the_one_prepared_meanwhile() {
    use std::{
        os::unix::fs::MetadataExt,
        time::{Duration, Instant},
    };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("wal");
    // Left behind by a process that died.
    let mut wal = Wal::create(&dir, b"m", small(1 << 20, false)).unwrap();
    wal.append(&[entry(1, 1)], None).unwrap();
    wal.close().unwrap();
    fs::write(dir.join("0.tmp"), [7; 100]).unwrap();
    fs::write(dir.join("1.tmp"), [7; 100]).unwrap();

    let opened = Wal::open(&dir, walpb::Snapshot::default(), small(1 << 20, true)).unwrap();
    let mut wal = opened.wal;
    assert!(!dir.join("0.tmp").exists());
    let mut index = 1;
    let (path, deadline) = (dir.join("1.tmp"), Instant::now() + Duration::from_secs(30));
    while !path.exists() && wal.tail().name.seq == 0 {
        assert!(Instant::now() < deadline, "nothing was prepared");
        index += 1;
        // Past a quarter of the segment, and never full.
        let len = if wal.position < (1 << 19) { 1 << 16 } else { 0 };
        wal.append(&[entry(index, len)], None).unwrap();
        wal.sync().unwrap();
        if let Some(preparer) = &wal.preparer {
            preparer.nudge();
        }
    }
    assert_eq!(wal.tail().name.seq, 0);
    let prepared = fs::metadata(&path).unwrap().ino();
    wal.cut_now().unwrap();
    assert_eq!(fs::metadata(&wal.tail().path).unwrap().ino(), prepared);
    assert_eq!(wal.prepare_error().map(|e| e.to_string()), None);
    wal.append(&[entry(index + 1, 10)], None).unwrap();
    wal.close().unwrap();
    let read = read_all(&dir, walpb::Snapshot::default()).unwrap();
    assert_eq!(read.entries.len() as u64, index + 1);
}

#[test]
fn a_batch_holds_its_last_hard_state_only() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("wal");
    let mut wal = Wal::create(&dir, b"m", small(1 << 16, false)).unwrap();
    let before = wal.position;
    for index in 1..=3 {
        wal.append(&[entry(index, 4)], Some(&state(index))).unwrap();
    }
    assert_eq!(wal.position, before, "nothing is written before the sync");
    let stats = wal.sync().unwrap();
    let mut expected = Encoder::new(0);
    for index in 1..=3 {
        expected.entry(&entry(index, 4));
    }
    expected.message(RecordType::State, &state(3));
    assert_eq!(stats.bytes, expected.frames().len() as u64);
    assert_eq!(wal.sync().unwrap(), SyncStats::default());
    wal.close().unwrap();
    assert_eq!(
        read_all(&dir, walpb::Snapshot::default()).unwrap().state,
        state(3)
    );
}

#[test]
fn zeros_never_fall_on_the_log() {
    // The preparing thread races with the writer over the same blocks.
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("wal");
    let options = small(6 << 20, true);
    let mut wal = Wal::create(&dir, b"m", options.clone()).unwrap();
    let mut index = 0;
    for round in 0..400 {
        let batch: Vec<_> = (0..1 + round % 7)
            .map(|_| {
                index += 1;
                entry(index, 5000 + (index as usize * 37) % 9000)
            })
            .collect();
        wal.append(&batch, Some(&state(index))).unwrap();
        wal.sync().unwrap();
    }
    wal.close().unwrap();
    let opened = Wal::open(&dir, walpb::Snapshot::default(), options).unwrap();
    assert_eq!(opened.entries.len() as u64, index);
    assert_eq!(opened.repaired, None);
}

#[test]
fn a_full_segment_is_cut_to_its_length_and_the_next_has_its_head() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("wal");
    let mut wal = Wal::create(&dir, b"m", small(4096, false)).unwrap();
    wal.append(&[entry(1, 5000)], Some(&state(1))).unwrap();
    assert!(wal.sync().unwrap().cut.is_some());
    let names = files(&dir);
    assert_eq!(
        names,
        [
            "0000000000000000-0000000000000000.wal",
            "0000000000000001-0000000000000002.wal"
        ]
    );
    let first = fs::read(dir.join(&names[0])).unwrap();
    assert!(first.len() > 5000 && first.len() < 5200 && first.len().is_multiple_of(8));
    let second = fs::read(dir.join(&names[1])).unwrap();
    assert_eq!(second.len(), 4096);
    assert_eq!(record_types(&second), [4, 1, 3]);
    assert_eq!(record_types(&first), [4, 1, 5, 2, 3]);
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join(&names[1])), 0o600);
}

fn record_types(mut bytes: &[u8]) -> Vec<i64> {
    let mut types = Vec::new();
    while let Some((field, rest)) = bytes.split_first_chunk() {
        let Some(length) = Length::parse(u64::from_le_bytes(*field)) else {
            break;
        };
        let Front::Fits { kind, .. } = front(rest, length.record) else {
            panic!("no record")
        };
        types.push(kind);
        bytes = &rest[(length.record + length.pad) as usize..];
    }
    types
}

#[test]
fn a_received_snapshot_takes_the_place_of_a_tail_of_an_earlier_term() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("wal");
    let mut wal = Wal::create(&dir, b"meta", small(1 << 16, false)).unwrap();
    // Entries of a leader that lost its office, up to far behind the snapshot.
    let old: Vec<_> = (1..=20).map(|index| entry(index, 40)).collect();
    wal.append(&old, Some(&state(3))).unwrap();
    wal.sync().unwrap();
    wal.save_snapshot(&snapshot(10, 4)).unwrap();
    let now = raftpb::HardState {
        term: 4,
        vote: 7,
        commit: 10,
    };
    wal.append(&[], Some(&now)).unwrap();
    wal.sync().unwrap();
    drop(wal);

    let open = || Wal::open(&dir, snapshot(10, 4), small(1 << 16, false)).unwrap();
    let opened = open();
    assert_eq!((opened.entries, opened.state), (vec![], now));
    let new = raftpb::Entry {
        term: 4,
        ..entry(11, 40)
    };
    let mut wal = opened.wal;
    wal.append(std::slice::from_ref(&new), None).unwrap();
    wal.sync().unwrap();
    drop(wal);
    assert_eq!(open().entries, [new]);
}

/// What a log with a preparing thread does on a disk where one operation goes
/// wrong: entries that it acknowledged, and what the thread found.
fn acknowledged(
    disk: &SimulatedDisk,
    at: u64,
    fault: Fault,
    seed: u64,
) -> Result<(u64, bool), Error> {
    const SEGMENT: u64 = 64 << 10;
    let options = Options {
        disk: Arc::new(disk.clone()),
        ..small(SEGMENT, false)
    };
    let mut wal = Wal::create(Path::new("/member/wal"), b"m", options)?;
    wal.preparer = Some(Preparer::at_rest(Arc::new(disk.clone()), SEGMENT));
    wal.follow();
    disk.arm(at, fault, seed);
    let (mut ahead, mut acknowledged) = (None, 0);
    let turn = |wal: &Wal, ahead: &mut _| wal.preparer.as_ref().unwrap().turn(ahead);
    let failed = |wal: &Wal| wal.preparer.as_ref().unwrap().failure().is_some();
    for index in 1..=60 {
        let known = failed(&wal);
        let result = wal
            .append(&[entry(index, 3000)], Some(&state(index)))
            .and_then(|()| wal.write())
            .map(|()| turn(&wal, &mut ahead))
            .and_then(|()| wal.sync());
        if result.is_err() {
            assert!(wal.append(&[], None).is_err() && wal.sync().is_err());
            return Ok((acknowledged, failed(&wal)));
        }
        assert!(
            !known,
            "acknowledged after an error of the preparing thread"
        );
        acknowledged = index;
        turn(&wal, &mut ahead);
    }
    let found = failed(&wal);
    wal.append(&[entry(61, 10)], None)?;
    assert!(wal.close().is_err() || !found);
    Ok((acknowledged, found))
}

#[test]
fn no_error_of_the_preparing_thread_is_lost() {
    let dry = SimulatedDisk::default();
    acknowledged(&dry, u64::MAX, Fault::Crash, 0).unwrap();
    let operations = dry.operations();
    assert!(operations > 150, "{operations}");
    for fault in [Fault::FailedSync, Fault::LostWriteback, Fault::Refused] {
        let mut found_by_thread = 0;
        for at in 1..=operations {
            let disk = SimulatedDisk::default();
            let (durable, found) = acknowledged(&disk, at, fault, at).unwrap();
            found_by_thread += u64::from(found);
            disk.crash(&mut Seed(at << 8));
            let options = Options {
                disk: Arc::new(disk),
                ..small(64 << 10, false)
            };
            let dir = Path::new("/member/wal");
            let opened = Wal::open(dir, walpb::Snapshot::default(), options).unwrap();
            let left = opened.entries.len() as u64;
            assert!(left >= durable, "{fault:?} at {at}: {left} of {durable}");
        }
        assert!(found_by_thread > 3, "{fault:?}: {found_by_thread}");
    }
}

#[test]
fn a_closed_segment_gets_no_more_zeros() {
    let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::default());
    let options = Options {
        disk: Arc::clone(&disk),
        ..small(1 << 20, false)
    };
    let mut wal = Wal::create(Path::new("/member/wal"), b"m", options).unwrap();
    wal.preparer = Some(Preparer::at_rest(Arc::clone(&disk), 1 << 20));
    wal.append(&[entry(1, 100)], None).unwrap();
    // The thread may still have the segment in hand when the cut has come.
    let late = Arc::clone(&wal.frontier);
    wal.cut_now().unwrap();
    let first = &wal.held[0];
    let len = first.file.len().unwrap();
    let preparer = wal.preparer.as_ref().unwrap();
    preparer.follow(late, wal.next_path());
    preparer.turn(&mut None);
    assert_eq!(first.file.len().unwrap(), len);
}

#[test]
fn a_log_is_founded_with_its_first_entries_or_not_at_all() {
    let entries = [entry(1, 20), entry(2, 20)];
    let dir = Path::new("/member/wal");
    let found = |disk: &SimulatedDisk| {
        let options = Options {
            disk: Arc::new(disk.clone()),
            ..small(1 << 16, false)
        };
        Wal::found(dir, b"m", &entries, state(2), options)
    };
    let dry = SimulatedDisk::default();
    dry.arm(u64::MAX, Fault::Crash, 0);
    let mut wal = found(&dry).unwrap();
    let operations = dry.operations();
    wal.append(&[entry(3, 10)], None).unwrap();
    wal.close().unwrap();
    let (mut with, mut without) = (0, 0);
    for at in 1..=operations + 1 {
        for way in 0..8 {
            let disk = SimulatedDisk::default();
            disk.arm(at, Fault::Crash, 0);
            assert_eq!(found(&disk).is_ok(), at > operations);
            disk.crash(&mut Seed(at << 8 | way));
            if !Wal::exists_on(&disk, dir).unwrap() {
                without += 1;
                continue;
            }
            with += 1;
            let options = Options {
                disk: Arc::new(disk),
                ..small(1 << 16, false)
            };
            let opened = Wal::open(dir, walpb::Snapshot::default(), options).unwrap();
            assert_eq!(
                (&opened.entries[..], opened.state),
                (&entries[..], state(2))
            );
        }
    }
    assert!(with > 8 && without > 8, "{with} {without}");
}

#[test]
fn a_log_that_is_held_is_held_until_it_is_closed() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("wal");
    let wal = Wal::create(&dir, b"m", small(4096, false)).unwrap();
    assert!(matches!(Wal::hold(&dir), Err(Error::Locked { .. })));
    wal.close().unwrap();
    let hold = Wal::hold(&dir).unwrap();
    let open = || Wal::open(&dir, walpb::Snapshot::default(), small(4096, false));
    assert!(matches!(open(), Err(Error::Locked { .. })));
    let opened = hold.open(walpb::Snapshot::default(), small(4096, false));
    assert!(matches!(open(), Err(Error::Locked { .. })));
    drop(opened.unwrap());
    open().unwrap();
}

#[test]
fn a_directory_that_cannot_be_read_is_not_an_empty_one() {
    let home = tempfile::tempdir().unwrap();
    assert!(!Wal::exists(&home.path().join("none")).unwrap());
    let error = Wal::exists(&home.path().join("x".repeat(300))).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("cannot list"), "{error}");
}
