//! Entries about authentication. This release has none: what changes nothing while it is off is
//! let pass, and what would change something stops the member before it.

use membership::Refusal;
use proto::etcdserverpb::internal_raft_request::Op;

use super::{
    command::Outcome,
    entry::{At, Failure, refuse},
    machine::Machine,
};

impl Machine {
    /// An operation on users, roles, or the switch itself.
    pub(super) fn apply_auth(&mut self, op: &Op, at: At) -> Result<Outcome, Failure> {
        match op {
            // Proposed by an etcd: they read, or are refused while authentication is off.
            Op::AuthDisable(_)
            | Op::Authenticate(_)
            | Op::AuthStatus(_)
            | Op::AuthUserGet(_)
            | Op::AuthUserList(_)
            | Op::AuthRoleGet(_)
            | Op::AuthRoleList(_) => Ok(Outcome::Done),
            // Refused before it came here.
            _ => Err(refuse(at.index, &Refusal::Unknown).into()),
        }
    }
}
