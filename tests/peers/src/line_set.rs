//! `pintle ctl line` on a running cluster, and what must hold while the line changes: streams that
//! stay, and directories on which etcd of the line starts.

use std::{process::Stdio, time::Duration};

use anyhow::{Context as _, Result, ensure};
use prost::Message as _;
use proto::{
    etcdserverpb::*,
    pintlepb::{LineOrder, line_order::Action},
};
use tokio::{process::Command, sync::mpsc};
use tonic::Streaming;

use crate::{
    api::{self, Api},
    cluster::{Cluster, WITHIN, until},
    dirs, http,
    load::Load,
    peer::{self, Program},
    server::Launch,
    streams::Stream,
};

/// A run of `pintle ctl line`.
#[derive(Clone, Debug)]
pub struct Said {
    /// Whether it succeeded.
    pub is_ok: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs `pintle ctl` with these words on the members at `places`.
pub async fn ctl(cluster: &Cluster, places: &[usize], words: &[&str]) -> Result<Said> {
    said(command(cluster, places, words)?).await
}

/// The same at any time later.
pub fn command(cluster: &Cluster, places: &[usize], words: &[&str]) -> Result<Command> {
    let program = peer::subject().context("no program under test")?;
    let endpoints: Vec<_> = places
        .iter()
        .map(|place| format!("http://127.0.0.1:{}", cluster.members()[*place].client_port))
        .collect();
    let mut command = Command::new(&program.path);
    command
        .arg("ctl")
        .arg(format!("--endpoints={}", endpoints.join(",")))
        .arg("--command-timeout=30s")
        .args(words)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    Ok(command)
}

/// Runs it to its end.
pub async fn said(mut command: Command) -> Result<Said> {
    let out = command.output().await?;
    Ok(Said {
        is_ok: out.status.success(),
        stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
    })
}

/// The page `/version` of a member: its release, and the version of its cluster.
pub async fn versions(cluster: &Cluster, place: usize) -> Result<(String, String)> {
    let port = cluster.members()[place].client_port;
    let page = http::send(port, "GET", "/version", "").await?;
    let page: serde_json::Value = serde_json::from_slice(&page.body)?;
    let word = |name: &str| page[name].as_str().unwrap_or_default().to_owned();
    Ok((word("etcdserver"), word("etcdcluster")))
}

/// Hands an order to the member at `place` in the name of another one; returns the status of the
/// answer.
pub async fn order(
    cluster: &Cluster,
    (by, place): (usize, usize),
    order: LineOrder,
    cluster_id: u64,
) -> Result<u16> {
    let members = cluster.members();
    let order = LineOrder {
        by_member: members[by].id,
        ..order
    };
    let cluster_id = format!("{cluster_id:x}");
    let answer = http::send_with(
        members[place].peer_port,
        "POST",
        "/pintle/line",
        &[("X-Etcd-Cluster-ID", &cluster_id)],
        order.encode_to_vec(),
    )
    .await?;
    Ok(answer.status)
}

/// Has the member at `place` keep that a change is under way, and no other one.
pub async fn begin_at(cluster: &Cluster, place: usize, to: &str, from: &str) -> Result<()> {
    let header = cluster.members()[place].status().await?.header;
    let begin = LineOrder {
        action: Action::Begin as i32,
        target: to.to_owned(),
        from: from.to_owned(),
        to_member: cluster.members()[place].id,
        ..LineOrder::default()
    };
    let status = order(
        cluster,
        (place, place),
        begin,
        header.unwrap_or_default().cluster_id,
    )
    .await?;
    ensure!(status == 200, "m{place} answers an order with {status}");
    Ok(())
}

/// Whether a member is in a change of the line.
pub fn is_in_change(cluster: &Cluster, place: usize) -> bool {
    cluster.members()[place]
        .dir
        .join("member/pintle-line")
        .exists()
}

/// Waits until all running members speak one of these lines, all the same, with nothing under way;
/// returns it.
pub async fn at_rest(cluster: &Cluster, lines: &[&str], within: Duration) -> Result<String> {
    until("all members at one line", within, async || {
        let mut found = Vec::new();
        for place in cluster.up() {
            ensure!(!is_in_change(cluster, place), "m{place} is in a change");
            found.push(versions(cluster, place).await?);
        }
        let line = lines.iter().find(|line| {
            let is_at = |version: &String| version.starts_with(&format!("{line}."));
            found
                .iter()
                .all(|(release, of)| is_at(release) && is_at(of))
        });
        Ok((*line.with_context(|| format!("{found:?}"))?).to_owned())
    })
    .await
}

/// A watch and a lease that live as long as the test does, each on one stream to one member.
pub struct Witness {
    place: usize,
    watch: Stream,
    seen: usize,
    renewals: mpsc::Sender<LeaseKeepAliveRequest>,
    renewed: Streaming<LeaseKeepAliveResponse>,
    lease: i64,
}

impl Witness {
    /// Begins at the member at `place`.
    pub async fn at(cluster: &Cluster, place: usize) -> Result<Witness> {
        let api = cluster.api(place);
        let lease = api
            .lease_grant(LeaseGrantRequest { id: 0, ttl: 60 })
            .await?
            .id;
        let mut watch = Stream::open(api);
        watch
            .create(WatchCreateRequest {
                key: key(place, 0).into(),
                range_end: api::prefix_end(prefix(place).as_bytes()),
                ..WatchCreateRequest::default()
            })
            .await?;
        ensure!(watch.next().await?.created, "no watch at m{place}");
        let (renewals, queue) = mpsc::channel(4);
        let queue = futures_util::stream::unfold(queue, |mut queue| async {
            queue.recv().await.map(|request| (request, queue))
        });
        renewals.send(LeaseKeepAliveRequest { id: lease }).await?;
        let renewed = api.lease().lease_keep_alive(queue).await?.into_inner();
        let mut witness = Witness {
            place,
            watch,
            seen: 0,
            renewals,
            renewed,
            lease,
        };
        witness.renewal().await?;
        Ok(witness)
    }

