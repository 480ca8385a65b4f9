use super::*;

/// Each line has keys in the order in which they were added, and the places of the additions
/// after a `sort.Sort` of Go 1.26 for each.
#[test]
fn permissions_with_one_key_are_in_the_order_of_go() {
    let golden = include_str!("../../tests/golden/go-sort.txt");
    for line in golden.lines() {
        let (keys, expected) = line.split_once(" : ").expect("two lists");
        let mut permissions = Vec::new();
        for (at, key) in keys.split(' ').enumerate() {
            let new = Permission {
                key: key.to_owned().into(),
                range_end: at.to_string().into(),
                ..Permission::default()
            };
            add(&mut permissions, new);
        }
        let text = |one: &Permission| String::from_utf8_lossy(&one.range_end).into_owned();
        let order: Vec<String> = permissions.iter().map(text).collect();
        assert_eq!(order.join(" "), expected);
    }
    assert_eq!(golden.lines().count(), 40);
}

#[test]
fn a_list_in_any_order_is_sorted() {
    let mut random = 1u64;
    for length in 0..300 {
        let mut items: Vec<Permission> = (0..length)
            .map(|_| {
                random = random
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                Permission {
                    key: vec![(random >> 40) as u8].into(),
                    ..Permission::default()
                }
            })
            .collect();
        sort(&mut items);
        assert!(items.is_sorted_by_key(|one| one.key.clone()), "{length}");
    }
}
