//! Rules checked against what real etcd printed and wrote.

mod buckets;
mod context;
mod disagreement;
mod disputes;
mod golden;
mod v2store;

use bytes::Bytes;
use line::Line;
use prost::Message as _;
use proto::{etcdserverpb::Request, raftpb};

use crate::{
    cluster::member_id_at,
    conf_change::{Rejection, Rules},
    v2store::Tree,
    *,
};

fn cluster() -> Cluster {
    Cluster::from_initial("tkn", "m1=http://127.0.0.1:1,m2=http://127.0.0.1:2").expect("cluster")
}

#[test]
fn a_bootstrap_entry_has_etcds_bytes() {
    let cluster =
        Cluster::from_initial("etcd-cluster", "default=http://localhost:2380").expect("cluster");
    // The ids that every default etcd has.
    assert_eq!(
        cluster
            .members()
            .next()
            .map(|m| m.id.to_string())
            .as_deref(),
        Some("8e9e05c52164694d")
    );
    assert_eq!(cluster.id().to_string(), "cdf818194e3a8c32");
    let entry = &conf_change::bootstrap_entries(&cluster)[0];
    let change =
        raftpb::ConfChange::decode(entry.data.clone().unwrap_or_default()).expect("conf change");
    assert_eq!(
        change.context.as_deref(),
        Some(&br#"{"id":10276657743932975437,"peerURLs":["http://localhost:2380"],"name":"default"}"#[..])
    );
    assert_eq!((entry.term, entry.index, entry.r#type), (1, 1, 1));
}

#[test]
fn applying_the_first_entries_makes_truth_and_tree_agree() {
    let from_flags = cluster();
    let mut truth = Cluster::default();
    let mut tree = Tree::new();
    for entry in conf_change::bootstrap_entries(&from_flags) {
        let change =
            raftpb::ConfChange::decode(entry.data.unwrap_or_default()).expect("conf change");
        conf_change::apply(&mut truth, &mut tree, &change, Rules::Newer).expect("holds");
    }
    let ids = |c: &Cluster| {
        c.members()
            .map(|m| (m.id, m.peer_urls.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&truth), ids(&from_flags));
    let again = Cluster::recover(
        from_flags.id(),
        &Tree::parse(&tree.to_json()).expect("own JSON"),
    )
    .expect("recover");
    assert_eq!(ids(&again), ids(&from_flags));
}

#[test]
fn changes_that_do_not_hold_are_rejected_and_change_nothing() {
    let mut truth = cluster();
    let mut tree = Tree::new();
    let [one, two] = truth.members().map(|m| m.id.0).collect::<Vec<_>>()[..] else {
        panic!("two members")
    };
    let mut apply = |kind: raftpb::ConfChangeType, node_id: u64, context: &str| {
        let change = raftpb::ConfChange {
            id: 9,
            r#type: kind as i32,
            node_id,
            context: Some(Bytes::copy_from_slice(context.as_bytes())),
        };
        conf_change::apply(&mut truth, &mut tree, &change, Rules::Newer).map(drop)
    };
    use raftpb::ConfChangeType::*;
    let member = |id: u64, url: &str| format!("{{\"id\":{id},\"peerURLs\":[\"{url}\"]}}");
    assert_eq!(
        apply(ConfChangeAddNode, one, &member(one, "http://x:1")),
        Err(Rejection::Exists)
    );
    assert_eq!(
        apply(ConfChangeAddNode, 5, &member(5, "http://127.0.0.1:1")),
        Err(Rejection::PeerUrlExists)
    );
    assert_eq!(apply(ConfChangeRemoveNode, 5, ""), Err(Rejection::NotFound));
    assert_eq!(
        apply(ConfChangeUpdateNode, 5, &member(5, "http://x:1")),
        Err(Rejection::NotFound)
    );
    let promote = format!("{{\"id\":{one},\"peerURLs\":null,\"isPromote\":true}}");
    assert_eq!(
        apply(ConfChangeAddNode, one, &promote),
        Err(Rejection::NotLearner)
    );
    let learner =
        |id: u64| format!("{{\"id\":{id},\"peerURLs\":[\"http://x:{id}\"],\"isLearner\":true}}");
    assert_eq!(apply(ConfChangeAddLearnerNode, 6, &learner(6)), Ok(()));
    assert_eq!(
        apply(ConfChangeAddLearnerNode, 7, &learner(7)),
        Err(Rejection::TooManyLearners)
    );
    let promote = "{\"id\":6,\"peerURLs\":null,\"isPromote\":true}";
    assert_eq!(apply(ConfChangeAddNode, 6, promote), Ok(()));
    assert_eq!(apply(ConfChangeRemoveNode, two, ""), Ok(()));
    assert_eq!(
        apply(ConfChangeAddNode, two, &member(two, "http://x:2")),
        Err(Rejection::Removed)
    );
    assert!(matches!(
        apply(ConfChangeAddNode, 8, "{"),
        Err(Rejection::Malformed(_))
    ));
    assert!(matches!(
        apply(ConfChangeAddNode, 8, &member(9, "http://x:9")),
        Err(Rejection::Malformed(_))
    ));
}

#[test]
fn v2_requests_are_told_from_v3_ones() {
    let publish = Request {
        id: 0x64ea203401f5f01,
        method: "PUT".into(),
        path: "/0/members/f5b524f74537064e/attributes".into(),
        val: r#"{"name":"m1","clientURLs":["http://127.0.0.1:1"]}"#.into(),
        ..Request::default()
    };
    let data = Bytes::from(publish.encode_to_vec());
    assert!(matches!(decode_entry(&data, Line::DEFAULT), Ok(Payload::V2(r)) if r == publish));
    let long = Request {
        path: format!("/1/{}", "x".repeat(200)),
        ..publish
    };
    assert!(matches!(
        decode_entry(&long.encode_to_vec().into(), Line::DEFAULT),
        Ok(Payload::V2(_))
    ));
    let sync = Request {
        id: 1,
        method: "SYNC".into(),
        time: 5,
        ..Request::default()
    };
    assert!(matches!(
        decode_entry(&sync.encode_to_vec().into(), Line::DEFAULT),
        Ok(Payload::V2(_))
    ));
    // put foo bar, as 3.5.1 wrote it
    let put = Bytes::from_static(
        b"\x22\x0a\x0a\x03foo\x12\x03bar\xa2\x06\x0a\x08\x85\xbe\xfd\x80\xb4\xc0\xa8\xa7\x06",
    );
    assert!(
        matches!(decode_entry(&put, Line::DEFAULT), Ok(Payload::Internal(r)) if r.header.is_some() && r.op.is_some())
    );
    assert!(matches!(
        decode_entry(&Bytes::new(), Line::DEFAULT),
        Ok(Payload::Empty)
    ));
    assert!(decode_entry(&Bytes::from_static(b"\xff\xff\xff"), Line::DEFAULT).is_err());
}

#[test]
fn publishing_through_v2_reaches_truth_and_tree() {
    let mut truth = cluster();
    let id = truth.members().next().map(|m| m.id).expect("member");
    let request = Request {
        method: "PUT".into(),
        path: format!("/0/members/{id}/attributes"),
        val: r#"{"name":"new","clientURLs":["http://c:1"]}"#.into(),
        ..Request::default()
    };
    assert_eq!(truth.apply_v2(&request), Ok(true));
    assert_eq!(truth.member(id).map(|m| m.name.as_str()), Some("new"));
    let version = Request {
        method: "PUT".into(),
        path: "/0/version".into(),
        val: "3.5.0".into(),
        ..Request::default()
    };
    let mut tree = Tree::new();
    tree.apply(&version).expect("not blocked");
    assert_eq!(truth.apply_v2(&version), Ok(true));
    assert_eq!(
        tree.version()
            .expect("parses")
            .map(|v| v.to_string())
            .as_deref(),
        Some("3.5.0")
    );
    let user = Request {
        method: "PUT".into(),
        path: "/1/a/b".into(),
        val: "v".into(),
        ..Request::default()
    };
    assert_eq!(truth.apply_v2(&user), Ok(false));
    tree.apply(&user).expect("not blocked");
    assert_eq!(tree.get("/1/a/b").map(|n| n.value.as_str()), Some("v"));
}

#[test]
fn a_tree_with_history_and_strange_members_is_read_with_care() {
    let real = br#"{"Root":{"Path":"/","CreatedIndex":0,"ModifiedIndex":0,"ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{"0":{"Path":"/0","CreatedIndex":0,"ModifiedIndex":0,"ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{"members":{"Path":"/0/members","CreatedIndex":1,"ModifiedIndex":1,"ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{"1f":{"Path":"/0/members/1f","CreatedIndex":1,"ModifiedIndex":1,"ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{"raftAttributes":{"Path":"/0/members/1f/raftAttributes","CreatedIndex":1,"ModifiedIndex":1,"ExpireTime":"0001-01-01T00:00:00Z","Value":"{\"peerURLs\":[\"http://127.0.0.1:9\"],\"isLearner\":true}","Children":null}}}}}}},"1":{"Path":"/1","CreatedIndex":0,"ModifiedIndex":0,"ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{}}}},"WatcherHub":{"EventHistory":{"Queue":{"Events":[null],"Size":0,"Front":0,"Back":0,"Capacity":1},"StartIndex":1,"LastIndex":1}},"CurrentIndex":5,"Stats":{"getsSuccess":1},"CurrentVersion":2}"#;
    let tree = Tree::parse(real).expect("real tree");
    let members = tree.members().expect("members");
    assert_eq!(
        (members[0].id, members[0].is_learner),
        (MemberId(0x1f), true)
    );
    assert_eq!(Tree::parse(&tree.to_json()).expect("own JSON"), tree);
    for (from, to) in [
        ("raftAttributes\":{", "other\":{"),
        ("\"1f\":{", "\"zz\":{"),
    ] {
        let sick = String::from_utf8_lossy(real).replace(from, to);
        assert!(
            Tree::parse(sick.as_bytes())
                .expect("JSON")
                .members()
                .is_err(),
            "{to}"
        );
    }
    assert!(Tree::parse(b"").is_err());
    assert!(Tree::parse(br#"{"Root":{"Path":"/"}}"#).is_err());
}

#[test]
fn request_ids_are_etcds() {
    // As 3.5.1 counted: the low bits of the member, forty of the clock, then one by one.
    let ids = RequestIds::new(0xf5b5_24f7_4537_064e, 0x01a2_0340_1f5f);
    assert_eq!(ids.next(), 0x064e_a203_401f_5f01);
    assert_eq!(ids.next(), 0x064e_a203_401f_5f02);
    let high = RequestIds::new(1, u64::MAX);
    let last = (0..255).map(|_| high.next()).last();
    assert_eq!(last, Some(0x0001_ffff_ffff_ffff));
    // The carry leaves the member alone.
    assert_eq!(high.next(), 0x0001_0000_0000_0000);
}

#[test]
fn ids_are_those_real_etcd_printed() {
    // Printed by 3.4.23, 3.5.16 and 3.5.30 alike, "starting local member" and /members.
    let id = |token, initial| {
        let cluster = Cluster::from_initial(token, initial).expect("cluster");
        let members: Vec<_> = cluster
            .members()
            .map(|m| format!("{}={}", m.name, m.id))
            .collect();
        format!("{} {}", cluster.id(), members.join(" "))
    };
    for (token, initial, expected) in PRINTED {
        assert_eq!(id(token, initial), expected, "{token} {initial}");
    }
    assert_eq!(
        member_id_at(
            &["http://127.0.0.1:1".into(), "http://127.0.0.1:2".into()],
            0
        ),
        cluster::member_id(
            &["http://127.0.0.1:2".into(), "http://127.0.0.1:1".into()],
            "0"
        )
    );
}

/// Token, `--initial-cluster`, what etcd made of them.
const PRINTED: [(&str, &str, &str); 5] = [
    (
        "etcd-cluster",
        "default=http://localhost:2380",
        "cdf818194e3a8c32 default=8e9e05c52164694d",
    ),
    (
        "etcd-cluster",
        "m1=http://127.0.0.1:59969",
        "5a16a9933fe8a8ca m1=fe0cf9c030604cde",
    ),
    (
        "tok with space",
        "m1=http://127.0.0.1:57557,m2=http://10.0.0.2:2380",
        "18d5582a0098d24b m2=1b6d987d4dd4a223 m1=d6835ff975e7edc5",
    ),
    (
        "täg",
        "b=https://b.example.com:2380,m1=http://127.0.0.1:41297,a=http://[::1]:7,b=https://a.example.com:2380",
        "19e69d579b5f0d09 a=cab703f3c8ed95dc b=d3a5c96820616638 m1=fdd8434ce7ce48d1",
    ),
    (
        "",
        "m1=http://127.0.0.1:58073,m1=http://127.0.0.1:57665",
        "4bbfc44e609885ff m1=c8cfaed9f7812770",
    ),
];

#[test]
fn urls_are_refused_with_etcds_words() {
    let refusal = |initial| match Cluster::from_initial("t", initial) {
        Err(Error::Malformed(why)) => why,
        other => panic!("{initial}: {other:?}"),
    };
    for (initial, why) in [
        (
            "m1=http://h",
            "URL address does not have the form \"host:port\": http://h",
        ),
        (
            "m1=http://::1:5",
            "URL address does not have the form \"host:port\": http://::1:5",
        ),
        ("m1=http://h:1/", "URL must not contain a path: http://h:1/"),
        (
            "m1=ftp://h:1",
            "URL scheme must be http, https, unix, or unixs: ftp://h:1",
        ),
        ("m1=", "URL scheme must be http, https, unix, or unixs: "),
        ("m1", "URL scheme must be http, https, unix, or unixs: "),
        (
            "m2=http://h:1,m1=http://h:1",
            "initial cluster m1=http://h:1,m2=http://h:1 has duplicate url",
        ),
    ] {
        assert_eq!(refusal(initial), why);
    }
    let cluster = Cluster::from_initial("t", "a=HTTP://h:2,,a= http://[::1]:1 ,b=unix://sock:0");
    let urls: Vec<_> = cluster
        .expect("cluster")
        .members()
        .flat_map(|m| m.peer_urls.clone())
        .collect();
    assert_eq!(urls.len(), 3);
    assert!(urls.contains(&"http://h:2".to_owned()) && urls.contains(&"http://[::1]:1".to_owned()));
}

#[test]
fn a_name_is_escaped_as_go_escapes_it() {
    let member = Member {
        id: MemberId(1),
        name: "<a&b>\u{2028}".into(),
        ..Member::default()
    };
    assert_eq!(
        member.to_json(),
        r#"{"id":1,"peerURLs":[],"name":"\u003ca\u0026b\u003e\u2028"}"#
    );
}

#[test]
fn as_many_learners_may_come_as_the_limit_says() {
    let mut truth = cluster();
    let mut tree = Tree::new();
    truth.limit_learners(2);
    let mut add = |id: u64| {
        let learner = Member {
            id: id.into(),
            peer_urls: vec![format!("http://x:{id}")],
            is_learner: true,
            ..Member::default()
        };
        conf_change::apply(
            &mut truth,
            &mut tree,
            &conf_change::add(id, &learner),
            Rules::Newer,
        )
        .map(drop)
    };
    assert_eq!(add(6), Ok(()));
    assert_eq!(add(7), Ok(()));
    assert_eq!(add(8), Err(Rejection::TooManyLearners));
    assert!(!truth.has_too_many_learners());
    truth.limit_learners(1);
    assert!(truth.has_too_many_learners());
}
