//! A log on a disk that dies at every single operation of a workload, in many
//! ways each. Required: what a sync acknowledged is there; what is there was
//! appended; the log goes on.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use proto::{raftpb, walpb};
use wal::{
    Error, Options, Wal,
    replay::valid_snapshots_on,
    sim::{Fault, Seed, SimulatedDisk},
};

const DIR: &str = "/data/member/wal";

/// Ways to lose data that are tried per operation.
const WAYS: u64 = 12;

fn options(disk: &SimulatedDisk) -> Options {
    let disk = Arc::new(disk.clone());
    Options {
        repair: true,
        background: false,
        segment_bytes: 16 << 10,
        disk,
    }
}

/// What the workload did and what was acknowledged.
#[derive(Debug, Default, Clone)]
struct History {
    /// Entry `i + 1` at `i`.
    appended: Vec<raftpb::Entry>,
    states: Vec<raftpb::HardState>,
    created: bool,
    synced_entries: usize,
    synced_states: usize,
    synced_snapshot: walpb::Snapshot,
}

/// Sizes from nothing over several sectors to several pages; many zeros, so
/// that data looks like holes.
fn entry(index: u64, seed: &mut Seed) -> raftpb::Entry {
    let len = match seed.below(6) {
        0 => 0,
        1..=3 => seed.below(300),
        4 => seed.below(2000),
        _ => seed.below(9000),
    } as usize;
    let mut data = vec![0; len];
    if seed.below(3) > 0 {
        data.fill_with(|| seed.next() as u8);
    }
    let data = (len > 0).then(|| Bytes::from(data));
    raftpb::Entry {
        r#type: 0,
        term: 3,
        index,
        data,
    }
}

fn state(commit: u64) -> raftpb::HardState {
    raftpb::HardState {
        term: 3,
        vote: 9,
        commit,
    }
}

fn snapshot(index: u64) -> walpb::Snapshot {
    let conf_state = raftpb::ConfState {
        voters: vec![9],
        ..Default::default()
    };
    walpb::Snapshot {
        index,
        term: 3,
        conf_state: Some(conf_state),
    }
}

/// Writes for a while, until done or the disk says no.
fn work(wal: &mut Wal, history: &mut History, seed: &mut Seed, steps: u64) -> Result<(), Error> {
    for _ in 0..steps {
        let last = history.appended.len() as u64;
        match seed.below(10) {
            // A commit that needs no sync.
            0 | 1 => {
                history.states.push(state(last));
                wal.append(&[], history.states.last())?;
                continue;
            }
            2 if history.synced_entries > 0 => {
                let index = history.synced_entries as u64;
                // Entries of the same turn of the log writer, as yet unsynced.
                for _ in 0..seed.below(4) {
                    let index = history.appended.len() as u64 + 1;
                    history.appended.push(entry(index, seed));
                }
                history.states.push(state(last));
                wal.append(&history.appended[last as usize..], history.states.last())?;
                if seed.below(2) == 0 {
                    wal.sync()?;
                    history.synced_states = history.states.len();
                }
                wal.save_snapshot(&snapshot(index))?;
                history.synced_snapshot = snapshot(index);
                wal.release_to(index)?;
            }
            groups => {
                for _ in 0..1 + groups % 3 {
                    let from = history.appended.len();
                    for _ in 0..seed.below(6) {
                        let index = history.appended.len() as u64 + 1;
                        history.appended.push(entry(index, seed));
                    }
                    let with_state = seed.below(3) > 0;
                    if with_state {
                        history.states.push(state(from as u64));
                    }
                    let state = history.states.last().filter(|_| with_state);
                    wal.append(&history.appended[from..], state)?;
                }
                wal.sync()?;
            }
        }
        history.synced_entries = history.appended.len();
        history.synced_states = history.states.len();
    }
    Ok(())
}

fn live(disk: &SimulatedDisk, history: &mut History, seed: &mut Seed) -> Result<(), Error> {
    let mut wal = Wal::create(Path::new(DIR), b"metadata", options(disk))?;
    history.created = true;
    work(&mut wal, history, seed, 24)
}

/// Opens after a crash and holds the log against the history. `None`: there is
/// no log, and none had been acknowledged.
fn recover(disk: &SimulatedDisk, history: &History) -> Option<wal::Opened> {
    let dir = Path::new(DIR);
    let valid = match valid_snapshots_on(disk, dir) {
        Ok(valid) => valid,
        Err(Error::NotFound { .. }) if !history.created => return None,
        Err(error) => panic!("{error}"),
    };
    let at = history.synced_snapshot.clone();
    assert!(valid.contains(&at), "{at:?} not in {valid:?}");
    let opened = Wal::open(dir, at.clone(), options(disk)).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(opened.metadata, "metadata");
    let found = at.index as usize + opened.entries.len();
    assert!(
        found >= history.synced_entries,
        "{found} < {}",
        history.synced_entries
    );
    assert!(opened.entries[..] == history.appended[at.index as usize..found]);
    let found = opened.state;
    let allowed = &history.states[history.synced_states.saturating_sub(1)..];
    let none_yet = history.synced_states == 0 && found == raftpb::HardState::default();
    assert!(
        none_yet || allowed.contains(&found),
        "{found:?} not in {allowed:?}"
    );
    Some(opened)
}

