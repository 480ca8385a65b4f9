//! What becomes of leadership when this member stops.

use std::{rc::Rc, sync::atomic::Ordering};

use crate::{api, runtime::Runtime};

/// Hands leadership to the voter that has been connected longest, so that the
/// cluster need not wait for an election when this member stops.
pub async fn give_up_leadership(rt: &Rc<Runtime>) {
    let core = &rt.core;
    let cluster = core.state.cluster.load_full();
    if !core.raft.status.is_leader.load(Ordering::Acquire) {
        tracing::info!(
            "local-member-id" = format!("{:x}", core.member_id),
            "current-leader-member-id" = format!("{:x}", core.leader()),
            "skipped leadership transfer; local server is not leader"
        );
        return;
    }
    if cluster.members().filter(|m| !m.is_learner).count() <= 1 {
        tracing::info!(
            "local-member-id" = format!("{:x}", core.member_id),
            "skipped leadership transfer for single voting member cluster"
        );
        return;
    }
    let oldest = cluster
        .members()
        .filter(|m| !m.is_learner && m.id.0 != core.member_id)
        .filter_map(|m| Some((core.raft.peers()?.active_since(m.id.0)?, m.id.0)))
        .min();
    let Some((_, target)) = oldest else {
        tracing::warn!("no voter is connected; leadership is not transferred");
        return;
    };
    if let Err(error) = api::cluster::transfer(rt, target).await {
        tracing::warn!(
            "transferee-member-id" = format!("{target:x}"),
            error = %error,
            "leadership transfer failed"
        );
    }
}
