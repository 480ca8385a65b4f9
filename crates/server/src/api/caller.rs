//! Who makes a call, and the gate that every call passes: what its method asks for by the table
//! of [`auth::rules`], a user or root, is settled here before the method is reached. What depends
//! on the request is checked by the same [`Caller`]: keys that are read, where they are read;
//! everything that goes into the log, where it is proposed, and again where it is applied.

use std::rc::Rc;

use auth::{
    Error, Identity, Store,
    rules::{self, Need, Release},
    tokens::{Now, fingerprint},
};
use bytes::Bytes;
use lease::Lessor;
use line::{Feature, Line};

use crate::{
    core::Core,
    rpc::Method,
    runtime::Runtime,
    status::{Code, Status},
};

/// What a caller has shown of itself. Who that is may change while a stream lasts.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// `token`, or `authorization`.
    token: Option<Rc<str>>,
    /// The subject of a client certificate that was verified.
    common_name: Option<Rc<str>>,
}

/// What was read is shown to a user as of this auth revision; 0 for no one.
#[must_use]
pub(super) struct AsOf(u64);

impl AsOf {
    /// Refuses an answer whose user may no longer see it: users or roles have changed since.
    ///
    /// # Errors
    /// The revision is old.
    pub(super) fn check(self, core: &Core) -> Result<(), Status> {
        if self.0 != 0 && self.0 != core.state.auth.read().revision() {
            return Err(Error::AuthOldRevision.into());
        }
        Ok(())
    }
}

impl Caller {
    /// A caller with this token, on a connection with this certificate.
    pub fn new(token: Option<&str>, common_name: Option<Rc<str>>) -> Caller {
        Caller {
            token: token.map(Rc::from),
            common_name,
        }
    }

    /// The token, for a call that is passed on to another member.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Who calls; `None` for someone who has shown nothing, or while authentication is off.
    async fn identify(&self, rt: &Rc<Runtime>) -> Result<Option<Identity>, Error> {
        let core = &rt.core;
        if !core.is_auth_enabled() {
            return Ok(None);
        }
        let Some(token) = &self.token else {
            let revision = core.state.auth.read().revision();
            let named = self.common_name.as_ref().map(|name| Identity {
                user: Bytes::copy_from_slice(name.as_bytes()),
                revision,
            });
            return Ok(named);
        };
        let tokens = &core.state.tokens;
        if tokens
            .index_of(token)
            .is_some_and(|index| index > core.applied())
        {
            // Made through another member a moment ago. If it is one at all, it is committed.
            let _ = rt.linearizable().await;
        }
        let now = Now {
            monotonic_ms: core.now_ms(),
            unix_secs: unix_secs(),
        };
        let revision = core.state.auth.read().revision();
        let found = tokens.identify(token, revision, now);
        if found.is_err() {
            let fingerprint = fingerprint(token);
            tracing::warn!("token-fingerprint" = fingerprint, "invalid auth token");
        }
        found.map(Some)
    }

    /// Who calls, for the header of an entry. No one is the default.
    ///
    /// # Errors
    /// The token is not valid.
    pub(super) async fn identity(&self, rt: &Rc<Runtime>) -> Result<Identity, Status> {
        Ok(self.identify(rt).await?.unwrap_or_default())
    }

    /// Lets any user pass.
    ///
    /// # Errors
    /// The token is not valid, or there is none.
    pub(super) async fn require_user(&self, rt: &Rc<Runtime>) -> Result<(), Error> {
        match self.identify(rt).await? {
            None if rt.core.is_auth_enabled() => Err(Error::UserEmpty),
            _ => Ok(()),
        }
    }

    /// Lets root pass.
    ///
    /// # Errors
    /// The token is not valid, or the user not root.
    pub(super) async fn require_root(&self, rt: &Rc<Runtime>) -> Result<(), Error> {
        let who = self.identify(rt).await?.unwrap_or_default();
        rt.core.state.auth.read().check_admin(&who)
    }

    /// Checks keys before they are read.
    ///
    /// # Errors
    /// The token is not valid, or what `check` says.
    pub(super) async fn check(
        &self,
        rt: &Rc<Runtime>,
        check: impl FnOnce(&Store, &Identity) -> Result<(), Error>,
    ) -> Result<AsOf, Error> {
        let who = self.identify(rt).await?.unwrap_or_default();
        if rt.core.is_auth_enabled() {
            check(&rt.core.state.auth.read(), &who)?;
        }
        Ok(AsOf(who.revision))
    }

    /// The same with a look at leases.
    ///
    /// # Errors
    /// As [`Caller::check`].
    pub(super) async fn check_leases(
        &self,
        rt: &Rc<Runtime>,
        check: impl FnOnce(&Store, &Lessor, &Identity) -> Result<(), Error>,
    ) -> Result<AsOf, Error> {
        let who = self.identify(rt).await?.unwrap_or_default();
        if rt.core.is_auth_enabled() {
            // In this order, as wherever both are taken.
            let lessor = rt.core.state.lessor.read();
            check(&rt.core.state.auth.read(), &lessor, &who)?;
        }
        Ok(AsOf(who.revision))
    }
}

/// Seconds since 1970.
pub(super) fn unix_secs() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as i64)
}

/// Settles what a method asks for. etcd 3.5 lets the errors of four methods through as they are.
///
/// # Errors
/// The caller may not call it.
pub(super) async fn pass(rt: &Rc<Runtime>, method: Method, caller: &Caller) -> Result<(), Status> {
    if !rt.core.is_auth_enabled() {
        return Ok(());
    }
    let line = rt.core.line();
    let Some(need) = rules::need(method.path(), Release::of(line)) else {
        return Err(Status::new(
            Code::PermissionDenied,
            format!("{} has no rule of who may call it", method.path()),
        ));
    };
    let passed = match need {
        Need::User => caller.require_user(rt).await,
        Need::Root => caller.require_root(rt).await,
        Need::Nothing | Need::Keys | Need::Entry | Need::Inner => Ok(()),
    };
    passed.map_err(|error| refused(method, line, error))
}

/// An error of authentication as a method's client sees it.
fn refused(method: Method, line: Line, error: Error) -> Status {
    match method {
        Method::Defragment | Method::Snapshot | Method::Hash | Method::HashKv
            if !line.has(Feature::AdminErrorCodes) =>
        {
            Status::unmapped(error)
        }
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests;
