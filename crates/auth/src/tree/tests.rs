use proptest::{collection::vec, prelude::*};

use super::*;

/// What a sorted list of merged intervals answers.
fn is_covered(all: &[(Vec<u8>, Vec<u8>)], begin: &[u8], end: &[u8]) -> bool {
    let mut sorted: Vec<_> = all.to_vec();
    sorted.sort_by(|a, b| order(&a.0, &b.0));
    let mut reached = begin.to_vec();
    for (from, to) in sorted {
        if order(&from, &reached).is_le() && order(&to, &reached).is_gt() {
            reached = to;
        }
        if order(&reached, end).is_ge() {
            return true;
        }
    }
    false
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    vec(
        prop_oneof![Just(b'a'), Just(b'b'), Just(b'c'), Just(0)],
        1..4,
    )
}

fn interval() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    (key(), prop_oneof![key(), Just(Vec::new())])
        .prop_filter("it has keys", |(begin, end)| order(begin, end).is_lt())
}

fn tree(all: &[(Vec<u8>, Vec<u8>)]) -> Tree {
    let mut tree = Tree::default();
    for (begin, end) in all {
        tree.insert(Interval::new(begin, end));
    }
    tree
}

proptest! {
    #[test]
    fn a_range_is_covered_as_merged_intervals_cover_it(
        all in vec(interval(), 0..40),
        asked in vec(interval(), 1..10),
    ) {
        let tree = tree(&all);
        for (begin, end) in asked {
            let expected = is_covered(&all, &begin, &end);
            prop_assert_eq!(tree.covers(&Interval::new(&begin, &end)), expected);
        }
    }

    #[test]
    fn a_key_is_found_in_any_interval_that_has_it(
        all in vec(interval(), 0..40),
        asked in vec(key(), 1..10),
    ) {
        let tree = tree(&all);
        for key in asked {
            let has = |(begin, end): &(Vec<u8>, Vec<u8>)| {
                order(begin, &key).is_le() && order(end, &key).is_gt()
            };
            prop_assert_eq!(tree.intersects(&Interval::point(&key)), all.iter().any(has));
        }
    }

    #[test]
    fn the_tree_is_balanced(all in vec(interval(), 0..200)) {
        let tree = tree(&all);
        let mut heights = std::collections::BTreeSet::new();
        let mut open = vec![(tree.root, 0)];
        while let Some((at, blacks)) = open.pop() {
            if at == NIL {
                heights.insert(blacks);
                continue;
            }
            let node = &tree.nodes[at];
            prop_assert!(!(node.is_red && tree.nodes[node.parent].is_red));
            let blacks = blacks + u32::from(!node.is_red);
            open.push((node.left, blacks));
            open.push((node.right, blacks));
        }
        prop_assert_eq!(heights.len(), 1);
    }
}
