//! Wrong directories, damaged files, wrong flags, full disks. The subject says
//! what is wrong and where, ends with a code that is not 0, does not panic, and
//! the data is whole once the cause is gone. Where a real etcd stands in for
//! Pintle only what real etcd promises is asked.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use peers::{
    api, dirs,
    fingerprint::{self, Fingerprint},
    peer::{self, Program},
    server::{Launch, Server},
    workload::{self, Amount, Dice},
};

const OFTEN: &str = "--snapshot-count=25";

/// A directory that the subject filled and closed, and what it held.
struct Filled {
    temp: tempfile::TempDir,
    state: Fingerprint,
    subject: Program,
}

impl Filled {
    async fn new(subject: &Program) -> Result<Filled> {
        let temp = tempfile::tempdir()?;
        let server = Launch::new(subject, &temp.path().join("data"))
            .flag(OFTEN)
            .start()
            .await?;
        let amount = Amount {
            writes: 80,
            compact: true,
            alarm: false,
        };
        workload::fill(server.api(), &mut Dice::new(77), 1000, amount).await?;
        let state = Fingerprint::of(server.api()).await?;
        server.terminate().await?;
        Ok(Filled {
            temp,
            state,
            subject: subject.clone(),
        })
    }

    fn dir(&self) -> PathBuf {
        self.temp.path().join("data")
    }

    /// A copy to damage.
    fn copy(&self, name: &str) -> Result<PathBuf> {
        let to = self.temp.path().join(name);
        dirs::copy(&self.dir(), &to)?;
        Ok(to)
    }

    async fn serves_the_same(&self, dir: &Path) -> Result<()> {
        let server = Launch::new(&self.subject, dir).start().await?;
        self.state.same_as(&Fingerprint::of(server.api()).await?)?;
        server.terminate().await
    }

    /// Starts on a damaged directory: either the whole state is served all the
    /// same, or the start is refused by name and the files stay as they are.
    async fn serves_all_or_refuses(&self, dir: &Path, words: &[&str]) -> Result<()> {
        let before = log_files(dir)?;
        let mut server = Launch::new(&self.subject, dir).spawn()?;
        match server.ready().await {
            Ok(()) => {
                self.state.same_as(&Fingerprint::of(server.api()).await?)?;
                server.terminate().await
            }
            Err(_) => {
                refused(&mut server, words).await?;
                ensure!(
                    log_files(dir)? == before,
                    "the log was changed before the refusal"
                );
                Ok(())
            }
        }
    }
}

/// The process ends by itself, unsuccessfully; Pintle names one of `words` and
/// does not panic.
async fn refused(server: &mut Server, words: &[&str]) -> Result<()> {
    let status = server.wait_exit(Duration::from_secs(30)).await?;
    ensure!(
        !status.success(),
        "it ended with success\n{}",
        server.tail()
    );
    if server.is_pintle() {
        server.no_panic()?;
        ensure!(
            status.code().is_some(),
            "it was ended by a signal: {status}\n{}",
            server.tail()
        );
        let text = server.log_text();
        ensure!(
            words.iter().any(|w| text.contains(w)),
            "its error names none of {words:?}\n{}",
            server.tail()
        );
    }
    Ok(())
}

/// The files a refused start must leave alone. The database is not among them:
/// opening it writes a page, on real etcd too, and what it holds is compared
/// after the damage is undone.
fn log_files(dir: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    dirs::contents(&dir.join("member/wal"))
}

fn with_subject(name: &str, seconds_max: u64, body: impl AsyncFnOnce(Program) -> Result<()>) {
    let Some(subject) = peer::subject() else {
        return;
    };
    peers::run(seconds_max, body(subject));
    peer::say(&format!("RAN: bad input, {name}"));
}

/// The offsets of the frames of a log segment, and the end of the last one.
fn frames(segment: &Path) -> Result<Vec<u64>> {
    let bytes = fs::read(segment)?;
    let mut offsets = vec![0u64];
    let mut at = 0usize;
    while let Some(word) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes(word.try_into()?);
        if word == 0 {
            break;
        }
        let padding = if word >> 63 == 1 { (word >> 56) & 7 } else { 0 };
        at += 8 + ((word & ((1 << 56) - 1)) + padding) as usize;
        offsets.push(at as u64);
    }
    Ok(offsets)
}

