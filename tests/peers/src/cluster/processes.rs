//! The processes of a cluster: started, stopped, killed, paused, cut off, given
//! another program on the same data directory.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use proto::etcdserverpb::{MemberListRequest, StatusRequest, StatusResponse};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::timeout;

use super::links::Links;
use crate::{
    api::{self, Api},
    http,
    peer::Program,
    ports,
    server::{Launch, Server},
};

/// A condition that has not come about by then will not.
pub const WITHIN: Duration = Duration::from_secs(40);
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// What cluster to start.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    programs: Vec<Program>,
    flags: Vec<String>,
    snapshots: Option<(u64, u64)>,
    gated: bool,
    unverified: bool,
    restore: Option<(Vec<OsString>, PathBuf)>,
}

impl Plan {
    /// One member per program, bootstrapped together.
    pub fn of(programs: &[Program]) -> Plan {
        Plan {
            programs: programs.to_vec(),
            ..Plan::default()
        }
    }

    /// A flag for every member, also those that join later.
    pub fn flag(mut self, flag: &str) -> Plan {
        self.flags.push(flag.to_owned());
        self
    }

    /// A snapshot every `count` entries, with `keep` entries of the log kept
    /// behind it where the program has a flag for that.
    pub fn snapshots(mut self, count: u64, keep: u64) -> Plan {
        self.snapshots = Some((count, keep));
        self
    }

    /// Members reach each other through [`Links`].
    pub fn gated(mut self) -> Plan {
        self.gated = true;
        self
    }

    /// Real etcd runs without `ETCD_VERIFY`, as an operator runs it: its checks of
    /// itself end processes that would go on in the field.
    pub fn unverified(mut self) -> Plan {
        self.unverified = true;
        self
    }

    /// Every member starts from this snapshot file, restored by the program `utl`,
    /// given with its words before `snapshot restore`.
    pub fn restored(mut self, utl: Vec<OsString>, snapshot: &Path) -> Plan {
        self.restore = Some((utl, snapshot.to_owned()));
        self
    }

    /// Starts the cluster and waits until every member serves, has published
    /// its attributes and knows the cluster version: from there on nothing
    /// happens by itself.
    pub async fn start(self) -> Result<Cluster> {
        let mut cluster = self.prepare().await?;
        let bootstrap = cluster
            .members
            .iter()
            .map(|m| format!("{}={}", m.name, m.peer_url))
            .collect::<Vec<_>>()
            .join(",");
        if let Some((utl, snapshot)) = cluster.plan.restore.clone() {
            for member in &cluster.members {
                restore(&utl, &snapshot, member, &bootstrap)?;
            }
        }
        cluster
            .found(&[
                format!("--initial-cluster={bootstrap}"),
                "--initial-cluster-state=new".to_owned(),
            ])
            .await?;
        Ok(cluster)
    }

    /// The members with their ports and directories, none of them running.
    pub async fn prepare(self) -> Result<Cluster> {
        let temp = tempfile::Builder::new()
            .prefix("pintle-cluster")
            .tempdir()?;
        let mut cluster = Cluster {
            members: Vec::new(),
            links: Links::default(),
            plan: self,
            temp,
        };
        for program in cluster.plan.programs.clone() {
            cluster.room(&program).await?;
        }
        Ok(cluster)
    }
}

/// One member, running or not.
pub struct Member {
    /// Its name, `m0` and so on.
    pub name: String,
    /// The program on its data directory.
    pub program: Program,
    /// Its data directory.
    pub dir: PathBuf,
    /// Its id.
    pub id: u64,
    /// The peer URL it advertises.
    pub peer_url: String,
    /// Its client port, which stays over restarts.
    pub client_port: u16,
    /// Its own peer port (behind its gate, if it has one).
    pub peer_port: u16,
    /// Whether it does not vote.
    pub is_learner: bool,
    pub(super) api: Api,
    pub(super) server: Option<Server>,
    paused: bool,
    pub(super) bootstrap: Vec<String>,
    extra: Vec<String>,
}

impl Member {
    /// A connection to it.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// Its process.
    pub fn server(&mut self) -> Result<&mut Server> {
        let name = &self.name;
        self.server
            .as_mut()
            .with_context(|| format!("{name} does not run"))
    }

    /// Whether it runs and is not paused.
    pub fn is_up(&self) -> bool {
        self.server.is_some() && !self.paused
    }

