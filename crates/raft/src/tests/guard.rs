//! Messages that no correct member sends: refused, and the node goes on.

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use proto::raftpb as pb;

use super::{conf, fresh, settle};
use crate::*;

/// A member of three in term 5 whose log ends at 3, committed up to 2.
fn follower(conf_state: pb::ConfState) -> Node {
    let entries = (1..=3)
        .map(|index| pb::Entry {
            r#type: 0,
            term: 4,
            index,
            data: Some(Bytes::from_static(b"x")),
        })
        .collect();
    let initial = Initial {
        hard_state: pb::HardState {
            term: 5,
            vote: 2,
            commit: 2,
        },
        conf_state,
        entries,
        ..Initial::default()
    };
    let config = Config {
        id: 1,
        ..Config::default()
    };
    Node::new(config, initial).expect("node")
}

fn message(kind: pb::MessageType) -> pb::Message {
    pb::Message {
        r#type: kind as i32,
        to: 1,
        from: 2,
        term: 5,
        ..pb::Message::default()
    }
}

fn refused(node: &mut Node, message: pb::Message) -> bool {
    matches!(node.step(message), Err(Error::Message { .. }))
}

#[test]
fn what_only_a_clock_or_transport_makes_is_refused() {
    let mut node = follower(conf(&[1, 2, 3]));
    use pb::MessageType::*;
    for kind in [
        MsgHup,
        MsgBeat,
        MsgUnreachable,
        MsgSnapStatus,
        MsgCheckQuorum,
    ] {
        assert!(refused(&mut node, message(kind)), "{kind:?}");
    }
    for number in [-1, 19, 23, 1000] {
        let mut strange = message(MsgHeartbeat);
        strange.r#type = number;
        assert!(refused(&mut node, strange), "{number}");
    }
}

#[test]
fn requests_without_content_sender_or_term_are_refused() {
    let mut node = follower(conf(&[1, 2, 3]));
    use pb::MessageType::*;
    for kind in [MsgProp, MsgReadIndex, MsgSnap] {
        assert!(refused(&mut node, message(kind)), "{kind:?}");
    }
    let mut beat = message(MsgHeartbeat);
    beat.from = 0;
    assert!(refused(&mut node, beat.clone()));
    beat.from = 2;
    beat.term = 0;
    assert!(refused(&mut node, beat.clone()));
    beat.term = u64::MAX;
    assert!(refused(&mut node, beat));
}

#[test]
fn entries_with_a_gap_or_of_unknown_type_are_refused() {
    let mut node = follower(conf(&[1, 2, 3]));
    let entry = |index, r#type| pb::Entry {
        r#type,
        term: 5,
        index,
        data: None,
    };
    let mut append = message(pb::MessageType::MsgApp);
    (append.index, append.log_term) = (3, 4);
    for entries in [
        vec![entry(5, 0)],
        vec![entry(4, 0), entry(6, 0)],
        vec![entry(4, 3)],
    ] {
        append.entries = entries;
        assert!(refused(&mut node, append.clone()));
    }
    append.entries = vec![entry(4, 0), entry(5, 1)];
    append.commit = 3;
    assert_eq!(node.step(append), Ok(()));
    settle(&mut node);
    assert_eq!((node.status().last_index, node.status().commit), (5, 3));
}

#[test]
fn a_leader_that_counts_on_entries_lost_here_is_believed() {
    let mut node = follower(conf(&[1, 2, 3]));
    let mut beat = message(pb::MessageType::MsgHeartbeat);
    beat.commit = 4;
    assert_eq!(
        node.step(beat.clone()),
        Err(Error::LogLost {
            commit: 4,
            last_index: 3
        })
    );
    // One of an earlier term claims nothing.
    beat.term = 4;
    assert_eq!(node.step(beat), Ok(()));
}

#[test]
fn a_snapshot_with_an_impossible_configuration_is_refused() {
    let mut node = follower(conf(&[1, 2, 3]));
    let mut message = message(pb::MessageType::MsgSnap);
    let mut states = vec![conf(&[1, 1]), conf(&[1, 0])];
    for change in [
        |s: &mut pb::ConfState| s.learners = vec![1],
        |s: &mut pb::ConfState| s.voters_outgoing = vec![2],
        |s: &mut pb::ConfState| s.auto_leave = true,
        |s: &mut pb::ConfState| (s.voters, s.learners) = (vec![], vec![1]),
    ] {
        let mut state = conf(&[1, 2]);
        change(&mut state);
        states.push(state);
    }
    for conf_state in states {
        message.snapshot = Some(pb::Snapshot {
            data: Some(Bytes::from_static(b"x")),
            metadata: pb::SnapshotMetadata {
                conf_state,
                index: 9,
                term: 5,
            },
        });
        assert!(refused(&mut node, message.clone()));
    }
}

