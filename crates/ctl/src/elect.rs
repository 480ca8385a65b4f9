//! `elect`: stands for election and leads until interrupted, or prints the
//! proposal of whoever leads. An observer must never join the queue.

use bytes::Bytes;
use cli::flags::Parsed;
use client::{Client, prefix_end};
use proto::{
    etcdserverpb::{self as api, ResponseHeader},
    mvccpb::{KeyValue, event::EventType},
};

use crate::{
    failure::{EXIT_ERROR, Failure, Outcome},
    global::Global,
    session::{Interrupts, Session, TTL, Turn, by_creation, canceled, prefix},
};

/// `etcdctl elect`.
pub(crate) async fn run(parsed: &mut Parsed) -> Outcome {
    let listen = parsed.bool("listen");
    let (name, proposal) = match (parsed.args.as_slice(), listen) {
        ([_], false) => {
            return Err(Failure::bad_args("no proposal argument but -l not set"));
        }
        ([_, _], true) => return Err(Failure::bad_args("proposal given but -l is set")),
        ([name], true) => (name.clone(), None),
        ([name, proposal], false) => (name.clone(), Some(Bytes::from(proposal.clone()))),
        _ => {
            return Err(Failure::bad_args(
                "elect takes one election name argument and an optional proposal argument",
            ));
        }
    };
    let global = Global::resolve(parsed)?;
    global.output.refuse_table()?;
    let client = global.client().await?;
    let mut interrupts = Interrupts::catch()?;
    match proposal {
        Some(proposal) => campaign(&global, &client, &name, proposal, &mut interrupts).await,
        None => tokio::select! {
            outcome = observe(&global, &client, prefix(&name)) => outcome,
            () = interrupts.received() => Ok(()),
        },
    }
}

async fn campaign(
    global: &Global,
    client: &Client,
    name: &[u8],
    proposal: Bytes,
    interrupts: &mut Interrupts,
) -> Outcome {
    let mut session = Session::open(client, TTL).await?;
    let mut turn = Turn::take(client, name, session.lease, proposal).await?;
    let waited = tokio::select! {
        waited = turn.wait(client) => waited.map_err(Failure::from),
        () = interrupts.received() => Err(canceled()),
    };
    if let Err(failure) = waited {
        turn.give_up(client).await?;
        return Err(failure);
    }
    global.output.show(&turn.look(client).await?)?;
    tokio::select! {
        () = interrupts.received() => Ok(turn.give_up(client).await?),
        () = session.ended() => Err(Failure::new(EXIT_ERROR, "elect: session expired")),
    }
}

/// Prints each leader's proposals, in order, for ever.
async fn observe(global: &Global, client: &Client, prefix: Bytes) -> Outcome {
    loop {
        let response = client.range(by_creation(prefix.clone())).await?;
        let header = response.header.unwrap_or_default();
        let (header, leader) = match response.kvs.into_iter().next() {
            Some(kv) => (header, kv),
            None => first_put(client, prefix.clone(), header.revision).await?,
        };
        show(global, header, &leader)?;
        follow(global, client, leader.key, header.revision + 1).await?;
    }
}

fn lost() -> Failure {
    Failure::new(EXIT_ERROR, "elect: observer lost")
}

fn show(global: &Global, header: ResponseHeader, leader: &KeyValue) -> Outcome {
    global.output.show(&api::RangeResponse {
        header: Some(header),
        kvs: vec![leader.clone()],
        ..Default::default()
    })
}

/// The first key written under `prefix` from `revision` on.
async fn first_put(
    client: &Client,
    prefix: Bytes,
    revision: i64,
) -> Outcome<(ResponseHeader, KeyValue)> {
    let request = api::WatchCreateRequest {
        range_end: prefix_end(&prefix),
        key: prefix,
        start_revision: revision,
        ..Default::default()
    };
    let mut watch = client.watcher().watch(request).await;
    while let Some(response) = watch.message().await? {
        let put = response
            .events
            .into_iter()
            .find(|event| event.r#type() == EventType::Put);
        if let Some(kv) = put.and_then(|event| event.kv) {
            let mut header = response.header.unwrap_or_default();
            // There may be more in this response, and they must be followed.
            header.revision = kv.mod_revision;
            return Ok((header, kv));
        }
    }
    Err(lost())
}

/// Prints what is written to `key` until it is deleted.
async fn follow(global: &Global, client: &Client, key: Bytes, from: i64) -> Outcome {
    let request = api::WatchCreateRequest {
        key,
        start_revision: from,
        ..Default::default()
    };
    let mut watch = client.watcher().watch(request).await;
    while let Some(response) = watch.message().await? {
        let header = response.header.unwrap_or_default();
        for event in response.events {
            if event.r#type() == EventType::Delete {
                return Ok(());
            }
            show(global, header, &event.kv.unwrap_or_default())?;
        }
    }
    Err(lost())
}
