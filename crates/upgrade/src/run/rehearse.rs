//! A rehearsal: the cluster rebuilt from a backup on loopback, in a scratch
//! folder, and the plan walked there with the real binaries. Nothing touches the
//! live cluster but the backup.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use cli::private;
use semver::Version;
use tokio::process::{Child, Command};

use super::{
    Driver, Engine, Journal, Stop,
    driver::{Launch, Managed, release, versions},
};
use crate::{
    failure::{Failure, Outcome},
    inspect::Access,
    target::Target,
};

/// What a rehearsal needs.
pub(crate) struct Rehearsal<'a> {
    /// The backup.
    pub(crate) backup: &'a Path,
    /// Members to rebuild.
    pub(crate) members: usize,
    /// Where; it is emptied afterwards.
    pub(crate) scratch: &'a Path,
    /// Binaries by release; `pintle` for Pintle.
    pub(crate) binaries: BTreeMap<String, PathBuf>,
    /// The release to begin with.
    pub(crate) from: Version,
    /// Where the way leads.
    pub(crate) target: Target,
    /// Limit for a member to come back.
    pub(crate) patience: Duration,
}

struct Local<'a> {
    of: &'a Rehearsal<'a>,
    members: Vec<(Managed, u16, u16)>,
    running: BTreeMap<String, Child>,
}

/// How long a member may take to stop.
const STOP: Duration = Duration::from_secs(15);

/// Two free ports of loopback.
fn ports() -> Outcome<(u16, u16)> {
    let bind = || {
        TcpListener::bind(("127.0.0.1", 0)).map_err(|e| Failure::new(format!("no free port: {e}")))
    };
    let (a, b) = (bind()?, bind()?);
    let port = |l: &TcpListener| l.local_addr().map(|a| a.port()).map_err(Failure::new);
    Ok((port(&a)?, port(&b)?))
}

impl Local<'_> {
    fn data_dir(&self, member: &str) -> PathBuf {
        self.of.scratch.join(member)
    }

    /// Memory of all members and what reads take, in words.
    async fn state(&self, access: &Access) -> String {
        let resident = |child: &Child| -> Option<u64> {
            let text = std::fs::read_to_string(format!("/proc/{}/status", child.id()?)).ok()?;
            let line = text.lines().find(|line| line.starts_with("VmRSS:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        };
        let kib: Vec<u64> = self.running.values().filter_map(resident).collect();
        let memory = kib.iter().sum::<u64>() * 1024;
        let endpoints: Vec<(String, String)> = self
            .members
            .iter()
            .map(|(m, _, _)| (m.name.clone(), m.endpoint.clone()))
            .collect();
        let reads = match super::look::once(access, &endpoints).await {
            Ok(seen) => format!("reads take {:.1} ms", seen.latency.as_secs_f64() * 1e3),
            Err(why) => why,
        };
        format!(
            "{} members hold {} of memory, {reads}",
            kib.len(),
            cli::text::size(memory)
        )
    }

    fn initial_cluster(&self) -> String {
        let parts: Vec<String> = self
            .members
            .iter()
            .map(|(m, _, peer)| format!("{}=http://127.0.0.1:{peer}", m.name))
            .collect();
        parts.join(",")
    }
}

impl Driver for Local<'_> {
    fn members(&self) -> Vec<Managed> {
        self.members.iter().map(|(m, _, _)| m.clone()).collect()
    }

    fn available(&self) -> Vec<Version> {
        versions(&self.of.binaries)
    }

    fn ready_for(&self, _member: &str, launch: &Launch) -> Outcome<()> {
        let name = release(&launch.version, launch.pintle);
        match self.of.binaries.contains_key(&name) {
            true => Ok(()),
            false => Err(Failure::new(format!(
                "no binary for {name}; give --binary {name}=PATH"
            ))),
        }
    }

    async fn stop(&mut self, member: &str) -> Outcome<()> {
        let Some(mut child) = self.running.remove(member) else {
            return Ok(());
        };
        if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok())
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if tokio::time::timeout(STOP, child.wait()).await.is_err() {
            return Err(Failure::new(format!(
                "{member} did not stop within {STOP:?}"
            )));
        }
        Ok(())
    }

    async fn start(&mut self, member: &str, launch: &Launch) -> Outcome<()> {
        let name = release(&launch.version, launch.pintle);
        let binary = self.of.binaries.get(&name).ok_or_else(|| {
            Failure::new(format!("no binary for {name}; give --binary {name}=PATH"))
        })?;
        let Some((_, client, peer)) = self.members.iter().find(|(m, _, _)| m.name == member) else {
            return Err(Failure::new(format!("there is no member {member}")));
        };
        let log = self.of.scratch.join(format!("{member}.log"));
        let log = private::append(&log).map_err(|e| Failure::io("open", &log, &e))?;
        let copy = log.try_clone().map_err(Failure::new)?;
        let mut command = Command::new(binary);
        if launch.pintle {
            command.arg("server");
        }
        command
            .arg(format!("--name={member}"))
            .arg(format!("--data-dir={}", self.data_dir(member).display()))
            .arg(format!("--listen-client-urls=http://127.0.0.1:{client}"))
            .arg(format!("--advertise-client-urls=http://127.0.0.1:{client}"))
            .arg(format!("--listen-peer-urls=http://127.0.0.1:{peer}"))
            .arg(format!(
                "--initial-advertise-peer-urls=http://127.0.0.1:{peer}"
            ))
            .arg(format!("--initial-cluster={}", self.initial_cluster()))
            .arg("--initial-cluster-token=rehearsal")
            .args(&launch.flags)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(copy)
            .kill_on_drop(true);
        let child = command
            .spawn()
            .map_err(|e| Failure::io("start", binary, &e))?;
        self.running.insert(member.to_owned(), child);
        Ok(())
    }
}

