//! `Lease.LeaseKeepAlive`: a stream of renewals, answered in their order. A client renews all its
//! leases in one burst, thousands at a time, so requests are taken off the connection as they
//! come and wait here as bare ids; renewals overlap, for each may have to ask a quorum, or the
//! leader. A client that does not take its answers is not listened to. Nothing here may outlive
//! the answer's [`Source`]: when that is dropped, the stream is over.

use std::rc::Rc;

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, future, stream};
use proto::etcdserverpb::{LeaseKeepAliveRequest, LeaseKeepAliveResponse};
use tokio::{sync::mpsc, task::unconstrained};

use super::{caller::Caller, frames::Frames, lease};
use crate::{
    rpc::{Source, decode_as, frame_message},
    runtime::Runtime,
    status::{Status, errors},
    transport::MessageStream,
};

/// Answers that the connection has not taken yet.
const UNSENT_MAX: usize = 128;
/// Renewals of one stream under way at once.
const RENEWALS_MAX: usize = 32;
/// Requests of one stream that wait for their turn, 8 bytes each: more leases than any client
/// is known to hold on one connection.
const WAITING_MAX: usize = 64 << 10;

/// `Lease.LeaseKeepAlive`
pub(super) fn serve(rt: &Rc<Runtime>, caller: Caller, messages: MessageStream) -> Box<dyn Source> {
    let (frames, source) = mpsc::channel(UNSENT_MAX);
    let rt = rt.clone();
    tokio::task::spawn_local(async move {
        let ended = tokio::select! {
            ended = answer(&rt, &caller, messages, &frames) => ended,
            () = frames.closed() => return,
        };
        if let Err(status) = ended {
            // An error here means that the client is gone.
            let _ = frames.send(Err(status)).await;
        }
    });
    Box::new(Frames(source))
}

/// Answers renewals until the client closes its side, or is gone.
async fn answer(
    rt: &Rc<Runtime>,
    caller: &Caller,
    messages: MessageStream,
    frames: &mpsc::Sender<Result<Bytes, Status>>,
) -> Result<(), Status> {
    let mut stop = rt.core.stop.subscribe();
    let (ids, waiting) = mpsc::channel(WAITING_MAX);
    // What was asked before the requests ended is still answered; a renewal that fails ends the
    // stream at once.
    let reading = unconstrained(read(rt, messages, ids)).map(Ok::<_, Status>);
    let work = future::try_join(reading, renew_all(rt, caller, waiting, frames));
    tokio::select! {
        ended = work => ended?.0,
        _ = stop.wait_for(|stop| *stop) => Err(errors::STOPPED),
    }
}

/// Takes all that the connection has, whatever the runtime thinks of a fair share: what is left
/// there counts against the connection. It has read no more than its own share.
async fn read(
    rt: &Rc<Runtime>,
    mut messages: MessageStream,
    ids: mpsc::Sender<i64>,
) -> Result<(), Status> {
    while let Some(message) = messages.next().await {
        let request: LeaseKeepAliveRequest = decode_as(rt.core.line(), message?)?;
        if ids.send(request.id).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn renew_all(
    rt: &Rc<Runtime>,
    caller: &Caller,
    mut ids: mpsc::Receiver<i64>,
    frames: &mpsc::Sender<Result<Bytes, Status>>,
) -> Result<(), Status> {
    let answers = stream::poll_fn(|cx| ids.poll_recv(cx))
        .map(|id| renew(rt, caller, id))
        .buffered(RENEWALS_MAX);
    let mut answers = std::pin::pin!(answers);
    while let Some(frame) = answers.next().await {
        if frames.send(Ok(frame?)).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn renew(rt: &Rc<Runtime>, caller: &Caller, id: i64) -> Result<Bytes, Status> {
    // Taken before the renewal: a lease that was revoked at a revision must not seem to have
    // been renewed at a later one.
    let header = rt.core.header(rt.core.store().revision());
    let ttl = lease::renew(rt, caller, id).await?;
    Ok(frame_message(&LeaseKeepAliveResponse {
        header: Some(header),
        id,
        ttl,
    }))
}
