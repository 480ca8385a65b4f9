//! The same seeded random requests to the subject and to real etcd, in lock
//! step, every answer equal. `PINTLE_SEED=<n>` replays, `PINTLE_STEPS=<n>`
//! sets the length of a run.

use peers::{
    api,
    fingerprint::Fingerprint,
    lockstep::{self, Pair},
    peer,
    requests::{Generator, Step},
    server::Launch,
    streams::Stream,
};
use proto::etcdserverpb::*;

fn random(default_seed: u64, physical: bool) {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    let seed = peers::seed(default_seed);
    let steps = peers::env_number("PINTLE_STEPS").unwrap_or(3000);
    peers::run(400, async {
        let (accepted, revision) =
            lockstep::compare(&subject, &reference, Generator::new(seed, physical), steps).await?;
        anyhow::ensure!(
            accepted * 3 > steps,
            "only {accepted} of {steps} were accepted"
        );
        peer::say(&format!(
            "RAN: answers, seed {seed}, {steps} steps, {accepted} accepted, to revision {revision}, \
             physical compaction {physical}"
        ));
        Ok(())
    });
}

#[test]
fn random_requests_seed_1() {
    random(1, true);
}

#[test]
fn random_requests_seed_2() {
    random(2, true);
}

#[test]
fn random_requests_seed_3() {
    random(3, true);
}

#[test]
fn random_requests_seed_4_with_background_compaction() {
    random(4, false);
}

#[test]
fn random_requests_seed_5_with_background_compaction() {
    random(5, false);
}

/// Steps that are written down instead of thrown: each line is a rule that
/// implementers get wrong.
fn fixed(name: &str, steps: Vec<Step>) {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(120, async {
        lockstep::replay(&subject, &reference, &steps).await
    });
    peer::say(&format!("RAN: answers, {name}, {} steps", steps.len()));
}

#[test]
fn an_empty_store() {
    let range = |revision| {
        Step::Range(RangeRequest {
            revision,
            ..api::all()
        })
    };
    fixed(
        "an empty store",
        vec![
            range(0),
            range(1),
            range(2),
            Step::HashKv(0),
            Step::HashKv(1),
            Step::HashKv(2),
            Step::Delete(api::delete("none")),
            Step::Txn(TxnRequest::default()),
            Step::Compact(CompactionRequest {
                revision: 2,
                physical: false,
            }),
            Step::Compact(CompactionRequest {
                revision: 0,
                physical: true,
            }),
            Step::Compact(CompactionRequest {
                revision: 0,
                physical: true,
            }),
            Step::Compact(CompactionRequest {
                revision: 1,
                physical: true,
            }),
            range(0),
            range(1),
            Step::Leases,
            Step::Members(true),
            Step::Status,
            Step::Alarm(AlarmRequest::default()),
        ],
    );
}

#[test]
fn limits_of_size_and_count() {
    let put = |bytes: usize| Step::Put(api::put("big", vec![b'v'; bytes]));
    let txn = |puts: usize| {
        let success = (0..puts)
            .map(|i| api::op_put(api::put(format!("k{i}"), "v")))
            .collect();
        Step::Txn(TxnRequest {
            success,
            ..Default::default()
        })
    };
    fixed(
        "limits",
        vec![
            put(1_572_864 - 200),
            put(1_572_864),
            put(1_572_864 + 524_288 - 100),
            put(1_572_864 + 524_288),
            put(5_000_000),
            txn(128),
            txn(129),
            Step::Range(api::get("big")),
            Step::Put(api::put(vec![b'k'; 100_000], "long key")),
            Step::Range(RangeRequest {
                keys_only: true,
                ..api::all()
            }),
        ],
    );
}

#[test]
fn transactions_that_break_rules() {
    let put = |key: &'static str| api::op_put(api::put(key, "v"));
    let deletes = |from: &'static str, to: &'static str| {
        api::op_delete(DeleteRangeRequest {
            range_end: to.into(),
            ..api::delete(from)
        })
    };
    let nested = |success, failure| {
        api::op_txn(TxnRequest {
            success,
            failure,
            ..Default::default()
        })
    };
    let both = |success: Vec<RequestOp>| {
        [
            Step::Txn(TxnRequest {
                success: success.clone(),
                ..Default::default()
            }),
            Step::Txn(TxnRequest {
                failure: success,
                ..Default::default()
            }),
        ]
    };
    let mut steps = vec![Step::Put(api::put("a", "1")), Step::Put(api::put("c", "3"))];
    for ops in [
        vec![put("a"), put("a")],
        vec![put("b"), deletes("a", "c")],
        vec![deletes("a", "c"), put("b")],
        vec![deletes("a", "c"), put("c")],
        vec![deletes("a", "c"), deletes("b", "d")],
        vec![deletes("a", "\0"), put("z")],
        vec![deletes("a", ""), put("a")],
        vec![put("a"), nested(vec![put("a")], vec![])],
        vec![put("a"), nested(vec![], vec![put("a")])],
        vec![nested(vec![put("a")], vec![put("a")])],
        vec![
            nested(vec![put("a")], vec![]),
            nested(vec![put("a")], vec![]),
        ],
        vec![
            nested(vec![put("a")], vec![]),
            nested(vec![], vec![deletes("a", "b")]),
        ],
        vec![put("")],
        vec![RequestOp { request: None }],
        vec![api::op_range(RangeRequest {
            revision: 1000,
            ..api::get("a")
        })],
        vec![
            put("new"),
            api::op_range(RangeRequest {
                revision: 1000,
                ..api::get("a")
            }),
        ],
        vec![
            put("new"),
            api::op_put(PutRequest {
                lease: 77,
                ..api::put("other", "v")
            }),
        ],
        vec![
            put("new"),
            api::op_put(PutRequest {
                ignore_value: true,
                ..api::put("none", "")
            }),
        ],
        vec![
            put("seen"),
            api::op_range(api::get("seen")),
            deletes("a", "b"),
            api::op_range(api::all()),
        ],
    ] {
        steps.extend(both(ops));
        steps.push(Step::Range(api::all()));
    }
    fixed("transactions that break rules", steps);
}

