//! The Rust client as a user whose token ends all the time: it expires, users and roles change
//! under load, its password is set anew. No call may fail, no event may be missed or come twice,
//! no lease may end.

use std::{fs, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use client::{Client, Config, Credentials, Endpoint, Watch};
use peers::{
    http,
    peer::{self, Program},
    server::{Launch, Server},
    users,
};
use proto::etcdserverpb::{
    AuthRoleAddRequest, AuthUserChangePasswordRequest, LeaseGrantRequest, LeaseTimeToLiveRequest,
    PutRequest, RangeRequest, WatchCreateRequest,
};

use super::lock;

/// Writers at once.
const WRITERS: usize = 4;
/// Puts of each.
const PUTS: usize = 50;
/// Seconds of the lease.
const TTL: i64 = 5;

async fn connect(server: &Server, name: &str) -> Result<Client> {
    let endpoint = Endpoint::parse(&format!("127.0.0.1:{}", server.port()))?;
    let mut config = Config::new(vec![endpoint]);
    config.command_timeout = Some(Duration::from_secs(60));
    config.credentials = Some(Credentials {
        name: name.into(),
        password: name.into(),
    });
    Ok(Client::connect(config).await?)
}

fn put(key: String, lease: i64) -> PutRequest {
    PutRequest {
        key: key.into(),
        value: "v".into(),
        lease,
        ..PutRequest::default()
    }
}

/// Writes and reads what it wrote.
async fn write(client: Client, writer: usize) -> Result<()> {
    for n in 0..PUTS {
        let key = format!("u/{writer}/{n}");
        client
            .put(put(key.clone(), 0))
            .await
            .with_context(|| key.clone())?;
        let read = RangeRequest {
            key: key.clone().into(),
            ..RangeRequest::default()
        };
        let answer = client.range(read).await.with_context(|| key.clone())?;
        ensure!(answer.count == 1, "{key} is not there");
    }
    Ok(())
}

/// The keys of the next `count` events.
async fn keys(mut watch: Watch, count: usize) -> Result<Vec<String>> {
    let mut keys = Vec::new();
    while keys.len() < count {
        let response = watch.message().await?.context("the watch has ended")?;
        ensure!(!response.canceled, "canceled: {}", response.cancel_reason);
        let events = response.events.iter().filter_map(|event| event.kv.as_ref());
        keys.extend(events.map(|kv| String::from_utf8_lossy(&kv.key).into_owned()));
    }
    Ok(keys)
}

/// A change that ends tokens.
#[derive(Clone, Copy)]
enum Change {
    /// Of any role: what was signed before is old.
    Roles,
    /// Of the password: simple tokens of the user are forgotten.
    Password,
    /// None: they end by themselves.
    Nothing,
}

async fn make(change: Change, root: &Client, n: usize) -> Result<()> {
    match change {
        Change::Roles => {
            let name = format!("role-{n}");
            root.role_add(AuthRoleAddRequest { name: name.into() })
                .await?;
        }
        Change::Password => {
            let request = AuthUserChangePasswordRequest {
                name: "u".into(),
                password: "u".into(),
                ..AuthUserChangePasswordRequest::default()
            };
            root.user_change_password(request).await?;
        }
        Change::Nothing => {}
    }
    Ok(())
}

/// Writers, a watch and a lease, all with the token of one client, while tokens end.
async fn session(server: &Server, change: Change) -> Result<()> {
    lock(server).await?;
    let (user, root) = (connect(server, "u").await?, connect(server, "root").await?);
    let mut watcher = user.watcher();
    let of_prefix = |key: &str| WatchCreateRequest {
        key: key.to_owned().into(),
        range_end: peers::api::prefix_end(key.as_bytes()),
        start_revision: 1,
        ..WatchCreateRequest::default()
    };
    let watch = watcher.watch(of_prefix("u/")).await;
    let seen = tokio::spawn(keys(watch, WRITERS * PUTS));
    let lease = LeaseGrantRequest { ttl: TTL, id: 77 };
    user.lease_grant(lease).await?;
    user.put(put("u-leased".into(), 77)).await?;
    let mut alive = user.keep_alive(77);
    let writers: Vec<_> = (0..WRITERS)
        .map(|n| tokio::spawn(write(user.clone(), n)))
        .collect();
    let mut changes = 0;
    while writers.iter().any(|writer| !writer.is_finished()) {
        make(change, &root, changes).await?;
        changes += 1;
        let renewed = alive.message().await.context("the lease is kept")?;
        ensure!(renewed.is_some(), "the lease has ended");
        // A watch that begins now has the token of now.
        let another = watcher.watch(of_prefix("u-")).await;
        ensure!(keys(another, 1).await? == ["u-leased"], "another watch");
    }
    for writer in writers {
        writer.await??;
    }
    let mut seen = seen.await??;
    seen.sort();
    let mut written: Vec<String> = (0..WRITERS)
        .flat_map(|writer| (0..PUTS).map(move |n| format!("u/{writer}/{n}")))
        .collect();
    written.sort();
    ensure!(
        seen == written,
        "{} events for {} puts",
        seen.len(),
        written.len()
    );
    make(change, &root, changes).await?;
    let once = user.keep_alive_once(77).await.context("once more")?;
    ensure!(once.ttl == TTL, "{once:?}");
    let look = LeaseTimeToLiveRequest { id: 77, keys: true };
    let look = user.lease_time_to_live(look).await?;
    ensure!(look.keys == ["u-leased"], "{look:?}");
    make(change, &root, changes + 1).await?;
    let mut snapshot = root.snapshot().await?;
    ensure!(snapshot.message().await?.is_some(), "no snapshot");
    Ok(())
}

fn renews(change: Change, option: impl Fn(&std::path::Path) -> Result<Vec<String>>) {
    let Some((pintle, etcd)) = peer::pair() else {
        return;
    };
    peers::run(400, async {
        for program in [&pintle, &etcd] {
            let done = at(program, change, &option).await;
            done.with_context(|| program.to_string())?;
        }
        Ok(())
    });
}

async fn at(
    program: &Program,
    change: Change,
    option: impl Fn(&std::path::Path) -> Result<Vec<String>>,
) -> Result<()> {
    let temp = tempfile::tempdir()?;
    let mut launch = Launch::new(program, &temp.path().join("data")).flag("--bcrypt-cost=4");
    for flag in peer::STEADY_USERS {
        launch = launch.flag(flag);
    }
    for flag in option(temp.path())? {
        launch = launch.flag(&flag);
    }
    let server = launch.start().await?;
    session(&server, change).await?;
    server.terminate().await
}

fn signed(dir: &std::path::Path, ttl: &str) -> Result<Vec<String>> {
    let secret = dir.join("secret");
    fs::write(&secret, "any")?;
    let (secret, sign) = (secret.display(), "sign-method=HS256");
    Ok(vec![format!(
        "--auth-token=jwt,{sign},priv-key={secret},ttl={ttl}"
    )])
}

#[test]
fn a_token_that_expires_is_renewed() {
    renews(Change::Nothing, |dir| signed(dir, "1s"));
}

#[test]
fn a_token_of_an_old_auth_revision_is_renewed_under_load() {
    renews(Change::Roles, |dir| signed(dir, "5m"));
}

#[test]
fn a_token_that_was_forgotten_is_renewed_under_load() {
    renews(Change::Password, |_| Ok(Vec::new()));
}

/// Calls of one client that are refused at once log in once, and not each of them.
#[test]
fn calls_that_are_refused_together_log_in_once() {
    let Some((pintle, _)) = peer::pair() else {
        return;
    };
    peers::run(120, async {
        let temp = tempfile::tempdir()?;
        let launch = Launch::new(&pintle, temp.path()).flag("--bcrypt-cost=4");
        let server = launch.start().await?;
        lock(&server).await?;
        let (user, root) = (
            connect(&server, "u").await?,
            connect(&server, "root").await?,
        );
        let index = async || -> Result<u64> {
            let status = root.status(Default::default()).await?;
            Ok(status.raft_index)
        };
        let reads = 50;
        make(Change::Password, &root, 0).await?;
        let before = index().await?;
        let user = Arc::new(user);
        let calls: Vec<_> = (0..reads)
            .map(|_| {
                let user = Arc::clone(&user);
                tokio::spawn(async move {
                    let read = RangeRequest {
                        key: "u".into(),
                        serializable: true,
                        ..RangeRequest::default()
                    };
                    user.range(read).await
                })
            })
            .collect();
        for call in calls {
            call.await??;
        }
        // Each login is one entry.
        let logins = index().await? - before;
        ensure!(
            (1..=3).contains(&logins),
            "{logins} logins for {reads} calls"
        );
        users::login(server.api(), "u", "u").await?;
        server.terminate().await
    });
}

/// Logins since the start of the server.
async fn logins(server: &Server) -> Result<f64> {
    let page = http::send(server.port(), "GET", "/metrics", "")
        .await?
        .text();
    let name = "grpc_server_started_total{grpc_method=\"Authenticate\",";
    let line = page.lines().find(|line| line.starts_with(name));
    let count = line.and_then(|line| line.rsplit(' ').next());
    Ok(count.context("no series of logins")?.parse()?)
}

/// A member whose tokens are over as soon as they are made: every login works, and no token does.
#[test]
fn a_member_that_refuses_every_token_is_not_logged_in_to_for_ever() {
    let Some((pintle, etcd)) = peer::pair() else {
        return;
    };
    peers::run(120, async {
        for program in [&pintle, &etcd] {
            let temp = tempfile::tempdir()?;
            let mut launch = Launch::new(program, &temp.path().join("data"));
            for flag in signed(temp.path(), "1ns")? {
                launch = launch.flag(&flag);
            }
            let server = launch.flag("--bcrypt-cost=4").start().await?;
            lock(&server).await?;
            let user = connect(&server, "u").await?;
            let before = logins(&server).await?;
            let refused = user.put(put("u".into(), 0)).await;
            let error = refused.err().context("a token that is over was taken")?;
            ensure!(
                error.to_string().contains("invalid auth token"),
                "{program}: {error}"
            );
            let more = logins(&server).await? - before;
            ensure!((1.0..=10.0).contains(&more), "{program}: {more} logins");
            server.terminate().await?;
        }
        Ok(())
    });
}
