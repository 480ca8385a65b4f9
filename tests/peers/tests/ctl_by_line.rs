//! `pintle ctl` and etcdctl of a later line on one server of that line: the same output.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use line::Line;
use peers::{api, peer, server::Launch};

/// What a program prints.
fn printed(program: &Path, words: &[&str], port: u16, args: &[&str]) -> Result<String> {
    let out = Command::new(program)
        .args(words)
        .arg(format!("--endpoints=127.0.0.1:{port}"))
        .args(args)
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Compared with the very release that a line stands for: etcdctl 3.6.14 and 3.7.1 print
/// `RaftTerm` twice.
fn same_output(line: Line, formats: &[&str]) {
    let release = line.release();
    let subject = peer::subject().filter(|subject| subject.is_pintle);
    let found = (subject, peer::etcd(release), peer::tool(release, "etcdctl"));
    let (Some(subject), Some(etcd), Some(etcdctl)) = found else {
        peer::say(&format!("SKIP: ctl at {line}"));
        return;
    };
    peers::run(60, async {
        let dir = tempfile::tempdir()?;
        let server = Launch::new(&etcd, &dir.path().join("data")).start().await?;
        server.api().put(api::put("a", "1")).await?;
        let saved = dir.path().join("saved").display().to_string();
        let mut commands = vec![vec!["snapshot", "save", &saved]];
        for format in formats {
            for command in ["status", "hashkv"] {
                commands.push(vec!["endpoint", command, "-w", format]);
            }
        }
        for command in &commands {
            let ours = printed(&subject.path, &["ctl"], server.port(), command)?;
            let theirs = printed(&etcdctl, &[], server.port(), command)?;
            ensure!(
                ours == theirs && !ours.is_empty(),
                "{command:?}\nsubject:\n{ours}reference:\n{theirs}"
            );
        }
        peer::say(&format!("RAN: ctl at {line}, {} commands", commands.len()));
        server.terminate().await
    });
}

// Tables of 3.6 are drawn with other lines than those of 3.5 and 3.7.
#[test]
fn endpoints_and_snapshots_of_3_6() {
    same_output(Line::V3_6, &["simple", "json", "fields"]);
}

#[test]
fn endpoints_and_snapshots_of_3_7() {
    same_output(Line::V3_7, &["simple", "table", "json", "fields"]);
}
