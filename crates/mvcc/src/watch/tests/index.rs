//! The index against a list of ranges that is walked from end to end.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::{index::Index, range::Range};

#[test]
fn requests_name_ranges_as_etcd_reads_them() {
    let holds = |key: &[u8], end: &[u8], probe: &[u8]| {
        let mut index = Index::new(7);
        index.insert(&Range::parse(key, end).expect("a range"), 0);
        let mut hits = 0;
        index.visit(probe, |slots| hits += slots.len());
        hits == 1
    };
    assert!(
        holds(b"a", b"", b"a") && !holds(b"a", b"", b"aa"),
        "one key"
    );
    assert!(
        holds(b"", b"", b"\0") && !holds(b"", b"", b"a"),
        "no key is the zero key"
    );
    assert!(
        holds(b"", b"\0", b"\0") && holds(b"", b"\0", b"\xff\xff"),
        "all keys"
    );
    assert!(
        holds(b"b", b"\0", b"b") && !holds(b"b", b"\0", b"az"),
        "from a key on"
    );
    assert!(holds(b"a", b"c", b"a") && holds(b"a", b"c", b"bzz"));
    assert!(
        !holds(b"a", b"c", b"c") && !holds(b"a", b"c", b"Z"),
        "the end is not in it"
    );
    for (key, end) in [(&b"b"[..], &b"a"[..]), (b"b", b"b"), (b"\0", b"")] {
        assert_eq!(Range::parse(key, end).is_none(), !end.is_empty());
    }
}

fn bound() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(b'a'..=b'c', 0..4)
}

fn range() -> impl Strategy<Value = Range> {
    let end = prop_oneof![Just(b"\0".to_vec()), Just(Vec::new()), bound(), bound()];
    (bound(), end).prop_filter_map("empty", |(key, end)| Range::parse(&key, &end))
}

fn holds(range: &Range, key: &[u8]) -> bool {
    match range {
        Range::Key(only) => only == key,
        Range::Span(start, end) => &start[..] <= key && end.is_after(key),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_key_finds_its_watchers_and_only_them(
        seed: u64,
        steps in prop::collection::vec((range(), any::<prop::sample::Index>(), 0..3u8), 1..200),
        probes in prop::collection::vec(bound(), 8),
    ) {
        let mut index = Index::new(seed);
        let mut model: BTreeMap<u32, (Range, u32)> = BTreeMap::new();
        for (slot, (range, pick, what)) in (0u32..).zip(steps) {
            if what == 0 && !model.is_empty() {
                let slot = *pick.get(&model.keys().copied().collect::<Vec<_>>());
                let (range, place) = model.remove(&slot).expect("known");
                if let Some(moved) = index.remove(&range, place) {
                    model.get_mut(&moved).expect("known").1 = place;
                }
            } else {
                let place = index.insert(&range, slot);
                model.insert(slot, (range, place));
            }
        }
        for key in &probes {
            let mut found = Vec::new();
            index.visit(key, |slots| found.extend_from_slice(slots));
            found.sort_unstable();
            let matching = model.iter().filter(|(_, (range, _))| holds(range, key));
            prop_assert_eq!(found, matching.map(|(slot, _)| *slot).collect::<Vec<_>>());
        }
        for slot in model.keys().copied().collect::<Vec<_>>() {
            let (range, place) = model.remove(&slot).expect("known");
            if let Some(moved) = index.remove(&range, place) {
                model.get_mut(&moved).expect("known").1 = place;
            }
        }
        prop_assert_eq!(index.len(), 0, "nothing stays behind");
    }
}

/// Ten thousand disjoint ranges: a key must not look at more than a path or two.
#[test]
fn the_tree_stays_shallow_when_ranges_come_in_order() {
    let mut index = Index::new(1);
    for number in 0..10_000 {
        let (key, end) = (format!("{number:05}"), format!("{number:05}~"));
        index.insert(
            &Range::parse(key.as_bytes(), end.as_bytes()).expect("a range"),
            number,
        );
    }
    assert!(index.depth() < 64, "depth {}", index.depth());
}
