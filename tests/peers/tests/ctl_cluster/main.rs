//! The cluster commands of `pintle ctl` beside the real etcdctl's: the same
//! lines against fresh clusters of three real members each, outputs and exit
//! codes equal. What must differ is put into words of its own: ids and ports by
//! member, terms, raft indexes, sizes, times.

mod cluster;
mod plain;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use peers::{
    api::Api,
    peer::{self, Program},
    server::Launch,
};
use proto::etcdserverpb::{PutRequest, RangeRequest};
use tempfile::TempDir;

use cluster::{Cluster, SIZE};
use plain::{Order, plain};

const WITHIN: Duration = Duration::from_secs(30);

/// One line: `{1}`, `{2}`, `{3}` are the members' ids, `{new}` and so on those
/// of [`ADDED`].
struct Step {
    /// Members whose endpoints are given; none for none.
    at: &'static [usize],
    args: &'static str,
}

/// The members that the steps add, by a peer URL of theirs.
const ADDED: [(&str, &str); 3] = [
    ("new", "http://127.0.0.1:9"),
    ("last", "http://127.0.0.1:11"),
    ("more", "http://127.0.0.1:13"),
];

const fn first(args: &'static str) -> Step {
    Step { at: &[1], args }
}

const fn all(args: &'static str) -> Step {
    Step {
        at: &[1, 2, 3],
        args,
    }
}

/// What leaves membership alone.
const LOOKS: &[Step] = &[
    first("put a 1"),
    first("member list"),
    first("member list -w json"),
    first("member list -w fields"),
    first("member list -w table"),
    first("member list --hex -w json"),
    first("endpoint status"),
    first("endpoint status --cluster"),
    first("endpoint status --cluster -w json"),
    first("endpoint status --cluster -w fields"),
    first("endpoint status --cluster -w table"),
    all("endpoint status -w table"),
    first("endpoint health --cluster"),
    first("endpoint health --cluster -w json"),
    first("endpoint hashkv --cluster"),
    first("endpoint hashkv --cluster -w json"),
    first("endpoint hashkv --cluster -w fields"),
    first("endpoint hashkv --cluster -w table"),
    Step {
        at: &[2, 3],
        args: "move-leader {2}",
    },
    all("move-leader 1234"),
    all("move-leader {2}"),
    all("move-leader {3} -w json"),
    all("move-leader {1}"),
    all("move-leader {1}"),
    all("lock l -- sh -c 'test $ETCD_LOCK_REV -gt 1'"),
    all("lock l -- sh -c 'exit 3'"),
    all("alarm list"),
    all("defrag"),
    first("defrag --cluster"),
    first("get l --prefix"),
];

const CHANGES: &[Step] = &[
    first("member add new --learner --peer-urls=http://127.0.0.1:9"),
    first("member list"),
    first("member list -w json"),
    first("member list -w fields"),
    first("member list -w table"),
    first("member add other --learner --peer-urls=http://127.0.0.1:11"),
    first("member add new --peer-urls=http://127.0.0.1:9,http://127.0.0.1:14"),
    first("member promote {new}"),
    first("member promote {2}"),
    first("member update {new} --peer-urls=http://127.0.0.1:9,http://127.0.0.1:10"),
    first("member update {new} --peer-urls=http://127.0.0.1:9 -w json"),
    first("member remove {new}"),
    first("member remove {new}"),
    first("member add last --peer-urls=http://127.0.0.1:11,http://127.0.0.1:12 -w json"),
    first("member list -w table"),
    first("member add more --peer-urls=http://127.0.0.1:13"),
    first("member remove {last} -w json"),
    first("member list -w json"),
];

/// What a run gave, in words both clusters share.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

async fn run(
    steps: &[&Step],
    ctl: &Path,
    cluster: &Cluster,
    ids: &mut [(String, u64)],
) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    for step in steps {
        learn(cluster, ids).await;
        let mut args = step.args.to_owned();
        for (name, id) in ids.iter() {
            args = args.replace(&format!("{{{name}}}"), &format!("{id:x}"));
        }
        let endpoints: Vec<String> = step
            .at
            .iter()
            .map(|at| format!("127.0.0.1:{}", cluster.ports[at - 1].0))
            .collect();
        let mut command = tokio::process::Command::new(ctl);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .arg(format!("--endpoints={}", endpoints.join(",")))
            .args(words(&args))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let out = tokio::time::timeout(WITHIN, command.output())
            .await
            .with_context(|| format!("{args}: it does not end"))??;
        learn(cluster, ids).await;
        let order = match step.args {
            args if args.starts_with("member list") => Order::Lines,
            args if args.contains("-w fields") => Order::Blocks,
            args if args.contains("--cluster") => Order::Lines,
            _ => Order::Told,
        };
        let clean = |bytes: &[u8]| plain(&String::from_utf8_lossy(bytes), cluster, ids, order);
        outcomes.push(Outcome {
            code: out.status.code(),
            stdout: clean(&out.stdout),
            stderr: clean(&out.stderr),
        });
    }
    Ok(outcomes)
}

