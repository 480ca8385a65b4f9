//! `pintle upgrade run` where the kubelet runs the members: real etcd, started by
//! a stand-in of the kubelet from the manifests of three nodes, as far as etcd
//! can tell: what lies in a folder runs, what leaves it is stopped, what changes
//! is restarted, what dies is started again.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use peers::{
    api::{self, Api},
    peer::{self, Program},
    ports,
};
use proto::etcdserverpb::*;
use upgrades::{
    operated::{Writers, add_learner, begun, block_on, promote, remember_log, run, subject, until},
    scripted::{outcome, success},
};

const NODES: usize = 3;
const POLL: Duration = Duration::from_millis(50);
const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// The node whose manifest a command reaches, where one run drives all.
const REACHED: usize = 2;

/// A release that no one can pull.
const NO_SUCH: &str = "3.6.99";

/// Runs what lies in one folder.
struct Kubelet {
    stop: Arc<AtomicBool>,
    /// It sees nothing meanwhile; what runs runs on.
    paused: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Kubelet {
    fn start(folder: PathBuf, log: PathBuf, pintle: PathBuf) -> Kubelet {
        let stop = Arc::new(AtomicBool::new(false));
        let over = stop.clone();
        let paused = Arc::new(AtomicBool::new(false));
        let blind = paused.clone();
        let thread = std::thread::spawn(move || {
            let mut pods: BTreeMap<PathBuf, (String, Child)> = BTreeMap::new();
            while !over.load(Ordering::Relaxed) {
                if blind.load(Ordering::Relaxed) {
                    std::thread::sleep(POLL);
                    continue;
                }
                let wanted = manifests(&folder);
                let gone: Vec<PathBuf> = pods
                    .iter_mut()
                    .filter_map(|(path, (text, child))| {
                        let as_wanted = wanted.get(path) == Some(text);
                        let runs = matches!(child.try_wait(), Ok(None));
                        (!as_wanted || !runs).then(|| path.clone())
                    })
                    .collect();
                for path in gone {
                    if let Some((_, child)) = pods.remove(&path) {
                        end(child);
                    }
                }
                for (path, text) in wanted {
                    if pods.contains_key(&path) {
                        continue;
                    }
                    // An image that cannot be pulled is tried again and again.
                    if let Some(child) = launch(&text, &log, &pintle) {
                        pods.insert(path, (text, child));
                    }
                }
                std::thread::sleep(POLL);
            }
            pods.into_values().for_each(|(_, child)| end(child));
        });
        Kubelet {
            stop,
            paused,
            thread: Some(thread),
        }
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Every file that does not begin with a dot.
fn manifests(folder: &Path) -> BTreeMap<PathBuf, String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path()).filter(|path| {
        !path
            .file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with('.'))
    });
    paths
        .filter_map(|path| Some((path.clone(), fs::read_to_string(&path).ok()?)))
        .collect()
}

fn launch(text: &str, log: &Path, pintle: &Path) -> Option<Child> {
    let image = text
        .lines()
        .find_map(|l| l.trim().strip_prefix("image: "))?;
    let tag = image.split('@').next()?.rsplit(':').next()?;
    let version = tag.split('-').next().filter(|v| *v != NO_SUCH)?;
    let program = match image.contains("/pintle:") {
        true => pintle.to_owned(),
        false => peer::etcd(version)?.path,
    };
    let words = text.lines().filter_map(|l| l.trim().strip_prefix("- "));
    let words: Vec<&str> = words.filter(|w| w.starts_with("--")).collect();
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(log)
        .ok()?;
    let mut command = Command::new(program);
    if image.contains("/pintle:") {
        command.arg("server");
    }
    command
        .args(words)
        .stdin(Stdio::null())
        .stdout(log.try_clone().ok()?)
        .stderr(log)
        .process_group(0);
    peers::server::spawn_bound(command).ok()
}