/// Rebuilds, walks, reports. Every process it started has ended when it returns.
pub(crate) async fn rehearse(of: &Rehearsal<'_>, say: &dyn Fn(&str)) -> Result<String, Stop> {
    let began = Instant::now();
    let mut local = Local {
        of,
        members: Vec::new(),
        running: BTreeMap::new(),
    };
    for n in 1..=of.members {
        let (client, peer) = ports()?;
        local.members.push((
            Managed {
                name: format!("r{n}"),
                endpoint: format!("http://127.0.0.1:{client}"),
                stop: String::new(),
                start: String::new(),
                manifest: None,
                reach: None,
                data_dir: None,
            },
            client,
            peer,
        ));
    }
    let all = local.initial_cluster();
    for (member, _, peer) in &local.members {
        let words = [
            "etcdutl".to_owned(),
            "snapshot".into(),
            "restore".into(),
            of.backup.display().to_string(),
            format!("--data-dir={}", local.data_dir(&member.name).display()),
            format!("--name={}", member.name),
            format!("--initial-cluster={all}"),
            "--initial-cluster-token=rehearsal".into(),
            format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
        ];
        if utl::main(words.into()) != 0 {
            return Err(Failure::new("the backup cannot be restored").into());
        }
    }
    say(&format!(
        "{} members restored on loopback in {:.1} s",
        of.members,
        began.elapsed().as_secs_f64()
    ));
    let names: Vec<String> = local
        .members
        .iter()
        .map(|(m, _, _)| m.name.clone())
        .collect();
    for name in &names {
        local.start(name, &Launch::of(&of.from, false)).await?;
    }
    let access = Access {
        tls: None,
        tls_by_default: false,
        probe: None,
        credentials: None,
        dial_timeout: Duration::from_secs(2),
        command_timeout: Duration::from_secs(10),
        scratch: Some(of.scratch.to_path_buf()),
        pages: false,
        stream_rate: 0,
        hash_at: 0,
    };
    let walked = Instant::now();
    let outcome = walk(&mut local, &access, of, say).await;
    let took = walked.elapsed();
    let after = local.state(&access).await;
    for name in &names {
        local.stop(name).await?;
    }
    let before = outcome?;
    Ok(format!(
        "the way to {} was walked in {:.1} s, one member at a time, with no deviation\n\
         before: {before}\nafter:  {after}",
        of.target,
        took.as_secs_f64()
    ))
}

async fn walk(
    local: &mut Local<'_>,
    access: &Access,
    of: &Rehearsal<'_>,
    say: &dyn Fn(&str),
) -> Result<String, Stop> {
    let journal = Journal::open(of.scratch)?;
    let endpoints: Vec<(String, String)> = local
        .members()
        .into_iter()
        .map(|m| (m.name, m.endpoint))
        .collect();
    let ready = super::look::until(access, &endpoints, of.patience, |_| Ok(())).await;
    ready.map_err(|why| Stop::Deviated {
        step: format!("start the rebuilt cluster on {}", of.from),
        why,
        state: String::new(),
    })?;
    let before = local.state(access).await;
    let mut engine = Engine {
        driver: local,
        cluster: access,
        journal,
        patience: of.patience,
        others: of.patience,
        only_here: false,
        baseline: None,
        say,
    };
    engine.begin(&of.target, false, true).await?;
    engine.run().await?;
    Ok(before)
}