#[test]
fn a_second_server_on_a_directory_in_use() {
    with_subject(
        "a second server on the same directory",
        90,
        async |subject| {
            let temp = tempfile::tempdir()?;
            let dir = temp.path().join("data");
            let first = Launch::new(&subject, &dir).start().await?;
            first.api().put(api::put("k", "v")).await?;
            let mut second = Launch::new(&subject, &dir).spawn()?;
            // etcd waits for the lock and says so after 10 s; refusing by name is as good.
            let deadline = std::time::Instant::now() + Duration::from_secs(25);
            loop {
                if let Some(status) = second.poll_exit()? {
                    ensure!(!status.success(), "the second ended with success");
                    refused(&mut second, &[&dir.display().to_string(), "lock"]).await?;
                    break;
                }
                let text = second.log_text();
                if text.contains("lock") || text.contains("another etcd process") {
                    break;
                }
                ensure!(
                    std::time::Instant::now() < deadline,
                    "no word of the lock\n{}",
                    second.tail()
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            ensure!(
                !second.log_text().contains("ready to serve"),
                "both serve one directory"
            );
            first.api().put(api::put("k", "still")).await?;
            let state = Fingerprint::of(first.api()).await?;
            first.kill().await?;
            if second.poll_exit()?.is_none() {
                second.ready().await?;
                state.same_as(&Fingerprint::of(second.api()).await?)?;
                second.terminate().await?;
            }
            Ok(())
        },
    );
}

/// A mount that goes away with its guard.
struct Mount(PathBuf);

impl Mount {
    /// `None` after a `SKIP:` line where this user may not mount.
    fn new(what: &str, args: &[&str], at: &Path) -> Result<Option<Mount>> {
        fs::create_dir_all(at)?;
        let done = Command::new("mount").args(args).arg(at).output();
        if done.as_ref().is_ok_and(|o| o.status.success()) {
            return Ok(Some(Mount(at.to_owned())));
        }
        peer::say(&format!("SKIP: {what}: this user may not mount"));
        Ok(None)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn a_directory_that_cannot_be_written() {
    with_subject("a read-only directory", 60, async |subject| {
        let filled = Filled::new(&subject).await?;
        let before = dirs::contents(&filled.dir())?;
        let source = filled.dir().display().to_string();
        let at = filled.temp.path().join("mount");
        let Some(mount) = Mount::new("read-only directory", &["--bind", &source], &at)? else {
            return Ok(());
        };
        let remount = Command::new("mount")
            .args(["-o", "remount,ro,bind"])
            .arg(&at)
            .status()?;
        ensure!(remount.success(), "cannot remount read-only");
        let mut server = Launch::new(&subject, &at).spawn()?;
        refused(&mut server, &[&at.display().to_string()]).await?;
        drop(server);
        drop(mount);
        ensure!(
            dirs::contents(&filled.dir())? == before,
            "the files changed"
        );
        filled.serves_the_same(&filled.dir()).await
    });
}

#[test]
fn a_flipped_bit_in_the_log() {
    with_subject("a flipped bit in the log", 150, async |subject| {
        let filled = Filled::new(&subject).await?;
        let dir = filled.copy("flipped")?;
        let segment = dirs::segments(&dir)?.remove(0);
        let all = frames(&segment)?;
        ensure!(all.len() > 80, "only {} frames", all.len());
        let name = segment
            .file_name()
            .context("name")?
            .to_string_lossy()
            .into_owned();
        // In the payload of a frame in the middle: the checksum must tell.
        let middle = all[all.len() / 2];
        dirs::flip_bit(&segment, middle + 12)?;
        let before = log_files(&dir)?;
        let mut server = Launch::new(&subject, &dir).spawn()?;
        refused(&mut server, &[&name]).await?;
        ensure!(
            log_files(&dir)? == before,
            "the log was changed before the refusal"
        );
        dirs::flip_bit(&segment, middle + 12)?;
        filled.serves_the_same(&dir).await?;
        if !subject.is_pintle {
            peer::say(
                "SKIP: bits all over the log: real etcd takes a broken length for a torn end",
            );
            return Ok(());
        }
        let mut dice = Dice::new(peers::seed(31));
        for turn in 0..12 {
            // Before the last frames: a broken end may rightly be taken for torn.
            let frame = all[dice.below(all.len() as u64 - 8) as usize];
            let offset = frame + dice.below(16);
            let dir = filled.copy(&format!("flip-{turn}"))?;
            dirs::flip_bit(&dirs::segments(&dir)?.remove(0), offset)?;
            filled
                .serves_all_or_refuses(&dir, &[&name])
                .await
                .with_context(|| format!("bit 4 of byte {offset} of {name} (frame at {frame})"))?;
        }
        Ok(())
    });
}

#[test]
fn a_torn_end_of_the_log() {
    with_subject("a torn end of the log", 90, async |subject| {
        let filled = Filled::new(&subject).await?;
        {
            let dir = filled.copy("cut")?;
            let segment = dirs::segments(&dir)?.pop().context("no segment")?;
            let all = frames(&segment)?;
            let [.., last, end] = all[..] else {
                anyhow::bail!("no frames")
            };
            let torn = last + 8 + (end - last - 8) / 2;
            fs::OpenOptions::new()
                .write(true)
                .open(&segment)?
                .set_len(torn)?;
            let server = Launch::new(&subject, &dir)
                .start()
                .await
                .with_context(|| format!("cut at {torn}"))?;
            let now = server.api().everything(0).await?;
            let revision = now.header.context("header")?.revision;
            let lost = filled.state.revision - revision;
            ensure!(
                (0..=1).contains(&lost),
                "one torn record cost {lost} revisions"
            );
            let first = filled.state.compact_revision + 1;
            let events = fingerprint::events(server.api(), first, revision).await?;
            ensure!(
                filled.state.events.starts_with(&events),
                "the history is not a beginning of the old one"
            );
            server.api().put(api::put("after", "repair")).await?;
            server.terminate().await?;
        }
        Ok(())
    });
}

#[test]
fn a_flipped_bit_in_a_snap_file() {
    with_subject("a flipped bit in a .snap file", 60, async |subject| {
        let filled = Filled::new(&subject).await?;
        let dir = filled.copy("flipped")?;
        let snap = dirs::snapshots(&dir)?.pop().context("no .snap file")?;
        let name = snap
            .file_name()
            .context("name")?
            .to_string_lossy()
            .into_owned();
        dirs::flip_bit(&snap, fs::metadata(&snap)?.len() / 2)?;
        let mut server = Launch::new(&subject, &dir).spawn()?;
        // An older .snap may take its place; what is served must be everything.
        if server.ready().await.is_ok() {
            filled
                .state
                .same_as(&Fingerprint::of(server.api()).await?)?;
            ensure!(
                server.log_text().contains(&name),
                "not a word about {name}\n{}",
                server.tail()
            );
            return server.terminate().await;
        }
        refused(&mut server, &[&name]).await
    });
}

#[test]
fn a_damaged_database() {
    with_subject("a damaged database", 150, async |subject| {
        let filled = Filled::new(&subject).await?;
        let page = 4096u64;
        // One meta page is enough; the log brings back what the older one lacks.
        for meta in [0, 1] {
            let dir = filled.copy(&format!("meta-{meta}"))?;
            dirs::flip_bit(&dir.join("member/snap/db"), meta * page + 16 + 8)?;
            filled
                .serves_the_same(&dir)
                .await
                .with_context(|| format!("meta {meta} broken"))?;
        }
        let dir = filled.copy("metas")?;
        for meta in [0, 1] {
            dirs::flip_bit(&dir.join("member/snap/db"), meta * page + 16 + 8)?;
        }
        let mut server = Launch::new(&subject, &dir).spawn()?;
        refused(&mut server, &["member/snap/db"]).await?;
        drop(server);
        for meta in [0, 1] {
            dirs::flip_bit(&dir.join("member/snap/db"), meta * page + 16 + 8)?;
        }
        filled.serves_the_same(&dir).await?;
        if !subject.is_pintle {
            peer::say("SKIP: broken pages and cut databases: real etcd crashes on them");
            return Ok(());
        }
        let len = fs::metadata(filled.dir().join("member/snap/db"))?.len();
        let dir = filled.copy("cut")?;
        let db = dir.join("member/snap/db");
        fs::OpenOptions::new()
            .write(true)
            .open(&db)?
            .set_len(3 * page)?;
        let mut server = Launch::new(&subject, &dir).spawn()?;
        refused(&mut server, &["member/snap/db"]).await?;
        drop(server);
        for number in (2..len / page).take(14) {
            for field in [8, 10] {
                let dir = filled.copy(&format!("page-{number}-{field}"))?;
                dirs::flip_bit(&dir.join("member/snap/db"), number * page + field)?;
                filled
                    .serves_all_or_refuses(&dir, &["member/snap/db"])
                    .await
                    .with_context(|| format!("page {number}, byte {field} of its head"))?;
                fs::remove_dir_all(&dir)?;
            }
        }
        Ok(())
    });
}

/// With a new log the writes of etcd time out until it has passed the index of the database, and
/// linearizable reads are answered all the while. Here the start is refused.
#[test]
fn a_database_whose_log_is_elsewhere() {
    with_subject("a log elsewhere", 150, async |subject| {
        let filled = Filled::new(&subject).await?;
        let dir = filled.copy("moved")?;
        let away = filled.temp.path().join("away");
        if subject.is_pintle {
            let before = dirs::contents(&dir.join("member"))?;
            for state in ["new", "existing"] {
                let mut server = Launch::new(&subject, &dir)
                    .flag(&format!("--wal-dir={}", away.display()))
                    .flag(&format!("--initial-cluster-state={state}"))
                    .spawn()?;
                refused(&mut server, &["write-ahead log that is not in"]).await?;
            }
            ensure!(!away.exists(), "a log was made");
            ensure!(
                dirs::contents(&dir.join("member"))? == before,
                "the directory was changed"
            );
        }
        fs::rename(dir.join("member/wal"), &away)?;
        let server = Launch::new(&subject, &dir)
            .flag(&format!("--wal-dir={}", away.display()))
            .start()
            .await?;
        let state = Fingerprint::of(server.api()).await?;
        filled.state.same_as(&state)?;
        server.terminate().await
    });
}

#[test]
fn wrong_flags() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    let cases: [(&[&str], &str); 13] = [
        (&["--nonsense=1"], "nonsense"),
        (&["--heartbeat-interval=abc"], "heartbeat-interval"),
        (&["--snapshot-count=-1"], "snapshot-count"),
        (&["extra"], "'extra' is not a valid flag"),
        (
            &[
                "--listen-client-urls=http://name.example:1",
                "--advertise-client-urls=http://127.0.0.1:1",
            ],
            "expected IP in URL for binding",
        ),
        (
            &[
                "--listen-client-urls=ftp://127.0.0.1:1",
                "--advertise-client-urls=http://127.0.0.1:1",
            ],
            "ftp",
        ),
        (
            &["--listen-client-urls=http://127.0.0.1:0"],
            "--advertise-client-urls is required when --listen-client-urls is set explicitly",
        ),
        (
            &["--election-timeout=100", "--heartbeat-interval=100"],
            "--election-timeout[100ms] should be at least as 5 times as --heartbeat-interval[100ms]",
        ),
        (
            &["--election-timeout=60000"],
            "--election-timeout[60000ms] is too long, and should be set less than 50000ms",
        ),
        (
            &["--heartbeat-interval=0"],
            "--heartbeat-interval must be >0 (set to 0ms)",
        ),
        (&["--initial-cluster-state=nonsense"], "nonsense"),
        (
            &["--auto-compaction-mode=nonsense"],
            "unknown auto-compaction-mode \\\"nonsense\\\"",
        ),
        (&["--config-file=/nonexistent/file"], "/nonexistent/file"),
    ];
    peers::run(120, async {
        let mut differences = Vec::new();
        for (flags, words) in cases {
            let mut codes = Vec::new();
            for program in [&subject, &reference] {
                let temp = tempfile::tempdir()?;
                let data = temp.path().join("data");
                let mut launch = Launch::new(program, &data).only_given_flags();
                if !flags[0].starts_with("--config-file") {
                    launch = launch.flag(&format!("--data-dir={}", data.display()));
                }
                for flag in flags {
                    launch = launch.flag(flag);
                }
                let mut server = launch.spawn()?;
                let status = server.wait_exit(Duration::from_secs(20)).await?;
                server.no_panic()?;
                let text = server.log_text();
                if !(text.contains(words) || text.contains(&words.replace("\\\"", "\""))) {
                    differences.push(format!(
                        "{flags:?}: {program} does not say {words:?}\n{}",
                        server.tail()
                    ));
                }
                codes.push(status.code());
            }
            if codes[0] != codes[1] || codes[0] == Some(0) {
                differences.push(format!(
                    "{flags:?}: exit codes {codes:?} (subject, reference)"
                ));
            }
        }
        ensure!(differences.is_empty(), "{}", differences.join("\n"));
        Ok(())
    });
    peer::say("RAN: bad input, wrong flags, 13 cases");
}

#[test]
fn a_data_directory_that_is_a_file() {
    with_subject("a data directory that is a file", 30, async |subject| {
        let temp = tempfile::tempdir()?;
        let path = temp.path().join("data");
        fs::write(&path, "precious")?;
        let mut server = Launch::new(&subject, &path).spawn()?;
        refused(&mut server, &[&path.display().to_string()]).await?;
        ensure!(fs::read(&path)? == b"precious", "the file was changed");
        Ok(())
    });
}

#[test]
fn a_full_disk() {
    with_subject("a full disk", 150, async |subject| {
        let temp = tempfile::tempdir()?;
        let at = temp.path().join("disk");
        // Beside the ballast there is room for two log segments and a small
        // database; without it, for all that two segments hold, and a copy of one.
        let args = ["-t", "tmpfs", "-o", "size=420m", "tmpfs"];
        let Some(_mount) = Mount::new("full disk", &args, &at)? else {
            return Ok(());
        };
        let dir = at.join("data");
        let ballast = at.join("ballast");
        let mut server = Launch::new(&subject, &dir).start().await?;
        fs::write(&ballast, vec![1u8; 240 << 20])?;
        let mut acknowledged = Vec::new();
        for i in 0..400u32 {
            let key = format!("k{i:03}");
            match server
                .api()
                .put(api::put(key.clone(), vec![i as u8; 1 << 20]))
                .await
            {
                Ok(answer) => acknowledged.push((key, answer.header.map_or(0, |h| h.revision))),
                Err(_) => break,
            }
        }
        ensure!(acknowledged.len() < 400, "the disk did not fill up");
        ensure!(
            acknowledged.len() > 10,
            "only {} writes fitted",
            acknowledged.len()
        );
        // Ending or refusing are both fine; a panic is not, nor is losing anything.
        let ended = server.wait_exit(Duration::from_secs(10)).await;
        if subject.is_pintle {
            server.no_panic()?;
            if let Ok(status) = ended {
                ensure!(
                    status.code().is_some_and(|c| c != 0),
                    "ended with {status}\n{}",
                    server.tail()
                );
                let text = server.log_text();
                ensure!(
                    text.contains("No space left on device")
                        || text.contains("no space left on device"),
                    "no word of the full disk\n{}",
                    server.tail()
                );
            }
        }
        drop(server);
        fs::remove_file(&ballast)?;
        let server = Launch::new(&subject, &dir).start().await?;
        for (i, (key, revision)) in acknowledged.iter().enumerate() {
            let found = server.api().range(api::get(key.clone())).await?.kvs;
            let kv = found
                .first()
                .with_context(|| format!("{key} was acknowledged and is lost"))?;
            ensure!(
                kv.mod_revision == *revision && kv.value.iter().all(|b| *b == i as u8),
                "{key} is not what was written"
            );
        }
        server.api().put(api::put("after", "space")).await?;
        server.terminate().await
    });
}
