//! SIGKILL at random moments under concurrent load. Everything that was
//! acknowledged is there afterwards, at the revision the answer named; what was
//! in flight is there whole or not at all; revisions have no holes.
//! `PINTLE_KILLS=<n>` sets the number of kills (default 10).

use std::{cell::RefCell, rc::Rc};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use peers::{
    api::{self, Api},
    fingerprint::{self, Fingerprint, Position},
    ledger::{Effects, Ledger, verify},
    peer,
    server::Launch,
    workload::Dice,
};
use proto::etcdserverpb::*;

const CLIENTS: u64 = 6;

/// Writes until the server is gone. Each client has its own keys, so that a
/// delete it sends deletes exactly what it knows to be there.
async fn client(api: Api, number: u64, seed: u64, ledger: Rc<RefCell<Ledger>>) {
    let mut dice = Dice::new(seed);
    for turn in 0u64.. {
        let key = |n: u64| Bytes::from(format!("client/{number}/{n}"));
        let value = Bytes::from(format!(
            "{seed}:{turn}:{}",
            "v".repeat(dice.below(300) as usize)
        ));
        let (at, other) = (key(dice.below(6)), key(6 + dice.below(6)));
        let mut effects = Effects::new();
        let outcome = match dice.below(4) {
            0 => {
                effects.insert(at.clone(), Some(value.clone()));
                effects.insert(other.clone(), Some(value.clone()));
                let success = vec![
                    api::op_put(api::put(at, value.clone())),
                    api::op_put(api::put(other, value)),
                ];
                let txn = TxnRequest {
                    success,
                    ..Default::default()
                };
                api.txn(txn).await.map(|a| a.header)
            }
            1 => {
                // Put and delete in one transaction: both or neither.
                let gone = key(20);
                effects.insert(at.clone(), Some(value.clone()));
                effects.insert(gone.clone(), Some(value.clone()));
                let put = TxnRequest {
                    success: vec![
                        api::op_put(api::put(at, value.clone())),
                        api::op_put(api::put(gone.clone(), value)),
                    ],
                    ..Default::default()
                };
                let answer = api.txn(put).await;
                if let Ok(answer) = &answer {
                    record(&ledger, answer.header.as_ref(), effects);
                    effects = Effects::from([(gone.clone(), None)]);
                    api.delete_range(api::delete(gone)).await.map(|a| a.header)
                } else {
                    answer.map(|a| a.header)
                }
            }
            _ => {
                effects.insert(at.clone(), Some(value.clone()));
                api.put(api::put(at, value)).await.map(|a| a.header)
            }
        };
        match outcome {
            Ok(header) => record(&ledger, header.as_ref(), effects),
            Err(_) => {
                ledger.borrow_mut().open.push(effects);
                return;
            }
        }
    }
}

fn record(ledger: &RefCell<Ledger>, header: Option<&ResponseHeader>, effects: Effects) {
    let recorded = ledger.borrow_mut().acknowledge(header, effects);
    recorded.expect("no two writes get one revision");
}

async fn rounds(kills: u64, seed: u64) -> Result<()> {
    let Some(subject) = peer::subject() else {
        return Ok(());
    };
    let temp = tempfile::tempdir()?;
    let dir = temp.path().join("data");
    let mut dice = Dice::new(seed);
    let mut ledger = Ledger::default();
    let mut keys = Effects::new();
    let mut verified = 1;
    let mut position: Option<Position> = None;
    let mut writes = 0;
    for round in 0..=kills {
        // Some rounds make snapshots often, so that kills meet them too.
        let count = dice.pick(&[
            "--snapshot-count=20",
            "--snapshot-count=200",
            "--snapshot-count=100000",
        ]);
        let server = Launch::new(&subject, &dir).flag(count).start().await?;
        let api = server.api();
        let check = async {
            let now = api.everything(0).await?;
            let revision = now.header.as_ref().map_or(0, |h| h.revision);
            let events = fingerprint::events(api, verified + 1, revision).await?;
            verify(&events, verified + 1, revision, &mut ledger, &mut keys)?;
            let stored: Effects = now
                .kvs
                .into_iter()
                .map(|kv| (kv.key, Some(kv.value)))
                .collect();
            keys.retain(|_, value| value.is_some());
            ensure!(stored == keys, "the keys are not what the history makes");
            verified = revision;
            let here = Position::of(api).await?;
            if let Some(before) = position.replace(here) {
                ensure!(
                    before.term < here.term && before.index < here.index,
                    "{before:?} {here:?}"
                );
            }
            if round % 3 == 2 {
                let compaction = CompactionRequest {
                    revision,
                    physical: false,
                };
                api.compact(compaction).await?;
            }
            anyhow::Ok(())
        };
        check
            .await
            .with_context(|| format!("seed {seed}, after kill {round}"))?;
        if round == kills {
            let before = Fingerprint::of(api).await?;
            server.terminate().await?;
            let again = Launch::new(&subject, &dir).start().await?;
            before.same_as(&Fingerprint::of(again.api()).await?)?;
            again.terminate().await?;
            break;
        }
        let shared = Rc::new(RefCell::new(std::mem::take(&mut ledger)));
        let goal = dice.between(1, 700) as usize;
        let tasks = tokio::task::LocalSet::new();
        for number in 0..CLIENTS {
            tasks.spawn_local(client(
                server.connect(),
                number,
                dice.bits(),
                shared.clone(),
            ));
        }
        let watched = shared.clone();
        let running = async move {
            while watched.borrow().acknowledged.len() < goal {
                tokio::task::yield_now().await;
            }
            // The clients run on: the signal meets requests in every state.
            server.kill().await
        };
        tasks.run_until(running).await?;
        tasks.await;
        ledger = Rc::try_unwrap(shared)
            .map_err(|_| anyhow::anyhow!("a client still runs"))?
            .into_inner();
        writes += ledger.acknowledged.len();
    }
    peer::say(&format!(
        "RAN: kills, seed {seed}: {kills} kills, {writes} acknowledged writes, none lost"
    ));
    Ok(())
}

#[test]
fn nothing_acknowledged_is_lost() {
    let kills = peers::env_number("PINTLE_KILLS").unwrap_or(10);
    peers::run(60 + kills * 20, rounds(kills, peers::seed(9)));
}
