//! What our programs leave on disk is for their owner alone: every file 0600, every
//! folder 0700 under `umask 0`, no link of another user followed, nothing left by a
//! process that was killed.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, symlink},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use peers::{
    api::{self, Api},
    peer::{self, Program},
    ports,
    server::spawn_bound,
};
use tempfile::TempDir;
use upgrades::operated::{block_on, subject, until};

/// Another user, who owns nothing that a test needs.
const OTHER: u32 = 65534;
const WITHIN: Duration = Duration::from_secs(60);

/// A command of Pintle under `umask 0`.
fn command(pintle: &Program, words: &[&str]) -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "umask 0; exec \"$@\"", "sh"])
        .arg(&pintle.path)
        .args(words);
    command
}

fn ran(pintle: &Program, words: &[&str]) -> Result<Output> {
    Ok(command(pintle, words).output()?)
}

fn said(output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

fn must(pintle: &Program, words: &[&str], codes: &[i32]) -> Result<()> {
    let output = ran(pintle, words)?;
    let code = output.status.code().context("ended by a signal")?;
    ensure!(
        codes.contains(&code),
        "{words:?}: {code}: {}",
        said(&output)
    );
    Ok(())
}

/// Everything under a folder, itself not included.
fn all_under(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(all_under(&entry.path())?);
        }
        found.push(entry.path());
    }
    Ok(found)
}

fn must_be_private(folder: &Path) -> Result<usize> {
    let all = all_under(folder)?;
    for path in &all {
        let found = fs::symlink_metadata(path)?;
        let mode = found.permissions().mode() & 0o7777;
        ensure!(mode & 0o077 == 0, "{}: mode {mode:o}", path.display());
    }
    Ok(all.len())
}

