//! The peer protocol against a real etcd: its stream readers and writers, its
//! pipeline and its snapshots meet ours, with a consensus node in memory behind
//! them that never stands for election.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    future::Future,
    io,
    path::Path,
    process::{Child, Command, Stdio},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use consensus::{Initial, Node};
use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use peers::{
    api::{Api, put},
    cluster,
    server::{free_ports, spawn_bound},
};
use prost::Message as _;
use proto::{
    etcdserverpb::{InternalRaftRequest, MemberAddRequest, internal_raft_request::Op},
    raftpb::{ConfChange, Entry, HardState, Message, MessageType},
};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, LocalSet},
};

const WITHIN: Duration = Duration::from_secs(40);

/// A real etcd, killed when dropped.
struct Etcd {
    child: Child,
    api: Api,
    peer_url: String,
    log: std::path::PathBuf,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.log_text());
        }
    }
}

impl Etcd {
    /// Member `a`, beside the members that `others` names (`b=http://…`).
    fn start(version: &str, dir: &Path, others: &str, flags: &[&str]) -> Result<Option<Etcd>> {
        let Some(program) = peers::peer::etcd(version) else {
            return Ok(None);
        };
        let (client, peer) = free_ports()?;
        let (client_url, peer_url) = (
            format!("http://127.0.0.1:{client}"),
            format!("http://127.0.0.1:{peer}"),
        );
        let log = dir.join("log");
        let out = std::fs::File::create(&log)?;
        let mut command = Command::new(&program.path);
        command
            .arg("--name=a")
            .arg(format!("--data-dir={}", dir.join("data").display()))
            .arg(format!("--listen-client-urls={client_url}"))
            .arg(format!("--advertise-client-urls={client_url}"))
            .arg(format!("--listen-peer-urls={peer_url}"))
            .arg(format!("--initial-advertise-peer-urls={peer_url}"))
            .arg(format!("--initial-cluster=a={peer_url}{others}"))
            .args(flags)
            // 3.4 would log in its old format otherwise.
            .args(version.starts_with("3.4.").then_some("--logger=zap"))
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out);
        Ok(Some(Etcd {
            child: spawn_bound(command)?,
            api: Api::new(client),
            peer_url,
            log,
        }))
    }

    fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Cluster id, and the ids of the members by their first peer URL.
    async fn members(&self) -> Result<(u64, Vec<(u64, String)>)> {
        let connect: Arc<dyn peer::Connect> = Arc::new(peer::NoTls);
        let reply = until("etcd answers on its peer port", async || {
            let request = Request::get("/members").body(Bytes::new()).ok()?;
            let call = peer::ask::call(&connect, &self.peer_url, request, Duration::from_secs(2));
            call.await.ok().filter(|reply| reply.status == 200)
        })
        .await?;
        let json: serde_json::Value = serde_json::from_slice(&reply.body)?;
        let members = json.as_array().context("no array")?.iter();
        let members = members.filter_map(|m| {
            let url = m["peerURLs"][0].as_str()?.to_owned();
            Some((m["id"].as_u64()?, url))
        });
        Ok((
            reply.cluster_id.context("no cluster id")?,
            members.collect(),
        ))
    }

    async fn wait_log(&self, texts: &[&str]) -> Result<()> {
        until(&format!("etcd's log says {texts:?}"), async || {
            let log = self.log_text();
            log.lines()
                .any(|line| texts.iter().all(|text| line.contains(text)))
                .then_some(())
        })
        .await
    }
}

/// Asks again and again until there is an answer, or the deadline.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    cluster::until(what, WITHIN, async || ask().await.context("not yet")).await
}

/// What the transport is told, on its way to the node.
struct Inbox(mpsc::UnboundedSender<Message>);

impl peer::Host for Inbox {
    fn step(&self, message: Message) {
        let _ = self.0.send(message);
    }
    fn is_removed(&self, _: u64) -> bool {
        false
    }
    fn report_unreachable(&self, _: u64) {}
    fn report_snapshot(&self, _: u64, _: bool) {}
    fn removed(&self) {
        panic!("etcd says that this member was removed");
    }
    fn open_snapshot(&self, _: Message) -> io::Result<peer::OutgoingSnapshot> {
        Err(io::Error::other("this member never leads"))
    }
}

