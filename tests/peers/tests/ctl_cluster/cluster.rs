//! Three real members on free ports of loopback, led by the first.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use peers::{
    api::Api,
    peer::Program,
    server::{free_ports, spawn_bound},
};
use proto::etcdserverpb::{
    Member, MemberAddRequest, MemberListRequest, MoveLeaderRequest, StatusRequest,
};
use tempfile::TempDir;

/// A loaded machine elects more than once before three members have found each other.
const WITHIN: Duration = Duration::from_secs(90);
/// Members.
pub(crate) const SIZE: usize = 3;

/// Three members of one cluster; ended with this value.
pub(crate) struct Cluster {
    members: Vec<Child>,
    /// Client and peer port of each.
    pub(crate) ports: Vec<(u16, u16)>,
    dir: TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}

impl Cluster {
    /// Starts one and waits until member 1 leads it.
    pub(crate) async fn start(program: &Program) -> Result<Cluster> {
        let dir = tempfile::tempdir()?;
        let ports: Vec<_> = (0..SIZE).map(|_| free_ports()).collect::<Result<_>>()?;
        let initial: Vec<String> = ports
            .iter()
            .enumerate()
            .map(|(at, (_, peer))| format!("m{}=http://127.0.0.1:{peer}", at + 1))
            .collect();
        let mut cluster = Cluster {
            members: Vec::new(),
            ports,
            dir,
        };
        for (at, (client, peer)) in cluster.ports.iter().enumerate() {
            let name = format!("m{}", at + 1);
            let dir = cluster.dir.path();
            let log = std::fs::File::create(dir.join(format!("{name}.log")))?;
            let mut command = Command::new(&program.path);
            command
                .args(&program.words)
                .arg(format!("--name={name}"))
                .arg(format!("--data-dir={}", dir.join(&name).display()))
                .arg(format!("--listen-client-urls=http://127.0.0.1:{client}"))
                .arg(format!("--advertise-client-urls=http://127.0.0.1:{client}"))
                .arg(format!("--listen-peer-urls=http://127.0.0.1:{peer}"))
                .arg(format!(
                    "--initial-advertise-peer-urls=http://127.0.0.1:{peer}"
                ))
                .arg(format!("--initial-cluster={}", initial.join(",")))
                .env_clear()
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log);
            cluster.members.push(spawn_bound(command)?);
        }
        cluster.settle().await?;
        Ok(cluster)
    }

    fn api(&self, member: usize) -> Api {
        Api::new(self.ports[member - 1].0)
    }

    /// Waits until all members are published, the first leads, nothing of the
    /// cluster's own is left to be proposed, and membership may be changed.
    async fn settle(&self) -> Result<()> {
        let deadline = Instant::now() + WITHIN;
        let mut waits_for = String::new();
        while Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let members = self.members().await.unwrap_or_default();
            if members.len() < SIZE || members.iter().any(|m| m.client_ur_ls.is_empty()) {
                waits_for = format!("all of {members:?} to be published");
                continue;
            }
            let mut known = true;
            for (port, _) in &self.ports {
                let page = peers::http::send(*port, "GET", "/version", "").await;
                known &= page.is_ok_and(|page| page.text().contains("\"etcdcluster\":\"3.5.0\""));
            }
            let Ok(status) = self.api(1).status(StatusRequest {}).await else {
                waits_for = "the status of the first".into();
                continue;
            };
            let first = status.header.unwrap_or_default().member_id;
            if known && status.leader == first {
                // Until its members have known each other for 5 s, etcd refuses
                // every change with "unhealthy cluster".
                let request = MemberAddRequest {
                    peer_ur_ls: members[0].peer_ur_ls.clone(),
                    is_learner: false,
                };
                match self.api(1).member_add(request).await {
                    Err(taken) if taken.message().contains("already exists") => return Ok(()),
                    refused => waits_for = format!("changes to be allowed: {refused:?}"),
                }
                continue;
            }
            waits_for =
                format!("the cluster version (known: {known}) and the first to lead: {status:?}");
            for at in 1..=SIZE {
                let request = MoveLeaderRequest { target_id: first };
                let _ = self.api(at).move_leader(request).await;
            }
        }
        bail!("after {WITHIN:?} the cluster still waits for {waits_for}")
    }

    async fn members(&self) -> Result<Vec<Member>> {
        let request = MemberListRequest { linearizable: true };
        Ok(self.api(1).member_list(request).await?.members)
    }

    /// The id of the member with this peer URL.
    pub(crate) async fn id(&self, url: &str) -> Result<u64> {
        let members = self.members().await?;
        let found = members
            .iter()
            .find(|m| m.peer_ur_ls.iter().any(|u| u == url));
        Ok(found.context("no member with this peer URL")?.id)
    }
}
