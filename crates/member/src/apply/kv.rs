//! Puts, deletions, transactions and compactions.

use auth::Identity;
use lease::LeaseId;
use line::{Feature, Line};
use mvcc::{Leases, Writer};
use parking_lot::RwLockWriteGuard;
use proto::{
    etcdserverpb::{
        CompactionRequest, CompactionResponse, DeleteRangeRequest, PutRequest, RequestOp,
        TxnRequest, TxnResponse, request_op,
    },
    wire::Nested,
};

use super::{
    command::Outcome,
    entry::{At, Failure, decided},
    machine::{Machine, Run},
};
use crate::{
    host::{Host, Step},
    quota,
    status::{Status, errors},
};

impl Machine {
    pub(super) fn apply_put<H: Host>(
        &mut self,
        put: &PutRequest,
        at: At,
        run: &mut Run<'_, H>,
    ) -> Result<Outcome, Failure> {
        let fits = self.fits(quota::put_cost(put));
        let result = run.writer.put(put, &mut Book(&mut run.lessor));
        let response = decided(at.index, result)?;
        run.host.observe(Step::Put(put));
        // The write stands either way: every member must do the same.
        if fits {
            Ok(Outcome::Put(response))
        } else {
            Err(errors::NO_SPACE.into())
        }
    }

    pub(super) fn apply_delete<H: Host>(
        &mut self,
        delete: &DeleteRangeRequest,
        at: At,
        run: &mut Run<'_, H>,
    ) -> Result<Outcome, Failure> {
        let result = run.writer.delete_range(delete, &mut Book(&mut run.lessor));
        let response = decided(at.index, result)?;
        run.host.observe(Step::Delete(delete));
        Ok(Outcome::DeleteRange(response))
    }

    pub(super) fn apply_txn<H: Host>(
        &mut self,
        txn: &mut TxnRequest,
        at: At,
        who: Option<&Identity>,
        run: &mut Run<'_, H>,
    ) -> Result<Outcome, Failure> {
        // What a range comes to decides what the rest does in some lines, and in all members alike.
        let line = self.line_of_entries();
        let ranges_decide = line.has(Feature::RangesCheckedEverywhere);
        if !at.asked && !ranges_decide {
            drop_ranges(txn);
        }
        let denied = who.and_then(|who| check(txn, who, run).err());
        if let (Some(error), true) = (denied, ranges_decide) {
            return Err(Status::from(error).into());
        }
        if let (Some(error), Some(who)) = (denied, who) {
            // The ranges never decide what a transaction does, see below.
            drop_ranges(txn);
            check(txn, who, run).map_err(Status::from)?;
            tracing::warn!(%error, "a range of a transaction was refused, its changes were not");
        }
        let fits = self.fits(quota::applied_txn_cost(txn, line));
        let result = transact(
            txn,
            at.asked && !ranges_decide,
            &mut run.writer,
            &mut run.lessor,
            line,
        );
        let response = decided(at.index, result)?;
        run.host.observe(Step::Txn(txn, &response));
        if let Some(error) = denied {
            return Err(Status::from(error).into());
        }
        if fits {
            Ok(Outcome::Txn(response))
        } else {
            Err(errors::NO_SPACE.into())
        }
    }

    pub(super) fn apply_compaction<H: Host>(
        &mut self,
        compaction: &CompactionRequest,
        run: &mut Run<'_, H>,
    ) -> Result<Outcome, Failure> {
        let ticket = run.writer.compact(compaction.revision)?;
        run.host.observe(Step::Compaction);
        let header = run.header();
        Ok(Outcome::Compaction(
            CompactionResponse { header },
            Some(ticket),
        ))
    }
}

/// Runs a transaction. Up to 3.6 its ranges never decide what it does: etcd's members pass
/// over those on the outermost level unless their own client asked, so what a
/// failed one leaves undone would be undone on one member alone. Whoever asked, `tells` says, hears
/// of it all the same.
fn transact(
    txn: &mut TxnRequest,
    tells: bool,
    writer: &mut Writer<'_>,
    lessor: &mut RwLockWriteGuard<'_, lease::Lessor>,
    line: Line,
) -> Result<Nested<TxnResponse>, mvcc::Error> {
    match writer.txn(txn, &mut Book(lessor), line) {
        Err(error @ (mvcc::Error::FutureRev | mvcc::Error::Compacted)) if tells => {
            drop_ranges(txn);
            match writer.txn(txn, &mut Book(lessor), line) {
                Ok(response) => drop(Nested::new(response)),
                // Refused everywhere, for what was found after the range.
                Err(mvcc::Error::KeyNotFound | mvcc::Error::LeaseNotFound)
                    if line.has(Feature::ChecksInOrder) => {}
                Err(other) => return Err(other),
            }
            Err(error)
        }
        result => result.map(Nested::new),
    }
}

/// Checks all that a transaction needs.
fn check<H>(txn: &TxnRequest, who: &Identity, run: &Run<'_, H>) -> Result<(), auth::Error> {
    let lessor = &run.lessor;
    run.users
        .read(|users| users.check_txn(who, Some(lessor), txn))
}

fn drop_ranges(txn: &mut TxnRequest) {
    let is_range =
        |op: &RequestOp| matches!(op.request, Some(request_op::Request::RequestRange(_)));
    txn.success.retain(|op| !is_range(op));
    txn.failure.retain(|op| !is_range(op));
}

/// The lessor as the store sees it.
struct Book<'a, 'b>(&'a mut RwLockWriteGuard<'b, lease::Lessor>);

impl Leases for Book<'_, '_> {
    fn exists(&self, id: i64) -> bool {
        self.0.exists(LeaseId(id))
    }
    fn attach(&mut self, id: i64, key: &bytes::Bytes) {
        // The store asked for the lease before it wrote the key.
        let _ = self.0.attach(LeaseId(id), key);
    }
    fn detach(&mut self, _: i64, key: &[u8]) {
        self.0.detach(key);
    }
}
