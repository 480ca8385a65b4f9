//! `pintle upgrade run` on a cluster of real etcd with sick databases, under load,
//! killed once in every step of its journal: it goes on each time, and no
//! acknowledged write is lost. Then a run that cannot go on is taken back.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use peers::{
    api::{self, Api},
    peer::{self, Program},
    ports,
};
use proto::etcdserverpb::*;

const MEMBERS: usize = 3;
/// A whole run, however often it is killed.
const RUN_WITHIN: Duration = Duration::from_secs(200);

/// A cluster whose members are scripts, as an operator would have them.
struct Operated {
    dir: tempfile::TempDir,
    ports: Vec<(u16, u16)>,
    pintle: PathBuf,
}

impl Drop for Operated {
    fn drop(&mut self) {
        for n in 0..MEMBERS {
            let _ = self.script("stop.sh", n, "");
        }
    }
}

impl Operated {
    fn new(pintle: &Program, releases: &[&str]) -> Result<Operated> {
        let dir = tempfile::tempdir()?;
        let mut taken = Vec::new();
        for _ in 0..MEMBERS {
            taken.push((ports::claim()?, ports::claim()?));
        }
        let at = dir.path().display();
        let mut start = format!(
            "#!/bin/sh\n# start.sh MEMBER RELEASE FLAGS\nm=$1; r=$2; shift 2\ncase $r in\npintle) b='{} server';;\n",
            pintle.path.display()
        );
        for release in releases {
            let program = peer::etcd(release).with_context(|| format!("etcd {release}"))?;
            start += &format!("{release}) b={};;\n", program.path.display());
        }
        start += "*) echo \"no binary for $r\" >&2; exit 1;;\nesac\ncase $m in\n";
        for (n, (client, peer)) in taken.iter().enumerate() {
            start += &format!("m{n}) c={client}; p={peer};;\n");
        }
        start += &format!(
            "esac\nsetsid $b --name=$m --data-dir={at}/$m --listen-client-urls=http://127.0.0.1:$c \
             --advertise-client-urls=http://127.0.0.1:$c --listen-peer-urls=http://127.0.0.1:$p \
             --initial-advertise-peer-urls=http://127.0.0.1:$p $JOIN \"$@\" >>{at}/$m.log 2>&1 </dev/null &\n\
             echo $! > {at}/$m.pid\n"
        );
        let stop = format!(
            "#!/bin/sh\np=$(cat {at}/$1.pid 2>/dev/null) || exit 0\nkill $p 2>/dev/null\n\
             i=0; while [ $i -lt 150 ]; do kill -0 $p 2>/dev/null || exit 0; sleep 0.1; i=$((i+1)); done\nkill -9 $p\n"
        );
        for (name, text) in [("start.sh", start), ("stop.sh", stop)] {
            let path = dir.path().join(name);
            fs::write(&path, text)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
        let mut members = String::from("members:\n");
        for (n, (client, _)) in taken.iter().enumerate() {
            members += &format!(
                "  - name: m{n}\n    endpoint: http://127.0.0.1:{client}\n    stop: {at}/stop.sh m{n}\n    start: {at}/start.sh m{n} $VERSION $EXTRA_FLAGS\n"
            );
        }
        members += &format!("binaries:\n  pintle: {}\n", pintle.path.display());
        for release in releases {
            if let Some(program) = peer::etcd(release) {
                members += &format!("  {release}: {}\n", program.path.display());
            }
        }
        fs::write(dir.path().join("members.yaml"), members)?;
        Ok(Operated {
            dir,
            ports: taken,
            pintle: pintle.path.clone(),
        })
    }

    fn script(&self, name: &str, member: usize, release: &str) -> Result<()> {
        self.script_joining(name, member, release, "")
    }

    fn script_joining(&self, name: &str, member: usize, release: &str, join: &str) -> Result<()> {
        let status = Command::new(self.dir.path().join(name))
            .arg(format!("m{member}"))
            .args((!release.is_empty()).then_some(release))
            .env("JOIN", join)
            .status()?;
        ensure!(status.success(), "{name} m{member}: {status}");
        Ok(())
    }

    fn api(&self, member: usize) -> Api {
        Api::new(self.ports[member].0)
    }

    /// One member, then the others as learners that are promoted: how kubeadm joins.
    async fn grow(&self, release: &str) -> Result<()> {
        let peer = |n: usize| format!("http://127.0.0.1:{}", self.ports[n].1);
        let mut initial = format!("m0={}", peer(0));
        let join = format!("--initial-cluster={initial} --initial-cluster-state=new");
        self.script_joining("start.sh", 0, release, &join)?;
        for n in 1..MEMBERS {
            let added = until(async || {
                self.api(0)
                    .member_add(MemberAddRequest {
                        peer_ur_ls: vec![peer(n)],
                        is_learner: true,
                    })
                    .await
                    .map_err(Into::into)
            })
            .await?;
            let id = added.member.context("no member")?.id;
            initial += &format!(",m{n}={}", peer(n));
            let join = format!("--initial-cluster={initial} --initial-cluster-state=existing");
            self.script_joining("start.sh", n, release, &join)?;
            until(async || {
                self.api(0)
                    .member_promote(MemberPromoteRequest { id })
                    .await
                    .map_err(Into::into)
            })
            .await?;
        }
        until(async || {
            for n in 0..MEMBERS {
                self.api(n).range(api::get("x")).await?;
            }
            Ok(())
        })
        .await
    }

    fn tool(&self, command: &str, target: &str) -> Command {
        let mut line = Command::new(&self.pintle);
        line.args(["upgrade", command, "--patience=60s"])
            .arg("--members")
            .arg(self.dir.path().join("members.yaml"))
            .arg("--state")
            .arg(self.dir.path().join("state"))
            .stdin(Stdio::null());
        if !target.is_empty() {
            line.args(["--target", target]);
        }
        line
    }

    fn journal(&self) -> PathBuf {
        self.dir.path().join("state").join("journal.jsonl")
    }
}

/// Repeats until it is so; the last error is told after a while.
async fn until<T>(mut attempt: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

fn begun(journal: &Path) -> usize {
    let text = fs::read_to_string(journal).unwrap_or_default();
    text.lines().filter(|l| l.contains("\"begin\"")).count()
}

/// Runs to the end; with `kill` each step is killed once, a moment after it began.
fn run(cluster: &Operated, target: &str, kill: bool) -> Result<usize> {
    let deadline = Instant::now() + RUN_WITHIN;
    let mut kills = 0;
    let mut steps: BTreeMap<usize, ()> = BTreeMap::new();
    'again: loop {
        let log = fs::File::create(cluster.dir.path().join("run.log"))?;
        let mut child: Child = cluster
            .tool("run", target)
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        loop {
            if let Some(status) = child.try_wait()? {
                let said = fs::read_to_string(cluster.dir.path().join("run.log"))?;
                ensure!(status.success(), "{status}\n{said}");
                return Ok(kills);
            }
            ensure!(Instant::now() < deadline, "not finished in {RUN_WITHIN:?}");
            let step = last_begun(&cluster.journal());
            if kill
                && let Some(step) = step
                && steps.insert(step, ()).is_none()
            {
                // In the middle of it, at another moment each time.
                std::thread::sleep(Duration::from_millis((step as u64 * 137) % 900));
                if child.try_wait()?.is_none() {
                    child.kill()?;
                    child.wait()?;
                    kills += 1;
                    continue 'again;
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The step that the journal's last `begin` names.
fn last_begun(journal: &Path) -> Option<usize> {
    let text = fs::read_to_string(journal).ok()?;
    let line = text.lines().rfind(|l| l.contains("\"begin\""))?;
    let event: serde_json::Value = serde_json::from_str(line).ok()?;
    usize::try_from(event["at"].as_u64()?).ok()
}

/// Writes as the API server does, one key after the other, anywhere.
async fn write(
    apis: Vec<Api>,
    number: usize,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<String>>>,
) {
    let mut at = number;
    for turn in 0u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let key = format!("/registry/{number}/{turn}");
        let txn = TxnRequest {
            compare: vec![Compare {
                key: key.clone().into(),
                target: compare::CompareTarget::Mod.into(),
                result: compare::CompareResult::Equal.into(),
                target_union: Some(compare::TargetUnion::ModRevision(0)),
                ..Default::default()
            }],
            success: vec![api::op_put(api::put(key.clone(), "v".repeat(300)))],
            failure: vec![api::op_range(api::get(key.clone()))],
        };
        match tokio::time::timeout(Duration::from_secs(8), apis[at % apis.len()].txn(txn)).await {
            Ok(Ok(answer)) if answer.succeeded => {
                acknowledged.lock().expect("no panic").push(key);
            }
            Ok(Ok(_)) => {}
            _ => at += 1,
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn subject() -> Option<Program> {
    let subject = peer::subject().filter(|p| p.is_pintle);
    if subject.is_none() {
        peer::say("SKIP: upgrade run: no pintle binary, set PINTLE_BIN");
    }
    subject
}

fn block_on(work: impl Future<Output = Result<()>>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a tokio runtime");
    if let Err(error) = runtime.block_on(work) {
        panic!("{error:#}");
    }
}

#[test]
fn a_run_that_is_killed_in_every_step_loses_nothing() {
    let Some(pintle) = subject() else { return };
    for release in ["3.5.16", "3.5.30", "3.6.14"] {
        if peer::etcd(release).is_none() {
            peer::say(&format!(
                "SKIP: upgrade run: etcd {release} is not installed"
            ));
            return;
        }
    }
    block_on(async {
        let cluster = Operated::new(&pintle, &["3.5.16", "3.5.30", "3.6.14"])?;
        cluster.grow("3.5.16").await?;
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let writers: Vec<_> = (0..4)
            .map(|n| {
                let apis = (0..MEMBERS).map(|m| cluster.api(m)).collect();
                tokio::spawn(write(apis, n, stop.clone(), acknowledged.clone()))
            })
            .collect();
        let mut kills = 0;
        for target in ["3.5.30", "pintle", "3.6.14"] {
            kills += tokio::task::block_in_place(|| run(&cluster, target, true))
                .with_context(|| format!("to {target}"))?;
        }
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.await?;
        }
        let acknowledged = std::mem::take(&mut *acknowledged.lock().expect("no panic"));
        ensure!(
            acknowledged.len() > 500,
            "only {} writes",
            acknowledged.len()
        );
        for member in 0..MEMBERS {
            let api = cluster.api(member);
            let status = api.status(StatusRequest {}).await?;
            ensure!(
                status.version == "3.6.14",
                "m{member} runs {}",
                status.version
            );
            let all = api.everything(0).await?;
            let keys: std::collections::BTreeSet<_> =
                all.kvs.iter().map(|kv| kv.key.to_vec()).collect();
            let lost = acknowledged.iter().filter(|k| !keys.contains(k.as_bytes()));
            let lost: Vec<_> = lost.collect();
            ensure!(lost.is_empty(), "m{member} lost {lost:?}");
        }
        peer::say(&format!(
            "RAN: upgrade run 3.5.16 -> 3.5.30 -> pintle -> 3.6.14, killed {kills} times: {} acknowledged writes, none lost",
            acknowledged.len()
        ));
        Ok(())
    });
}

#[test]
fn a_run_that_cannot_go_on_is_taken_back() {
    let Some(pintle) = subject() else { return };
    for release in ["3.5.30", "3.6.14"] {
        if peer::etcd(release).is_none() {
            peer::say(&format!("SKIP: rollback: etcd {release} is not installed"));
            return;
        }
    }
    block_on(async {
        let cluster = Operated::new(&pintle, &["3.5.30", "3.6.14"])?;
        cluster.grow("3.5.30").await?;
        // The second member to be swapped does not come up with the new release.
        let start = cluster.dir.path().join("start.sh");
        let text = fs::read_to_string(&start)?;
        let broken = text.replacen(
            "case $r in\n",
            "[ $m$r = m23.6.14 ] && exit 1\ncase $r in\n",
            1,
        );
        fs::write(&start, broken)?;
        let before: Vec<String> = versions(&cluster).await?;
        let answer = cluster.tool("run", "3.6.14").output()?;
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        ensure!(answer.status.code() == Some(3), "{}: {said}", answer.status);
        ensure!(said.contains("upgrade rollback"), "{said}");
        ensure!(
            begun(&cluster.journal()) > 1,
            "it stopped too early: {said}"
        );
        // Two of three serve all the same.
        cluster.api(0).put(api::put("still", "here")).await?;
        let answer = cluster.tool("rollback", "").output()?;
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        ensure!(answer.status.success(), "{}: {said}", answer.status);
        let after = until(async || {
            let now = versions(&cluster).await?;
            ensure!(now == before, "{now:?}");
            Ok(now)
        })
        .await?;
        let kept = cluster.api(1).range(api::get("still")).await?;
        ensure!(kept.kvs.len() == 1, "the write in between is lost");
        peer::say(&format!("RAN: upgrade rollback to {after:?}"));
        Ok(())
    });
}

async fn versions(cluster: &Operated) -> Result<Vec<String>> {
    let mut versions = Vec::new();
    for n in 0..MEMBERS {
        match cluster.api(n).status(StatusRequest {}).await {
            Ok(status) => versions.push(status.version),
            Err(error) => bail!("m{n}: {error}"),
        }
    }
    Ok(versions)
}
