//! What real releases wrote (`tests/golden`, see `make.py` there): the log of a
//! member, the tree in its newest `.snap`, the membership in its database.

use std::{collections::BTreeMap, fs, path::Path};

use bolt::Batch;
use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use proto::raftpb::{ConfChange, ConfState};

use crate::{
    conf_change::{self, Done, Rules},
    disagreement::{self, Disagreement},
    v2store::Tree,
    v3store::V3View,
    *,
};

const VERSIONS: [&str; 5] = ["3.4.23", "3.5.0", "3.5.1", "3.5.16", "3.5.30"];

fn read(version: &str, file: &str) -> String {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    fs::read_to_string(home.join(version).join(file)).expect("golden sample")
}

struct Entry {
    index: u64,
    is_change: bool,
    data: Bytes,
}

fn entries(version: &str) -> Vec<Entry> {
    let hex = |text: &str| -> Bytes {
        (0..text.len() / 2)
            .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex"))
            .collect()
    };
    let entry = |line: &str| {
        let mut parts = line.split(' ');
        let mut next = || parts.next().unwrap_or_default();
        Entry {
            index: next().parse().expect("index"),
            is_change: next() == "1",
            data: hex(next()),
        }
    };
    read(version, "entries.txt").lines().map(entry).collect()
}

/// Index of the snapshot, and its data.
fn snapshot(version: &str) -> (u64, String) {
    let text = read(version, "snap.json");
    let (index, json) = text.split_once('\n').expect("two lines");
    (index.parse().expect("index"), json.to_owned())
}

/// Cluster and tree after the log up to an index.
fn replay(version: &str, up_to: u64) -> (Cluster, Tree) {
    let (mut cluster, mut tree) = (Cluster::default(), Tree::new());
    for entry in entries(version).into_iter().filter(|e| e.index <= up_to) {
        if entry.is_change {
            let change = ConfChange::decode(entry.data).expect("conf change");
            conf_change::apply(&mut cluster, &mut tree, &change, Rules::Newer).expect("holds");
            continue;
        }
        match decode_entry(&entry.data, line::Line::DEFAULT).expect("decodes") {
            Payload::V2(request) => {
                tree.apply(&request).expect("not blocked");
                cluster.apply_v2(&request).expect("known member");
            }
            Payload::Internal(request) => assert!(request.op.is_some()),
            Payload::Empty => {}
        }
    }
    (cluster, tree)
}

#[test]
fn the_replayed_log_gives_the_tree_that_etcd_saved() {
    for version in VERSIONS {
        let (index, json) = snapshot(version);
        let saved = Tree::parse(json.as_bytes()).expect("readable");
        let (cluster, tree) = replay(version, index);
        let text = |tree: &Tree| String::from_utf8(tree.to_json()).expect("text");
        assert_eq!(text(&tree), text(&saved), "{version}");
        let recovered = Cluster::recover(cluster.id(), &saved).expect("members");
        assert!(recovered.members().eq(cluster.members()), "{version}");
        assert!(recovered.removed().eq(cluster.removed()), "{version}");
        assert_eq!(recovered.version(), cluster.version(), "{version}");
        assert_eq!(
            (recovered.members().count(), recovered.removed().count()),
            (2, 1)
        );
        assert!(saved.has_user_data());
    }
}

