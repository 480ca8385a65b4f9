//! Three members and more, through whatever a seed brings.

use bytes::Bytes;
use proto::raftpb::ConfChangeType::{
    ConfChangeAddLearnerNode, ConfChangeAddNode, ConfChangeRemoveNode, ConfChangeUpdateNode,
};

use super::net::{Net, change};
use crate::*;

fn elected(voters: &[u64], seed: u64) -> (Net, u64) {
    let mut net = Net::new(voters, seed);
    net.heal();
    let leader = net.leader().expect("leader");
    (net, leader)
}

#[test]
fn promises_hold_through_loss_reordering_crashes_and_compaction() {
    let (mut answered, mut installed) = (0, 0);
    for seed in 0..100 {
        let mut net = Net::new(&[1, 2, 3], seed);
        // Some clusters run without, as `--pre-vote=false` asks for.
        net.pre_vote = seed % 4 != 0;
        for _ in 0..4000 {
            let id = net.any();
            match net.draw(100) {
                0..30 => net.deliver(),
                30..55 => net.sync(id),
                55..75 => drop(net.with(id, Node::tick)),
                75..85 => drop(net.propose(id, 3)),
                85..89 => net.read(id),
                89..92 => net.lose(),
                92..94 => net.double(),
                94 => net.crash(id),
                95 => net.boot(id),
                96..98 => net.compact(id),
                98 => drop(net.cut_off.insert(id)),
                _ => net.cut_off.clear(),
            }
        }
        net.heal();
        answered += net.oracle.answered;
        installed += net.oracle.installed;
        let states: Vec<_> = net.ids().iter().map(|&id| net.state(id)).collect();
        assert!(
            states.windows(2).all(|pair| pair[0] == pair[1]),
            "seed {seed}"
        );
    }
    // Otherwise the seeds reach nothing of what they are for.
    assert!(
        answered > 100 && installed > 30,
        "{answered} reads, {installed} snapshots"
    );
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut net = Net::new(&[1, 2, 3], seed);
        for _ in 0..600 {
            let id = net.any();
            match net.draw(10) {
                0..4 => net.deliver(),
                4..7 => net.sync(id),
                7..9 => drop(net.with(id, Node::tick)),
                _ => drop(net.propose(id, 1)),
            }
        }
        net.statuses()
            .map(|(id, s)| format!("{id} {s:?}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(run(7), run(7));
    assert!((8..20).any(|seed| run(seed) != run(7)));
}

#[test]
fn members_with_one_seed_do_not_stand_at_the_same_time() {
    // All start at once and hear nothing of each other until they time out.
    for seed in 0..30 {
        let mut net = Net::new(&[1, 2, 3, 4, 5], seed);
        net.ticks(100);
        assert!(net.leader().is_some(), "seed {seed}");
    }
}

/// etcd#15247: what a leader decided by its own clock must not reach its successor.
#[test]
fn what_only_the_leader_may_propose_ends_with_its_term() {
    let (mut net, old) = elected(&[1, 2, 3], 1);
    let term = |net: &Net, id| {
        let found = net.statuses().find(|(member, _)| *member == id);
        found.expect("it is up").1.term
    };
    let first = term(&net, old);
    let propose = |net: &mut Net, term| {
        let data = vec![Bytes::from_static(b"revoke")];
        net.with(old, |node| node.propose_as_leader(term, data))
    };
    assert_eq!(propose(&mut net, first), Some(Ok(())));
    let new = net.ids().into_iter().find(|id| *id != old).expect("three");
    for (from, to) in [(old, new), (new, old)] {
        net.calm();
        net.with(from, |node| node.transfer_leader(to));
        net.calm();
        assert_eq!(net.leader(), Some(to));
        // It follows, and then leads again, in another term.
        assert_eq!(propose(&mut net, first), Some(Err(ProposeError::NotLeader)));
    }
    let last = term(&net, old);
    assert_eq!(propose(&mut net, last), Some(Ok(())));
}

#[test]
fn a_leader_that_is_cut_off_is_replaced_and_comes_back_as_follower() {
    let (mut net, old) = elected(&[1, 2, 3], 1);
    net.cut_off.insert(old);
    net.propose(old, 1);
    net.ticks(60);
    let new = net.leader().expect("leader");
    assert_ne!(new, old);
    let role = |net: &Net, of| {
        net.statuses()
            .find(|(id, _)| *id == of)
            .map(|(_, status)| status.role)
    };
    // It heard from no quorum.
    assert_ne!(role(&net, old), Some(Role::Leader));
    net.propose(new, 2);
    net.heal();
    assert_eq!(role(&net, old), Some(Role::Follower));
    assert_eq!(net.leader(), Some(new), "its return disturbs no one");
    assert_eq!(net.state(old), net.state(new));
}

#[test]
fn a_leader_whose_disk_hangs_hands_over() {
    for seed in 0..20 {
        let (mut net, old) = elected(&[1, 2, 3], seed);
        net.hung.insert(old);
        net.propose(old, 1);
        // An election timeout, and what the hand-over takes.
        net.ticks(10 + 5);
        let new = net.leader().expect("leader");
        assert_ne!(new, old, "seed {seed}");
        let (before, _) = net.state(new);
        assert!(net.propose(new, 2));
        net.ticks(1);
        assert_eq!(net.state(new).0, before + 2, "seed {seed}");
        // It must not stand while it cannot vote for itself.
        net.ticks(60);
        assert_eq!(net.leader(), Some(new), "seed {seed}");
        net.heal();
        assert_eq!(net.leader(), Some(new), "seed {seed}");
        assert_eq!(net.state(old), net.state(new));
    }
}

#[test]
fn a_leader_whose_disk_hangs_falls_silent_if_nobody_takes_over() {
    for seed in 0..20 {
        let (mut net, old) = elected(&[1, 2, 3], seed);
        net.hung.insert(old);
        net.lost_kind = Some(proto::raftpb::MessageType::MsgTimeoutNow);
        net.propose(old, 1);
        // Two election timeouts until it is silent, one (up to twice as long) until
        // the others stand, and once more should they stand together.
        net.ticks(20 + 20 + 20);
        let new = net.leader().expect("leader");
        assert_ne!(new, old, "seed {seed}");
        net.heal();
        assert_eq!(net.state(old), net.state(new));
    }
}

#[test]
fn a_disk_that_is_slow_and_answers_costs_no_leadership() {
    let (mut net, leader) = elected(&[1, 2, 3], 3);
    for _ in 0..20 {
        net.hung.insert(leader);
        net.propose(leader, 1);
        net.ticks(9);
        net.hung.clear();
        net.ticks(1);
        assert_eq!(net.leader(), Some(leader));
    }
}

#[test]
fn a_learner_joins_catches_up_and_gets_its_vote() {
    let (mut net, leader) = elected(&[1, 2, 3], 2);
    net.propose(leader, 5);
    net.calm();
    net.join(4);
    let propose = |net: &mut Net, kind, id| {
        let data = change(kind, id);
        let leader = net.leader().expect("leader");
        net.with(leader, |node| node.propose_conf_change(data))
            .expect("up")
            .expect("taken");
        net.ticks(3);
    };
    propose(&mut net, ConfChangeAddLearnerNode, 4);
    net.heal();
    assert_eq!(net.conf_state(4).learners, [4]);
    assert_eq!(net.state(4), net.state(leader));
    // It hears nothing and still does not stand: a learner has no vote.
    net.cut_off.insert(4);
    let term = net.statuses().map(|(_, s)| s.term).max();
    net.ticks(80);
    assert_eq!(net.statuses().map(|(_, s)| s.term).max(), term);
    net.cut_off.clear();
    propose(&mut net, ConfChangeUpdateNode, 4);
    assert_eq!(
        net.conf_state(leader).learners,
        [4],
        "UpdateNode is no business of raft"
    );
    propose(&mut net, ConfChangeAddNode, 4);
    net.heal();
    for id in net.ids() {
        assert_eq!(net.conf_state(id).voters, [1, 2, 3, 4], "member {id}");
    }
    propose(&mut net, ConfChangeRemoveNode, leader);
    net.crash(leader);
    net.ticks(60);
    let next = net.leader().expect("leader");
    assert!(next != leader && !net.conf_state(next).voters.contains(&leader));
}

/// raft-rs counts by a progress that a removed leader does not have.
#[test]
fn a_leader_that_was_removed_tells_the_others_before_it_ends() {
    for seed in 0..40 {
        let (mut net, leader) = elected(&[1, 2, 3], seed);
        let data = change(ConfChangeRemoveNode, leader);
        net.with(leader, |node| node.propose_conf_change(data));
        // Some are acknowledged after the removal is applied.
        for _ in 0..6 {
            net.propose(leader, 1);
        }
        net.ticks(5);
        let knows = |id: &u64| !net.conf_state(*id).voters.contains(&leader);
        assert!(net.ids().iter().filter(|id| knows(id)).count() > 1);
        assert_eq!(
            net.with(leader, |node| node.propose(vec!["x".into()])),
            Some(Err(ProposeError::Dropped))
        );
        net.crash(leader);
        net.ticks(60);
        let next = net.leader().expect("leader");
        assert_ne!(next, leader);
        assert!(net.propose(next, 1));
    }
}

/// raft-rs answers at once where there is one voter, whoever that is.
#[test]
fn a_leader_that_was_removed_gives_no_read_index() {
    let (mut net, leader) = elected(&[1, 2], 3);
    let data = change(ConfChangeRemoveNode, leader);
    net.with(leader, |node| node.propose_conf_change(data));
    net.ticks(5);
    // It does not notice: its clock stands still.
    net.cut_off.insert(leader);
    let other = 3 - leader;
    for _ in 0..60 {
        net.with(other, Node::tick);
        net.calm();
    }
    assert!(net.propose(other, 3));
    net.calm();
    net.read(leader);
    assert_eq!(net.oracle.answered, 0);
}

#[test]
fn a_member_too_far_behind_is_sent_a_snapshot() {
    let (mut net, leader) = elected(&[1, 2, 3], 3);
    let behind = if leader == 1 { 2 } else { 1 };
    net.cut_off.insert(behind);
    for _ in 0..20 {
        net.propose(leader, 5);
        net.calm();
    }
    for id in net.ids() {
        net.ticks(1);
        net.compact(id);
    }
    assert_eq!(net.oracle.installed, 0);
    net.cut_off.clear();
    net.ticks(40);
    assert_eq!(net.oracle.installed, 1);
    assert_eq!(net.state(behind), net.state(leader));
    net.crash(behind);
    net.boot(behind);
    net.heal();
    assert_eq!(net.state(behind), net.state(leader));
}

#[test]
fn leadership_is_handed_over_on_request() {
    let (mut net, leader) = elected(&[1, 2, 3], 4);
    let to = leader % 3 + 1;
    net.with(leader, |node| node.transfer_leader(to));
    // While it is under way nothing is taken, as in etcd.
    assert_eq!(
        net.with(leader, |node| node
            .propose(vec![bytes::Bytes::from_static(b"x")])),
        Some(Err(ProposeError::Dropped))
    );
    net.calm();
    assert_eq!(net.leader(), Some(to));
}

#[test]
fn what_others_propose_during_a_transfer_reaches_the_next_leader() {
    let (mut net, leader) = elected(&[1, 2, 3], 4);
    let to = leader % 3 + 1;
    let other = to % 3 + 1;
    let last = |net: &mut super::net::Net, id| net.with(id, |node| node.status().last_index);
    let before = last(&mut net, leader);
    // It follows, and hands on to whom it knows for the leader.
    let proposed = net.with(other, |node| {
        node.propose(vec![bytes::Bytes::from_static(b"x")])
    });
    assert_eq!(proposed, Some(Ok(())));
    net.with(leader, |node| node.transfer_leader(to));
    net.calm();
    assert_eq!(net.leader(), Some(to));
    // The new leader's empty entry, and the proposal.
    assert_eq!(last(&mut net, to), before.map(|index| index + 2));
}

#[test]
fn any_member_reads_at_an_index_the_leader_confirmed() {
    let (mut net, leader) = elected(&[1, 2, 3], 5);
    net.propose(leader, 3);
    net.calm();
    for id in net.ids() {
        net.read(id);
        net.calm();
    }
    assert_eq!(net.oracle.answered, 3);
    // Without a quorum no one confirms anything.
    for id in net.ids() {
        if id != leader {
            net.crash(id);
        }
    }
    net.read(leader);
    net.calm();
    assert_eq!(net.oracle.answered, 3);
}
