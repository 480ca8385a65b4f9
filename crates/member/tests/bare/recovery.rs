//! A directory that a process left at some moment, and what the next one makes of it.

use std::{fs, io::Read as _};

use member::Command;
use proto::raftpb::{HardState, Snapshot};
use wal::snap::Snapshotter;

use crate::bench::{Bench, put};

#[test]
fn what_was_acknowledged_is_there_after_a_restart() {
    let mut bench = Bench::leading();
    assert!(bench.run(put("a", "1")).is_ok());
    let mut bench = bench.restart().expect("it starts");
    bench.campaign();
    assert_eq!(bench.get("a").as_deref(), Some(&b"1"[..]));
    assert_eq!(bench.state.store.load().revision(), 2);
}

#[test]
fn what_the_log_never_synced_is_gone_and_nothing_else() {
    let mut bench = Bench::leading();
    assert!(bench.run(put("a", "1")).is_ok());
    let slot = bench.propose(put("a", "2"));
    assert!(bench.answer(slot).is_none());
    let mut bench = bench.restart().expect("it starts");
    bench.campaign();
    assert_eq!(bench.get("a").as_deref(), Some(&b"1"[..]));
}

#[test]
fn entries_that_the_database_has_are_not_applied_to_it_again() {
    let mut bench = Bench::leading();
    for n in 0..5 {
        assert!(bench.run(put("a", &n.to_string())).is_ok());
    }
    let revision = bench.state.store.load().revision();
    // Closing committed the database up to the last entry, of which no snapshot tells.
    let mut bench = bench.restart().expect("it starts");
    let index = bench.state.store.load().backend().consistent_index().index;
    bench.campaign();
    assert!(
        bench.machine.applied() > index,
        "the log brought them again"
    );
    assert_eq!(bench.state.store.load().revision(), revision);
}

/// A receiver that has recorded a snapshot in its log, and has its database next to the old one:
/// the moment before the install.
fn before_the_install() -> (Bench, Snapshot) {
    let mut sender = Bench::leading();
    for n in 0..10 {
        assert!(sender.run(put("a", &n.to_string())).is_ok());
    }
    let (snapshot, view) = sender.image();
    let mut receiver = Bench::new(|_| {});
    let path = Snapshotter::new(&receiver.snap_dir()).db_path(snapshot.metadata.index);
    let mut image = Vec::new();
    view.image().read_to_end(&mut image).expect("an image");
    fs::write(path, image).expect("written");
    let state = HardState {
        term: 2,
        vote: 0,
        commit: snapshot.metadata.index,
    };
    receiver.append_received(&snapshot, state);
    (receiver, snapshot)
}

#[test]
fn an_install_that_was_cut_off_is_finished() {
    let (receiver, snapshot) = before_the_install();
    let receiver = receiver.restart().expect("it starts");
    assert_eq!(receiver.machine.applied(), snapshot.metadata.index);
    assert_eq!(receiver.get("a").as_deref(), Some(&b"9"[..]));
    let left = fs::read_dir(receiver.snap_dir()).expect("listed");
    let dbs = left.filter(|f| {
        let name = f.as_ref().expect("listed").file_name();
        name.to_string_lossy().ends_with(".snap.db")
    });
    assert_eq!(dbs.count(), 0, "the received file is gone");
}

#[test]
fn an_install_without_its_database_is_refused_and_says_what_to_do() {
    let (receiver, snapshot) = before_the_install();
    let path = Snapshotter::new(&receiver.snap_dir()).db_path(snapshot.metadata.index);
    fs::remove_file(path).expect("removed");
    let error = receiver.restart().err().expect("refused").to_string();
    let says = ["is missing", "remove this member"];
    assert!(says.iter().all(|part| error.contains(part)), "{error}");
}

#[test]
fn an_install_that_is_done_is_not_done_again() {
    let (mut receiver, snapshot) = before_the_install();
    receiver
        .host
        .apply
        .push_back(Command::Install(snapshot.clone()));
    receiver.apply_turn().expect("it is put in place");
    let receiver = receiver.restart().expect("it starts");
    assert_eq!(receiver.machine.applied(), snapshot.metadata.index);
    assert_eq!(receiver.get("a").as_deref(), Some(&b"9"[..]));
}

#[test]
fn a_start_that_is_refused_sets_no_broken_snapshot_aside() {
    let mut bench = Bench::leading();
    while bench.host.job.is_none() {
        assert!(bench.run(put("a", "1")).is_ok());
    }
    bench.host.write_snapshot();
    bench.settle();
    let snap = bench.snap_dir();
    let dir = bench.end();
    let names = |suffix: &str| {
        let files = fs::read_dir(&snap).expect("listed").flatten();
        let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.ends_with(suffix)).count()
    };
    let mut files = fs::read_dir(&snap).expect("listed").flatten();
    let snapshot = files.find(|file| file.path().extension().is_some_and(|end| end == "snap"));
    fs::write(snapshot.expect("a snapshot").path(), "rot").expect("written");
    let database = fs::read(snap.join("db")).expect("the database");
    fs::write(snap.join("db"), "rot, too short for a database").expect("written");
    assert!(Bench::on(&dir).is_err());
    assert_eq!((names(".snap"), names(".broken")), (1, 0));
    fs::write(snap.join("db"), database).expect("written");
    let bench = Bench::on(&dir).expect("it starts on the log alone");
    assert_eq!((names(".snap"), names(".broken")), (0, 1));
    assert_eq!(bench.get("a").as_deref(), Some(&b"1"[..]));
}
