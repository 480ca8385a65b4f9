//! The backend quota: what a request counts for, and whether it fits.

use line::{Feature, Line};
use proto::etcdserverpb::{PutRequest, RequestOp, TxnRequest, request_op::Request};

/// Counted for each stored pair in addition to its bytes.
const KV_OVERHEAD: u64 = 256;
/// Counted for each lease.
pub const LEASE_COST: u64 = 64;

/// What a put is counted for, bytes.
pub fn put_cost(request: &PutRequest) -> u64 {
    KV_OVERHEAD + request.key.len() as u64 + request.value.len() as u64
}

/// What a transaction is counted for when its entry is applied: what an alarm forbids is part of
/// the state machine, so that all members of a line count alike.
pub fn applied_txn_cost(request: &TxnRequest, line: Line) -> u64 {
    match line.has(Feature::NestedTxnsCounted) {
        true => nested_txn_cost(request),
        false => txn_cost(request),
    }
}

/// The dearer branch of a transaction. Nested transactions are not counted, as in etcd before
/// 3.5.33.
fn txn_cost(request: &TxnRequest) -> u64 {
    let branch = |ops: &[RequestOp]| ops.iter().map(op_cost).sum::<u64>();
    branch(&request.success).max(branch(&request.failure))
}

/// What a transaction is counted for before it is proposed: the puts of the transactions within it
/// too, as since 3.5.33. Without them nesting is a way past the quota.
pub fn nested_txn_cost(request: &TxnRequest) -> u64 {
    // A list of what is open in place of the stack: the depth is the client's choice.
    let mut open = vec![OpenTxn::new(request)];
    let mut cost = 0;
    while let Some(mut txn) = open.pop() {
        // That of the nested transaction that ended last; 0 where none did.
        txn.costs[txn.branch] += std::mem::take(&mut cost);
        match txn.next() {
            None => cost = txn.costs[0].max(txn.costs[1]),
            Some(op) => {
                txn.costs[txn.branch] += op_cost(op);
                let nested = match &op.request {
                    Some(Request::RequestTxn(nested)) => Some(OpenTxn::new(nested)),
                    _ => None,
                };
                open.push(txn);
                open.extend(nested);
            }
        }
    }
    cost
}

/// A transaction that is being counted.
struct OpenTxn<'a> {
    left: [std::slice::Iter<'a, RequestOp>; 2],
    costs: [u64; 2],
    /// The branch that is being counted.
    branch: usize,
}

impl<'a> OpenTxn<'a> {
    fn new(request: &'a TxnRequest) -> OpenTxn<'a> {
        OpenTxn {
            left: [request.success.iter(), request.failure.iter()],
            costs: [0; 2],
            branch: 0,
        }
    }

    fn next(&mut self) -> Option<&'a RequestOp> {
        self.left[0].next().or_else(|| {
            self.branch = 1;
            self.left[1].next()
        })
    }
}

/// What an operation adds by itself.
fn op_cost(op: &RequestOp) -> u64 {
    match &op.request {
        Some(Request::RequestPut(put)) => put_cost(put),
        _ => 0,
    }
}

/// Whether `cost` more bytes fit into the database of `store`; without a limit everything does.
pub fn available(store: &mvcc::Store, limit: Option<u64>, cost: u64) -> bool {
    match limit {
        None => true,
        Some(limit) => cost == 0 || store.backend().size() + cost < limit,
    }
}

#[cfg(test)]
mod tests;
