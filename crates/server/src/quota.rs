//! The backend quota before a request goes into the log, and the alarm that stops
//! writes once the database file has grown over its limit.

use std::rc::Rc;

pub use member::quota::{LEASE_COST, nested_txn_cost, put_cost};
use proto::etcdserverpb::{
    AlarmRequest, AlarmType, alarm_request::AlarmAction, internal_raft_request::Op,
};

use crate::{
    core::Core,
    runtime::Runtime,
    status::{Status, errors},
};

/// Whether `cost` more bytes fit.
pub fn available(core: &Core, cost: u64) -> bool {
    member::quota::available(&core.store(), core.config.quota_backend_bytes, cost)
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
        let own = auth::Identity::default();
        let request = AlarmRequest {
            action: AlarmAction::Activate as i32,
            member_id: rt.core.member_id,
            alarm: AlarmType::Nospace as i32,
        };
        tracing::warn!(
            "quota-size-bytes" = rt.core.config.quota_backend_bytes,
            "message exceeded backend quota; raising alarm"
        );
        if let Err(error) = rt.submit(own, Op::Alarm(request)).await {
            tracing::warn!(error = %error, "failed to raise alarm");
        }
    });
}
