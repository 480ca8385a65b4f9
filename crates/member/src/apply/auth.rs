//! Users, roles and authentication: the entries about them, and what every other entry needs.
//! The user is the one in the request's header; the verdict follows from state that only the log
//! changes, so that every member decides alike.

use auth::{Error, Store, Tokens, tokens::Login};
use bolt::Batch;
use line::Feature;
use membership::Refusal;
use proto::etcdserverpb::{
    AuthRoleGetResponse, AuthRoleListResponse, AuthStatusResponse, AuthUserGetResponse,
    AuthUserListResponse, InternalAuthenticateRequest, internal_raft_request::Op,
};

use super::{
    command::{Authenticated, Outcome},
    entry::{At, Failure, refuse},
    machine::{Machine, Run},
};
use crate::{host::Host, status::Status};

impl Machine {
    /// Whether what an entry asks for is checked. A release of the 3.5 line that has raised an
    /// alarm since it started applies entries without a look at users until the alarm is over;
    /// its members do so together, and so does this one. No request gets into the log unchecked
    /// through this member.
    pub(super) fn is_checked<H>(&self, run: &Run<'_, H>) -> bool {
        let lifted = self.line_of_entries().has(Feature::AlarmsLiftChecks)
            && self.state.alarms.read().was_raised_here();
        run.users.read(Store::is_enabled) && !lifted
    }

    /// An operation on users, roles, or the switch itself.
    pub(super) fn apply_auth<H: Host>(
        &mut self,
        op: &Op,
        at: At,
        run: &mut Run<'_, H>,
    ) -> Result<Outcome, Failure> {
        let header = run.header();
        let read = |users: &Store| -> Result<Option<Outcome>, Error> {
            Ok(Some(match op {
                Op::AuthStatus(_) => Outcome::AuthStatus(AuthStatusResponse {
                    header,
                    enabled: users.is_enabled(),
                    auth_revision: users.revision(),
                }),
                Op::AuthUserGet(request) => Outcome::User(AuthUserGetResponse {
                    header,
                    roles: users.user_get(request)?,
                }),
                Op::AuthUserList(_) => Outcome::Users(AuthUserListResponse {
                    header,
                    users: users.users().cloned().collect(),
                }),
                Op::AuthRoleGet(request) => Outcome::Role(AuthRoleGetResponse {
                    header,
                    perm: users.role_get(request)?,
                }),
                Op::AuthRoleList(_) => Outcome::Roles(AuthRoleListResponse {
                    header,
                    roles: users.roles().cloned().collect(),
                }),
                _ => return Ok(None),
            }))
        };
        if let Some(outcome) = run.users.read(read).map_err(Status::from)? {
            return Ok(outcome);
        }
        match op {
            Op::Authenticate(request) => self.authenticate(request, at, run),
            op => self.change_users(op, at, run),
        }
    }

    /// A login whose password the proposer has checked.
    fn authenticate<H: Host>(
        &mut self,
        request: &InternalAuthenticateRequest,
        at: At,
        run: &mut Run<'_, H>,
    ) -> Result<Outcome, Failure> {
        let revision = run
            .users
            .read(|users| users.authenticate(&request.name).map(|()| users.revision()))
            .map_err(Status::from)?;
        // etcd's token has the last entry that was applied before its own.
        let index = at.index - 1;
        let login = Login {
            user: &request.name,
            revision,
            prefix: &request.simple_token,
            index,
        };
        self.state.tokens.remember(&login, run.host.now_ms());
        Ok(Outcome::Authenticated(Authenticated {
            header: run.header(),
            revision,
            index,
        }))
    }

    fn change_users<H: Host>(
        &mut self,
        op: &Op,
        at: At,
        run: &mut Run<'_, H>,
    ) -> Result<Outcome, Failure> {
        let mut batch = Batch::default();
        let tokens = run
            .users
            .change()
            .change(op, &mut batch)
            .map_err(|error| match error {
                Error::NameTooLong => refuse(at.index, &Refusal::Invalid("name")).into(),
                error => Failure::Refused(error.into()),
            })?;
        run.writer.write(batch);
        match tokens {
            Tokens::Keep => {}
            Tokens::Accept => self.state.tokens.accept(),
            Tokens::ForgetAll => self.state.tokens.forget_all(),
            Tokens::Forget(user) => self.state.tokens.forget(&user),
        }
        Ok(Outcome::UsersChanged(run.header()))
    }
}
