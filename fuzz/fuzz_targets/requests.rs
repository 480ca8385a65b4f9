//! Requests as they come over gRPC and through the JSON gateway: decoded, validated, and written back. A transaction that
//! is accepted must be readable as the log's entry that it becomes.
#![no_main]

use bytes::Bytes;
use line::Line;
use prost::Message as _;
use proto::{
    etcdserverpb::{
        DeleteRangeRequest, InternalRaftRequest, PutRequest, RangeRequest, RequestHeader,
        TxnRequest, WatchRequest, internal_raft_request::Op,
    },
    wire::{self, Nested, Read as _},
};

/// The line that checks most.
const LINE: Line = Line::NEWEST;

fn logged(txn: TxnRequest) {
    let entry = Nested::new(InternalRaftRequest {
        header: Some(RequestHeader::default()),
        op: Some(Op::Txn(txn)),
        ..InternalRaftRequest::default()
    });
    let bytes = wire::encode_internal(&entry);
    let again = wire::Logged::read(&bytes, wire::Order::V3_5).expect("own bytes");
    assert_eq!(wire::encode_internal(&again), bytes);
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(request) = RangeRequest::read(&bytes) {
        let _ = mvcc::validate::range(&request, LINE);
    }
    if let Ok(request) = PutRequest::read(&bytes) {
        let _ = mvcc::validate::put(&request);
    }
    if let Ok(request) = DeleteRangeRequest::read(&bytes) {
        let _ = mvcc::validate::delete_range(&request);
    }
    if let Ok(request) = TxnRequest::read(&bytes).map(Nested::new) {
        let _ = mvcc::validate::is_read_only(&request);
        if mvcc::validate::txn(&request, 128, LINE).is_ok() {
            logged(request.into_inner());
        }
    }
    let _ = WatchRequest::read(&bytes);
    if let Ok(request) = serde_json::from_slice::<TxnRequest>(data) {
        let bytes = request.encode_to_vec();
        assert_eq!(TxnRequest::decode(&bytes[..]).as_ref(), Ok(&request));
        if mvcc::validate::txn(&request, 128, LINE).is_ok() {
            logged(request);
        }
    }
});
