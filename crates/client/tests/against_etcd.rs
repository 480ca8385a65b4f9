//! The client against a real etcd that goes away and comes back: what must
//! survive that, and what must not be repeated. Needs `<peers>/3.5.30/etcd`,
//! where `<peers>` is `PINTLE_PEERS` or `~/.cache/pintle-peers`; without it
//! the tests say so and end.

use std::{
    fs::{self, File},
    io::Write,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use client::{Client, Config, Endpoint, Error, Watch};
use proto::etcdserverpb as api;
use tokio::time::timeout;

/// Nothing here takes longer unless it hangs.
const DEADLINE: Duration = Duration::from_secs(20);
const SERVER_VERSION: &str = "3.5.30";

fn etcd() -> Option<PathBuf> {
    let folder = std::env::var_os("PINTLE_PEERS").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/pintle-peers"),
        PathBuf::from,
    );
    let binary = folder.join(SERVER_VERSION).join("etcd");
    if binary.is_file() {
        return Some(binary);
    }
    // Past the capture of test output: a skip must be seen.
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED, nothing tested: no {} (set PINTLE_PEERS)",
        binary.display()
    );
    None
}

/// A member that can be stopped and started again on its data.
struct Server {
    binary: PathBuf,
    root: PathBuf,
    client: u16,
    peer: u16,
    process: Option<Child>,
}

impl Server {
    fn start() -> Option<Self> {
        let binary = etcd()?;
        let port = || {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            listener.local_addr().expect("bound").port()
        };
        let (client, peer) = (port(), port());
        let root = std::env::temp_dir().join(format!("client-against-etcd-{client}-{peer}"));
        fs::create_dir_all(&root).expect("a directory");
        let mut server = Self {
            binary,
            root,
            client,
            peer,
            process: None,
        };
        server.run();
        Some(server)
    }

    fn run(&mut self) {
        let client = format!("http://127.0.0.1:{}", self.client);
        let peer = format!("http://127.0.0.1:{}", self.peer);
        let log = File::create(self.root.join("log")).expect("a log file");
        let process = Command::new(&self.binary)
            .args([
                "--name",
                "m1",
                "--heartbeat-interval=50",
                "--election-timeout=300",
            ])
            .arg("--data-dir")
            .arg(self.root.join("data"))
            .args([
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .args(["--initial-cluster", &format!("m1={peer}")])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("etcd starts");
        self.process = Some(process);
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.client)
    }

    async fn client(&self) -> Client {
        client(&[&self.endpoint()]).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.root);
    }
}

async fn client(endpoints: &[&str]) -> Client {
    let endpoints = endpoints
        .iter()
        .map(|endpoint| Endpoint::parse(endpoint).expect("an endpoint"));
    let mut config = Config::new(endpoints.collect());
    config.command_timeout = Some(DEADLINE);
    Client::connect(config).await.expect("no login, no failure")
}

async fn put(client: &Client, value: &str) -> i64 {
    let request = api::PutRequest {
        key: "k".into(),
        value: value.to_owned().into(),
        ..Default::default()
    };
    let response = client.put(request).await.expect("the put succeeds");
    response.header.expect("a header").revision
}

/// The values of the next `count` events.
async fn values(watch: &mut Watch, count: usize) -> Vec<String> {
    let mut values = Vec::new();
    while values.len() < count {
        let response = timeout(DEADLINE, watch.message())
            .await
            .expect("an event in time")
            .expect("no refusal")
            .expect("no end");
        for event in response.events {
            let value = event.kv.expect("an event has a key").value;
            values.push(String::from_utf8_lossy(&value).into_owned());
        }
    }
    values
}

fn watch_k(start_revision: i64) -> api::WatchCreateRequest {
    api::WatchCreateRequest {
        key: "k".into(),
        start_revision,
        ..Default::default()
    }
}

#[tokio::test]
async fn a_watch_goes_on_after_its_server_restarts_without_gap_or_repetition() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let client = server.client().await;
    put(&client, "1").await;
    let mut watcher = client.watcher();
    let mut watch = watcher.watch(watch_k(2)).await;
    assert_eq!(values(&mut watch, 1).await, ["1"]);
    server.stop();
    server.run();
    // Written by another client, whose connection knows nothing of the old one.
    let other = server.client().await;
    put(&other, "2").await;
    put(&other, "3").await;
    assert_eq!(values(&mut watch, 2).await, ["2", "3"]);
    server.stop();
    server.run();
    put(&server.client().await, "4").await;
    assert_eq!(values(&mut watch, 1).await, ["4"]);
}