fn end(mut child: Child) {
    if let Some(pid) = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
    {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    for _ in 0..300 {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(POLL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for n in 0..self.ports.len() {
            remember_log(&self.dir.path().join(format!("cp{n}/etcd.log")));
        }
    }
}

/// Some nodes, three if nothing else is said.
struct Nodes {
    dir: tempfile::TempDir,
    ports: Vec<(u16, u16)>,
    pintle: PathBuf,
    kubelets: Vec<Kubelet>,
}

impl Nodes {
    /// A cluster of `release` on nodes whose kubelets run.
    async fn grown(pintle: &Program, release: &str) -> Result<Nodes> {
        let nodes = Nodes::new(pintle, NODES)?;
        nodes.grow(release).await?;
        Ok(nodes)
    }

    fn new(pintle: &Program, count: usize) -> Result<Nodes> {
        let dir = tempfile::tempdir()?;
        let mut taken = Vec::new();
        for _ in 0..count {
            taken.push((ports::claim()?, ports::claim()?));
        }
        let mut kubelets = Vec::new();
        for n in 0..count {
            let folder = dir.path().join(format!("cp{n}/manifests"));
            fs::create_dir_all(&folder)?;
            let log = dir.path().join(format!("cp{n}/etcd.log"));
            kubelets.push(Kubelet::start(folder, log, pintle.path.clone()));
        }
        Ok(Nodes {
            dir,
            ports: taken,
            pintle: pintle.path.clone(),
            kubelets,
        })
    }

    fn manifest(&self, n: usize) -> PathBuf {
        self.dir.path().join(format!("cp{n}/manifests/etcd.yaml"))
    }

    fn apis(&self) -> Vec<Api> {
        self.ports
            .iter()
            .map(|(client, _)| Api::new(*client))
            .collect()
    }

    fn peer(&self, n: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports[n].1)
    }

    /// The manifest that kubeadm would write.
    fn write_manifest(&self, n: usize, release: &str, cluster: &str, state: &str) -> Result<()> {
        let client = format!("http://127.0.0.1:{}", self.ports[n].0);
        let text = format!(
            "# written by the test, in kubeadm's shape\napiVersion: v1\nkind: Pod\nmetadata:\n  annotations:\n    \
             kubeadm.kubernetes.io/etcd.advertise-client-urls: {client}\n  labels:\n    component: etcd\n    \
             tier: control-plane\n  name: etcd\n  namespace: kube-system\nspec:\n  containers:\n  - command:\n    - etcd\n    \
             - --advertise-client-urls={client}\n    - --data-dir={data}\n    - --experimental-initial-corrupt-check=true\n    \
             - --experimental-watch-progress-notify-interval=5s\n    - --initial-advertise-peer-urls={peer}\n    \
             - --initial-cluster={cluster}\n    - --initial-cluster-state={state}\n    - --listen-client-urls={client}\n    \
             - --listen-peer-urls={peer}\n    - --name=cp{n}\n    - --snapshot-count=10000\n    \
             image: registry.example/etcd:{release}-0\n    imagePullPolicy: IfNotPresent\n    livenessProbe:\n      \
             failureThreshold: 8\n      httpGet:\n        host: 127.0.0.1\n        path: /livez\n        port: 2381\n    \
             name: etcd\n  hostNetwork: true\n  priorityClassName: system-node-critical\nstatus: {{}}\n",
            data = self.dir.path().join(format!("cp{n}/data")).display(),
            peer = self.peer(n),
        );
        fs::write(self.dir.path().join(format!("cp{n}/new.yaml")), text)?;
        Ok(fs::rename(
            self.dir.path().join(format!("cp{n}/new.yaml")),
            self.manifest(n),
        )?)
    }

    /// One node, then the others as learners that are promoted: how kubeadm joins.
    async fn grow(&self, release: &str) -> Result<()> {
        let mut cluster = format!("cp0={}", self.peer(0));
        self.write_manifest(0, release, &cluster, "new")?;
        let first = &self.apis()[0];
        for n in 1..self.ports.len() {
            let id = add_learner(first, &self.peer(n)).await?;
            cluster += &format!(",cp{n}={}", self.peer(n));
            self.write_manifest(n, release, &cluster, "existing")?;
            promote(first, id).await?;
        }
        until(async || {
            for api in self.apis() {
                api.range(api::get("x")).await?;
            }
            Ok(())
        })
        .await
    }

    /// The file of members and the journal of a run on node `n` alone, on the way to 3.6.14.
    fn alone(&self, n: usize) -> Result<(PathBuf, PathBuf)> {
        let members = self.members(&[n], &[etcd("3.5.30"), etcd("3.6.14")])?;
        Ok((members, self.dir.path().join(format!("cp{n}/state"))))
    }

    /// The file of members with the manifests of these nodes.
    fn members(&self, local: &[usize], images: &[(&str, String)]) -> Result<PathBuf> {
        let mut text = "driver: static-pod\ntimeout_seconds: 120\nmembers:\n".to_owned();
        for (n, (client, _)) in self.ports.iter().enumerate() {
            text += &format!("  - name: cp{n}\n    endpoint: http://127.0.0.1:{client}\n");
            if local.contains(&n) {
                text += &format!("    manifest: {}\n", self.manifest(n).display());
            }
            // As `ssh cp2 --` would: it runs what stands behind it.
            if local.contains(&n) && local.len() == NODES && n == REACHED {
                text += "    reach: env REACHED=1\n";
            }
        }
        text += "images:\n";
        for (release, image) in images {
            text += &format!("  {release}: {image}\n");
        }
        let nodes: Vec<String> = local.iter().map(ToString::to_string).collect();
        let path = self
            .dir
            .path()
            .join(format!("members-{}.yaml", nodes.join("-")));
        fs::write(&path, text)?;
        Ok(path)
    }

    fn tool(&self, command: &str, members: &Path, state: &Path) -> Command {
        let mut line = Command::new(&self.pintle);
        line.args([
            "upgrade",
            command,
            "--patience=2m",
            "--dial-timeout=8s",
            "--members",
        ])
        .arg(members)
        .arg("--state")
        .arg(state)
        .stdin(Stdio::null());
        line
    }
}

fn etcd(release: &str) -> (&str, String) {
    (
        release,
        format!("registry.example/etcd:{release}-0@{DIGEST}"),
    )
}

fn releases_are_here(releases: &[&str]) -> bool {
    let missing = releases.iter().find(|r| peer::etcd(r).is_none());
    if let Some(release) = missing {
        peer::say(&format!(
            "SKIP: static pods: etcd {release} is not installed"
        ));
    }
    missing.is_none()
}

#[test]
fn manifests_lead_a_sick_cluster_to_3_7_and_a_killed_run_goes_on() {
    let Some(pintle) = subject() else { return };
    if !releases_are_here(&["3.5.16", "3.5.30", "3.6.14", "3.7.1"]) {
        return;
    }
    block_on(async {
        let nodes = Nodes::grown(&pintle, "3.5.16").await?;
        let apis = nodes.apis();
        let pintle_image = ("pintle", format!("registry.example/pintle:0.1.0@{DIGEST}"));
        let images = [etcd("3.5.30"), pintle_image, etcd("3.6.14"), etcd("3.7.1")];
        let members = nodes.members(&[0, 1, 2], &images)?;
        let state = nodes.dir.path().join("state");
        let before: Vec<String> = (0..NODES)
            .map(|n| Ok(fs::read_to_string(nodes.manifest(n))?))
            .collect::<Result<_>>()?;
        // What would be done is shown, and nothing of it is done.
        let dry = nodes
            .tool("run", &members, &state)
            .args(["--target=3.6.14", "--dry-run"])
            .output()?;
        let said = String::from_utf8_lossy(&dry.stdout).into_owned();
        ensure!(
            dry.status.success(),
            "{said}{}",
            String::from_utf8_lossy(&dry.stderr)
        );
        ensure!(
            said.contains("-    image: registry.example/etcd:3.5.16-0")
                && said.contains(&format!(
                    "-    image: registry.example/etcd:3.5.30-0@{DIGEST}"
                ))
                && said.contains(&format!(
                    "+    image: registry.example/etcd:3.6.14-0@{DIGEST}"
                ))
                && said.contains("nothing was done"),
            "{said}"
        );
        ensure!(!state.exists(), "a dry run left {}", state.display());
        let writers = Writers::start(&apis);
        let mut kills = 0;
        for target in ["3.5.30", "pintle", "3.6.14", "3.7.1"] {
            let command = || {
                let mut line = nodes.tool("run", &members, &state);
                line.args(["--target", target]);
                line
            };
            kills += tokio::task::block_in_place(|| run(command, nodes.dir.path(), true))
                .with_context(|| format!("to {target}"))?;
        }
        let acknowledged = writers.end(&apis, "3.7.1").await?;
        ensure!(acknowledged > 0, "no write was acknowledged");
        for (n, before) in before.iter().enumerate() {
            let now = fs::read_to_string(nodes.manifest(n))?;
            let expected = before
                .replace(
                    "registry.example/etcd:3.5.16-0",
                    &format!("registry.example/etcd:3.7.1-0@{DIGEST}"),
                )
                .replace(
                    "--experimental-initial-corrupt-check=",
                    "--feature-gates=InitialCorruptCheck=",
                )
                .replace("--experimental-watch", "--watch");
            ensure!(now == expected, "{now}");
            let left: Vec<_> = fs::read_dir(nodes.manifest(n).parent().context("folder")?)?
                .flatten()
                .map(|e| e.file_name())
                .collect();
            ensure!(left.len() == 1, "{left:?} lie in the folder");
            let kept = fs::read_to_string(state.join(format!("manifests/cp{n}.before.yaml")))?;
            ensure!(kept == *before, "the manifest as it was is not kept");
        }
        peer::say(&format!(
            "RAN: static pods 3.5.16 -> 3.5.30 -> pintle -> 3.6.14 -> 3.7.1, killed {kills} times: {acknowledged} acknowledged writes, none lost"
        ));
        Ok(())
    });
}

#[test]
fn a_new_build_of_pintle_is_put_in_and_taken_out() {
    let Some(pintle) = subject() else { return };
    if !releases_are_here(&["3.5.30"]) {
        return;
    }
    block_on(async {
        let nodes = Nodes::grown(&pintle, "3.5.30").await?;
        let run = |command: &str, build: &str, words: &[&str]| -> Result<()> {
            let image = (
                "pintle",
                format!("registry.example/pintle:{build}@{DIGEST}"),
            );
            let members = nodes.members(&[0, 1, 2], &[image])?;
            let state = nodes.dir.path().join(build);
            let answer = tokio::task::block_in_place(|| {
                nodes.tool(command, &members, &state).args(words).output()
            })?;
            let said =
                String::from_utf8_lossy(&[answer.stdout, answer.stderr].concat()).into_owned();
            ensure!(answer.status.success(), "{}: {said}", answer.status);
            Ok(())
        };
        let texts = || -> Result<Vec<String>> {
            let read = |n| Ok(fs::read_to_string(nodes.manifest(n))?);
            (0..NODES).map(read).collect()
        };
        let all_have = |build: &str| -> Result<Vec<String>> {
            let texts = texts()?;
            let image = format!("pintle:{build}@");
            ensure!(texts.iter().all(|text| text.contains(&image)), "{texts:?}");
            Ok(texts)
        };
        run("run", "0.1.0", &["--target=pintle"])?;
        let before = all_have("0.1.0")?;
        run("run", "0.2.0", &["--target=pintle"])?;
        all_have("0.2.0")?;
        run("rollback", "0.2.0", &[])?;
        ensure!(texts()? == before, "the manifests are not those of before");
        peer::say("RAN: static pods, a new build of Pintle put in and taken out");
        Ok(())
    });
}

#[test]
fn a_run_on_each_node_waits_for_the_others() {
    let Some(pintle) = subject() else { return };
    if !releases_are_here(&["3.5.16", "3.5.30", "3.6.14"]) {
        return;
    }
    block_on(async {
        let nodes = Nodes::grown(&pintle, "3.5.16").await?;
        let apis = nodes.apis();
        let writers = Writers::start(&apis);
        let mut runs = Vec::new();
        for n in 0..NODES {
            let (members, state) = nodes.alone(n)?;
            let log = fs::File::create(nodes.dir.path().join(format!("cp{n}/run.log")))?;
            let child = nodes
                .tool("run", &members, &state)
                .args(["--target=3.6.14", "--others=120s"])
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()?;
            runs.push(child);
        }
        for (n, mut child) in runs.into_iter().enumerate() {
            let status = tokio::task::block_in_place(|| child.wait())?;
            let said = fs::read_to_string(nodes.dir.path().join(format!("cp{n}/run.log")))?;
            ensure!(status.success(), "cp{n}: {status}\n{said}");
            ensure!(
                said.contains("on its own node"),
                "cp{n} did not wait: {said}"
            );
        }
        let turn = apis[0].range(api::get("pintle-upgrade/turn")).await?;
        ensure!(turn.kvs.is_empty(), "a turn was not released: {turn:?}");
        let acknowledged = writers.end(&apis, "3.6.14").await?;
        peer::say(&format!(
            "RAN: static pods, a run on each node 3.5.16 -> 3.5.30 -> 3.6.14: {acknowledged} acknowledged writes, none lost"
        ));
        Ok(())
    });
}

#[test]
fn only_this_node_ends_where_another_is_next_and_goes_on() {
    let Some(pintle) = subject() else { return };
    if !releases_are_here(&["3.5.16", "3.5.30", "3.6.14"]) {
        return;
    }
    block_on(async {
        let nodes = Nodes::grown(&pintle, "3.5.16").await?;
        let apis = nodes.apis();
        let writers = Writers::start(&apis);
        let run_on = |n: usize, patience: &str| -> Result<(Option<i32>, String)> {
            let (members, state) = nodes.alone(n)?;
            let answer = tokio::task::block_in_place(|| {
                nodes
                    .tool("run", &members, &state)
                    .args([
                        "--target=3.6.14",
                        "--only-this-node",
                        "--patience",
                        patience,
                    ])
                    .output()
            })?;
            let said = String::from_utf8_lossy(&answer.stdout).into_owned()
                + &String::from_utf8_lossy(&answer.stderr);
            Ok((answer.status.code(), said))
        };
        // Out of turn: told who is next, and nothing happens.
        let text = fs::read_to_string(nodes.manifest(1))?;
        let (code, said) = run_on(1, "60s")?;
        ensure!(code == Some(4), "{code:?}: {said}");
        ensure!(
            said.contains("in this order: cp0, cp1 (this node), cp2;"),
            "{said}"
        );
        ensure!(fs::read_to_string(nodes.manifest(1))? == text);
        // Another node has a member in hand.
        let turn = "pintle-upgrade/turn";
        apis[0].put(api::put(turn, "cp2")).await?;
        let text = fs::read_to_string(nodes.manifest(0))?;
        let (code, said) = run_on(0, "3s")?;
        ensure!(code == Some(3), "{code:?}: {said}");
        ensure!(said.contains("it is the turn of cp2"), "{said}");
        ensure!(fs::read_to_string(nodes.manifest(0))? == text);
        // A turn that a killed run left is its own, by the id in its folder.
        let id = fs::read_to_string(nodes.dir.path().join("cp0/state/journal.lock"))?;
        let own = format!("cp0 {}", id.trim());
        apis[0].put(api::put(turn, own)).await?;
        let (code, said) = run_on(0, "60s")?;
        ensure!(code == Some(4), "{code:?}: {said}");
        ensure!(said.contains("in this order: cp1, cp2;"), "{said}");
        ensure!(
            apis[0].range(api::get(turn)).await?.kvs.is_empty(),
            "not released"
        );
        let (mut done, mut runs) = ([false; NODES], 2);
        while done.contains(&false) {
            for (n, done) in done.iter_mut().enumerate() {
                if *done {
                    continue;
                }
                let (code, said) = run_on(n, "60s")?;
                ensure!(matches!(code, Some(0 | 4)), "cp{n}: {code:?}: {said}");
                *done = code == Some(0);
                runs += 1;
                ensure!(runs < 20, "no end: {said}");
            }
        }
        let acknowledged = writers.end(&apis, "3.6.14").await?;
        peer::say(&format!(
            "RAN: static pods, one node at a time 3.5.16 -> 3.5.30 -> 3.6.14 in {runs} runs: {acknowledged} acknowledged writes, none lost"
        ));
        Ok(())
    });
}

#[test]
fn an_image_that_does_not_start_is_taken_back_byte_for_byte() {
    let Some(pintle) = subject() else { return };
    if !releases_are_here(&["3.5.30", "3.6.14"]) {
        return;
    }
    block_on(async {
        let nodes = Nodes::grown(&pintle, "3.5.30").await?;
        let before: Vec<String> = (0..NODES)
            .map(|n| Ok(fs::read_to_string(nodes.manifest(n))?))
            .collect::<Result<_>>()?;
        // No one can pull this one.
        let members = nodes.members(&[0, 1, 2], &[etcd(NO_SUCH)])?;
        let state = nodes.dir.path().join("state");
        let answer = nodes
            .tool("run", &members, &state)
            .args(["--target", NO_SUCH, "--patience=8s"])
            .output()?;
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        ensure!(answer.status.code() == Some(3), "{}: {said}", answer.status);
        ensure!(begun(&state.join("journal.jsonl")) == 2, "{said}");
        // Two of three serve all the same.
        let apis = nodes.apis();
        let mut written = 0;
        for api in &apis {
            written += usize::from(api.put(api::put("still", "here")).await.is_ok());
        }
        ensure!(written == 2, "{written} of three take a write");
        // What someone else wrote meanwhile is not taken out.
        let failed = (0..NODES)
            .map(|n| nodes.manifest(n))
            .find(|path| fs::read_to_string(path).is_ok_and(|t| t.contains(NO_SUCH)))
            .context("no manifest with the image")?;
        let written = fs::read_to_string(&failed)?;
        fs::write(&failed, format!("{written}# by hand\n"))?;
        let answer = nodes.tool("rollback", &members, &state).output()?;
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        ensure!(answer.status.code() == Some(1), "{}: {said}", answer.status);
        ensure!(said.contains("was changed since this run began"), "{said}");
        fs::write(&failed, written)?;
        let answer = nodes.tool("rollback", &members, &state).output()?;
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        ensure!(answer.status.success(), "{}: {said}", answer.status);
        until(async || {
            for api in &apis {
                let status = api.status(StatusRequest {}).await?;
                ensure!(status.version == "3.5.30", "{}", status.version);
            }
            Ok(())
        })
        .await?;
        for (n, before) in before.iter().enumerate() {
            ensure!(
                fs::read_to_string(nodes.manifest(n))? == *before,
                "cp{n} differs"
            );
        }
        peer::say("RAN: static pods, rollback of an image that does not start");
        Ok(())
    });
}

#[test]
fn traps_of_the_folder_are_named_before_anything_stops() {
    let Some(pintle) = subject() else { return };
    if !releases_are_here(&["3.5.30", "3.6.14"]) {
        return;
    }
    block_on(async {
        let nodes = Nodes::grown(&pintle, "3.5.30").await?;
        let members = nodes.members(&[0, 1, 2], &[etcd("3.6.14")])?;
        let state = nodes.dir.path().join("state");
        let refused = |members: &Path, state: &Path| -> Result<String> {
            let answer = nodes
                .tool("run", members, state)
                .arg("--target=3.6.14")
                .output()?;
            let said = String::from_utf8_lossy(&answer.stderr).into_owned();
            ensure!(answer.status.code() == Some(1), "{}: {said}", answer.status);
            Ok(said)
        };
        let manifest = nodes.manifest(1);
        let text = fs::read_to_string(&manifest)?;

        // A copy beside it, which the kubelet would start if it could pull the image.
        let copy = manifest.with_extension("yaml.bak");
        let no_start = text.replace(
            "registry.example/etcd:3.5.30-0",
            &format!("registry.example/etcd:{NO_SUCH}-0"),
        );
        fs::write(&copy, no_start)?;
        let said = refused(&members, &state)?;
        ensure!(
            said.contains("the kubelet reads every file of the folder"),
            "{said}"
        );
        fs::remove_file(&copy)?;

        let inside = manifest.parent().context("folder")?.join("state");
        let said = refused(&members, &inside)?;
        ensure!(said.contains("is in the folder of the manifests"), "{said}");
        fs::remove_dir_all(&inside).ok();

        // A link, and the manifest of another member.
        let elsewhere = nodes.dir.path().join("elsewhere.yaml");
        fs::write(&elsewhere, &text)?;
        let file = fs::read_to_string(nodes.members(&[1], &[etcd("3.6.14")])?)?;
        let link = nodes.dir.path().join("link.yaml");
        std::os::unix::fs::symlink(&manifest, &link)?;
        let wrong = |path: &Path, state: &str| -> Result<String> {
            let members = nodes.dir.path().join("wrong.yaml");
            fs::write(
                &members,
                file.replace(&manifest.display().to_string(), &path.display().to_string()),
            )?;
            refused(&members, &nodes.dir.path().join(state))
        };
        let said = wrong(&link, "s4")?;
        ensure!(said.contains("is a link"), "{said}");
        let said = wrong(&nodes.manifest(0), "s5")?;
        ensure!(said.contains("is the manifest of member cp0"), "{said}");
        let said = wrong(&nodes.dir.path().join("none/etcd.yaml"), "s6")?;
        ensure!(said.contains("none"), "{said}");

        // A kept manifest that is not the one that was found.
        let kept = nodes.dir.path().join("s7/manifests");
        fs::create_dir_all(&kept)?;
        fs::write(kept.join("cp1.before.yaml"), &text)?;
        fs::write(kept.join("cp1.before.sha256"), "00  cp1.before.yaml\n")?;
        let said = refused(&members, &nodes.dir.path().join("s7"))?;
        ensure!(
            said.contains("is not the manifest that was found"),
            "{said}"
        );

        let unpinned = [("3.6.14", "registry.example/etcd:3.6.14-0".to_owned())];
        let said = refused(
            &nodes.members(&[0, 1, 2], &unpinned)?,
            &nodes.dir.path().join("s2"),
        )?;
        ensure!(said.contains("has no digest"), "{said}");
        let other = [("3.6.14", format!("registry.example/etcd:3.6.4-0@{DIGEST}"))];
        let said = refused(
            &nodes.members(&[0, 1, 2], &other)?,
            &nodes.dir.path().join("s3"),
        )?;
        ensure!(said.contains("has the tag of 3.6.4"), "{said}");

        for (n, api) in nodes.apis().iter().enumerate() {
            let status = api.status(StatusRequest {}).await?;
            ensure!(status.version == "3.5.30", "cp{n} runs {}", status.version);
        }
        ensure!(
            fs::read_to_string(&manifest)? == text,
            "the manifest was changed"
        );
        peer::say("RAN: static pods, traps of the folder");
        Ok(())
    });
}

/// Starts a command and kills it as soon as `reached` is so.
fn kill_when(command: &mut Command, reached: impl Fn() -> bool) -> Result<()> {
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let deadline = std::time::Instant::now() + Duration::from_secs(120);
    while !reached() {
        ensure!(child.try_wait()?.is_none(), "it ended before");
        ensure!(std::time::Instant::now() < deadline, "it never came there");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill()?;
    child.wait()?;
    Ok(())
}

#[test]
fn a_flush_that_was_interrupted_is_taken_back() {
    let Some(pintle) = subject() else { return };
    if !releases_are_here(&["3.6.14", "3.7.1"]) {
        return;
    }
    block_on(async {
        let nodes = Nodes::grown(&pintle, "3.6.14").await?;
        let members = nodes.members(&[0, 1, 2], &[etcd("3.6.14"), etcd("3.7.1")])?;
        let before: Vec<String> = (0..NODES)
            .map(|n| Ok(fs::read_to_string(nodes.manifest(n))?))
            .collect::<Result<_>>()?;
        let has_flag = |n: usize| {
            fs::read_to_string(nodes.manifest(n))
                .is_ok_and(|t| t.contains("--snapshot-count=1000\n"))
        };
        let is_out = |n: usize| !nodes.manifest(n).exists();
        for (at, reached) in [&is_out as &dyn Fn(usize) -> bool, &has_flag]
            .iter()
            .enumerate()
        {
            let state = nodes.dir.path().join(format!("state{at}"));
            let mut run = nodes.tool("run", &members, &state);
            run.arg("--target=3.7.1");
            tokio::task::block_in_place(|| kill_when(&mut run, || (0..NODES).any(reached)))?;
            let said = success(&mut nodes.tool("rollback", &members, &state))?;
            ensure!(said.contains("taken back"), "{said}");
            for (n, before) in before.iter().enumerate() {
                let now = fs::read_to_string(nodes.manifest(n)).unwrap_or_default();
                ensure!(now == *before, "cp{n} has {now:?}\n{said}");
            }
            for api in nodes.apis() {
                api.put(api::put("still", "serving")).await?;
            }
            // What there was to take back was taken back.
            let (code, said) = outcome(&mut nodes.tool("rollback", &members, &state))?;
            ensure!(
                code == Some(0) && said.contains("there was nothing to do"),
                "{said}"
            );
        }
        peer::say("RAN: static pods, a flush interrupted in two places and taken back");
        Ok(())
    });
}

#[test]
fn what_a_stop_took_out_is_put_back_and_what_is_missing_stops_nothing() {
    let Some(pintle) = subject() else { return };
    if !releases_are_here(&["3.5.16", "3.5.30", "3.6.14"]) {
        return;
    }
    block_on(async {
        let nodes = Nodes::grown(&pintle, "3.5.16").await?;
        let all = [etcd("3.5.30"), etcd("3.6.14")];
        let members = |seconds: u64| -> Result<PathBuf> {
            let path = nodes.members(&[0, 1, 2], &all)?;
            let text = fs::read_to_string(&path)?;
            let limit = format!("timeout_seconds: {seconds}");
            fs::write(&path, text.replace("timeout_seconds: 120", &limit))?;
            Ok(path)
        };
        let state = nodes.dir.path().join("state");
        let run = |to: &str, seconds: u64| -> Result<Command> {
            let mut line = nodes.tool("run", &members(seconds)?, &state);
            line.args(["--target", to]);
            Ok(line)
        };
        let texts = || -> Result<Vec<String>> {
            let read = |n| Ok(fs::read_to_string(nodes.manifest(n))?);
            (0..NODES).map(read).collect()
        };
        let pause = |paused: bool| {
            for kubelet in &nodes.kubelets {
                kubelet.paused.store(paused, Ordering::Relaxed);
            }
        };
        // No kubelet sees the folder: the member is never stopped, and must not be later.
        let before = texts()?;
        pause(true);
        let (code, said) = outcome(&mut run("3.5.30", 5)?)?;
        pause(false);
        ensure!(code == Some(3), "{code:?}: {said}");
        ensure!(
            said.contains("is the kubelet running") && said.contains("back in its place"),
            "{said}"
        );
        ensure!(
            said.contains("the cluster serves: all 3 voters do"),
            "{said}"
        );
        ensure!(texts()? == before, "a manifest is not as it was");
        success(&mut run("3.5.30", 120)?)?;
        // One member goes to the next release. The way back is not what was found at first,
        // so it takes an image, and that is left out of the file.
        let before = texts()?;
        let is_swapped = |n| {
            let text = fs::read_to_string(nodes.manifest(n));
            text.is_ok_and(|text| text.contains("etcd:3.6.14-0"))
        };
        let mut next = run("3.6.14", 120)?;
        tokio::task::block_in_place(|| kill_when(&mut next, || (0..NODES).any(is_swapped)))?;
        let half = texts()?;
        let less = nodes.members(&[0, 1, 2], &all[1..])?;
        let (code, said) = outcome(&mut nodes.tool("rollback", &less, &state))?;
        ensure!(
            code == Some(1) && said.contains("no image is named for 3.5.30"),
            "{code:?}: {said}"
        );
        ensure!(texts()? == half, "a manifest was touched");
        success(&mut nodes.tool("rollback", &members(120)?, &state))?;
        ensure!(texts()? == before, "a manifest is not as it was");
        peer::say("RAN: static pods, no kubelet, and a rollback without its image");
        Ok(())
    });
}

#[test]
fn one_node_goes_forth_killed_in_every_step_and_back_byte_for_byte() {
    let Some(pintle) = subject() else { return };
    if !releases_are_here(&["3.5.30", "3.6.14", "3.7.1"]) {
        return;
    }
    block_on(async {
        let nodes = Nodes::new(&pintle, 1)?;
        nodes.grow("3.5.30").await?;
        let api = &nodes.apis()[0];
        api.put(api::put("on 3.5", "here")).await?;
        let members = nodes.members(&[0], &[etcd("3.5.30"), etcd("3.6.14"), etcd("3.7.1")])?;
        let mut kills = 0;
        for (at, target) in [("3.5.30", "3.6.14"), ("3.6.14", "3.7.1")] {
            let before = fs::read_to_string(nodes.manifest(0))?;
            // The state of each way is one of its own: its manifest is what `at` ran by.
            let dir = nodes.dir.path().join(target);
            fs::create_dir(&dir)?;
            let state = dir.join("state");
            let command = || {
                let mut line = nodes.tool("run", &members, &state);
                line.args(["--target", target]);
                line
            };
            kills += tokio::task::block_in_place(|| run(command, &dir, true))
                .with_context(|| format!("to {target}"))?;
            let (code, said) = outcome(&mut nodes.tool("rollback", &members, &state))?;
            ensure!(
                code == Some(0) && said.contains("taken back"),
                "{target}: {code:?}: {said}"
            );
            let after = fs::read_to_string(nodes.manifest(0))?;
            ensure!(after == before, "{target}: {after}");
            let status = until(async || Ok(api.status(StatusRequest {}).await?)).await?;
            ensure!(status.version == at, "{target}: {} runs", status.version);
            let (code, said) = outcome(&mut command())?;
            ensure!(code == Some(0), "{target} again: {code:?}: {said}");
        }
        let kept = until(async || Ok(api.range(api::get("on 3.5")).await?)).await?;
        ensure!(kept.kvs.len() == 1, "a write of 3.5 is lost");
        peer::say(&format!(
            "RAN: static pod on one node, 3.5.30 -> 3.6.14 -> 3.7.1 and back each time, killed {kills} times"
        ));
        Ok(())
    });
}