    /// Its status, asked of itself.
    pub async fn status(&self) -> Result<StatusResponse> {
        let status = timeout(ANSWER_WITHIN, self.api.status(StatusRequest {}))
            .await
            .with_context(|| format!("{}: no status", self.label()))?;
        status.with_context(|| format!("{}: status", self.label()))
    }

    /// Name and program, for messages.
    pub fn label(&self) -> String {
        format!("{} ({})", self.name, self.program)
    }
}

/// The members, by place: the order in which they were started or added.
pub struct Cluster {
    pub(super) members: Vec<Member>,
    /// The network between them, if the plan asked for gates.
    pub links: Links,
    pub(super) plan: Plan,
    pub(super) temp: TempDir,
}

impl Cluster {
    /// Every place, running or not.
    pub fn places(&self) -> std::ops::Range<usize> {
        0..self.members.len()
    }

    /// The places of the members that run and are not paused.
    pub fn up(&self) -> Vec<usize> {
        self.places().filter(|p| self.members[*p].is_up()).collect()
    }

    /// A member.
    pub fn member(&mut self, place: usize) -> &mut Member {
        &mut self.members[place]
    }

    /// The members.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The connection to a member.
    pub fn api(&self, place: usize) -> &Api {
        &self.members[place].api
    }

    /// A directory for what a test needs beside the members.
    pub fn temp(&self) -> &Path {
        self.temp.path()
    }

    /// The place of the first member that runs this program.
    pub fn place_of(&self, program: &Program) -> Option<usize> {
        self.places().find(|p| self.members[*p].program == *program)
    }

    /// Starts all prepared members for the first time, with these flags beside
    /// the usual ones, and waits as [`Plan::start`] does.
    pub async fn found(&mut self, flags: &[String]) -> Result<()> {
        self.bootstrap_by(flags);
        for place in self.places() {
            self.spawn(place)?;
        }
        for place in self.places() {
            self.serving(place).await?;
        }
        self.settled().await
    }

    /// Gives all members these flags for their first start.
    pub fn bootstrap_by(&mut self, flags: &[String]) {
        for member in &mut self.members {
            member.bootstrap = flags.to_vec();
        }
    }

    /// Prepares a member that is not started yet.
    pub(super) async fn room(&mut self, program: &Program) -> Result<usize> {
        let place = self.members.len();
        let (client_port, peer_port) = (ports::claim()?, ports::claim()?);
        let outer = if self.plan.gated {
            let outer = ports::claim()?;
            self.links.gate(place, outer, peer_port).await?;
            outer
        } else {
            peer_port
        };
        self.members.push(Member {
            name: format!("m{place}"),
            program: program.clone(),
            dir: self.temp.path().join(format!("m{place}")),
            id: 0,
            peer_url: format!("http://127.0.0.1:{outer}"),
            client_port,
            peer_port,
            is_learner: false,
            api: Api::new(client_port),
            server: None,
            paused: false,
            bootstrap: Vec::new(),
            extra: Vec::new(),
        });
        Ok(place)
    }

    /// Starts the process of a member and does not wait for it.
    pub fn spawn(&mut self, place: usize) -> Result<()> {
        let member = &self.members[place];
        let client = format!("http://127.0.0.1:{}", member.client_port);
        let mut launch = Launch::new(&member.program, &member.dir)
            .only_given_flags()
            .ports(member.client_port, member.peer_port)
            .label(&member.name)
            .flag(&format!("--name={}", member.name))
            .flag(&format!("--data-dir={}", member.dir.display()))
            .flag(&format!("--listen-client-urls={client}"))
            .flag(&format!("--advertise-client-urls={client}"))
            .flag(&format!(
                "--listen-peer-urls=http://127.0.0.1:{}",
                member.peer_port
            ))
            .flag(&format!(
                "--initial-advertise-peer-urls={}",
                member.peer_url
            ))
            .flag("--initial-cluster-token=peers");
        if member.program.minor() == (3, 4) {
            // Its old log format lacks what tests wait for; and it alone has no
            // pre-vote by default.
            launch = launch.flag("--logger=zap").flag("--pre-vote=true");
        }
        if !member.program.is_pintle && !self.plan.unverified {
            launch = launch.env("ETCD_VERIFY", "all");
        }
        let flags = member.bootstrap.iter().chain(&self.plan.flags);
        for flag in flags.chain(&member.extra) {
            launch = launch.flag(flag);
        }
        for flag in self.snapshot_flags(&member.program) {
            launch = launch.flag(&flag);
        }
        let server = launch.spawn()?;
        self.links.process(server.pid(), place);
        let member = &mut self.members[place];
        member.api = server.api().clone();
        member.server = Some(server);
        member.paused = false;
        Ok(())
    }

