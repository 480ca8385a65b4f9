//! Grants, revocations and checkpoints of leases.

use bolt::Batch;
use lease::LeaseId;
use line::{Feature, Line};
use proto::etcdserverpb::{
    LeaseCheckpointRequest, LeaseGrantRequest, LeaseGrantResponse, LeaseRevokeRequest,
    LeaseRevokeResponse,
};

use super::{
    command::Outcome,
    entry::Failure,
    machine::{Machine, Run},
};
use crate::{
    host::{Host, Step},
    plant::{Plant, broken},
    quota,
    status::errors,
};

impl Machine {
    pub(super) fn apply_grant<H: Host>(
        &mut self,
        grant: &LeaseGrantRequest,
        run: &mut Run<'_, H>,
    ) -> Result<Outcome, Failure> {
        let fits = self.fits(quota::LEASE_COST);
        let mut batch = Batch::default();
        let now = run.host.now_ms();
        let ttl = run
            .lessor
            .grant(LeaseId(grant.id), grant.ttl, now, &mut batch)?;
        run.writer.write(batch);
        run.host.observe(Step::LeaseGranted(ttl));
        let response = LeaseGrantResponse {
            header: run.header(),
            id: grant.id,
            ttl,
            error: String::new(),
        };
        if fits {
            Ok(Outcome::LeaseGrant(response))
        } else {
            Err(errors::NO_SPACE.into())
        }
    }

    pub(super) fn apply_revoke<H: Host>(
        &mut self,
        revoke: &LeaseRevokeRequest,
        run: &mut Run<'_, H>,
    ) -> Result<Outcome, Failure> {
        let mut batch = Batch::default();
        let mut keys = run.lessor.revoke(LeaseId(revoke.id), &mut batch)?;
        if broken(Plant::LeaseKeysUnordered) && self.identity.member_id % 2 == 1 {
            keys.reverse();
        }
        run.writer.delete_keys(&keys);
        run.writer.write(batch);
        run.host.observe(Step::LeaseRevoked(keys.len()));
        run.effects.leases_changed = true;
        let header = run.header();
        Ok(Outcome::LeaseRevoke(LeaseRevokeResponse { header }))
    }

    pub(super) fn apply_checkpoint<H: Host>(
        &mut self,
        request: &LeaseCheckpointRequest,
        run: &mut Run<'_, H>,
    ) -> Outcome {
        let mut batch = Batch::default();
        let now = run.host.now_ms();
        // From its first such version on the whole cluster keeps them, whatever the flags say.
        let version = self.cluster.version().and_then(Line::of);
        let keeps = |line: Line| line.has(Feature::CheckpointsKept);
        let keep = keeps(self.line_of_entries()) && version.is_some_and(keeps);
        for checkpoint in &request.checkpoints {
            // A lease revoked meanwhile is no longer there to be told.
            let id = LeaseId(checkpoint.id);
            let _ =
                run.lessor
                    .checkpoint_apply(id, checkpoint.remaining_ttl, now, keep, &mut batch);
        }
        run.writer.write(batch);
        Outcome::Done
    }
}