#[tokio::test]
async fn a_watch_whose_history_was_compacted_meanwhile_is_cancelled_and_says_so() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let client = server.client().await;
    put(&client, "1").await;
    let mut watcher = client.watcher();
    let mut watch = watcher.watch(watch_k(2)).await;
    assert_eq!(values(&mut watch, 1).await, ["1"]);
    // The other end of this watch learns nothing while the server is away: its
    // events go by on a second endpoint of the same data.
    server.stop();
    let port = server.client;
    server.client = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port();
    server.run();
    let other = server.client().await;
    put(&other, "2").await;
    let revision = put(&other, "3").await;
    let request = api::CompactionRequest {
        revision,
        physical: true,
    };
    other
        .compact(request)
        .await
        .expect("the compaction succeeds");
    server.stop();
    server.client = port;
    server.run();
    let response = timeout(DEADLINE, watch.message())
        .await
        .expect("an answer in time")
        .expect("no refusal")
        .expect("a response");
    assert!(response.canceled);
    assert_eq!(response.compact_revision, revision);
    assert!(watch.message().await.expect("an end").is_none());
}

#[tokio::test]
async fn calls_move_to_the_endpoint_that_answers() {
    let Some(server) = Server::start() else {
        return;
    };
    // Port 1 refuses; no one listens there.
    let client = client(&["127.0.0.1:1", &server.endpoint()]).await;
    assert_eq!(put(&client, "1").await, 2);
    assert_eq!(put(&client, "2").await, 3);
}

/// An address where the kernel accepts and no program ever answers.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    (listener, address)
}

/// An address whose queue of connections is full: what is sent there is dropped.
async fn full() -> (TcpListener, Vec<tokio::net::TcpStream>, String) {
    let (listener, address) = silent();
    let mut held = Vec::new();
    loop {
        let connecting = tokio::net::TcpStream::connect(&address);
        match timeout(Duration::from_millis(200), connecting).await {
            Ok(stream) => held.push(stream.expect("a connection")),
            Err(_) => return (listener, held, address),
        }
    }
}

/// Uses everything that the client has through `endpoints`, of which some hang.
async fn use_all_through(endpoints: &[&str]) {
    let client = client(endpoints).await;
    put(&client, "1").await;
    let mut watch = client.watcher().watch(watch_k(2)).await;
    assert_eq!(values(&mut watch, 1).await, ["1"]);
    let request = api::LeaseGrantRequest { ttl: 30, id: 0 };
    let lease = client.lease_grant(request).await.expect("a lease").id;
    client.keep_alive_once(lease).await.expect("a renewal");
    let mut renewals = client.keep_alive(lease);
    let renewal = timeout(DEADLINE, renewals.message()).await;
    assert!(renewal.expect("in time").expect("no refusal").is_some());
    let mut snapshot = client.snapshot().await.expect("a stream");
    assert!(snapshot.message().await.expect("no refusal").is_some());
    let range = client.range(api::RangeRequest {
        key: "k".into(),
        ..Default::default()
    });
    assert_eq!(range.await.expect("a read").kvs.len(), 1);
}

#[tokio::test]
async fn an_endpoint_that_accepts_and_never_answers_costs_nothing() {
    let Some(server) = Server::start() else {
        return;
    };
    let (_listener, hanging) = silent();
    use_all_through(&[&hanging, &server.endpoint()]).await;
}

#[tokio::test]
async fn an_endpoint_that_drops_what_it_is_sent_costs_nothing() {
    let Some(server) = Server::start() else {
        return;
    };
    let (_listener, _held, hanging) = full().await;
    use_all_through(&[&hanging, &server.endpoint()]).await;
}