    async fn renewal(&mut self) -> Result<()> {
        let answer = tokio::time::timeout(WITHIN, self.renewed.message()).await??;
        let answer = answer.context("the stream of renewals ended")?;
        ensure!(answer.ttl > 0, "the lease of m{} ended", self.place);
        Ok(())
    }

    /// Both streams are as they were: a write through another member is seen, once, and the lease
    /// is renewed.
    pub async fn lives(&mut self, other: &Api, load: &Load) -> Result<()> {
        let put = PutRequest {
            lease: self.lease,
            ..api::put(key(self.place, self.seen), "v")
        };
        let done = other.put(put.clone()).await?;
        load.acknowledge(done.header.as_ref(), put.key, put.value)?;
        let answer = self
            .watch
            .next()
            .await
            .with_context(|| format!("the watch at m{}", self.place))?;
        let keys: Vec<_> = answer
            .events
            .iter()
            .filter_map(|e| e.kv.as_ref())
            .map(|kv| kv.key.clone())
            .collect();
        ensure!(keys == [key(self.place, self.seen)], "{answer:?}");
        self.seen += 1;
        self.renewals
            .send(LeaseKeepAliveRequest { id: self.lease })
            .await?;
        self.renewal().await
    }
}

fn prefix(place: usize) -> String {
    format!("witness/{place}/")
}

fn key(place: usize, n: usize) -> String {
    format!("{}{n:03}", prefix(place))
}

/// The directory of a member at a moment, as it would be after a kill.
pub struct Copy {
    dir: tempfile::TempDir,
    of: String,
}

impl Copy {
    /// Takes it of a member, which goes on.
    pub fn of(cluster: &mut Cluster, place: usize) -> Result<Copy> {
        let dir = tempfile::tempdir()?;
        cluster.pause(place)?;
        let copied = dirs::copy(&cluster.members()[place].dir, dir.path());
        cluster.resume(place)?;
        copied?;
        Ok(Copy {
            dir,
            of: cluster.members()[place].name.clone(),
        })
    }

    /// Real etcd starts on it and serves a key. Only once the member and the others have ended: it
    /// would speak to them as the member does.
    pub async fn starts(self, etcd: &Program, known: &str) -> Result<()> {
        let at = || format!("{etcd} on the directory of {}", self.of);
        let launch = Launch::new(etcd, self.dir.path())
            .flag("--force-new-cluster")
            .env("ETCD_VERIFY", "all");
        let server = launch.start().await.with_context(at)?;
        let found = server.api().range(api::get(known.to_owned())).await?;
        ensure!(found.count == 1, "{}: {known} is missing", at());
        server.terminate().await.with_context(at)
    }
}
