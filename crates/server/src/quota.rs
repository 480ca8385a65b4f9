//! The backend quota: what a request is counted for, and the alarm that stops
//! writes once the database file has grown over its limit.

use std::rc::Rc;

use proto::etcdserverpb::{
    AlarmRequest, AlarmType, PutRequest, RequestOp, TxnRequest, alarm_request::AlarmAction,
    internal_raft_request::Op, request_op::Request,
};

use crate::{
    core::Core,
    runtime::Runtime,
    status::{Status, errors},
};

/// Counted for each stored pair beside its bytes.
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

/// Whether `cost` more bytes fit.
pub fn available(core: &Core, cost: u64) -> bool {
    match core.config.quota_backend_bytes {
        None => true,
        Some(limit) => cost == 0 || core.backend().size() + cost < limit,
    }
}

/// Refuses a request that does not fit, and raises the alarm for this member.
pub async fn check(rt: &Rc<Runtime>, cost: u64) -> Result<(), Status> {
    if available(&rt.core, cost) {
        return Ok(());
    }
    raise_no_space(rt.clone());
    Err(errors::NO_SPACE)
}

/// Proposes the NOSPACE alarm without waiting for it.
pub fn raise_no_space(rt: Rc<Runtime>) {
    tokio::task::spawn_local(async move {
        let request = AlarmRequest {
            action: AlarmAction::Activate as i32,
            member_id: rt.core.member_id,
            alarm: AlarmType::Nospace as i32,
        };
        tracing::warn!(
            "quota-size-bytes" = rt.core.config.quota_backend_bytes,
            "message exceeded backend quota; raising alarm"
        );
        if let Err(error) = rt.core.submit(&rt, Op::Alarm(request)).await {
            tracing::warn!(error = %error, "failed to raise alarm");
        }
    });
}
