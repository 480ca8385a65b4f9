//! A cluster whose members scripts stop and start, as an operator would have them, and the
//! file of members that names those scripts to `pintle upgrade run`.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use peers::{
    api::{self, Api},
    peer::{self, Program},
    ports,
};
use proto::etcdserverpb::*;

use crate::{
    certificates,
    operated::{add_learner, promote, remember_log, until},
    proxy::Proxy,
};

/// Members of such a cluster, if nothing else is said.
pub const MEMBERS: usize = 3;

/// The cluster. Every start and stop by its scripts is a line in its file `events`.
pub struct Scripted {
    /// Scripts, data directories, logs.
    pub dir: tempfile::TempDir,
    /// Client and peer port of each member.
    pub ports: Vec<(u16, u16)>,
    /// What the members listen on by TLS for clients with a certificate; none without TLS.
    secure: Vec<u16>,
    /// Between the tool and the members; none without them.
    pub proxies: Vec<Proxy>,
    pintle: PathBuf,
}

/// How the tool reaches the members.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    Tls,
    Proxied,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        for n in 0..self.ports.len() {
            let _ = self.script("stop.sh", n, "");
            remember_log(&self.at(&format!("m{n}.log")));
        }
    }
}

/// Starts `$1` with the release `$2` and further flags; one that runs is left as it is.
const START: &str = r#"#!/bin/sh
# start.sh MEMBER RELEASE FLAGS
m=$1; r=$2; shift 2
echo "start $m $r${*:+ $*}" >>AT/events
# One that has ended and was not waited for yet does not run.
grep -qs '^State:[^Z]*$' "/proc/$(cat AT/$m.pid 2>/dev/null)/status" && exit 0
case $r in
BINARIES*) echo "no binary for $r" >&2; exit 1;;
esac
case $m in
PORTSesac
setsid $b --name=$m --data-dir=AT/$m --listen-client-urls=http://127.0.0.1:$c$s --advertise-client-urls=$a \
  --listen-peer-urls=http://127.0.0.1:$p --initial-advertise-peer-urls=http://127.0.0.1:$p $t $JOIN "$@" >>AT/$m.log 2>&1 </dev/null &
echo $! >AT/$m.pid
"#;

/// Stops `$1` and waits for its end.
const STOP: &str = r#"#!/bin/sh
echo "stop $1" >>AT/events
p=$(cat AT/$1.pid 2>/dev/null) || exit 0
# One that has ended and was not waited for yet does not run.
runs() { grep -qs '^State:[^Z]*$' /proc/$p/status; }
kill $p 2>/dev/null
i=0; while [ $i -lt 600 ]; do runs || exit 0; sleep 0.1; i=$((i+1)); done
kill -9 $p
"#;

impl Scripted {
    /// The scripts; no member runs.
    pub fn new(pintle: &Program, releases: &[&str]) -> Result<Scripted> {
        Scripted::with(pintle, releases, MEMBERS, Way::Plain)
    }

    /// The same where the tool reaches every member by a proxy, and by nothing else.
    pub fn proxied(pintle: &Program, releases: &[&str]) -> Result<Scripted> {
        Scripted::with(pintle, releases, MEMBERS, Way::Proxied)
    }

    /// The same with one member.
    pub fn alone(pintle: &Program, releases: &[&str]) -> Result<Scripted> {
        Scripted::with(pintle, releases, 1, Way::Plain)
    }

    /// The same with TLS for the tool: `ca.crt`, `client.crt` and `client.key` are its files.
    pub fn secure(pintle: &Program, releases: &[&str]) -> Result<Scripted> {
        Scripted::with(pintle, releases, MEMBERS, Way::Tls)
    }

