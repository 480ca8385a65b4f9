//! What Pintle does at its start, and with a received snapshot, where the copies
//! of the membership disagree: `--membership-check=heal`, `report` and `refuse`
//! on directories that real etcd made sick, and on sound ones.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use peers::{
    api,
    cluster::{Plan, Role, until},
    dirs, http,
    peer::{self, Program},
    server::{Launch, Server},
};
use tempfile::TempDir;
use upgrades::{Case, bucket, rows, workshop};

const LINE: &str = "the copies of the membership disagree";
const WITHIN: Duration = Duration::from_secs(20);

/// The directories of a row, each as its member left it, and Pintle.
async fn sick(id: &str) -> Result<Option<(Program, TempDir, Vec<Case>)>> {
    let row = rows::find(id).context("a row of the table")?;
    let (Some(pintle), missing) = (
        peer::subject().filter(|p| p.is_pintle),
        workshop::missing(row),
    ) else {
        peer::say(&format!("SKIP: {id}: there is no Pintle"));
        return Ok(None);
    };
    if !missing.is_empty() {
        peer::say(&format!("SKIP: {id}: {}", missing.join("; ")));
        return Ok(None);
    }
    let (kept, cases) = workshop::make(row).await?;
    Ok(Some((pintle, kept, cases)))
}

/// The lines about disagreements, as `kind action`, counted.
fn told(log: &str) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for line in log.lines().filter(|line| line.contains(LINE)) {
        let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else {
            continue;
        };
        let word = |name: &str| line[name].as_str().unwrap_or("?").to_owned();
        *found
            .entry(format!("{} {}", word("kind"), word("action")))
            .or_insert(0) += 1;
    }
    found
}

fn expect(log: &str, lines: &[(&str, usize)]) -> Result<()> {
    let expected: BTreeMap<String, usize> =
        lines.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect();
    let found = told(log);
    ensure!(found == expected, "{found:?} was said, not {expected:?}");
    Ok(())
}

async fn metric(server: &Server, series: &str) -> Result<Option<String>> {
    let page = http::send(server.port(), "GET", "/metrics", "")
        .await?
        .text();
    let line = page.lines().find(|line| line.starts_with(series));
    Ok(line
        .and_then(|line| line.rsplit(' ').next())
        .map(str::to_owned))
}

/// Starts the only member of its cluster, waits until it serves, ends it.
async fn serve(pintle: &Program, dir: &Path, check: &str) -> Result<(String, Option<String>)> {
    let launch = Launch::new(pintle, dir).flag(&format!("--membership-check={check}"));
    let server = launch.start().await?;
    server
        .api()
        .put(api::put("healed".to_owned(), b"x".to_vec()))
        .await?;
    let zombies = metric(
        &server,
        "pintle_membership_disagreements{action=\"healed\",copy=\"database\",kind=\"zombie\"}",
    )
    .await?;
    let log = server.log_text();
    server.terminate().await?;
    Ok((log, zombies))
}

#[test]
fn zombies_are_healed_once_and_said_once() {
    peers::run(120, async {
        let Some((pintle, _kept, cases)) = sick("U13").await? else {
            return Ok(());
        };
        let (case, dir) = (&cases[0], &cases[0].dirs[0]);
        ensure!(case.sick.zombies.len() == 3, "{:?}", case.sick);
        let (log, counted) = serve(&pintle, dir, "heal").await?;
        let zombies = told(&log).get("only_in_database healed").copied();
        ensure!(zombies == Some(3), "{:?}", told(&log));
        ensure!(counted.is_none(), "no one was removed from this cluster");
        let after = bucket::judge(dir, &case.truth)?;
        ensure!(after.summary().is_empty(), "left: {}", after.summary());
        let (log, _) = serve(&pintle, dir, "refuse").await?;
        expect(&log, &[])?;
        peer::say("RAN: healing: zombies of a restore");
        Ok(())
    });
}

#[test]
fn a_report_changes_nothing_and_a_refusal_not_even_the_log() {
    peers::run(120, async {
        let Some((pintle, _kept, cases)) = sick("U13").await? else {
            return Ok(());
        };
        let (case, dir) = (&cases[0], &cases[0].dirs[0]);
        let before = dirs::contents(dir)?;
        let mut refused = Launch::new(&pintle, dir)
            .flag("--membership-check=refuse")
            .spawn()?;
        let status = refused.wait_exit(WITHIN).await?;
        let log = refused.log_text();
        ensure!(status.code() == Some(1), "{status}: {log}");
        ensure!(
            log.contains("--membership-check=refuse says to stop")
                && log.contains("Nothing was changed"),
            "{log}"
        );
        for id in &case.sick.zombies {
            ensure!(
                log.contains(&format!("member {id:x} is in the database")),
                "{log}"
            );
        }
        ensure!(dirs::contents(dir)? == before, "a refusal changed a file");

        let (log, _) = serve(&pintle, dir, "report").await?;
        let zombies = told(&log).get("only_in_database reported").copied();
        ensure!(zombies == Some(3), "{:?}", told(&log));
        let after = bucket::judge(dir, &case.truth)?;
        ensure!(after.zombies == case.sick.zombies, "{}", after.summary());
        peer::say("RAN: healing: report and refuse");
        Ok(())
    });
}

