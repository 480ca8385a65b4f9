//! Pintle at 3.6 and at 3.7 next to real etcd of that line, in lock step: random requests, and
//! what the later lines answer in their own way. `PINTLE_SEED=<n>` replays, `PINTLE_STEPS=<n>`
//! sets the length of a run.

use anyhow::Result;
use peers::{
    api,
    lockstep::{self, Pair, error_text},
    peer,
    requests::{Generator, Step},
    server::Launch,
};
use proto::etcdserverpb::*;

fn random(line: &str, default_seed: u64) {
    let Some((subject, reference)) = peer::pair_at(line) else {
        return;
    };
    let seed = peers::seed(default_seed);
    let steps = peers::env_number("PINTLE_STEPS").unwrap_or(1500);
    peers::run(400, async {
        let mut generator = Generator::new(seed, true);
        if line == "3.7" {
            generator = generator.with_streams();
        }
        let (accepted, revision) =
            lockstep::compare(&subject, &reference, generator, steps).await?;
        anyhow::ensure!(
            accepted * 3 > steps,
            "only {accepted} of {steps} were accepted"
        );
        peer::say(&format!(
            "RAN: answers at {line}, seed {seed}, {steps} steps, {accepted} accepted, to revision {revision}"
        ));
        Ok(())
    });
}

#[test]
fn random_requests_at_3_6() {
    random("3.6", 6);
}

#[test]
fn random_requests_at_3_7() {
    random("3.7", 7);
}

/// Both at a line, with the same flags.
fn both<F>(line: &str, flags: &[&str], name: &str, test: impl FnOnce(Pair) -> F)
where
    F: Future<Output = Result<Pair>>,
{
    let Some((subject, reference)) = peer::pair_at(line) else {
        return;
    };
    peers::run(120, async {
        let pair = Pair::start(&subject, &reference, flags).await?;
        test(pair).await?.stop().await
    });
    peer::say(&format!("RAN: answers at {line}, {name}"));
}

async fn all(mut pair: Pair, steps: impl IntoIterator<Item = Step>) -> Result<Pair> {
    for step in steps {
        if let Err(error) = pair.step(&step).await {
            anyhow::bail!("{step:?}: {error:#}");
        }
    }
    Ok(pair)
}

/// Orders and targets that do not exist, alone and in a transaction within a transaction.
fn unknown_sorts() -> Vec<Step> {
    let mut steps = vec![Step::Put(api::put("a", "1"))];
    for (sort_order, sort_target) in [(1, 9), (9, 1), (-1, -1), (2, i32::MAX), (3, 0), (0, 5)] {
        let range = RangeRequest {
            sort_order,
            sort_target,
            ..api::all()
        };
        let inner = TxnRequest {
            failure: vec![api::op_range(range.clone())],
            ..Default::default()
        };
        steps.extend([
            Step::Range(range.clone()),
            Step::Range(RangeRequest {
                key: "".into(),
                ..range
            }),
            Step::Txn(TxnRequest {
                success: vec![api::op_put(api::put("b", "2")), api::op_txn(inner)],
                ..Default::default()
            }),
        ]);
    }
    steps
}

#[test]
fn sorts_that_do_not_exist_are_refused_at_3_6() {
    both("3.6", &[], "unknown sorts", |pair| {
        all(pair, unknown_sorts())
    });
}

#[test]
fn sorts_that_do_not_exist_are_refused_at_3_7() {
    both("3.7", &[], "unknown sorts", |pair| {
        all(pair, unknown_sorts())
    });
}

#[test]
fn there_is_no_range_stream_before_3_7() {
    both("3.6", &[], "no RangeStream", |pair| {
        all(pair, [Step::RangeStream(api::all())])
    });
}

/// Keys whose pieces grow, shrink, and stay as they are.
fn keys_of_all_sizes() -> Vec<Step> {
    let sizes = (0..150).map(|i: usize| match i {
        0..=60 => 10,
        61..=90 => 4000,
        91..=120 => 300,
        _ => 0,
    });
    let puts = sizes.enumerate().map(|(i, size)| {
        Step::Put(PutRequest {
            lease: 7,
            ..api::put(format!("k/{i:03}"), vec![b'v'; size])
        })
    });
    let lease = Step::Grant(LeaseGrantRequest { id: 7, ttl: 9000 });
    std::iter::once(lease).chain(puts).collect()
}

