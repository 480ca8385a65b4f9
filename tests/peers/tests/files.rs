//! A data directory changes hands: a real etcd fills it, the subject takes it
//! over, writes on, and the same etcd takes it back with `ETCD_VERIFY=all`.
//! After every change of hands a client must not be able to tell.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use peers::{
    api, dirs,
    fingerprint::{Fingerprint, Position},
    peer::{self, Program},
    server::{Launch, PEER_URL, Server},
    workload::{self, Amount, Dice},
};
use proto::etcdserverpb::CompactionRequest;

#[derive(Clone, Copy, Debug)]
enum Stop {
    Term,
    Kill,
}

impl Stop {
    async fn end(self, server: Server) -> Result<()> {
        match self {
            Stop::Term => server.terminate().await,
            Stop::Kill => server.kill().await,
        }
    }
}

async fn start(program: &Program, dir: &Path, flags: &[&str]) -> Result<Server> {
    let mut launch = Launch::new(program, dir);
    for flag in flags {
        launch = launch.flag(flag);
    }
    if !program.is_pintle {
        launch = launch.env("ETCD_VERIFY", "all");
    }
    launch.start().await
}

/// Starts `next` on a directory whose last state is known and checks that it
/// serves exactly that state.
async fn take_over(
    next: &Program,
    dir: &Path,
    flags: &[&str],
    before: &(Fingerprint, Position),
) -> Result<Server> {
    let server = start(next, dir, flags).await?;
    let after = Fingerprint::of(server.api()).await?;
    before.0.same_as(&after)?;
    before.1.precedes(Position::of(server.api()).await?)?;
    Ok(server)
}

async fn state(server: &Server) -> Result<(Fingerprint, Position)> {
    Ok((
        Fingerprint::of(server.api()).await?,
        Position::of(server.api()).await?,
    ))
}

/// `owners` take the directory in turn; everyone writes, then is stopped by the
/// next of `stops`.
async fn travel(owners: &[&Program], stops: &[Stop], flags: &[&str], seed: u64) -> Result<()> {
    let temp = tempfile::tempdir()?;
    let dir = temp.path().join("data");
    let mut dice = Dice::new(seed);
    let mut last: Option<(Fingerprint, Position)> = None;
    for (turn, owner) in owners.iter().enumerate() {
        let stop = stops[turn % stops.len()];
        let label = || format!("seed {seed}, turn {turn}: {owner}, then {stop:?}");
        let server = match &last {
            None => start(owner, &dir, flags).await.with_context(label)?,
            Some(before) => take_over(owner, &dir, flags, before)
                .await
                .with_context(label)?,
        };
        let amount = Amount {
            writes: 90,
            compact: turn % 3 != 2,
            alarm: turn % 2 == 0,
        };
        workload::fill(server.api(), &mut dice, 1000 * (turn as i64 + 1), amount)
            .await
            .with_context(label)?;
        last = Some(state(&server).await.with_context(label)?);
        stop.end(server).await.with_context(label)?;
    }
    if flags.iter().any(|f| f.starts_with("--snapshot-count")) {
        anyhow::ensure!(!dirs::snapshots(&dir)?.is_empty(), "no .snap file was made");
    }
    Ok(())
}

fn there_and_back(version: &str, flags: &[&str], first: Stop, seed: u64) {
    let (Some(subject), Some(etcd)) = (peer::subject(), peer::etcd(version)) else {
        return;
    };
    let second = match first {
        Stop::Term => Stop::Kill,
        Stop::Kill => Stop::Term,
    };
    peers::run(150, async {
        // Three stops over an even number of turns: both sides meet both ends.
        travel(
            &[&etcd, &subject, &etcd, &subject, &etcd, &subject, &etcd],
            &[first, second, second, first],
            flags,
            peers::seed(seed),
        )
        .await
    });
    peer::say(&format!(
        "RAN: files, etcd {version} and back, first stop {first:?}, {flags:?}"
    ));
}

const OFTEN: [&str; 1] = ["--snapshot-count=25"];

macro_rules! releases {
    ($($name:ident: $version:expr, $seed:expr;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn after_sigterm_first() {
                there_and_back($version, &[], Stop::Term, $seed);
            }

            #[test]
            fn after_sigkill_first() {
                there_and_back($version, &[], Stop::Kill, $seed + 1);
            }

            #[test]
            fn with_snapshots_after_sigterm_first() {
                there_and_back($version, &OFTEN, Stop::Term, $seed + 2);
            }

            #[test]
            fn with_snapshots_after_sigkill_first() {
                there_and_back($version, &OFTEN, Stop::Kill, $seed + 3);
            }
        }
    )*};
}

releases! {
    v3_5_0: "3.5.0", 100;
    v3_5_1: "3.5.1", 200;
    v3_5_16: "3.5.16", 300;
    v3_5_30: "3.5.30", 400;
}