/// Looks up the ids of the members that have been added; an id that is gone
/// stays known.
async fn learn(cluster: &Cluster, ids: &mut [(String, u64)]) {
    for (name, url) in ADDED {
        let known = ids.iter_mut().find(|(known, _)| known == name);
        if let (Ok(id), Some(known)) = (cluster.id(url).await, known) {
            known.1 = id;
        }
    }
}

/// Splits at spaces; single quotes hold words together.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate();
    parts
        .flat_map(|(at, part)| match at % 2 {
            1 => vec![part.to_owned()],
            _ => part.split_whitespace().map(str::to_owned).collect(),
        })
        .collect()
}

async fn told(steps: &[&Step], server: &Program, ctl: &Path) -> Result<Vec<Outcome>> {
    let cluster = Cluster::start(server).await?;
    let mut ids: Vec<(String, u64)> = Vec::new();
    for at in 1..=SIZE {
        let url = format!("http://127.0.0.1:{}", cluster.ports[at - 1].1);
        ids.push((at.to_string(), cluster.id(&url).await?));
    }
    ids.extend(ADDED.map(|(name, _)| (name.to_owned(), 0)));
    run(steps, ctl, &cluster, &mut ids).await
}

/// The program under its own name, in a directory that lives as long.
fn our_etcdctl(subject: &Program) -> Result<(TempDir, PathBuf)> {
    let dir = tempfile::tempdir()?;
    let link = dir.path().join("etcdctl");
    std::os::unix::fs::symlink(&subject.path, &link)?;
    Ok((dir, link))
}

/// The subject, if it is Pintle, a real server and a real etcdctl.
fn parts() -> Option<(Program, Program, PathBuf)> {
    let (subject, server) = peer::pair()?;
    if !subject.is_pintle {
        peer::say("SKIP: cluster commands of pintle ctl: no pintle binary");
        return None;
    }
    let etcdctl = peer::tool(&server.version, "etcdctl")?;
    Some((subject, server, etcdctl))
}

fn same(steps: &[&Step], ours: Vec<Outcome>, theirs: Vec<Outcome>) -> Result<()> {
    let mut differences = Vec::new();
    for ((step, ours), theirs) in steps.iter().zip(ours).zip(theirs) {
        // One line of advice may follow what etcdctl says.
        let errors = ours.stderr.starts_with(theirs.stderr.as_str())
            && ours.stderr.is_empty() == theirs.stderr.is_empty();
        if (ours.code, &ours.stdout, errors) != (theirs.code, &theirs.stdout, true) {
            differences.push(format!("{}\n  {ours:?}\n  {theirs:?}", step.args));
        }
    }
    ensure!(
        differences.is_empty(),
        "{} of {} commands say something else (the subject first):\n{}",
        differences.len(),
        steps.len(),
        differences.join("\n")
    );
    Ok(())
}

#[test]
fn cluster_commands_say_what_etcdctl_says() {
    let Some((subject, server, etcdctl)) = parts() else {
        return;
    };
    let steps: Vec<&Step> = LOOKS.iter().chain(CHANGES).collect();
    peers::run(240, async {
        let (_dir, link) = our_etcdctl(&subject)?;
        let (ours, theirs) = tokio::join!(
            told(&steps, &server, &link),
            told(&steps, &server, &etcdctl)
        );
        same(&steps, ours?, theirs?)
    });
    let count = steps.len();
    peer::say(&format!("RAN: pintle ctl on a cluster, {count} commands"));
}

#[test]
fn a_cluster_of_pintle_answers_etcdctl_as_one_of_etcd() {
    let Some((subject, server, etcdctl)) = parts() else {
        return;
    };
    let steps: Vec<&Step> = LOOKS.iter().collect();
    peers::run(240, async {
        let (ours, theirs) = tokio::join!(
            told(&steps, &subject, &etcdctl),
            told(&steps, &server, &etcdctl)
        );
        let (ours, theirs) = (ours.context("subject")?, theirs.context("reference")?);
        same(&steps, ours, theirs)
    });
    let count = steps.len();
    peer::say(&format!(
        "RAN: etcdctl on a cluster of pintle, {count} commands that leave membership alone"
    ));
}

