//! `etcdutl backup`: what Pintle's and etcd's make of the same directory starts
//! either program with `--force-new-cluster`, and holds the same.

use std::{path::Path, process::Command};

use anyhow::{Result, ensure};
use peers::{
    api,
    fingerprint::Fingerprint,
    peer::{self, Program},
    server::Launch,
};

/// Runs a tool on `data`; the copy is in `to`.
fn backup(tool: &[&str], data: &Path, to: &Path, more: &[&str]) -> Result<()> {
    let out = Command::new(tool[0])
        .args(&tool[1..])
        .arg("backup")
        .arg(format!("--data-dir={}", data.display()))
        .arg(format!("--backup-dir={}", to.display()))
        .args(more)
        .output()?;
    let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
    ensure!(out.status.success(), "{tool:?}: {stderr}");
    Ok(())
}

/// What a server that starts from a copy has.
async fn start(program: &Program, copy: &Path) -> Result<Fingerprint> {
    let launch = Launch::new(program, copy).flag("--force-new-cluster");
    let server = launch.start().await?;
    let found = Fingerprint::of(server.api()).await?;
    server.api().put(api::put("new", "v")).await?;
    server.terminate().await?;
    Ok(found)
}

#[test]
fn a_backup_starts_a_cluster_of_its_own_with_the_keys_of_the_old_one() {
    let (Some((subject, reference)), Some(etcdutl)) =
        (peer::pair(), peer::tool("3.5.30", "etcdutl"))
    else {
        return;
    };
    if !subject.is_pintle {
        return;
    }
    peers::run(180, async {
        let dir = tempfile::tempdir()?;
        let data = dir.path().join("data");
        for flags in [&["--snapshot-count=10"][..], &[]] {
            // Once with a snapshot and entries after it, once with more entries.
            let mut launch = Launch::new(&reference, &data);
            for flag in flags {
                launch = launch.flag(flag);
            }
            let server = launch.start().await?;
            for i in 0..25 {
                server.api().put(api::put(format!("k{i}"), "v")).await?;
            }
            server.terminate().await?;
        }
        let pintle = subject.path.display().to_string();
        let etcdutl = etcdutl.display().to_string();
        for with_v3 in ["--with-v3=true", "--with-v3=false"] {
            let mut found = Vec::new();
            for (tool, words) in [("ours", &[&*pintle, "utl"][..]), ("theirs", &[&*etcdutl])] {
                for program in [&reference, &subject] {
                    let copy = dir.path().join(format!("{tool}{with_v3}{program}"));
                    backup(words, &data, &copy, &[with_v3])?;
                    found.push(start(program, &copy).await?);
                }
            }
            for other in &found[1..] {
                found[0].same_as(other).map_err(|e| e.context(with_v3))?;
            }
        }
        Ok(())
    });
}
