use bytes::{Bytes, BytesMut};
use line::Line;
use prost::Message as _;
use proto::etcdserverpb::{PutRequest, RangeRequest, RangeResponse, range_request::SortTarget};

use super::super::{
    Leases,
    tests::{all, delete, open, put},
};

/// Every lease exists.
struct AnyLease;

impl Leases for AnyLease {
    fn exists(&self, _: i64) -> bool {
        true
    }
    fn attach(&mut self, _: i64, _: &Bytes) {}
    fn detach(&mut self, _: i64, _: &[u8]) {}
}

#[test]
fn keys_alone_come_from_the_index_in_lines_that_do_so() {
    let store = open();
    for key in ["a", "b", "c"] {
        put(&store, key, "value");
    }
    put(&store, "b", "again");
    delete(&store, "c");
    let shown = |request: &RangeRequest, line| {
        let answer = store.range(request, line).expect("a range");
        let (count, more) = (answer.count, answer.more);
        let mut encoded = BytesMut::new();
        answer.encode(None, &mut encoded);
        assert_eq!(answer.encoded_len(None), encoded.len());
        let decoded = RangeResponse::decode(encoded).expect("an answer");
        assert_eq!(decoded, answer.into_response());
        (decoded.kvs, count, more)
    };
    for (limit, revision) in [(0, 0), (1, 0), (2, 0), (0, 4), (1, 4)] {
        let request = RangeRequest {
            keys_only: true,
            limit,
            revision,
            ..all()
        };
        let of_records = shown(&request, Line::V3_5);
        assert!(of_records.0.iter().all(|kv| kv.value.is_empty()));
        assert_eq!(
            shown(&request, Line::V3_7),
            of_records,
            "limit {limit} at {revision}"
        );
    }
}

#[test]
fn keys_alone_have_their_lease_where_the_records_were_read() {
    let store = open();
    let leased = PutRequest {
        key: "a".into(),
        value: "v".into(),
        lease: 300,
        ..PutRequest::default()
    };
    let mut writer = store.write();
    writer.put(&leased, &mut AnyLease).expect("a put");
    drop(writer.publish());
    put(&store, "b", "");
    let lease = |revision, sort_target, line| {
        let request = RangeRequest {
            keys_only: true,
            revision,
            sort_target,
            ..all()
        };
        let answer = store.range(&request, line).expect("a range");
        let len = answer.encoded_len(None);
        let response = answer.into_response();
        assert_eq!(response.encoded_len(), len);
        response.kvs.iter().map(|kv| kv.lease).sum::<i64>()
    };
    let by_value = SortTarget::Value as i32;
    for revision in [0, 2] {
        assert_eq!(lease(revision, 0, Line::V3_5), 300);
        assert_eq!(lease(revision, 0, Line::V3_6), 300);
        assert_eq!(lease(revision, 0, Line::V3_7), 0, "at {revision}");
        assert_eq!(lease(revision, by_value, Line::V3_7), 300);
    }
}