    fn with(pintle: &Program, releases: &[&str], size: usize, way: Way) -> Result<Scripted> {
        let mut cluster = Scripted {
            dir: tempfile::tempdir()?,
            ports: Vec::new(),
            secure: Vec::new(),
            proxies: Vec::new(),
            pintle: pintle.path.clone(),
        };
        for _ in 0..size {
            cluster.ports.push((ports::claim()?, ports::claim()?));
            if way == Way::Tls {
                cluster.secure.push(ports::claim()?);
            }
            if way == Way::Proxied {
                let to = cluster.ports.last().map_or(0, |(client, _)| *client);
                cluster.proxies.push(Proxy::start(ports::claim()?, to)?);
            }
        }
        if way == Way::Tls {
            certificates::write(cluster.dir.path(), 365)?;
        }
        cluster.write_scripts(releases)?;
        cluster.write_members(releases)?;
        Ok(cluster)
    }

    fn write_scripts(&self, releases: &[&str]) -> Result<()> {
        let at = self.dir.path().display().to_string();
        let mut binaries = format!("pintle) b='{} server';;\n", self.pintle.display());
        for release in releases {
            let program = peer::etcd(release).with_context(|| format!("etcd {release}"))?;
            binaries += &format!("{release}) b={};;\n", program.path.display());
        }
        let mut places = String::new();
        for (n, (client, peer)) in self.ports.iter().enumerate() {
            let (also, tls) = match self.secure.get(n) {
                Some(port) => (
                    format!(",https://127.0.0.1:{port}"),
                    "--cert-file=AT/server.crt --key-file=AT/server.key --trusted-ca-file=AT/ca.crt --client-cert-auth",
                ),
                None => (String::new(), ""),
            };
            let url = self.url(n);
            places += &format!("m{n}) c={client}; p={peer}; s={also}; a={url}; t='{tls}';;\n");
        }
        let start = START
            .replace("BINARIES", &binaries)
            .replace("PORTS", &places);
        for (name, text) in [("start.sh", start.as_str()), ("stop.sh", STOP)] {
            self.write_script(name, &text.replace("AT/", &format!("{at}/")))?;
        }
        Ok(())
    }

    /// Writes a script of the cluster, or another one in its place.
    pub fn write_script(&self, name: &str, text: &str) -> Result<()> {
        let path = self.dir.path().join(name);
        fs::write(&path, text)?;
        Ok(fs::set_permissions(
            &path,
            fs::Permissions::from_mode(0o755),
        )?)
    }

    fn write_members(&self, releases: &[&str]) -> Result<()> {
        let at = self.dir.path().display();
        let mut members = String::from("members:\n");
        for n in 0..self.ports.len() {
            members += &format!(
                "  - name: m{n}\n    endpoint: {}\n    stop: {at}/stop.sh m{n}\n    start: {at}/start.sh m{n} $VERSION $EXTRA_FLAGS\n",
                self.url(n)
            );
        }
        members += &format!("binaries:\n  pintle: {}\n", self.pintle.display());
        for release in releases {
            if let Some(program) = peer::etcd(release) {
                members += &format!("  {release}: {}\n", program.path.display());
            }
        }
        Ok(fs::write(self.at("members.yaml"), members)?)
    }

    /// Where the tool reaches a member.
    pub fn url(&self, member: usize) -> String {
        match (self.secure.get(member), self.proxies.get(member)) {
            (Some(port), _) => format!("https://127.0.0.1:{port}"),
            (None, Some(proxy)) => format!("http://127.0.0.1:{}", proxy.port),
            (None, None) => format!("http://127.0.0.1:{}", self.ports[member].0),
        }
    }

    /// A file in the folder of the cluster.
    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a script of the cluster.
    pub fn script(&self, name: &str, member: usize, release: &str) -> Result<()> {
        self.script_joining(name, member, release, "")
    }

    fn script_joining(&self, name: &str, member: usize, release: &str, join: &str) -> Result<()> {
        let status = Command::new(self.at(name))
            .arg(format!("m{member}"))
            .args((!release.is_empty()).then_some(release))
            .env("JOIN", join)
            .status()?;
        ensure!(status.success(), "{name} m{member}: {status}");
        Ok(())
    }

    /// A client of one member, without TLS.
    pub fn api(&self, member: usize) -> Api {
        Api::new(self.ports[member].0)
    }

