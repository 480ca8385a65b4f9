//! The Lock service: named locks for clients without a library that builds
//! them. A lock is a key whose creator has its turn; it ends when that key does.

use std::rc::Rc;

use bytes::Bytes;
use proto::{
    etcdserverpb::DeleteRangeRequest,
    v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse},
};

use super::{
    caller::Caller,
    kv,
    turn::{reach, session},
};
use crate::{
    rpc::frame_message,
    runtime::Runtime,
    status::{Status, errors},
};

/// `Lock.Lock`: answers once the caller has the lock.
///
/// # Errors
/// No such lease; the lease ended while it waited.
pub async fn lock(
    rt: &Rc<Runtime>,
    caller: &Caller,
    request: LockRequest,
) -> Result<Bytes, Status> {
    let lease = session(rt, caller, request.lease).await?;
    let lost = errors::LOCK_SESSION_EXPIRED;
    let taken = |_, _, _, _| std::future::ready(Ok(()));
    let (turn, waited) = reach(rt, caller, request.name, lease, Bytes::new(), lost, taken).await?;
    Ok(frame_message(&LockResponse {
        header: Some(waited.unwrap_or(turn.header)),
        key: turn.key,
    }))
}

/// `Lock.Unlock`: deletes the key, whoever's it is.
///
/// # Errors
/// No key given.
pub async fn unlock(
    rt: &Rc<Runtime>,
    caller: &Caller,
    request: UnlockRequest,
) -> Result<Bytes, Status> {
    let request = DeleteRangeRequest {
        key: request.key,
        ..Default::default()
    };
    let response = kv::delete(rt, caller, request).await?;
    Ok(frame_message(&UnlockResponse {
        header: response.header,
    }))
}
