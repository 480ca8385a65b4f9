//! Disks that fail and disks that hang, brought about by `strace` between a server
//! and its system calls; without it these tests say so and pass. And a directory
//! that two servers are started on.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use peers::{
    api,
    cluster::{Plan, WITHIN, until},
    peer::{self, Program},
    server::{Launch, spawn_bound},
};

/// What `strace` does to the syncs of some threads, until it is dropped.
struct Injection {
    tracer: Child,
    output: PathBuf,
    _dir: tempfile::TempDir,
}

/// True if `strace` may be used here; says so if not.
fn may_trace() -> bool {
    let mut probe = Command::new("strace");
    probe.args(["-o", "/dev/null", "true"]);
    let probe = probe.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let may = probe.is_ok_and(|status| status.success());
    if !may {
        peer::say("SKIP: strace is not installed, or may not trace");
    }
    may
}

impl Injection {
    /// Does `what` to every fdatasync of the thread `id`, or of all threads of that
    /// process, and waits until that is so.
    async fn into(id: u32, all: bool, what: &str) -> Result<Injection> {
        let dir = tempfile::tempdir()?;
        let output = dir.path().join("calls");
        let mut command = Command::new("strace");
        if all {
            command.arg("-f");
        }
        command
            .args(["-e", "trace=fdatasync", "-e"])
            .arg(format!("inject=fdatasync:{what}"))
            .arg("-o")
            .arg(&output)
            .args(["-p", &id.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let tracer = spawn_bound(command)?;
        let traced = format!("TracerPid:\t{}\n", tracer.id());
        let injection = Injection {
            tracer,
            output,
            _dir: dir,
        };
        until("strace has attached", WITHIN, async || {
            // A thread that met the fault at once may be gone by now.
            if injection.count() > 0 {
                return Ok(());
            }
            let threads = if all {
                threads(id)?
            } else {
                vec![PathBuf::from(format!("/proc/{id}"))]
            };
            for thread in threads {
                let status = fs::read_to_string(thread.join("status"))?;
                ensure!(status.contains(&traced));
            }
            Ok(())
        })
        .await?;
        Ok(injection)
    }

    /// System calls that something was done to.
    fn count(&self) -> usize {
        let calls = fs::read_to_string(&self.output).unwrap_or_default();
        calls.matches("INJECTED").count() + calls.matches("DELAYED").count()
    }
}

impl Drop for Injection {
    fn drop(&mut self) {
        // The kernel lets go of the threads, and their calls go on.
        let _ = self.tracer.kill();
        let _ = self.tracer.wait();
    }
}

fn threads(process: u32) -> Result<Vec<PathBuf>> {
    let tasks = fs::read_dir(format!("/proc/{process}/task"))?;
    tasks.map(|task| Ok(task?.path())).collect()
}

fn thread_named(process: u32, name: &str) -> Result<u32> {
    for thread in threads(process)? {
        if fs::read_to_string(thread.join("comm"))?.trim_end() == name {
            let id = thread.file_name().and_then(|id| id.to_str());
            return Ok(id.context("a thread id")?.parse()?);
        }
    }
    anyhow::bail!("no thread {name}")
}

async fn hang(program: &Program) -> Result<()> {
    let mut cluster = Plan::of(&vec![program.clone(); 3]).start().await?;
    let leader = cluster.leader().await?;
    let process = cluster.member(leader).server()?.pid();
    let hour = Duration::from_secs(3600).as_micros();
    let hang = Injection::into(process, true, &format!("delay_enter={hour}")).await?;
    let others: Vec<usize> = cluster.places().filter(|p| *p != leader).collect();
    // What reaches the leader's disk first may not be answered any more.
    let mut turn = 0;
    until(
        "another member leads, and takes a write",
        WITHIN,
        async || {
            turn += 1;
            let at = cluster.api(others[turn % others.len()]);
            let put = at.put(api::put(format!("hang/{turn}"), b"v".to_vec()));
            tokio::time::timeout(Duration::from_secs(3), put).await??;
            let new = cluster.leader_among(&others).await?;
            ensure!(new != leader);
            Ok(())
        },
    )
    .await?;
    peer::say(&format!("RAN: {program}: a leader's disk hung"));
    drop(hang);
    cluster.agree().await?;
    cluster.finish().await?;
    Ok(())
}

#[test]
fn a_leader_whose_disk_hangs_is_replaced() {
    let Some((pintle, etcd)) = peer::pair() else {
        return;
    };
    if !may_trace() {
        return;
    }
    peers::run(240, async move {
        for program in [&etcd, &pintle] {
            hang(program).await?;
        }
        Ok(())
    });
}

/// Enough that the zeros ahead must be written on.
const LARGE: usize = 700_000;

#[test]
fn an_error_of_the_thread_that_prepares_the_log_is_not_lost() {
    let Some(pintle) = peer::subject().filter(|program| program.is_pintle) else {
        return;
    };
    if !may_trace() {
        return;
    }
    peers::run(120, async move {
        let dir = tempfile::tempdir()?;
        let launch = Launch::new(&pintle, dir.path());
        let mut server = launch.start().await?;
        let thread = thread_named(server.pid(), "wal-prepare")?;
        let fault = Injection::into(thread, false, "error=EIO").await?;
        let (mut acknowledged, mut after) = (0, 0);
        for n in 0..200 {
            // The thread may have yet to say what it was told.
            after += u32::from(fault.count() > 0);
            ensure!(after < 5, "put {n} comes after an error of the disk");
            let put = server
                .api()
                .put(api::put(format!("k{n}"), vec![b'v'; LARGE]));
            if put.await.is_err() {
                break;
            }
            acknowledged = n + 1;
        }
        let status = server.wait_exit(WITHIN).await?;
        ensure!(status.code() == Some(1), "{status}\n{}", server.tail());
        ensure!(fault.count() > 0, "no sync failed");
        let log = server.log_text();
        ensure!(log.contains("failed to write the write-ahead log"), "{log}");
        drop((fault, server));

        let server = launch.start().await?;
        for n in 0..acknowledged {
            let found = server.api().range(api::get(format!("k{n}"))).await?;
            ensure!(found.kvs.len() == 1, "k{n} was acknowledged and is gone");
        }
        peer::say(&format!(
            "RAN: {acknowledged} puts before the fault, all there"
        ));
        server.terminate().await
    });
}

/// What a running server may be writing just now.
fn unfinished(dir: &Path) -> Vec<PathBuf> {
    let snap = dir.join("member/snap");
    [
        "tmp123",
        "tmp.0-1.snap",
        "db.tmp.7",
        "00000000000000ff.snap.db",
    ]
    .map(|name| snap.join(name))
    .to_vec()
}

#[test]
fn a_second_server_leaves_the_files_of_the_first_alone() {
    let Some((pintle, etcd)) = peer::pair() else {
        return;
    };
    peers::run(120, async move {
        for first in [&etcd, &pintle] {
            let dir = tempfile::tempdir()?;
            let launch = Launch::new(first, dir.path());
            let server = launch.start().await?;
            for file in unfinished(dir.path()) {
                fs::write(&file, b"half")?;
            }
            let mut second = Launch::new(&pintle, dir.path()).spawn()?;
            let status = second.wait_exit(WITHIN).await?;
            ensure!(!status.success(), "{status}");
            let log = second.log_text();
            ensure!(log.contains("is locked by another process"), "{log}");
            for file in unfinished(dir.path()) {
                ensure!(file.exists(), "{first}: {} is gone", file.display());
            }
            server.api().put(api::put("k", "v")).await?;
            server.terminate().await?;

            // Now they are leftovers.
            let server = Launch::new(&pintle, dir.path()).start().await?;
            for file in unfinished(dir.path()) {
                ensure!(!file.exists(), "{} is left", file.display());
            }
            server.terminate().await?;
        }
        Ok(())
    });
}

/// A disk that is full at the first start, or a kill, cuts the creation of the database off before
/// its meta pages are written. Its log is whole by then, so the next start makes it anew.
#[test]
fn a_database_whose_creation_was_cut_off_is_made_anew() {
    peers::run(120, async {
        let Some(program) = peer::subject().filter(|program| program.is_pintle) else {
            return Ok(());
        };
        let mut cluster = Plan::of(&[program]).start().await?;
        cluster.api(0).put(api::put("kept", "v")).await?;
        cluster.kill(0).await?;
        let database = cluster.members()[0].dir.join("member/snap/db");
        for bytes in [0, 4096, 16384] {
            std::fs::write(&database, vec![0; bytes])?;
            cluster.start(0).await?;
            let kept = cluster.api(0).range(api::get("kept")).await?;
            ensure!(kept.count == 1, "{bytes} bytes: {kept:?}");
            cluster.kill(0).await?;
        }
        Ok(())
    });
}