/// 3.4 to the subject is a minor upgrade; there is no way back to 3.4, but one
/// on to 3.5.
fn forward_from_3_4(flags: &[&str], stop: Stop, seed: u64) {
    let (Some(subject), Some(old), Some(new)) = (
        peer::subject(),
        peer::etcd(peer::BEFORE),
        peer::etcd(peer::REFERENCE),
    ) else {
        return;
    };
    peers::run(120, async {
        travel(
            &[&old, &old, &subject, &subject, &new],
            &[stop],
            flags,
            peers::seed(seed),
        )
        .await
    });
    peer::say(&format!(
        "RAN: files, etcd {} forward, {stop:?}, {flags:?}",
        peer::BEFORE
    ));
}

#[test]
fn forward_from_3_4_after_sigterm() {
    forward_from_3_4(&[], Stop::Term, 500);
}

#[test]
fn forward_from_3_4_after_sigkill_with_snapshots() {
    forward_from_3_4(&OFTEN, Stop::Kill, 501);
}

/// Large values: log segments are cut, snapshots taken and old segments purged
/// while the directory travels.
#[test]
fn with_a_log_that_is_cut_and_purged() {
    let (Some(subject), Some(etcd)) = (peer::subject(), peer::etcd(peer::REFERENCE)) else {
        return;
    };
    let flags = ["--snapshot-count=20", "--max-wals=2", "--max-snapshots=2"];
    peers::run(240, async {
        let temp = tempfile::tempdir()?;
        let dir = temp.path().join("data");
        let mut last: Option<(Fingerprint, Position)> = None;
        for (turn, owner) in [&etcd, &subject, &etcd].into_iter().enumerate() {
            let server = match &last {
                None => start(owner, &dir, &flags).await?,
                Some(before) => take_over(owner, &dir, &flags, before).await?,
            };
            let api = server.api();
            // More than one segment of 64 MB.
            for i in 0..75u8 {
                api.put(api::put(format!("large/{}", i % 3), vec![i; 1_000_000]))
                    .await?;
            }
            let revision = api.everything(0).await?.header.context("header")?.revision;
            api.compact(CompactionRequest {
                revision,
                physical: true,
            })
            .await?;
            api.put(api::put("turn", turn.to_string())).await?;
            if turn == 1 {
                // Every server looks for files to purge at least every 30 s.
                let first = dir.join("member/wal/0000000000000000-0000000000000000.wal");
                let deadline = Instant::now() + Duration::from_secs(50);
                while first.exists() || dirs::snapshots(&dir)?.len() > 3 {
                    anyhow::ensure!(Instant::now() < deadline, "{owner} has not purged");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            last = Some(state(&server).await?);
            Stop::Term.end(server).await?;
        }
        anyhow::ensure!(
            dirs::segments(&dir)?.len() < 5,
            "{:?}",
            dirs::segments(&dir)?
        );
        Ok(())
    });
    peer::say("RAN: files, a log that is cut and purged");
}

/// A snapshot through the API of one server, restored by the real `etcdutl`,
/// started by the other: the same state, in both directions.
#[test]
fn a_snapshot_restored_by_etcdutl_serves_on_the_other_side() {
    let (Some(subject), Some(etcd), Some(etcdutl)) = (
        peer::subject(),
        peer::etcd(peer::REFERENCE),
        peer::tool(peer::REFERENCE, "etcdutl"),
    ) else {
        return;
    };
    peers::run(90, async {
        for (from, to) in [(&subject, &etcd), (&etcd, &subject)] {
            let temp = tempfile::tempdir()?;
            let server = start(from, &temp.path().join("first"), &[]).await?;
            let amount = Amount {
                writes: 120,
                compact: true,
                alarm: false,
            };
            workload::fill(server.api(), &mut Dice::new(8), 1000, amount).await?;
            let before = Fingerprint::of(server.api()).await?;
            let (bytes, _) = server.api().snapshot().await?;
            server.terminate().await?;

            let file = temp.path().join("snapshot.db");
            std::fs::write(&file, bytes)?;
            let dir = temp.path().join("restored");
            let out = std::process::Command::new(&etcdutl)
                .args([
                    "snapshot",
                    "restore",
                    "--name=m",
                    "--initial-cluster-token=peers",
                ])
                .arg(format!("--initial-cluster=m={PEER_URL}"))
                .arg(format!("--initial-advertise-peer-urls={PEER_URL}"))
                .arg(format!("--data-dir={}", dir.display()))
                .arg(&file)
                .output()?;
            anyhow::ensure!(
                out.status.success(),
                "etcdutl does not take the snapshot of {from}: {}",
                String::from_utf8_lossy(&out.stderr)
            );
            let server = start(to, &dir, &[]).await?;
            let after = Fingerprint::of(server.api()).await?;
            before
                .same_as(&after)
                .with_context(|| format!("snapshot of {from}, served by {to}"))?;
            server.terminate().await?;
        }
        Ok(())
    });
    peer::say("RAN: files, snapshots restored by etcdutl in both directions");
}
