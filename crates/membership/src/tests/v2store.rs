//! The v2 tree beyond what the golden logs reach.

use proptest::prelude::*;
use proto::etcdserverpb::Request;

use crate::{
    conf_change,
    v2store::{DEPTH_MAX, Tree},
    *,
};

fn put(path: &str, val: &str) -> Request {
    Request {
        method: "PUT".into(),
        path: path.into(),
        val: val.into(),
        ..Request::default()
    }
}

fn sync(time: i64) -> Request {
    Request {
        method: "SYNC".into(),
        time,
        ..Request::default()
    }
}

const SECOND: i64 = 1_000_000_000;

#[test]
fn what_ended_goes_in_the_order_in_which_it_ended() {
    let mut tree = Tree::new();
    let at = 1_700_000_000 * SECOND;
    let ending = |path: &str, expiration| Request {
        expiration,
        ..put(path, "")
    };
    // As texts these three would sort otherwise.
    tree.apply(&ending("/1/second", at)).expect("not blocked");
    tree.apply(&ending("/1/half", at + SECOND / 2))
        .expect("not blocked");
    tree.apply(&ending("/1/next", at + SECOND))
        .expect("not blocked");
    tree.apply(&Request {
        dir: true,
        ..ending("/1/dir", at)
    })
    .expect("not blocked");
    tree.apply(&ending("/1/dir/inside", at + 1))
        .expect("not blocked");
    tree.apply(&ending("/1/ancient", EXPIRE_BEFORE_2000))
        .expect("not blocked");
    let json = String::from_utf8(tree.to_json()).expect("text");
    assert!(
        json.contains("\"2023-11-14T22:13:20Z\"") && json.contains("\"2023-11-14T22:13:20.5Z\"")
    );
    let index = |tree: &Tree| -> u64 {
        let json: serde_json::Value = serde_json::from_slice(&tree.to_json()).expect("JSON");
        json["CurrentIndex"].as_u64().expect("number")
    };
    let before = index(&tree);
    tree.apply(&sync(at + SECOND / 2)).expect("not blocked");
    for gone in ["/1/second", "/1/half", "/1/dir"] {
        assert_eq!(tree.get(gone), None, "{gone}");
    }
    assert!(tree.get("/1/next").is_some() && tree.get("/1/ancient").is_some());
    // What went with its directory does not count for itself.
    assert_eq!(index(&tree), before + 3);
    assert_eq!(Tree::parse(&tree.to_json()), Ok(tree));
}

const EXPIRE_BEFORE_2000: i64 = 900_000_000 * SECOND;

#[test]
fn times_with_a_zone_are_the_same_moments() {
    let mut tree = Tree::new();
    tree.apply(&Request {
        expiration: 1_700_000_000 * SECOND,
        ..put("/1/a", "")
    })
    .expect("not blocked");
    let text = String::from_utf8(tree.to_json()).expect("text");
    let zoned = text.replace("2023-11-14T22:13:20Z", "2023-11-15T00:13:20+02:00");
    assert_ne!(zoned, text);
    let mut zoned = Tree::parse(zoned.as_bytes()).expect("readable");
    assert_eq!(zoned, tree);
    zoned
        .apply(&sync(1_700_000_000 * SECOND - 1))
        .expect("not blocked");
    assert!(zoned.get("/1/a").is_some());
    zoned
        .apply(&sync(1_700_000_000 * SECOND))
        .expect("not blocked");
    assert!(zoned.get("/1/a").is_none());
    for never in ["0001-01-01T00:00:00Z", "0001-01-01T02:00:00.000+02:00"] {
        let never = text.replace("2023-11-14T22:13:20Z", never);
        let mut never = Tree::parse(never.as_bytes()).expect("readable");
        never.apply(&sync(i64::MAX)).expect("not blocked");
        assert!(never.get("/1/a").is_some());
    }
    for sick in ["\"yesterday\"", "\"2023-13-14T22:13:20Z\"", "5"] {
        let sick = text.replace("\"2023-11-14T22:13:20Z\"", sick);
        assert!(Tree::parse(sick.as_bytes()).is_err());
    }
}

