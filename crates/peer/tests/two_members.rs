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
use tokio::{net::TcpListener, sync::Notify, task::LocalSet};

/// A member that remembers what it was told.
#[derive(Default)]
struct Member {
    got: Mutex<Vec<Message>>,
    arrived: Mutex<Vec<bool>>,
    removed_ids: Mutex<Vec<u64>>,
    was_removed: Mutex<bool>,
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
    fn report_unreachable(&self, _: u64) {}
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
    transport: Transport,
    address: SocketAddr,
}

impl Running {
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
            server_version: "3.5.30".into(),
            advertise_peer_urls: vec![format!("http://{address}")],
            election_timeout: Duration::from_secs(1),
            snap_dir: snap_dir.to_owned(),
            connect: Arc::new(NoTls),
        },
        member.clone(),
    );
    let served = transport.clone();
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
            tokio::task::spawn_local(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    let running = transport.clone();
    tokio::task::spawn_local(async move { running.run().await });
    Running {
        member,
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
    // Both streams of both sides: the heartbeat is what is waited for.
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
    while !both() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
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
        a.transport.send(vec![Message {
            r#type: MessageType::MsgSnap as i32,
            from: 1,
            to: 2,
            term: 2,
            snapshot: Some(Snapshot {
                data: Some(Bytes::from_static(b"{}")),
                metadata: SnapshotMetadata {
                    index: 0x1234,
                    term: 2,
                    ..SnapshotMetadata::default()
                },
            }),
            ..Message::default()
        }]);
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
        while a.transport.peers()[0].received_failures < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
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
        // An empty message is to nobody. etcd means to answer 403, and never does.
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
