//! The Auth service. Everything goes through the log, reads too, so that the answers are in order
//! with the changes. Passwords are hashed and compared before that, on threads of their own, a few
//! at a time; a plain password never reaches the log.

use std::rc::Rc;

use auth::{Error, password, tokens::Login};
use bytes::Bytes;
use line::{Feature, Line};
use member::Outcome;
use prost::Message;
use proto::{
    authpb::UserAddOptions,
    etcdserverpb::{
        AuthUserAddRequest, AuthUserChangePasswordRequest, AuthenticateRequest,
        AuthenticateResponse, InternalAuthenticateRequest, ResponseHeader,
        internal_raft_request::Op,
    },
    wire::text,
};

use super::caller::{Caller, unix_secs};
use crate::{
    rpc::frame_message,
    runtime::{Runtime, blocking},
    status::{Code, Status, errors},
    submit::mixed_up,
};

/// A request whose answer is read from users and roles, or whose answer is a header.
pub(super) async fn call(rt: &Rc<Runtime>, caller: &Caller, op: Op) -> Result<Bytes, Status> {
    check_name(&op, rt.core.line())?;
    let who = caller.identity(rt).await?;
    let frame = |mut header: Option<ResponseHeader>, answer: &dyn Fn(_) -> Bytes| {
        rt.core.complete_header(&mut header);
        answer(header)
    };
    Ok(match rt.submit(who, op).await? {
        // All of these answers are a header, under the same number.
        Outcome::UsersChanged(header) => frame(header, &|header| {
            frame_message(&proto::etcdserverpb::AuthEnableResponse { header })
        }),
        Outcome::AuthStatus(response) => complete(rt, response, |r| &mut r.header),
        Outcome::User(response) => complete(rt, response, |r| &mut r.header),
        Outcome::Users(response) => complete(rt, response, |r| &mut r.header),
        Outcome::Role(response) => complete(rt, response, |r| &mut r.header),
        Outcome::Roles(response) => complete(rt, response, |r| &mut r.header),
        _ => return Err(mixed_up()),
    })
}

fn complete<M: Message>(
    rt: &Rc<Runtime>,
    mut response: M,
    header: impl FnOnce(&mut M) -> &mut Option<ResponseHeader>,
) -> Bytes {
    rt.core.complete_header(header(&mut response));
    frame_message(&response)
}

/// `Auth.UserAdd`
pub(super) async fn user_add(
    rt: &Rc<Runtime>,
    caller: &Caller,
    mut request: AuthUserAddRequest,
) -> Result<Bytes, Status> {
    let UserAddOptions { no_password } = request.options.unwrap_or_default();
    if !no_password {
        let plain = std::mem::take(&mut request.password);
        request.hashed_password = hash(rt, caller, plain).await?;
    }
    call(rt, caller, Op::AuthUserAdd(request)).await
}

/// `Auth.UserChangePassword`
pub(super) async fn user_change_password(
    rt: &Rc<Runtime>,
    caller: &Caller,
    mut request: AuthUserChangePasswordRequest,
) -> Result<Bytes, Status> {
    if !request.password.is_empty() {
        let plain = std::mem::take(&mut request.password);
        request.hashed_password = hash(rt, caller, plain).await?;
    }
    call(rt, caller, Op::AuthUserChangePassword(request)).await
}

/// Refuses a name that must not get into the log.
fn check_name(op: &Op, line: Line) -> Result<(), Status> {
    check_text(membership::entry::is_text(op), line)?;
    if membership::entry::has_long_name(op) {
        return Err(Status::fixed(
            Code::InvalidArgument,
            "etcdserver: a name must be at most 32768 bytes long",
        ));
    }
    Ok(())
}

/// Refuses what is not text where the line does not take it, in the words of Go's library.
fn check_text(is_text: bool, line: Line) -> Result<(), Status> {
    if !is_text && line.has(Feature::NamesAreText) {
        return Err(Status::fixed(
            Code::Internal,
            "grpc: error unmarshalling request: string field contains invalid UTF-8",
        ));
    }
    Ok(())
}

/// Hashes the password of a request that root alone may make: no one else can have this member
/// spend its time so.
async fn hash(rt: &Rc<Runtime>, caller: &Caller, plain: Bytes) -> Result<String, Status> {
    check_text(std::str::from_utf8(&plain).is_ok(), rt.core.line())?;
    caller.require_root(rt).await?;
    let cost = rt.core.config.bcrypt_cost;
    slowly(rt, move || password::hash_for_log(&plain, cost))
        .await?
        .map_err(|error| Status::new(Code::Unknown, error.to_string()))
}

/// Runs bcrypt on a thread of its own, once there is a place for it.
async fn slowly<T: Send + 'static>(
    rt: &Rc<Runtime>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Status> {
    let limit = rt.core.config.request_timeout();
    let place = tokio::time::timeout(limit, rt.core.hashing.clone().acquire_owned()).await;
    let Ok(Ok(place)) = place else {
        return Err(errors::TIMEOUT);
    };
    blocking(move || {
        let _place = place;
        work()
    })
    .await
}

/// `Auth.Authenticate`
///
/// # Errors
/// Authentication is off; the user or the password is not right.
pub(super) async fn authenticate(
    rt: &Rc<Runtime>,
    request: AuthenticateRequest,
) -> Result<Bytes, Status> {
    let AuthenticateRequest { name, password } = request;
    let is_text = [&name, &password].map(|text| std::str::from_utf8(text).is_ok());
    check_text(is_text == [true; 2], rt.core.line())?;
    rt.linearizable().await?;
    let state = &rt.core.state;
    loop {
        let checked = check_password(rt, &name, &password).await?;
        let prefix = state.tokens.prefix();
        let login = Op::Authenticate(InternalAuthenticateRequest {
            name: name.clone(),
            simple_token: prefix.clone(),
            ..Default::default()
        });
        let applied = match rt.submit(auth::Identity::default(), login).await? {
            Outcome::Authenticated(applied) => applied,
            _ => return Err(mixed_up()),
        };
        let login = Login {
            user: &name,
            revision: applied.revision,
            prefix: &prefix,
            index: applied.index,
        };
        let token = state.tokens.write(&login, unix_secs())?;
        if checked != state.auth.read().revision() {
            tracing::info!("revision when password checked became stale; retrying");
            continue;
        }
        let mut header = applied.header;
        rt.core.complete_header(&mut header);
        return Ok(frame_message(&AuthenticateResponse { header, token }));
    }
}

/// Compares a password; returns the auth revision at which that was done.
async fn check_password(rt: &Rc<Runtime>, name: &[u8], password: &Bytes) -> Result<u64, Status> {
    let stored = rt.core.state.auth.read().credentials(name)?;
    let (revision, password) = (stored.revision, password.clone());
    let checked = slowly(rt, move || password::check(&password, &stored)).await?;
    if let Err(error) = checked {
        if error == Error::AuthFailed {
            tracing::info!("user-name" = text(name), "invalid password");
        }
        tracing::warn!(user = text(name), %error, "invalid authentication was requested");
        return Err(error.into());
    }
    Ok(revision)
}
