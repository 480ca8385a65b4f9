//! What the leader does with leases unasked: it revokes those that are over, and checkpoints
//! long ones. Both are decided by its own lessor, whose knowledge ends with its term: renewals
//! go to the next leader. So nothing here is proposed before a quorum has confirmed the term,
//! and nothing is ever forwarded to another leader.

use std::{rc::Rc, time::Duration};

use lease::LeaseId;
use proto::etcdserverpb::{
    LeaseCheckpoint, LeaseCheckpointRequest, LeaseRevokeRequest, internal_raft_request::Op,
};

use super::steady::steady;
use crate::{
    runtime::{Pending, Runtime},
    status::{Status, errors},
};

/// Starts it on this runtime.
pub(super) fn start(rt: &Rc<Runtime>) {
    tokio::task::spawn_local(expire(rt.clone()));
    if rt.core.config.lease_checkpoint {
        tokio::task::spawn_local(checkpoint(rt.clone()));
    }
}

/// Expired leases are named this often, and this many of them per round.
const PERIOD: Duration = Duration::from_millis(lease::EXPIRY_CHECK_MS);
const EXPIRED_PER_ROUND: usize = 500;

async fn expire(rt: Rc<Runtime>) {
    let mut rounds = steady(PERIOD);
    loop {
        rounds.tick().await;
        let Some((term, over)) = expired(&rt) else {
            continue;
        };
        // Those that are not revoked now are named again later, if this member leads then.
        if !rt.leads(term).await {
            ignored(
                &rt,
                "Ignore the lease revoking request because current member isn't a leader",
            );
            continue;
        }
        let ops = over
            .iter()
            .map(|id| Op::LeaseRevoke(LeaseRevokeRequest { id: id.0 }));
        match rt.submit_as_leader(term, ops) {
            Ok(pending) => {
                tokio::task::spawn_local(report(rt.clone(), over, pending));
            }
            Err(error) => {
                tracing::warn!(leases = over.len(), error = %error, "failed to revoke leases");
            }
        }
    }
}

/// The leases that are over, and the term in which the lessor says so.
fn expired(rt: &Rc<Runtime>) -> Option<(u64, Vec<LeaseId>)> {
    rt.core.state.lessor.read().primary_term()?;
    let mut lessor = rt.core.state.lessor.write();
    let term = lessor.primary_term()?;
    let over = lessor.expired(rt.core.now_ms(), EXPIRED_PER_ROUND);
    (!over.is_empty()).then_some((term, over))
}

async fn report(rt: Rc<Runtime>, leases: Vec<LeaseId>, pending: Vec<Pending>) {
    for (id, revocation) in leases.into_iter().zip(pending) {
        match revocation.await {
            Ok(_) => rt.core.metrics.lease_expired.inc(),
            // It was revoked by a client in the meantime.
            Err(error) if error == errors::LEASE_NOT_FOUND => {}
            Err(error) => {
                tracing::warn!("lease-id" = %id, error = %error, "failed to revoke lease");
            }
        }
    }
}

fn ignored(rt: &Rc<Runtime>, what: &str) {
    tracing::warn!(
        "local-member-id" = format!("{:x}", rt.core.member_id),
        "{what}"
    );
}

async fn checkpoint(rt: Rc<Runtime>) {
    let mut rounds = steady(PERIOD);
    loop {
        rounds.tick().await;
        let Some((term, due)) = due(&rt) else {
            continue;
        };
        if !rt.leads(term).await {
            ignored(
                &rt,
                "Ignore the checkpoint request because current member isn't a leader",
            );
            continue;
        }
        if let Err(error) = write_checkpoints(&rt, term, due).await {
            tracing::warn!(error = %error, "failed to checkpoint leases");
        }
    }
}

/// The checkpoints that are due, and the term in which the lessor says so.
fn due(rt: &Rc<Runtime>) -> Option<(u64, Vec<LeaseCheckpoint>)> {
    rt.core.state.lessor.read().primary_term()?;
    let mut lessor = rt.core.state.lessor.write();
    let term = lessor.primary_term()?;
    let due: Vec<_> = lessor
        .checkpoints(rt.core.now_ms())
        .into_iter()
        .map(|due| LeaseCheckpoint {
            id: due.id.0,
            remaining_ttl: due.remaining_secs,
        })
        .collect();
    (!due.is_empty()).then_some((term, due))
}

/// The next leader must not go by a checkpoint from before the renewal that the lessor took as
/// primary of `term`.
pub fn clear_checkpoint(rt: &Rc<Runtime>, term: u64, id: LeaseId) {
    let rt = rt.clone();
    tokio::task::spawn_local(async move {
        let cleared = LeaseCheckpoint {
            id: id.0,
            remaining_ttl: 0,
        };
        if let Err(error) = write_checkpoints(&rt, term, vec![cleared]).await {
            tracing::warn!("lease-id" = %id, error = %error, "failed to clear a lease checkpoint");
        }
    });
}

async fn write_checkpoints(
    rt: &Rc<Runtime>,
    term: u64,
    checkpoints: Vec<LeaseCheckpoint>,
) -> Result<(), Status> {
    let op = Op::LeaseCheckpoint(LeaseCheckpointRequest { checkpoints });
    let pending = rt
        .submit_as_leader(term, [op])
        .map_err(|_| errors::NOT_PRIMARY)?;
    for checkpoint in pending {
        checkpoint.await?;
    }
    Ok(())
}
