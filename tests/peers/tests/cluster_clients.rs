//! What clients hold on to while the cluster changes: watches, leases, alarms,
//! compactions; asked at every member, of whatever kind leads.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use peers::{
    api,
    cluster::{Cluster, Plan, until},
    load::Load,
    mixes,
    peer::Program,
    streams::Stream,
};
use proto::etcdserverpb::{alarm_request::AlarmAction, *};
use tonic::Code;

/// Two of one kind, the first of which leads, and one of the other.
#[derive(Clone)]
struct Pair {
    leader: Program,
    other: Program,
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} leads, {} follows", self.leader, self.other)
    }
}

fn cases() -> Vec<Pair> {
    mixes::pairs(&["3.5.30"])
        .into_iter()
        .map(|[leader, other]| Pair { leader, other })
        .collect()
}

async fn cluster_of(pair: &Pair) -> Result<Cluster> {
    let programs = [pair.leader.clone(), pair.leader.clone(), pair.other.clone()];
    let cluster = Plan::of(&programs).start().await?;
    cluster.move_leader(0).await?;
    Ok(cluster)
}

/// A watch at each member sees every event once and in order, whoever leads.
async fn watches(pair: Pair) -> Result<String> {
    let mut cluster = cluster_of(&pair).await?;
    let mut streams = Vec::new();
    for place in cluster.places() {
        let mut stream = Stream::open(cluster.api(place));
        let request = WatchCreateRequest {
            key: "w/".into(),
            range_end: api::prefix_end(b"w/"),
            prev_kv: true,
            ..Default::default()
        };
        stream.create(request).await?;
        ensure!(
            stream.next().await?.created,
            "the first answer says created"
        );
        streams.push((place, stream));
    }
    let mut expected = Vec::new();
    for leader in [0, 2, 1, 2, 0] {
        cluster.move_leader(leader).await?;
        for i in 0..20 {
            let value = Bytes::from(format!("{leader}:{i}"));
            let key = Bytes::from(format!("w/{}", i % 5));
            let answer = cluster.api(i % 3).put(api::put(key, value.clone())).await?;
            expected.push((answer.header.map_or(0, |h| h.revision), value));
        }
    }
    // The leader dies; the watches at the others live on.
    streams.remove(0);
    cluster.kill(0).await?;
    cluster.leader().await?;
    for i in 0..20 {
        let value = Bytes::from(format!("killed:{i}"));
        let answer = cluster
            .api(1 + i % 2)
            .put(api::put("w/k", value.clone()))
            .await?;
        expected.push((answer.header.map_or(0, |h| h.revision), value));
    }
    for (place, stream) in &mut streams {
        let mut seen = Vec::new();
        while seen.len() < expected.len() {
            let answer = stream.next().await.with_context(|| {
                format!("m{place} after {} of {} events", seen.len(), expected.len())
            })?;
            ensure!(!answer.canceled, "m{place}: {answer:?}");
            for event in answer.events {
                let kv = event.kv.context("an event without a key")?;
                seen.push((kv.mod_revision, kv.value));
            }
        }
        ensure!(
            seen == expected,
            "m{place} saw {seen:?} instead of {expected:?}"
        );
    }
    drop(streams);
    cluster.start(0).await?;
    cluster.finish().await?;
    Ok(format!("{} events at each member", expected.len()))
}

async fn leases(pair: Pair) -> Result<String> {
    let cluster = cluster_of(&pair).await?;
    const KEPT: i64 = 11;
    const LEFT: i64 = 12;
    const REVOKED: i64 = 13;
    cluster
        .api(2)
        .lease_grant(LeaseGrantRequest { id: KEPT, ttl: 6 })
        .await?;
    cluster
        .api(1)
        .lease_grant(LeaseGrantRequest { id: LEFT, ttl: 6 })
        .await?;
    cluster
        .api(0)
        .lease_grant(LeaseGrantRequest {
            id: REVOKED,
            ttl: 600,
        })
        .await?;
    for (key, lease) in [("kept", KEPT), ("left", LEFT), ("revoked", REVOKED)] {
        cluster
            .api(2)
            .put(PutRequest {
                lease,
                ..api::put(key, "v")
            })
            .await?;
    }
    let mut events = Stream::open(cluster.api(2));
    events
        .create(WatchCreateRequest {
            key: "left".into(),
            ..Default::default()
        })
        .await?;
    ensure!(
        events.next().await?.created,
        "the first answer says created"
    );
    let began = Instant::now();
    // At every member, of whatever kind: followers ask the leader.
    let mut at = 0;
    for leader in [0, 2, 1] {
        cluster.move_leader(leader).await?;
        for _ in 0..3 {
            at = (at + 1) % 3;
            // A new leader takes up the leases a moment after its election.
            let kept = until("keep-alive", Duration::from_secs(5), async || {
                Ok(cluster.api(at).keep_alive(KEPT).await?)
            })
            .await
            .with_context(|| format!("keep-alive at m{at} while m{leader} leads"))?;
            ensure!(
                kept.ttl == 6,
                "keep-alive at m{at} while m{leader} leads gives {}",
                kept.ttl
            );
            let left = cluster
                .api(at)
                .lease_time_to_live(LeaseTimeToLiveRequest {
                    id: KEPT,
                    keys: true,
                })
                .await
                .with_context(|| format!("time to live at m{at} while m{leader} leads"))?;
            ensure!(
                left.granted_ttl == 6
                    && (4..=6).contains(&left.ttl)
                    && left.keys == [Bytes::from("kept")],
                "time to live at m{at} while m{leader} leads: {left:?}"
            );
        }
    }
    // Each new leader gives a lease its whole time again.
    let gone = events
        .next_within(Duration::from_secs(25))
        .await?
        .context("the lease never ended")?;
    ensure!(
        gone.events.len() == 1 && gone.events[0].r#type == 1,
        "{gone:?}"
    );
    ensure!(
        began.elapsed() >= Duration::from_secs(5),
        "it ended after {:?}",
        began.elapsed()
    );
    for place in cluster.places() {
        let unknown = cluster.api(place).keep_alive(LEFT).await?;
        ensure!(unknown.ttl == 0, "m{place} keeps a lease that ended");
    }
    cluster
        .api(1)
        .lease_revoke(LeaseRevokeRequest { id: REVOKED })
        .await?;
    for place in cluster.places() {
        let read = cluster.api(place).range(api::get("revoked")).await?;
        ensure!(
            read.kvs.is_empty(),
            "m{place} has the key of a revoked lease"
        );
        let list = cluster
            .api(place)
            .lease_leases(LeaseLeasesRequest {})
            .await?;
        ensure!(
            list.leases.iter().all(|l| l.id == KEPT),
            "m{place} lists {:?}",
            list.leases
        );
    }
    drop(events);
    // No one keeps it any more: gone before the members are compared at rest.
    until("the kept lease ends", Duration::from_secs(25), async || {
        let list = cluster.api(0).lease_leases(LeaseLeasesRequest {}).await?;
        ensure!(list.leases.is_empty(), "{:?}", list.leases);
        Ok(())
    })
    .await?;
    cluster.finish().await?;
    Ok("kept at every member under three leaders; one ended on time".to_owned())
}

