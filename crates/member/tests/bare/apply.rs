//! Entries into state.

use std::sync::atomic::Ordering;

use line::{Choice, Line};
use member::{Command, Outcome, Waiter, apply::Change, status::errors};
use prost::Message as _;
use proto::{
    etcdserverpb::{
        AlarmRequest, AlarmType, AuthRoleAddRequest, InternalRaftRequest, LeaseGrantRequest,
        LeaseRevokeRequest, PutRequest, RangeRequest, RequestHeader, RequestOp, TxnRequest,
        alarm_request::AlarmAction, internal_raft_request::Op, request_op::Request,
    },
    membershippb::ClusterVersionSetRequest,
};

use crate::bench::{Bench, put};

#[test]
fn a_put_is_answered_once_it_is_durable_and_applied() {
    let mut bench = Bench::leading();
    let slot = bench.propose(put("a", "1"));
    bench.apply_turn().expect("nothing to apply yet");
    assert!(bench.answer(slot).is_none(), "the log has not synced it");
    bench.log_turn();
    assert!(bench.answer(slot).is_none(), "it is not applied");
    bench.apply_turn().expect("it is applied");
    assert!(matches!(bench.answer(slot), Some(Ok(Outcome::Put(_)))));
    assert_eq!(bench.get("a").as_deref(), Some(&b"1"[..]));
    let [Change::Events(events)] = &bench.effects.changes[..] else {
        panic!("{:?}", bench.effects.changes);
    };
    assert_eq!(events[0].revision, 2);
}

#[test]
fn a_sole_voter_reads_locally_from_its_first_entry_on() {
    let mut bench = Bench::new(|_| {});
    assert!(!bench.state.sole_leader.load(Ordering::Acquire));
    bench.host.node.campaign().expect("a sole voter may");
    bench.host.hand_on();
    assert!(!bench.state.sole_leader.load(Ordering::Acquire));
    bench.settle();
    assert!(bench.state.sole_leader.load(Ordering::Acquire));
    assert!(bench.effects.leases_changed, "the lessor became primary");
}

#[test]
fn a_revoked_lease_takes_its_keys_along() {
    let mut bench = Bench::leading();
    let grant = LeaseGrantRequest { id: 7, ttl: 60 };
    assert!(bench.run(Op::LeaseGrant(grant)).is_ok());
    let leased = PutRequest {
        key: "a".into(),
        lease: 7,
        ..PutRequest::default()
    };
    assert!(bench.run(Op::Put(leased)).is_ok());
    assert!(bench.get("a").is_some());
    let revoke = LeaseRevokeRequest { id: 7 };
    assert!(bench.run(Op::LeaseRevoke(revoke)).is_ok());
    assert_eq!(bench.get("a"), None);
    let again = bench.run(Op::LeaseRevoke(revoke));
    assert_eq!(again.err(), Some(errors::LEASE_NOT_FOUND));
}

#[test]
fn another_empty_entry_of_the_term_does_not_bring_a_lease_back() {
    let mut bench = Bench::leading();
    let grant = LeaseGrantRequest { id: 7, ttl: 1 };
    assert!(bench.run(Op::LeaseGrant(grant)).is_ok());
    bench.host.now_ms = 10_000;
    let renew = |bench: &Bench| bench.state.lessor.write().renew(lease::LeaseId(7), 10_000);
    assert!(renew(&bench).is_err(), "its time is over");
    bench.apply_raw(b"").expect("an empty entry");
    assert!(renew(&bench).is_err(), "it came back");
}

#[test]
fn an_alarm_refuses_writes_until_it_is_cleared() {
    let mut bench = Bench::leading();
    let alarm = |action: AlarmAction| {
        Op::Alarm(AlarmRequest {
            action: action as i32,
            member_id: 1,
            alarm: AlarmType::Nospace as i32,
        })
    };
    assert!(bench.run(alarm(AlarmAction::Activate)).is_ok());
    let refused = bench.run(put("a", "1"));
    assert_eq!(refused.err(), Some(errors::NO_SPACE));
    assert_eq!(bench.get("a"), None);
    assert!(bench.run(alarm(AlarmAction::Deactivate)).is_ok());
    assert!(bench.run(put("a", "1")).is_ok());
}

#[test]
fn a_write_that_does_not_fit_is_applied_and_refused() {
    let mut bench = Bench::new(|options| options.quota_backend_bytes = Some(1));
    bench.campaign();
    let refused = bench.run(put("a", "1"));
    assert_eq!(refused.err(), Some(errors::NO_SPACE));
    assert!(bench.get("a").is_some(), "every member does the same");
}

#[test]
fn an_entry_that_the_database_has_is_not_applied_to_it_again() {
    let mut bench = Bench::leading();
    let before = bench.machine.applied();
    assert!(bench.run(put("a", "1")).is_ok());
    let revision = bench.state.store.load().revision();
    let index = bench.state.store.load().backend().consistent_index().index;
    assert_eq!(index, before + 1);
    // The same entry once more, as after a restart.
    let request = InternalRaftRequest {
        header: Some(RequestHeader {
            id: 1,
            ..RequestHeader::default()
        }),
        op: Some(put("a", "2")),
        ..InternalRaftRequest::default()
    };
    let entry = proto::raftpb::Entry {
        r#type: 0,
        term: 2,
        index,
        data: Some(request.encode_to_vec().into()),
    };
    let command = member::Command::Committed(vec![entry]);
    bench.host.apply.push_back(command);
    bench.apply_turn().expect("it is passed over");
    assert_eq!(bench.state.store.load().revision(), revision);
    assert_eq!(bench.get("a").as_deref(), Some(&b"1"[..]));
}

