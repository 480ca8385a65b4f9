//! The checks of a sample cluster must see each fault they are there for.

use prost::Message as _;
use proto::etcdserverpb as pb;
use proto::mvccpb;

use super::*;
use crate::wire::{KeyValue, Transacted};

fn event(revision: i64, create: i64, prev_kv: bool) -> mvccpb::Event {
    let kv = mvccpb::KeyValue {
        key: "k".into(),
        mod_revision: revision,
        create_revision: create,
        ..Default::default()
    };
    let prev_kv = prev_kv.then(|| mvccpb::KeyValue {
        mod_revision: create,
        ..Default::default()
    });
    mvccpb::Event {
        r#type: 0,
        kv: Some(kv),
        prev_kv,
    }
}

fn response(revision: i64, watch_id: i64, events: Vec<mvccpb::Event>) -> Vec<u8> {
    let header = pb::ResponseHeader {
        revision,
        ..Default::default()
    };
    pb::WatchResponse {
        header: Some(header),
        watch_id,
        events,
        ..Default::default()
    }
    .encode_to_vec()
}

fn read(stream: &mut Stream, body: &[u8]) -> Result<(), String> {
    stream.read(body, Instant::now(), &mut Histogram::default(), |_| ())
}

#[test]
fn a_watch_in_order_is_accepted() {
    let mut stream = Stream::default();
    let events = vec![event(5, 5, false), event(6, 5, true)];
    read(&mut stream, &response(6, 0, events)).unwrap();
    read(&mut stream, &response(6, -1, vec![])).unwrap();
    read(&mut stream, &response(7, 0, vec![event(7, 5, true)])).unwrap();
    assert_eq!(stream.events, 3);
}

#[test]
fn a_watch_out_of_order_twice_or_without_previous_value_is_refused() {
    let begun = || {
        let mut stream = Stream::default();
        read(&mut stream, &response(5, 0, vec![event(5, 5, false)])).unwrap();
        stream
    };
    assert!(read(&mut begun(), &response(5, 0, vec![event(5, 5, false)])).is_err());
    assert!(
        read(
            &mut begun(),
            &response(7, 0, vec![event(7, 5, true), event(6, 5, true)])
        )
        .is_err()
    );
    assert!(read(&mut begun(), &response(6, 0, vec![event(6, 5, false)])).is_err());
    let cancelled = pb::WatchResponse {
        canceled: true,
        ..Default::default()
    }
    .encode_to_vec();
    assert!(read(&mut begun(), &cancelled).is_err());
}

#[test]
fn progress_ahead_of_an_event_is_refused() {
    let mut stream = Stream::default();
    read(&mut stream, &response(9, -1, vec![])).unwrap();
    let late = read(&mut stream, &response(9, 0, vec![event(9, 9, false)]));
    assert_eq!(
        late,
        Err("an event of revision 9 after progress to 9".into())
    );
}

fn page(kvs: i64, count: i64, more: bool) -> Vec<u8> {
    let header = pb::ResponseHeader {
        revision: 3,
        ..Default::default()
    };
    let kv = mvccpb::KeyValue {
        key: "k".into(),
        ..Default::default()
    };
    let kvs = vec![kv; kvs as usize];
    pb::RangeResponse {
        header: Some(header),
        kvs,
        more,
        count,
    }
    .encode_to_vec()
}

#[test]
fn pages_must_add_up() {
    let now = Instant::now();
    let mut times = Histogram::default();
    let mut walk = |pages: &[(i64, i64, bool)]| {
        let mut lister = Lister::new(now);
        pages.iter().try_for_each(|&(kvs, count, more)| {
            lister
                .page(&page(kvs, count, more), 2, now, &mut times)
                .map(|next| assert_eq!(next, more))
        })
    };
    assert_eq!(walk(&[(2, 5, true), (2, 3, true), (1, 1, false)]), Ok(()));
    assert_eq!(walk(&[(0, 0, false)]), Ok(()));
    assert!(walk(&[(2, 5, true), (2, 2, false)]).is_err());
    assert!(walk(&[(2, 5, false)]).is_err());
    assert!(walk(&[(1, 5, true)]).is_err());
}

#[test]
fn the_compaction_loop_follows_the_clock_of_its_key() {
    let begin = Instant::now();
    let every = Duration::from_secs(1);
    let mut connection = Connection::new("test");
    let mut compactor = Compactor::new(begin, "/registry/");
    let txn = |revision, succeeded, version| {
        let found = mvccpb::KeyValue {
            version,
            ..Default::default()
        };
        let range = pb::RangeResponse {
            kvs: vec![found],
            ..Default::default()
        };
        let response = pb::response_op::Response::ResponseRange(range);
        let header = pb::ResponseHeader {
            revision,
            ..Default::default()
        };
        let responses = vec![pb::ResponseOp {
            response: Some(response),
        }];
        pb::TxnResponse {
            header: Some(header),
            succeeded,
            responses,
        }
        .encode_to_vec()
    };
    let ok = Status {
        code: 0,
        message: String::new(),
    };
    let mut round = |number: u32, answer: Vec<u8>| {
        compactor.step(begin + every * number, every, COMPACT, &mut connection);
        compactor.answer(&answer).unwrap();
        assert!(compactor.closed(&ok));
        // A compaction follows only when the clock was won for the second time.
        compactor.step(begin + every * number, every, COMPACT, &mut connection);
        let asked = !compactor.idle();
        if asked {
            compactor.answer(b"").unwrap();
            assert!(compactor.closed(&Status {
                code: 11,
                message: "compacted".into()
            }));
        }
        asked
    };
    assert!(!round(0, txn(10, false, 4)));
    assert!(round(1, txn(20, true, 0)));
    assert!(round(2, txn(30, true, 0)));
    assert!(!round(3, txn(40, false, 9)));
}

#[test]
fn answers_are_held_against_what_was_written() {
    let load = crate::workload::tests::load();
    let mut resources = objects::resources(&load);
    let create = objects::fill(&mut resources).unwrap();
    let resource = &mut resources[create.resource];
    let won = |revision| Transacted {
        revision,
        succeeded: true,
        found: None,
    };
    let lost = |mod_revision| {
        let found = Some(KeyValue {
            mod_revision,
            ..Default::default()
        });
        Transacted {
            revision: 50,
            succeeded: false,
            found,
        }
    };
    let write = |action, revision| Written {
        action,
        revision,
        ..create
    };
    resource.answered(create, &won(7)).unwrap();
    resource
        .answered(write(Action::Stale, 6), &lost(7))
        .unwrap();
    resource
        .answered(write(Action::Update, 7), &won(8))
        .unwrap();
    assert_eq!(resource.written, 2);
    assert!(
        resource
            .answered(write(Action::Stale, 7), &lost(7))
            .is_err()
    );
    assert!(
        resource
            .answered(write(Action::Update, 8), &lost(8))
            .is_err()
    );
    assert!(resource.answered(write(Action::Stale, 7), &won(9)).is_err());
}

#[test]
fn values_bear_their_number() {
    let mut value = Vec::new();
    objects::value(77, &[1; 300], &mut value);
    assert_eq!((value.len(), objects::number(&value)), (300, Some(77)));
    assert_eq!(objects::number(b"k8s\0"), None);
}
