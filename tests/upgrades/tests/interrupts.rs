//! Commands that a signal ends say nothing that is not so, and leave nothing half done.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use peers::{
    api, peer,
    server::{Launch, spawn_bound},
};
use proto::etcdserverpb::RangeRequest;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use upgrades::operated::{block_on, subject, until};

fn signal(child: &Child, signal: Signal) -> Result<()> {
    Ok(kill_process(Pid::from_child(child), signal)?)
}

#[test]
fn a_check_that_was_interrupted_has_no_result() {
    let Some(pintle) = subject() else { return };
    block_on(async move {
        let temp = TempDir::new()?;
        let server = Launch::new(&pintle, &temp.path().join("data"))
            .advertise_real()
            .start()
            .await?;
        let endpoint = format!("--endpoints=127.0.0.1:{}", server.port());
        for check in ["perf", "datascale"] {
            let said_to = temp.path().join(check);
            let mut command = Command::new(&pintle.path);
            // So many keys that it cannot be over before.
            command.args(["ctl", &endpoint, "check", check, "--load=l"]);
            command
                .stdout(fs::File::create(&said_to)?)
                .stderr(Stdio::null());
            let mut child = spawn_bound(command)?;
            let all = RangeRequest {
                key: b"/etcdctl-check-".as_slice().into(),
                range_end: b"/etcdctl-check.".as_slice().into(),
                count_only: true,
                ..RangeRequest::default()
            };
            until(async || {
                let found = server.api().range(all.clone()).await?;
                ensure!(found.count > 100, "{} keys", found.count);
                Ok(())
            })
            .await?;
            signal(&child, Signal::INT)?;
            let status = child.wait()?;
            let said = fs::read_to_string(&said_to)?;
            ensure!(!status.success(), "{check}: {status}: {said}");
            ensure!(!said.contains("PASS"), "{check}: {said}");
            let mut rest = api::delete("/");
            rest.range_end = api::prefix_end(b"/");
            server.api().delete_range(rest).await?;
        }
        server.terminate().await?;
        peer::say("RAN: interrupts: checks of ctl");
        Ok(())
    });
}

#[test]
fn a_restore_is_whole_or_not_there() {
    let Some(pintle) = subject() else { return };
    block_on(async move {
        let temp = TempDir::new()?;
        let server = Launch::new(&pintle, &temp.path().join("data"))
            .advertise_real()
            .start()
            .await?;
        for n in 0..60 {
            let value = vec![b'v'; 200_000];
            server.api().put(api::put(format!("k{n}"), value)).await?;
        }
        let saved = temp.path().join("saved.db").display().to_string();
        let endpoint = format!("--endpoints=127.0.0.1:{}", server.port());
        let save = Command::new(&pintle.path)
            .args(["ctl", &endpoint, "snapshot", "save", &saved])
            .output()?;
        ensure!(save.status.success(), "{save:?}");
        server.terminate().await?;
        let restore = |name: &str| {
            let mut command = Command::new(&pintle.path);
            let dir = temp.path().join(name).display().to_string();
            command.args(["utl", "snapshot", "restore", &saved, "--data-dir", &dir]);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let (mut whole, mut nothing) = (0, 0);
        // At another moment each time, from the very beginning to after the end.
        for n in 0..40u32 {
            let name = format!("restored{n}");
            let mut child = spawn_bound(restore(&name))?;
            let begin = Instant::now();
            let mut ended = None;
            while begin.elapsed() < Duration::from_millis(2) * n && ended.is_none() {
                ended = child.try_wait()?;
            }
            if ended.is_none() {
                signal(&child, Signal::TERM)?;
                child.wait()?;
            }
            let dir = temp.path().join(&name);
            match dir.join("member").exists() {
                true => whole += 1,
                false => {
                    ensure!(!dir.exists(), "{} is half done", dir.display());
                    nothing += 1;
                }
            }
        }
        ensure!(
            nothing > 0,
            "no restore was interrupted ({whole} were whole)"
        );
        // What SIGKILL leaves is no hindrance for the next.
        let left = temp.path().join("killed/member.restoring/snap");
        fs::create_dir_all(&left)?;
        fs::write(left.join("db"), "half")?;
        let status = restore("killed").status().context("restore")?;
        ensure!(status.success() && temp.path().join("killed/member/snap/db").exists());
        ensure!(!temp.path().join("killed/member.restoring").exists());
        peer::say(&format!(
            "RAN: interrupts: {nothing} restores left nothing, {whole} were whole"
        ));
        Ok(())
    });
}
