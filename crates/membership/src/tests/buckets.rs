//! The buckets as the authority, and what is made of them.

use semver::Version;

use crate::{
    ClusterId,
    cluster::{Cluster, Member, MemberId},
    v3store::V3View,
};

fn member(id: u64, is_learner: bool) -> Member {
    Member {
        id: MemberId(id),
        peer_urls: vec![format!("http://127.0.0.1:{id}")],
        is_learner,
        name: format!("m{id}"),
        client_urls: vec![format!("http://127.0.0.1:9{id}")],
    }
}

fn view(members: Vec<Member>) -> V3View {
    V3View {
        members,
        removed: vec![MemberId(9)],
        cluster_version: Some(Version::new(3, 6, 0)),
        ..V3View::default()
    }
}

#[test]
fn a_tree_made_of_the_buckets_says_what_they_say() {
    let mut silent = member(3, true);
    silent.client_urls.clear();
    let view = view(vec![member(1, false), silent]);
    let cluster = Cluster::of_buckets(ClusterId(7), &view);
    let tree = cluster.to_tree();
    let again = Cluster::recover(ClusterId(7), &tree).expect("a tree of members");
    assert!(again.is_removed(MemberId(9)));
    assert_eq!(again.version(), Some(&Version::new(3, 6, 0)));
    assert_eq!(again.member(1), cluster.member(1));
    let unpublished = again.member(3).expect("it is there");
    assert!(unpublished.is_learner);
    assert_eq!(
        unpublished.name, "",
        "without client URLs etcd writes no attributes"
    );
}

#[test]
fn a_promotion_that_the_buckets_missed_is_made_good_and_nothing_else() {
    let view = view(vec![member(1, false), member(2, true), member(3, true)]);
    let mut cluster = Cluster::of_buckets(ClusterId(7), &view);
    // The third one is unknown to the log: it stays as it is.
    let log = vec![member(1, true), member(2, false)];
    let log = Cluster::of_buckets(
        ClusterId(7),
        &V3View {
            members: log,
            ..V3View::default()
        },
    );
    assert_eq!(cluster.promote_as_in(&log), [MemberId(2)]);
    let learners: Vec<_> = cluster.members().map(|m| m.is_learner).collect();
    assert_eq!(learners, [false, false, true]);
    assert_eq!(cluster.promote_as_in(&log), []);
}
