//! The checks that compare the hashes of all members, next to etcd's own: who is accused when
//! the leader's data is wrong, what a member with wrong data does at its start, and whom a
//! check keeps waiting.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use peers::{
    api,
    cluster::{Cluster, Plan, WITHIN, until},
    http,
    peer::{self, Program},
};
use proto::etcdserverpb::*;

/// A byte of the newest value in a database becomes another.
fn corrupt(dir: &Path) -> Result<()> {
    let db = bolt::Db::open(&dir.join("member/snap/db"), bolt::Options::default())?;
    let (key, mut value) = {
        let tx = db.begin_read();
        let bucket = tx.bucket(b"key")?.context("no bucket key")?;
        let mut cursor = bucket.cursor();
        let (key, value) = cursor.last()?.context("no keys")?;
        (key.to_vec(), value.to_vec())
    };
    // A record ends with the value where there is no lease.
    *value.last_mut().context("an empty record")? ^= 1;
    let mut tx = db.begin_write()?;
    tx.put(b"key", &key, &value)?;
    tx.commit()?;
    Ok(())
}

/// Three members with some keys, of which the first holds something else and leads.
async fn led_by_a_corrupt_member(program: &Program, flags: &[&str]) -> Result<Cluster> {
    let mut plan = Plan::of(&[program.clone(), program.clone(), program.clone()]);
    for flag in flags {
        plan = plan.flag(flag);
    }
    let mut cluster = plan.start().await?;
    cluster.move_leader(1).await?;
    for n in 0..10 {
        cluster.api(1).put(api::put(format!("k{n}"), "v")).await?;
    }
    cluster.agree().await?;
    cluster.stop(0).await?;
    corrupt(&cluster.members()[0].dir)?;
    cluster.start(0).await?;
    cluster.move_leader(0).await?;
    Ok(cluster)
}

/// Every alarm, as each member has it.
async fn alarms(cluster: &Cluster) -> Result<Vec<Vec<(u64, i32)>>> {
    let mut all = Vec::new();
    for place in cluster.places() {
        let answer = cluster.api(place).alarm(AlarmRequest::default()).await?;
        let mut listed: Vec<_> = answer
            .alarms
            .iter()
            .map(|a| (a.member_id, a.alarm))
            .collect();
        listed.sort();
        all.push(listed);
    }
    Ok(all)
}

/// Waits until the leader has finished some more checks, and says which alarms there are.
async fn accused(cluster: &mut Cluster, line: &str) -> Result<Vec<Vec<(u64, i32)>>> {
    until("an alarm", WITHIN, async || {
        let alarms = alarms(cluster).await?;
        ensure!(alarms.iter().all(|a| !a.is_empty()), "{alarms:?}");
        Ok(())
    })
    .await?;
    let count = |text: &str| text.matches(line).count();
    let before = count(&cluster.member(0).server()?.log_text());
    until("two more checks", WITHIN, async || {
        let now = count(&cluster.member(0).server()?.log_text());
        ensure!(now >= before + 2, "{now} after {before}");
        Ok(())
    })
    .await?;
    alarms(cluster).await
}

fn programs() -> Vec<Program> {
    [peer::etcd(peer::REFERENCE), peer::subject()]
        .into_iter()
        .flatten()
        .collect()
}

/// One alarm, for no one in particular.
const ONE: (u64, i32) = (0, AlarmType::Corrupt as i32);

#[test]
fn a_corrupt_leader_accuses_no_member() {
    peers::run(200, async {
        for program in programs() {
            let flags = ["--experimental-corrupt-check-time=1s"];
            let mut cluster = led_by_a_corrupt_member(&program, &flags).await?;
            let accused = accused(&mut cluster, "finished peer corruption check").await?;
            ensure!(accused == vec![vec![ONE]; 3], "{program}: {accused:?}");
            cluster.end().await?;
        }
        Ok(())
    });
}