/// The only member of a cluster, started under `umask 0`.
struct Member {
    child: Child,
    api: Api,
    endpoint: String,
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Member {
    async fn start(pintle: &Program, at: &Path) -> Result<Member> {
        let (client, peer) = (ports::claim()?, ports::claim()?);
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let peer_url = format!("https://127.0.0.1:{peer}");
        let words = [
            "server".to_owned(),
            "--name=m".into(),
            format!("--data-dir={}", at.join("data").display()),
            format!("--log-outputs={}", at.join("member.log").display()),
            format!("--listen-client-urls={}", url(client)),
            format!("--advertise-client-urls={}", url(client)),
            format!("--listen-peer-urls={peer_url}"),
            format!("--initial-advertise-peer-urls={peer_url}"),
            format!("--initial-cluster=m={peer_url}"),
            "--peer-auto-tls".into(),
            "--snapshot-count=10".into(),
        ];
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = command(pintle, &words);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let member = Member {
            child: spawn_bound(command)?,
            api: Api::new(client),
            endpoint: url(client),
        };
        until(async || Ok(member.api.put(api::put("a", b"b".to_vec())).await?)).await?;
        Ok(member)
    }

    async fn fill(&self) -> Result<()> {
        for n in 0..40 {
            let value = vec![b'v'; 100_000];
            self.api.put(api::put(format!("k{n}"), value)).await?;
        }
        Ok(())
    }
}

/// Waits until `is` holds.
fn wait_for<T>(what: &str, mut is: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + WITHIN;
    loop {
        if let Some(found) = is()? {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "{what}: not within {WITHIN:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The database that a check has begun to stream, another one than `before`.
fn streaming(scratch: &Path, before: Option<&Path>) -> Result<PathBuf> {
    wait_for("a database is streamed", || {
        // What is swept just now is not there any more.
        let all = all_under(scratch).unwrap_or_default();
        let is = |path: &&PathBuf| {
            let text = path.to_string_lossy();
            let is_one = text.contains("/.pintle-upgrade-") && text.ends_with(".db");
            is_one && Some(path.as_path()) != before
        };
        Ok(all.iter().find(is).cloned())
    })
}

fn slow_check(pintle: &Program, endpoint: &str, scratch: &Path) -> Result<Child> {
    let scratch = format!("--scratch={}", scratch.display());
    let words = [
        "upgrade",
        "check",
        "--target=3.6.14",
        "--stream-rate=1",
        "--endpoints",
        endpoint,
        &scratch,
    ];
    let mut command = command(pintle, &words);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Ok(spawn_bound(command)?)
}

fn signal(child: &Child, signal: rustix::process::Signal) -> Result<()> {
    let pid = rustix::process::Pid::from_child(child);
    Ok(rustix::process::kill_process(pid, signal)?)
}

#[test]
fn every_file_and_folder_is_for_its_owner_alone() {
    let Some(pintle) = subject() else { return };
    block_on(async move {
        let temp = TempDir::new()?;
        let at = |name: &str| temp.path().join(name).display().to_string();
        let member = Member::start(&pintle, temp.path()).await?;
        member.fill().await?;
        let endpoint = member.endpoint.as_str();
        let endpoints = format!("--endpoints={endpoint}");
        must(
            &pintle,
            &["ctl", &endpoints, "snapshot", "save", &at("saved.db")],
            &[0],
        )?;
        let html = format!("--html={}", at("page.html"));
        let scratch = format!("--scratch={}", at("scratch"));
        let check = [
            "upgrade",
            "check",
            "--target=3.6.14",
            &endpoints,
            &html,
            &scratch,
        ];
        must(&pintle, &check, &[0, 4, 5])?;
        must(
            &pintle,
            &["upgrade", "backup", &endpoints, "--out", &at("backup")],
            &[0],
        )?;
        let members = at("members.yaml");
        let text = format!("members:\n- {{name: m, endpoint: '{endpoint}', stop: x, start: x}}\n");
        fs::write(&members, text)?;
        fs::set_permissions(&members, fs::Permissions::from_mode(0o600))?;
        let back = [
            "upgrade",
            "rollback",
            "--to=pintle",
            "--members",
            &members,
            "--state",
            &at("state"),
        ];
        must(&pintle, &back, &[0])?;
        ensure!(temp.path().join("state/journal.jsonl").exists());

        // Killed in the middle, it leaves a folder that no one else can read, for the next to sweep.
        let scratch = temp.path().join("scratch");
        let mut check = slow_check(&pintle, endpoint, &scratch)?;
        let left = streaming(&scratch, None)?;
        must_be_private(temp.path())?;
        check.kill()?;
        check.wait()?;
        ensure!(left.exists(), "SIGKILL leaves something");
        let mut check = slow_check(&pintle, endpoint, &scratch)?;
        streaming(&scratch, Some(&left))?;
        ensure!(!left.exists(), "it was swept");
        signal(&check, rustix::process::Signal::TERM)?;
        check.wait()?;
        ensure!(all_under(&scratch)?.is_empty(), "SIGTERM leaves nothing");
        drop(member);

        let saved = at("saved.db");
        must(
            &pintle,
            &[
                "utl",
                "snapshot",
                "restore",
                &saved,
                "--data-dir",
                &at("restored"),
            ],
            &[0],
        )?;
        must(&pintle, &["utl", "snapshot", "status", &saved], &[0])?;
        must(&pintle, &["utl", "defrag", "--data-dir", &at("data")], &[0])?;
        must(
            &pintle,
            &["utl", "hashkv", &format!("{}/member/snap/db", at("data"))],
            &[0],
        )?;
        let count = must_be_private(temp.path())?;
        ensure!(count > 20, "{count} files and folders");
        peer::say(&format!(
            "RAN: private: {count} files and folders under umask 0"
        ));
        Ok(())
    });
}

#[test]
fn nothing_of_another_user_is_followed_or_believed() {
    let Some(pintle) = subject() else { return };
    if !rustix::process::geteuid().is_root() {
        peer::say("SKIP: private: two users need root");
        return;
    }
    block_on(async move {
        let temp = TempDir::new()?;
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o755))?;
        let member = Member::start(&pintle, temp.path()).await?;
        member.fill().await?;
        let endpoints = format!("--endpoints={}", member.endpoint);
        let victim = temp.path().join("victim");
        fs::write(&victim, "as it was")?;
        // As /tmp is.
        let shared = temp.path().join("shared");
        fs::create_dir(&shared)?;
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777))?;
        for name in [
            "page.html",
            "saved.db",
            "saved.db.part",
            ".pintle-upgrade-1",
        ] {
            let link = shared.join(name);
            symlink(&victim, &link)?;
            std::os::unix::fs::lchown(&link, Some(OTHER), Some(OTHER))?;
        }
        let at = |name: &str| shared.join(name).display().to_string();
        let html = format!("--html={}", at("page.html"));
        let scratch = format!("--scratch={}", shared.display());
        let check = ["upgrade", "check", "--target=3.6.14", &endpoints, &scratch];
        let refused = ran(&pintle, &[&check[..], &[&html]].concat())?;
        ensure!(refused.status.code() == Some(1), "{}", said(&refused));
        ensure!(said(&refused).contains("is a link"), "{}", said(&refused));
        let save = ["ctl", &endpoints, "snapshot", "save", &at("saved.db")];
        let refused = ran(&pintle, &save)?;
        ensure!(!refused.status.success() && said(&refused).contains("is a link"));
        must(&pintle, &check, &[0, 4, 5])?;

        // While it streams, another user sees no byte of it.
        let mut check = slow_check(&pintle, &member.endpoint, &shared)?;
        let database = streaming(&shared, None)?;
        ensure!(fs::metadata(&database)?.uid() == 0);
        let look = Command::new("/bin/sh")
            .args(["-c", "cat \"$0\"/.pintle-upgrade-*/*.db \"$1\""])
            .arg(&shared)
            .arg(&database)
            .uid(OTHER)
            .output()?;
        ensure!(look.stdout.is_empty() && !look.status.success(), "{look:?}");
        signal(&check, rustix::process::Signal::INT)?;
        check.wait()?;
        ensure!(fs::read_to_string(&victim)? == "as it was");

        // A folder of another user, and one that others write to.
        let theirs = temp.path().join("theirs");
        fs::create_dir(&theirs)?;
        std::os::unix::fs::chown(&theirs, Some(OTHER), Some(OTHER))?;
        let open = temp.path().join("open");
        fs::create_dir(&open)?;
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777))?;
        for (folder, word) in [
            (&theirs, "belongs to user"),
            (&open, "other users can write"),
        ] {
            let scratch = format!("--scratch={}", folder.display());
            let words = ["upgrade", "check", "--target=3.6.14", &endpoints, &scratch];
            let refused = ran(&pintle, &words)?;
            ensure!(
                refused.status.code() == Some(1) && said(&refused).contains(word),
                "{}",
                said(&refused)
            );
            ensure!(fs::read_dir(folder)?.next().is_none());
        }
        peer::say("RAN: private: links and folders of another user");
        Ok(())
    });
}
