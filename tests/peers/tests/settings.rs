//! What settings do, on etcd and on Pintle.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use peers::{
    api,
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
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let names = set_aside(dir.path())?;
        if names.len() == 1 && names[0].ends_with(".log.gz") {
            break;
        }
        ensure!(
            Instant::now() < deadline,
            "old files of {program}: {names:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
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