#[test]
fn lost_promotions_are_healed_without_a_quorum() {
    peers::run(120, async {
        let Some((pintle, _kept, cases)) = sick("U1").await? else {
            return Ok(());
        };
        for case in &cases {
            let dir = &case.dirs[0];
            ensure!(case.sick.stale_learners.len() == 2, "{:?}", case.sick);
            // Alone: the other two do not answer, so no entry is committed.
            let mut server = Launch::new(&pintle, dir).spawn()?;
            server.wait_log(LINE, WITHIN).await?;
            server.wait_log("serving peer traffic", WITHIN).await?;
            until("two healed learners", WITHIN, async || {
                let told = told(&server.log_text());
                ensure!(told.get("stale_learner healed") == Some(&2), "{told:?}");
                Ok(())
            })
            .await?;
            server.kill().await?;
            let after = bucket::judge(dir, &case.truth)?;
            ensure!(after.summary().is_empty(), "left: {}", after.summary());
        }
        peer::say("RAN: healing: lost promotions, killed after the start");
        Ok(())
    });
}

#[test]
fn what_a_snapshot_brings_is_healed_on_arrival() {
    let (Some(pintle), Some(sick)) = (
        peer::subject().filter(|p| p.is_pintle),
        peer::etcd("3.5.16"),
    ) else {
        peer::say("SKIP: etcd 3.5.16 or Pintle is missing");
        return;
    };
    peers::run(120, async move {
        let mut cluster = Plan::of(std::slice::from_ref(&sick))
            .snapshots(100, 20)
            .start()
            .await?;
        for _ in 0..2 {
            let place = cluster.add(&sick, Role::Learner, 0).await?;
            cluster.promote(place, 0).await?;
        }
        cluster.settled().await?;
        for i in 0..cluster.entries_kept(0) + 300 {
            cluster
                .api(0)
                .put(api::put(format!("k{i:06}"), b"x".to_vec()))
                .await?;
        }
        let place = cluster.add(&pintle, Role::Learner, 0).await?;
        cluster.agree().await?;
        let log = cluster.member(place).server()?.log_text();
        ensure!(
            log.contains("applied snapshot"),
            "no snapshot was installed"
        );
        ensure!(
            told(&log).get("stale_learner healed") == Some(&2),
            "{:?}",
            told(&log)
        );
        let page = metric(
            cluster.member(place).server()?,
            "pintle_membership_disagreements{action=\"healed\",copy=\"database\",kind=\"stale_learner\"}",
        )
        .await?;
        ensure!(page.as_deref() == Some("2"), "{page:?}");
        cluster.finish().await?;
        peer::say("RAN: healing: a received snapshot");
        Ok(())
    });
}

#[test]
fn sound_directories_start_under_refuse_and_say_nothing() {
    peers::run(200, async {
        let mut ran = 0;
        for id in ["U20", "U20/three"] {
            if rows::find(id).is_none() {
                continue;
            }
            let Some((pintle, _kept, cases)) = sick(id).await? else {
                continue;
            };
            for case in &cases {
                if case.source.starts_with("3.6") || case.source.starts_with("3.7") {
                    continue;
                }
                let mut server = Launch::new(&pintle, &case.dirs[0])
                    .flag("--membership-check=refuse")
                    .spawn()?;
                // All that refuses a start comes before this line.
                server.wait_log("serving peer traffic", WITHIN).await?;
                ensure!(
                    server.poll_exit()?.is_none(),
                    "{}: {}",
                    case.id,
                    server.tail()
                );
                expect(&server.log_text(), &[])?;
                server.terminate().await?;
                ran += 1;
            }
        }
        for version in ["3.4.23", "3.5.0", "3.5.1", "3.5.16", "3.5.30"] {
            let (Some(pintle), Some(etcd)) =
                (peer::subject().filter(|p| p.is_pintle), peer::etcd(version))
            else {
                peer::say(&format!("SKIP: sound directory of {version}"));
                continue;
            };
            let temp = TempDir::new()?;
            let dir = temp.path().join("data");
            let server = Launch::new(&etcd, &dir).start().await?;
            until("twenty keys", WITHIN, async || {
                for i in 0..20 {
                    server
                        .api()
                        .put(api::put(format!("k{i}"), b"x".to_vec()))
                        .await?;
                }
                Ok(Some(()))
            })
            .await?;
            server.terminate().await?;
            let (log, _) = serve(&pintle, &dir, "refuse").await?;
            // Those up to 3.5.19 do not write the attributes of a member anew.
            let stale: &[_] = match version {
                "3.5.1" | "3.5.16" => &[("attributes reported", 1)],
                _ => &[],
            };
            expect(&log, stale).with_context(|| version.to_owned())?;
            ran += 1;
        }
        peer::say(&format!("RAN: healing: {ran} sound directories"));
        Ok(())
    });
}
