//! No false alarms: `pintle upgrade check` on sound directories of mixed history,
//! at rest, and on their members while they run. What is true of a sound cluster
//! of one is expected: it does not serve while its member restarts (P18).

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use peers::{
    api,
    cluster::{Cluster, Plan, Role, until},
    peer::{self, Program},
    server::Launch,
};
use proto::etcdserverpb::{
    CompactionRequest, DefragmentRequest, DeleteRangeRequest, LeaseGrantRequest,
};
use serde_json::Value;
use tempfile::TempDir;
use upgrades::{
    operated::{block_on, subject},
    workshop,
};

/// What is not P18.
fn alarms(report: &Value) -> Vec<String> {
    let all = report["findings"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    all.iter()
        .filter(|finding| finding["check"] != "P18")
        .map(|f| format!("{} {} {}", f["check"], f["member"], f["seen"]))
        .collect()
}

fn check(pintle: &Program, source: [&str; 2], target: &str) -> Result<()> {
    let answer = Command::new(&pintle.path)
        .args(["upgrade", "check", "-w", "json", "--target", target])
        // A loaded machine may take its time.
        .args(["--dial-timeout=8s", "--command-timeout=20s"])
        .args(source)
        .output()?;
    let said = String::from_utf8_lossy(&answer.stderr).into_owned();
    let report: Value = serde_json::from_slice(&answer.stdout)
        .with_context(|| format!("{source:?} to {target}: {said}"))?;
    let found = alarms(&report);
    ensure!(found.is_empty(), "{source:?} to {target}: {found:?}");
    let boots = report["boots"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    for boot in boots {
        ensure!(
            boot["outcome"] == "starts",
            "{source:?} to {target}: {boot}"
        );
    }
    Ok(())
}

/// Where a directory of this release may go next.
fn next(version: &str) -> &'static [&'static str] {
    match version {
        v if v.starts_with("3.4") || v == "3.5.0" => &["3.5.30", "pintle"],
        v if v.starts_with("3.6") => &["3.7.1"],
        _ => &["3.6.14", "pintle"],
    }
}

/// Keys written, deleted, compacted, leased, defragmented.
async fn live_through(api: &api::Api) -> Result<()> {
    let grant = LeaseGrantRequest { ttl: 3600, id: 77 };
    until("a lease", Duration::from_secs(10), async || {
        Ok(api.lease_grant(grant).await?)
    })
    .await?;
    for i in 0..60 {
        let mut put = api::put(format!("k{:03}", i % 40), vec![b'x'; 200]);
        put.lease = if i % 7 == 0 { 77 } else { 0 };
        api.put(put).await?;
    }
    api.delete_range(DeleteRangeRequest {
        key: b"k003".to_vec().into(),
        ..Default::default()
    })
    .await?;
    let revision = api
        .range(api::get("k001"))
        .await?
        .header
        .context("header")?
        .revision;
    api.compact(CompactionRequest {
        revision: revision - 10,
        physical: true,
    })
    .await?;
    api.defragment(DefragmentRequest {}).await?;
    api.put(api::put("last".to_owned(), b"v".to_vec())).await?;
    Ok(())
}

async fn three(programs: &[Program]) -> Result<Cluster> {
    let cluster = Plan::of(programs).start().await?;
    live_through(cluster.api(0)).await?;
    Ok(cluster)
}

#[test]
fn sound_directories_raise_no_alarm() {
    let Some(pintle) = subject() else { return };
    block_on(async move {
        let mut looked_at = 0;
        // One member, ended in order and killed; checked while it runs, too.
        for version in ["3.4.23", "3.5.0", "3.5.30", "3.6.14", "pintle"] {
            let Some(program) = workshop::program(version) else {
                peer::say(&format!("SKIP: healthy: {version} is not installed"));
                continue;
            };
            for (end, flag) in [
                ("ended", ""),
                ("killed", ""),
                ("ended", "--snapshot-count=20"),
            ] {
                let temp = TempDir::new()?;
                let dir = temp.path().join("data");
                let mut launch = Launch::new(&program, &dir).advertise_real();
                if !flag.is_empty() {
                    launch = launch.flag(flag);
                }
                let server = launch.start().await?;
                live_through(server.api()).await?;
                let endpoint = format!("http://127.0.0.1:{}", server.port());
                for target in next(version) {
                    check(&pintle, ["--endpoints", &endpoint], target)
                        .with_context(|| format!("{version}, running"))?;
                }
                match end {
                    "ended" => server.terminate().await?,
                    _ => server.kill().await?,
                }
                for target in next(version) {
                    check(&pintle, ["--data-dir", &dir.display().to_string()], target)
                        .with_context(|| format!("{version} {end} {flag}"))?;
                }
                looked_at += 1;
            }
        }
        // Three members, with members that left, joined as learners, were rolled.
        for (version, rolled_to) in [
            ("3.5.30", ""),
            ("3.6.14", ""),
            ("3.5.0", "3.5.30"),
            ("pintle", ""),
        ] {
            let Some(program) = workshop::program(version) else {
                continue;
            };
            let runs = if rolled_to.is_empty() {
                version
            } else {
                rolled_to
            };
            let mut cluster = three(&[program.clone(), program.clone()]).await?;
            let place = cluster.add(&program, Role::Learner, 0).await?;
            cluster.promote(place, 0).await?;
            cluster.settled().await?;
            if !rolled_to.is_empty()
                && let Some(newer) = peer::etcd(rolled_to)
            {
                for place in cluster.places() {
                    cluster.swap(place, &newer).await?;
                }
                cluster.settled().await?;
            }
            let endpoints: Vec<String> = cluster
                .members()
                .iter()
                .map(|m| format!("http://127.0.0.1:{}", m.client_port))
                .collect();
            for target in next(runs) {
                check(&pintle, ["--endpoints", &endpoints.join(",")], target)
                    .with_context(|| format!("three of {version}, running"))?;
            }
            let dirs: Vec<_> = cluster.members().iter().map(|m| m.dir.clone()).collect();
            cluster.end().await?;
            for dir in &dirs {
                for target in next(runs) {
                    check_at(&pintle, dir, target)
                        .with_context(|| format!("three of {version}"))?;
                }
                looked_at += 1;
            }
        }
        peer::say(&format!(
            "RAN: healthy: {looked_at} sound directories, no alarm"
        ));
        ensure!(looked_at >= 20, "only {looked_at} directories");
        Ok(())
    });
}

fn check_at(pintle: &Program, dir: &Path, target: &str) -> Result<()> {
    check(pintle, ["--data-dir", &dir.display().to_string()], target)
}