/// Our member: a follower that acknowledges and remembers.
struct Follower {
    transport: peer::Transport,
    /// Values of the puts it was told to apply, in order.
    values: RefCell<Vec<Bytes>>,
    snapshot_index: Cell<u64>,
    /// What came in, by type.
    seen: RefCell<std::collections::BTreeMap<i32, usize>>,
    connections: RefCell<Vec<AbortHandle>>,
    /// Streams are not offered: everything must come by single requests.
    no_streams: Cell<bool>,
    posts: Cell<usize>,
}

impl Follower {
    fn start(
        listener: tokio::net::TcpListener,
        id: u64,
        cluster_id: u64,
        snap_dir: &Path,
        initial: Initial,
        others: &[(u64, String)],
        streams: bool,
    ) -> Result<Rc<Follower>> {
        let (inbox, messages) = mpsc::unbounded_channel();
        let transport = peer::Transport::new(
            peer::Config {
                member_id: id,
                cluster_id,
                spoken: line::Spoken::new(line::Line::V3_5),
                advertise_peer_urls: vec![format!("http://{}", listener.local_addr()?)],
                election_timeout: Duration::from_secs(1),
                read_timeout: peer::STALL,
                write_timeout: peer::STALL,
                snap_dir: snap_dir.to_owned(),
                connect: Arc::new(peer::NoTls),
            },
            Arc::new(Inbox(inbox)),
        );
        for (other, url) in others {
            let urls = std::slice::from_ref(url);
            if streams {
                transport.add_peer(*other, urls);
            } else {
                transport.add_remote(*other, urls);
            }
        }
        let follower = Rc::new(Follower {
            transport: transport.clone(),
            values: RefCell::default(),
            snapshot_index: Cell::new(0),
            seen: RefCell::default(),
            connections: RefCell::default(),
            no_streams: Cell::new(false),
            posts: Cell::new(0),
        });
        let config = consensus::Config {
            id,
            ..consensus::Config::default()
        };
        let node = Node::new(config, initial)?;
        tokio::task::spawn_local(async move { transport.run().await });
        tokio::task::spawn_local(follower.clone().drive(node, messages));
        tokio::task::spawn_local(follower.clone().serve(listener));
        Ok(follower)
    }