    fn snapshot_flags(&self, program: &Program) -> Vec<String> {
        let Some((count, keep)) = self.plan.snapshots else {
            return Vec::new();
        };
        let mut flags = vec![format!("--snapshot-count={count}")];
        flags.extend(keep_flag(program, keep));
        flags
    }

    /// How many entries behind its last snapshot a leader at `place` keeps.
    pub fn entries_kept(&self, place: usize) -> u64 {
        // What etcd keeps when nothing is said, or when it has no flag for it.
        const DEFAULT: u64 = 5000;
        match self.plan.snapshots {
            Some((_, keep)) if keep_flag(&self.members[place].program, keep).is_some() => keep,
            _ => DEFAULT,
        }
    }

    /// Starts a member (again) and waits until it serves.
    pub async fn start(&mut self, place: usize) -> Result<()> {
        self.spawn(place)?;
        self.serving(place).await
    }

    /// Waits until a member serves and takes part: it knows a leader and, if it
    /// votes, answers a linearizable read.
    pub async fn serving(&mut self, place: usize) -> Result<()> {
        let deadline = Instant::now() + WITHIN;
        loop {
            let member = &mut self.members[place];
            let label = member.label();
            let server = member.server()?;
            if let Some(status) = server.poll_exit()? {
                bail!(
                    "{label} ended before it served: {status}\n{}",
                    server.tail()
                );
            }
            match serves(member).await {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() >= deadline => {
                    let tail = self.members[place].server()?.tail();
                    return Err(error.context(format!("{label} does not serve\n{tail}")));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(25)).await,
            }
        }
    }

    /// Waits until every running member lists the same members with their
    /// attributes, and knows the cluster version; takes their ids.
    pub async fn settled(&mut self) -> Result<()> {
        let members = &mut self.members;
        until::ok(
            "every member published and a cluster version",
            WITHIN,
            async || {
                for member in members.iter_mut().filter(|m| m.is_up() && !m.is_learner) {
                    let listed = timeout(
                        ANSWER_WITHIN,
                        member.api.member_list(MemberListRequest {
                            linearizable: false,
                        }),
                    )
                    .await??;
                    for other in &listed.members {
                        let published = !other.name.is_empty() && !other.client_ur_ls.is_empty();
                        ensure!(published, "{} lists {other:?}", member.label());
                        if other.name == member.name {
                            member.id = other.id;
                        }
                    }
                    let version = http::send(member.client_port, "GET", "/version", "").await?;
                    let text = version.text();
                    ensure!(!text.contains("not_decided"), "{}: {text}", member.label());
                }
                Ok(())
            },
        )
        .await
    }

    /// Waits until all running members name the same one of them as leader.
    pub async fn leader(&self) -> Result<usize> {
        self.leader_among(&self.up()).await
    }

    /// Waits until these members name the same one of them as leader.
    pub async fn leader_among(&self, places: &[usize]) -> Result<usize> {
        until::ok("one leader", WITHIN, async || {
            let mut named = BTreeSet::new();
            for place in places {
                let status = self.members[*place].status().await?;
                named.insert((status.leader, status.raft_term));
            }
            let only = named.first().filter(|_| named.len() == 1);
            let leader = only
                .and_then(|(id, _)| places.iter().copied().find(|p| self.members[*p].id == *id));
            leader.with_context(|| format!("(leader, term) {named:x?} at members {places:?}"))
        })
        .await
    }

    /// SIGTERM, then a check of what the member leaves: the log without a
    /// panic, the database sound.
    pub async fn stop(&mut self, place: usize) -> Result<()> {
        let server = self.ended(place)?;
        server.terminate().await?;
        self.check_files(place)
    }

    /// SIGKILL, then the same check.
    pub async fn kill(&mut self, place: usize) -> Result<()> {
        let server = self.ended(place)?;
        server.kill().await?;
        self.check_files(place)
    }

    pub(super) fn ended(&mut self, place: usize) -> Result<Server> {
        let member = &mut self.members[place];
        member.paused = false;
        let name = member.label();
        member
            .server
            .take()
            .with_context(|| format!("{name} does not run"))
    }

