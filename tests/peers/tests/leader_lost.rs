//! Clients that ask for a leader (`hasleader` in the metadata) and lose it: their streams end, so
//! that they go to another member; new calls are refused at once. Clients that do not ask go on.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, future, stream};
use peers::{
    api::{self, Api},
    cluster::{Plan, WITHIN, until},
    http,
    mixes::{self, Mix},
    peer,
};
use proto::{
    etcdserverpb::{watch_request::RequestUnion, *},
    v3electionpb::LeaderRequest,
    v3lockpb::LockRequest,
};
use tokio::time::{interval, timeout};
use tonic::{Code, Request, Status, Streaming};

/// A request with or without the metadata.
fn asking<T>(message: T, has_leader: bool) -> Request<T> {
    let mut request = Request::new(message);
    if has_leader {
        let yes = tonic::metadata::MetadataValue::from_static("true");
        request.metadata_mut().insert("hasleader", yes);
    }
    request
}

/// `message` now and then again and again: a client that is never silent.
fn chatter<T: Clone>(message: T) -> impl Stream<Item = T> {
    let ticks = interval(Duration::from_millis(100));
    stream::unfold((ticks, message), |(mut ticks, message)| async {
        ticks.tick().await;
        Some((message.clone(), (ticks, message)))
    })
}

/// `message` once, and silence.
fn silence<T>(message: T) -> impl Stream<Item = T> {
    stream::iter([message]).chain(stream::pending())
}

fn watch_of(union: RequestUnion) -> WatchRequest {
    WatchRequest {
        request_union: Some(union),
    }
}

/// The end of a stream, whatever comes before it.
async fn ended<T>(mut answers: Streaming<T>) -> Status {
    loop {
        match answers.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return Status::ok("the stream ended well"),
            Err(status) => return status,
        }
    }
}

/// Opens every kind of stream at `api`; each must have answered once, so that it is known to have
/// begun. What they end with, by name.
async fn streams(api: &Api) -> Result<Vec<(&'static str, future::BoxFuture<'static, Status>)>> {
    let create = watch_of(RequestUnion::CreateRequest(WatchCreateRequest {
        key: "w".into(),
        ..Default::default()
    }));
    let progress = watch_of(RequestUnion::ProgressRequest(WatchProgressRequest {}));
    let renewal = LeaseKeepAliveRequest { id: 1 };
    let observed = LeaderRequest {
        name: Bytes::from_static(b"e"),
    };
    let mut open = Vec::new();
    macro_rules! add {
        ($name:literal, $answers:expr) => {{
            let mut answers = $answers.await?.into_inner();
            answers.message().await?.context($name)?;
            let end: future::BoxFuture<'static, Status> = Box::pin(ended(answers));
            open.push(($name, end));
        }};
    }
    add!(
        "a silent watch",
        api.watch().watch(asking(silence(create.clone()), true))
    );
    let talks = stream::iter([create]).chain(chatter(progress));
    add!("a watch that talks", api.watch().watch(asking(talks, true)));
    add!(
        "silent renewals",
        api.lease().lease_keep_alive(asking(silence(renewal), true))
    );
    add!(
        "renewals",
        api.lease().lease_keep_alive(asking(chatter(renewal), true))
    );
    add!(
        "an observation",
        api.election().observe(asking(observed, true))
    );
    Ok(open)
}

/// Two of three members stand still.
async fn lost(mix: Mix) -> Result<String> {
    let mut cluster = Plan::of(&mix.0).start().await?;
    cluster.move_leader(2).await?;
    let api = Api::new(cluster.api(0).port());
    api.lease_grant(LeaseGrantRequest { id: 1, ttl: 600 })
        .await?;
    let campaign = proto::v3electionpb::CampaignRequest {
        name: Bytes::from_static(b"e"),
        lease: 1,
        value: Bytes::from_static(b"v"),
    };
    api.election().campaign(campaign).await?;
    let open = streams(&api).await?;
    let create = watch_of(RequestUnion::CreateRequest(WatchCreateRequest {
        key: "w".into(),
        ..Default::default()
    }));
    let careless = api.watch().watch(asking(silence(create), false)).await?;
    let port = api.port();
    let json = [("Grpc-Metadata-hasleader", "true")];
    let through_the_gateway = tokio::spawn(async move {
        let create = r#"{"create_request":{"key":"dw=="}}"#;
        http::send_with(port, "POST", "/v3/watch", &json, create).await
    });
    until("the watch of the gateway", WITHIN, async || {
        let metrics = http::send(port, "GET", "/metrics", "").await?.text();
        let watchers = "etcd_debugging_mvcc_watcher_total 5\n";
        ensure!(metrics.contains(watchers), "it is not there");
        Ok(())
    })
    .await?;
    cluster.pause(1)?;
    cluster.pause(2)?;

    for (name, end) in open {
        let status = timeout(WITHIN, end)
            .await
            .with_context(|| format!("{name} does not end"))?;
        ensure!(
            (status.code(), status.message()) == (Code::Unavailable, "etcdserver: no leader"),
            "{name} ends with {status:?}"
        );
    }
    let refused = [
        api.kv().range(asking(api::get("k"), true)).await.err(),
        api.lease()
            .lease_leases(asking(LeaseLeasesRequest {}, true))
            .await
            .err(),
        api.lock()
            .lock(asking(LockRequest::default(), true))
            .await
            .err(),
        api.watch()
            .watch(asking(stream::pending(), true))
            .await
            .err(),
    ];
    for status in refused {
        let status = status.context("a call was not refused")?;
        ensure!(
            (status.code(), status.message()) == (Code::Unavailable, "etcdserver: no leader"),
            "refused with {status:?}"
        );
    }
    let watch = timeout(WITHIN, through_the_gateway).await???;
    ensure!(
        watch.text().contains("etcdserver: no leader"),
        "the watch of the gateway: {watch:?}"
    );
    let range = http::send_with(port, "POST", "/v3/kv/range", &json, r#"{"key":"aw=="}"#).await?;
    ensure!(
        range.status == 503 && range.text().contains("etcdserver: no leader"),
        "{range:?}"
    );
    // Without a quorum leases are listed all the same, and a backup is made.
    let list = api.lease_leases(LeaseLeasesRequest {}).await?;
    ensure!(list.leases.len() == 1, "{:?}", list.leases);
    api.snapshot().await?;

    let mut careless = careless.into_inner();
    careless.message().await?.context("created")?;
    cluster.resume(1)?;
    cluster.resume(2)?;
    until("a write at a client that did not ask", WITHIN, async || {
        api.put(api::put("w", "v")).await?;
        Ok(())
    })
    .await?;
    let event = timeout(WITHIN, careless.message()).await??;
    ensure!(event.is_some_and(|answer| answer.events.len() == 1));
    api.lease_revoke(LeaseRevokeRequest { id: 1 }).await?;
    cluster.finish().await?;
    Ok("every stream ended".to_owned())
}

#[test]
fn streams_end_with_the_leader() {
    let Some((pintle, etcd)) = peer::pair() else {
        return;
    };
    let mixes = vec![Mix(vec![pintle; 3]), Mix(vec![etcd; 3])];
    mixes::each("leader lost", 120, mixes, lost);
}