async fn alarms(pair: Pair) -> Result<String> {
    let mut cluster = cluster_of(&pair).await?;
    for place in cluster.places() {
        let alarm = |action: AlarmAction| AlarmRequest {
            action: action as i32,
            member_id: cluster.members()[place].id,
            alarm: AlarmType::Nospace as i32,
        };
        cluster
            .api((place + 1) % 3)
            .alarm(alarm(AlarmAction::Activate))
            .await?;
        for asked in cluster.places() {
            until("the alarm restricts", Duration::from_secs(5), async || {
                let put = cluster.api(asked).put(api::put("k", "v")).await;
                let put = put
                    .err()
                    .with_context(|| format!("m{asked} took a put under NOSPACE of m{place}"))?;
                ensure!(
                    put.code() == Code::ResourceExhausted
                        && put.message() == "etcdserver: mvcc: database space exceeded",
                    "{put:?}"
                );
                Ok(())
            })
            .await?;
        }
        let cleared = alarm(AlarmAction::Deactivate);
        cluster.api(place).alarm(cleared).await?;
        for asked in cluster.places() {
            cluster
                .api(asked)
                .put(api::put("k", "v"))
                .await
                .with_context(|| format!("put at m{asked}"))?;
        }
    }
    let id = cluster.members()[1].id;
    let stays = AlarmRequest {
        action: AlarmAction::Activate as i32,
        member_id: id,
        alarm: AlarmType::Nospace as i32,
    };
    cluster.api(2).alarm(stays).await?;
    // It is still there for a member that comes back.
    cluster.stop(2).await?;
    cluster.start(2).await?;
    let agreed = cluster.finish().await?;
    ensure!(
        agreed.alarms == [(id, AlarmType::Nospace as i32)],
        "{:?}",
        agreed.alarms
    );
    Ok("raised and lifted at each member".to_owned())
}

/// Compactions and defragmentations at each member, under load.
async fn upkeep(pair: Pair) -> Result<String> {
    let mut cluster = cluster_of(&pair).await?;
    for i in 0..300 {
        cluster
            .api(i % 3)
            .put(api::put(format!("old/{}", i % 7), vec![b'o'; 400]))
            .await?;
    }
    let mut compacted = 0;
    for place in cluster.places() {
        let now = cluster.api(place).put(api::put("mark", "x")).await?;
        let revision = now.header.map_or(0, |h| h.revision);
        cluster
            .api(place)
            .compact(CompactionRequest {
                revision,
                physical: true,
            })
            .await?;
        cluster.api(place).put(api::put("mark", "y")).await?;
        compacted = revision;
    }
    for place in cluster.places() {
        until("compacted everywhere", Duration::from_secs(5), async || {
            let old = cluster.api(place).everything(compacted - 1).await;
            let old = old
                .err()
                .with_context(|| format!("m{place} reads what was compacted"))?;
            ensure!(
                old.code() == Code::OutOfRange
                    && old.message() == "etcdserver: mvcc: required revision has been compacted",
                "{old:?}"
            );
            Ok(())
        })
        .await?;
    }
    cluster.agree().await.context("after compactions")?;
    let load = Load::start(&cluster, &[0, 1, 2], 6, peers::seed(41)).await?;
    for place in cluster.places() {
        load.more(100).await?;
        cluster.api(place).defragment(DefragmentRequest {}).await?;
        cluster
            .hashes_equal()
            .await
            .with_context(|| format!("after defragmenting m{place}"))?;
    }
    load.more(50).await?;
    let summary = load.finish(&cluster, 2).await?;
    cluster.finish().await?;
    Ok(summary.to_string())
}

#[test]
fn watches_survive_leaders() {
    mixes::each("watches", 120, cases(), watches);
}

#[test]
fn leases_survive_leaders() {
    mixes::each("leases", 120, cases(), leases);
}

#[test]
fn alarms_reach_every_member() {
    mixes::each("alarms", 120, cases(), alarms);
}

#[test]
fn compaction_and_defragmentation() {
    mixes::each("upkeep", 120, cases(), upkeep);
}
