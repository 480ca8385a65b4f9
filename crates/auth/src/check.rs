//! What a request needs. The same checks are made before a request is proposed or read, and again
//! when its entry is applied, against the users and roles of that moment.

use lease::{LeaseId, Lessor};
use proto::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    request_op::Request,
};

use crate::{Error, Identity, Store, permissions::Access};

impl Store {
    /// A range needs read permission on all of its keys, there or not.
    ///
    /// # Errors
    /// [`Error::UserEmpty`], [`Error::AuthOldRevision`], [`Error::PermissionDenied`].
    pub fn check_read(&self, who: &Identity, request: &RangeRequest) -> Result<(), Error> {
        self.check_keys(who, &request.key, &request.range_end)
    }

    /// Reading this range of keys: for watches, and keys that something else has named.
    ///
    /// # Errors
    /// As [`Store::check_read`].
    pub fn check_keys(&self, who: &Identity, key: &[u8], end: &[u8]) -> Result<(), Error> {
        self.check_range(who, key, end, Access::Read)
    }

    /// A put needs write permission on its key and on all keys of its lease, and read permission
    /// if it asks for the previous value.
    ///
    /// # Errors
    /// As [`Store::check_read`].
    pub fn check_put(
        &self,
        who: &Identity,
        lessor: &Lessor,
        request: &PutRequest,
    ) -> Result<(), Error> {
        self.check_range(who, &request.key, b"", Access::Write)?;
        // Who attaches a key to a lease can end the lease's other keys with it.
        self.check_lease_write(who, lessor, LeaseId(request.lease))?;
        if request.prev_kv {
            self.check_keys(who, &request.key, b"")?;
        }
        Ok(())
    }

    /// A delete needs write permission on its range, and read permission if it asks for the
    /// previous values.
    ///
    /// # Errors
    /// As [`Store::check_read`].
    pub fn check_delete(&self, who: &Identity, request: &DeleteRangeRequest) -> Result<(), Error> {
        let (key, end) = (&request.key, &request.range_end);
        self.check_range(who, key, end, Access::Write)?;
        if request.prev_kv {
            self.check_keys(who, key, end)?;
        }
        Ok(())
    }

    /// A transaction needs what its compares and the operations of both branches need, whichever
    /// of them runs, those of the transactions within it included.
    ///
    /// # Errors
    /// As [`Store::check_read`], of the first one that is not allowed.
    pub fn check_txn(
        &self,
        who: &Identity,
        lessor: &Lessor,
        request: &TxnRequest,
    ) -> Result<(), Error> {
        if !self.enabled {
            return Ok(());
        }
        self.check_compares(who, &request.compare)?;
        // A list of what is open in place of the stack: the depth is the client's choice.
        let mut open = vec![operations(request)];
        while let Some(left) = open.last_mut() {
            let Some(op) = left.next() else {
                open.pop();
                continue;
            };
            if let Some(Request::RequestTxn(nested)) = &op.request {
                if self.rules.checks_nested {
                    self.check_compares(who, &nested.compare)?;
                    open.push(operations(nested));
                }
            } else {
                self.check_operation(who, lessor, op)?;
            }
        }
        Ok(())
    }

    fn check_compares(&self, who: &Identity, compares: &[Compare]) -> Result<(), Error> {
        compares
            .iter()
            .try_for_each(|one| self.check_keys(who, &one.key, &one.range_end))
    }

    /// An operation of a transaction that is not one itself.
    fn check_operation(
        &self,
        who: &Identity,
        lessor: &Lessor,
        op: &RequestOp,
    ) -> Result<(), Error> {
        match &op.request {
            Some(Request::RequestRange(range)) => self.check_read(who, range),
            Some(Request::RequestPut(put)) if self.rules.checks_all_of_puts_in_txn => {
                self.check_put(who, lessor, put)
            }
            Some(Request::RequestPut(put)) => self.check_range(who, &put.key, b"", Access::Write),
            Some(Request::RequestDeleteRange(delete)) => {
                // In a transaction the two are checked the other way round, which no one can
                // see: both fail alike.
                self.check_delete(who, delete)
            }
            Some(Request::RequestTxn(_)) | None => Ok(()),
        }
    }

    /// Ending a lease, or adding a key to it, needs write permission on the keys it has. A lease
    /// that is not there has none.
    ///
    /// # Errors
    /// As [`Store::check_read`].
    pub fn check_lease_write(
        &self,
        who: &Identity,
        lessor: &Lessor,
        id: LeaseId,
    ) -> Result<(), Error> {
        self.check_lease(who, lessor, id, Access::Write)
    }

    /// Reading the keys of a lease needs read permission on them.
    ///
    /// # Errors
    /// As [`Store::check_read`].
    pub fn check_lease_read(
        &self,
        who: &Identity,
        lessor: &Lessor,
        id: LeaseId,
    ) -> Result<(), Error> {
        self.check_lease(who, lessor, id, Access::Read)
    }

    fn check_lease(
        &self,
        who: &Identity,
        lessor: &Lessor,
        id: LeaseId,
        access: Access,
    ) -> Result<(), Error> {
        if self.check_admin(who).is_ok() {
            return Ok(());
        }
        let mut keys = lessor.keys(id).into_iter().flatten();
        keys.try_for_each(|key| self.check_range(who, key, b"", access))
    }
}

fn operations(request: &TxnRequest) -> impl Iterator<Item = &RequestOp> {
    request.success.iter().chain(&request.failure)
}
