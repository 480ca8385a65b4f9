//! A rehearsal: the cluster rebuilt on loopback, in a scratch folder, and the plan
//! walked there with the real binaries. From copies of the directories where they
//! can be reached, else from a backup, into which the sick records that its database
//! holds are planted. Nothing touches the live cluster.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use bolt::Batch;
use cli::private;
use membership::cluster::{Member, MemberId};
use semver::Version;
use tokio::process::{Child, Command};

use super::{
    begin::Allow,
    driver::{Driver, Launch, Managed, release, versions},
    engine::{Engine, Stop},
    journal::Journal,
    look,
    rebuilt::{self, Addresses, Source},
};
use crate::{
    failure::{Failure, Outcome},
    inspect::{self, Access},
    target::Target,
};

/// What a rehearsal needs.
pub(crate) struct Rehearsal<'a> {
    /// The backup, where there are no directories.
    pub(crate) backup: &'a Path,
    /// Directories of all members, stopped or copied.
    pub(crate) dirs: &'a [PathBuf],
    /// Members to rebuild.
    pub(crate) members: usize,
    /// Where; it is emptied afterwards.
    pub(crate) scratch: &'a Path,
    /// Binaries by release; `pintle` for Pintle.
    pub(crate) binaries: BTreeMap<String, PathBuf>,
    /// What to begin with.
    pub(crate) from: Target,
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
    /// Its directory, by a name of its own: names of members may be anything.
    fn data_dir(&self, member: &str) -> PathBuf {
        let at = self.members.iter().position(|(m, _, _)| m.name == member);
        self.of
            .scratch
            .join(format!("r{}", at.unwrap_or_default() + 1))
    }

    /// Members by these names, on free ports.
    fn settle(&mut self, names: &[String]) -> Outcome<()> {
        for name in names {
            let (client, peer) = ports()?;
            let managed = Managed::at(name, &format!("http://127.0.0.1:{client}"));
            self.members.push((managed, client, peer));
        }
        Ok(())
    }

    /// Rebuilds the members from their directories.
    fn copy(&mut self) -> Outcome<String> {
        let mut sources = Vec::new();
        for dir in self.of.dirs {
            sources.push(Source::read(dir)?);
        }
        let truth = sources.first().map(Source::members).unwrap_or_default();
        let lacking: Vec<String> = truth
            .iter()
            .filter(|m| sources.iter().all(|s| s.id() != m.id))
            .map(|m| m.name.clone())
            .collect();
        if !lacking.is_empty() {
            return Err(Failure::new(format!(
                "--data-dir: the directories of {} are missing; without those of all members rehearse from a backup",
                lacking.join(", ")
            )));
        }
        let names: Vec<String> = sources.iter().map(|s| s.name.clone()).collect();
        self.settle(&names)?;
        let ids = sources.iter().map(Source::id);
        let addresses = self.addresses(ids)?;
        for source in &sources {
            source.rebuild(&self.data_dir(&source.name), &addresses, true)?;
        }
        Ok(format!(
            "{} members rebuilt from their directories, as they are but for addresses",
            names.len()
        ))
    }

    /// Addresses of the members, whose ids are given in their order.
    fn addresses(&self, ids: impl Iterator<Item = MemberId>) -> Outcome<Addresses> {
        let urls = self
            .members
            .iter()
            .map(|(_, _, peer)| format!("http://127.0.0.1:{peer}"));
        let (nowhere, _) = ports()?;
        Ok(Addresses {
            of: ids.zip(urls).collect(),
            nowhere: format!("http://127.0.0.1:{nowhere}"),
        })
    }

    /// Restores the backup, and plants what is sick in its database.
    fn restore(&mut self) -> Outcome<String> {
        let sick = Sick::of(self.of.backup)?;
        let members = sick
            .as_ref()
            .map_or(self.of.members, |sick| sick.truth.len());
        let names: Vec<String> = (1..=members).map(|n| format!("r{n}")).collect();
        self.settle(&names)?;
        let all = self.initial_cluster();
        for (member, _, peer) in &self.members {
            let mut dir = self.data_dir(&member.name);
            if sick.is_some() {
                dir.set_extension("restored");
            }
            let words = [
                "etcdutl".to_owned(),
                "snapshot".into(),
                "restore".into(),
                self.of.backup.display().to_string(),
                format!("--data-dir={}", dir.display()),
                format!("--name={}", member.name),
                format!("--initial-cluster={all}"),
                "--initial-cluster-token=rehearsal".into(),
                format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
            ];
            if utl::main(words.into()) != 0 {
                return Err(Failure::new("the backup cannot be restored"));
            }
        }
        let Some(sick) = sick else {
            return Ok(format!(
                "{members} members restored from the backup; its database has no sick record to plant"
            ));
        };
        self.plant(&sick)?;
        Ok(format!(
            "{members} members restored from the backup; planted from its database: {}",
            sick.words
        ))
    }

    fn plant(&self, sick: &Sick) -> Outcome<()> {
        let restored = |name: &str| self.data_dir(name).with_extension("restored");
        let mut sources = Vec::new();
        for (member, _, _) in &self.members {
            sources.push(Source::read(&restored(&member.name))?);
        }
        let addresses = self.addresses(sources.iter().map(Source::id))?;
        let mut batch = Batch::new();
        for record in &sick.records {
            let at = sick.truth.iter().position(|id| *id == record.id);
            let mut planted = record.clone();
            planted.peer_urls = vec![addresses.nowhere.clone()];
            let same = at.and_then(|at| Some((sources.get(at)?, self.members.get(at)?)));
            if let Some((source, (member, _, _))) = same {
                planted.id = source.id();
                planted.peer_urls = vec![addresses.of[&source.id()].clone()];
                if !planted.name.is_empty() {
                    planted.name.clone_from(&member.name);
                }
            }
            batch.put("members", planted.id.to_string(), planted.to_json());
        }
        for (source, (member, _, _)) in sources.iter().zip(&self.members) {
            let dir = self.data_dir(&member.name);
            // With a young log, as where the promotions are after the newest snapshot: no
            // release corrects the records at boot there.
            source.rebuild(&dir, &addresses, false)?;
            let path = dir.join("member").join("snap").join("db");
            rebuilt::write(&path, &batch)
                .map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
        }
        Ok(())
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
        let reads = match look::once(access, &endpoints).await {
            Ok(seen) => format!("reads take {:.1} ms", seen.latency.as_secs_f64() * 1e3),
            Err(why) => why.to_string(),
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
        let log = self.data_dir(member).with_extension("log");
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

/// What the database of a backup has otherwise than the cluster it was taken from.
struct Sick {
    /// The members in truth.
    truth: Vec<MemberId>,
    /// All records of members.
    records: Vec<Member>,
    words: String,
}

impl Sick {
    /// Holds the records against the member list beside the backup, or else against
    /// raft's configuration in it. `None` where nothing is sick, or no truth is known.
    fn of(backup: &Path) -> Outcome<Option<Sick>> {
        let database = inspect::metadata(backup)?;
        let beside = std::fs::read(backup.with_extension("json")).unwrap_or_default();
        let beside: serde_json::Value = serde_json::from_slice(&beside).unwrap_or_default();
        let listed: Vec<Member> = beside
            .get("members")
            .and_then(|list| serde_json::from_value(list.clone()).ok())
            .unwrap_or_default();
        let state = database.members.conf_state.as_ref();
        let truth: Vec<MemberId> = match listed.is_empty() {
            false => listed
                .iter()
                .filter(|m| !m.is_learner)
                .map(|m| m.id)
                .collect(),
            true => state.map_or_else(Vec::new, |s| {
                s.voters.iter().map(|id| MemberId(*id)).collect()
            }),
        };
        let records = database.members.members;
        let count = |what: &str, is: &dyn Fn(&Member) -> bool| match records
            .iter()
            .filter(|m| is(m))
            .count()
        {
            0 => None,
            n => Some(format!("{n} {what}")),
        };
        let votes = |m: &Member| truth.contains(&m.id);
        let words: Vec<String> = [
            count("voters recorded as learners", &|m| votes(m) && m.is_learner),
            count("records without a name", &|m| votes(m) && m.name.is_empty()),
            count("records of members that are gone", &|m| {
                !votes(m) && !m.is_learner
            }),
        ]
        .into_iter()
        .flatten()
        .collect();
        let is_known = (1..=MEMBERS_MAX).contains(&truth.len());
        Ok((is_known && !words.is_empty()).then(|| Sick {
            truth,
            records,
            words: words.join(", "),
        }))
    }
}

/// Members that one machine rehearses with.
const MEMBERS_MAX: usize = 7;

/// Rebuilds, walks, reports. Every process it started has ended when it returns.
pub(crate) async fn rehearse(of: &Rehearsal<'_>, say: &dyn Fn(&str)) -> Result<String, Stop> {
    let began = Instant::now();
    let mut local = Local {
        of,
        members: Vec::new(),
        running: BTreeMap::new(),
    };
    let how = match of.dirs.is_empty() {
        true => local.restore()?,
        false => local.copy()?,
    };
    say(&format!(
        "{how}, on loopback in {:.1} s",
        began.elapsed().as_secs_f64()
    ));
    let names: Vec<String> = local
        .members
        .iter()
        .map(|(m, _, _)| m.name.clone())
        .collect();
    for name in &names {
        let launch = Launch::of(&of.from.version, of.from.is_pintle);
        local.start(name, &launch).await?;
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
    let ready = look::until(access, &endpoints, of.patience, |_| Ok(())).await;
    ready.map_err(|why| Stop::Deviated {
        step: format!("start the rebuilt cluster on {}", of.from),
        why: why.to_string(),
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
        awaited: RefCell::default(),
        is_turn_new: Cell::default(),
        goes_on: Cell::default(),
        say,
    };
    engine.begin(&of.target, Allow::default(), true).await?;
    engine.run().await?;
    Ok(before)
}
