//! Two transports over real sockets: what one sends, the other gets.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use peer::{Config, Host, NoTls, OutgoingSnapshot, Transport};
use proto::raftpb::{Entry, Message, MessageType, Snapshot, SnapshotMetadata};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::{AbortHandle, LocalSet},
};

/// A member that remembers what it was told.
#[derive(Default)]
struct Member {
    got: Mutex<Vec<Message>>,
    arrived: Mutex<Vec<bool>>,
    removed_ids: Mutex<Vec<u64>>,
    was_removed: Mutex<bool>,
    unreachable: Mutex<Vec<u64>>,
    changed: Notify,
    database: Mutex<Vec<u8>>,
}

impl Member {
    fn note(&self, change: impl FnOnce(&Member)) {
        change(self);
        self.changed.notify_waiters();
    }

    /// Waits until something holds; a test that hangs fails by its deadline.
    async fn until(&self, mut holds: impl FnMut(&Member) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if holds(self) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait)
            .await
            .expect("what was waited for did not happen");
    }
}

impl Host for Member {
    fn step(&self, message: Message) {
        self.note(|m| m.got.lock().unwrap().push(message));
    }
    fn is_removed(&self, id: u64) -> bool {
        self.removed_ids.lock().unwrap().contains(&id)
    }
    fn report_unreachable(&self, id: u64) {
        self.note(|m| m.unreachable.lock().unwrap().push(id));
    }
    fn report_snapshot(&self, _: u64, arrived: bool) {
        self.note(|m| m.arrived.lock().unwrap().push(arrived));
    }
    fn removed(&self) {
        self.note(|m| *m.was_removed.lock().unwrap() = true);
    }
    fn open_snapshot(&self, message: Message) -> io::Result<OutgoingSnapshot> {
        let database = self.database.lock().unwrap().clone();
        Ok(OutgoingSnapshot {
            message,
            database_len: database.len() as u64,
            database: Box::new(io::Cursor::new(database)),
        })
    }
}

struct Running {
    member: Arc<Member>,
    connections: Arc<Mutex<Vec<AbortHandle>>>,
    transport: Transport,
    address: SocketAddr,
}

impl Running {
    /// Ends every connection that others have to this one.
    fn cut(&self) {
        for connection in self.connections.lock().unwrap().drain(..) {
            connection.abort();
        }
    }

    fn urls(&self) -> Vec<String> {
        vec![format!("http://{}", self.address)]
    }
}

async fn start(id: u64, cluster_id: u64, snap_dir: &Path) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let member = Arc::new(Member::default());
    let transport = Transport::new(
        Config {
            member_id: id,
            cluster_id,
            spoken: line::Spoken::new(line::Line::V3_5),
            advertise_peer_urls: vec![format!("http://{address}")],
            election_timeout: Duration::from_secs(1),
            read_timeout: peer::STALL,
            write_timeout: peer::STALL,
            snap_dir: snap_dir.to_owned(),
            connect: Arc::new(NoTls),
        },
        member.clone(),
    );
    let served = transport.clone();
    let connections: Arc<Mutex<Vec<AbortHandle>>> = Arc::default();
    let opened = connections.clone();
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let transport = served.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let transport = transport.clone();
                async move {
                    Ok::<_, Infallible>(match transport.answer(request).await {
                        Ok(response) => response.map(Either::Left),
                        Err(_) => {
                            let mut response =
                                Response::new(Either::Right(Full::new(Bytes::from("elsewhere"))));
                            *response.status_mut() = StatusCode::IM_A_TEAPOT;
                            response
                        }
                    })
                }
            });
            let connection = tokio::task::spawn_local(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
            opened.lock().unwrap().push(connection.abort_handle());
        }
    });
    let running = transport.clone();
    tokio::task::spawn_local(async move { running.run().await });
    Running {
        member,
        connections,
        transport,
        address,
    }
}

fn run(body: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, body);
}

fn snapshot(index: u64) -> Message {
    Message {
        r#type: MessageType::MsgSnap as i32,
        from: 1,
        to: 2,
        term: 2,
        snapshot: Some(Snapshot {
            data: Some(Bytes::from_static(b"{}")),
            metadata: SnapshotMetadata {
                index,
                term: 2,
                ..SnapshotMetadata::default()
            },
        }),
        ..Message::default()
    }
}

fn heartbeat(from: u64, to: u64, commit: u64) -> Message {
    Message {
        r#type: MessageType::MsgHeartbeat as i32,
        from,
        to,
        term: 2,
        commit,
        ..Message::default()
    }
}