#[test]
fn what_must_not_be_applied_stops_the_member_before_it() {
    let internal = |op: Op| {
        InternalRaftRequest {
            header: Some(RequestHeader {
                id: 1,
                ..RequestHeader::default()
            }),
            op: Some(op),
            ..InternalRaftRequest::default()
        }
        .encode_to_vec()
    };
    let newer = ClusterVersionSetRequest {
        ver: "3.6.0".into(),
    };
    let cases = [
        (vec![0xff, 0xff, 0xff], "cannot apply a committed entry"),
        (
            internal(Op::AuthRoleAdd(AuthRoleAddRequest {
                // No key of the database is that long.
                name: vec![b'x'; membership::entry::NAME_MAX + 1].into(),
            })),
            "cannot apply a committed entry",
        ),
        (
            internal(Op::ClusterVersionSet(newer)),
            "invalid downgrade; server version is lower than determined cluster version",
        ),
    ];
    for (data, what) in cases {
        let mut bench = Bench::leading();
        assert!(bench.run(put("a", "1")).is_ok());
        let applied = bench.machine.applied();
        let fatal = bench.apply_raw(&data).expect_err("it must stop");
        assert_eq!(fatal.what, what, "{fatal}");
        assert_eq!(bench.machine.applied(), applied);
        let backend = bench.state.store.load().backend().clone();
        assert_eq!(backend.consistent_index().index, applied);
    }
}

#[test]
fn entries_before_one_that_cannot_be_applied_stay_whole() {
    let mut bench = Bench::leading();
    let first = InternalRaftRequest {
        header: Some(RequestHeader {
            id: 1,
            ..RequestHeader::default()
        }),
        op: Some(put("a", "1")),
        ..InternalRaftRequest::default()
    };
    let index = bench.machine.applied() + 1;
    let entry = |index: u64, data: Vec<u8>| proto::raftpb::Entry {
        r#type: 0,
        term: 2,
        index,
        data: Some(data.into()),
    };
    let run = vec![
        entry(index, first.encode_to_vec()),
        entry(index + 1, vec![0xff]),
    ];
    bench.host.apply.push_back(member::Command::Committed(run));
    bench.apply_turn().expect_err("it must stop");
    let backend = bench.state.store.load().backend().clone();
    backend.commit_now().expect("the database still commits");
    let held = mvcc::backend::consistent_index(&backend.db().begin_read())
        .expect("readable")
        .index;
    assert_eq!(held, index);
}

fn cluster_version(version: &str) -> Op {
    Op::ClusterVersionSet(ClusterVersionSetRequest {
        ver: version.to_owned(),
    })
}

/// A member that may follow its cluster, which has this version.
fn at_version(version: &str) -> Bench {
    let mut bench = Bench::new_at(Choice::Auto, |_| {});
    bench.campaign();
    assert!(bench.run(cluster_version(version)).is_ok());
    bench
}

/// Has it speak a line; says whether it does.
fn speaks(bench: &mut Bench, line: Line) -> bool {
    let waiter = Waiter {
        runtime: 0,
        slot: 1,
        generation: 0,
        deadline_ms: 0,
    };
    bench.host.apply.push_back(Command::Speak(line, waiter));
    bench.apply_turn().expect("nothing ends the member");
    bench.state.line() == line
}

fn written(bench: &mut Bench) {
    bench.host.apply.push_back(Command::SnapshotIfBlocking);
    bench.apply_turn().expect("a snapshot begins");
    bench.host.write_snapshot();
    bench.settle();
}

/// Its range is of a revision that is yet to come.
fn put_and_range(key: &str) -> Op {
    let range = RangeRequest {
        key: key.to_owned().into(),
        revision: 1 << 40,
        ..RangeRequest::default()
    };
    let put = PutRequest {
        key: key.to_owned().into(),
        ..PutRequest::default()
    };
    let operations = [Request::RequestPut(put), Request::RequestRange(range)];
    Op::Txn(TxnRequest {
        success: operations
            .map(|request| RequestOp {
                request: Some(request),
            })
            .into(),
        ..TxnRequest::default()
    })
}

#[test]
fn members_in_a_change_apply_entries_alike_whichever_line_they_speak() {
    let mut members = [at_version("3.6.0"), at_version("3.6.0")];
    for member in &mut members {
        member.state.spoken.set_in_change(true);
        written(member);
    }
    assert!(speaks(&mut members[0], Line::V3_7));
    for member in &mut members {
        let _ = member.run(put_and_range("before"));
        assert!(member.get("before").is_some(), "at {}", member.state.line());
        assert!(member.run(cluster_version("3.7.0")).is_ok());
        let _ = member.run(put_and_range("after"));
        assert!(member.get("after").is_none(), "at {}", member.state.line());
    }
}

#[test]
fn a_member_that_was_told_no_line_follows_its_cluster_up() {
    let mut bench = at_version("3.5.0");
    assert_eq!(bench.state.line(), Line::V3_5);
    assert!(bench.run(cluster_version("3.6.0")).is_ok());
    assert_eq!(bench.state.line(), Line::V3_6);
}

#[test]
fn a_higher_line_is_not_spoken_before_the_snapshot_is_on_disk() {
    let mut bench = at_version("3.6.0");
    assert!(!speaks(&mut bench, Line::V3_7), "nothing is on disk");
    bench.host.apply.push_back(Command::SnapshotIfBlocking);
    bench.apply_turn().expect("a snapshot begins");
    assert!(bench.host.job.is_some());
    assert!(!speaks(&mut bench, Line::V3_7), "it has only begun");
    bench.host.write_snapshot();
    bench.settle();
    assert!(speaks(&mut bench, Line::V3_7));
}