    /// One member, then the others as learners that are promoted: how kubeadm joins.
    pub async fn grow(&self, release: &str) -> Result<()> {
        let peer = |n: usize| format!("http://127.0.0.1:{}", self.ports[n].1);
        let mut initial = format!("m0={}", peer(0));
        let join = format!("--initial-cluster={initial} --initial-cluster-state=new");
        self.script_joining("start.sh", 0, release, &join)?;
        for n in 1..self.ports.len() {
            let id = add_learner(&self.api(0), &peer(n)).await?;
            initial += &format!(",m{n}={}", peer(n));
            let join = format!("--initial-cluster={initial} --initial-cluster-state=existing");
            self.script_joining("start.sh", n, release, &join)?;
            promote(&self.api(0), id).await?;
        }
        until(async || {
            for n in 0..self.ports.len() {
                self.api(n).range(api::get("x")).await?;
            }
            Ok(())
        })
        .await
    }

    /// `pintle upgrade COMMAND` on this cluster.
    pub fn tool(&self, command: &str, target: &str) -> Command {
        let mut line = Command::new(&self.pintle);
        line.args(["upgrade", command, "--patience=2m", "--dial-timeout=8s"])
            .arg("--members")
            .arg(self.at("members.yaml"))
            .arg("--state")
            .arg(self.at("state"))
            .stdin(Stdio::null());
        if !target.is_empty() {
            line.args(["--target", target]);
        }
        line
    }

    /// The journal of the run that is under way.
    pub fn journal(&self) -> PathBuf {
        self.at("state").join("journal.jsonl")
    }

    /// What the scripts have done.
    pub fn events(&self) -> String {
        fs::read_to_string(self.at("events")).unwrap_or_default()
    }

    /// What each member runs.
    pub async fn versions(&self) -> Result<Vec<String>> {
        let mut versions = Vec::new();
        for n in 0..self.ports.len() {
            match self.api(n).status(StatusRequest {}).await {
                Ok(status) => versions.push(status.version),
                Err(error) => bail!("m{n}: {error}"),
            }
        }
        Ok(versions)
    }

    /// Whether a member has a process.
    pub fn runs(&self, member: usize) -> bool {
        let pid = fs::read_to_string(self.at(&format!("m{member}.pid"))).unwrap_or_default();
        let status = fs::read_to_string(format!("/proc/{}/status", pid.trim()));
        let state = |line: &str| line.starts_with("State:") && !line.contains('Z');
        status.is_ok_and(|status| status.lines().any(state))
    }

    /// A member dies as by a power failure.
    pub fn crash(&self, member: usize) -> Result<()> {
        self.signal(member, "-KILL")
    }

    /// A signal, as `kill` names it, to the process of a member.
    pub fn signal(&self, member: usize, signal: &str) -> Result<()> {
        let pid = fs::read_to_string(self.at(&format!("m{member}.pid")))?;
        let killed = Command::new("kill").args([signal, pid.trim()]).status()?;
        ensure!(killed.success(), "m{member} did not run");
        Ok(())
    }
}

/// What a command printed, and its exit code.
pub fn outcome(command: &mut Command) -> Result<(Option<i32>, String)> {
    let answer = tokio::task::block_in_place(|| command.output())?;
    let said = String::from_utf8_lossy(&[answer.stdout, answer.stderr].concat()).into_owned();
    Ok((answer.status.code(), said))
}

/// What a command printed that must end with 0.
pub fn success(command: &mut Command) -> Result<String> {
    let (code, said) = outcome(command)?;
    ensure!(code == Some(0), "{code:?}: {said}");
    Ok(said)
}

/// Whether the releases are here.
pub fn have(releases: &[&str]) -> bool {
    let missing = releases
        .iter()
        .find(|release| peer::etcd(release).is_none());
    if let Some(release) = missing {
        peer::say(&format!("SKIP: etcd {release} is not installed"));
    }
    missing.is_none()
}