#[test]
fn a_tree_is_written_with_the_bytes_of_etcd() {
    for version in VERSIONS {
        let (_, json) = snapshot(version);
        let tree = Tree::parse(json.as_bytes()).expect("readable");
        let ours = String::from_utf8(tree.to_json()).expect("text");
        // All but event history and statistics, which are left out.
        let root = json.split_once(",\"WatcherHub\"").map_or_else(
            || json.split_once(",\"CurrentIndex\"").expect("root").0,
            |parts| parts.0,
        );
        assert!(ours.starts_with(root), "{version}\n{ours}\n{root}");
        assert!(ours.ends_with(",\"CurrentVersion\":2}"));
        assert_eq!(Tree::parse(ours.as_bytes()), Ok(tree));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_samples_are_refused_or_read_but_never_panic(
        version in prop::sample::select(&VERSIONS[..]),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let damage = |bytes: &mut [u8]| {
            for (at, byte) in &flips {
                let len = bytes.len();
                if len > 0 {
                    bytes[at.index(len)] = *byte;
                }
            }
        };
        let mut json = snapshot(version).1.into_bytes();
        damage(&mut json);
        fuzzing::v2store(&json);
        for entry in entries(version) {
            let mut data = entry.data.to_vec();
            damage(&mut data);
            fuzzing::entry(&data);
            let change = ConfChange { node_id: 5, context: Some(data.into()), ..ConfChange::default() };
            let _ = conf_change::validate(&Cluster::default(), &change, Rules::Newer);
        }
    }
}

#[test]
fn the_event_history_is_passed_over() {
    let (_, json) = snapshot("3.5.16");
    assert!(json.contains("\"Capacity\":1000") && json.contains("getsSuccess"));
    assert!(Tree::parse(json.as_bytes()).is_ok());
}

#[test]
fn changes_are_made_with_the_bytes_of_etcd() {
    for version in VERSIONS {
        let mut cluster = Cluster::default();
        let mut seen = Vec::new();
        for entry in entries(version).into_iter().filter(|e| e.is_change) {
            let change = ConfChange::decode(entry.data.clone()).expect("conf change");
            let done = conf_change::apply(&mut cluster, &mut Tree::new(), &change, Rules::Newer)
                .expect("holds");
            let member = |id| cluster.member(id).expect("member");
            let ours = match done {
                Done::Added(id) => conf_change::add(change.id, member(id)),
                Done::Promoted(id) => conf_change::promote(change.id, id),
                Done::Updated(id) => {
                    conf_change::update(change.id, id, &member(id).peer_urls, false)
                }
                Done::Removed(id) => conf_change::remove(change.id, id),
            };
            assert_eq!(ours.encode_to_vec(), entry.data, "{version} {done:?}");
            seen.push(done);
        }
        assert_eq!(seen.len(), 6, "{version}: {seen:?}");
    }
}

#[test]
fn the_first_members_entry_and_id_come_from_the_flags() {
    for version in VERSIONS {
        let first = &entries(version)[0];
        let change = ConfChange::decode(first.data.clone()).expect("conf change");
        let member: Member =
            serde_json::from_slice(&change.context.unwrap_or_default()).expect("context");
        let initial = format!("m1={}", member.peer_urls[0]);
        let cluster = Cluster::from_initial(&format!("tok {version}"), &initial).expect("cluster");
        let ours = &conf_change::bootstrap_entries(&cluster)[0];
        assert_eq!((ours.index, ours.term), (first.index, 1));
        assert_eq!(ours.data.as_ref(), Some(&first.data), "{version}");
    }
}

/// The membership buckets as written down, `bucket key` to value.
fn buckets(version: &str) -> BTreeMap<(String, String), String> {
    let text = read(version, "buckets.txt");
    let row = |line: &str| {
        let mut parts = line.splitn(3, ' ').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        ((next(), next()), next())
    };
    text.lines().map(row).collect()
}

#[test]
fn the_database_gets_the_bytes_of_a_sound_etcd() {
    for version in VERSIONS {
        let (cluster, _) = replay(version, u64::MAX);
        let mut batch = Batch::default();
        v3store::project(&cluster, &mut batch);
        let mut voters: Vec<u64> = cluster.members().map(|m| m.id.0).collect();
        voters.sort_unstable();
        let conf_state = ConfState {
            voters,
            ..ConfState::default()
        };
        v3store::project_conf_state(&conf_state, &mut batch);
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).expect("text");
        let ours: BTreeMap<_, _> = batch
            .iter()
            .filter_map(|(bucket, key, value)| Some(((bucket.to_owned(), text(key)), text(value?))))
            .collect();
        let theirs = buckets(version);
        // 3.4 has no confState there; 3.5.1 to 3.5.19 write a member once and never again.
        let trusted = |key: &(String, String)| match version {
            "3.4.23" => key.0 != "meta",
            "3.5.1" | "3.5.16" => key.0 != "members",
            _ => true,
        };
        let keep = |map: &BTreeMap<(String, String), String>| -> BTreeMap<_, _> {
            map.iter()
                .filter(|(key, _)| trusted(key))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect()
        };
        assert_eq!(keep(&ours), keep(&theirs), "{version}");
    }
}

/// A database with the rows of a golden sample, read back.
fn view(rows: &BTreeMap<(String, String), String>) -> V3View {
    let dir = tempfile::tempdir().expect("directory");
    let db = bolt::Db::open(&dir.path().join("db"), bolt::Options::default()).expect("db");
    let mut tx = db.begin_write().expect("transaction");
    for ((bucket, key), value) in rows {
        tx.create_bucket_if_not_exists(bucket.as_bytes())
            .expect("bucket");
        tx.put(bucket.as_bytes(), key.as_bytes(), value.as_bytes())
            .expect("put");
    }
    tx.commit().expect("commit");
    v3store::read(&db.begin_read()).expect("readable")
}

