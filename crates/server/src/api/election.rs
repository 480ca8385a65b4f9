//! The Election service. The leader of a name is whoever's key has its turn;
//! its value is what the leader proclaims. Nobody but the leader may change it.

use std::rc::Rc;

use bytes::Bytes;
use proto::{
    etcdserverpb::{ResponseHeader, WatchCreateRequest},
    mvccpb::{KeyValue, event::EventType},
    v3electionpb::{
        CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse,
        ProclaimRequest, ProclaimResponse, ResignRequest, ResignResponse,
    },
};
use tokio::sync::mpsc;

use super::{
    caller::Caller,
    frames::Frames,
    kv,
    turn::{self, oldest, reach, session},
    watch::OwnWatch,
};
use crate::{
    rpc::{Source, frame_message},
    runtime::Runtime,
    status::{Status, errors},
};

/// Answers of an observation that the connection has not taken yet; the store
/// keeps the rest.
const UNSENT_MAX: usize = 16;

/// `Election.Campaign`: answers once the caller leads. A lease that stands in
/// the election already gets the new value.
///
/// # Errors
/// No such lease; the lease ended while it waited.
pub async fn campaign(
    rt: &Rc<Runtime>,
    caller: &Caller,
    request: CampaignRequest,
) -> Result<Bytes, Status> {
    let CampaignRequest { name, lease, value } = request;
    let lease = session(rt, caller, lease).await?;
    let lost = errors::ELECTION_SESSION_EXPIRED;
    let (again, as_caller) = (value.clone(), caller.clone());
    let taken = move |rt: Rc<Runtime>, existing: Option<KeyValue>, key: Bytes, created| async move {
        match existing {
            Some(kv) if kv.value != again => {
                let response = turn::proclaim(&rt, &as_caller, &key, created, lease, again).await?;
                match response.succeeded {
                    true => Ok(()),
                    false => Err(errors::ELECTION_NOT_LEADER),
                }
            }
            _ => Ok(()),
        }
    };
    let (turn, _) = reach(rt, caller, name.clone(), lease, value, lost, taken).await?;
    Ok(frame_message(&CampaignResponse {
        header: Some(turn.header),
        leader: Some(LeaderKey {
            name,
            key: turn.key,
            rev: turn.created,
            lease,
        }),
    }))
}

/// `Election.Proclaim`
///
/// # Errors
/// No leader key given; it leads no more.
pub async fn proclaim(
    rt: &Rc<Runtime>,
    caller: &Caller,
    request: ProclaimRequest,
) -> Result<Bytes, Status> {
    let leader = request.leader.ok_or(errors::MISSING_LEADER_KEY)?;
    let lease = session(rt, caller, leader.lease).await?;
    let response =
        turn::proclaim(rt, caller, &leader.key, leader.rev, lease, request.value).await?;
    if !response.succeeded {
        return Err(errors::ELECTION_NOT_LEADER);
    }
    Ok(frame_message(&ProclaimResponse {
        header: response.header,
    }))
}

/// `Election.Resign`: a leadership that is over already is no error.
///
/// # Errors
/// No leader key given.
pub async fn resign(
    rt: &Rc<Runtime>,
    caller: &Caller,
    request: ResignRequest,
) -> Result<Bytes, Status> {
    let leader = request.leader.ok_or(errors::MISSING_LEADER_KEY)?;
    let response = turn::resign(rt, caller, &leader.key, leader.rev).await?;
    Ok(frame_message(&ResignResponse {
        header: response.header,
    }))
}

/// `Election.Leader`
///
/// # Errors
/// Nobody leads.
pub async fn leader(
    rt: &Rc<Runtime>,
    caller: &Caller,
    request: LeaderRequest,
) -> Result<Bytes, Status> {
    let response = kv::read(rt, caller, &oldest(&request.name)).await?;
    let kv = response.kvs.into_iter().next();
    Ok(frame_message(&LeaderResponse {
        header: response.header,
        kv: Some(kv.ok_or(errors::ELECTION_NO_LEADER)?),
    }))
}

/// `Election.Observe`: the present leader's value, each later one, and so on
/// with the next leader, until the client has enough.
pub fn observe(rt: &Rc<Runtime>, caller: &Caller, request: LeaderRequest) -> Box<dyn Source> {
    let (sender, receiver) = mpsc::channel(UNSENT_MAX);
    let (rt, caller) = (rt.clone(), caller.clone());
    tokio::task::spawn_local(async move {
        let ended = tokio::select! {
            ended = tell(&rt, &caller, &request.name, &sender) => ended,
            () = sender.closed() => return,
        };
        if let Err(status) = ended {
            let _ = sender.send(Err(status)).await;
        }
    });
    Box::new(Frames(receiver))
}

async fn tell(
    rt: &Rc<Runtime>,
    caller: &Caller,
    name: &[u8],
    sender: &mpsc::Sender<Result<Bytes, Status>>,
) -> Result<(), Status> {
    let send = async |header: ResponseHeader, kv: KeyValue| {
        let response = LeaderResponse {
            header: Some(header),
            kv: Some(kv),
        };
        // Nobody listens any more: the caller of this ends it.
        let _ = sender.send(Ok(frame_message(&response))).await;
    };
    let first = oldest(name);
    loop {
        let response = kv::read(rt, caller, &first).await?;
        let header = response.header.unwrap_or_default();
        let (header, kv) = match response.kvs.into_iter().next() {
            Some(kv) => (header, kv),
            None => first_put(rt, caller, &first.key, &first.range_end, header.revision).await?,
        };
        let request = WatchCreateRequest {
            key: kv.key.clone(),
            start_revision: header.revision + 1,
            ..Default::default()
        };
        send(header, kv).await;
        let mut watch = OwnWatch::open(rt, caller, &request).await?;
        'leads: loop {
            let response = match watch.next().await {
                // History went before it could be read: on with who leads now.
                Err(status) if status == errors::COMPACTED => break,
                response => response?,
            };
            let header = response.header.unwrap_or_default();
            for event in response.events {
                if event.r#type() == EventType::Delete {
                    break 'leads;
                }
                send(header, event.kv.unwrap_or_default()).await;
            }
        }
    }
}

/// The first key written in a range from `revision` on, and a header of its
/// own revision: what follows it must not be missed.
async fn first_put(
    rt: &Rc<Runtime>,
    caller: &Caller,
    key: &Bytes,
    range_end: &Bytes,
    revision: i64,
) -> Result<(ResponseHeader, KeyValue), Status> {
    let request = WatchCreateRequest {
        key: key.clone(),
        range_end: range_end.clone(),
        start_revision: revision,
        ..Default::default()
    };
    let mut watch = OwnWatch::open(rt, caller, &request).await?;
    loop {
        let response = watch.next().await?;
        let mut header = response.header.unwrap_or_default();
        let mut events = response.events.into_iter();
        let put = events.find(|event| event.r#type() == EventType::Put);
        if let Some(kv) = put.and_then(|event| event.kv) {
            header.revision = kv.mod_revision;
            return Ok((header, kv));
        }
    }
}