/// Commands that etcdctl has since 3.6, on a real 3.5 server.
#[test]
fn a_downgrade_is_asked_of_the_server() {
    let Some((subject, server, _)) = parts() else {
        return;
    };
    peers::run(120, async {
        let (_dir, link) = our_etcdctl(&subject)?;
        let data = tempfile::tempdir()?;
        let server = Launch::new(&server, &data.path().join("data"))
            .start()
            .await?;
        let ask = async |args: &str| -> Result<(Option<i32>, String)> {
            let mut command = tokio::process::Command::new(&link);
            command
                .env_clear()
                .arg(format!("--endpoints=127.0.0.1:{}", server.port()))
                .args(words(args));
            let out = tokio::time::timeout(WITHIN, command.output()).await??;
            let text = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
            Ok((out.status.code(), text))
        };
        let success = |what: &str| format!("Downgrade {what} success, cluster version 3.5.0\n");
        let refused = |why: &str| format!("Error: etcdserver: {why}\n");
        // etcd 3.5 carries out what changes something and never answers.
        let unanswered = || "Error: context deadline exceeded\n".to_owned();
        for (args, code, text) in [
            ("downgrade validate 3.4", 0, success("validate")),
            (
                "downgrade validate 3.3",
                1,
                refused("invalid downgrade target version"),
            ),
            (
                "downgrade validate x",
                1,
                refused("wrong downgrade target version format"),
            ),
            (
                "downgrade validate",
                128,
                "Error: TARGET_VERSION not provided\n".into(),
            ),
            (
                "downgrade enable 3.4 3.4",
                128,
                "Error: too many arguments\n".into(),
            ),
            ("downgrade cancel", 1, refused("no inflight downgrade job")),
            ("downgrade enable 3.4 --command-timeout=1s", 1, unanswered()),
            (
                "downgrade enable 3.4",
                1,
                refused("cluster has a downgrade job in progress"),
            ),
            ("downgrade cancel --command-timeout=1s", 1, unanswered()),
            ("downgrade cancel", 1, refused("no inflight downgrade job")),
        ] {
            let said = ask(args).await?;
            ensure!(said == (Some(code), text), "{args}: {said:?}");
        }
        Ok(())
    });
    peer::say("RAN: downgrade commands of pintle ctl on etcd 3.5.30");
}

async fn content(api: &Api) -> Result<Vec<(String, String)>> {
    let request = RangeRequest {
        key: b"\0".to_vec().into(),
        range_end: b"\0".to_vec().into(),
        ..Default::default()
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let kvs = api.range(request).await?.kvs;
    Ok(kvs
        .iter()
        .map(|kv| (text(&kv.key), text(&kv.value)))
        .collect())
}

async fn put(api: &Api, key: &str, value: &str) -> Result<()> {
    let request = PutRequest {
        key: key.as_bytes().to_vec().into(),
        value: value.as_bytes().to_vec().into(),
        ..Default::default()
    };
    api.put(request).await?;
    Ok(())
}

#[test]
fn a_mirror_holds_what_etcdctls_mirror_holds() {
    let Some((subject, server, etcdctl)) = parts() else {
        return;
    };
    peers::run(120, async {
        let (_dir, link) = our_etcdctl(&subject)?;
        let data = tempfile::tempdir()?;
        let launch = |name: &str| Launch::new(&server, &data.path().join(name));
        let source = launch("source").start().await?;
        for n in 0..1500 {
            put(source.api(), &format!("app/{n:04}"), &n.to_string()).await?;
        }
        put(source.api(), "other", "stays").await?;
        let mut mirrors = Vec::new();
        for (name, ctl) in [("ours", &link), ("theirs", &etcdctl)] {
            let target = launch(name).start().await?;
            let mut command = tokio::process::Command::new(ctl);
            command
                .env_clear()
                .arg(format!("--endpoints=127.0.0.1:{}", source.port()))
                .args(["make-mirror", "--prefix=app/", "--dest-prefix=copy/"])
                .arg(format!("127.0.0.1:{}", target.port()))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(true);
            mirrors.push((target, command.spawn()?));
        }
        // Changes while it copies, and once it follows.
        put(source.api(), "app/0000", "changed").await?;
        let deadline = Instant::now() + WITHIN;
        for round in 0..2 {
            put(source.api(), "app/last", &round.to_string()).await?;
            let expected: Vec<(String, String)> = content(source.api())
                .await?
                .into_iter()
                .filter_map(|(key, value)| {
                    Some((format!("copy/{}", key.strip_prefix("app/")?), value))
                })
                .collect();
            for (target, _) in &mirrors {
                while content(target.api()).await? != expected {
                    ensure!(Instant::now() < deadline, "the mirror is not the same");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            let request = proto::etcdserverpb::DeleteRangeRequest {
                key: b"app/0001".to_vec().into(),
                ..Default::default()
            };
            source.api().delete_range(request).await?;
        }
        Ok(())
    });
    peer::say("RAN: make-mirror of pintle ctl");
}
