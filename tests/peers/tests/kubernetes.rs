//! What kube-apiserver sends, in its shapes, to the subject and to real etcd
//! side by side: create, update, delete with optimistic concurrency, paged
//! lists at one revision, the compaction loop, leases for events, and watches
//! with previous values and progress.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use peers::{
    api::{self, Api, prefix_end},
    lockstep::{self, Pair},
    peer,
    requests::Step,
    streams::Stream,
};
use proto::{etcdserverpb::*, mvccpb::event::EventType};

const PODS: &str = "/registry/pods/";

fn compare_mod(key: &str, revision: i64) -> Compare {
    Compare {
        result: compare::CompareResult::Equal as i32,
        target: compare::CompareTarget::Mod as i32,
        key: Bytes::from(key.to_owned()),
        target_union: Some(compare::TargetUnion::ModRevision(revision)),
        ..Default::default()
    }
}

fn create(key: &str, value: &str, lease: i64) -> TxnRequest {
    let put = PutRequest {
        lease,
        ..api::put(key.to_owned(), value.to_owned())
    };
    TxnRequest {
        compare: vec![compare_mod(key, 0)],
        success: vec![api::op_put(put)],
        failure: vec![],
    }
}

fn update(key: &str, value: &str, revision: i64) -> TxnRequest {
    TxnRequest {
        compare: vec![compare_mod(key, revision)],
        success: vec![api::op_put(api::put(key.to_owned(), value.to_owned()))],
        failure: vec![api::op_range(api::get(key.to_owned()))],
    }
}

fn delete(key: &str, revision: i64) -> TxnRequest {
    TxnRequest {
        compare: vec![compare_mod(key, revision)],
        success: vec![api::op_delete(api::delete(key.to_owned()))],
        failure: vec![api::op_range(api::get(key.to_owned()))],
    }
}

fn list(from: &str, limit: i64, revision: i64) -> RangeRequest {
    RangeRequest {
        key: Bytes::from(from.to_owned()),
        range_end: prefix_end(PODS.as_bytes()),
        limit,
        revision,
        ..Default::default()
    }
}

/// The round of the compaction loop that reads or wins logical time `t`.
fn compaction_round(t: i64, revision: &str) -> TxnRequest {
    let key = "compact_rev_key";
    TxnRequest {
        compare: vec![Compare {
            result: compare::CompareResult::Equal as i32,
            target: compare::CompareTarget::Version as i32,
            key: key.into(),
            target_union: Some(compare::TargetUnion::Version(t)),
            ..Default::default()
        }],
        success: vec![api::op_put(api::put(key, revision.to_owned()))],
        failure: vec![api::op_range(api::get(key))],
    }
}

#[test]
fn the_life_of_objects() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    let pod = |i: usize| format!("{PODS}default/pod-{i:03}");
    let mut steps = vec![
        Step::Range(api::get("/registry/health")),
        Step::Range(RangeRequest {
            limit: 1,
            ..api::get("/registry/pods")
        }),
        Step::Grant(LeaseGrantRequest { id: 77, ttl: 3660 }),
    ];
    // Revisions 2 to 31.
    for i in 0..30 {
        steps.push(Step::Txn(create(
            &pod(i),
            "spec",
            if i % 10 == 0 { 77 } else { 0 },
        )));
    }
    steps.push(Step::Txn(create(&pod(3), "again", 0)));
    steps.push(Step::Txn(update(&pod(3), "newer", 5)));
    steps.push(Step::Txn(update(&pod(3), "stale", 5)));
    steps.push(Step::Txn(update(&pod(3), "newest", 32)));
    steps.push(Step::Txn(update("/registry/pods/default/none", "x", 9)));
    steps.push(Step::Txn(delete(&pod(4), 1)));
    steps.push(Step::Txn(delete(&pod(4), 6)));
    steps.push(Step::Txn(delete(&pod(4), 6)));
    steps.push(Step::Range(RangeRequest {
        limit: 1,
        ..api::get(pod(3))
    }));
    steps.push(Step::Range(RangeRequest {
        limit: 1,
        revision: 32,
        ..api::get(pod(3))
    }));
    for (from, limit, revision) in [
        (PODS.to_owned(), 10, 0),
        (pod(10) + "\0", 10, 34),
        (pod(20) + "\0", 10, 34),
        (pod(28) + "\0", 10, 34),
        (PODS.to_owned(), 10_000, 0),
        (PODS.to_owned(), 0, 0),
        (PODS.to_owned(), 3, 20),
    ] {
        steps.push(Step::Range(list(&from, limit, revision)));
    }
    steps.push(Step::Range(RangeRequest {
        count_only: true,
        ..list(PODS, 0, 0)
    }));
    steps.push(Step::Range(RangeRequest {
        keys_only: true,
        ..list(PODS, 0, 0)
    }));
    steps.push(Step::TimeToLive(LeaseTimeToLiveRequest {
        id: 77,
        keys: true,
    }));
    for (t, revision) in [(0, "0"), (0, "0"), (1, "34"), (1, "35"), (2, "36")] {
        steps.push(Step::Txn(compaction_round(t, revision)));
    }
    steps.push(Step::Compact(CompactionRequest {
        revision: 20,
        physical: false,
    }));
    steps.push(Step::Compact(CompactionRequest {
        revision: 20,
        physical: false,
    }));
    steps.push(Step::Range(list(PODS, 10, 19)));
    steps.push(Step::Range(list(PODS, 10, 20)));
    steps.push(Step::Range(list(PODS, 10, 1000)));
    steps.push(Step::Revoke(77));
    steps.push(Step::Range(list(PODS, 0, 0)));
    peers::run(120, async {
        lockstep::replay(&subject, &reference, &steps).await
    });
    peer::say(&format!(
        "RAN: kubernetes, the life of objects, {} steps",
        steps.len()
    ));
}

