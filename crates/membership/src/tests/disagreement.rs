//! Each way in which two copies can differ is named.

use proto::raftpb::ConfState;

use crate::{
    Disagreement::*,
    conf_change::{self, Rules},
    disagreement::find,
    v2store::Tree,
    v3store::V3View,
    *,
};

/// Members 1 and 2, a learner 3, member 9 removed, and copies that agree.
fn agreed() -> (Cluster, ConfState, V3View) {
    let (mut cluster, mut tree) = (Cluster::default(), Tree::new());
    for id in [1, 2, 3, 9] {
        let member = Member {
            id: MemberId(id),
            peer_urls: vec![format!("http://h:{id}")],
            is_learner: id == 3,
            ..Member::default()
        };
        conf_change::apply(
            &mut cluster,
            &mut tree,
            &conf_change::add(0, &member),
            Rules::Newer,
        )
        .expect("holds");
    }
    conf_change::apply(
        &mut cluster,
        &mut tree,
        &conf_change::remove(0, MemberId(9)),
        Rules::Newer,
    )
    .expect("holds");
    cluster.set_version(Some(semver::Version::new(3, 5, 0)));
    let conf_state = ConfState {
        voters: vec![2, 1],
        learners: vec![3],
        ..ConfState::default()
    };
    let view = V3View {
        members: cluster.members().cloned().collect(),
        removed: vec![MemberId(9)],
        cluster_version: cluster.version().cloned(),
        conf_state: Some(conf_state.clone()),
        ..V3View::default()
    };
    (cluster, conf_state, view)
}

#[test]
fn copies_that_agree_are_left_in_peace() {
    let (cluster, conf_state, view) = agreed();
    assert_eq!(find(&cluster, &conf_state, &view), []);
}

#[test]
fn every_difference_has_its_name() {
    type Break = fn(&mut ConfState, &mut V3View);

    let cases: [(Break, Vec<Disagreement>, &str); 14] = [
        (
            |c, v| {
                c.voters.push(5);
                v.conf_state = None;
            },
            vec![OnlyInConfState(id(5))],
            "raft counts member 5",
        ),
        (
            |c, v| {
                c.voters.pop();
                v.conf_state = None;
            },
            vec![MissingInConfState(id(1))],
            "does not count member 1",
        ),
        (
            |c, v| {
                c.learners.clear();
                c.voters.push(3);
                v.conf_state = None;
            },
            vec![Vote {
                id: id(3),
                raft_votes: true,
            }],
            "votes in raft",
        ),
        (
            |_, v| {
                v.members.push(Member {
                    id: id(9),
                    ..Member::default()
                })
            },
            vec![Zombie(id(9))],
            "etcd#20967",
        ),
        (
            |_, v| {
                v.members.push(Member {
                    id: id(8),
                    ..Member::default()
                })
            },
            vec![OnlyInDatabase(id(8))],
            "member 8 is in the database",
        ),
        (
            |_, v| drop(v.members.remove(0)),
            vec![MissingInDatabase(id(1))],
            "not in the database",
        ),
        (
            |_, v| v.members[0].is_learner = true,
            vec![StaleLearner(id(1))],
            "etcd#19557",
        ),
        (
            |_, v| v.members[2].is_learner = false,
            vec![StaleVoter(id(3))],
            "is a learner and votes",
        ),
        (
            |_, v| v.members[0].peer_urls = vec!["http://x:1".into()],
            vec![PeerUrls {
                id: id(1),
                tree: vec!["http://h:1".into()],
                database: vec!["http://x:1".into()],
            }],
            "http://h:1 in the v2 store and http://x:1",
        ),
        (
            |_, v| v.members[1].name = "old".into(),
            vec![Attributes(id(2))],
            "client URLs of member 2",
        ),
        (
            |_, v| v.removed.clear(),
            vec![RemovalMissing(id(9))],
            "does not know that member 9",
        ),
        (
            |_, v| v.removed.push(id(2)),
            vec![RemovalOfMember(id(2))],
            "member 2 counts as removed",
        ),
        (
            |_, v| v.cluster_version = None,
            vec![ClusterVersion {
                tree: Some(semver::Version::new(3, 5, 0)),
                database: None,
            }],
            "3.5.0 in the v2 store and none",
        ),
        (
            |_, v| v.conf_state = Some(ConfState::default()),
            vec![StoredConfState],
            "stored in the database",
        ),
    ];
    for (spoil, expected, words) in cases {
        let (cluster, mut conf_state, mut view) = agreed();
        spoil(&mut conf_state, &mut view);
        let found = find(&cluster, &conf_state, &view);
        assert_eq!(found, expected);
        assert!(found[0].to_string().contains(words), "{}", found[0]);
    }
}

fn id(number: u64) -> MemberId {
    MemberId(number)
}