/// Opens again and again, with work and crashes between.
fn go_on(disk: &SimulatedDisk, mut history: History, seed: &mut Seed) {
    let Some(opened) = recover(disk, &history) else {
        Wal::create(Path::new(DIR), b"metadata", options(disk)).unwrap();
        return;
    };
    let mut wal = opened.wal;
    history
        .appended
        .truncate(history.synced_snapshot.index as usize + opened.entries.len());
    // What was appended behind that state is lost.
    history.states.clear();
    history
        .states
        .extend(Some(opened.state).filter(|s| *s != raftpb::HardState::default()));
    history.synced_entries = history.appended.len();
    history.synced_states = history.states.len();
    work(&mut wal, &mut history, seed, 3).unwrap();
    drop(wal);
    disk.crash(seed);
    let opened = recover(disk, &history).unwrap();
    drop(opened);
    // A repair leaves nothing to repair.
    assert_eq!(recover(disk, &history).unwrap().repaired, None);
}

fn operations_of_workload(seed: u64) -> u64 {
    let disk = SimulatedDisk::default();
    disk.arm(u64::MAX, Fault::Crash, 0);
    live(&disk, &mut History::default(), &mut Seed(seed)).unwrap();
    disk.operations()
}

#[test]
fn whatever_was_synced_survives_a_crash_at_any_operation() {
    let mut repaired = 0;
    for workload in 0..5 {
        let operations = operations_of_workload(workload);
        assert!(operations > 30);
        for at in 1..=operations {
            for way in 0..WAYS {
                let disk = SimulatedDisk::default();
                disk.arm(at, Fault::Crash, 0);
                let mut history = History::default();
                live(&disk, &mut history, &mut Seed(workload)).unwrap_err();
                let mut seed = Seed(workload << 40 | at << 16 | way);
                disk.crash(&mut seed);
                if way % 2 == 0 {
                    let opened = recover(&disk, &history);
                    repaired += opened.is_some_and(|o| o.repaired.is_some()) as u32;
                }
                go_on(&disk, history, &mut seed);
            }
        }
    }
    // Else the disk below tears nothing and this test shows nothing.
    assert!(repaired > 100, "{repaired}");
}

/// Each operation of a workload goes wrong once.
fn ends_the_log(fault: Fault) -> u32 {
    let operations = operations_of_workload(1);
    let mut failures = 0;
    for at in 1..=operations {
        for way in 0..WAYS {
            let disk = SimulatedDisk::default();
            disk.arm(at, fault, at << 8 | way);
            let mut history = History::default();
            let mut seed = Seed(1);
            let Ok(mut wal) = Wal::create(Path::new(DIR), b"metadata", options(&disk)) else {
                continue;
            };
            history.created = true;
            if work(&mut wal, &mut history, &mut seed, 24).is_err() {
                failures += 1;
                // Nothing is acknowledged any more, although the disk works again.
                assert!(matches!(wal.append(&[], None), Err(Error::Failed { .. })));
                assert!(matches!(wal.sync(), Err(Error::Failed { .. })));
                assert!(matches!(
                    wal.save_snapshot(&snapshot(1)),
                    Err(Error::Failed { .. })
                ));
                assert!(matches!(wal.close(), Err(Error::Failed { .. })));
            }
            let mut seed = Seed(at << 16 | way);
            disk.crash(&mut seed);
            go_on(&disk, history, &mut seed);
        }
    }
    failures
}

#[test]
fn a_failed_sync_ends_the_log_and_what_was_synced_before_is_there() {
    let failures = ends_the_log(Fault::FailedSync);
    assert!(failures > 100, "{failures}");
}

#[test]
fn a_writeback_that_failed_is_found_before_anything_is_acknowledged() {
    let failures = ends_the_log(Fault::LostWriteback);
    assert!(failures > 100, "{failures}");
}

#[test]
fn every_operation_that_is_refused_ends_the_log() {
    let failures = ends_the_log(Fault::Refused);
    assert!(failures > 100, "{failures}");
}

#[test]
fn a_full_disk_is_named_and_loses_nothing() {
    for at in 1..=operations_of_workload(2) {
        let disk = SimulatedDisk::default();
        disk.arm(at, Fault::Full, 0);
        let mut history = History::default();
        if let Err(error) = live(&disk, &mut history, &mut Seed(2)) {
            assert!(error.is_disk_full(), "{error}");
            let text = error.to_string();
            assert!(text.contains(DIR) && text.contains("free space"), "{text}");
        }
        let mut seed = Seed(at);
        disk.crash(&mut seed);
        go_on(&disk, history, &mut seed);
    }
}
