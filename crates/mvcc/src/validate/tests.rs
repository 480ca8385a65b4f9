use proto::{etcdserverpb::Compare, wire::Nested};

use super::*;

fn put(key: &str) -> RequestOp {
    RequestOp {
        request: Some(Request::RequestPut(PutRequest {
            key: key.to_owned().into(),
            ..PutRequest::default()
        })),
    }
}

fn delete(key: &str, end: &str) -> RequestOp {
    RequestOp {
        request: Some(Request::RequestDeleteRange(DeleteRangeRequest {
            key: key.to_owned().into(),
            range_end: end.to_owned().into(),
            ..DeleteRangeRequest::default()
        })),
    }
}

fn range(key: &str, serializable: bool) -> RequestOp {
    RequestOp {
        request: Some(Request::RequestRange(RangeRequest {
            key: key.to_owned().into(),
            serializable,
            ..RangeRequest::default()
        })),
    }
}

fn ranged(request: RangeRequest) -> RequestOp {
    RequestOp {
        request: Some(Request::RequestRange(request)),
    }
}

fn either(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> TxnRequest {
    TxnRequest {
        compare: vec![],
        success,
        failure,
    }
}

fn nested(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
    RequestOp {
        request: Some(Request::RequestTxn(either(success, failure))),
    }
}

/// Each verdict is that of etcd 3.5.30.
#[test]
fn duplicate_keys_are_found_as_etcd_finds_them() {
    let cases: Vec<(&str, Vec<RequestOp>, bool)> = vec![
        ("put, put", vec![put("a"), put("a")], false),
        ("put, delete", vec![put("a"), delete("a", "")], false),
        (
            "delete range, put in it",
            vec![delete("a", "c"), put("b")],
            false,
        ),
        (
            "delete range, put at its end",
            vec![delete("a", "c"), put("c")],
            true,
        ),
        (
            "delete to the end, put",
            vec![delete("a", "\0"), put("b")],
            true,
        ),
        (
            "put, delete to the end",
            vec![put("b"), delete("a", "\0")],
            true,
        ),
        (
            "delete all, put the first key",
            vec![delete("\0", "\0"), put("\0")],
            true,
        ),
        (
            "delete, delete",
            vec![delete("a", "c"), delete("b", "d")],
            true,
        ),
        (
            "overlapping deletes, put",
            vec![delete("a", "c"), delete("b", "e"), put("d")],
            false,
        ),
        (
            "wide delete over narrow, put",
            vec![delete("b", "c"), delete("a", "z"), put("x")],
            false,
        ),
        (
            "inverted delete, put",
            vec![delete("c", "a"), put("b")],
            true,
        ),
        (
            "both branches put",
            vec![nested(vec![put("a")], vec![put("a")])],
            true,
        ),
        (
            "one puts, the other deletes",
            vec![nested(vec![put("a")], vec![delete("a", "")])],
            true,
        ),
        (
            "one deletes, the other puts",
            vec![nested(vec![delete("a", "")], vec![put("a")])],
            true,
        ),
        (
            "two nested put",
            vec![
                nested(vec![put("a")], vec![]),
                nested(vec![put("a")], vec![]),
            ],
            false,
        ),
        (
            "else of one, then of another",
            vec![
                nested(vec![], vec![put("a")]),
                nested(vec![put("a")], vec![]),
            ],
            false,
        ),
        (
            "nested put, outer delete",
            vec![nested(vec![put("a")], vec![]), delete("a", "b")],
            false,
        ),
        (
            "nested delete, outer put",
            vec![nested(vec![delete("a", "")], vec![]), put("a")],
            false,
        ),
        (
            "nested delete, later nested put",
            vec![
                nested(vec![delete("a", "")], vec![]),
                nested(vec![put("a")], vec![]),
            ],
            false,
        ),
        (
            "nested put, later nested delete",
            vec![
                nested(vec![put("b")], vec![]),
                nested(vec![delete("a", "c")], vec![]),
            ],
            true,
        ),
        (
            "nested puts, later nested delete",
            vec![
                nested(vec![put("a")], vec![put("a")]),
                nested(vec![delete("a", "")], vec![]),
            ],
            true,
        ),
        (
            "nested delete to the end, outer put",
            vec![nested(vec![delete("a", "\0")], vec![]), put("b")],
            true,
        ),
    ];
    for (name, ops, valid) in cases {
        let verdict = txn(&either(ops.clone(), vec![]), 128, Line::V3_5);
        assert_eq!(verdict.is_ok(), valid, "{name}: {verdict:?}");
        assert!(verdict.is_ok() || matches!(verdict, Err(Error::DuplicateKey)));
        let failure = txn(&either(vec![], ops), 128, Line::V3_5);
        assert_eq!(failure.is_ok(), valid, "{name} in the failure branch");
    }
}

#[test]
fn keys_and_ignored_fields() {
    assert!(matches!(
        super::range(&RangeRequest::default(), Line::V3_5),
        Err(Error::EmptyKey)
    ));
    assert!(matches!(
        delete_range(&DeleteRangeRequest::default()),
        Err(Error::EmptyKey)
    ));
    assert!(matches!(
        super::put(&PutRequest::default()),
        Err(Error::EmptyKey)
    ));
    let request = PutRequest {
        key: "a".into(),
        value: "v".into(),
        ignore_value: true,
        ..PutRequest::default()
    };
    assert!(matches!(super::put(&request), Err(Error::ValueProvided)));
    let request = PutRequest {
        key: "a".into(),
        lease: 3,
        ignore_lease: true,
        ..PutRequest::default()
    };
    assert!(matches!(super::put(&request), Err(Error::LeaseProvided)));
    let compare = either(vec![], vec![]);
    let compare = TxnRequest {
        compare: vec![Compare::default()],
        ..compare
    };
    assert!(matches!(
        txn(&compare, 128, Line::V3_5),
        Err(Error::EmptyKey)
    ));
    let empty = either(vec![RequestOp { request: None }], vec![]);
    assert!(matches!(
        txn(&empty, 128, Line::V3_5),
        Err(Error::KeyNotFound)
    ));
}

#[test]
fn each_level_spends_of_the_budget() {
    let puts = |n: usize| (0..n).map(|i| put(&format!("k{i}"))).collect::<Vec<_>>();
    assert!(txn(&either(puts(3), vec![]), 3, Line::V3_5).is_ok());
    assert!(matches!(
        txn(&either(puts(4), vec![]), 3, Line::V3_5),
        Err(Error::TooManyOps)
    ));
    assert!(matches!(
        txn(&either(vec![], puts(4)), 3, Line::V3_5),
        Err(Error::TooManyOps)
    ));
    assert!(
        txn(
            &either(vec![nested(puts(2), vec![])], vec![]),
            3,
            Line::V3_5
        )
        .is_ok()
    );
    assert!(matches!(
        txn(
            &either(vec![nested(puts(3), vec![])], vec![]),
            3,
            Line::V3_5
        ),
        Err(Error::TooManyOps)
    ));
}

#[test]
fn depth_is_bounded_by_the_number_of_operations_alone() {
    let deep = |levels: usize| {
        let inner = (0..levels).fold(put("a"), |op, _| nested(vec![op], vec![]));
        Nested::new(either(vec![inner], vec![]))
    };
    assert!(txn(&deep(127), 128, Line::V3_5).is_ok());
    assert!(matches!(
        txn(&deep(128), 128, Line::V3_5),
        Err(Error::TooManyOps)
    ));
    // Far beyond what a recursion would survive.
    assert!(txn(&deep(100_000), 200_000, Line::V3_5).is_ok());
    assert!(matches!(
        txn(&deep(100_000), 1000, Line::V3_5),
        Err(Error::TooManyOps)
    ));
}

#[test]
fn read_only_means_ranges_alone() {
    let reads = either(vec![range("a", true)], vec![range("b", true)]);
    assert!(is_read_only(&reads) && is_serializable(&reads));
    let mixed = either(vec![range("a", true)], vec![range("b", false)]);
    assert!(is_read_only(&mixed) && !is_serializable(&mixed));
    assert!(!is_read_only(&either(vec![], vec![put("a")])));
    let inner = either(vec![nested(vec![range("a", true)], vec![])], vec![]);
    assert!(!is_read_only(&inner) && !is_serializable(&inner));
    assert!(is_read_only(&either(vec![], vec![])));
}

#[test]
fn a_sort_that_does_not_exist_is_refused_by_lines_that_look() {
    let sorted = |sort_order, sort_target| RangeRequest {
        key: "a".into(),
        sort_order,
        sort_target,
        ..RangeRequest::default()
    };
    for (order, target, exists) in [
        (0, 0, true),
        (2, 4, true),
        (3, 0, false),
        (0, 5, false),
        (-1, 0, false),
    ] {
        let request = sorted(order, target);
        let in_txn = either(vec![], vec![nested(vec![ranged(request.clone())], vec![])]);
        assert!(super::range(&request, Line::V3_5).is_ok());
        // Members of 3.5 end on a target that does not exist, and on no order.
        let is_harmless = (0..5).contains(&target);
        assert_eq!(txn(&in_txn, 128, Line::V3_5).is_ok(), is_harmless);
        for line in [Line::V3_6, Line::V3_7] {
            assert_eq!(
                super::range(&request, line).is_ok(),
                exists,
                "{order} {target}"
            );
            assert_eq!(txn(&in_txn, 128, line).is_ok(), exists, "{order} {target}");
        }
    }
    let no_key = RangeRequest::default();
    assert!(matches!(
        super::range(&no_key, Line::V3_6),
        Err(Error::EmptyKey)
    ));
}

#[test]
fn a_range_in_pieces_is_in_the_order_of_its_keys() {
    let verdict = |sort_order, sort_target, min_mod_revision| {
        let request = RangeRequest {
            key: "a".into(),
            sort_order,
            sort_target,
            min_mod_revision,
            ..RangeRequest::default()
        };
        range_stream(&request, Line::V3_7)
    };
    // No order is the order of the keys, whatever the target.
    for (order, target) in [(0, 0), (1, 0), (0, 3)] {
        assert!(verdict(order, target, 0).is_ok());
        assert!(matches!(
            verdict(order, target, 1),
            Err(Error::StreamFiltered)
        ));
    }
    for (order, target) in [(2, 0), (1, 3)] {
        assert!(matches!(
            verdict(order, target, 1),
            Err(Error::StreamSorted)
        ));
    }
    assert!(matches!(verdict(7, 0, 1), Err(Error::InvalidSortOption)));
}