    /// SIGSTOP: the process stands still, its connections stay.
    pub fn pause(&mut self, place: usize) -> Result<()> {
        self.members[place].server()?.signal(Signal::STOP)?;
        self.members[place].paused = true;
        Ok(())
    }

    /// SIGCONT.
    pub fn resume(&mut self, place: usize) -> Result<()> {
        self.members[place].server()?.signal(Signal::CONT)?;
        self.members[place].paused = false;
        Ok(())
    }

    /// Stops a member, starts another program on its directory, waits until it serves.
    pub async fn swap(&mut self, place: usize, program: &Program) -> Result<()> {
        self.stop(place).await?;
        self.members[place].program = program.clone();
        self.start(place).await
    }

    /// Ends the process of a member that is not part of what is being tested any
    /// more, in whatever state it is.
    pub fn drop_process(&mut self, place: usize) {
        self.members[place].server = None;
    }

    /// Gives up the last place, whose member was announced and never started.
    pub fn forget(&mut self, place: usize) {
        assert_eq!(place + 1, self.members.len(), "only the last place can go");
        self.members.pop();
    }

    /// Whether a member is part of the cluster's processes, paused or not.
    pub fn is_running(&self, place: usize) -> bool {
        self.members[place].server.is_some()
    }

    /// Gives a stopped member another program, or flags of its own.
    pub fn refit(&mut self, place: usize, program: &Program, extra: &[&str]) {
        self.members[place].program = program.clone();
        self.members[place].extra = extra.iter().map(|f| (*f).to_owned()).collect();
    }

    /// The database of a stopped member must be sound.
    pub fn check_files(&self, place: usize) -> Result<()> {
        let member = &self.members[place];
        let path = member.dir.join("member/snap/db");
        let report = bolt::check::check_file(&path)
            .with_context(|| format!("{}: {}", member.label(), path.display()))?;
        ensure!(
            report.problems.is_empty(),
            "{} left an unsound database: {:?}",
            member.label(),
            report.problems
        );
        Ok(())
    }

    /// Stops all members at once and checks what they leave.
    pub async fn end(&mut self) -> Result<()> {
        let running: Vec<usize> = self
            .places()
            .filter(|p| self.members[*p].server.is_some())
            .collect();
        // All together: the last of them could not hand its leadership to anybody.
        for place in &running {
            if self.members[*place].paused {
                self.resume(*place)?;
            }
            self.members[*place].server()?.signal(Signal::TERM)?;
        }
        for place in running {
            self.stop_signalled(place).await?;
        }
        Ok(())
    }

    async fn stop_signalled(&mut self, place: usize) -> Result<()> {
        let mut server = self.ended(place)?;
        server.wait_exit(Duration::from_secs(30)).await?;
        server.no_panic()?;
        self.check_files(place)
    }
}

fn restore(utl: &[OsString], snapshot: &Path, member: &Member, bootstrap: &str) -> Result<()> {
    let (program, words) = utl.split_first().context("no program to restore with")?;
    let out = Command::new(program)
        .args(words)
        .args(["snapshot", "restore"])
        .arg(snapshot)
        .arg(format!("--name={}", member.name))
        .arg(format!("--initial-cluster={bootstrap}"))
        .arg("--initial-cluster-token=peers")
        .arg(format!("--initial-advertise-peer-urls={}", member.peer_url))
        .arg(format!("--data-dir={}", member.dir.display()))
        .env_clear()
        .output()?;
    ensure!(
        out.status.success(),
        "{} restores {}: {}\n{}",
        program.display(),
        member.name,
        out.status,
        String::from_utf8_lossy(&out.stderr)
    );
    Ok(())
}

/// The flag that sets how many entries stay behind a snapshot, if there is one.
fn keep_flag(program: &Program, keep: u64) -> Option<String> {
    let name = match program.minor() {
        (3, ..=4) => return None,
        (3, 5) => "experimental-snapshot-catchup-entries",
        _ => "snapshot-catchup-entries",
    };
    let flag = format!("--{name}={keep}");
    program.knows(&flag).then_some(flag)
}

async fn serves(member: &mut Member) -> Result<()> {
    let status = member.status().await?;
    ensure!(status.leader != 0, "{} knows no leader", member.label());
    let read = proto::etcdserverpb::RangeRequest {
        serializable: member.is_learner,
        ..api::get("serves")
    };
    timeout(ANSWER_WITHIN, member.api.range(read))
        .await
        .with_context(|| format!("{}: no answer to a read", member.label()))??;
    Ok(())
}