#[test]
fn attributes_of_a_member_that_is_not_there_leave_no_trace() {
    let mut truth = Cluster::from_initial("t", "a=http://h:1,b=http://h:2").expect("cluster");
    let mut tree = Tree::new();
    for member in truth.members() {
        tree.add_member(member).expect("not blocked");
    }
    let ids: Vec<_> = truth.members().map(|m| m.id).collect();
    let publish = |id: MemberId| {
        put(
            &format!("/0/members/{id}/attributes"),
            r#"{"name":"n","clientURLs":null}"#,
        )
    };
    tree.apply(&publish(ids[0])).expect("not blocked");
    truth.apply_v2(&publish(ids[0])).expect("member");
    let value = &tree
        .get(&format!("/0/members/{}/attributes", ids[0]))
        .expect("leaf")
        .value;
    assert_eq!(value, r#"{"name":"n"}"#, "written anew, as etcd does");
    let gone = conf_change::remove(1, ids[1]);
    conf_change::apply(&mut truth, &mut tree, &gone, conf_change::Rules::Newer).expect("holds");
    let before = tree.clone();
    for id in [ids[1], MemberId(77)] {
        tree.apply(&publish(id)).expect("not blocked");
        assert!(truth.apply_v2(&publish(id)).is_err());
    }
    tree.apply(&put(&format!("/0/members/{}/attributes", ids[0]), "{"))
        .expect("not blocked");
    tree.apply(&put("/0/version", "three"))
        .expect("not blocked");
    assert_eq!(tree, before);
    assert_eq!(tree.members().map(|m| m.len()), Ok(1));
    assert_eq!(tree.removed(), Ok(vec![ids[1]]));
}

#[test]
fn paths_are_cleaned_and_namespaces_are_fixed() {
    let mut tree = Tree::new();
    tree.apply(&put("1//a/./x/../b/", "v"))
        .expect("not blocked");
    assert_eq!(tree.get("/1/a/b").map(|n| n.path.as_str()), Some("/1/a/b"));
    let before = tree.clone();
    for path in ["/", "/0", "/1", "/1/..", "", "/../1/"] {
        tree.apply(&put(path, "v")).expect("not blocked");
        for method in ["DELETE", "POST"] {
            let request = Request {
                method: method.into(),
                recursive: true,
                ..put(path, "v")
            };
            if method == "DELETE" {
                tree.apply(&request).expect("not blocked");
            }
        }
    }
    assert_eq!(tree, before);
}

#[test]
fn no_path_is_too_deep_to_be_read_again() {
    let mut tree = Tree::new();
    let deep = |levels: usize| format!("/1{}", "/x".repeat(levels - 1));
    tree.apply(&put(&deep(DEPTH_MAX), "deepest"))
        .expect("not blocked");
    let full = tree.clone();
    assert!(full.get(&deep(DEPTH_MAX)).is_some());
    tree.apply(&put(&deep(DEPTH_MAX + 1), "too deep"))
        .expect("not blocked");
    tree.apply(&put(&"/1/y".repeat(300_000), "far too deep"))
        .expect("not blocked");
    assert_eq!(tree, full);
    assert_eq!(Tree::parse(&full.to_json()), Ok(full));
    let nested = format!(
        "{}{}",
        r#"{"Root":{"Children":{"a":"#.repeat(100_000),
        "}}}".repeat(100_000)
    );
    assert!(Tree::parse(nested.as_bytes()).is_err());
}

fn request() -> impl Strategy<Value = Request> {
    let method = prop_oneof![
        Just("PUT"),
        Just("POST"),
        Just("DELETE"),
        Just("SYNC"),
        Just("QGET")
    ];
    let name = prop_oneof![Just("a"), Just("b"), Just(".."), Just(""), Just("<&>")];
    let path =
        prop::collection::vec(name, 0..5).prop_map(|names| format!("/1/{}", names.join("/")));
    let exist = prop::option::of(any::<bool>());
    let value = prop_oneof![Just(""), Just("v"), Just("w")];
    (
        method,
        path,
        exist,
        value.clone(),
        value,
        any::<[bool; 3]>(),
        0..6u64,
        -2..4i64,
    )
        .prop_map(
            |(
                method,
                path,
                prev_exist,
                val,
                prev_value,
                [dir, recursive, refresh],
                prev_index,
                time,
            )| Request {
                method: method.into(),
                path,
                prev_exist,
                val: val.into(),
                prev_value: prev_value.into(),
                prev_index,
                dir,
                recursive,
                refresh: refresh.then_some(true),
                expiration: time * 500_000_000 * SECOND,
                time: time * 500_000_000 * SECOND,
                ..Request::default()
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_tree_is_read_back_as_it_was(requests in prop::collection::vec(request(), 0..60)) {
        let mut tree = Tree::new();
        for request in &requests {
            tree.apply(request).expect("not blocked");
        }
        prop_assert_eq!(Tree::parse(&tree.to_json()), Ok(tree));
    }
}

/// etcd ends where a member or the version is to be written and cannot be.
#[test]
fn what_is_in_the_place_of_etcds_own_leaves_is_not_passed_over() {
    let mut tree = Tree::new();
    let cluster = Cluster::from_initial("t", "a=http://h:1").expect("one member");
    let member = cluster.members().next().expect("one member");
    tree.add_member(member).expect("not blocked");
    let attributes = format!("/0/members/{}/attributes", member.id);
    for path in ["/0/version", &attributes] {
        let unique = Request {
            method: "POST".into(),
            ..put(path, "v")
        };
        tree.apply(&unique).expect("a directory with one leaf");
    }
    let before = tree.clone();
    assert!(tree.apply(&put("/0/version", "3.5.0")).is_err());
    assert!(tree.apply(&put(&attributes, "{}")).is_err());
    assert!(tree.set_version(&semver::Version::new(3, 5, 0)).is_err());
    assert!(tree.set_attributes(member.id, "a", &[]).is_err());
    assert_eq!(tree, before);
}
