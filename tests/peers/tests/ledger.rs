//! The judge of the suites that kill and roll, on histories it must refuse.

use std::collections::BTreeMap;

use bytes::Bytes;
use peers::ledger::{Effects, Ledger, verify};
use proto::mvccpb::{Event, KeyValue};

#[test]
fn a_lost_or_changed_write_is_noticed() {
    let event = |revision: i64, value: &str| Event {
        kv: Some(KeyValue {
            key: "k".into(),
            value: Bytes::from(value.to_owned()),
            mod_revision: revision,
            ..Default::default()
        }),
        ..Default::default()
    };
    let effects = |value: &str| Effects::from([("k".into(), Some(Bytes::from(value.to_owned())))]);
    let judge = |events: &[Event], last: i64| {
        let mut ledger = Ledger {
            acknowledged: BTreeMap::from([(2, effects("a")), (3, effects("b"))]),
            open: vec![effects("c")],
        };
        verify(events, 2, last, &mut ledger, &mut Effects::new()).is_ok()
    };
    let (a, b, c) = (event(2, "a"), event(3, "b"), event(4, "c"));
    assert!(
        judge(&[a.clone(), b.clone()], 3),
        "the open write did not happen"
    );
    assert!(
        judge(&[a.clone(), b.clone(), c.clone()], 4),
        "the open write happened"
    );
    assert!(!judge(std::slice::from_ref(&a), 2), "b is lost");
    assert!(!judge(&[a.clone(), event(3, "x")], 3), "b is changed");
    assert!(!judge(&[a.clone(), c.clone()], 4), "a hole");
    assert!(
        !judge(&[a, b, c, event(5, "c")], 5),
        "the open write happened twice"
    );
}
