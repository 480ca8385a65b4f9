use proto::etcdserverpb::{PutRequest, RangeRequest};

use super::*;

fn put(len: usize) -> RequestOp {
    RequestOp {
        request: Some(Request::RequestPut(PutRequest {
            value: vec![0; len].into(),
            ..PutRequest::default()
        })),
    }
}

fn range() -> RequestOp {
    RequestOp {
        request: Some(Request::RequestRange(RangeRequest::default())),
    }
}

fn txn(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> TxnRequest {
    TxnRequest {
        compare: Vec::new(),
        success,
        failure,
    }
}

fn nested(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
    RequestOp {
        request: Some(Request::RequestTxn(txn(success, failure))),
    }
}

#[test]
fn a_transaction_counts_for_its_dearer_branch() {
    let flat = txn(vec![put(1), range()], vec![put(2), put(3)]);
    assert_eq!(txn_cost(&flat), 2 * 256 + 5);
    assert_eq!(nested_txn_cost(&flat), txn_cost(&flat));
    assert_eq!(nested_txn_cost(&txn(vec![], vec![])), 0);
}

#[test]
fn the_puts_of_nested_transactions_count_before_they_are_proposed() {
    let inner = || nested(vec![put(1)], vec![put(10), nested(vec![], vec![put(5)])]);
    let deep = 2 * 256 + 15;
    for (request, cost) in [
        (txn(vec![inner()], vec![]), deep),
        (txn(vec![], vec![inner()]), deep),
        (
            txn(vec![inner(), put(7), inner()], vec![put(9)]),
            2 * deep + 256 + 7,
        ),
        (txn(vec![put(0)], vec![range(), inner(), inner()]), 2 * deep),
    ] {
        assert_eq!(nested_txn_cost(&request), cost);
    }
    // At apply the alarm forbids what it forbids on every member of this line.
    assert_eq!(txn_cost(&txn(vec![inner()], vec![])), 0);
}