#[tokio::test]
async fn an_endpoint_that_owes_an_answer_at_the_deadline_is_left() {
    let (Some(server), Some(stopped)) = (Server::start(), Server::start()) else {
        return;
    };
    let endpoints = [server.endpoint(), stopped.endpoint()];
    let endpoints = endpoints.iter().map(|e| Endpoint::parse(e).expect("valid"));
    let mut config = Config::new(endpoints.collect());
    config.command_timeout = Some(Duration::from_secs(2));
    let client = Client::connect(config).await.expect("no login, no failure");
    let request = || api::RangeRequest {
        key: "k".into(),
        ..Default::default()
    };
    for _ in 0..ROUNDS {
        client.range(request()).await.expect("both serve");
    }
    let signal = |name: &str| {
        let id = stopped.process.as_ref().expect("it runs").id();
        let sent = Command::new("kill").args([name, &id.to_string()]).status();
        assert!(sent.expect("kill runs").success());
    };
    signal("-STOP");
    let mut late = 0;
    for _ in 0..ROUNDS {
        match client.range(request()).await {
            Ok(_) => {}
            Err(Error::Deadline { .. }) => late += 1,
            Err(error) => panic!("{error}"),
        }
    }
    signal("-CONT");
    assert!(
        late <= 1,
        "{late} of {ROUNDS} calls went to the one that hangs"
    );
}

/// Calls, enough for every endpoint to have its turn more than once.
const ROUNDS: usize = 6;

#[tokio::test]
async fn a_put_waits_for_a_server_that_is_restarting_and_is_applied_once() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let client = server.client().await;
    assert_eq!(put(&client, "1").await, 2);
    server.stop();
    let waiting = {
        let client = client.clone();
        tokio::spawn(async move {
            let request = api::PutRequest {
                key: "k".into(),
                value: "2".into(),
                ..Default::default()
            };
            client.put(request).await
        })
    };
    server.run();
    match waiting.await.expect("no panic") {
        Ok(response) => assert_eq!(response.header.expect("a header").revision, 3),
        // The old connection may break under the request: its fate is unknown
        // then, and the client must say so rather than send it again.
        Err(error) => assert!(matches!(error, Error::Status { .. }), "{error}"),
    }
    let request = api::RangeRequest {
        key: "k".into(),
        ..Default::default()
    };
    let response = client.range(request).await.expect("the read succeeds");
    assert!(response.kvs[0].version <= 2);
}

#[tokio::test]
async fn an_unreachable_server_ends_in_a_deadline_that_names_the_cause() {
    let endpoint = Endpoint::parse("127.0.0.1:1").expect("an endpoint");
    let mut config = Config::new(vec![endpoint]);
    config.command_timeout = Some(Duration::from_millis(100));
    let client = Client::connect(config).await.expect("no login, no failure");
    let error = client
        .range(api::RangeRequest::default())
        .await
        .expect_err("no one listens there");
    assert_eq!(error.to_string(), "context deadline exceeded");
    let Error::Deadline { last: Some(last) } = error else {
        panic!("no cause: {error:?}");
    };
    assert!(last.starts_with("127.0.0.1:1: "), "{last}");
}

#[tokio::test]
async fn a_lease_is_kept_alive_beyond_its_time_and_over_a_restart_and_ends_when_revoked() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let client = server.client().await;
    let request = api::LeaseGrantRequest { ttl: 2, id: 0 };
    let lease = client.lease_grant(request).await.expect("a lease").id;
    let mut renewals = client.keep_alive(lease);
    for _ in 0..2 {
        let renewal = timeout(DEADLINE, renewals.message())
            .await
            .expect("in time");
        assert_eq!(renewal.expect("no refusal").expect("alive").ttl, 2);
    }
    server.stop();
    server.run();
    for _ in 0..3 {
        let renewal = timeout(DEADLINE, renewals.message())
            .await
            .expect("in time");
        assert_eq!(renewal.expect("no refusal").expect("alive").id, lease);
    }
    let request = api::LeaseRevokeRequest { id: lease };
    client.lease_revoke(request).await.expect("revoked");
    let end = async {
        // A renewal may have been on its way.
        while renewals.message().await.expect("no refusal").is_some() {}
    };
    timeout(DEADLINE, end)
        .await
        .expect("the lease ends in time");
    let error = client.keep_alive_once(lease).await.expect_err("gone");
    assert_eq!(error.to_string(), "etcdserver: requested lease not found");
}