fn append(from: u64, to: u64, index: u64, size: usize) -> Message {
    Message {
        r#type: MessageType::MsgApp as i32,
        from,
        to,
        term: 2,
        log_term: 2,
        index,
        commit: index,
        entries: vec![Entry {
            term: 2,
            index: index + 1,
            data: Some(vec![index as u8; size].into()),
            ..Entry::default()
        }],
        ..Message::default()
    }
}

async fn connect(a: &Running, b: &Running) {
    a.transport.add_peer(2, &b.urls());
    b.transport.add_peer(1, &a.urls());
    // Both streams of both sides: we wait for the heartbeat.
    for (from, to, target) in [(1, 2, b), (2, 1, a)] {
        let source = if from == 1 { a } else { b };
        loop {
            source.transport.send(vec![heartbeat(from, to, 0)]);
            let got = || !target.member.got.lock().unwrap().is_empty();
            let wait = target.member.until(|_| got());
            if tokio::time::timeout(Duration::from_millis(200), wait)
                .await
                .is_ok()
            {
                break;
            }
        }
    }
    let both = || a.transport.active_since(2).is_some() && b.transport.active_since(1).is_some();
    until::is_async("both see the other", both).await;
}

fn appends(member: &Member) -> Vec<Message> {
    let got = member.got.lock().unwrap();
    got.iter()
        .filter(|m| m.r#type == MessageType::MsgApp as i32)
        .cloned()
        .collect()
}

#[test]
fn messages_arrive_whole_and_in_order_both_ways() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (start(1, 7, dir.path()).await, start(2, 7, dir.path()).await);
        connect(&a, &b).await;
        // Small ones by the hundred, and one larger than any buffer on the way.
        let mut sent: Vec<Message> = (1..=500).map(|i| append(1, 2, i, 100)).collect();
        sent.push(append(1, 2, 501, 3 << 20));
        sent.push(append(1, 2, 502, 10));
        for run in sent.chunks(7) {
            a.transport.send(run.to_vec());
        }
        b.member.until(|m| appends(m).len() >= sent.len()).await;
        assert_eq!(appends(&b.member), sent);
        b.transport.send(vec![append(2, 1, 9, 5)]);
        a.member.until(|m| appends(m).len() == 1).await;
        let status = a.transport.peers();
        assert_eq!(status.len(), 1);
        assert!(status[0].sent_bytes > 3 << 20, "{status:?}");
    });
}

#[test]
fn a_snapshot_arrives_byte_for_byte_under_its_name() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (start(1, 7, dir.path()).await, start(2, 7, dir.path()).await);
        connect(&a, &b).await;
        let database: Vec<u8> = (0..5_000_000u32).map(|i| (i * 7 % 251) as u8).collect();
        *a.member.database.lock().unwrap() = database.clone();
        a.transport.send(vec![snapshot(0x1234)]);
        a.member
            .until(|m| !m.arrived.lock().unwrap().is_empty())
            .await;
        assert_eq!(*a.member.arrived.lock().unwrap(), [true]);
        let file = dir.path().join("0000000000001234.snap.db");
        assert!(std::fs::read(file).unwrap() == database);
        // The message comes only after the database is in place.
        let got = b.member.got.lock().unwrap();
        assert!(got.iter().any(|m| m.r#type == MessageType::MsgSnap as i32));
        let left = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 1, "something temporary was left behind");
    });
}

#[test]
fn a_member_that_was_removed_is_told() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (start(1, 7, dir.path()).await, start(2, 7, dir.path()).await);
        b.member.removed_ids.lock().unwrap().push(1);
        a.transport.add_peer(2, &b.urls());
        a.member.until(|m| *m.was_removed.lock().unwrap()).await;
        assert!(b.member.got.lock().unwrap().is_empty());
    });
}

#[test]
fn a_member_of_another_cluster_is_not_heard() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (start(1, 7, dir.path()).await, start(2, 8, dir.path()).await);
        a.transport.add_peer(2, &b.urls());
        b.transport.add_peer(1, &a.urls());
        a.transport.send(vec![heartbeat(1, 2, 3)]);
        let refused = || a.transport.peers()[0].received_failures >= 3;
        until::is_async("three streams are refused", refused).await;
        assert!(b.member.got.lock().unwrap().is_empty());
        assert!(a.transport.active_since(2).is_none());
        assert!(!*a.member.was_removed.lock().unwrap());
    });
}

