//! What locks and elections stand on: keys `<name>/<lease>` under one prefix.
//! Whose key was created first has its turn; all others wait for the key right
//! before theirs to go. Clients build and read the same keys themselves, so
//! nothing here may look otherwise than what they write. A turn that was not
//! reached must never leave its key behind.

use std::{future::Future, rc::Rc};

use bytes::Bytes;
use proto::{
    etcdserverpb::{
        Compare, DeleteRangeRequest, LeaseGrantRequest, PutRequest, RangeRequest, RequestOp,
        ResponseHeader, TxnRequest, TxnResponse, WatchCreateRequest,
        compare::{CompareResult, CompareTarget, TargetUnion},
        range_request::{SortOrder, SortTarget},
        request_op::Request,
        response_op::Response,
    },
    mvccpb::{KeyValue, event::EventType},
    wire::Nested,
};
use tokio::sync::oneshot;

use super::{caller::Caller, kv, lease, watch::OwnWatch};
use crate::{
    runtime::Runtime,
    status::{Status, errors},
};

/// The lease of a request that names none, in seconds.
const SESSION_TTL: i64 = 60;

/// The lease a request stands on: its own, or a new one that nobody renews.
pub(super) async fn session(rt: &Rc<Runtime>, caller: &Caller, lease: i64) -> Result<i64, Status> {
    if lease != 0 {
        return Ok(lease);
    }
    let request = LeaseGrantRequest {
        ttl: SESSION_TTL,
        id: 0,
    };
    Ok(lease::create(rt, caller, request).await?.id)
}

/// A place in the queue of a name.
pub(super) struct Turn {
    name: Bytes,
    pub(super) key: Bytes,
    /// The revision at which the key was created.
    pub(super) created: i64,
    /// Of the answer by which the place was taken.
    pub(super) header: ResponseHeader,
    /// The key from before, if the lease has stood in this queue already.
    pub(super) existing: Option<KeyValue>,
    /// Whether no other key was there first.
    reached: bool,
}

impl Turn {
    /// Takes the last place in the queue of `name`, or finds the one that
    /// `lease` has.
    pub(super) async fn take(
        rt: &Rc<Runtime>,
        caller: &Caller,
        name: Bytes,
        lease: i64,
        value: Bytes,
    ) -> Result<Turn, Status> {
        let sign = if lease < 0 { "-" } else { "" };
        let id = format!("/{sign}{:x}", lease.unsigned_abs());
        let key: Bytes = [&name[..], id.as_bytes()].concat().into();
        let first = operation(Request::RequestRange(oldest(&name)));
        let put = operation(Request::RequestPut(PutRequest {
            key: key.clone(),
            value,
            lease,
            ..Default::default()
        }));
        let get = operation(Request::RequestRange(RangeRequest {
            key: key.clone(),
            ..Default::default()
        }));
        let request = TxnRequest {
            compare: vec![created(&key, 0)],
            success: vec![put, first.clone()],
            failure: vec![get, first],
        };
        let response = kv::transact(rt, caller, Nested::new(request))
            .await?
            .into_inner();
        let header = response.header.unwrap_or_default();
        let succeeded = response.succeeded;
        let mut found = response.responses.into_iter().map(|op| match op.response {
            Some(Response::ResponseRange(range)) => range.kvs.into_iter().next(),
            _ => None,
        });
        let existing = found.next().flatten().filter(|_| !succeeded);
        let owner = found.next().flatten();
        let created = existing
            .as_ref()
            .map_or(header.revision, |kv| kv.create_revision);
        Ok(Turn {
            name,
            key,
            created,
            header,
            existing,
            reached: owner.is_none_or(|owner| owner.create_revision == created),
        })
    }

    /// Waits until no older key is left, and the own one still is; gives the
    /// header of the answer that said so, if that took any waiting.
    async fn wait(
        &self,
        rt: &Rc<Runtime>,
        caller: &Caller,
        lost: Status,
    ) -> Result<Option<ResponseHeader>, Status> {
        if self.reached {
            return Ok(None);
        }
        let before = RangeRequest {
            max_create_revision: self.created - 1,
            sort_order: SortOrder::Descend.into(),
            ..oldest(&self.name)
        };
        loop {
            let response = kv::read(rt, caller, &before).await?;
            let Some(neighbour) = response.kvs.into_iter().next() else {
                break;
            };
            let revision = response.header.unwrap_or_default().revision;
            match deleted(rt, caller, neighbour.key, revision).await {
                // History went before it could be read; the keys tell as much.
                Err(status) if status == errors::COMPACTED => {}
                waited => waited?,
            }
        }
        let own = RangeRequest {
            key: self.key.clone(),
            ..Default::default()
        };
        let response = kv::read(rt, caller, &own).await?;
        let mut own = response.kvs.iter();
        if !own.any(|kv| kv.create_revision == self.created) {
            return Err(lost);
        }
        Ok(Some(response.header.unwrap_or_default()))
    }

