//! The backend quota: what a request counts for, and whether it fits.

use proto::etcdserverpb::{PutRequest, RequestOp, TxnRequest, request_op::Request};

/// Counted for each stored pair in addition to its bytes.
const KV_OVERHEAD: u64 = 256;
/// Counted for each lease.
pub const LEASE_COST: u64 = 64;

/// What a put is counted for, bytes.
pub fn put_cost(request: &PutRequest) -> u64 {
    KV_OVERHEAD + request.key.len() as u64 + request.value.len() as u64
}

/// What a transaction is counted for: its dearer branch. Nested transactions
/// are not counted, as in etcd before 3.5.33.
pub fn txn_cost(request: &TxnRequest) -> u64 {
    let branch = |ops: &[RequestOp]| -> u64 {
        ops.iter()
            .map(|op| match &op.request {
                Some(Request::RequestPut(put)) => put_cost(put),
                _ => 0,
            })
            .sum()
    };
    branch(&request.success).max(branch(&request.failure))
}

/// Whether `cost` more bytes fit into the database of `store`; without a limit everything does.
pub fn available(store: &mvcc::Store, limit: Option<u64>, cost: u64) -> bool {
    match limit {
        None => true,
        Some(limit) => cost == 0 || store.backend().size() + cost < limit,
    }
}
