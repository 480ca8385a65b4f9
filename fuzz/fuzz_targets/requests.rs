//! Requests as they come over gRPC and through the JSON gateway: decoded,
//! validated, and written back.
#![no_main]

use prost::Message as _;
use proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest, WatchRequest};

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
        let _ = mvcc::validate::txn(&request, 128);
        let _ = mvcc::validate::is_read_only(&request);
    }
    let _ = WatchRequest::decode(data);
    if let Ok(request) = serde_json::from_slice::<TxnRequest>(data) {
        let bytes = request.encode_to_vec();
        assert_eq!(TxnRequest::decode(&bytes[..]).ok(), Some(request));
    }
});
