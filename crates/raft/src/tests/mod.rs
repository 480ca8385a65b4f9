//! The node driven as the server drives it, in memory.

mod guard;
mod net;
mod simulation;

use bytes::Bytes;
use prost::Message as _;
use proto::{EntryId, raftpb as pb};

use crate::*;

fn conf(voters: &[u64]) -> pb::ConfState {
    pb::ConfState {
        voters: voters.to_vec(),
        ..pb::ConfState::default()
    }
}

fn fresh(id: u64, voters: &[u64]) -> Node {
    let initial = Initial {
        conf_state: conf(voters),
        snapshot: EntryId::ZERO,
        ..Initial::default()
    };
    Node::new(
        Config {
            id,
            ..Config::default()
        },
        initial,
    )
    .expect("node")
}

/// Works until nothing is left, everything durable at once.
fn settle(node: &mut Node) -> Vec<pb::Entry> {
    let mut committed = Vec::new();
    while node.has_work() {
        let work = node.work();
        committed.extend(work.committed);
        node.persisted(work.number);
    }
    committed
}

#[test]
fn a_sole_voter_leads_at_once_and_commits_only_what_is_durable() {
    let mut node = fresh(1, &[1]);
    assert!(node.is_sole_voter());
    node.campaign().expect("campaign");
    settle(&mut node);
    assert_eq!(node.status().role, Role::Leader);

    node.propose(vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")])
        .expect("propose");
    let work = node.work();
    assert!(work.must_sync && work.committed.is_empty());
    assert_eq!(work.entries.len(), 2);
    while node.has_work() {
        assert!(
            node.work().committed.is_empty(),
            "committed before it was durable"
        );
    }
    node.persisted(work.number);
    let work = node.work();
    let data: Vec<_> = work
        .committed
        .iter()
        .filter_map(|e| e.data.clone())
        .collect();
    assert_eq!(data, ["a", "b"]);
    assert_eq!(work.hard_state.map(|s| s.commit), Some(3));
    assert!(!work.must_sync);
}

#[test]
fn a_sole_voter_tells_a_learner_nothing_before_its_term_is_durable() {
    let initial = Initial {
        conf_state: pb::ConfState {
            voters: vec![1],
            learners: vec![2],
            ..pb::ConfState::default()
        },
        ..Initial::default()
    };
    let config = Config {
        id: 1,
        ..Config::default()
    };
    let mut node = Node::new(config, initial).expect("node");
    node.campaign().expect("campaign");
    let mut waiting = 0;
    // It leads, and takes proposals, while the disk has not written that it does.
    let first = node.work();
    assert!(first.messages.is_empty(), "{:?}", first.messages);
    waiting += first.messages_after_persist.len();
    node.propose(vec![Bytes::from_static(b"a")])
        .expect("propose");
    let second = node.work();
    assert!(second.messages.is_empty(), "{:?}", second.messages);
    waiting += second.messages_after_persist.len();
    assert!(waiting > 0, "the learner is never told");
    node.persisted(second.number);
    node.propose(vec![Bytes::from_static(b"b")])
        .expect("propose");
    // From here on it need not wait for its own disk.
    node.step(pb::Message {
        r#type: pb::MessageType::MsgAppResp as i32,
        from: 2,
        to: 1,
        term: node.status().term,
        index: 2,
        ..pb::Message::default()
    })
    .expect("an answer");
    assert!(!node.work().messages.is_empty());
}

#[test]
fn entries_proposed_while_others_are_being_written_are_pipelined() {
    let mut node = fresh(1, &[1]);
    node.campaign().expect("campaign");
    settle(&mut node);
    let mut numbers = Vec::new();
    for text in ["a", "b", "c"] {
        node.propose(vec![Bytes::from(text)]).expect("propose");
        numbers.push(node.work().number);
    }
    node.persisted(numbers[1]);
    let work = node.work();
    assert_eq!(work.committed.len(), 2);
    node.persisted(numbers[2]);
    assert_eq!(node.work().committed.len(), 1);
}

#[test]
fn a_log_that_begins_with_its_members_boots() {
    let change = pb::ConfChange {
        id: 0,
        r#type: 0,
        node_id: 7,
        context: Some(Bytes::from_static(b"{}")),
    };
    let entry = pb::Entry {
        r#type: 1,
        term: 1,
        index: 1,
        data: Some(change.encode_to_vec().into()),
    };
    let initial = Initial {
        hard_state: pb::HardState {
            term: 1,
            vote: 0,
            commit: 1,
        },
        entries: vec![entry],
        ..Initial::default()
    };
    let mut node = Node::new(
        Config {
            id: 7,
            ..Config::default()
        },
        initial,
    )
    .expect("node");
    let committed = settle(&mut node);
    assert_eq!(committed.len(), 1);
    let read =
        pb::ConfChange::decode(committed[0].data.clone().unwrap_or_default()).expect("conf change");
    assert_eq!(node.apply_conf_change(&read).voters, [7]);
    node.applied_to(1);
    assert!(node.is_sole_voter());
    node.campaign().expect("campaign");
    let committed = settle(&mut node);
    assert_eq!(node.status().role, Role::Leader);
    assert!(committed.iter().any(|e| e.term == 2 && e.data.is_none()));
}

#[test]
fn a_restart_delivers_again_what_came_after_the_snapshot() {
    let entries: Vec<_> = (11..=14)
        .map(|index| pb::Entry {
            r#type: 0,
            term: 3,
            index,
            data: Some(Bytes::from_static(b"x")),
        })
        .collect();
    let initial = Initial {
        hard_state: pb::HardState {
            term: 3,
            vote: 1,
            commit: 13,
        },
        conf_state: conf(&[1]),
        snapshot: EntryId { index: 10, term: 2 },
        entries,
        applied: 10,
    };
    let mut node = Node::new(
        Config {
            id: 1,
            ..Config::default()
        },
        initial,
    )
    .expect("node");
    let committed = settle(&mut node);
    assert_eq!(
        committed.iter().map(|e| e.index).collect::<Vec<_>>(),
        [11, 12, 13]
    );
    node.campaign().expect("campaign");
    let committed = settle(&mut node);
    assert_eq!(
        committed.iter().map(|e| e.index).collect::<Vec<_>>(),
        [14, 15]
    );
    node.applied_to(15);
    node.compact_log(12);
    node.propose(vec![Bytes::from_static(b"y")])
        .expect("propose");
    assert_eq!(settle(&mut node).len(), 1);
}

#[test]
fn a_log_with_a_hole_or_a_commit_beyond_its_end_is_refused() {
    let entry = |index| pb::Entry {
        r#type: 0,
        term: 1,
        index,
        data: None,
    };
    let hole = Initial {
        entries: vec![entry(1), entry(3)],
        ..Initial::default()
    };
    assert!(
        Node::new(
            Config {
                id: 1,
                ..Config::default()
            },
            hole
        )
        .is_err()
    );
    let beyond = Initial {
        hard_state: pb::HardState {
            term: 1,
            vote: 0,
            commit: 5,
        },
        entries: vec![entry(1)],
        ..Initial::default()
    };
    assert!(
        Node::new(
            Config {
                id: 1,
                ..Config::default()
            },
            beyond
        )
        .is_err()
    );
}

#[test]
fn etcds_enum_decides_and_nobody_changes_nothing() {
    let mut node = fresh(1, &[1]);
    let change = |kind: pb::ConfChangeType, node_id| pb::ConfChange {
        id: 1,
        r#type: kind as i32,
        node_id,
        context: None,
    };
    use pb::ConfChangeType::*;
    assert_eq!(
        node.apply_conf_change(&change(ConfChangeAddLearnerNode, 2))
            .learners,
        [2]
    );
    assert_eq!(
        node.apply_conf_change(&change(ConfChangeUpdateNode, 1))
            .voters,
        [1]
    );
    assert_eq!(
        node.apply_conf_change(&change(ConfChangeAddNode, 0)).voters,
        [1]
    );
    assert_eq!(
        node.apply_conf_change(&change(ConfChangeAddNode, 2)).voters,
        [1, 2]
    );
    let state = node.apply_conf_change(&change(ConfChangeRemoveNode, 2));
    assert_eq!((state.voters, state.learners), (vec![1], vec![]));
}

#[test]
fn a_vote_that_comes_before_the_log_is_durable_elects_nobody() {
    let config = Config {
        id: 1,
        pre_vote: false,
        ..Config::default()
    };
    let initial = Initial {
        conf_state: conf(&[1, 2, 3]),
        ..Initial::default()
    };
    let mut node = Node::new(config, initial).expect("node");
    let from = |from: u64, term: u64, kind: pb::MessageType| pb::Message {
        r#type: kind as i32,
        to: 1,
        from,
        term,
        ..pb::Message::default()
    };
    let append = pb::Message {
        entries: vec![pb::Entry {
            term: 2,
            index: 1,
            ..pb::Entry::default()
        }],
        ..from(2, 2, pb::MessageType::MsgApp)
    };
    node.step(append).expect("step");
    assert_eq!(node.work().entries.len(), 1);
    node.step(from(2, 2, pb::MessageType::MsgTimeoutNow))
        .expect("step");
    assert_eq!(node.status().role, Role::Candidate);
    let mut last = 0;
    let work = |node: &mut Node, last: &mut u64| {
        while node.has_work() {
            *last = node.work().number;
        }
    };
    work(&mut node, &mut last);
    // Its request cannot have left: the disk has neither the entry nor the vote.
    let vote = from(3, 3, pb::MessageType::MsgVoteResp);
    node.step(vote.clone()).expect("step");
    work(&mut node, &mut last);
    assert_eq!(node.status().role, Role::Candidate);
    node.persisted(last);
    node.step(vote).expect("step");
    work(&mut node, &mut last);
    assert_eq!(node.status().role, Role::Leader);
}

#[test]
fn messages_keep_etcds_fields_both_ways() {
    let message = pb::Message {
        r#type: 3,
        to: 1,
        from: 2,
        term: 5,
        log_term: 4,
        index: 9,
        entries: vec![pb::Entry {
            r#type: 0,
            term: 5,
            index: 10,
            data: Some(Bytes::from_static(b"v")),
        }],
        commit: 8,
        snapshot: None,
        reject: true,
        reject_hint: 6,
        context: Some(Bytes::from_static(b"c")),
    };
    let kind = wire::kind_in(message.r#type).expect("known kind");
    let back = wire::message_out(wire::message_in(kind, message.clone()));
    assert_eq!(back, message);
    assert!(wire::kind_in(19).is_none() && wire::kind_in(-1).is_none());
}
