//! A received snapshot takes the place of a member's state.

use std::io::Read as _;

use line::{Choice, Line};
use member::{
    Command,
    apply::{Change, PeerChange},
};
use proto::{etcdserverpb::internal_raft_request::Op, membershippb::ClusterVersionSetRequest};
use wal::snap::Snapshotter;

use crate::bench::{Bench, put};

/// What one member sends, and another one receives: in its directory, and in its apply queue.
fn send(from: &Bench, to: &mut Bench) {
    let (snapshot, view) = from.image();
    let path = Snapshotter::new(&to.snap_dir()).db_path(snapshot.metadata.index);
    let mut image = Vec::new();
    view.image().read_to_end(&mut image).expect("an image");
    std::fs::write(path, image).expect("written");
    to.host.apply.push_back(Command::Install(snapshot));
}

#[test]
fn an_install_brings_keys_members_and_revision() {
    let mut sender = Bench::leading();
    for n in 0..10 {
        assert!(sender.run(put("a", &n.to_string())).is_ok());
    }
    let mut receiver = Bench::new(|_| {});
    send(&sender, &mut receiver);
    receiver.apply_turn().expect("it is put in place");
    assert_eq!(receiver.get("a").as_deref(), Some(&b"9"[..]));
    assert_eq!(receiver.machine.applied(), sender.machine.applied());
    let members = |bench: &Bench| -> Vec<_> {
        let cluster = bench.state.cluster.load_full();
        cluster.members().map(|member| member.id).collect()
    };
    assert_eq!(members(&receiver), members(&sender));
    assert_eq!(receiver.machine.conf_state(), sender.machine.conf_state());
    let revision = sender.state.store.load().revision();
    assert!(matches!(
        receiver.effects.changes[..],
        [Change::Restored { revision: restored }] if restored == revision
    ));
    let last = receiver.effects.peers.last();
    assert!(matches!(last, Some(PeerChange::Replaced(members)) if members.len() == 1));
    let left = std::fs::read_dir(receiver.snap_dir()).expect("listed");
    let names: Vec<_> = left.map(|file| file.expect("listed").file_name()).collect();
    assert_eq!(names, ["db"], "the received file is gone");
}

#[test]
fn a_snapshot_that_the_member_is_past_is_passed_over() {
    let mut sender = Bench::leading();
    assert!(sender.run(put("a", "1")).is_ok());
    let mut receiver = Bench::leading();
    for _ in 0..5 {
        assert!(receiver.run(put("a", "own")).is_ok());
    }
    send(&sender, &mut receiver);
    receiver.apply_turn().expect("it is passed over");
    assert_eq!(receiver.get("a").as_deref(), Some(&b"own"[..]));
}

#[test]
fn a_snapshot_without_its_database_stops_the_member_and_keeps_its_state() {
    let mut sender = Bench::leading();
    assert!(sender.run(put("a", "1")).is_ok());
    let mut receiver = Bench::new(|_| {});
    let (snapshot, _) = sender.image();
    receiver.host.apply.push_back(Command::Install(snapshot));
    let fatal = receiver.apply_turn().expect_err("it must stop");
    assert_eq!(fatal.what, "failed to apply a received snapshot");
    assert_eq!(receiver.state.store.load().revision(), 1);
}

#[test]
fn a_database_ahead_of_the_membership_can_be_sent() {
    let mut sender = Bench::leading();
    for n in 0..5 {
        assert!(sender.run(put("a", &n.to_string())).is_ok());
    }
    let last = sender.machine.applied();
    // After a restart the database has what the log does not yet say is committed.
    let sender = sender.restart().expect("it starts");
    assert!(sender.machine.applied() < last, "nothing is ahead");
    let mut receiver = Bench::new(|_| {});
    send(&sender, &mut receiver);
    receiver.apply_turn().expect("it is put in place");
    assert_eq!(receiver.machine.applied(), sender.machine.applied());
    let revision = sender.state.store.load().revision();
    assert_eq!(receiver.state.store.load().revision(), revision);
}

#[test]
fn a_member_that_was_told_no_line_follows_the_cluster_in_a_snapshot() {
    let at = |line| {
        let mut bench = Bench::new_at(line, |_| {});
        bench.campaign();
        bench
    };
    let mut sender = at(Choice::Auto);
    for version in ["3.5.0", "3.6.0"] {
        let set = ClusterVersionSetRequest {
            ver: version.to_owned(),
        };
        assert!(sender.run(Op::ClusterVersionSet(set)).is_ok());
    }
    assert_eq!(sender.state.line(), Line::V3_6);
    let mut receiver = Bench::new_at(Choice::Auto, |_| {});
    send(&sender, &mut receiver);
    receiver.apply_turn().expect("it is put in place");
    assert_eq!(receiver.state.line(), Line::V3_6);
    let mut told = Bench::new_at(Choice::Fixed(Line::V3_5), |_| {});
    send(&sender, &mut told);
    let fatal = told.apply_turn().expect_err("it must not be in it");
    assert_eq!(fatal.what, "failed to apply a received snapshot");
}