#[test]
fn a_corrupt_leader_accuses_no_member_after_a_compaction() {
    peers::run(200, async {
        for program in programs() {
            let flags = [
                "--experimental-compact-hash-check-enabled=true",
                "--experimental-compact-hash-check-time=1s",
            ];
            let mut cluster = led_by_a_corrupt_member(&program, &flags).await?;
            let request = CompactionRequest {
                revision: 11,
                physical: true,
            };
            cluster.api(1).compact(request).await?;
            let accused = accused(&mut cluster, "failed compaction hash check").await?;
            ensure!(accused == vec![vec![ONE]; 3], "{program}: {accused:?}");
            cluster.end().await?;
        }
        Ok(())
    });
}

const INITIAL: &str = "--experimental-initial-corrupt-check=true";

#[test]
fn a_corrupt_member_does_not_start_with_the_initial_check() {
    peers::run(200, async {
        for program in programs() {
            let programs = [program.clone(), program.clone(), program.clone()];
            let mut cluster = Plan::of(&programs)
                .flag(INITIAL)
                .snapshots(5, 5)
                .start()
                .await?;
            for n in 0..10 {
                cluster.api(1).put(api::put(format!("k{n}"), "v")).await?;
            }
            cluster.agree().await?;
            cluster.stop(0).await?;
            corrupt(&cluster.members()[0].dir)?;
            cluster.spawn(0)?;
            let server = cluster.member(0).server()?;
            let status = server.wait_exit(WITHIN).await?;
            let text = server.log_text();
            ensure!(
                !status.success() && text.contains("found data inconsistency with peers"),
                "{program}: {status}\n{text}"
            );
            cluster.drop_process(0);
            cluster.end().await?;
        }
        Ok(())
    });
}

/// A check that waits for a member which accepts and never answers goes on until the request
/// timeout. Meanwhile others, which may be making the same check, are answered.
#[test]
fn a_member_answers_while_it_makes_the_initial_check() {
    peers::run(120, async {
        let Some(program) = peer::subject().filter(|p| p.is_pintle) else {
            return Ok(());
        };
        let programs = [program.clone(), program.clone(), program];
        let mut cluster = Plan::of(&programs).flag(INITIAL).start().await?;
        let line = "starting initial corruption check";
        for place in cluster.places() {
            let log = cluster.member(place).server()?.log_text();
            ensure!(!log.contains(line), "m{place} checked a new directory");
        }
        cluster.end().await?;
        let silent = cluster.members()[2].peer_port;
        let _silent = std::net::TcpListener::bind(("127.0.0.1", silent))?;
        cluster.spawn(0)?;
        let port = cluster.members()[0].peer_port;
        let server = cluster.member(0).server()?;
        server.wait_log(line, WITHIN).await?;
        let answer = until("an answer", Duration::from_secs(30), async || {
            http::send(port, "GET", "/members/hashkv", "{\"revision\":0}").await
        })
        .await?;
        let log = server.log_text();
        ensure!(answer.status == 200, "{answer:?}");
        ensure!(
            !log.contains("initial corruption checking passed"),
            "it answered only when the check was over"
        );
        let message = http::send(port, "POST", "/raft", "").await?;
        ensure!(message.status == 503, "raft is let in: {message:?}");
        server
            .wait_log("initial corruption checking passed", WITHIN)
            .await?;
        cluster.drop_process(0);
        Ok(())
    });
}

/// All at once, again and again: they ask each other while none of them serves clients.
#[test]
fn members_that_start_together_with_the_initial_check_answer_each_other() {
    peers::run(200, async {
        let Some(program) = peer::subject().filter(|p| p.is_pintle) else {
            return Ok(());
        };
        let programs = [program.clone(), program.clone(), program];
        let mut cluster = Plan::of(&programs).flag(INITIAL).start().await?;
        for round in 0..3 {
            cluster.end().await?;
            for place in cluster.places() {
                cluster.spawn(place)?;
            }
            for place in cluster.places() {
                cluster.serving(place).await?;
                let log = cluster.member(place).server()?.log_text();
                ensure!(
                    log.contains("initial corruption checking passed"),
                    "round {round}: m{place} did not check"
                );
                let waited = log.lines().any(|line| {
                    line.contains("failed to ask a member") && line.contains("no answer within")
                });
                ensure!(!waited, "round {round}: m{place} waited in vain\n{log}");
            }
        }
        cluster.finish().await?;
        Ok(())
    });
}