#[test]
fn an_unknown_sort_does_not_hurt_the_subject() {
    let Some(subject) = peer::subject().filter(|s| s.is_pintle) else {
        peer::say("SKIP: unknown sort orders: real 3.5 crashes on them");
        return;
    };
    peers::run(60, async {
        let dir = tempfile::tempdir()?;
        let mut server = Launch::new(&subject, &dir.path().join("data"))
            .start()
            .await?;
        for (sort_order, sort_target) in [(1, 9), (9, 1), (-1, -1), (2, i32::MAX)] {
            // Any answer will do, as long as one comes and the server lives.
            let _ = server
                .api()
                .range(RangeRequest {
                    sort_order,
                    sort_target,
                    ..api::all()
                })
                .await;
            server.ready().await?;
        }
        server.terminate().await
    });
    peer::say("RAN: answers, unknown sort orders");
}

/// A transaction that deletes a key and then keeps its value passes real etcd's
/// checks when the delete has no end, and kills real 3.5 at every start from
/// then on. The subject must live, refuse or ignore it, and stay whole.
#[test]
fn a_poisonous_transaction_does_not_hurt_the_subject() {
    let Some(subject) = peer::subject().filter(|s| s.is_pintle) else {
        peer::say("SKIP: poisonous transaction: real etcd dies of it");
        return;
    };
    peers::run(60, async {
        let dir = tempfile::tempdir()?;
        let launch = Launch::new(&subject, &dir.path().join("data"));
        let mut server = launch.start().await?;
        server.api().put(api::put("a", "1")).await?;
        server.api().put(api::put("b", "2")).await?;
        let before = Fingerprint::of(server.api()).await?;
        let endless = DeleteRangeRequest {
            range_end: "\0".into(),
            ..api::delete("a")
        };
        let keep = PutRequest {
            ignore_value: true,
            ..api::put("b", "")
        };
        let success = vec![api::op_delete(endless), api::op_put(keep)];
        let answer = server
            .api()
            .txn(TxnRequest {
                success,
                ..Default::default()
            })
            .await;
        anyhow::ensure!(answer.is_err(), "it was accepted: {answer:?}");
        server.ready().await?;
        before.same_as(&Fingerprint::of(server.api()).await?)?;
        server.terminate().await?;
        let server = launch.start().await?;
        before.same_as(&Fingerprint::of(server.api()).await?)?;
        server.terminate().await
    });
    peer::say("RAN: answers, a poisonous transaction");
}

/// A lease runs out: its keys go in one revision, as ordinary delete events.
#[test]
fn an_expired_lease_deletes_its_keys_at_one_revision() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(90, async {
        let pair = Pair::start(&subject, &reference, &[]).await?;
        let mut events = Vec::new();
        for side in [pair.subject(), pair.reference()] {
            side.lease_grant(LeaseGrantRequest { id: 5, ttl: 2 })
                .await?;
            for key in ["x/3", "x/1", "x/2"] {
                side.put(PutRequest {
                    lease: 5,
                    ..api::put(key, "v")
                })
                .await?;
            }
            let mut stream = Stream::open(side);
            stream
                .create(WatchCreateRequest {
                    key: "x/".into(),
                    range_end: "x0".into(),
                    start_revision: 5,
                    prev_kv: true,
                    ..Default::default()
                })
                .await?;
            let mut seen = Vec::new();
            while seen.len() < 3 {
                seen.extend(stream.next().await?.events);
            }
            events.push(seen);
        }
        anyhow::ensure!(
            events[0] == events[1],
            "subject {:?}\nreference {:?}",
            events[0],
            events[1]
        );
        let revisions: Vec<i64> = events[0]
            .iter()
            .map(|e| e.kv.as_ref().map_or(0, |kv| kv.mod_revision))
            .collect();
        anyhow::ensure!(
            revisions == [5, 5, 5],
            "the three deletes stand at {revisions:?}"
        );
        pair.compare_state().await?;
        pair.stop().await
    });
    peer::say("RAN: answers, lease expiry");
}

/// A snapshot through the API is the same kind of file on both sides: pages,
/// then 32 bytes of SHA-256, in blobs of at most 32 KiB.
#[test]
fn a_snapshot_streams_in_blobs_and_ends_with_its_hash() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(60, async {
        let pair = Pair::start(&subject, &reference, &[]).await?;
        for side in [pair.subject(), pair.reference()] {
            for i in 0..50 {
                side.put(api::put(format!("k{i}"), vec![b'v'; 3000]))
                    .await?;
            }
            let (file, blobs) = side.snapshot().await?;
            anyhow::ensure!(file.len() % 512 == 32, "{} bytes", file.len());
            anyhow::ensure!(blobs.last() == Some(&32), "blobs {blobs:?}");
            anyhow::ensure!(blobs.iter().all(|b| *b <= 32 * 1024), "blobs {blobs:?}");
        }
        pair.stop().await
    });
    peer::say("RAN: answers, snapshot stream");
}