    async fn serve(self: Rc<Self>, listener: tokio::net::TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let follower = self.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let follower = follower.clone();
                async move { Ok::<_, Infallible>(follower.answer(request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            let task = tokio::task::spawn_local(async move {
                let _ = connection.await;
            });
            self.connections.borrow_mut().push(task.abort_handle());
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Either> {
        let path = request.uri().path();
        if path.starts_with("/raft/stream") && self.no_streams.get() {
            let mut response = Response::new(Either::None);
            *response.status_mut() = http::StatusCode::NOT_FOUND;
            return response;
        }
        if path == "/raft" {
            self.posts.set(self.posts.get() + 1);
        }
        match self.transport.answer(request).await {
            Ok(response) => response.map(Either::Raft),
            Err(_) => {
                let mut response = Response::new(Either::None);
                *response.status_mut() = http::StatusCode::NOT_FOUND;
                response
            }
        }
    }

    async fn drive(self: Rc<Self>, mut node: Node, mut messages: mpsc::UnboundedReceiver<Message>) {
        loop {
            while node.has_work() {
                let work = node.work();
                if let Some(snapshot) = &work.snapshot {
                    self.snapshot_index.set(snapshot.metadata.index);
                }
                let mut out = work.messages;
                let snapshot = work.snapshot.map_or(0, |s| s.metadata.index);
                node.persisted(work.number);
                out.extend(work.messages_after_persist);
                let applied = work.committed.last().map_or(snapshot, |entry| entry.index);
                for entry in work.committed {
                    self.apply(&mut node, &entry);
                }
                node.applied_to(applied);
                self.transport.send(out);
            }
            let Some(message) = messages.recv().await else {
                return;
            };
            *self.seen.borrow_mut().entry(message.r#type).or_default() += 1;
            node.step(message).expect("etcd sends nothing wrong");
        }
    }

    fn apply(&self, node: &mut Node, entry: &Entry) {
        let data = entry.data.clone().unwrap_or_default();
        if entry.r#type == 1 {
            let change = ConfChange::decode(data).expect("a configuration change");
            node.apply_conf_change(&change);
        } else if let Ok(request) = InternalRaftRequest::decode(data)
            && let Some(Op::Put(put)) = request.op
        {
            self.values.borrow_mut().push(put.value);
        }
    }

    /// Cuts every connection that etcd has to us.
    fn cut(&self) {
        for connection in self.connections.borrow_mut().drain(..) {
            connection.abort();
        }
    }

    /// All values and nothing else, in order. One whose first attempt failed after
    /// it had been proposed may stand there twice.
    async fn has(&self, values: &[String]) -> Result<()> {
        let got = || {
            let mut got = self.values.borrow().clone();
            got.dedup();
            got
        };
        let enough = async || (got().len() >= values.len()).then_some(());
        until("all values", enough).await?;
        ensure!(got() == values, "{} of {}", got().len(), values.len());
        Ok(())
    }
}

/// An answer's body.
enum Either {
    Raft(peer::Body),
    None,
}

impl http_body::Body for Either {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Either::Raft(body) => std::pin::Pin::new(body).poll_frame(cx),
            Either::None => std::task::Poll::Ready(None),
        }
    }
}

fn run<F: Future<Output = Result<()>>>(body: F) {
    peers::run(150, async { LocalSet::new().run_until(body).await });
}

async fn put_all(etcd: &Etcd, values: &[String]) -> Result<()> {
    for value in values {
        etcd.api.put(put("k", value.clone())).await?;
    }
    Ok(())
}

fn values(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|i| format!("value {i}")).collect()
}

/// The log every member of a new cluster starts with.
fn bootstrap(members: &[(u64, String)]) -> Initial {
    let mut ids: Vec<u64> = members.iter().map(|(id, _)| *id).collect();
    ids.sort_unstable();
    let entries = ids.iter().zip(1..).map(|(id, index)| Entry {
        r#type: 1,
        term: 1,
        index,
        data: Some(
            ConfChange {
                node_id: *id,
                ..ConfChange::default()
            }
            .encode_to_vec()
            .into(),
        ),
    });
    Initial {
        hard_state: HardState {
            term: 1,
            vote: 0,
            commit: ids.len() as u64,
        },
        entries: entries.collect(),
        ..Initial::default()
    }
}

/// Two members, of which the other is etcd: not one write goes through without us.
fn follows(version: &'static str) {
    run(async {
        let dir = tempfile::tempdir()?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let Some(etcd) = Etcd::start(version, dir.path(), &format!(",b={url}"), &[])? else {
            return Ok(());
        };
        let (cluster_id, members) = etcd.members().await?;
        let id = members.iter().find(|(_, u)| *u == url);
        let id = id.context("etcd does not know us")?.0;
        let others: Vec<_> = members.iter().filter(|m| m.0 != id).cloned().collect();
        let initial = bootstrap(&members);
        let us = Follower::start(listener, id, cluster_id, dir.path(), initial, &others, true)?;

        // Streams of both kinds, both ways.
        for kind in ["stream MsgApp v2", "stream Message"] {
            for role in ["stream-reader-type", "stream-writer-type"] {
                let texts = ["established TCP streaming connection", kind, role];
                etcd.wait_log(&texts).await?;
            }
        }
        let all = values(0, 150);
        until("the first write", async || {
            etcd.api.put(put("k", all[0].clone())).await.ok()
        })
        .await?;
        put_all(&etcd, &all[1..100]).await?;
        us.has(&all[..100]).await?;
        let seen = |kind: MessageType| us.seen.borrow().get(&(kind as i32)).copied();
        ensure!(seen(MessageType::MsgApp) >= Some(100));
        until("a heartbeat", async || seen(MessageType::MsgHeartbeat)).await?;

        // What is cut is opened again.
        us.cut();
        put_all(&etcd, &all[100..120]).await?;
        us.has(&all[..120]).await?;

        // Without streams to us everything of ours goes by single requests.
        us.no_streams.set(true);
        us.cut();
        put_all(&etcd, &all[120..150]).await?;
        us.has(&all[..150]).await?;

        // And one that fills many buffers.
        us.no_streams.set(false);
        us.cut();
        etcd.api.put(put("large", vec![b'x'; 1_400_000])).await?;
        until("the large value", async || {
            let last = us.values.borrow().last().map(Bytes::len);
            (last == Some(1_400_000)).then_some(())
        })
        .await?;
        us.transport.stop();
        let log = etcd.log_text();
        ensure!(!log.contains("panic"), "{log}");
        Ok(())
    });
}

#[test]
fn a_follower_of_etcd_3_5_30() {
    follows("3.5.30");
}

#[test]
fn a_follower_of_etcd_3_4_23() {
    follows("3.4.23");
}

#[test]
fn a_follower_of_etcd_3_6_14() {
    follows("3.6.14");
}

#[test]
fn a_follower_of_etcd_3_7_1() {
    follows("3.7.1");
}

/// No stream in either direction: etcd posts everything to us, as we do to it.
#[test]
fn single_requests_are_enough() {
    run(async {
        let dir = tempfile::tempdir()?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let Some(etcd) = Etcd::start("3.5.30", dir.path(), &format!(",b={url}"), &[])? else {
            return Ok(());
        };
        let (cluster_id, members) = etcd.members().await?;
        let id = members.iter().find(|(_, u)| *u == url);
        let id = id.context("etcd does not know us")?.0;
        let others: Vec<_> = members.iter().filter(|m| m.0 != id).cloned().collect();
        let initial = bootstrap(&members);
        let us = Follower::start(
            listener,
            id,
            cluster_id,
            dir.path(),
            initial,
            &others,
            false,
        )?;
        let all = values(0, 50);
        until("the first write", async || {
            etcd.api.put(put("k", all[0].clone())).await.ok()
        })
        .await?;
        put_all(&etcd, &all[1..]).await?;
        us.has(&all).await?;
        ensure!(us.posts.get() >= 50, "{} posts", us.posts.get());
        Ok(())
    });
}

/// A learner that comes so late that the log no longer reaches back to it.
#[test]
fn a_snapshot_from_etcd_arrives_whole() {
    run(async {
        let dir = tempfile::tempdir()?;
        let flags = [
            "--snapshot-count=10",
            "--experimental-snapshot-catchup-entries=5",
        ];
        let Some(etcd) = Etcd::start("3.5.30", dir.path(), "", &flags)? else {
            return Ok(());
        };
        let first = values(0, 100);
        until("the first write", async || {
            etcd.api.put(put("k", first[0].clone())).await.ok()
        })
        .await?;
        put_all(&etcd, &first[1..]).await?;

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let added = etcd.api.member_add(MemberAddRequest {
            peer_ur_ls: vec![url.clone()],
            is_learner: true,
        });
        let id = added.await?.member.context("no member")?.id;
        let (cluster_id, members) = etcd.members().await?;
        let others: Vec<_> = members.iter().filter(|m| m.0 != id).cloned().collect();
        let snap_dir = dir.path().join("received");
        std::fs::create_dir(&snap_dir)?;
        let initial = Initial::default();
        let us = Follower::start(listener, id, cluster_id, &snap_dir, initial, &others, true)?;

        until("a snapshot", async || {
            (us.snapshot_index.get() > 0).then_some(())
        })
        .await?;
        etcd.wait_log(&["sent database snapshot"]).await?;
        let index = us.snapshot_index.get();
        let file = snap_dir.join(format!("{index:016x}.snap.db"));
        let report = bolt::check::check_file(&file)?;
        ensure!(report.problems.is_empty(), "{:?}", report.problems);
        ensure!(std::fs::read_dir(&snap_dir)?.count() == 1);

        // And the log goes on behind it.
        let more = values(100, 120);
        put_all(&etcd, &more).await?;
        until("what followed the snapshot", async || {
            let got = us.values.borrow();
            got.last()
                .is_some_and(|last| last == "value 119")
                .then_some(())
        })
        .await
    });
}