#[test]
fn releases_from_3_5_1_to_3_5_19_are_convicted_of_the_lost_promotion() {
    for version in VERSIONS {
        let (cluster, _) = replay(version, u64::MAX);
        let view = view(&buckets(version));
        assert_eq!(view.unreadable, []);
        let conf_state = ConfState {
            voters: cluster.members().map(|m| m.id.0).collect(),
            ..ConfState::default()
        };
        let found = disagreement::find(&cluster, &conf_state, &view);
        match version {
            "3.5.1" | "3.5.16" => {
                let second = cluster.members().find(|m| m.name == "m2").expect("m2");
                assert!(
                    found.contains(&Disagreement::StaleLearner(second.id)),
                    "{version}: {found:?}"
                );
                assert!(
                    found.contains(&Disagreement::Attributes(second.id)),
                    "{version}: {found:?}"
                );
            }
            _ => assert_eq!(found, [], "{version}"),
        }
    }
}

#[test]
fn what_is_projected_is_read_back() {
    let (mut cluster, _) = replay("3.5.30", u64::MAX);
    for target in [None, Some(Some("3.4.0")), Some(None)] {
        if let Some(target) = target {
            cluster.set_downgrade(target.map(str::to_owned));
        }
        let mut batch = Batch::default();
        v3store::project(&cluster, &mut batch);
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).expect("text");
        let rows = batch
            .iter()
            .filter_map(|(bucket, key, value)| Some(((bucket.to_owned(), text(key)), text(value?))))
            .collect();
        let view = view(&rows);
        assert!(view.members.iter().eq(cluster.members()));
        assert!(view.removed.iter().copied().eq(cluster.removed()));
        assert_eq!(view.cluster_version.as_ref(), cluster.version());
        let mut recovered = Cluster::default();
        recovered.recover_downgrade(&view);
        assert_eq!(recovered.downgrade(), cluster.downgrade());
        let stored = rows
            .get(&("cluster".into(), "downgrade".into()))
            .map(String::as_str);
        assert_eq!(
            stored,
            match target {
                None => None,
                Some(Some(_)) => Some(r#"{"target-version":"3.4.0","enabled":true}"#),
                Some(None) => Some(r#"{"target-version":"","enabled":false}"#),
            }
        );
    }
}

#[test]
fn records_nobody_can_read_are_listed_and_cleared_away() {
    let (cluster, _) = replay("3.5.30", u64::MAX);
    let mut rows = buckets("3.5.30");
    let own = cluster.members().next().expect("member").id.to_string();
    let row = |bucket: &str, key: &str| (bucket.to_owned(), key.to_owned());
    rows.insert(row("members", &own), "{".into());
    rows.insert(row("members", "zz"), "{}".into());
    rows.insert(row("members", "5"), r#"{"id":6,"peerURLs":[]}"#.into());
    rows.insert(row("members", "7"), r#"{"id":7,"peerURLs":null}"#.into());
    rows.insert(row("members_removed", "x"), "removed".into());
    rows.insert(row("cluster", "clusterVersion"), "three".into());
    rows.insert(row("meta", "confState"), "{".into());
    let view = view(&rows);
    let keys: Vec<_> = view
        .unreadable
        .iter()
        .map(|r| (r.bucket, &r.key[..]))
        .collect();
    let mut expected = vec![
        ("members", own.as_bytes()),
        ("members", b"5"),
        ("members", b"zz"),
    ];
    expected.sort_by_key(|(_, key)| *key);
    expected.extend([
        ("members_removed", &b"x"[..]),
        ("cluster", b"clusterVersion"),
        ("meta", b"confState"),
    ]);
    assert_eq!(keys, expected);
    let mut batch = Batch::default();
    v3store::project_over(&cluster, &view, &mut batch);
    let mut gone: Vec<_> = batch
        .iter()
        .filter(|(_, key, value)| {
            let text = String::from_utf8_lossy(key);
            let id = u64::from_str_radix(&text, 16).map(MemberId);
            value.is_none() && !id.is_ok_and(|id| cluster.is_removed(id))
        })
        .map(|(_, key, value)| (&key[..], value))
        .collect();
    gone.sort();
    assert_eq!(gone, [(&b"5"[..], None), (b"7", None), (b"zz", None)]);
}
