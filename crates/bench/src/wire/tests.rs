//! Every request and answer against the generated messages.

use proptest::prelude::*;
use prost::Message as _;
use proto::etcdserverpb as pb;
use proto::mvccpb;

use super::*;

fn written(body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    // What stands before must stay: requests are written behind others.
    let mut out = b"before".to_vec();
    body(&mut out);
    out.split_off(6)
}

fn header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader {
        cluster_id: u64::MAX,
        member_id: 7,
        revision,
        raft_term: 3,
    })
}

fn kv(key: &[u8], value: &[u8], mod_revision: i64) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: key.to_vec().into(),
        value: value.to_vec().into(),
        create_revision: 2,
        mod_revision,
        version: 4,
        lease: -1,
    }
}

proptest! {
    #[test]
    fn puts_and_ranges_are_what_prost_writes(
        key in proptest::collection::vec(any::<u8>(), 0..300),
        value in proptest::collection::vec(any::<u8>(), 0..20_000),
        number in any::<i64>(),
        flag in any::<bool>(),
    ) {
        let put_request = pb::PutRequest {
            key: key.clone().into(), value: value.clone().into(), lease: number, ..Default::default()
        };
        prop_assert_eq!(written(|out| put(&key, &value, number, out)), put_request.encode_to_vec());
        let range_request = pb::RangeRequest {
            key: key.clone().into(), range_end: value.clone().into(), limit: number, revision: number,
            serializable: flag, count_only: !flag, ..Default::default()
        };
        let ask = Range {
            key: &key, end: &value, limit: number, revision: number, serializable: flag, count_only: !flag,
        };
        prop_assert_eq!(written(|out| range(ask, out)), range_request.encode_to_vec());
        let delete = pb::DeleteRangeRequest { key: key.clone().into(), range_end: value.clone().into(), prev_kv: false };
        prop_assert_eq!(written(|out| delete_range(&key, &value, out)), delete.encode_to_vec());
    }

    #[test]
    fn transactions_are_what_prost_writes(
        key in proptest::collection::vec(any::<u8>(), 1..200),
        value in proptest::collection::vec(any::<u8>(), 0..40_000),
        number in 0..i64::MAX,
        version in any::<bool>(),
        delete in any::<bool>(),
        read in any::<bool>(),
    ) {
        use pb::compare::TargetUnion;
        use pb::request_op::Request;
        let op = |request| pb::RequestOp { request: Some(request) };
        let write = if delete {
            Request::RequestDeleteRange(pb::DeleteRangeRequest { key: key.clone().into(), ..Default::default() })
        } else {
            Request::RequestPut(pb::PutRequest {
                key: key.clone().into(), value: value.clone().into(), lease: 5, ..Default::default()
            })
        };
        let read_op = Request::RequestRange(pb::RangeRequest { key: key.clone().into(), ..Default::default() });
        let expected = pb::TxnRequest {
            compare: vec![pb::Compare {
                result: 0,
                target: if version { 0 } else { 2 },
                key: key.clone().into(),
                target_union: Some(if version { TargetUnion::Version(number) } else { TargetUnion::ModRevision(number) }),
                ..Default::default()
            }],
            success: vec![op(write)],
            failure: if read { vec![op(read_op)] } else { vec![] },
        };
        let compare = if version { Compare::Version(number) } else { Compare::ModRevision(number) };
        let write = if delete { Write::Delete } else { Write::Put(&value, 5) };
        let bytes = written(|out| txn(&key, compare, write, read, out));
        prop_assert_eq!(pb::TxnRequest::decode(&bytes[..]).unwrap(), expected.clone());
        prop_assert_eq!(bytes.len(), expected.encoded_len());
    }

    #[test]
    fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = revision(&body);
        let _ = ranged(&body);
        let _ = range_streamed(&body);
        let _ = transacted(&body);
        let _ = watch_id(&body);
        let _ = watched(&body, |_| ());
    }
}

