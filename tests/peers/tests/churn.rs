//! Clients that come and go: connect, watch, cancel, keep a lease alive, disconnect. What a server
//! keeps of each must be nothing. `PINTLE_CHURN_SECONDS` says for how long; a line a minute says
//! what memory the server holds.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use peers::{
    api,
    peer::{self, Program},
    server::{Launch, Server},
    streams::Stream,
};
use proto::etcdserverpb::{LeaseGrantRequest, WatchCreateRequest, watch_request::RequestUnion};
use tokio::time::MissedTickBehavior;

/// Between one pair of clients and the next: a rate that leaves a machine to others for an hour.
const TURN: Duration = Duration::from_millis(40);

/// Anonymous memory, without the mapped database.
fn anonymous_kb(server: &Server) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()))?;
    let line = status.lines().find(|line| line.starts_with("RssAnon"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(number.context("RssAnon")?.parse()?)
}

/// One client from its first byte to its last.
async fn client(server: &Server, lease: i64) -> Result<()> {
    let api = server.connect();
    let mut stream = Stream::open(&api);
    for _ in 0..3 {
        let create = WatchCreateRequest {
            key: "churn".into(),
            ..WatchCreateRequest::default()
        };
        stream.send(RequestUnion::CreateRequest(create)).await?;
    }
    let mut created = Vec::new();
    while created.len() < 3 {
        let answer = stream.next().await?;
        if answer.created {
            created.push(answer.watch_id);
        }
    }
    // The others end with their connection, and so does an open stream of keepalives.
    stream.cancel(created[0]).await?;
    while !stream.next().await?.canceled {}
    ensure!(api.keep_alive(lease).await?.ttl > 0, "the lease ended");
    Ok(())
}

/// What a server holds at the end of each part of the run, and how many clients came and went.
async fn churn(program: &Program, parts: u32, part: Duration) -> Result<(Vec<u64>, u64)> {
    let temp = tempfile::tempdir()?;
    // What a server keeps of writes is to be level from the first minute on.
    let server = Launch::new(program, temp.path())
        .flag("--snapshot-count=1000")
        .flag("--auto-compaction-mode=revision")
        .flag("--auto-compaction-retention=1000")
        .start()
        .await?;
    let grant = LeaseGrantRequest { ttl: 7200, id: 7 };
    server.api().lease_grant(grant).await?;
    let (mut held, mut clients) = (Vec::new(), 0);
    let mut turn = tokio::time::interval(TURN);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for n in 0..parts {
        let end = Instant::now() + part;
        while Instant::now() < end {
            turn.tick().await;
            // A write that reaches the watchers that are there.
            let (write, one, other) = tokio::join!(
                server.api().put(api::put("churn", clients.to_string())),
                client(&server, 7),
                client(&server, 7)
            );
            write?;
            one?;
            other?;
            clients += 2;
        }
        held.push(anonymous_kb(&server)?);
        peer::say(&format!(
            "{program}: {} s, {clients} clients, {} kB",
            (n + 1) as u64 * part.as_secs(),
            held[n as usize]
        ));
    }
    server.terminate().await?;
    Ok((held, clients))
}

/// Memory that an allocator may need to settle. A leak of 1 kB for each client of an hour is more.
const SLACK_KB: u64 = 16 << 10;

#[test]
fn clients_that_come_and_go_leave_nothing() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    let seconds = peers::env_number("PINTLE_CHURN_SECONDS").unwrap_or(12);
    let parts = (seconds / 60).max(4) as u32;
    let part = Duration::from_secs(seconds) / parts;
    peers::run(seconds + 300, async {
        let (theirs, ours) =
            tokio::join!(churn(&reference, parts, part), churn(&subject, parts, part));
        theirs?;
        let (held, clients) = ours?;
        let (first, last) = (held[0], held[parts as usize - 1]);
        ensure!(
            last <= first + SLACK_KB,
            "memory grew from {first} to {last} kB over {clients} clients: {held:?}"
        );
        Ok(())
    });
    peer::say(&format!("RAN: churn, {seconds} s"));
}
