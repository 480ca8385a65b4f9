//! What settings do, on etcd and on Pintle.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use peers::{
    api,
    cluster::until,
    frames::{ACK, END_HEADERS, Raw, call, frame, kind},
    peer::{self, Program},
    server::Launch,
};

/// The log files of a folder but the one that is written to.
fn set_aside(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("etcd-") {
            names.push(name);
        }
    }
    Ok(names)
}

async fn rotate(program: &Program) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let log = dir.path().join("etcd.log");
    // Full but for the first lines of this run.
    fs::write(&log, vec![b'\n'; (1 << 20) - 64])?;
    let json = r#"{"maxsize": 1, "maxbackups": 2, "compress": true}"#;
    let server = Launch::new(program, &dir.path().join("data"))
        .flag("--enable-log-rotation=true")
        .flag(&format!("--log-outputs=stderr,{}", log.display()))
        .flag(&format!("--log-rotation-config-json={json}"))
        .start()
        .await?;
    until(
        "one old file, compressed",
        Duration::from_secs(60),
        async || {
            let names = set_aside(dir.path())?;
            let is_compressed = names.len() == 1 && names[0].ends_with(".log.gz");
            ensure!(is_compressed, "old files of {program}: {names:?}");
            Ok(())
        },
    )
    .await?;
    server.terminate().await?;
    let text = fs::read_to_string(&log)?;
    ensure!(
        text.contains("ready to serve client requests") && text.len() < 1 << 20,
        "{program} goes on in a new file"
    );
    Ok(())
}

#[test]
fn a_full_log_file_is_set_aside_and_compressed() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(180, async {
        for program in [reference, subject] {
            let context = || program.to_string();
            rotate(&program).await.with_context(context)?;
        }
        Ok(())
    });
}

#[test]
fn a_member_that_does_not_wait_for_the_disk_keeps_what_it_has_over_a_restart() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(180, async {
        for program in [reference, subject] {
            let dir = tempfile::tempdir()?;
            let data = dir.path().join("data");
            let launch = Launch::new(&program, &data).flag("--unsafe-no-fsync=true");
            let server = launch.start().await?;
            server.api().put(api::put("k", "v")).await?;
            ensure!(
                !program.is_pintle || server.log_text().contains("--unsafe-no-fsync"),
                "there is a warning"
            );
            server.terminate().await?;
            let server = Launch::new(&program, &data).start().await?;
            let found = server.api().range(api::get("k")).await?.kvs;
            ensure!(
                found.len() == 1 && found[0].value == "v",
                "{program}: {found:?}"
            );
            server.terminate().await?;
        }
        Ok(())
    });
}

#[test]
fn memory_is_locked_or_the_start_is_refused() {
    let Some(subject) = peer::subject().filter(|subject| subject.is_pintle) else {
        return;
    };
    peers::run(60, async {
        let dir = tempfile::tempdir()?;
        let data = dir.path().join("data");
        let launch = Launch::new(&subject, &data).flag("--experimental-memory-mlock");
        match launch.start().await {
            Ok(server) => {
                let status = fs::read_to_string(format!("/proc/{}/status", server.pid()))?;
                let locked = status.lines().find(|line| line.starts_with("VmLck:"));
                let locked = locked.context("a line of locked memory")?;
                ensure!(!locked.ends_with(" 0 kB"), "{locked}");
                server.terminate().await
            }
            Err(error) => {
                let text = format!("{error:#}");
                ensure!(text.contains("cannot lock memory"), "{text}");
                Ok(())
            }
        }
    });
}

/// What a client hears that pings `times` in a row, with or without a call that waits: how many
/// pings were answered before the end, and the reason.
async fn ping(program: &Program, flag: &str, with_call: bool) -> Result<(usize, Vec<u8>)> {
    const TIMES: usize = 6;
    let dir = tempfile::tempdir()?;
    let launch = Launch::new(program, &dir.path().join("data")).flag(flag);
    let server = launch.start().await?;
    let mut client = Raw::connect(server.port()).await?;
    if with_call {
        let head = call(b"/etcdserverpb.Watch/Watch", &[]);
        client
            .send(&frame(kind::HEADERS, END_HEADERS, 1, &head))
            .await?;
    }
    let mut answered = 0;
    let mut reason = Vec::new();
    'pings: for _ in 0..TIMES {
        // The end may come at any time now.
        if client
            .send(&frame(kind::PING, 0, 0, b"pintle.."))
            .await
            .is_err()
        {
            break;
        }
        loop {
            match client.next().await? {
                None => break 'pings,
                Some(next) if next.kind == kind::PING && next.flags & ACK != 0 => break,
                Some(next) if next.kind == kind::GOAWAY => reason = next.payload,
                Some(_) => {}
            }
        }
        answered += 1;
    }
    server.terminate().await?;
    Ok((answered, reason))
}

#[test]
fn a_client_that_pings_too_often_is_sent_away() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(300, async {
        for (flag, with_call, goes) in [
            ("--grpc-keepalive-min-time=5s", false, true),
            ("--grpc-keepalive-min-time=1ns", false, true),
            ("--grpc-keepalive-min-time=1ns", true, false),
            ("--grpc-keepalive-min-time=1h", true, true),
            ("--grpc-keepalive-min-time=0s", true, true),
        ] {
            for program in [&reference, &subject] {
                let (answered, reason) = ping(program, flag, with_call).await?;
                let context =
                    format!("{flag} on {program}, call: {with_call}: {answered} answered");
                let newest = u8::from(with_call);
                let expected = [&[0, 0, 0, newest, 0, 0, 0, 11], &b"too_many_pings"[..]].concat();
                if goes {
                    ensure!((3..6).contains(&answered), "{context}");
                    ensure!(reason == expected, "{context}: {reason:?}");
                } else {
                    ensure!(answered == 6 && reason.is_empty(), "{context}: {reason:?}");
                }
            }
        }
        Ok(())
    });
}