#[test]
fn a_range_comes_in_the_pieces_of_3_7() {
    let ranges = [0, 1, 9, 10, 11, 30, 149, 150, 151, -1, i64::MAX, i64::MIN]
        .into_iter()
        .flat_map(|limit| {
            let all = RangeRequest {
                limit,
                ..api::all()
            };
            [
                RangeRequest {
                    keys_only: true,
                    ..all.clone()
                },
                RangeRequest {
                    revision: 100,
                    ..all.clone()
                },
                RangeRequest {
                    count_only: true,
                    serializable: true,
                    ..all.clone()
                },
                RangeRequest {
                    sort_order: 1,
                    ..all.clone()
                },
                all,
            ]
        });
    let refused = [
        RangeRequest {
            sort_order: 2,
            ..api::all()
        },
        RangeRequest {
            sort_order: 1,
            sort_target: 3,
            min_mod_revision: 1,
            ..api::all()
        },
        RangeRequest {
            max_create_revision: -1,
            ..api::all()
        },
        RangeRequest {
            sort_order: 7,
            ..api::all()
        },
        RangeRequest {
            revision: 1_000_000,
            ..api::all()
        },
        api::get(""),
        api::get("none"),
        RangeRequest {
            range_end: "a".into(),
            ..api::get("b")
        },
    ];
    let ranges: Vec<Step> = ranges.chain(refused).map(Step::RangeStream).collect();
    // Small enough that pieces shrink, too.
    both(
        "3.7",
        &["--max-request-bytes=6000"],
        "pieces",
        |pair| async {
            let pair = all(pair, keys_of_all_sizes()).await?;
            all(pair, ranges).await
        },
    );
}

/// Answers of the index: no leases, unless the records had to be read to sort them.
#[test]
fn keys_alone_have_no_lease_at_3_7() {
    let mut steps = keys_of_all_sizes();
    for step in ["k/003", "k/070", "k/149"] {
        steps.push(Step::Put(api::put(step, "again")));
    }
    steps.push(Step::Delete(api::delete("k/004")));
    for (sort_target, revision, limit) in
        (0..5).flat_map(|target| [(target, 0, 0), (target, 0, 3), (target, 100, 20)])
    {
        let range = RangeRequest {
            keys_only: true,
            sort_target,
            revision,
            limit,
            sort_order: i32::from(sort_target != 0),
            ..api::all()
        };
        steps.extend([
            Step::Range(range.clone()),
            Step::Txn(TxnRequest {
                success: vec![api::op_range(range.clone())],
                ..Default::default()
            }),
            Step::Txn(TxnRequest {
                success: vec![api::op_put(api::put("new", "v")), api::op_range(range)],
                ..Default::default()
            }),
        ]);
    }
    both("3.7", &[], "keys only", |pair| all(pair, steps));
}

/// A version of the client that is not text.
fn refuses_bytes(line: &str) {
    both(line, &[], "client-api-version", |pair| async {
        let mut answers = Vec::new();
        for side in [pair.subject(), pair.reference()] {
            let mut seen = Vec::new();
            for version in [&b"3.6"[..], "3.é".as_bytes(), b"3.\xff"] {
                let answer = side.range_of_version(version, api::all()).await;
                seen.push(match answer {
                    Ok(answer) => format!("{} keys", answer.count),
                    Err(status) => error_text(&status),
                });
            }
            answers.push(seen);
        }
        anyhow::ensure!(
            answers[0] == answers[1],
            "subject {:?}\nreference {:?}",
            answers[0],
            answers[1]
        );
        Ok(pair)
    });
}

#[test]
fn a_client_version_that_is_no_text_is_refused_at_3_6() {
    refuses_bytes("3.6");
}

#[test]
fn a_client_version_that_is_no_text_is_refused_at_3_7() {
    refuses_bytes("3.7");
}

/// Names and passwords that are no text: members of 3.7 end on them in the log, and refuse them at
/// the port; those of 3.6 take them.
#[test]
fn names_that_are_not_text_are_answered_by_line() {
    const NAMED: [&str; 6] = [
        "/etcdserverpb.Auth/UserAdd",
        "/etcdserverpb.Auth/RoleAdd",
        "/etcdserverpb.Auth/UserGet",
        "/etcdserverpb.Auth/RoleGet",
        "/etcdserverpb.Auth/UserDelete",
        "/etcdserverpb.Auth/RoleDelete",
    ];
    const TWO_TEXTS: [&str; 5] = [
        "/etcdserverpb.Auth/Authenticate",
        "/etcdserverpb.Auth/UserAdd",
        "/etcdserverpb.Auth/UserChangePassword",
        "/etcdserverpb.Auth/UserGrantRole",
        "/etcdserverpb.Auth/UserRevokeRole",
    ];
    for line in ["3.6", "3.7"] {
        let Some(programs) = peer::pair_at(line) else {
            return;
        };
        peers::run(120, async {
            let mut answers = Vec::new();
            for program in [&programs.0, &programs.1] {
                let dir = tempfile::tempdir()?;
                let server = Launch::new(program, &dir.path().join("data"))
                    .start()
                    .await?;
                let mut told = Vec::new();
                for (paths, message) in [
                    (NAMED.as_slice(), b"\x0a\x02\xffa".as_slice()),
                    (&TWO_TEXTS, b"\x0a\x02\xffa\x12\x01b"),
                    (&TWO_TEXTS, b"\x0a\x01c\x12\x02\xffa"),
                ] {
                    for path in paths {
                        let message = bytes::Bytes::from_static(message);
                        let answer = server.api().raw(path, message).await;
                        told.push((*path, answer.map(drop).map_err(|s| error_text(&s))));
                    }
                }
                server.api().put(api::put("still", "serving")).await?;
                answers.push(told);
                server.terminate().await?;
            }
            anyhow::ensure!(answers[0] == answers[1], "{line}: {answers:#?}");
            Ok(())
        });
        peer::say(&format!("RAN: names that are not text at {line}"));
    }
}