#[test]
fn nobody_stands_for_election_on_a_snapshot_that_is_not_applied() {
    let mut node = follower(conf(&[1, 2, 3]));
    let mut install = message(pb::MessageType::MsgSnap);
    install.snapshot = Some(pb::Snapshot {
        data: Some(Bytes::from_static(b"x")),
        metadata: pb::SnapshotMetadata {
            conf_state: conf(&[1, 2]),
            index: 9,
            term: 5,
        },
    });
    assert_eq!(node.step(install), Ok(()));
    settle(&mut node);
    let tick = |node: &mut Node| (0..40).for_each(|_| node.tick());
    tick(&mut node);
    assert!(node.campaign().is_err() && !node.has_work());
    assert_eq!(node.status().role, Role::Follower);
    node.applied_to(9);
    tick(&mut node);
    assert_eq!(node.status().role, Role::PreCandidate);
}

#[test]
fn a_forwarded_change_reaches_the_log_as_it_came() {
    let mut node = fresh(1, &[1]);
    node.campaign().expect("campaign");
    settle(&mut node);
    let plain = super::net::change(pb::ConfChangeType::ConfChangeAddLearnerNode, 7);
    // Field 9, groups in groups: raft-rs's parser would recurse on those.
    let mut padded = plain.to_vec();
    for byte in [0x4b, 0x4c] {
        padded.extend(std::iter::repeat_n(byte, 20));
    }
    let mut proposal = message(pb::MessageType::MsgProp);
    proposal.term = 0;
    let entry = |data: Vec<u8>, r#type| pb::Entry {
        r#type,
        term: 0,
        index: 0,
        data: Some(data.into()),
    };
    proposal.entries = vec![entry(padded.clone(), 1)];
    assert_eq!(node.step(proposal.clone()), Ok(()));
    let committed = settle(&mut node);
    assert_eq!(committed[0].data, Some(padded.into()));
    proposal.entries = vec![entry(vec![0xff; 20], 1)];
    assert!(refused(&mut node, proposal.clone()));
    proposal.entries = vec![entry(vec![], 2)];
    assert!(refused(&mut node, proposal));
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0..8u64, 1 => Just(u64::MAX), 1 => Just(u64::MAX - 1), 1 => any::<u64>()]
}

prop_compose! {
    fn entries()(first in number(), types in prop::collection::vec((-1..4i32, number(), 0..20u8), 0..4)) -> Vec<pb::Entry> {
        types.into_iter().zip(0..).map(|((r#type, term, len), i)| pb::Entry {
            r#type, term, index: first.wrapping_add(i),
            data: (len > 0).then(|| Bytes::from(vec![len; len.into()])),
        }).collect()
    }
}

prop_compose! {
    fn foreign()(
        (kind, from, term, log_term, index) in (0..19i32, 0..5u64, number(), number(), number()),
        (commit, reject, reject_hint) in (number(), any::<bool>(), number()),
        entries in entries(),
        (voters, learners) in (prop::collection::vec(0..5u64, 0..4), prop::collection::vec(0..5u64, 0..2)),
        (at, with, content) in (number(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..9)),
    ) -> pb::Message {
        let metadata = pb::SnapshotMetadata {
            conf_state: pb::ConfState { voters, learners, ..pb::ConfState::default() }, index: at, term: log_term,
        };
        let snapshot = with.then(|| pb::Snapshot { data: Some(content.clone().into()), metadata });
        pb::Message {
            r#type: kind, to: 1, from, term, log_term, index, entries, commit, snapshot, reject, reject_hint,
            context: with.then(|| content.into()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_message_panics_the_node(leads: bool, events in prop::collection::vec((foreign(), 0..12usize, any::<bool>(), any::<bool>()), 1..12)) {
        let mut node = follower(conf(if leads { &[1] } else { &[1, 2, 3] }));
        if leads {
            settle(&mut node);
            node.applied_to(2);
            node.campaign().expect("campaign");
            settle(&mut node);
            let learner = pb::ConfChange { r#type: 3, node_id: 2, ..pb::ConfChange::default() };
            node.apply_conf_change(&learner);
        }
        let mut durable = 0;
        for (message, ticks, persists, applies) in events {
            let message = pb::Message::decode(Bytes::from(message.encode_to_vec())).expect("own encoding");
            let _ = node.step(message);
            for _ in 0..ticks {
                node.tick();
            }
            while node.has_work() {
                durable = node.work().number;
            }
            if persists {
                node.persisted(durable);
            }
            if applies {
                node.applied_to(node.status().commit);
            }
        }
    }
}