    /// Gives the place up, unless an earlier request had taken it. What fails
    /// here the end of the lease makes good.
    async fn give_up(&self, rt: &Rc<Runtime>, caller: &Caller) {
        if self.existing.is_some() {
            return;
        }
        if let Err(error) = resign(rt, caller, &self.key, self.created).await {
            let key = String::from_utf8_lossy(&self.key);
            tracing::warn!(key = %key, error = %error, "failed to give up the place in a queue of keys");
        }
    }
}

/// Stands in the queue of `name` until it is this lease's turn. `taken` is done
/// once the key is there, before the wait. A caller that goes away meanwhile
/// gives its place up. With the turn comes the header of the answer that ended
/// the wait, if there was one.
pub(super) async fn reach<F, T>(
    rt: &Rc<Runtime>,
    caller: &Caller,
    name: Bytes,
    lease: i64,
    value: Bytes,
    lost: Status,
    taken: T,
) -> Result<(Turn, Option<ResponseHeader>), Status>
where
    T: FnOnce(Rc<Runtime>, Option<KeyValue>, Bytes, i64) -> F + 'static,
    F: Future<Output = Result<(), Status>> + 'static,
{
    let (mut sender, receiver) = oneshot::channel();
    let (rt, caller) = (rt.clone(), caller.clone());
    // On a task of its own: when the caller's connection breaks, its future is
    // gone in the middle of everything, and the key would stay.
    tokio::task::spawn_local(async move {
        let turn = match Turn::take(&rt, &caller, name, lease, value).await {
            Ok(turn) => turn,
            Err(status) => {
                let _ = sender.send(Err(status));
                return;
            }
        };
        let (existing, key) = (turn.existing.clone(), turn.key.clone());
        let work = async {
            taken(rt.clone(), existing, key, turn.created).await?;
            turn.wait(&rt, &caller, lost).await
        };
        let waited = tokio::select! {
            waited = work => waited,
            () = sender.closed() => Err(errors::REQUEST_CANCELED),
        };
        match waited {
            Ok(waited) => {
                if let Err(Ok((turn, _))) = sender.send(Ok((turn, waited))) {
                    turn.give_up(&rt, &caller).await;
                }
            }
            Err(status) => {
                turn.give_up(&rt, &caller).await;
                let _ = sender.send(Err(status));
            }
        }
    });
    receiver.await.unwrap_or(Err(errors::STOPPED))
}

/// The key in the queue of `name` that was created first.
pub(super) fn oldest(name: &[u8]) -> RangeRequest {
    RangeRequest {
        key: [name, b"/"].concat().into(),
        // The byte after the slash ends what begins with it.
        range_end: [name, b"0"].concat().into(),
        limit: 1,
        sort_order: SortOrder::Ascend.into(),
        sort_target: SortTarget::Create.into(),
        ..Default::default()
    }
}

fn operation(request: Request) -> RequestOp {
    RequestOp {
        request: Some(request),
    }
}

/// Holds while `key` is the one created at `revision`; 0 for none there.
fn created(key: &Bytes, revision: i64) -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Create.into(),
        key: key.clone(),
        range_end: Bytes::new(),
        target_union: Some(TargetUnion::CreateRevision(revision)),
    }
}

/// Deletes `key` if it is the one created at `revision`.
pub(super) async fn resign(
    rt: &Rc<Runtime>,
    caller: &Caller,
    key: &Bytes,
    revision: i64,
) -> Result<TxnResponse, Status> {
    let delete = DeleteRangeRequest {
        key: key.clone(),
        ..Default::default()
    };
    let request = TxnRequest {
        compare: vec![created(key, revision)],
        success: vec![operation(Request::RequestDeleteRange(delete))],
        failure: Vec::new(),
    };
    kv::transact(rt, caller, Nested::new(request))
        .await
        .map(Nested::into_inner)
}

/// Writes a value to `key` if it is the one created at `revision`.
pub(super) async fn proclaim(
    rt: &Rc<Runtime>,
    caller: &Caller,
    key: &Bytes,
    revision: i64,
    lease: i64,
    value: Bytes,
) -> Result<TxnResponse, Status> {
    let put = PutRequest {
        key: key.clone(),
        value,
        lease,
        ..Default::default()
    };
    let request = TxnRequest {
        compare: vec![created(key, revision)],
        success: vec![operation(Request::RequestPut(put))],
        failure: Vec::new(),
    };
    kv::transact(rt, caller, Nested::new(request))
        .await
        .map(Nested::into_inner)
}

/// Waits until `key`, which was there at `revision`, is deleted.
async fn deleted(
    rt: &Rc<Runtime>,
    caller: &Caller,
    key: Bytes,
    revision: i64,
) -> Result<(), Status> {
    let request = WatchCreateRequest {
        key,
        start_revision: revision,
        ..Default::default()
    };
    let mut watch = OwnWatch::open(rt, caller, &request).await?;
    loop {
        let response = watch.next().await?;
        let mut events = response.events.iter();
        if events.any(|event| event.r#type() == EventType::Delete) {
            return Ok(());
        }
    }
}