#[test]
fn each_refusal_has_etcds_status_and_words() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let b = start(2, 0x8, dir.path()).await;
        let connect: Arc<dyn peer::Connect> = Arc::new(NoTls);
        let url = &b.urls()[0];
        let ask = |method: &str, path: &str, headers: &[(&str, &str)]| {
            let mut request = Request::builder().method(method).uri(path);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let request = request.body(Bytes::new()).unwrap();
            let (connect, url) = (connect.clone(), url.clone());
            async move {
                let reply = peer::ask::call(&connect, &url, request, Duration::from_secs(5));
                let reply = reply.await.unwrap();
                (
                    reply.status.as_u16(),
                    String::from_utf8_lossy(&reply.body).into_owned(),
                )
            }
        };
        let good = [
            ("x-server-from", "1"),
            ("x-server-version", "3.5.16"),
            ("x-min-cluster-version", "3.0.0"),
            ("x-etcd-cluster-id", "8"),
        ];
        let with = |name: &'static str, value: &'static str| {
            let mut headers = good.to_vec();
            headers.retain(|(n, _)| *n != name);
            headers.push((name, value));
            headers
        };
        assert_eq!(ask("GET", "/elsewhere", &[]).await.0, 418);
        assert_eq!(ask("GET", "/raft", &good).await.0, 405);
        let old = with("x-server-version", "2.3.0");
        assert_eq!(
            ask("POST", "/raft", &old).await,
            (412, "incompatible version\n".into())
        );
        let new = with("x-min-cluster-version", "3.9.0");
        assert_eq!(
            ask("POST", "/raft", &new).await,
            (412, "incompatible version\n".into())
        );
        let other = with("x-etcd-cluster-id", "9");
        assert_eq!(
            ask("POST", "/raft", &other).await,
            (412, "cluster ID mismatch\n".into())
        );
        // An empty message is to no one. etcd means to answer 403, and never does.
        assert_eq!(
            ask("POST", "/raft", &good).await,
            (500, "error processing raft message\n".into())
        );
        assert_eq!(ask("GET", "/raft/stream/other/1", &good).await.0, 404);
        assert_eq!(ask("GET", "/raft/stream/message/xyz", &good).await.0, 404);
        assert_eq!(ask("GET", "/raft/stream/message/5", &good).await.0, 404);
        b.transport.add_peer(1, &["http://127.0.0.1:1".to_owned()]);
        let to = with("x-raft-to", "3");
        assert_eq!(
            ask("GET", "/raft/stream/message/1", &to).await,
            (412, "to field mismatch\n".into())
        );
        b.member.removed_ids.lock().unwrap().push(6);
        assert_eq!(
            ask("GET", "/raft/stream/message/6", &good).await,
            (410, "removed member\n".into())
        );
        let (status, page) = ask("GET", "/raft/probing", &[]).await;
        assert_eq!(status, 200);
        assert!(page.starts_with("{\"OK\":true,\"Now\":\""), "{page}");
    });
}

#[test]
fn streams_that_are_cut_are_opened_again() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (start(1, 7, dir.path()).await, start(2, 7, dir.path()).await);
        connect(&a, &b).await;
        for round in 1..=3 {
            a.cut();
            b.cut();
            // What was under way is lost, and raft sends it again.
            loop {
                a.transport.send(vec![append(1, 2, round, 10)]);
                b.transport.send(vec![append(2, 1, round, 10)]);
                let got = |m: &Member| appends(m).iter().any(|m| m.index == round);
                let both = async {
                    b.member.until(got).await;
                    a.member.until(got).await;
                };
                let both = tokio::time::timeout(Duration::from_millis(300), both);
                if both.await.is_ok() {
                    break;
                }
            }
        }
    });
}

#[test]
fn a_member_that_is_removed_here_gets_nothing_more() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (start(1, 7, dir.path()).await, start(2, 7, dir.path()).await);
        connect(&a, &b).await;
        let before = b.member.got.lock().unwrap().len();
        a.transport.remove_peer(2);
        // Its streams end, and it learns why when it asks for new ones.
        a.member.removed_ids.lock().unwrap().push(2);
        b.member.until(|m| *m.was_removed.lock().unwrap()).await;
        a.transport.send(vec![heartbeat(1, 2, 99)]);
        assert!(a.transport.peers().is_empty());
        let got = b.member.got.lock().unwrap();
        assert!(got[before..].iter().all(|m| m.commit != 99));
    });
}

