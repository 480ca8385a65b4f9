//! `--force-new-cluster` on every kind of directory, next to etcd: the same changes in the log,
//! the same members and keys, and either program continues on what the other has made of it. Or
//! neither serves.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use membership::{Member, conf_change};
use peers::{
    api, dirs, entries,
    fingerprint::Fingerprint,
    peer::{self, Program},
    server::{Launch, Server},
};
use prost::Message as _;
use proto::{
    raftpb::{ConfChange, EntryType, HardState},
    walpb,
};

const FEW: &str = "--snapshot-count=10";

/// Where directories are made and copied to.
struct Bench {
    temp: tempfile::TempDir,
    subject: Program,
    reference: Program,
}

impl Bench {
    fn at(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn utl(&self, args: &[String]) -> Result<()> {
        let Some(tool) = peer::tool(&self.reference.version, "etcdutl") else {
            return Ok(());
        };
        let out = Command::new(tool).args(args).output()?;
        let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
        ensure!(out.status.success(), "{args:?}: {stderr}");
        Ok(())
    }

    /// A directory of one member with keys; its id.
    async fn grown(&self, name: &str, flags: &[&str]) -> Result<(PathBuf, u64)> {
        let dir = self.at(name);
        let id = self.grow(&dir, flags).await?;
        Ok((dir, id))
    }

    async fn grow(&self, dir: &Path, flags: &[&str]) -> Result<u64> {
        let launch = flags
            .iter()
            .fold(Launch::new(&self.reference, dir), |l, flag| l.flag(flag));
        let server = launch.start().await?;
        for i in 0..25 {
            server.api().put(api::put(format!("k{i}"), "v")).await?;
        }
        let id = Fingerprint::of(server.api()).await?.ids.1;
        server.terminate().await?;
        Ok(id)
    }

    /// Both programs on copies of `dir`, then each on what the other has left.
    async fn compare(&self, dir: &Path, serves: bool) -> Result<()> {
        let (ours, theirs) = (dir.with_extension("ours"), dir.with_extension("theirs"));
        for copy in [&ours, &theirs] {
            dirs::copy(dir, copy)?;
        }
        if !serves {
            ended(&self.reference, &theirs).await?;
            let before = dirs::contents(&ours)?;
            let log = ended(&self.subject, &ours).await?;
            ensure!(log.contains("--force-new-cluster needs"), "{log}");
            ensure!(
                before == dirs::contents(&ours)?,
                "it wrote to what it refused"
            );
            return Ok(());
        }
        let by_reference = forced(&self.reference, &theirs).await?;
        let by_subject = forced(&self.subject, &ours).await?;
        by_subject.same_as(&by_reference)?;
        let snapshots = wal::valid_snapshots(&dir.join("member/wal"))?;
        let at = snapshots.last().cloned().unwrap_or_default();
        let (found, expected) = (changes(&ours, &at)?, changes(&theirs, &at)?);
        ensure!(found == expected, "{found:?}, but etcd's: {expected:?}");
        for (program, dir) in [(&self.reference, &ours), (&self.subject, &theirs)] {
            let server = Launch::new(program, dir).start().await?;
            let after = Fingerprint::of(server.api()).await?;
            ensure!(after.members == by_reference.members, "{after:?}");
            server.api().put(api::put("after", "v")).await?;
            server.terminate().await?;
        }
        Ok(())
    }
}

async fn forced(program: &Program, dir: &Path) -> Result<Fingerprint> {
    let launch = Launch::new(program, dir).flag("--force-new-cluster");
    let server = launch.start().await?;
    server.api().put(api::put("new", "v")).await?;
    let found = Fingerprint::of(server.api()).await?;
    server.terminate().await?;
    Ok(found)
}

/// What a program says that does not serve.
async fn ended(program: &Program, dir: &Path) -> Result<String> {
    let mut server: Server = Launch::new(program, dir)
        .flag("--force-new-cluster")
        .spawn()?;
    ensure!(server.ready().await.is_err(), "{program} serves");
    ensure!(server.poll_exit()?.is_some(), "{program} still runs");
    Ok(server.log_text())
}

/// The changes of the configuration in the log after a snapshot: index, term, content.
fn changes(dir: &Path, at: &walpb::Snapshot) -> Result<Vec<(u64, u64, Option<Bytes>)>> {
    let log = wal::read_all(&dir.join("member/wal"), at.clone())?;
    let changes = log.entries.into_iter();
    Ok(changes
        .filter(|entry| entry.r#type == EntryType::EntryConfChange as i32)
        .map(|entry| (entry.index, entry.term, entry.data))
        .collect())
}

/// One that has published itself, so that a server with it is ready.
fn member(id: u64, is_learner: bool) -> Member {
    Member {
        id: id.into(),
        peer_urls: vec![format!("http://127.0.0.1:{id}")],
        is_learner,
        name: format!("m{id}"),
        client_urls: vec!["http://127.0.0.1:4".to_owned()],
    }
}

fn add(id: u64) -> ConfChange {
    conf_change::add(0, &member(id, false))
}

fn add_learner(id: u64) -> ConfChange {
    conf_change::add(0, &member(id, true))
}

fn append(dir: &Path, changes: &[ConfChange]) -> Result<()> {
    let changes: Vec<(i32, Bytes)> = changes
        .iter()
        .map(|c| (EntryType::EntryConfChange as i32, c.encode_to_vec().into()))
        .collect();
    entries::append(dir, &changes)
}

/// Puts a log in place that has the same entries, or others, and another hard state.
fn rewrite(dir: &Path, change: impl FnOnce(&mut wal::ReadOnly)) -> Result<()> {
    let path = dir.join("member/wal");
    let mut log = wal::read_all(&path, walpb::Snapshot::default())?;
    change(&mut log);
    std::fs::remove_dir_all(&path)?;
    let options = wal::Options {
        background: false,
        segment_bytes: 1 << 20,
        ..wal::Options::default()
    };
    wal::Wal::found(&path, &log.metadata, &log.entries, log.state, options)?.close()?;
    Ok(())
}

fn on_a_bench(seconds_max: u64, body: impl AsyncFnOnce(&Bench) -> Result<()>) {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    if !subject.is_pintle || peer::tool(&reference.version, "etcdutl").is_none() {
        return;
    }
    peers::run(seconds_max, async {
        let temp = tempfile::tempdir()?;
        body(&Bench {
            temp,
            subject,
            reference,
        })
        .await
    });
}

#[test]
fn a_backup() {
    on_a_bench(300, async |bench| {
        for (name, flags) in [("log", &[][..]), ("snapshot", &[FEW])] {
            let (dir, _) = bench.grown(name, flags).await?;
            for with_v3 in [true, false] {
                let copy = bench.at(&format!("{name}-{with_v3}"));
                bench.utl(&[
                    "backup".to_owned(),
                    format!("--data-dir={}", dir.display()),
                    format!("--backup-dir={}", copy.display()),
                    format!("--with-v3={with_v3}"),
                ])?;
                let compared = bench.compare(&copy, true).await;
                compared.with_context(|| format!("{name}, with v3: {with_v3}"))?;
            }
        }
        Ok(())
    });
}

#[test]
fn a_log_that_names_others() {
    on_a_bench(120, async |bench| {
        let (dir, _) = bench.grown("alone", &[]).await?;
        bench.compare(&dir, true).await.context("no one else")?;
        let (dir, _) = bench.grown("others", &[]).await?;
        append(&dir, &[add_learner(7), add(5), add(6)])?;
        append(&dir, &[conf_change::remove(0, 6.into())])?;
        bench.compare(&dir, true).await
    });
}

#[test]
fn a_snapshot_that_names_others() {
    on_a_bench(120, async |bench| {
        let (dir, _) = bench.grown("learner", &[]).await?;
        append(&dir, &[add_learner(7)])?;
        bench.grow(&dir, &[FEW]).await?;
        bench.compare(&dir, true).await
    });
}

#[test]
fn a_restored_snapshot_of_three_and_no_entry_after_it() {
    on_a_bench(120, async |bench| {
        let (dir, _) = bench.grown("old", &[]).await?;
        let copy = bench.at("restored");
        bench.utl(&[
            "snapshot".to_owned(),
            "restore".to_owned(),
            dir.join("member/snap/db").display().to_string(),
            "--skip-hash-check".to_owned(),
            format!("--data-dir={}", copy.display()),
            "--name=a".to_owned(),
            "--initial-cluster=a=http://127.0.0.1:5,b=http://127.0.0.1:6,c=http://127.0.0.1:7"
                .to_owned(),
            "--initial-advertise-peer-urls=http://127.0.0.1:5".to_owned(),
        ])?;
        bench.compare(&copy, true).await
    });
}

/// As releases before 3.5.22 lost it: what the database has applied was committed.
#[test]
fn a_commit_index_behind_the_database() {
    on_a_bench(120, async |bench| {
        let (dir, _) = bench.grown("behind", &[]).await?;
        append(&dir, &[add_learner(7)])?;
        bench.grow(&dir, &[]).await?;
        rewrite(&dir, |log| log.state.commit -= 3)?;
        bench.compare(&dir, true).await
    });
}

#[test]
fn a_member_without_a_vote() {
    on_a_bench(120, async |bench| {
        let (dir, id) = bench.grown("removed", &[]).await?;
        append(&dir, &[add(5), conf_change::remove(0, id.into())])?;
        bench.compare(&dir, false).await.context("removed")?;
        let (dir, id) = bench.grown("learner", &[]).await?;
        std::fs::remove_dir_all(dir.join("member/snap"))?;
        rewrite(&dir, |log| {
            log.entries.truncate(2);
            for (entry, change) in log.entries.iter_mut().zip([add(5), add_learner(id)]) {
                entry.r#type = EntryType::EntryConfChange as i32;
                entry.term = 1;
                entry.data = Some(change.encode_to_vec().into());
            }
            log.state = HardState {
                term: 1,
                vote: 0,
                commit: 2,
            };
        })?;
        bench.compare(&dir, false).await.context("learner")
    });
}
