//! Requests as they come over gRPC and through the JSON gateway: decoded, validated, and written back. A transaction that
//! is accepted must be readable as the log's entry that it becomes.
#![no_main]

use prost::Message as _;
use proto::etcdserverpb::{
    DeleteRangeRequest, InternalRaftRequest, PutRequest, RangeRequest, RequestHeader, TxnRequest,
    WatchRequest, internal_raft_request::Op,
};

fn logged(txn: TxnRequest) {
    let entry = InternalRaftRequest {
        header: Some(RequestHeader::default()),
        op: Some(Op::Txn(txn)),
        ..InternalRaftRequest::default()
    };
    let again = InternalRaftRequest::decode(&entry.encode_to_vec()[..]);
    assert_eq!(again.as_ref(), Ok(&entry));
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(request) = RangeRequest::decode(data) {
        let _ = mvcc::validate::range(&request);
    }
    if let Ok(request) = PutRequest::decode(data) {
        let _ = mvcc::validate::put(&request);
    }
    if let Ok(request) = DeleteRangeRequest::decode(data) {
        let _ = mvcc::validate::delete_range(&request);
    }
    if let Ok(request) = TxnRequest::decode(data) {
        let _ = mvcc::validate::is_read_only(&request);
        if mvcc::validate::txn(&request, 128).is_ok() {
            logged(request);
        }
    }
    let _ = WatchRequest::decode(data);
    if let Ok(request) = serde_json::from_slice::<TxnRequest>(data) {
        let bytes = request.encode_to_vec();
        assert_eq!(TxnRequest::decode(&bytes[..]).as_ref(), Ok(&request));
        if mvcc::validate::txn(&request, 128).is_ok() {
            logged(request);
        }
    }
});