#[test]
fn watch_requests_are_what_prost_writes() {
    use pb::watch_request::RequestUnion;
    let create = pb::WatchCreateRequest {
        key: b"/a/".to_vec().into(),
        range_end: b"/a0".to_vec().into(),
        start_revision: 12,
        progress_notify: true,
        prev_kv: true,
        watch_id: 3,
        ..Default::default()
    };
    let expected = pb::WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(create)),
    };
    let ask = Watch {
        key: b"/a/",
        end: b"/a0",
        start_revision: 12,
        progress_notify: true,
        prev_kv: true,
        watch_id: 3,
    };
    assert_eq!(
        written(|out| watch_create(ask, out)),
        expected.encode_to_vec()
    );
    let progress = pb::WatchRequest {
        request_union: Some(RequestUnion::ProgressRequest(Default::default())),
    };
    assert_eq!(written(watch_progress), progress.encode_to_vec());
}

#[test]
fn ranges_are_read() {
    let answer = pb::RangeResponse {
        header: header(42),
        kvs: vec![kv(b"a", b"1", 7), kv(b"b", b"22", 8)],
        more: true,
        count: 9,
    };
    let last = KeyValue {
        key: b"b",
        value: b"22",
        create_revision: 2,
        mod_revision: 8,
        version: 4,
    };
    let expected = Ranged {
        revision: 42,
        kvs: 2,
        count: 9,
        more: true,
        last: Some(last),
    };
    let bytes = answer.encode_to_vec();
    assert_eq!(ranged(&bytes), Ok(expected));
    assert_eq!(revision(&bytes), Ok(42));
    assert_eq!(ranged(&bytes[..bytes.len() - 3]), Err(Unreadable));
    let streamed = pb::RangeStreamResponse {
        range_response: Some(answer),
    }
    .encode_to_vec();
    assert_eq!(range_streamed(&streamed), Ok(expected));
}

#[test]
fn transactions_are_read() {
    use pb::response_op::Response;
    let range = pb::RangeResponse {
        header: header(1),
        kvs: vec![kv(b"k", b"v", 6)],
        more: false,
        count: 1,
    };
    let answer = pb::TxnResponse {
        header: header(10),
        succeeded: false,
        responses: vec![pb::ResponseOp {
            response: Some(Response::ResponseRange(range)),
        }],
    };
    let bytes = answer.encode_to_vec();
    let read = transacted(&bytes).unwrap();
    assert_eq!(
        (
            read.revision,
            read.succeeded,
            read.found.unwrap().mod_revision
        ),
        (10, false, 6)
    );
    let answer = pb::TxnResponse {
        header: header(11),
        succeeded: true,
        responses: vec![],
    }
    .encode_to_vec();
    assert_eq!(
        transacted(&answer).unwrap(),
        Transacted {
            revision: 11,
            succeeded: true,
            found: None
        }
    );
}

#[test]
fn watches_are_read() {
    let answer = pb::WatchResponse {
        header: header(30),
        watch_id: -1,
        events: vec![
            mvccpb::Event {
                r#type: 0,
                kv: Some(kv(b"a", b"1", 29)),
                prev_kv: None,
            },
            mvccpb::Event {
                r#type: 1,
                kv: Some(kv(b"a", b"", 30)),
                prev_kv: Some(kv(b"a", b"1", 29)),
            },
        ],
        cancel_reason: "why".into(),
        ..Default::default()
    };
    let bytes = answer.encode_to_vec();
    let mut events = Vec::new();
    let read = watched(&bytes, |event| {
        events.push((event.delete, event.kv.mod_revision, event.prev_kv))
    })
    .unwrap();
    assert_eq!(
        (
            read.revision,
            read.watch_id,
            read.events,
            read.cancel_reason
        ),
        (30, -1, 2, &b"why"[..])
    );
    assert_eq!(watch_id(&bytes), Ok(-1));
    assert_eq!(events, [(false, 29, false), (true, 30, true)]);
}

#[test]
fn leases_are_read() {
    let answer = pb::LeaseGrantResponse {
        header: header(3),
        id: 77,
        ttl: 60,
        error: String::new(),
    };
    assert_eq!(lease_id(&answer.encode_to_vec()), Ok(77));
}