#[test]
fn what_cannot_be_delivered_is_reported() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let a = start(1, 7, dir.path()).await;
        // A port that no one listens on.
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", nobody.local_addr().unwrap());
        drop(nobody);
        a.transport.add_peer(2, &[url]);
        a.transport.send(vec![heartbeat(1, 2, 1)]);
        a.member
            .until(|m| m.unreachable.lock().unwrap().contains(&2))
            .await;
        a.transport.send(vec![snapshot(5)]);
        a.member
            .until(|m| m.arrived.lock().unwrap().first() == Some(&false))
            .await;
        // One for someone unknown has failed as well.
        a.transport.send(vec![Message {
            to: 3,
            ..snapshot(5)
        }]);
        a.member
            .until(|m| m.arrived.lock().unwrap().len() == 2)
            .await;
    });
}

#[test]
fn another_url_is_tried_when_one_does_not_answer() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (start(1, 7, dir.path()).await, start(2, 7, dir.path()).await);
        let mut urls = vec!["http://127.0.0.1:1".to_owned()];
        urls.extend(b.urls());
        a.transport.add_peer(2, &urls);
        b.transport.add_peer(1, &a.urls());
        loop {
            a.transport.send(vec![heartbeat(1, 2, 7)]);
            let got = b.member.until(|m| !m.got.lock().unwrap().is_empty());
            let got = tokio::time::timeout(Duration::from_millis(200), got);
            if got.await.is_ok() {
                break;
            }
        }
    });
}

#[test]
fn a_stranger_is_answered_by_single_requests() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (start(1, 7, dir.path()).await, start(2, 7, dir.path()).await);
        // Only one side knows the other, which learns of it by being asked.
        a.transport.add_peer(2, &b.urls());
        a.transport.send(vec![heartbeat(1, 2, 1)]);
        b.member.until(|m| !m.got.lock().unwrap().is_empty()).await;
        assert!(b.transport.peers().is_empty());
        b.transport.send(vec![heartbeat(2, 1, 5)]);
        a.member
            .until(|m| m.got.lock().unwrap().iter().any(|m| m.commit == 5))
            .await;
    });
}

/// The head of a snapshot whose body is announced to be `len` bytes long.
fn head(cluster: u64, len: usize) -> String {
    format!(
        "POST /raft/snapshot HTTP/1.1\r\nHost: x\r\nX-Server-From: 1\r\n\
         X-Server-Version: 3.5.30\r\nX-Min-Cluster-Version: 3.0.0\r\n\
         X-Etcd-Cluster-ID: {cluster:x}\r\nContent-Length: {len}\r\n\r\n"
    )
}

fn body(index: u64, database: &[u8]) -> Vec<u8> {
    use prost::Message as _;
    let message = snapshot(index).encode_to_vec();
    let mut out = (message.len() as u64).to_be_bytes().to_vec();
    out.extend_from_slice(&message);
    out.extend_from_slice(database);
    out
}

#[test]
fn a_snapshot_that_breaks_off_leaves_nothing_behind() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let b = start(2, 7, dir.path()).await;
        let whole = body(9, &[1; 100_000]);
        let mut stream = TcpStream::connect(b.address).await.unwrap();
        let head = head(7, whole.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&whole[..60_000]).await.unwrap();
        let files = || std::fs::read_dir(dir.path()).unwrap().count();
        until::is_async("the beginning of a file", || files() == 1).await;
        drop(stream);
        until::is_async("its removal", || files() == 0).await;
        assert!(b.member.got.lock().unwrap().is_empty());
    });
}

#[test]
fn two_snapshots_of_one_index_do_not_mix() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let b = start(2, 7, dir.path()).await;
        let databases = [vec![1u8; 300_000], vec![2u8; 300_000]];
        let mut streams = Vec::new();
        for database in &databases {
            let whole = body(9, database);
            let mut stream = TcpStream::connect(b.address).await.unwrap();
            let head = head(7, whole.len());
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&whole[..150_000]).await.unwrap();
            streams.push((stream, whole));
        }
        let files = || std::fs::read_dir(dir.path()).unwrap().count();
        until::is_async("two files", || files() == 2).await;
        for ((stream, whole), database) in streams.iter_mut().zip(&databases) {
            stream.write_all(&whole[150_000..]).await.unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"HTTP/1.1 204");
            let file = std::fs::read(dir.path().join("0000000000000009.snap.db"));
            assert!(file.unwrap() == *database);
        }
        assert_eq!(files(), 1);
    });
}