/// What a watch cache needs: every event with its previous value, each revision
/// whole, and progress that is never ahead of the events.
async fn watch_cache(api: &Api) -> Result<Vec<String>> {
    let mut transcript = Vec::new();
    let listed = api.range(list(PODS, 10_000, 0)).await?;
    let revision = listed.header.context("header")?.revision;
    let mut stream = Stream::open(api);
    for (key, range_end) in [
        (PODS, prefix_end(PODS.as_bytes())),
        ("/registry/leases/", prefix_end(b"/registry/leases/")),
        ("compact_rev_key", Bytes::new()),
    ] {
        stream
            .create(WatchCreateRequest {
                key: key.into(),
                range_end,
                start_revision: revision + 1,
                prev_kv: true,
                progress_notify: true,
                ..Default::default()
            })
            .await?;
        let created = stream.next().await?;
        ensure!(created.created && !created.canceled, "{created:?}");
        transcript.push(format!(
            "created {} at {:?}",
            created.watch_id,
            created.header.map(|h| h.revision)
        ));
    }
    let key = |i: usize| format!("{PODS}watched/{i}");
    for i in 0..20 {
        api.txn(create(&key(i % 7), "v", 0)).await?;
        let at = api.range(api::get(key(i % 7))).await?.kvs;
        let at = at.first().map_or(0, |kv| kv.mod_revision);
        api.txn(update(&key(i % 7), &format!("v{i}"), at)).await?;
        if i % 3 == 0 {
            api.txn(delete(&key(i % 7), at + 1)).await?;
        }
    }
    let last = api.everything(0).await?.header.context("header")?.revision;
    let mut seen = revision;
    while seen < last {
        let answer = stream.next().await?;
        for event in &answer.events {
            let kv = event.kv.as_ref().context("an event without kv")?;
            let is_create =
                event.r#type == EventType::Put as i32 && kv.create_revision == kv.mod_revision;
            ensure!(
                is_create || event.prev_kv.is_some(),
                "no previous value: {event:?}"
            );
            ensure!(
                kv.mod_revision > seen,
                "revision {} after {seen}",
                kv.mod_revision
            );
            seen = kv.mod_revision;
            transcript.push(format!("{} {event:?}", answer.watch_id));
        }
    }
    // All is delivered, so progress must come, for all watches at once, and at `last`.
    stream.progress().await?;
    let progress = stream.next().await?;
    ensure!(
        progress.watch_id == -1 && progress.events.is_empty(),
        "{progress:?}"
    );
    transcript.push(format!(
        "progress at {:?}",
        progress.header.map(|h| h.revision)
    ));
    Ok(transcript)
}

#[test]
fn a_watch_cache() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(90, async {
        let pair = Pair::start(&subject, &reference, &[]).await?;
        let (ours, theirs) =
            tokio::join!(watch_cache(pair.subject()), watch_cache(pair.reference()));
        let (ours, theirs) = (ours.context("subject")?, theirs.context("reference")?);
        for (a, b) in ours.iter().zip(&theirs) {
            ensure!(a == b, "subject   {a}\nreference {b}");
        }
        ensure!(
            ours.len() == theirs.len(),
            "{} and {} lines",
            ours.len(),
            theirs.len()
        );
        pair.compare_state().await?;
        pair.stop().await
    });
    peer::say("RAN: kubernetes, a watch cache");
}

/// Idle watches made with `progress_notify` hear the current revision at the
/// interval of `--experimental-watch-progress-notify-interval`.
#[test]
fn idle_watches_are_told_the_revision() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(90, async {
        let flags = ["--experimental-watch-progress-notify-interval=200ms"];
        let pair = Pair::start(&subject, &reference, &flags).await?;
        for (name, api) in [("subject", pair.subject()), ("reference", pair.reference())] {
            api.put(api::put("elsewhere", "1")).await?;
            let mut stream = Stream::open(api);
            let request = WatchCreateRequest {
                key: "idle".into(),
                progress_notify: true,
                ..Default::default()
            };
            stream.create(request).await?;
            stream.next().await?;
            api.put(api::put("elsewhere", "2")).await?;
            loop {
                let notify = stream.next().await.with_context(|| name.to_owned())?;
                ensure!(
                    notify.watch_id == 0 && notify.events.is_empty(),
                    "{name}: {notify:?}"
                );
                if notify.header.as_ref().is_some_and(|h| h.revision == 3) {
                    break;
                }
            }
        }
        pair.stop().await
    });
    peer::say("RAN: kubernetes, progress notification");
}

/// The version string turns features of kube-apiserver on: it wants at least
/// 3.5.13, or progress requests are never sent.
#[test]
fn the_version_allows_progress_requests() {
    let Some((subject, _)) = peer::pair() else {
        return;
    };
    peers::run(60, async {
        let dir = tempfile::tempdir()?;
        let server = peers::server::Launch::new(&subject, &dir.path().join("d"))
            .start()
            .await?;
        let version = server.api().status(StatusRequest {}).await?.version;
        let parts: Vec<u64> = version.split('.').filter_map(|p| p.parse().ok()).collect();
        ensure!(
            parts.len() == 3 && parts >= vec![3, 5, 13],
            "version {version:?}"
        );
        server.terminate().await
    });
}
