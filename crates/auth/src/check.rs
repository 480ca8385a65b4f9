//! What a request needs. The same checks are made before a request is proposed or read, and again
//! when its entry is applied, against the users and roles of that moment.

use lease::{LeaseId, Lessor};
use proto::etcdserverpb::{
    AuthRoleGetRequest, AuthUserGetRequest, Compare, DeleteRangeRequest, PutRequest, RangeRequest,
    RequestOp, TxnRequest, internal_raft_request::Op, request_op::Request,
};

use crate::{Error, Identity, Store, permissions::Access};

/// Whether what an operation needs depends on the keys of a lease. Only then must
/// [`Store::check_op`] be given the lessor.
#[must_use]
pub fn names_lease(op: &Op) -> bool {
    match op {
        Op::Put(put) => put.lease != 0,
        Op::LeaseRevoke(_) => true,
        Op::Txn(txn) => {
            let mut open = vec![operations(txn)];
            while let Some(left) = open.last_mut() {
                match left.next().map(|op| &op.request) {
                    None => drop(open.pop()),
                    Some(Some(Request::RequestPut(put))) if put.lease != 0 => return true,
                    Some(Some(Request::RequestTxn(nested))) => open.push(operations(nested)),
                    Some(_) => {}
                }
            }
            false
        }
        _ => false,
    }
}

impl Store {
    /// What an entry with this operation needs. `lessor` may be left out where [`names_lease`]
    /// says so.
    ///
    /// # Errors
    /// As [`Store::check_read`] and [`Store::check_admin`].
    pub fn check_op(&self, who: &Identity, lessor: Option<&Lessor>, op: &Op) -> Result<(), Error> {
        match op {
            Op::Put(put) => self.check_put(who, lessor, put),
            Op::DeleteRange(delete) => self.check_delete(who, delete),
            Op::Txn(txn) => self.check_txn(who, lessor, txn),
            Op::LeaseRevoke(revoke) => self.check_lease_write(who, lessor, LeaseId(revoke.id)),
            Op::AuthUserGet(request) => self.check_user_get(who, request),
            Op::AuthRoleGet(request) => self.check_role_get(who, request),
            op if needs_root(op) => self.check_admin(who),
            _ => Ok(()),
        }
    }

    /// Users may see themselves; root may see all.
    fn check_user_get(&self, who: &Identity, request: &AuthUserGetRequest) -> Result<(), Error> {
        if request.name == who.user {
            return Ok(());
        }
        self.check_admin(who)
    }

    /// Users may see the roles that they have; root may see all.
    fn check_role_get(&self, who: &Identity, request: &AuthRoleGetRequest) -> Result<(), Error> {
        if self.has_role(&who.user, &request.role) {
            return Ok(());
        }
        self.check_admin(who)
    }

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
        lessor: Option<&Lessor>,
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
        lessor: Option<&Lessor>,
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
                if self.options.rules.checks_nested {
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
        lessor: Option<&Lessor>,
        op: &RequestOp,
    ) -> Result<(), Error> {
        match &op.request {
            Some(Request::RequestRange(range)) => self.check_read(who, range),
            Some(Request::RequestPut(put)) if self.options.rules.checks_all_of_puts_in_txn => {
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
        lessor: Option<&Lessor>,
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
        lessor: Option<&Lessor>,
        id: LeaseId,
    ) -> Result<(), Error> {
        self.check_lease(who, lessor, id, Access::Read)
    }

    fn check_lease(
        &self,
        who: &Identity,
        lessor: Option<&Lessor>,
        id: LeaseId,
        access: Access,
    ) -> Result<(), Error> {
        if self.check_admin(who).is_ok() {
            return Ok(());
        }
        let mut keys = lessor
            .and_then(|lessor| lessor.keys(id))
            .into_iter()
            .flatten();
        keys.try_for_each(|key| self.check_range(who, key, b"", access))
    }
}

/// True for the requests that root alone may make.
fn needs_root(op: &Op) -> bool {
    matches!(
        op,
        Op::AuthEnable(_)
            | Op::AuthDisable(_)
            | Op::AuthStatus(_)
            | Op::AuthUserAdd(_)
            | Op::AuthUserDelete(_)
            | Op::AuthUserChangePassword(_)
            | Op::AuthUserGrantRole(_)
            | Op::AuthUserRevokeRole(_)
            | Op::AuthUserList(_)
            | Op::AuthRoleAdd(_)
            | Op::AuthRoleDelete(_)
            | Op::AuthRoleGrantPermission(_)
            | Op::AuthRoleRevokePermission(_)
            | Op::AuthRoleList(_)
    )
}

fn operations(request: &TxnRequest) -> impl Iterator<Item = &RequestOp> {
    request.success.iter().chain(&request.failure)
}
